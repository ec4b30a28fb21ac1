//! Which legs' media is secured, and under which keys (SDES, RFC 4568). Each leg is for itself: a peer's key goes no
//! further than the relay, and what a leg's peer is told is a key of ours.
//!
//! Keys travel under TLS and in no other way. Ours follow from the call's seed under the cluster's key, as tags and
//! branches do, so that a successor says the same; a successor that is told the same key goes on where it was.

use bytes::Bytes;
use env::{RelaySide, SideKeys, SrtpCount, SrtpKey, SrtpMark, SrtpSuite};
use sdp::{Crypto, Media, Security, Session};
use sip::Message;
use smallvec::SmallVec;
use trunk::settings::{Settings, Srtp};
use trunk::{Party, Transport};

use crate::admission::settings;
use crate::attempt::is_sdp;
use crate::call::{Call, Stage, Waiting};
use crate::context::Context;
use crate::id::CallId;
use crate::io::{Output, RelayChange};
use crate::record::{CallCommand, Change, Count, Flow, Mark, Side};
use crate::reject::{self, Answer};

/// What a description is.
#[derive(Clone, Copy)]
pub(crate) enum Said<'a> {
    /// An offer of ours.
    Offer,
    /// Our answer to this offer of the same peer.
    Answer(&'a [u8]),
}

/// How each stream of a description is secured.
pub(crate) type Securities = SmallVec<[Security; 2]>;

/// The suites that we offer, the preferred one first: what every peer has, then what is cheaper.
const OFFERED: [SrtpSuite; 3] = [SrtpSuite::AesCm80, SrtpSuite::AesGcm256, SrtpSuite::AesGcm128];

impl Call {
    /// How the streams of the far side's description are to be secured as `to` gets it.
    pub(crate) fn securities(
        &self,
        to: Side,
        theirs: &Session<'_>,
        said: Said<'_>,
    ) -> Result<Securities, Answer> {
        let offer = match said {
            Said::Offer => None,
            // Keys travel under TLS alone: nothing else can have offered any.
            Said::Answer(_) if !self.can_secure(to) => return Ok(in_clear(theirs)),
            Said::Answer(offer) => Some(Session::parse(offer).ok()),
        };
        let mut all = Securities::new();
        for (index, media) in theirs.media().iter().enumerate() {
            all.push(match &offer {
                _ if !is_ours(media) => Security::Keep,
                None if self.is_to_secure(to, index)? => {
                    let crypto = |(tag, suite)| Crypto { tag, key: self.key(to, index, suite) };
                    Security::Sdes((1..).zip(OFFERED).map(crypto).collect())
                }
                None => Security::Plain,
                Some(offer) => {
                    self.answering(to, index, offer.as_ref().and_then(|o| o.media().get(index)))?
                }
            });
        }
        Ok(all)
    }

    /// As its offer has it, with the first key of it that we can use.
    fn answering(&self, to: Side, index: usize, offered: Option<&Media<'_>>) -> Result<Security, Answer> {
        let Some(offered) = offered.filter(|offered| offered.is_active()) else { return Ok(Security::Keep) };
        if !offered.is_sdes() {
            return Ok(if offered.transport() == sdp::Transport::Rtp {
                Security::Plain
            } else {
                Security::Keep
            });
        }
        let chosen = offered.cryptos().next().ok_or_else(no_usable_key)?;
        let key = self.key(to, index, chosen.key.suite());
        Ok(Security::Sdes(SmallVec::from_elem(Crypto { tag: chosen.tag, key }, 1)))
    }

    /// Whether a stream that we offer is to be secured: as it stands, if it does; else as the party's settings say.
    fn is_to_secure(&self, to: Side, index: usize) -> Result<bool, Answer> {
        let wish = wish(self.settings_of(to));
        let known = self.legs.as_ref().and_then(|legs| Session::parse(&legs.leg(to).remote_sdp).ok());
        let known = known.as_ref().and_then(|session| session.media().get(index));
        if let Some(known) = known.filter(|media| is_ours(media)) {
            return Ok(known.is_sdes());
        }
        let can = self.can_secure(to);
        match wish {
            Srtp::Required if !can => Err(reject::media(NEEDS_TLS)),
            Srtp::Required => Ok(true),
            Srtp::Optional => Ok(can && !(to == Side::Egress && self.is_plain_attempt())),
            Srtp::Off => Ok(false),
        }
    }

    /// Whether keys may be told on this leg.
    fn can_secure(&self, side: Side) -> bool {
        self.secures && self.flow_of(side).is_some_and(|flow| flow.transport == Transport::Tls)
    }

    /// Whether the attempt under way offers no keys, since its target had refused them.
    fn is_plain_attempt(&self) -> bool {
        self.setup.as_ref().is_some_and(|setup| setup.plain)
    }

    /// Whether a callee refused an offer of RTP/SAVP (488) that may also be made in clear.
    pub(crate) fn may_ask_in_clear(&self, status: u16) -> bool {
        let attempt = self.setup.as_ref().and_then(|setup| setup.attempt.as_ref());
        status == 488
            && wish(self.settings_of(Side::Egress)) == Srtp::Optional
            && attempt.is_some_and(|attempt| is_secured(&attempt.offer))
    }

    /// Whether an offer of a peer's in an answered call may stand.
    pub(crate) fn check_offer(&self, from: Side, message: &Message<'_>) -> Result<(), Answer> {
        let Some(legs) = self.legs.as_ref().filter(|_| self.media.ports.is_some() && is_sdp(message)) else {
            return Ok(());
        };
        let leg = legs.leg(from);
        // What was let in in clear may go on so.
        let wish = match wish(self.settings_of(from)) {
            Srtp::Required if !is_secured(&leg.local_sdp) => Srtp::Optional,
            wish => wish,
        };
        let can = self.secures && leg.flow.transport == Transport::Tls;
        Session::parse(message.body()).map_or(Ok(()), |offer| check(&offer, wish, can))
    }

    /// Whether a callee's answer is as secure as its party's settings demand.
    pub(crate) fn is_secure_enough(&self, answer: &[u8]) -> bool {
        let demanded = wish(self.settings_of(Side::Egress)) == Srtp::Required;
        !demanded || self.media.ports.is_none() || !is_in_clear(answer)
    }

    /// What the relay needs to open and secure a stream of this side's.
    pub(crate) fn keys(&self, side: Side, index: usize, theirs: Option<&Media<'_>>) -> Option<SideKeys> {
        let theirs = theirs.filter(|media| media.is_active())?;
        if theirs.is_sdes() {
            let chosen = theirs.cryptos().next().map(|crypto| crypto.key);
            let send = chosen.map(|chosen| self.key(side, index, chosen.suite()));
            return Some(SideKeys { receive: chosen, send });
        }
        // A peer that answers in clear where that may not be hears nothing.
        let demanded = wish(self.settings_of(side)) == Srtp::Required && self.has_said_keys(side);
        let is_closed = demanded && theirs.transport() == sdp::Transport::Rtp;
        is_closed.then_some(SideKeys { receive: None, send: None })
    }

    fn has_said_keys(&self, side: Side) -> bool {
        let attempt = || self.setup.as_ref().and_then(|setup| setup.attempt.as_ref());
        match (&self.legs, side) {
            (Some(legs), side) => is_secured(&legs.leg(side).local_sdp),
            (None, Side::Egress) => attempt().is_some_and(|attempt| is_secured(&attempt.offer)),
            (None, Side::Ingress) => false,
        }
    }

    /// Our key for a stream of a side: another for each attempt, since each is a session of its own.
    fn key(&self, side: Side, index: usize, suite: SrtpSuite) -> SrtpKey {
        let attempt = if side == Side::Egress { self.attempts } else { 0 };
        our_key(&self.context, (self.id, self.seed), (side, attempt, index), suite)
    }

    fn flow_of(&self, side: Side) -> Option<Flow> {
        match (&self.legs, &self.setup, side) {
            (Some(legs), _, side) => Some(legs.leg(side).flow),
            (None, Some(setup), Side::Ingress) => Some(setup.flow),
            (None, Some(setup), Side::Egress) => setup.attempt.as_ref()?.flow,
            (None, None, _) => None,
        }
    }

    fn settings_of(&self, side: Side) -> Option<&Settings> {
        let party: Option<&Party> =
            if side == Side::Ingress { Some(&self.party) } else { self.callee.as_ref() };
        party.and_then(|party| settings(&self.context.resources, party))
    }

    /// The relay asks that a mark be recorded.
    pub(crate) fn record_mark(&mut self, mark: Mark) {
        let is_asked = self.waiting.iter().any(|waiting| matches!(waiting, Waiting::Mark(it) if *it == mark));
        if is_asked || !matches!(self.stage, Stage::Trying | Stage::Confirming | Stage::Answered) {
            return;
        }
        self.propose(CallCommand::Change(Change::Mark(mark)), Waiting::Mark(mark));
    }

    /// A mark is recorded.
    pub(crate) fn mark_recorded(&mut self, mark: Mark) {
        mark.note(&mut self.media.marks);
        self.outputs.push_back(Output::Relay(RelayChange::Recorded(mark)));
    }

    /// What the relay of a call that had a life before this one needs to know of a stream.
    pub(crate) fn resumed(&self, index: usize) -> Option<Vec<(RelaySide, SrtpMark)>> {
        let of_stream = |mark: &&Mark| usize::from(mark.stream) == index;
        let marks = self.media.marks.iter().filter(of_stream).map(|mark| (mark.side.into(), (*mark).into()));
        self.media.resumed.then(|| marks.collect())
    }

    /// Packets that claimed to be a peer's had a wrong tag: the call stays, its record says so once.
    pub(crate) fn forged(&mut self) {
        if !self.events.iter().any(|event| event == "srtp-forged") {
            self.events.push("srtp-forged".to_owned());
        }
    }
}

impl From<Side> for RelaySide {
    fn from(side: Side) -> RelaySide {
        match side {
            Side::Ingress => RelaySide::Ingress,
            Side::Egress => RelaySide::Egress,
        }
    }
}

impl Mark {
    /// What the relay says of a stream.
    pub fn of(side: Side, stream: u8, mark: SrtpMark) -> Mark {
        let count = match mark.count {
            SrtpCount::Sent(ssrc) => Count::Sent(ssrc),
            SrtpCount::Heard(ssrc) => Count::Heard(ssrc),
            SrtpCount::Control => Count::Control,
        };
        Mark { side, stream, count, value: mark.value }
    }
}

impl From<Mark> for SrtpMark {
    fn from(mark: Mark) -> SrtpMark {
        let count = match mark.count {
            Count::Sent(ssrc) => SrtpCount::Sent(ssrc),
            Count::Heard(ssrc) => SrtpCount::Heard(ssrc),
            Count::Control => SrtpCount::Control,
        };
        SrtpMark { count, value: mark.value }
    }
}

/// Whether the offer in a caller's INVITE may stand. `can`: keys may be agreed on this leg.
pub(crate) fn check_invite(
    settings: Option<&Settings>,
    can: bool,
    offer: Option<&Session<'_>>,
) -> Result<(), Answer> {
    let wish = wish(settings);
    match offer {
        None if wish == Srtp::Required && !can => Err(reject::media(NEEDS_TLS)),
        None => Ok(()),
        Some(offer) => check(offer, wish, can),
    }
}

fn check(offer: &Session<'_>, wish: Srtp, can: bool) -> Result<(), Answer> {
    for media in offer.media().iter().filter(|media| media.is_active()) {
        let is_clear = media.transport() == sdp::Transport::Rtp;
        match (media.is_sdes(), wish) {
            (false, Srtp::Required) if is_clear && !can => return Err(reject::media(NEEDS_TLS)),
            (false, Srtp::Required) if is_clear => {
                return Err(reject::media("media.srtp: required, and RTP/AVP was offered"));
            }
            (false, _) => {}
            (true, Srtp::Off) => return Err(reject::media("media.srtp: off, and RTP/SAVP was offered")),
            (true, _) if !can => return Err(reject::media("media.srtp: RTP/SAVP needs signalling over TLS")),
            (true, _) if media.cryptos().next().is_none() => return Err(no_usable_key()),
            (true, _) => {}
        }
    }
    Ok(())
}

const NEEDS_TLS: &str = "media.srtp: required, and keys travel under TLS alone";

fn no_usable_key() -> Answer {
    reject::media("media.srtp: no usable a=crypto")
}

fn wish(settings: Option<&Settings>) -> Srtp {
    settings.map_or(Srtp::Off, |settings| settings.media.srtp)
}

/// Whether a stream is one that we may secure.
fn is_ours(media: &Media<'_>) -> bool {
    media.is_active() && media.transport().is_rtp()
}

/// Every stream that we may secure, in clear.
fn in_clear(session: &Session<'_>) -> Securities {
    let each = |media| if is_ours(media) { Security::Plain } else { Security::Keep };
    session.media().iter().map(each).collect()
}

/// Whether a description has keys.
fn is_secured(body: &[u8]) -> bool {
    Session::parse(body).is_ok_and(|it| it.media().iter().any(|media| media.is_active() && media.is_sdes()))
}

/// Whether a description has RTP in clear.
fn is_in_clear(body: &[u8]) -> bool {
    let clear = |media: &Media<'_>| media.is_active() && media.transport() == sdp::Transport::Rtp;
    Session::parse(body).is_ok_and(|it| it.media().iter().any(clear))
}

/// Whether a description of ours secures its streams like this.
pub(crate) fn is_secured_as(ours: &Bytes, securities: &[Security]) -> bool {
    let Ok(ours) = Session::parse(ours) else { return false };
    ours.media().iter().zip(securities).all(|(media, security)| match security {
        Security::Keep => true,
        Security::Plain => !media.is_sdes(),
        Security::Sdes(keys) => media.is_sdes() && media.cryptos().eq(keys.iter().copied()),
    })
}

/// The key that we secure with: drawn with the call's seed, known to whoever has the cluster's key.
fn our_key(
    context: &Context,
    (call, seed): (CallId, u64),
    (side, attempt, stream): (Side, u16, usize),
    suite: SrtpSuite,
) -> SrtpKey {
    let root = auth::derive(context.secret.bytes(), b"banyan srtp");
    let mut label = Vec::with_capacity(64);
    label.extend_from_slice(&call.0.to_be_bytes());
    label.extend_from_slice(&seed.to_be_bytes());
    label.push(u8::from(side == Side::Egress));
    label.extend_from_slice(&attempt.to_be_bytes());
    label.extend_from_slice(&(stream as u64).to_be_bytes());
    label.extend_from_slice(suite.name().as_bytes());
    let mut bytes = [0; 64];
    for (part, half) in (0u8..).zip(bytes.chunks_mut(32)) {
        label.push(part);
        half.copy_from_slice(&auth::derive(&root, &label));
        label.pop();
    }
    let length = suite.key_length() + suite.salt_length();
    SrtpKey::new(suite, bytes.get(..length).unwrap_or_default()).expect("64 bytes are enough for any suite")
}

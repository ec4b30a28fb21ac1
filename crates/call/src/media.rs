//! Session descriptions as they pass (RFC 3264), and what the relay is told of them.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use env::{RelayEntry, RelayKind, RelayRemote, SideConfig};
use sdp::{Anchor, Codec, CodecList, Codecs, MediaKind, Origin, Rewrite, RewriteError, Session};
use smallvec::SmallVec;
use trunk::settings::{Nat, Settings};

use crate::admission::settings;
use crate::call::{Call, Stage};
use crate::cdr::LegQuality;
use crate::io::{Output, RelayChange};
use crate::record::{Flow, Mark, Ports, Side};
use crate::reject::{self, Answer};
use crate::security::{Said, is_secured_as};

/// What a call knows of its media.
#[derive(Debug, Default)]
pub(crate) struct MediaState {
    /// Our RTP ports; absent where media goes directly.
    pub ports: Option<Ports>,
    /// The version of the `o=` line that each side saw last.
    pub versions: [u64; 2],
    /// What the relay measured, once it was asked.
    pub quality: (Option<LegQuality>, Option<LegQuality>),
    /// The address in our `o=` lines, where it is that of an earlier home: it stays (RFC 3264 §8).
    pub origins: [Option<IpAddr>; 2],
    /// Whether the relay has entries of ours.
    pub installed: bool,
    /// The callee's last description while it rings, and what the caller got of it: the 2xx repeats it exactly
    /// (RFC 3261 §13.2.1).
    pub early: Option<Box<(Bytes, Bytes)>>,
    /// How far secured packets may have come.
    pub marks: Vec<Mark>,
    /// Whether the call had a life before this one.
    pub resumed: bool,
}

impl MediaState {
    /// The next version of a side's `o=` line.
    pub fn next_version(&mut self, side: Side) -> u64 {
        let [ingress, egress] = &mut self.versions;
        let version = if side == Side::Ingress { ingress } else { egress };
        *version += 1;
        *version
    }

    /// A side's session begins anew.
    pub fn restart(&mut self, side: Side) {
        let [ingress, egress] = &mut self.versions;
        *(if side == Side::Ingress { ingress } else { egress }) = 0;
    }
}

impl Call {
    /// A description from the far side as `to` gets it: on our ports, with its codecs. An offer is cut to what both
    /// parties allow; an answer passes. Each is secured as that leg's media is.
    pub(crate) fn describe(&mut self, to: Side, body: &Bytes, said: Said<'_>) -> Result<Bytes, Answer> {
        let limited = matches!(said, Said::Offer) && !self.codecs(to).is_empty();
        if body.is_empty() || (self.media.ports.is_none() && !limited) {
            return Ok(body.clone()); // Direct media: there is nothing to change.
        }
        let session = Session::parse(body).map_err(|e| reject::malformed(format!("SDP: {e}")))?;
        let security = match self.media.ports {
            Some(_) => self.securities(to, &session, said)?,
            None => SmallVec::new(), // Direct media: keys go from end to end.
        };
        if let Some(same) = self.described_before(to, body).filter(|same| is_secured_as(same, &security)) {
            return Ok(same);
        }
        let choice = if limited { self.choose(to, &session) } else { Choice::All };
        if self.media.ports.is_none() && matches!(choice, Choice::All) {
            return Ok(body.clone());
        }
        let codecs = match &choice {
            Choice::All => Codecs::Keep,
            Choice::These(payloads) => Codecs::Only(payloads),
            Choice::InOrder(list) => Codecs::Prefer(list),
        };
        let address = self.context.media;
        let version = self.media.next_version(to);
        let ours = match &self.media.ports {
            Some(ports) => {
                let ports: &[u16] = if to == Side::Ingress { &ports.ingress } else { &ports.egress };
                let origin = self.origin(to, version);
                Rewrite {
                    origin: Some(origin),
                    anchor: Some(Anchor { address, ports }),
                    codecs,
                    security: &security,
                }
            }
            None => Rewrite { origin: None, anchor: None, codecs, security: &[] },
        };
        let ours: Bytes = match session.rewritten(&ours) {
            Ok(bytes) => bytes.into(),
            Err(RewriteError::NoCommonCodec) => return Err(reject::no_common_codec()),
            Err(other) => return Err(reject::media(format!("media.ports: {other}"))),
        };
        if to == Side::Ingress && self.legs.is_none() {
            self.media.early = Some(Box::new((body.clone(), ours.clone())));
        }
        Ok(ours)
    }

    /// The `o=` line that a side sees.
    pub(crate) fn origin(&self, to: Side, version: u64) -> Origin {
        let [ingress, egress] = self.media.origins;
        let known = if to == Side::Ingress { ingress } else { egress };
        Origin { id: self.id.0 & 0x7FFF_FFFF_FFFF, version, address: known.unwrap_or(self.context.media) }
    }

    /// The same description gives the same one of ours: its version says that nothing changed (RFC 3264 §8).
    fn described_before(&mut self, to: Side, body: &[u8]) -> Option<Bytes> {
        match (&self.legs, &self.media.early) {
            (Some(legs), _) => {
                let (theirs, ours) = (&legs.leg(to.other()).remote_sdp, &legs.leg(to).local_sdp);
                (theirs == body && !ours.is_empty()).then(|| ours.clone())
            }
            (None, Some(early)) if to == Side::Ingress && early.0 == body => Some(early.1.clone()),
            _ => None,
        }
    }

    /// The codecs that a side's party allows, the preferred one first, and those of the other side's; empty: all.
    fn codecs(&self, side: Side) -> Allowed<'_> {
        let resources = &self.context.resources;
        let of = |party| settings(resources, party).map(|settings: &Settings| &settings.media.codecs[..]);
        let ingress = of(&self.party).unwrap_or_default();
        let egress = self.callee.as_ref().and_then(of).unwrap_or_default();
        if side == Side::Ingress { Allowed(ingress, egress) } else { Allowed(egress, ingress) }
    }

    /// Which codecs of an offer stay. Most offers need no reordering, and for those no list is made.
    fn choose(&self, to: Side, offer: &Session<'_>) -> Choice {
        let allowed = self.codecs(to);
        let mut audio =
            offer.media().iter().filter(|media| media.kind() == MediaKind::Audio && media.is_active());
        let (Some(audio), None) = (audio.next(), audio.next()) else {
            return Choice::InOrder(allowed.list());
        };
        let (mut payloads, mut last, mut all, mut speech) = (SmallVec::new(), 0, true, false);
        for codec in audio.codecs() {
            let event = codec.is_telephone_event();
            let rank = if event { Some(usize::MAX) } else { allowed.rank(&codec) };
            let Some(rank) = rank else {
                all = false;
                continue;
            };
            if rank < last {
                return Choice::InOrder(allowed.list());
            }
            last = rank;
            speech |= !event && !codec.is("CN");
            payloads.push(codec.payload);
        }
        match (speech, all) {
            (false, _) => Choice::InOrder(allowed.list()),
            (true, true) => Choice::All,
            (true, false) => Choice::These(payloads),
        }
    }

    /// Tells the relay what both descriptions say now. `answered`: silence counts from here.
    pub(crate) fn set_relay(&mut self, ingress: RelaySdp<'_>, egress: RelaySdp<'_>, answered: bool) {
        let Some(ports) = self.media.ports.as_ref() else { return };
        let (near, far) = (Session::parse(ingress.sdp).ok(), Session::parse(egress.sdp).ok());
        for (index, (in_port, out_port)) in ports.ingress.iter().zip(&ports.egress).enumerate() {
            let (a, b) = (media_facts(near.as_ref(), index), media_facts(far.as_ref(), index));
            let Some((_, _, is_rtp, clock_rate)) = b.or(a) else { continue };
            let kind = if is_rtp { RelayKind::Rtp { clock_rate } } else { RelayKind::Datagrams };
            let side = |port: u16, party: Option<&trunk::Party>, flow: &Flow, media: Option<MediaFacts>| {
                side_config(self.context.media, port, self.nat(party), flow.remote.ip(), media)
            };
            let keys = |side, session: Option<&Session<'_>>| {
                self.keys(side, index, session.and_then(|session| session.media().get(index)))
            };
            let silence = settings(&self.context.resources, &self.party)
                .map(|settings| settings.media.silence)
                .filter(|silence| answered && is_rtp && !silence.is_zero());
            let entry = RelayEntry {
                kind,
                ingress: SideConfig {
                    keys: keys(Side::Ingress, near.as_ref()),
                    ..side(*in_port, Some(&self.party), &ingress.flow, a)
                },
                egress: SideConfig {
                    keys: keys(Side::Egress, far.as_ref()),
                    ..side(*out_port, self.callee.as_ref(), &egress.flow, b)
                },
                unleased: false,
                resumed: self.resumed(index),
                silence,
            };
            self.media.installed = true;
            let index = u8::try_from(index).unwrap_or(u8::MAX);
            self.outputs.push_back(Output::Relay(RelayChange::Set(index, Box::new(entry))));
        }
    }

    fn nat(&self, party: Option<&trunk::Party>) -> Nat {
        let settings = party.and_then(|party| settings(&self.context.resources, party));
        settings.map_or(Nat::Auto, |settings| settings.media.nat)
    }

    /// Takes everything off the relay; what it measured comes back at once as `Input::Quality`.
    pub(crate) fn release_media(&mut self) {
        if self.media.ports.take().is_some() {
            self.outputs.push_back(Output::Relay(RelayChange::Remove));
        }
    }

    /// What the relay measured has come; an end that waited for it is proposed.
    pub(crate) fn measured(&mut self, ingress: Option<LegQuality>, egress: Option<LegQuality>) {
        self.media.quality = (ingress, egress);
        self.propose_end();
    }

    /// The relay found out where a side really sends from.
    pub(crate) fn latched(&mut self, side: Side, address: SocketAddr) {
        if let Some(legs) = self.legs.as_mut() {
            legs.leg_mut(side).latched = Some(address);
        }
        if self.stage == Stage::Answered && !self.events.iter().any(|event| event == "latched") {
            self.events.push("latched".to_owned());
        }
    }
}

/// What the relay needs to know of one side.
#[derive(Clone, Copy)]
pub(crate) struct RelaySdp<'a> {
    /// The peer's description.
    pub sdp: &'a [u8],
    /// Where its signalling comes from.
    pub flow: Flow,
}

/// Codecs by name: one side's, in its order, and the other's. An empty list allows all.
struct Allowed<'a>(&'a [String], &'a [String]);

impl Allowed<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let by_far =
            |name: &&String| self.1.is_empty() || self.1.iter().any(|far| far.eq_ignore_ascii_case(name));
        self.0.iter().filter(by_far).map(String::as_str)
    }

    fn list(&self) -> CodecList {
        CodecList::new(self.names())
    }

    /// As `CodecList::rank`, without the list.
    fn rank(&self, codec: &Codec<'_>) -> Option<usize> {
        self.names()
            .position(|name| codec.is(name) || (codec.is("G729") && name.eq_ignore_ascii_case("G729A")))
    }
}

/// Which codecs of an offer stay.
enum Choice {
    /// All, as they stand.
    All,
    /// These payload types, in the offer's order.
    These(SmallVec<[u8; 16]>),
    /// Those of the list, in its order.
    InOrder(CodecList),
}

type MediaFacts = (Option<sdp::Endpoint>, sdp::Direction, bool, u32);

/// What the relay needs to know of one stream of a description, if it is in use.
fn media_facts(session: Option<&Session<'_>>, index: usize) -> Option<MediaFacts> {
    let media = session?.media().get(index).filter(|media| media.is_active())?;
    let clock_rate = media.codec().map_or(8000, |codec| codec.clock_rate);
    Some((media.endpoint(), media.direction(), media.transport().is_rtp(), clock_rate))
}

fn side_config(
    ours: IpAddr,
    port: u16,
    nat: Nat,
    signalled_from: IpAddr,
    media: Option<MediaFacts>,
) -> SideConfig {
    let endpoint = media.and_then(|(endpoint, ..)| endpoint);
    let direction = media.map(|(_, direction, ..)| direction);
    // Latching only where the description and the signalling differ, and only to the signalling's address (I-37).
    let differs = endpoint.is_some_and(|endpoint| endpoint.rtp.ip() != signalled_from);
    let latch = match nat {
        Nat::Never => None,
        Nat::Always => Some(signalled_from),
        Nat::Auto => differs.then_some(signalled_from),
    };
    SideConfig {
        local: SocketAddr::new(ours, port),
        remote: endpoint.map(|endpoint| RelayRemote { rtp: endpoint.rtp, rtcp: endpoint.rtcp }),
        latch,
        sends: direction.is_some_and(sdp::Direction::sends),
        receives: direction.is_none_or(sdp::Direction::receives),
        keys: None,
    }
}

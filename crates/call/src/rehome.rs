//! An answered call in another home: its peers speak to an address where nobody listens, until a re-INVITE on each
//! leg names ours (RFC 3261 §12.2, §14.1; RFC 3264 §8).
//!
//! The legs whose record names an address, or media ports, that are not this home's are found when the call is
//! restored. New ports and a block of CSeqs are committed first. The offer is what we said last, with the negotiated
//! codecs, so that the session changes its place and nothing else.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use dialog::{DialogState, NotNow};
use machine::{Instant, WallTime};
use sdp::{Anchor, Codecs, Rewrite, Session};
use sip::Message;
use smallvec::SmallVec;
use trunk::Transport;
use trunk::settings::Reinvite;

use crate::admission::settings;
use crate::call::{Call, CallTimer, Hangup, Stage, Wanted};
use crate::exchange::Kind;
use crate::io::{Event, Output, TakePorts};
use crate::message::INVITE_CSEQ;
use crate::record::{Change, Flow, LegState, Rehome, Side};

/// Peers that don't know yet in which home the call is.
#[derive(Debug)]
pub(crate) struct Rehoming {
    /// For each side, until when it is asked again; absent where nothing is left to do.
    until: [Option<Instant>; 2],
    /// A peer could not be told.
    failed: bool,
}

/// Both sides, in the order of `Rehoming::until`.
const SIDES: [Side; 2] = [Side::Ingress, Side::Egress];

impl Call {
    /// The way to a peer from this home: as it was, where the home has that address. Absent where it has none that
    /// reaches the peer.
    pub(crate) fn flow_here(&self, flow: Flow) -> Option<Flow> {
        if self.context.addresses.contains(&(flow.transport, flow.local)) {
            return Some(flow);
        }
        let local = self.context.address(flow.transport, flow.remote)?;
        Some(Flow { local, connection: 0, ..flow })
    }

    /// Where the messages of a restored leg go. Its connection was another process's, and is gone: the peer is dialled
    /// where it wants requests (RFC 3261 §12.2.1.1).
    pub(crate) fn leg_flow(&self, leg: &LegState) -> Flow {
        let Some(mut flow) = self.flow_here(leg.flow) else { return leg.flow };
        if flow.transport != Transport::Udp {
            flow.connection = 0;
            flow.remote = next_hop(&leg.dialog, flow.transport).unwrap_or(flow.remote);
        }
        flow
    }

    /// The ports that the record has, or others where this home does not have them. Gives whether they are others.
    pub(crate) fn find_ports(&mut self, ports: &mut dyn TakePorts) -> bool {
        let Some(known) = &self.media.ports else { return false };
        if ports.keep(known) {
            return false;
        }
        let drawn = ports.take(known.ingress.len());
        let found = drawn.is_some();
        if found {
            self.media.ports = drawn;
        }
        found
    }

    /// Commits what is another's in this home.
    pub(crate) fn propose_rehome(&mut self, local: SocketAddr) {
        let rehome = Rehome { local, ports: self.media.ports.clone() };
        self.lazy(Change::Rehome(Box::new(rehome)));
    }

    /// Finds the legs that name another home, and what we would say to them now.
    pub(crate) fn find_strays(&mut self) -> [bool; 2] {
        SIDES.map(|side| {
            let stray = !self.is_at_home(side);
            if stray {
                self.redescribe(side);
            }
            stray
        })
    }

    fn is_at_home(&self, side: Side) -> bool {
        let Some(legs) = self.legs.as_ref() else { return true };
        let leg = legs.leg(side);
        let described = self.media.ports.as_ref().is_none_or(|ports| {
            let ports = if side == Side::Ingress { &ports.ingress } else { &ports.egress };
            is_described(&leg.local_sdp, self.context.media, ports)
        });
        leg.known_at == leg.flow.local && described
    }

    /// What we said last, from this home: with our ports, the negotiated codecs, and the next version.
    fn redescribe(&mut self, side: Side) {
        if self.media.ports.is_none() {
            return; // Direct media stays where it is: the same description again.
        }
        let version = self.media.next_version(side);
        let origin = self.origin(side, version);
        let (Some(legs), Some(ports)) = (self.legs.as_mut(), self.media.ports.as_ref()) else { return };
        let ports: &[u16] = if side == Side::Ingress { &ports.ingress } else { &ports.egress };
        let leg = legs.leg_mut(side);
        let known = leg.local_sdp.clone();
        let Ok(ours) = Session::parse(&known) else { return };
        let payloads = negotiated(&ours, &leg.remote_sdp);
        let anchor = Some(Anchor { address: self.context.media, ports });
        let rewrite = |codecs| Rewrite { origin: Some(origin), anchor, codecs, security: &[] };
        let narrow = ours.rewritten(&rewrite(Codecs::Only(&payloads)));
        if let Ok(body) = narrow.or_else(|_| ours.rewritten(&rewrite(Codecs::Keep))) {
            leg.local_sdp = body.into();
        }
    }

    /// Begins to tell the peers. `fresh`: the caller's ACK is not recorded, so the
    /// callee's may have died with the home.
    pub(crate) fn begin_rehoming(&mut self, now: Instant, wall: WallTime, strays: [bool; 2], fresh: bool) {
        let Some(legs) = self.legs.as_ref() else { return };
        let flows = [legs.ingress.flow, legs.egress.flow];
        if strays == [false, false] {
            return;
        }
        self.rehoming = Some(Box::new(Rehoming { until: [None, None], failed: false }));
        let until = now + self.times().give_up() * 2;
        for ((side, flow), stray) in SIDES.into_iter().zip(flows).zip(strays) {
            if !stray {
                continue;
            }
            if self.flow_here(flow).is_none() {
                return self.hang_up(now, wall, Hangup::ours("no address of the new home reaches the peer"));
            }
            if !self.may_reinvite(side) {
                self.not_moved(side);
                continue;
            }
            if let Some(rehoming) = self.rehoming.as_mut() {
                *rehoming.of(side) = Some(until);
            }
            self.wanted.push((side, Wanted::Rehome));
        }
        if fresh && strays[1] {
            // Its 2xx, repeated, goes where nobody listens; a second ACK does no harm.
            self.repeat_ack(INVITE_CSEQ);
        }
        self.finish_rehoming();
    }

    /// Whether a party may be sent a re-INVITE that moves a call (`media.reinvite`).
    fn may_reinvite(&self, side: Side) -> bool {
        let party = if side == Side::Ingress { Some(&self.party) } else { self.callee.as_ref() };
        let settings = party.and_then(|party| settings(&self.context.resources, party));
        settings.is_none_or(|settings| settings.media.reinvite != Reinvite::Never)
    }

    /// Tells a peer by re-INVITE, as soon as that is allowed.
    pub(crate) fn rehome(&mut self, now: Instant, side: Side) {
        let wanted = self.rehoming.as_mut().and_then(|rehoming| *rehoming.of(side));
        let (Some(until), Some(legs)) =
            (wanted.filter(|_| self.stage == Stage::Answered), self.legs.as_ref())
        else {
            return;
        };
        let leg = legs.leg(side);
        let sdp = leg.local_sdp.clone();
        // Never without an offer: the peer's would be another session. Without media an UPDATE does.
        let kind = if sdp.is_empty() { Kind::Update } else { Kind::Invite };
        match leg.dialog.may_send(kind.method(), !sdp.is_empty()) {
            Ok(()) if now >= until || (sdp.is_empty() && !leg.dialog.state().peer.update) => {
                self.not_moved(side);
                self.finish_rehoming();
            }
            Ok(()) if leg.dialog.state().cseq.left() == 0 => {
                self.wanted.push((side, Wanted::Rehome));
                self.keep_numbers(side);
            }
            Ok(()) => self.send_refresh(now, side, &kind, &sdp),
            Err(NotNow::Ended) => {}
            // What the peer asked, or its ACK, comes first.
            Err(_) => self.rehome_later(now, side, PATIENCE),
        }
    }

    fn rehome_later(&mut self, now: Instant, side: Side, wait: Duration) {
        if self.timers.get(CallTimer::Rehome(side)).is_none() {
            self.timers.set(CallTimer::Rehome(side), now + wait);
        }
        self.wanted.push((side, Wanted::Rehome));
    }

    /// It has waited long enough.
    pub(crate) fn rehome_due(&mut self, now: Instant, side: Side) {
        self.wanted.retain(|(at, wanted)| *at != side || !matches!(wanted, Wanted::Rehome));
        let setup = self.setup.as_ref();
        if side == Side::Ingress && setup.is_some_and(|setup| setup.answer.is_some() && !setup.ack_owed) {
            // The caller's ACK may go to the lost home for ever. A re-INVITE is as good a question.
            if let Some(legs) = self.legs.as_mut() {
                legs.ingress.dialog.ack_timed_out();
            }
        }
        self.rehome(now, side);
    }

    /// A peer refused. Gives whether it was a re-INVITE of this page.
    pub(crate) fn refused_to_move(
        &mut self,
        now: Instant,
        index: usize,
        side: Side,
        refusal: &Message<'_>,
    ) -> bool {
        let ours = self.exchanges.get(index).is_some_and(|exchange| exchange.asked.is_none());
        let until = self.rehoming.as_mut().and_then(|rehoming| *rehoming.of(side));
        let Some(until) = until.filter(|_| ours) else { return false };
        let asked = refusal.retry_after().ok().flatten().map(|seconds| Duration::from_secs(seconds.into()));
        let wait = asked.unwrap_or(RETRY);
        if is_passing(refusal.status().unwrap_or(500)) && now + wait < until {
            self.rehome_later(now, side, wait);
        } else {
            self.not_moved(side);
            self.finish_rehoming();
        }
        true
    }

    /// A peer took our address.
    pub(crate) fn peer_moved(&mut self, now: Instant, wall: WallTime, side: Side) {
        let Some(rehoming) = self.rehoming.as_mut() else { return };
        if rehoming.of(side).take().is_none() {
            return;
        }
        self.finish_rehoming();
        if side == Side::Ingress && self.setup.as_ref().is_some_and(|setup| setup.answer.is_some()) {
            // Who accepts a re-INVITE has had the 200 (RFC 3261 §13.2.2.4).
            self.lazy(Change::Acked(None));
            self.setup = None;
            self.send_wanted(now, wall, side);
        }
    }

    /// A peer goes on speaking to the lost home. What we say still reaches it.
    fn not_moved(&mut self, side: Side) {
        if let Some(rehoming) = self.rehoming.as_mut() {
            *rehoming.of(side) = None;
            rehoming.failed = true;
        }
        if !self.events.iter().any(|event| event == "not-rehomed") {
            self.events.push("not-rehomed".to_owned());
        }
        self.outputs.push_back(Output::Event(Event::NotRehomed(side)));
    }

    fn finish_rehoming(&mut self) {
        let Some(rehoming) = self.rehoming.take_if(|rehoming| rehoming.until == [None, None]) else { return };
        if !rehoming.failed {
            self.events.push("rehomed".to_owned());
            self.outputs.push_back(Output::Event(Event::Rehomed));
        }
    }
}

impl Rehoming {
    fn of(&mut self, side: Side) -> &mut Option<Instant> {
        let [ingress, egress] = &mut self.until;
        if side == Side::Ingress { ingress } else { egress }
    }
}

/// Whether a refusal may be withdrawn soon: the peer is busy with something else (RFC 3261 §14.2, §21.5).
fn is_passing(status: u16) -> bool {
    matches!(status, 480 | 500 | 503 | 504)
}

/// Whether a description names these ports of this address. One that can't be read is nobody's to move.
fn is_described(ours: &[u8], address: IpAddr, ports: &[u16]) -> bool {
    let Ok(session) = Session::parse(ours) else { return true };
    session.media().iter().enumerate().all(|(index, media)| {
        let at = media.endpoint().map_or(address, |endpoint| endpoint.rtp.ip());
        !media.is_active() || (at == address && ports.get(index) == Some(&media.port()))
    })
}

/// The payload types of our speech that the peer's last description knows too, by the names of their codecs.
fn negotiated(ours: &Session<'_>, theirs: &[u8]) -> SmallVec<[u8; 16]> {
    let theirs = Session::parse(theirs).ok();
    let known = |name: &str| {
        let audio = theirs.as_ref().and_then(|session| session.audio());
        audio.is_none_or(|audio| audio.codecs().any(|codec| codec.is(name)))
    };
    let speech = ours.audio().into_iter().flat_map(|audio| audio.codecs());
    speech.filter(|codec| known(codec.name)).map(|codec| codec.payload).collect()
}

/// The address in the `o=` line of a description of ours.
pub(crate) fn o_address(body: &[u8]) -> Option<IpAddr> {
    let line = body.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"o="))?;
    std::str::from_utf8(line.rsplit(|byte| *byte == b' ').next()?).ok()?.trim_end().parse().ok()
}

/// Where requests of a dialog go, if that is written as an address.
pub(crate) fn next_hop(dialog: &DialogState, transport: Transport) -> Option<SocketAddr> {
    sip::Uri::parse(dialog.next_hop()).ok()?.socket_address(transport.default_port())
}

/// How long a re-INVITE waits for what a peer must finish first: four times T1.
const PATIENCE: Duration = Duration::from_secs(2);
/// When a peer is asked again that did not say when.
const RETRY: Duration = Duration::from_secs(2);

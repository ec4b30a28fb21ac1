//! One relayed media stream: who may be heard, where its packets go, and who fell silent.
//!
//! A packet is heard only if it comes from where its side signalled that media would come from: the address
//! in its SDP (any port: RFC 3264 does not promise symmetric ports), or the address learned by latching. A
//! packet is sent only to the signalled or latched address of the other side, never anywhere else.
//!
//! **Latching.** Where the entry names a latch address (the source of the peer's SIP, and only where its SDP
//! names another), the first valid RTP packet from that address tells the peer's real port. From then on
//! only that very address and port are heard, until the next offer or answer. If the first valid packet comes
//! from the signalled address after all, the peer is a media server apart from its SIP server, and
//! the latch closes on what was signalled.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use env::{
    RelayEntry, RelayEvent, RelayFigures, RelayId, RelayKind, RelayRemote, RelaySide, SideConfig, SideFigures,
};
use machine::Instant;

use crate::mos::mos_x100;
use crate::packet::{is_rtcp, read_rtp};
use crate::reception::Reception;

/// So many packets in a row from the very address that we send to make a side steady.
const STEADY_PACKETS: u32 = 10;
/// A side that is not heard for this long is steady no more.
const STEADY_WITHIN: Duration = Duration::from_millis(150);

/// Which of a side's two ports a packet came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// The even port.
    Rtp,
    /// The odd port.
    Rtcp,
}

/// What to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send it from the other side's port of the same component to this address.
    Forward(SocketAddr),
    /// Drop it.
    Drop(DropReason),
}

/// Why a packet is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// It is not what its port is for.
    Invalid,
    /// It comes from an address that was neither signalled nor latched.
    Stranger,
    /// The other side has not said where it wants its media.
    Nowhere,
    /// The other side does not want media now (hold).
    Held,
}

/// Whether a side's address may still be learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Latch {
    /// What was signalled holds; any port of that address is heard.
    Signalled,
    /// The first valid packet from this address, or from the one in use, decides.
    Open(IpAddr),
    /// Learned; only this address and port are heard.
    Learned(IpAddr),
}

/// One side of the stream.
#[derive(Clone, Debug)]
struct Side {
    config: SideConfig,
    /// Where its media goes, and (any port, or this very port once latched) comes from.
    remote: Option<RelayRemote>,
    latch: Latch,
    rtcp_learned: bool,
    /// How many packets in a row came from the very address that its media goes to.
    steady: u32,
    reception: Reception,
    figures: SideFigures,
    /// When it was last heard, or began to be listened for.
    heard_at: Instant,
    silent: bool,
}

/// The machine of one relayed stream.
#[derive(Clone, Debug)]
pub struct RelaySession {
    id: RelayId,
    kind: RelayKind,
    unleased: bool,
    silence: Option<Duration>,
    ingress: Side,
    egress: Side,
    events: VecDeque<RelayEvent>,
}

impl RelaySession {
    /// A stream as it was signalled so far.
    pub fn new(now: Instant, id: RelayId, entry: RelayEntry) -> RelaySession {
        RelaySession {
            id,
            kind: entry.kind,
            unleased: entry.unleased,
            silence: entry.silence,
            ingress: Side::new(now, entry.ingress),
            egress: Side::new(now, entry.egress),
            events: VecDeque::new(),
        }
    }

    /// Takes a new entry: after an offer or an answer. A side that signals another address is heard and
    /// served only there from now on; every latch opens again, but a learned address serves until another
    /// is learned.
    pub fn update(&mut self, now: Instant, entry: RelayEntry) {
        let watched = self.silence.is_some();
        self.kind = entry.kind;
        self.unleased = entry.unleased;
        self.silence = entry.silence;
        for (side, config) in [(&mut self.ingress, entry.ingress), (&mut self.egress, entry.egress)] {
            side.update(now, config);
            if !watched {
                side.heard_at = now;
            }
        }
    }

    /// Decides about a packet that came to one of our ports.
    pub fn received(
        &mut self,
        now: Instant,
        side: RelaySide,
        component: Component,
        from: SocketAddr,
        bytes: &[u8],
    ) -> Verdict {
        let (kind, id) = (self.kind, self.id);
        let (near, far) = match side {
            RelaySide::Ingress => (&mut self.ingress, &mut self.egress),
            RelaySide::Egress => (&mut self.egress, &mut self.ingress),
        };
        let heard = match component {
            Component::Rtp => near.hear_media(now, kind, from, bytes),
            Component::Rtcp => near.hear_control(kind, from, bytes),
        };
        match heard {
            Err(reason) => return Verdict::Drop(reason),
            Ok(false) => {}
            Ok(true) => {
                let remote = near.remote.unwrap_or(RelayRemote { rtp: from, rtcp: from });
                self.events.push_back(RelayEvent::Latched { id, side, remote });
            }
        }
        if near.silent && component == Component::Rtp {
            near.silent = false;
            self.events.push_back(RelayEvent::Heard { id, side });
        }
        let Some(remote) = far.remote else { return Verdict::Drop(DropReason::Nowhere) };
        match component {
            Component::Rtp if !far.config.receives => Verdict::Drop(DropReason::Held),
            Component::Rtp => {
                near.figures.relayed += 1;
                Verdict::Forward(remote.rtp)
            }
            Component::Rtcp => Verdict::Forward(remote.rtcp),
        }
    }

    /// Reports the sides that are silent at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        let Some(silence) = self.silence else { return };
        let id = self.id;
        for (side, state) in [(RelaySide::Ingress, &mut self.ingress), (RelaySide::Egress, &mut self.egress)]
        {
            if !state.silent && state.config.sends && now.since(state.heard_at) >= silence {
                state.silent = true;
                self.events.push_back(RelayEvent::Silent { id, side });
            }
        }
    }

    /// When `handle_timeout` could have something to report.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let silence = self.silence?;
        [&self.ingress, &self.egress]
            .into_iter()
            .filter(|side| side.config.sends && !side.silent)
            .map(|side| side.heard_at + silence)
            .min()
    }

    /// Whether it goes on when relaying as such does not.
    pub const fn is_unleased(&self) -> bool {
        self.unleased
    }

    /// The next thing that was noticed.
    pub fn poll_event(&mut self) -> Option<RelayEvent> {
        self.events.pop_front()
    }

    /// The figures so far.
    pub fn figures(&self) -> RelayFigures {
        RelayFigures { ingress: self.ingress.figures(self.kind), egress: self.egress.figures(self.kind) }
    }

    /// The address with which a side sends and receives RTP steadily, so that the shell may tie its socket to
    /// it: cheaper, and deaf to strangers. `None` as soon as the side is not heard, since it may have moved
    /// to another port; the socket must then be untied.
    pub fn steady(&self, now: Instant, side: RelaySide) -> Option<SocketAddr> {
        let side = match side {
            RelaySide::Ingress => &self.ingress,
            RelaySide::Egress => &self.egress,
        };
        let steady = side.steady >= STEADY_PACKETS && now.since(side.heard_at) <= STEADY_WITHIN;
        side.remote.filter(|_| steady).map(|remote| remote.rtp)
    }

    /// Where a side's media goes at present.
    pub fn remote(&self, side: RelaySide) -> Option<RelayRemote> {
        match side {
            RelaySide::Ingress => self.ingress.remote,
            RelaySide::Egress => self.egress.remote,
        }
    }
}

impl Side {
    fn new(now: Instant, config: SideConfig) -> Side {
        Side {
            config,
            remote: config.remote,
            latch: config.latch.map_or(Latch::Signalled, Latch::Open),
            rtcp_learned: false,
            steady: 0,
            reception: Reception::default(),
            figures: SideFigures::default(),
            heard_at: now,
            silent: false,
        }
    }

    fn update(&mut self, now: Instant, config: SideConfig) {
        self.steady = 0;
        let moved = config.remote != self.config.remote || config.latch != self.config.latch;
        if moved {
            self.remote = config.remote;
            self.rtcp_learned = false;
        }
        self.latch = config.latch.map_or(Latch::Signalled, Latch::Open);
        if config.sends && !self.config.sends {
            // It may send again; its silence counts from here.
            self.heard_at = now;
            self.silent = false;
        }
        self.config = config;
    }

    /// Whether RTP from there is heard; true if its address was learned by it.
    fn hear_media(
        &mut self,
        now: Instant,
        kind: RelayKind,
        from: SocketAddr,
        bytes: &[u8],
    ) -> Result<bool, DropReason> {
        if !self.is_expected(from) {
            self.figures.strange += 1;
            return Err(DropReason::Stranger);
        }
        match kind {
            RelayKind::Rtp { clock_rate } => {
                let Some(header) = read_rtp(bytes) else {
                    self.figures.invalid += 1;
                    return Err(DropReason::Invalid);
                };
                self.reception.received(now, &header, clock_rate);
            }
            RelayKind::Datagrams => {}
        }
        self.figures.packets += 1;
        self.figures.bytes += bytes.len() as u64;
        self.heard_at = now;
        let learned = self.close_latch(from);
        let same = self.remote.is_some_and(|remote| remote.rtp == from);
        self.steady = if same { self.steady.saturating_add(1) } else { 0 };
        Ok(learned)
    }

    /// Whether a packet from there may be heard at all.
    fn is_expected(&self, from: SocketAddr) -> bool {
        let remote = self.remote.map(|remote| remote.rtp);
        match self.latch {
            Latch::Signalled => remote.is_some_and(|remote| remote.ip() == from.ip()),
            Latch::Open(ip) => from.ip() == ip || remote.is_some_and(|remote| remote.ip() == from.ip()),
            Latch::Learned(_) => remote == Some(from),
        }
    }

    /// After a valid packet: closes an open latch; true if that changed the address in use.
    fn close_latch(&mut self, from: SocketAddr) -> bool {
        let Latch::Open(ip) = self.latch else { return false };
        // Before the peer signalled anything there is nothing to correct.
        let (Some(remote), Some(signalled)) = (self.remote, self.config.remote) else { return false };
        if from.ip() != ip {
            self.latch = Latch::Signalled;
            return false;
        }
        self.latch = Latch::Learned(ip);
        if remote.rtp == from {
            return false;
        }
        // Its RTCP address is learned by itself; until then what was signalled stands.
        let rtcp = if self.rtcp_learned { remote.rtcp } else { signalled.rtcp };
        self.remote = Some(RelayRemote { rtp: from, rtcp });
        true
    }

    /// Whether RTCP from there is heard; true if its address was learned by it.
    fn hear_control(&mut self, kind: RelayKind, from: SocketAddr, bytes: &[u8]) -> Result<bool, DropReason> {
        let known = self.remote.filter(|remote| match self.latch {
            Latch::Signalled => remote.rtcp.ip() == from.ip(),
            Latch::Open(_) => remote.rtcp == from,
            // RTP has proved the address; RTCP may come from another port of it, once.
            Latch::Learned(ip) => {
                if self.rtcp_learned {
                    remote.rtcp == from
                } else {
                    ip == from.ip() || remote.rtcp == from
                }
            }
        });
        let Some(remote) = known else {
            self.figures.strange += 1;
            return Err(DropReason::Stranger);
        };
        if matches!(kind, RelayKind::Rtp { .. }) && !is_rtcp(bytes) {
            self.figures.invalid += 1;
            return Err(DropReason::Invalid);
        }
        self.figures.rtcp += 1;
        if !matches!(self.latch, Latch::Learned(_)) || self.rtcp_learned {
            return Ok(false);
        }
        self.rtcp_learned = true;
        self.remote = Some(RelayRemote { rtcp: from, ..remote });
        Ok(remote.rtcp != from)
    }

    fn figures(&self, kind: RelayKind) -> SideFigures {
        let mut figures = self.figures;
        if matches!(kind, RelayKind::Rtp { .. }) {
            figures.lost = self.reception.lost();
            figures.jitter_us = self.reception.jitter_us();
        }
        figures.mos_x100 = mos_x100(figures.packets, figures.lost, figures.jitter_us);
        figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use DropReason::{Held, Invalid, Nowhere, Stranger};
    use RelaySide::{Egress, Ingress};
    use proptest::prelude::*;

    const RTP: [u8; 12] = [0x80, 8, 0, 1, 0, 0, 0, 160, 0, 0, 0, 7];
    const RTCP: [u8; 8] = [0x80, 201, 0, 1, 0, 0, 0, 7];
    const ID: RelayId = RelayId(1);

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    fn addr(text: &str) -> SocketAddr {
        text.parse().expect("literal")
    }

    fn remote(rtp: &str) -> RelayRemote {
        let rtp = addr(rtp);
        RelayRemote { rtp, rtcp: SocketAddr::new(rtp.ip(), rtp.port() + 1) }
    }

    fn side(local: &str, signalled: Option<&str>, latch: Option<&str>) -> SideConfig {
        SideConfig {
            local: addr(local),
            remote: signalled.map(remote),
            latch: latch.map(|ip| ip.parse().expect("literal")),
            sends: true,
            receives: true,
        }
    }

    /// The caller at 192.0.2.1, where it says; the callee says 10.0.0.5, its SIP comes from 203.0.113.9.
    fn entry() -> RelayEntry {
        RelayEntry {
            kind: RelayKind::Rtp { clock_rate: 8000 },
            ingress: side("198.51.100.7:10000", Some("192.0.2.1:4000"), None),
            egress: side("198.51.100.7:10002", Some("10.0.0.5:5000"), Some("203.0.113.9")),
            unleased: false,
            silence: None,
        }
    }

    struct Stream(RelaySession);

    impl Stream {
        fn new(entry: RelayEntry) -> Stream {
            Stream(RelaySession::new(at(0), ID, entry))
        }

        fn rtp(&mut self, side: RelaySide, from: &str) -> Result<String, DropReason> {
            self.packet(side, Component::Rtp, from, &RTP)
        }

        fn rtcp(&mut self, side: RelaySide, from: &str) -> Result<String, DropReason> {
            self.packet(side, Component::Rtcp, from, &RTCP)
        }

        fn packet(
            &mut self,
            side: RelaySide,
            component: Component,
            from: &str,
            bytes: &[u8],
        ) -> Result<String, DropReason> {
            match self.0.received(at(1), side, component, addr(from), bytes) {
                Verdict::Forward(to) => Ok(to.to_string()),
                Verdict::Drop(reason) => Err(reason),
            }
        }

        fn events(&mut self) -> Vec<RelayEvent> {
            std::iter::from_fn(|| self.0.poll_event()).collect()
        }
    }

    fn to(address: &str) -> Result<String, DropReason> {
        Ok(address.to_owned())
    }

    #[test]
    fn media_and_control_flow_between_the_signalled_addresses() {
        let mut entry = entry();
        entry.egress = side("198.51.100.7:10002", Some("203.0.113.9:5000"), None);
        let mut stream = Stream::new(entry);
        assert_eq!(stream.rtp(Ingress, "192.0.2.1:4000"), to("203.0.113.9:5000"));
        assert_eq!(stream.rtp(Egress, "203.0.113.9:5000"), to("192.0.2.1:4000"));
        assert_eq!(stream.rtcp(Ingress, "192.0.2.1:4001"), to("203.0.113.9:5001"));
        // Ports need not be symmetric; addresses do.
        assert_eq!(stream.rtp(Ingress, "192.0.2.1:4444"), to("203.0.113.9:5000"));
        assert_eq!(stream.rtp(Ingress, "192.0.2.2:4000"), Err(Stranger));
        assert_eq!(stream.rtcp(Ingress, "192.0.2.2:4001"), Err(Stranger));
        assert_eq!(stream.events(), []);
    }

    #[test]
    fn the_first_valid_packet_from_the_sip_source_is_latched_once() {
        let mut stream = Stream::new(entry());
        assert_eq!(stream.rtp(Ingress, "192.0.2.1:4000"), to("10.0.0.5:5000"));
        assert_eq!(stream.rtp(Egress, "203.0.113.9:61000"), to("192.0.2.1:4000"));
        let learned = RelayRemote { rtp: addr("203.0.113.9:61000"), rtcp: addr("10.0.0.5:5001") };
        assert_eq!(stream.events(), [RelayEvent::Latched { id: ID, side: Egress, remote: learned }]);
        assert_eq!(stream.rtp(Ingress, "192.0.2.1:4000"), to("203.0.113.9:61000"));
        // Locked: neither another port nor the signalled address is heard now.
        assert_eq!(stream.rtp(Egress, "203.0.113.9:61002"), Err(Stranger));
        assert_eq!(stream.rtp(Egress, "10.0.0.5:5000"), Err(Stranger));
        assert_eq!(stream.rtp(Ingress, "192.0.2.1:4000"), to("203.0.113.9:61000"));
        assert_eq!(stream.events(), []);
    }

    #[test]
    fn nobody_else_and_nothing_invalid_can_be_latched() {
        let mut stream = Stream::new(entry());
        assert_eq!(stream.rtp(Egress, "203.0.113.10:61000"), Err(Stranger));
        assert_eq!(stream.packet(Egress, Component::Rtp, "203.0.113.9:61000", b"rubbish"), Err(Invalid));
        assert_eq!(stream.packet(Egress, Component::Rtp, "203.0.113.9:61000", &RTCP), Err(Invalid));
        assert_eq!(stream.rtcp(Egress, "203.0.113.9:61001"), Err(Stranger));
        assert_eq!(stream.rtp(Ingress, "192.0.2.1:4000"), to("10.0.0.5:5000"));
        assert_eq!(stream.events(), []);
        assert_eq!(stream.0.figures().egress.strange, 2);
        assert_eq!(stream.0.figures().egress.invalid, 2);
    }

    /// The twin of the test above it: the same peer, with latching off.
    #[test]
    fn without_a_latch_only_the_signalled_address_is_heard() {
        let mut entry = entry();
        entry.egress.latch = None;
        let mut stream = Stream::new(entry);
        assert_eq!(stream.rtp(Egress, "203.0.113.9:61000"), Err(Stranger));
        assert_eq!(stream.rtp(Egress, "10.0.0.5:5000"), to("192.0.2.1:4000"));
    }

    #[test]
    fn a_media_server_apart_from_its_sip_server_closes_the_latch_where_it_signalled() {
        let mut stream = Stream::new(entry());
        assert_eq!(stream.rtp(Egress, "10.0.0.5:5000"), to("192.0.2.1:4000"));
        assert_eq!(stream.rtp(Egress, "203.0.113.9:61000"), Err(Stranger));
        assert_eq!(stream.events(), []);
    }

    #[test]
    fn control_is_learned_after_media_from_the_same_address_once() {
        let mut stream = Stream::new(entry());
        let _ = stream.rtp(Egress, "203.0.113.9:61000");
        assert_eq!(stream.rtcp(Ingress, "192.0.2.1:4001"), to("10.0.0.5:5001"));
        assert_eq!(stream.rtcp(Egress, "203.0.113.9:61007"), to("192.0.2.1:4001"));
        assert_eq!(stream.rtcp(Ingress, "192.0.2.1:4001"), to("203.0.113.9:61007"));
        assert_eq!(stream.rtcp(Egress, "203.0.113.9:61008"), Err(Stranger));
        assert_eq!(stream.events().len(), 2);
    }

    #[test]
    fn the_next_offer_opens_the_latch_again_and_keeps_the_address_meanwhile() {
        let mut stream = Stream::new(entry());
        let _ = stream.rtp(Egress, "203.0.113.9:61000");
        stream.0.update(at(2), entry());
        assert_eq!(stream.rtp(Ingress, "192.0.2.1:4000"), to("203.0.113.9:61000"));
        assert_eq!(stream.rtp(Egress, "203.0.113.9:62000"), to("192.0.2.1:4000"));
        assert_eq!(stream.rtp(Ingress, "192.0.2.1:4000"), to("203.0.113.9:62000"));
        assert_eq!(stream.rtp(Egress, "203.0.113.9:61000"), Err(Stranger));
    }

    #[test]
    fn a_peer_that_moves_is_served_only_at_its_new_address() {
        let mut stream = Stream::new(entry());
        let _ = stream.rtp(Egress, "203.0.113.9:61000");
        let moved =
            RelayEntry { egress: side("198.51.100.7:10002", Some("192.0.2.66:7000"), None), ..entry() };
        stream.0.update(at(2), moved);
        assert_eq!(stream.rtp(Ingress, "192.0.2.1:4000"), to("192.0.2.66:7000"));
        assert_eq!(stream.rtp(Egress, "203.0.113.9:61000"), Err(Stranger));
    }

    #[test]
    fn before_the_answer_nothing_goes_to_the_callee_and_hold_stops_media_but_not_control() {
        let mut unanswered = entry();
        unanswered.egress = side("198.51.100.7:10002", None, None);
        let mut stream = Stream::new(unanswered);
        assert_eq!(stream.rtp(Ingress, "192.0.2.1:4000"), Err(Nowhere));
        assert_eq!(stream.rtp(Egress, "203.0.113.9:5000"), Err(Stranger));
        let mut held = entry();
        held.egress.receives = false;
        stream.0.update(at(2), held);
        assert_eq!(stream.rtp(Ingress, "192.0.2.1:4000"), Err(Held));
        assert_eq!(stream.rtcp(Ingress, "192.0.2.1:4001"), to("10.0.0.5:5001"));
    }

    #[test]
    fn datagrams_that_are_no_rtp_pass_where_the_stream_is_none() {
        let fax = RelayEntry { kind: RelayKind::Datagrams, ..entry() };
        let mut stream = Stream::new(fax);
        assert_eq!(
            stream.packet(Ingress, Component::Rtp, "192.0.2.1:4000", b"\0\x01udptl"),
            to("10.0.0.5:5000")
        );
        let mut stream = Stream::new(entry());
        assert_eq!(stream.packet(Ingress, Component::Rtp, "192.0.2.1:4000", b"\0\x01udptl"), Err(Invalid));
    }

    #[test]
    fn fl28_a_side_that_falls_silent_is_reported_once_and_again_when_heard() {
        let silence = Some(Duration::from_secs(10));
        let mut stream = Stream::new(entry());
        // Ringing for a minute is no silence.
        stream.0.handle_timeout(at(60_000));
        assert_eq!(stream.events(), []);
        assert_eq!(stream.0.poll_timeout(), None);
        stream.0.update(at(60_000), RelayEntry { silence, ..entry() });
        assert_eq!(stream.0.poll_timeout(), Some(at(70_000)));
        for ms in (60_000..80_000).step_by(20) {
            let from = addr("192.0.2.1:4000");
            stream.0.received(at(ms), Ingress, Component::Rtp, from, &RTP);
            stream.0.handle_timeout(at(ms));
        }
        assert_eq!(stream.events(), [RelayEvent::Silent { id: ID, side: Egress }]);
        stream.0.received(at(80_000), Egress, Component::Rtp, addr("10.0.0.5:5000"), &RTP);
        assert_eq!(stream.events(), [RelayEvent::Heard { id: ID, side: Egress }]);
    }

    #[test]
    fn fl28_a_side_on_hold_is_not_silent() {
        let mut held = RelayEntry { silence: Some(Duration::from_secs(10)), ..entry() };
        held.ingress.sends = false;
        held.egress.sends = false;
        let mut stream = Stream::new(held);
        stream.0.handle_timeout(at(60_000));
        assert_eq!(stream.events(), []);
        // Back from hold: the clock starts there.
        held.ingress.sends = true;
        stream.0.update(at(60_000), held);
        stream.0.handle_timeout(at(69_999));
        assert_eq!(stream.events(), []);
        stream.0.handle_timeout(at(70_000));
        assert_eq!(stream.events(), [RelayEvent::Silent { id: ID, side: Ingress }]);
    }

    #[test]
    fn a_side_is_steady_while_it_speaks_from_where_it_listens() {
        let mut stream = Stream::new(entry());
        let mut packet = |ms, from: &str| {
            stream.0.received(at(ms), Ingress, Component::Rtp, addr(from), &RTP);
            stream.0.steady(at(ms), Ingress)
        };
        for i in 0..9 {
            assert_eq!(packet(i * 20, "192.0.2.1:4000"), None);
        }
        assert_eq!(packet(180, "192.0.2.1:4000"), Some(addr("192.0.2.1:4000")));
        // Another port of the same address is heard, and shows that it is not steady.
        assert_eq!(packet(200, "192.0.2.1:4444"), None);
        for i in 11..20 {
            assert_eq!(packet(i * 20, "192.0.2.1:4000"), None);
        }
        assert_eq!(packet(400, "192.0.2.1:4000"), Some(addr("192.0.2.1:4000")));
        assert_eq!(stream.0.steady(at(550), Ingress), Some(addr("192.0.2.1:4000")));
        assert_eq!(stream.0.steady(at(551), Ingress), None);
        assert_eq!(stream.0.steady(at(400), Egress), None);
        // So does the next offer.
        stream.0.update(at(401), entry());
        assert_eq!(stream.0.steady(at(401), Ingress), None);
    }

    #[test]
    fn figures_count_what_came_and_what_was_relayed() {
        let mut stream = Stream::new(entry());
        for sequence in [1_u8, 2, 5] {
            let mut packet = RTP;
            packet[3] = sequence;
            let _ = stream.packet(Ingress, Component::Rtp, "192.0.2.1:4000", &packet);
        }
        let _ = stream.rtcp(Ingress, "192.0.2.1:4001");
        let ingress = stream.0.figures().ingress;
        assert_eq!((ingress.packets, ingress.bytes, ingress.relayed), (3, 36, 3));
        assert_eq!((ingress.lost, ingress.rtcp), (2, 1));
        assert_eq!(stream.0.figures().egress, SideFigures::default());
    }

    fn any_address() -> impl Strategy<Value = SocketAddr> {
        (0..4_u8, 0..4_u16).prop_map(|(ip, port)| SocketAddr::from(([192, 0, 2, ip], 4000 + port)))
    }

    fn any_side() -> impl Strategy<Value = SideConfig> {
        let remote = prop::option::of((any_address(), any_address()));
        (remote, prop::option::of(0..4_u8)).prop_map(|(remote, latch)| SideConfig {
            local: SocketAddr::from(([198, 51, 100, 7], 10_000)),
            remote: remote.map(|(rtp, rtcp)| RelayRemote { rtp, rtcp }),
            latch: latch.map(|ip| IpAddr::from([192, 0, 2, ip])),
            sends: true,
            receives: true,
        })
    }

    proptest! {
        /// I-37: whatever comes from wherever, through any number of offers, a packet goes only to the other
        /// side's signalled address, or to a port of the address that the entry lets us latch.
        #[test]
        fn i_37_media_goes_only_where_it_was_signalled_or_latched(
            first in (any_side(), any_side()),
            steps in prop::collection::vec(
                prop_oneof![
                    8 => (any::<bool>(), any::<bool>(), any_address()).prop_map(Ok),
                    1 => (any_side(), any_side()).prop_map(Err),
                ],
                1..60,
            ),
        ) {
            let entry = |(ingress, egress)| RelayEntry { ingress, egress, ..entry() };
            let mut config = entry(first);
            let mut session = RelaySession::new(at(0), ID, config);
            for step in steps {
                let (egress, control, from) = match step {
                    Ok(packet) => packet,
                    Err(sides) => {
                        config = entry(sides);
                        session.update(at(1), config);
                        continue;
                    }
                };
                let (side, component) = (
                    if egress { Egress } else { Ingress },
                    if control { Component::Rtcp } else { Component::Rtp },
                );
                let bytes: &[u8] = if control { &RTCP } else { &RTP };
                if let Verdict::Forward(to) = session.received(at(1), side, component, from, bytes) {
                    let far = if egress { config.ingress } else { config.egress };
                    let signalled = far.remote.map(|remote| if control { remote.rtcp } else { remote.rtp });
                    prop_assert!(Some(to) == signalled || Some(to.ip()) == far.latch, "{to}");
                    let near = if egress { config.egress } else { config.ingress };
                    let known = near.remote.map(|remote| if control { remote.rtcp } else { remote.rtp });
                    prop_assert!(
                        known.map(|known| known.ip()) == Some(from.ip()) || near.latch == Some(from.ip()),
                        "heard {from}"
                    );
                }
            }
        }
    }
}

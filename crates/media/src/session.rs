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

    /// The next thing that was noticed.
    pub fn poll_event(&mut self) -> Option<RelayEvent> {
        self.events.pop_front()
    }

    /// The figures so far.
    pub fn figures(&self) -> RelayFigures {
        RelayFigures { ingress: self.ingress.figures(self.kind), egress: self.egress.figures(self.kind) }
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
            reception: Reception::default(),
            figures: SideFigures::default(),
            heard_at: now,
            silent: false,
        }
    }

    fn update(&mut self, now: Instant, config: SideConfig) {
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
        Ok(self.close_latch(from))
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

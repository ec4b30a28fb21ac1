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
    RelayEntry, RelayEvent, RelayFigures, RelayId, RelayKind, RelayRemote, RelaySide, SideConfig,
    SideFigures, SrtpMark,
};
use machine::Instant;

use crate::mos::mos_x100;
use crate::packet::{RtpHeader, is_rtcp, read_rtp};
use crate::reception::Reception;
use crate::secured::Secured;
use crate::srtp::Refused;

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
    /// Send the first `length` octets of the buffer from the other side's port of the same component.
    Forward {
        /// Where to.
        to: SocketAddr,
        /// How long the packet is now.
        length: usize,
    },
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
    /// Its tag is wrong.
    Forged,
    /// It was secured, and came before.
    Replayed,
    /// It can't be secured for the other side.
    Unsent,
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
#[derive(Debug)]
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
    secured: Secured,
    /// How many forged packets were told.
    forged_told: u64,
}

/// The machine of one relayed stream.
#[derive(Debug)]
pub struct RelaySession {
    id: RelayId,
    kind: RelayKind,
    unleased: bool,
    silence: Option<Duration>,
    ingress: Side,
    egress: Side,
    events: VecDeque<RelayEvent>,
    allowance: Allowance,
}

/// How many marks may be asked for: each is a record, and a peer that changes its source with every packet shall not
/// make one with every packet.
#[derive(Debug)]
struct Allowance {
    since: Instant,
    told: u32,
}

impl Allowance {
    const PER_SECOND: u32 = 8;

    fn take(&mut self, now: Instant) -> bool {
        if now.since(self.since) >= Duration::from_secs(1) {
            (self.since, self.told) = (now, 0);
        }
        self.told += 1;
        self.told <= Allowance::PER_SECOND
    }
}

impl RelaySession {
    /// A stream as it was signalled so far.
    pub fn new(now: Instant, id: RelayId, entry: RelayEntry) -> RelaySession {
        let resumed = entry.resumed.as_deref();
        RelaySession {
            id,
            kind: entry.kind,
            unleased: entry.unleased,
            silence: entry.silence,
            ingress: Side::new(now, entry.ingress, Secured::new(RelaySide::Ingress, resumed)),
            egress: Side::new(now, entry.egress, Secured::new(RelaySide::Egress, resumed)),
            events: VecDeque::new(),
            allowance: Allowance { since: now, told: 0 },
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
        let resumed = entry.resumed.as_deref();
        for (at, side, config) in [
            (RelaySide::Ingress, &mut self.ingress, entry.ingress),
            (RelaySide::Egress, &mut self.egress, entry.egress),
        ] {
            if resumed.is_some() && !side.secured.has_begun() {
                side.secured = Secured::new(at, resumed);
            }
            side.update(now, config);
            if !watched {
                side.heard_at = now;
            }
        }
    }

    /// Decides about a packet that came to one of our ports: the first `length` octets of `buffer`, in which it is
    /// opened and secured. Room for `GROWTH_MAX` more octets lets every packet grow that has to.
    pub fn received(
        &mut self,
        now: Instant,
        side: RelaySide,
        component: Component,
        from: SocketAddr,
        buffer: &mut [u8],
        length: usize,
    ) -> Verdict {
        let (kind, id) = (self.kind, self.id);
        let (near, far) = match side {
            RelaySide::Ingress => (&mut self.ingress, &mut self.egress),
            RelaySide::Egress => (&mut self.egress, &mut self.ingress),
        };
        let Some(bytes) = buffer.get_mut(..length) else { return Verdict::Drop(DropReason::Invalid) };
        let heard = match component {
            Component::Rtp => near.hear_media(now, kind, from, bytes),
            Component::Rtcp => near.hear_control(kind, from, bytes),
        };
        let heard = match heard {
            Err(reason) => return Verdict::Drop(reason),
            Ok(heard) => heard,
        };
        if heard.latched {
            let remote = near.remote.unwrap_or(RelayRemote { rtp: from, rtcp: from });
            self.events.push_back(RelayEvent::Latched { id, side, remote });
        }
        if let Some(mark) = heard.mark.filter(|_| self.allowance.take(now)) {
            self.events.push_back(RelayEvent::Mark { id, side, mark });
        }
        if near.silent && component == Component::Rtp {
            near.silent = false;
            self.events.push_back(RelayEvent::Heard { id, side });
        }
        let Some(remote) = far.remote else { return Verdict::Drop(DropReason::Nowhere) };
        let to = match component {
            Component::Rtp if !far.config.receives => return Verdict::Drop(DropReason::Held),
            Component::Rtp => remote.rtp,
            Component::Rtcp => remote.rtcp,
        };
        let sealed = far.secured.seal(buffer, heard.length, heard.header.as_ref());
        if let Some(mark) = far.secured.poll_wanted().filter(|_| self.allowance.take(now)) {
            self.events.push_back(RelayEvent::Mark { id, side: side.other(), mark });
        }
        let Ok(length) = sealed else {
            far.figures.unsent += 1;
            return Verdict::Drop(DropReason::Unsent);
        };
        near.figures.relayed += u64::from(component == Component::Rtp);
        Verdict::Forward { to, length }
    }

    /// What was asked for by `RelayEvent::Mark` is recorded.
    pub fn recorded(&mut self, side: RelaySide, mark: SrtpMark) {
        match side {
            RelaySide::Ingress => self.ingress.secured.recorded(mark),
            RelaySide::Egress => self.egress.secured.recorded(mark),
        }
    }

    /// Reports the sides that are silent at `now`, and forged packets.
    pub fn handle_timeout(&mut self, now: Instant) {
        let id = self.id;
        for (side, state) in [(RelaySide::Ingress, &mut self.ingress), (RelaySide::Egress, &mut self.egress)]
        {
            let packets = state.figures.forged - state.forged_told;
            if packets > 0 {
                state.forged_told = state.figures.forged;
                self.events.push_back(RelayEvent::Forged { id, side, packets });
            }
        }
        let Some(silence) = self.silence else { return };
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

/// A packet that may pass on.
#[derive(Default)]
struct Heard {
    /// Its length, opened.
    length: usize,
    /// Its header, if it is RTP.
    header: Option<RtpHeader>,
    /// Whether an address was learned by it.
    latched: bool,
    /// What is to be recorded of its source.
    mark: Option<SrtpMark>,
}

impl Side {
    fn new(now: Instant, config: SideConfig, mut secured: Secured) -> Side {
        secured.update(config.keys);
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
            secured,
            forged_told: 0,
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
        self.secured.update(config.keys);
        self.config = config;
    }

    /// Whether RTP from there is heard, and what became of it. Nothing is learned from it before its tag is right.
    fn hear_media(
        &mut self,
        now: Instant,
        kind: RelayKind,
        from: SocketAddr,
        bytes: &mut [u8],
    ) -> Result<Heard, DropReason> {
        if !self.is_expected(from) {
            self.figures.strange += 1;
            return Err(DropReason::Stranger);
        }
        let mut heard = Heard { length: bytes.len(), ..Heard::default() };
        match kind {
            RelayKind::Rtp { clock_rate } => {
                let Some(header) = read_rtp(bytes) else {
                    self.figures.invalid += 1;
                    return Err(DropReason::Invalid);
                };
                (heard.length, heard.mark) = self.open(bytes, Some(&header))?;
                self.reception.received(now, &header, clock_rate);
                heard.header = Some(header);
            }
            RelayKind::Datagrams => {}
        }
        self.figures.packets += 1;
        self.figures.bytes += bytes.len() as u64;
        self.heard_at = now;
        heard.latched = self.close_latch(from);
        let same = self.remote.is_some_and(|remote| remote.rtp == from);
        self.steady = if same { self.steady.saturating_add(1) } else { 0 };
        Ok(heard)
    }

    /// Opens a packet where this side's are secured.
    fn open(
        &mut self,
        bytes: &mut [u8],
        header: Option<&RtpHeader>,
    ) -> Result<(usize, Option<SrtpMark>), DropReason> {
        self.secured.open(bytes, header).map_err(|refused| match refused {
            Refused::Forged => {
                self.figures.forged += 1;
                DropReason::Forged
            }
            Refused::Replayed => {
                self.figures.replayed += 1;
                DropReason::Replayed
            }
        })
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

    /// Whether RTCP from there is heard, and what became of it.
    fn hear_control(
        &mut self,
        kind: RelayKind,
        from: SocketAddr,
        bytes: &mut [u8],
    ) -> Result<Heard, DropReason> {
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
        let mut heard = Heard { length: bytes.len(), ..Heard::default() };
        if matches!(kind, RelayKind::Rtp { .. }) {
            (heard.length, _) = self.open(bytes, None)?;
        }
        self.figures.rtcp += 1;
        if matches!(self.latch, Latch::Learned(_)) && !self.rtcp_learned {
            self.rtcp_learned = true;
            self.remote = Some(RelayRemote { rtcp: from, ..remote });
            heard.latched = remote.rtcp != from;
        }
        Ok(heard)
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
mod tests;

//! The media relay: what carries RTP and RTCP between the two sides of a call, as a node sees it.
//!
//! The node installs an entry per media stream before it speaks of its ports, changes it with each answer,
//! and takes it away when the call ends. What the relay learns on the way (an address behind a NAT, a side
//! that fell silent) comes back as events; figures are polled.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use machine::Instant;

use crate::srtp::{SideKeys, SrtpMark};

/// Names one relayed media stream; the node chooses it (a call and the index of its `m=` line).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelayId(pub u64);

/// The two sides of a relayed stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RelaySide {
    /// Towards the caller.
    Ingress,
    /// Towards the callee.
    Egress,
}

impl RelaySide {
    /// The other side.
    pub const fn other(self) -> RelaySide {
        match self {
            RelaySide::Ingress => RelaySide::Egress,
            RelaySide::Egress => RelaySide::Ingress,
        }
    }
}

/// Where a peer wants its media, as it signalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayRemote {
    /// Where it wants RTP.
    pub rtp: SocketAddr,
    /// Where it wants RTCP.
    pub rtcp: SocketAddr,
}

/// One side of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SideConfig {
    /// Our address towards this peer: the even port, for RTP. RTCP has the next, odd, port.
    pub local: SocketAddr,
    /// What the peer signalled; `None` until it did. Media for it is dropped until then.
    pub remote: Option<RelayRemote>,
    /// The only address from which the peer's real media address may be learned, by the first valid
    /// packet; `None`: only the signalled address counts.
    pub latch: Option<IpAddr>,
    /// Whether this peer may send (its direction is `sendrecv` or `sendonly`, and it is not on hold): if
    /// it does, its silence is reported.
    pub sends: bool,
    /// Whether this peer wants to receive (`sendrecv` or `recvonly`): if it does not, RTP for it is dropped.
    pub receives: bool,
    /// How its media is secured; `None`: it is not. Packets with a wrong tag are dropped and counted, and nothing is
    /// learned from them.
    pub keys: Option<SideKeys>,
}

/// What a stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayKind {
    /// RTP on the even port, RTCP on the odd one; packets must be valid.
    Rtp {
        /// Ticks per second of the RTP timestamp, for jitter (8,000 for G.711).
        clock_rate: u32,
    },
    /// Anything else over UDP, such as T.38: passed as it is, between signalled addresses.
    Datagrams,
}

/// A media stream to relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayEntry {
    /// What it carries.
    pub kind: RelayKind,
    /// Towards the caller.
    pub ingress: SideConfig,
    /// Towards the callee.
    pub egress: SideConfig,
    /// Whether it goes on when relaying as such does not: an emergency call without a majority.
    pub unleased: bool,
    /// What a life of this stream before this one recorded of packets that are secured; `None`: this is the first.
    /// Counts when the stream begins to be secured, and not later.
    pub resumed: Option<Vec<(RelaySide, SrtpMark)>>,
    /// A side that sends nothing for this long is reported, counted from the first entry that sets it (the
    /// answer); `None`: not yet, or never.
    pub silence: Option<Duration>,
}

/// Something that the relay noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayEvent {
    /// The peer's real address was learned; it holds until the entry changes.
    Latched {
        /// Which stream.
        id: RelayId,
        /// Whose address.
        side: RelaySide,
        /// Where its media comes from, and goes to from now on.
        remote: RelayRemote,
    },
    /// Nothing came from this side for the configured time. Once per silence.
    Silent {
        /// Which stream.
        id: RelayId,
        /// Who is silent.
        side: RelaySide,
    },
    /// A silent side is heard again.
    Heard {
        /// Which stream.
        id: RelayId,
        /// Who is heard.
        side: RelaySide,
    },
    /// Packets that claimed to be this side's had a wrong tag. Told now and then, not for each.
    Forged {
        /// Which stream.
        id: RelayId,
        /// Whose they would have been.
        side: RelaySide,
        /// How many since it was told last.
        packets: u64,
    },
    /// Secured packets come near what is recorded of them: this is to be recorded, and then told by `Relay::recorded`.
    Mark {
        /// Which stream.
        id: RelayId,
        /// Towards or from whom they go.
        side: RelaySide,
        /// How far they may come next.
        mark: SrtpMark,
    },
}

/// What came from one side of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SideFigures {
    /// Valid RTP packets (or datagrams) that came from this side.
    pub packets: u64,
    /// Their bytes, without IP and UDP headers.
    pub bytes: u64,
    /// How many were handed on to the other side.
    pub relayed: u64,
    /// Packets that never came: expected less received (RFC 3550 A.3), never below zero.
    pub lost: u64,
    /// Interarrival jitter (RFC 3550 A.8) in microseconds.
    pub jitter_us: u32,
    /// Estimated listening quality in hundredths (441 is 4.41); 0 when nothing came.
    pub mos_x100: u16,
    /// RTCP packets that came from this side.
    pub rtcp: u64,
    /// Packets dropped because they are not what they should be.
    pub invalid: u64,
    /// Packets dropped because they came from elsewhere.
    pub strange: u64,
    /// Packets dropped because their tag was wrong.
    pub forged: u64,
    /// Secured packets dropped because they had come before, or came too late.
    pub replayed: u64,
    /// Packets from the other side that could not be secured for this one.
    pub unsent: u64,
}

/// What came from both sides of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayFigures {
    /// From the caller.
    pub ingress: SideFigures,
    /// From the callee.
    pub egress: SideFigures,
}

/// A node's media relay. No method waits for media.
pub trait Relay: Send + Sync + 'static {
    /// Binds the entry's four ports and relays from now on. An entry with this id is replaced.
    ///
    /// # Errors
    /// A port is taken or an address is not ours: nothing is installed, and the caller may try other ports.
    fn install(&self, id: RelayId, entry: RelayEntry) -> io::Result<()>;
    /// Changes an entry: after this returns, nothing goes to an address that only the old entry named.
    /// Latching begins anew on a side whose `remote` or `latch` changed. Ports that changed are bound; the
    /// old ones are closed. An unknown id is installed.
    ///
    /// # Errors
    /// As for `install`; the old entry stays.
    fn update(&self, id: RelayId, entry: RelayEntry) -> io::Result<()>;
    /// Ends an entry, closes its ports and gives its last figures; `None` if it is unknown.
    fn remove(&self, id: RelayId) -> Option<RelayFigures>;
    /// The figures of an entry so far.
    fn figures(&self, id: RelayId) -> Option<RelayFigures>;
    /// What `RelayEvent::Mark` asked for is recorded. An unknown id is ignored.
    fn recorded(&self, id: RelayId, side: RelaySide, mark: SrtpMark);
    /// Moves what was noticed since the last call into `events`, in order.
    fn poll_events(&self, events: &mut Vec<RelayEvent>);
    /// Relaying goes on until then and no longer, unless more is said: a node speaks as long as its lease lasts, and a
    /// thread that stood still finds it over. Entries stay; what is bound to `except` goes on. At first it is for ever.
    fn speak_until(&self, until: Instant, except: Option<IpAddr>);
}

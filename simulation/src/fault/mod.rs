//! What may go wrong, each kind by its name: when, to whom, how much. All of it is drawn from the seed.

mod effects;
mod operator;
mod schedule;
mod works;

use std::fmt;

use machine::Instant;

pub use effects::{Adoption, Effects};
pub use schedule::{draw, draw_only, is_busy};
pub use works::{Site, perform};

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Datagrams are lost.
    Loss,
    /// Datagrams come twice.
    Duplication,
    /// Some datagrams are overtaken by later ones.
    Reordering,
    /// All datagrams take up to seconds.
    Delay,
    /// Bytes of datagrams change.
    Corruption,
    /// Datagrams beyond a length are lost.
    Mtu,
    /// A caller or callee neither hears nor is heard.
    PeerCut,
    /// Connections of a peer are reset.
    TcpReset,
    /// Connections of a peer carry nothing any more, and the node is not told.
    TcpHalfOpen,
    /// A node and the others don't hear each other.
    Isolation,
    /// Nothing passes from one node to another.
    OneWay,
    /// A link breaks and heals several times a second.
    Flapping,
    /// Frames between two nodes take up to seconds.
    SlowLink,
    /// A process dies and is started again.
    Crash,
    /// A process dies while its log is being written.
    CrashAtSync,
    /// What was being written when a process died is there in part.
    TornWrite,
    /// Two processes die within a moment.
    CrashOfTwo,
    /// All processes die within a moment.
    PowerCut,
    /// A process stands still for less than its lease.
    ShortPause,
    /// A process stands still for longer than its lease, and goes on.
    LongPause,
    /// A process is told to stop, hands over, and is started again.
    Restart,
    /// A node is drained, and takes homes again later.
    DrainAndResume,
    /// Writes take 5 to 80 ms.
    SlowDisk,
    /// A disk holds no more.
    DiskFull,
    /// Civil time of a node jumps by up to an hour.
    ClockJump,
    /// A node's clocks run up to 1 % too fast or too slow.
    ClockDrift,
    /// The leader is cut off until another is elected.
    LeaderDeposed,
    /// A limit is set below what is in use.
    LimitLowered,
    /// Resources are put in place again every second.
    Reapplication,
    /// Ten times the calls that were planned.
    Overload,
    /// A node joins the cluster.
    MemberAdded,
    /// A node is drained and removed, and comes back as a new one.
    MemberRemoved,
    /// A dead node is removed by force.
    ForcedRemoval,
    /// A node comes back with an empty disk, and is replaced.
    DiskLost,
    /// A bit of a dead node's log flips.
    BitFlip,
    /// A disk fails amid a write.
    FsyncError,
    /// A disk can't be read.
    ReadError,
    /// The guard of a node's floating addresses is killed, with the node or alone.
    GuardDead,
    /// A process dies, and its guard's word of it is lost.
    GuardMute,
    /// Nodes of an older program are replaced by newer ones, one by one.
    RollingUpgrade,
    /// A node comes back with an older program.
    OldProgram,
    /// A host name has no address for a while.
    DnsEmpty,
    /// A host name leads elsewhere every second time.
    DnsFlip,
    /// No host name leads anywhere, and that takes its time.
    DnsNxdomain,
    /// Callers give up while it rings.
    Cancel,
    /// Callees answer when they are told of a caller's giving up.
    LateAnswer,
    /// The first ACK of an answer is lost.
    LostAck,
    /// Both ends hang up at once.
    Glare,
    /// Callees refuse.
    Refusal,
    /// Callers ask for a change amid the call.
    Reinvite,
}

use Kind::{
    BitFlip, Cancel, ClockDrift, ClockJump, Corruption, Crash, CrashAtSync, CrashOfTwo, Delay, DiskFull,
    DiskLost, DnsEmpty, DnsFlip, DnsNxdomain, DrainAndResume, Duplication, Flapping, ForcedRemoval,
    FsyncError, Glare, GuardDead, GuardMute, Isolation, LateAnswer, LeaderDeposed, LimitLowered, LongPause,
    Loss, LostAck, MemberAdded, MemberRemoved, Mtu, OldProgram, OneWay, Overload, PeerCut, PowerCut,
    ReadError, Reapplication, Refusal, Reinvite, Reordering, Restart, RollingUpgrade, ShortPause, SlowDisk,
    SlowLink, TcpHalfOpen, TcpReset, TornWrite,
};

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 50] = [
        Loss,
        Duplication,
        Reordering,
        Delay,
        Corruption,
        Mtu,
        PeerCut,
        TcpReset,
        TcpHalfOpen,
        Isolation,
        OneWay,
        Flapping,
        SlowLink,
        Crash,
        CrashAtSync,
        TornWrite,
        CrashOfTwo,
        PowerCut,
        ShortPause,
        LongPause,
        Restart,
        DrainAndResume,
        SlowDisk,
        DiskFull,
        ClockJump,
        ClockDrift,
        LeaderDeposed,
        LimitLowered,
        Reapplication,
        Overload,
        MemberAdded,
        MemberRemoved,
        ForcedRemoval,
        DiskLost,
        BitFlip,
        FsyncError,
        ReadError,
        GuardDead,
        GuardMute,
        RollingUpgrade,
        OldProgram,
        DnsEmpty,
        DnsFlip,
        DnsNxdomain,
        Cancel,
        LateAnswer,
        LostAck,
        Glare,
        Refusal,
        Reinvite,
    ];

    /// Its name, and what it does, in words.
    pub const fn words(self) -> (&'static str, &'static str) {
        match self {
            Loss => ("loss", "1-30 % of SIP datagrams are lost"),
            Duplication => ("duplication", "1-30 % of SIP datagrams come twice"),
            Reordering => ("reordering", "5-50 % of SIP datagrams are up to 200 ms late"),
            Delay => ("delay", "every SIP datagram is up to 50 ms-5 s late"),
            Corruption => ("corruption", "1-10 % of SIP datagrams have a byte changed"),
            Mtu => ("mtu", "SIP datagrams beyond 500-900 bytes are lost"),
            PeerCut => ("peer-cut", "a caller or callee is cut off for 0.1-8 s"),
            TcpReset => ("tcp-reset", "connections of a peer, or of all, are reset, now and then"),
            TcpHalfOpen => ("tcp-half-open", "a peer loses its connections, and nodes are not told for 20 s"),
            Isolation => ("isolation", "a node and the others do not hear each other for 0.1-10 s"),
            OneWay => ("one-way", "one node does not hear another for 0.1-10 s"),
            Flapping => ("flapping", "a link between nodes breaks and heals every 20-400 ms"),
            SlowLink => ("slow-link", "frames between two nodes take up to 20 ms-1 s"),
            Crash => ("crash", "a process dies without a word; back after 0.2-8 s"),
            CrashAtSync => ("crash-at-sync", "a process dies while a write of its log is under way"),
            TornWrite => ("torn-write", "of the write that a crash met, a part is on disk"),
            CrashOfTwo => ("crash-of-two", "two processes die within 50 ms: no quorum for 0.2-6 s"),
            PowerCut => ("power-cut", "all processes die within 50 ms; back after 0.2-5 s"),
            ShortPause => ("short-pause", "a process stands still for 10-200 ms"),
            LongPause => ("long-pause", "a process stands still for 0.25-12 s, and goes on"),
            Restart => ("restart", "a process is told to stop, ends in order, and is started again"),
            DrainAndResume => ("drain-resume", "a node is drained, and resumed after 0.5-6 s"),
            SlowDisk => ("slow-disk", "a node's writes take 5-80 ms"),
            DiskFull => ("disk-full", "a node's disk takes no more for 0.2-6 s"),
            ClockJump => ("clock-jump", "civil time of a node jumps by up to an hour, either way"),
            ClockDrift => ("clock-drift", "a node's clocks run up to 1 % wrong all the time"),
            LeaderDeposed => ("leader-deposed", "the leader is cut off until another leads"),
            LimitLowered => ("limit-lowered", "the trunk's limit is set below what is in use"),
            Reapplication => ("reapplication", "all resources are put in place again every second"),
            Overload => ("overload", "ten times the planned calls for 0.5-2 s"),
            MemberAdded => ("member-added", "a fresh node joins, and may go again"),
            MemberRemoved => {
                ("member-removed", "a node is drained and removed; its machine joins as a new one")
            }
            ForcedRemoval => {
                ("forced-removal", "a node dies and is removed by force; its machine joins as a new one")
            }
            DiskLost => ("disk-lost", "a node loses its disk, is removed by force and joins anew"),
            BitFlip => ("bit-flip", "a bit of a dead node's log flips; it refuses to start and is replaced"),
            FsyncError => ("fsync-error", "a node's disk fails amid a write, of the log or of CDR files"),
            ReadError => {
                ("read-error", "a node's disk can't be read for 0.2-4 s, as it runs or as it starts")
            }
            GuardDead => ("guard-dead", "a guard is killed, alone or with its server: addresses linger 3 s"),
            GuardMute => {
                ("guard-mute", "a process dies, its guard takes the addresses off, its word is lost")
            }
            RollingUpgrade => {
                ("rolling-upgrade", "nodes that know the last version of commands are upgraded one by one")
            }
            OldProgram => {
                ("old-program", "a node comes back with an older program: taken among such, else refused")
            }
            DnsEmpty => ("dns-empty", "a callee's name has no address for 0.5-12 s"),
            DnsFlip => ("dns-flip", "a callee's name leads to a dead host first, every second time"),
            DnsNxdomain => {
                ("dns-nxdomain", "no name has an address, and that is found out after up to 1.5 s")
            }
            Cancel => ("cancel", "callers give up while it rings, or as it is answered"),
            LateAnswer => ("late-answer", "callees answer a CANCEL by a 200 to the INVITE"),
            LostAck => ("lost-ack", "callers lose the first ACK"),
            Glare => ("glare", "both ends hang up at once"),
            Refusal => ("refusal", "callees refuse"),
            Reinvite => ("reinvite", "callers send a re-INVITE amid the call"),
        }
    }

    /// Whether it is a way of peers and no fault with a time.
    pub const fn is_way(self) -> bool {
        self as u8 >= Cancel as u8
    }

    /// Whether a process ends by it, at once or later.
    pub const fn kills(self) -> bool {
        matches!(
            self,
            Crash
                | CrashAtSync
                | CrashOfTwo
                | PowerCut
                | ForcedRemoval
                | DiskLost
                | BitFlip
                | FsyncError
                | ReadError
                | GuardDead
                | GuardMute
                | OldProgram
        )
    }

    /// Whether it needs callees that are known by name.
    pub const fn needs_names(self) -> bool {
        matches!(self, DnsEmpty | DnsFlip | DnsNxdomain)
    }

    /// Whether it needs floating addresses on interfaces.
    pub const fn needs_guards(self) -> bool {
        matches!(self, GuardDead | GuardMute)
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        self.words().0
    }

    /// The kind of a name.
    pub fn named(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whom a fault meets. Leaders and holders are looked up when it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The network, the resources, or the peers.
    All,
    /// A node.
    Node(u64),
    /// Whoever leads then.
    Leader,
    /// Whoever holds the first home then.
    Holder,
    /// A caller or callee, by its place among them.
    Peer(usize),
}

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What.
    pub kind: Kind,
    /// From when.
    pub from: Instant,
    /// Until when.
    pub until: Instant,
    /// To whom.
    pub who: Who,
    /// How much, in the kind's own unit: parts in a million, microseconds, bytes, milliseconds, calls; or which of
    /// several ways.
    pub amount: i64,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |at: Instant| at.as_nanos() / 1_000_000;
        let (from, until) = (ms(self.from), ms(self.until));
        write!(f, "{} {from}-{until} ms {:?} {}", self.kind, self.who, self.amount)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_in_the_catalogue_once_and_found_by_its_name() {
        for (place, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place);
            assert_eq!(Kind::named(kind.name()), Some(kind));
        }
        assert_eq!(Kind::named("bad luck"), None);
    }
}

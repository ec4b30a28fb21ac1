//! What goes wrong in a run, drawn from its seed: a few troubles, each of one kind, which comes again and again. So
//! kinds meet each other in many pairs, and each has its chance to meet something.

use std::time::Duration;

use machine::{Instant, Rng};

use super::{Fault, Kind, Who};
use crate::plan::{CALM, FIRST, Plan};

/// What a run is like. Among many troubles nearly everything has its excuse; a calm run leaves none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    /// Many troubles, of any kinds.
    Stormy,
    /// A few.
    Calm,
    /// An operator's orders alone, among many calls: what is lost then has no excuse at all.
    Orders,
    /// Every kind that seldom meets what it is about.
    Rare,
}

impl Mood {
    fn of(plan: &Plan) -> Mood {
        match (plan.seed % 7, (plan.seed / 7).is_multiple_of(2)) {
            (3, true) => Mood::Calm,
            (3, false) => Mood::Orders,
            (4, _) => Mood::Rare,
            _ => Mood::Stormy,
        }
    }
}

/// The faults of a run, by their beginning.
pub fn draw(rng: &mut Rng, plan: &Plan) -> Vec<Fault> {
    let mut faults = Vec::new();
    let (drawn, rare): (u64, &[Kind]) = match Mood::of(plan) {
        Mood::Stormy => (1 + rng.below(TROUBLES_MAX), &[]),
        Mood::Calm => (1 + rng.below(CALM_TROUBLES_MAX), &[]),
        Mood::Orders => (0, std::slice::from_ref(&ORDERS[(plan.seed / 14 % 3) as usize])),
        Mood::Rare => (0, if (plan.seed / 7).is_multiple_of(2) { RARE[0] } else { RARE[1] }),
    };
    for _ in 0..drawn {
        let kind = kind(rng);
        trouble(rng, plan, kind, &mut faults);
    }
    rare.iter().for_each(|kind| trouble(rng, plan, *kind, &mut faults));
    faults.extend(of_streams(plan));
    faults.sort_by_key(|fault| (fault.from, fault.kind));
    faults
}

/// Whether calls come many times as often as elsewhere.
pub fn is_busy(plan: &Plan) -> bool {
    Mood::of(plan) == Mood::Orders
}

/// Faults of one kind only.
pub fn draw_only(rng: &mut Rng, plan: &Plan, kind: Kind) -> Vec<Fault> {
    let mut faults = Vec::new();
    if !kind.is_way() {
        // A torn write is what a crash may leave.
        let kind = if kind == Kind::TornWrite { Kind::CrashAtSync } else { kind };
        trouble(rng, plan, kind, &mut faults);
    }
    faults.sort_by_key(|fault| (fault.from, fault.kind));
    faults
}

/// A kind, those that do one thing at a time more often than those that meet every datagram.
fn kind(rng: &mut Rng) -> Kind {
    let kinds = || Kind::ALL.into_iter().filter(|kind| is_drawn(*kind));
    let all: u64 = kinds().map(weight).sum();
    let mut drawn = rng.below(all);
    let mut found = kinds().skip_while(|kind| {
        let over = drawn >= weight(*kind);
        drawn = drawn.saturating_sub(weight(*kind));
        over
    });
    found.next().unwrap_or(Kind::Loss)
}

/// Those of connections are drawn where there are any; a torn write is what a crash may leave.
fn is_drawn(kind: Kind) -> bool {
    !kind.is_way() && !matches!(kind, Kind::TornWrite | Kind::TcpReset | Kind::TcpHalfOpen)
}

const fn weight(kind: Kind) -> u64 {
    match kind {
        Kind::Reordering
        | Kind::Delay
        | Kind::Mtu
        | Kind::PeerCut
        | Kind::Isolation
        | Kind::OneWay
        | Kind::Flapping
        | Kind::SlowLink
        | Kind::SlowDisk
        | Kind::DiskFull
        | Kind::Overload => 1,
        Kind::Loss | Kind::Duplication | Kind::Reapplication => 2,
        Kind::ShortPause
        | Kind::Crash
        | Kind::CrashOfTwo
        | Kind::DnsNxdomain
        | Kind::ClockJump
        | Kind::LimitLowered
        | Kind::DnsEmpty => 4,
        Kind::ClockDrift | Kind::CrashAtSync | Kind::OldProgram => 7,
        Kind::LongPause | Kind::Restart | Kind::FsyncError => 9,
        Kind::GuardDead | Kind::GuardMute | Kind::DnsFlip => 9,
        // An operator does one thing at a time, and who is to be met is not always there.
        Kind::RollingUpgrade | Kind::LeaderDeposed => 13,
        Kind::BitFlip => 16,
        Kind::DiskLost => 24,
        Kind::MemberRemoved => 26,
        _ => 3,
    }
}

/// How often a trouble comes again, at most.
const fn repeats_max(kind: Kind) -> u64 {
    match kind {
        Kind::Overload | Kind::Reapplication | Kind::PowerCut => 2,
        Kind::ClockDrift | Kind::DnsEmpty | Kind::DnsFlip | Kind::DnsNxdomain => 3,
        Kind::ShortPause | Kind::ClockJump | Kind::OldProgram | Kind::Restart => 8,
        Kind::Loss | Kind::Duplication | Kind::Reordering | Kind::Delay | Kind::Corruption | Kind::Mtu => 3,
        _ => 6,
    }
}

fn trouble(rng: &mut Rng, plan: &Plan, kind: Kind, faults: &mut Vec<Fault>) {
    let count = 1 + rng.below(repeats_max(kind));
    let storm_ms = CALM.since(FIRST).as_millis() as u64 - 1_000;
    // Spread over the storm, so that one need not meet what the last has left.
    let share = storm_ms / count;
    for turn in 0..count {
        let from = FIRST + Duration::from_millis(share * turn + rng.below(share));
        faults.push(fault(rng, plan, kind, from));
    }
}

/// What goes wrong with connections, where there are any: of a chance of its own.
fn of_streams(plan: &Plan) -> Vec<Fault> {
    let mut rng = Rng::from_u64(plan.seed ^ STREAMS);
    let count = match (plan.variety.tcp, Mood::of(plan)) {
        (0, _) => 0,
        (_, Mood::Calm) => rng.below(3),
        (_, Mood::Orders) => 0,
        _ => 4 + rng.below(20),
    };
    let peers = (plan.callers.len() + plan.callees.len()) as u64;
    let faults = (0..count).map(|_| {
        let kind = if rng.below(3) == 0 { Kind::TcpReset } else { Kind::TcpHalfOpen };
        let from = FIRST + Duration::from_millis(rng.below(CALM.since(FIRST).as_millis() as u64 - 1_000));
        let until = (from + Duration::from_millis(rng.below(6_000))).min(CALM);
        let who = if rng.below(3) == 0 { Who::All } else { Who::Peer(rng.below(peers) as usize) };
        Fault { kind, from, until, who, amount: 300 + rng.below(3_000) as i64 }
    });
    faults.collect()
}

fn fault(rng: &mut Rng, plan: &Plan, kind: Kind, from: Instant) -> Fault {
    let (least, most) = lasts_ms(kind);
    let lasting = Duration::from_millis(least + rng.below(most - least + 1));
    let (from, until) = match kind {
        Kind::ClockDrift => (Instant::ZERO, CALM),
        _ => (from, (from + lasting).min(CALM)),
    };
    Fault { kind, from, until, who: who(kind, rng, plan), amount: amount(kind, rng, plan) }
}

/// How long a fault lasts, at least and at most.
const fn lasts_ms(kind: Kind) -> (u64, u64) {
    match kind {
        Kind::PeerCut => (100, 8_000),
        Kind::Isolation | Kind::OneWay => (100, 10_000),
        Kind::Crash | Kind::CrashAtSync | Kind::GuardDead | Kind::GuardMute => (200, 8_000),
        Kind::CrashOfTwo => (200, 6_000),
        Kind::PowerCut => (200, 5_000),
        Kind::ShortPause => (10, 200),
        Kind::LongPause => (250, 12_000),
        Kind::DiskFull => (200, 6_000),
        Kind::DrainAndResume => (500, 6_000),
        Kind::LeaderDeposed => (1_000, 3_000),
        Kind::Overload => (500, 2_000),
        Kind::MemberAdded => (2_000, 8_000),
        Kind::OldProgram => (1_000, 4_000),
        Kind::ReadError => (200, 4_000),
        Kind::MemberRemoved | Kind::ForcedRemoval | Kind::DiskLost | Kind::BitFlip => (0, 0),
        Kind::Restart | Kind::ClockJump | Kind::RollingUpgrade => (0, 0),
        _ => (500, 12_000),
    }
}

fn who(kind: Kind, rng: &mut Rng, plan: &Plan) -> Who {
    match kind {
        Kind::PeerCut => Who::Peer(rng.below((plan.callers.len() + plan.callees.len()) as u64) as usize),
        Kind::LeaderDeposed => Who::Leader,
        Kind::ClockDrift => Who::Node(1 + rng.below(plan.nodes)),
        // Guards matter where there are addresses.
        Kind::GuardDead | Kind::GuardMute => Who::Holder,
        Kind::Isolation
        | Kind::OneWay
        | Kind::Flapping
        | Kind::SlowLink
        | Kind::Crash
        | Kind::CrashAtSync
        | Kind::CrashOfTwo
        | Kind::ShortPause
        | Kind::LongPause
        | Kind::Restart
        | Kind::DrainAndResume
        | Kind::SlowDisk
        | Kind::DiskFull
        | Kind::MemberRemoved
        | Kind::ForcedRemoval
        | Kind::DiskLost
        | Kind::BitFlip
        | Kind::FsyncError
        | Kind::ReadError
        | Kind::OldProgram
        | Kind::ClockJump => match rng.below(4) {
            0 => Who::Leader,
            1 => Who::Holder,
            _ => Who::Node(1 + rng.below(plan.nodes)),
        },
        _ => Who::All,
    }
}

/// How much, in the kind's own unit.
fn amount(kind: Kind, rng: &mut Rng, plan: &Plan) -> i64 {
    let mut within = |least: u64, most: u64| (least + rng.below(most - least + 1)) as i64;
    match kind {
        Kind::Loss | Kind::Duplication => within(10_000, 300_000),
        Kind::Reordering => within(50_000, 500_000),
        Kind::Corruption => within(10_000, 100_000),
        // Most delays are small, some are terrible.
        Kind::Delay => {
            let most = [200_000, 1_000_000, 5_000_000][within(0, 2) as usize];
            within(50_000, most)
        }
        Kind::Mtu => within(500, 900),
        Kind::Flapping => within(20, 400),
        Kind::TcpReset | Kind::TcpHalfOpen => within(300, 3_300),
        Kind::SlowLink => within(20_000, 1_000_000),
        Kind::ClockJump => within(0, 7_200_000) - 3_600_000,
        Kind::ClockDrift => within(0, 20_000) - 10_000,
        Kind::LimitLowered => within(0, 3),
        Kind::FsyncError | Kind::ReadError | Kind::GuardDead => within(0, 1),
        Kind::DnsEmpty | Kind::DnsFlip => within(0, plan.callees.len() as u64 - 1),
        _ => 0,
    }
}

/// Keeps what is drawn for connections apart.
const STREAMS: u64 = 0x57EA_0157_EA01_57EA;
/// How many troubles a run has, at most.
const TROUBLES_MAX: u64 = 34;
const CALM_TROUBLES_MAX: u64 = 2;
const ORDERS: [Kind; 3] = [Kind::DrainAndResume, Kind::Restart, Kind::MemberRemoved];
/// Apart, since what kills nodes leaves nobody to be met.
const RARE: [&[Kind]; 2] = [
    &[
        Kind::Reapplication,
        Kind::BitFlip,
        Kind::BitFlip,
        Kind::RollingUpgrade,
        Kind::RollingUpgrade,
        Kind::RollingUpgrade,
        Kind::MemberRemoved,
        Kind::MemberRemoved,
        Kind::LeaderDeposed,
        Kind::LeaderDeposed,
        Kind::LimitLowered,
        Kind::GuardMute,
    ],
    &[
        Kind::BitFlip,
        Kind::BitFlip,
        Kind::GuardMute,
        Kind::GuardMute,
        Kind::GuardDead,
        Kind::Crash,
        Kind::CrashAtSync,
        Kind::OldProgram,
        Kind::LongPause,
        Kind::ShortPause,
        Kind::Restart,
        Kind::DrainAndResume,
        Kind::DiskLost,
        Kind::DiskFull,
    ],
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn every_kind_with_a_time_is_drawn_and_no_other() {
        let mut rng = Rng::from_u64(1);
        let mut drawn: BTreeMap<Kind, u64> = BTreeMap::new();
        (0..20_000).for_each(|_| *drawn.entry(kind(&mut rng)).or_default() += 1);
        for kind in Kind::ALL {
            let found = drawn.get(&kind).is_some_and(|times| *times > 50);
            assert_eq!(found, is_drawn(kind), "{kind}");
        }
    }
}

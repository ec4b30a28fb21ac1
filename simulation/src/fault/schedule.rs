//! What goes wrong in a run, drawn from its seed.

use std::time::Duration;

use machine::Rng;

use super::{Fault, Kind, Who};
use crate::plan::{CALM, FIRST, Plan};

/// The faults of a run, by their beginning.
pub fn draw(rng: &mut Rng, plan: &Plan) -> Vec<Fault> {
    let count = 1 + rng.below(6);
    let mut faults: Vec<Fault> = (0..count).map(|_| fault(rng, plan)).collect();
    faults.sort_by_key(|fault| (fault.from, fault.kind));
    faults
}

fn fault(rng: &mut Rng, plan: &Plan) -> Fault {
    let kind = Kind::ALL[rng.below(TIMED) as usize];
    // A torn write is what a crash may leave.
    let kind = if kind == Kind::TornWrite { Kind::CrashAtSync } else { kind };
    let storm_ms = CALM.since(FIRST).as_millis() as u64;
    let from = FIRST + Duration::from_millis(rng.below(storm_ms - 1_000));
    let (least, most) = lasts_ms(kind);
    let lasting = Duration::from_millis(least + rng.below(most - least + 1));
    let (from, until) = match kind {
        Kind::ClockDrift => (machine::Instant::ZERO, CALM),
        _ => (from, (from + lasting).min(CALM)),
    };
    Fault { kind, from, until, who: who(kind, rng, plan), amount: amount(kind, rng) }
}

/// How long a fault lasts, at least and at most.
const fn lasts_ms(kind: Kind) -> (u64, u64) {
    match kind {
        Kind::PeerCut => (100, 8_000),
        Kind::Isolation | Kind::OneWay => (100, 10_000),
        Kind::Crash | Kind::CrashAtSync => (200, 8_000),
        Kind::CrashOfTwo => (200, 6_000),
        Kind::PowerCut => (200, 5_000),
        Kind::ShortPause => (10, 200),
        Kind::LongPause => (250, 12_000),
        Kind::DiskFull => (200, 6_000),
        Kind::DrainAndResume => (500, 6_000),
        Kind::LeaderDeposed => (1_000, 3_000),
        Kind::Overload => (500, 2_000),
        Kind::Restart | Kind::ClockJump => (0, 0),
        _ => (500, 12_000),
    }
}

fn who(kind: Kind, rng: &mut Rng, plan: &Plan) -> Who {
    match kind {
        Kind::PeerCut => Who::Peer(rng.below((plan.callers.len() + plan.callees.len()) as u64) as usize),
        Kind::LeaderDeposed => Who::Leader,
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
        | Kind::ClockJump => match rng.below(4) {
            0 => Who::Leader,
            1 => Who::Holder,
            _ => Who::Node(1 + rng.below(plan.nodes)),
        },
        Kind::ClockDrift => Who::Node(1 + rng.below(plan.nodes)),
        _ => Who::All,
    }
}

/// How much, in the kind's own unit.
fn amount(kind: Kind, rng: &mut Rng) -> i64 {
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
        Kind::SlowLink => within(20_000, 1_000_000),
        Kind::ClockJump => within(0, 7_200_000) - 3_600_000,
        Kind::ClockDrift => within(0, 20_000) - 10_000,
        Kind::LimitLowered => within(0, 3),
        _ => 0,
    }
}

/// Kinds from this place on are ways of peers, not faults with a time.
const TIMED: u64 = Kind::Cancel as u64;

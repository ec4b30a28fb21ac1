//! The leader's clock: cluster time goes on from the last committed batch by the leader's own monotonic
//! clock, drawn towards civil time by at most 5 %, never stepped.

use machine::{ClusterTime, Instant, WallTime};

/// Stamps batches.
#[derive(Debug)]
pub(crate) struct LeaderClock {
    anchor: ClusterTime,
    anchored_at: Instant,
    /// How fast it runs, in thousandths of the monotonic clock.
    permille: u64,
}

impl LeaderClock {
    /// A clock that goes on from `last`; the very first cluster time is civil time.
    pub(crate) fn new(last: ClusterTime, now: Instant, wall: WallTime) -> LeaderClock {
        let anchor = if last == ClusterTime(0) { ClusterTime(civil(wall)) } else { last };
        let mut clock = LeaderClock { anchor, anchored_at: now, permille: 1000 };
        clock.steer(wall);
        clock
    }

    /// The cluster's time now. Never goes back.
    pub(crate) fn stamp(&mut self, now: Instant, wall: WallTime) -> ClusterTime {
        let elapsed_us = now.since(self.anchored_at).as_micros() as u64;
        let time = ClusterTime(self.anchor.0 + elapsed_us * self.permille / 1_000_000);
        if elapsed_us >= STEER_EVERY_US {
            (self.anchor, self.anchored_at) = (time, now);
            self.steer(wall);
        }
        time
    }

    fn steer(&mut self, wall: WallTime) {
        let ahead_ms = i128::from(self.anchor.0) - i128::from(civil(wall));
        // A difference is made up for over 20 s, or as fast as 5 % allow.
        let slew = (-ahead_ms / 20).clamp(-50, 50) as i64;
        self.permille = 1000u64.saturating_add_signed(slew);
    }
}

fn civil(wall: WallTime) -> u64 {
    u64::try_from(wall.0).unwrap_or(0)
}

const STEER_EVERY_US: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn a_new_cluster_starts_at_civil_time_and_follows_it() {
        let mut clock = LeaderClock::new(ClusterTime(0), at(0), WallTime(1_000_000));
        assert_eq!(clock.stamp(at(10), WallTime(1_000_010)), ClusterTime(1_000_010));
        assert_eq!(clock.stamp(at(2_000), WallTime(1_002_000)), ClusterTime(1_002_000));
    }

    #[test]
    fn a_leap_of_civil_time_moves_cluster_time_by_five_percent_at_most() {
        for (wall, permille) in [(9_000_000, 1050), (1_000, 950)] {
            let mut clock = LeaderClock::new(ClusterTime(1_000_000), at(0), WallTime(wall));
            let later = clock.stamp(at(10_000), WallTime(wall + 10_000));
            assert_eq!(later, ClusterTime(1_000_000 + 10 * permille));
        }
    }

    #[test]
    fn it_never_goes_back() {
        let mut clock = LeaderClock::new(ClusterTime(5_000), at(0), WallTime(0));
        let mut last = ClusterTime(0);
        for ms in 0..5_000 {
            let next = clock.stamp(at(ms), WallTime((ms as i64 * 7919) % 20_000));
            assert!(next >= last);
            last = next;
        }
    }
}

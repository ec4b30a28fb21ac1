//! The leader's clock: cluster time goes on from the last committed batch by the leader's own monotonic
//! clock, drawn towards civil time by at most 5 %, never stepped.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use env::Clock;
use machine::{ClusterTime, Instant, WallTime};

/// The clock of whoever leads. A new leader's goes on from the last committed batch by what has passed since
/// this node applied it.
pub(crate) struct LeaderTime {
    clock: Arc<dyn Clock>,
    /// For which term it was made.
    leading: Mutex<Option<(u64, LeaderClock)>>,
}

impl LeaderTime {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> LeaderTime {
        LeaderTime { clock, leading: Mutex::new(None) }
    }

    /// The time now, for the leader of `term`. `heard` is the time on the last batch that was applied, and
    /// when it was.
    pub(crate) fn stamp(&self, term: u64, heard: (ClusterTime, Instant)) -> ClusterTime {
        let (now, wall) = (self.clock.now(), self.clock.wall());
        let mut leading = self.leading.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *leading {
            Some((of, clock)) if *of == term => {
                clock.catch_up(heard);
                clock.stamp(now, wall)
            }
            stale => {
                let mut clock = LeaderClock::new(heard.0, heard.1, wall);
                let time = clock.stamp(now, wall);
                *stale = Some((term, clock));
                time
            }
        }
    }
}

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
        let time = self.at(now);
        if now.since(self.anchored_at) >= STEER_EVERY {
            (self.anchor, self.anchored_at) = (time, now);
            self.steer(wall);
        }
        time
    }

    /// What the leaders before this one committed may be applied only after the election.
    fn catch_up(&mut self, (time, at): (ClusterTime, Instant)) {
        if time > self.at(at) {
            (self.anchor, self.anchored_at) = (time, at);
        }
    }

    fn at(&self, now: Instant) -> ClusterTime {
        let elapsed_us = now.since(self.anchored_at).as_micros() as u64;
        ClusterTime(self.anchor.0 + elapsed_us * self.permille / 1_000_000)
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

const STEER_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
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

    /// A clock that tests turn.
    struct Hand(Mutex<(Instant, WallTime)>);

    impl Clock for Hand {
        fn now(&self) -> Instant {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).0
        }

        fn wall(&self) -> WallTime {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).1
        }
    }

    #[test]
    fn a_new_leader_goes_on_from_the_last_batch_by_what_has_passed_since() {
        // This node's civil time lags by an hour; it may only slow the cluster's time by 5 %.
        let hand = Arc::new(Hand(Mutex::new((at(9_000), WallTime(1_000_000)))));
        let time = LeaderTime::new(hand.clone());
        let last = (ClusterTime(4_600_000), at(8_000));
        assert_eq!(time.stamp(7, last), ClusterTime(4_600_950));
        // A batch of the leader before, which comes to light only now, is later than that.
        *hand.0.lock().unwrap_or_else(PoisonError::into_inner) = (at(9_100), WallTime(1_000_100));
        assert_eq!(time.stamp(7, (ClusterTime(4_602_000), at(9_000))), ClusterTime(4_602_095));
        // Another term begins anew from what was heard, not from this node's own clock.
        assert_eq!(time.stamp(9, (ClusterTime(4_601_500), at(9_100))), ClusterTime(4_601_500));
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

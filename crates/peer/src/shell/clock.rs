//! The system's clocks behind `env::Clock`.

use env::Clock;
use machine::{Instant, WallTime};
use rustix::time::{ClockId, clock_gettime};

/// Monotonic time since this clock was made, and civil time.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    origin_ns: u64,
}

impl SystemClock {
    /// A clock that starts now.
    pub fn start() -> SystemClock {
        SystemClock { origin_ns: nanos(ClockId::Monotonic) }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::from_nanos(nanos(ClockId::Monotonic).saturating_sub(self.origin_ns))
    }

    fn wall(&self) -> WallTime {
        WallTime(i64::try_from(nanos(ClockId::Realtime) / 1_000_000).unwrap_or(i64::MAX))
    }
}

fn nanos(id: ClockId) -> u64 {
    let time = clock_gettime(id);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

//! The node's clocks. The only file of the node that asks the system for the time.
//!
//! Built on tokio's clock, so that a paused runtime (tests) and sleeping agree with it.

use std::time::{SystemTime, UNIX_EPOCH};

use env::Clock;
use machine::{Instant, WallTime};

/// Monotonic time since it was made, and civil time.
#[derive(Debug)]
pub struct SystemClock {
    start: tokio::time::Instant,
}

impl SystemClock {
    /// A clock that reads zero now.
    pub fn start() -> SystemClock {
        SystemClock { start: tokio::time::Instant::now() }
    }

    /// The runtime's name for a point on this clock.
    pub fn to_tokio(&self, at: Instant) -> tokio::time::Instant {
        self.start + std::time::Duration::from_nanos(at.as_nanos())
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        let elapsed = self.start.elapsed().as_nanos();
        Instant::from_nanos(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }

    #[allow(clippy::disallowed_methods)] // the one place where civil time enters
    fn wall(&self) -> WallTime {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        WallTime(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

//! Time and chance.

use machine::{Instant, WallTime};

/// The node's clocks.
pub trait Clock: Send + Sync + 'static {
    /// Monotonic time since the node's start; goes on while the machine sleeps (CLOCK_BOOTTIME).
    fn now(&self) -> Instant;
    /// Civil time: may jump.
    fn wall(&self) -> WallTime;
}

/// The node's source of chance.
pub trait Entropy: Send + Sync + 'static {
    /// Fills `out` with unpredictable bytes.
    fn fill(&self, out: &mut [u8]);
}

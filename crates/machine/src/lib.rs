//! What every pure machine shares: the shape of a machine, time that is handed in, named timers, and
//! generators that are seeded by the caller.
//!
//! Absent by design: clocks, sockets, locks, `async`. A machine takes `now` and an input, and gives
//! outputs and its next timeout; the shell does the rest.
//!
//! ```
//! use machine::{Instant, Timers};
//! use std::time::Duration;
//!
//! #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
//! enum Timer { A, B }
//! let mut timers = Timers::default();
//! timers.set(Timer::B, Instant::ZERO + Duration::from_secs(32));
//! timers.set(Timer::A, Instant::ZERO + Duration::from_millis(500));
//! assert_eq!(timers.next(), Some(Instant::ZERO + Duration::from_millis(500)));
//! assert_eq!(timers.expired(Instant::ZERO + Duration::from_secs(1)), Some(Timer::A));
//! ```

pub mod museum;
mod rng;
mod time;
mod timers;

pub use rng::Rng;
pub use time::{ClusterTime, Instant, WallTime};
pub use timers::Timers;

/// A pure state machine: inputs and time in, outputs and the next timeout out.
pub trait Machine {
    /// What happened.
    type Input;
    /// What to do, in the order in which it must be done.
    type Output;

    /// Takes one input. Runs to completion; never waits.
    fn handle(&mut self, now: Instant, input: Self::Input);
    /// Fires every timer that is due at `now`.
    fn handle_timeout(&mut self, now: Instant);
    /// The next thing to do; `None` when there is nothing left.
    fn poll_output(&mut self) -> Option<Self::Output>;
    /// When `handle_timeout` wants to be called next.
    fn poll_timeout(&self) -> Option<Instant>;
}

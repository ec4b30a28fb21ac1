//! Real time, for tests that talk to processes: waiting for a condition, never for a guess.

use std::thread;
use std::time::{Duration, Instant};

/// Now. Scenarios run beside real processes, so their clock is the real one.
#[allow(clippy::disallowed_methods, reason = "processes live in real time")]
pub fn now() -> Instant {
    Instant::now()
}

/// Asks `probe` until it answers; `None` when `patience` is over.
pub fn for_some<T>(patience: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = now() + patience;
    loop {
        if let Some(answer) = probe() {
            return Some(answer);
        }
        if now() >= deadline {
            return None;
        }
        thread::sleep(PAUSE);
    }
}

/// Waits until `probe` says yes.
///
/// # Panics
/// With `what` when `patience` is over.
pub fn until(what: &str, patience: Duration, mut probe: impl FnMut() -> bool) {
    let met = for_some(patience, || probe().then_some(()));
    assert!(met.is_some(), "waited {} s in vain: {what}", patience.as_secs());
}

/// Lets `duration` of load pass. The length of a load is part of a scenario; an answer is never waited for like this.
pub fn pass(duration: Duration) {
    thread::sleep(duration);
}

const PAUSE: Duration = Duration::from_millis(20);

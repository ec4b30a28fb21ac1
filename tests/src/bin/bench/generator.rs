//! The generator's own process: places one load with the strict peer and prints one line of JSON.

use crate::BenchError;

/// `bench generate TARGET CALLER CALLEE RATE CALLS HOLD_MS`.
///
/// # Errors
/// When the words make no sense or the sockets can't be had.
pub fn main(words: &[&str]) -> Result<(), BenchError> {
    let usage = || BenchError::Usage(format!("generate: {words:?}"));
    let [_target, _caller, _callee, _rate, _calls, _hold_ms] = words else { return Err(usage()) };
    Err(usage())
}

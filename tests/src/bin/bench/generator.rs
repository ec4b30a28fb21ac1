//! The generator's own process: places one load with the strict peer and prints one line of JSON.

use std::net::SocketAddr;
use std::time::Duration;

use peer::strict::{Phase, StrictArgs, run};

use crate::BenchError;

/// `bench generate TARGET CALLER CALLEE NUMBER RATE CALLS HOLD_MS`.
///
/// # Errors
/// When the words make no sense or the sockets can't be had.
pub fn main(words: &[&str]) -> Result<(), BenchError> {
    let usage = || BenchError::Usage(format!("generate: {words:?}"));
    let [target, caller, callee, to, rate, calls, hold_ms] = words else { return Err(usage()) };
    let address = |word: &str| word.parse::<SocketAddr>().map_err(|_| usage());
    let number = |word: &str| word.parse::<f64>().map_err(|_| usage());
    let (rate, calls) = (number(rate)?, number(calls)?);
    let arguments = StrictArgs {
        to: (*to).to_owned(),
        phases: vec![Phase { rate, seconds: calls / rate }],
        hold: Duration::from_secs_f64(number(hold_ms)? / 1_000.0),
        ..StrictArgs::new(address(target)?, address(caller)?, address(callee)?)
    };
    let report =
        run(&arguments).map_err(|error| BenchError::System { what: "the generator's sockets", error })?;
    let ms = |us: u64| us as f64 / 1_000.0;
    let line = serde_json::json!({
        "placed": report.placed,
        "completed": report.good,
        "up_max": report.up_max,
        "refused": report.refused.values().sum::<u64>(),
        "late_ms_max": ms(report.late_us_max),
        "pdd_p50_ms": ms(report.pdd_us.p50),
        "pdd_p99_ms": ms(report.pdd_us.p99),
        "cpu_s": report.cpu_s,
    });
    println!("{line}");
    Ok(())
}

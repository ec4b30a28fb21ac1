//! Any bytes as packets of both sides of a relayed stream.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../crates/media/tests/support/probe.rs"]
mod probe;

fuzz_target!(|bytes: &[u8]| probe::packets(bytes));

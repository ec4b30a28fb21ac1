//! Any bytes as a message: all getters, the verdict, the answer read again.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../crates/sip/tests/support/probe.rs"]
#[allow(dead_code)]
mod probe;

fuzz_target!(|bytes: &[u8]| probe::message(bytes));

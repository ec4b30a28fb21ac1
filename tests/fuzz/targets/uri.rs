//! Any bytes as a URI, a Via and an address.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../crates/sip/tests/support/probe.rs"]
#[allow(dead_code)]
mod probe;

fuzz_target!(|bytes: &[u8]| probe::uri(bytes));

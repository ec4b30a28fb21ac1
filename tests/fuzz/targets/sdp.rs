//! Any bytes as a session description: read, anchored, filtered, read again.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../crates/sdp/tests/support/probe.rs"]
mod probe;

fuzz_target!(|body: &[u8]| probe::session(body));

//! Any stream, cut anywhere: the same messages, each as long as the parser says. The stream's own bytes
//! say where it is cut, so a message is a seed as it stands; then it is cut into single bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../crates/sip/tests/support/probe.rs"]
#[allow(dead_code)]
mod probe;

fuzz_target!(|stream: &[u8]| {
    probe::framer(stream, stream);
    if stream.len() < 4096 {
        probe::framer(&[0], stream);
    }
});

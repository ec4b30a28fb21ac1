//! What happened, line by line: two runs of one seed write the same lines.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Mutex;

use machine::Instant;

/// The record of a run.
#[derive(Debug, Default)]
pub struct Trace(Mutex<String>);

impl Trace {
    /// Notes a message on the wire: when, from where to where, how long, its digest, its first words.
    pub fn message(&self, now: Instant, what: &str, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let first: String = bytes
            .iter()
            .take_while(|byte| !matches!(byte, b'\r' | b'\n'))
            .take(60)
            .map(|byte| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' })
            .collect();
        let mut lines = self.0.lock().expect("no holder of this lock panics");
        // Writing into a String can't fail.
        let _ = writeln!(
            lines,
            "{:>14} {what} {from} > {to} {} {:08x} {first}",
            now.as_nanos(),
            bytes.len(),
            fnv(bytes)
        );
    }

    /// Notes something that happened to the world.
    pub fn note(&self, now: Instant, what: &str) {
        let mut lines = self.0.lock().expect("no holder of this lock panics");
        // Writing into a String can't fail.
        let _ = writeln!(lines, "{:>14} {what}", now.as_nanos());
    }

    /// A digest of the lines so far.
    pub fn hash(&self) -> u64 {
        let lines = self.0.lock().expect("no holder of this lock panics");
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
        lines.as_bytes().iter().fold(0xCBF2_9CE4_8422_2325, step)
    }

    /// The lines so far.
    pub fn text(&self) -> String {
        self.0.lock().expect("no holder of this lock panics").clone()
    }
}

/// FNV-1a, 32 bits: for telling lines apart, not for safety.
fn fnv(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811C_9DC5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

//! What happened, line by line: two runs of one seed write the same lines. Lines cost more than the run itself,
//! so a run that nobody reads keeps their digest only; whoever wants to read it runs the seed again.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard};

use machine::Instant;

use crate::letter::number_in;

/// The record of a run.
#[derive(Debug)]
pub struct Trace {
    keeps: bool,
    book: Mutex<Book>,
}

#[derive(Debug)]
struct Book {
    lines: String,
    hash: u64,
    steps: u64,
}

impl Default for Trace {
    fn default() -> Trace {
        Trace::new(true)
    }
}

impl Trace {
    /// An empty record that keeps its lines, or their digest only.
    pub fn new(keeps: bool) -> Trace {
        Trace { keeps, book: Mutex::new(Book { lines: String::new(), hash: BASIS, steps: 0 }) }
    }

    /// Notes a message on the wire: when, from where to where, how long, its digest, its call, its first words.
    pub fn message(&self, now: Instant, what: &str, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        self.datagram(now, (what, 0), from, to, bytes);
    }

    /// The same, and on which node's machine that was; 0: a peer's, or nobody's.
    pub fn datagram(
        &self,
        now: Instant,
        (what, node): (&str, u64),
        from: SocketAddr,
        to: SocketAddr,
        bytes: &[u8],
    ) {
        let digest = fold(BASIS, bytes);
        let mut book = self.book();
        book.steps += 1;
        for part in [now.as_nanos(), end(from), end(to), digest, node] {
            book.hash = fold(book.hash, &part.to_le_bytes());
        }
        book.hash = fold(book.hash, what.as_bytes());
        if !self.keeps {
            return;
        }
        let first: String = bytes
            .iter()
            .take_while(|byte| !matches!(byte, b'\r' | b'\n'))
            .take(60)
            .map(|byte| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' })
            .collect();
        let call = match number_in(bytes) {
            Some(number) => format!("#{number}"),
            None => "-".to_owned(),
        };
        let (at, length) = (now.as_nanos(), bytes.len());
        // Writing into a String can't fail.
        let _ = writeln!(
            book.lines,
            "{at:>14} {what}@{node} {from} > {to} {length} {digest:016x} {call} {first}"
        );
    }

    /// Notes something that happened to the world.
    pub fn note(&self, now: Instant, what: &str) {
        let mut book = self.book();
        book.steps += 1;
        book.hash = fold(fold(book.hash, &now.as_nanos().to_le_bytes()), what.as_bytes());
        if self.keeps {
            // Writing into a String can't fail.
            let _ = writeln!(book.lines, "{:>14} {what}", now.as_nanos());
        }
    }

    /// A digest of all that was noted.
    pub fn hash(&self) -> u64 {
        self.book().hash
    }

    /// How many messages and other events were noted.
    pub fn steps(&self) -> u64 {
        self.book().steps
    }

    /// The lines so far.
    pub fn text(&self) -> String {
        self.book().lines.clone()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("no holder of this lock panics")
    }
}

/// An address as a number.
fn end(at: SocketAddr) -> u64 {
    let host = match at.ip() {
        IpAddr::V4(ip) => u64::from(u32::from(ip)),
        IpAddr::V6(ip) => fold(BASIS, &ip.octets()),
    };
    host << 16 ^ u64::from(at.port())
}

/// A cheap digest, eight bytes at a time: for telling runs apart, not for safety.
fn fold(hash: u64, bytes: &[u8]) -> u64 {
    let step = |hash: u64, word: u64| (hash ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
    let mut chunks = bytes.chunks_exact(8);
    let whole =
        chunks.by_ref().fold(hash, |hash, chunk| step(hash, chunk.try_into().map_or(0, u64::from_le_bytes)));
    let rest = chunks.remainder().iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    step(whole, rest ^ (bytes.len() as u64) << 56)
}

const BASIS: u64 = 0xCBF2_9CE4_8422_2325;

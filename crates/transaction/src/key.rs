//! Which transaction a message belongs to (RFC 3261 §17.1.3, §17.2.3, §9.2), as a key of 128 bits.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};

/// The secret that keeps strangers from forging two messages with one key. Drawn once by each node.
#[derive(Clone, Copy, Debug)]
pub struct KeySeed(pub [u8; 16]);

/// A transaction's identity: a keyed digest, cheap to compare, order and keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(u128);

impl Key {
    /// The key of a client transaction: its branch and the method of its CSeq (§17.1.3).
    pub fn client(seed: &KeySeed, branch: &[u8], method: &[u8]) -> Key {
        Digest::new(seed, b'c').part(branch).part(method).key()
    }

    /// The key of a server transaction by an RFC 3261 branch: branch, sent-by, method with ACK as INVITE (§17.2.3).
    pub fn server(seed: &KeySeed, branch: &[u8], sent_by: &[u8], method: &[u8]) -> Key {
        Digest::new(seed, b's').part(branch).folded(sent_by).part(of_ack(method)).key()
    }
}

/// The method whose transaction a method belongs to: an ACK to a refusal is part of its INVITE's.
fn of_ack(method: &[u8]) -> &[u8] {
    if method == b"ACK" { b"INVITE" } else { method }
}

/// A digest over parts that can't run into each other.
struct Digest(SipHasher13);

impl Digest {
    fn new(seed: &KeySeed, kind: u8) -> Digest {
        let mut hasher = SipHasher13::new_with_key(&seed.0);
        hasher.write_u8(kind);
        Digest(hasher)
    }

    fn part(mut self, bytes: &[u8]) -> Digest {
        self.0.write_usize(bytes.len());
        self.0.write(bytes);
        self
    }

    /// A part whose letters' case does not matter.
    fn folded(mut self, bytes: &[u8]) -> Digest {
        self.0.write_usize(bytes.len());
        for b in bytes {
            self.0.write_u8(b.to_ascii_lowercase());
        }
        self
    }

    fn key(self) -> Key {
        Key(self.0.finish128().as_u128())
    }
}

//! Names of things that outlive a process: calls, nodes, homes, epochs.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A call, unique in the cluster for good: 24 bits of the incarnation that admitted it, 40 bits of counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CallId(pub u64);

impl CallId {
    /// The `counter`th call of an incarnation.
    pub const fn new(incarnation: Incarnation, counter: u64) -> CallId {
        CallId(((incarnation.0 as u64) << 40) | (counter & 0xFF_FFFF_FFFF))
    }

    /// The incarnation that admitted it.
    pub const fn incarnation(self) -> Incarnation {
        Incarnation((self.0 >> 40) as u32)
    }

    /// Reads the 16 hexadecimal digits that `Display` writes.
    pub fn from_hex(text: &[u8]) -> Option<CallId> {
        if text.len() != 16 {
            return None;
        }
        text.iter().try_fold(0u64, |n, c| Some(n << 4 | u64::from((*c as char).to_digit(16)?))).map(CallId)
    }

    /// Appends the 16 hexadecimal digits.
    pub fn push_hex(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&hex(self.0));
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// 16 hexadecimal digits.
pub(crate) fn hex(n: u64) -> [u8; 16] {
    let mut out = [0; 16];
    for (shift, digit) in (0..16).rev().zip(&mut out) {
        let nibble = (n >> (shift * 4)) as u8 & 0xF;
        *digit = if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    }
    out
}

/// One life of one node's process: State numbers them over the whole cluster, at `Boot`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation(pub u32);

/// A node, as the node file names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A home: the service address that peers of a call see. State numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HomeId(pub u32);

/// How often a home has changed hands; a stale epoch may neither send nor commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_id_survives_its_text() {
        let id = CallId::new(Incarnation(0xABCDEF), 0x12_3456_789A);
        let mut text = Vec::new();
        id.push_hex(&mut text);
        assert_eq!(text, b"abcdef123456789a");
        assert_eq!(text, id.to_string().into_bytes());
        assert_eq!(CallId::from_hex(&text), Some(id));
        assert_eq!(id.incarnation(), Incarnation(0xABCDEF));
        assert_eq!(CallId::from_hex(b"xyz"), None);
    }
}

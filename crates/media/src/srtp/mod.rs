//! SRTP and SRTCP (RFC 3711, RFC 7714): what a leg's peer secured is opened, what goes to it is secured under a key
//! of ours. Each source keeps its own count of packets, so that a sequence number that wraps is never mistaken, no
//! packet is taken twice, and no keystream is used twice.
//!
//! Absent by design: keys of their own (signalling has them), MKI, key derivation rates, and packets without a tag.

mod cipher;
mod control;
mod receiver;
mod sender;
#[cfg(test)]
mod tests;
mod window;

pub use receiver::{Receiver, Refused};
pub use sender::{Sender, Unsent};

/// The most octets that securing adds to a packet: a tag of 16 and the SRTCP index.
pub const GROWTH_MAX: usize = 20;

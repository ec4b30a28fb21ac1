//! G.711 over RTP in which every packet names its call, direction and sequence, and the far side checks them
//! (RFC 3550 §5.1, RFC 3551 §4.5.14).
//!
//! The two ends of a call have unrelated numbers, and the node in between rewrites SIP and SDP. So each packet
//! carries its sender's own number and, once known, the number that the sender hears. A pair of streams that
//! name each other is one call with media both ways; anything else is crosstalk or loss.

mod label;
mod stream;

pub use label::{Label, PACKET_BYTES};
pub use stream::{Stream, StreamReport};

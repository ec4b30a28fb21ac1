//! What happens to a call's media, decided packet by packet: who may be heard, where it goes, how good it
//! is, and which ports it uses.
//!
//! [`RelaySession`] is the machine of one relayed stream: it takes packets and gives verdicts, learns a
//! peer's real address where that is allowed, notices silence, and keeps the figures of [`Quality`].
//! [`PortPool`] hands out port pairs.
//!
//! Absent by design: sockets, threads and clocks (the shell has them), and any change to a packet: sequence
//! numbers, sources and payload pass as they came.
//!
//! ```
//! use media::Nat;
//!
//! let signalled = "10.0.0.5:4000".parse()?;
//! // The phone says 10.0.0.5, its INVITE came from 198.51.100.9: it sits behind a NAT.
//! assert_eq!(Nat::Auto.latch(Some(signalled), "198.51.100.9".parse()?), Some("198.51.100.9".parse()?));
//! assert_eq!(Nat::Auto.latch(Some(signalled), "10.0.0.5".parse()?), None);
//! # Ok::<(), std::net::AddrParseError>(())
//! ```

mod mos;
mod nat;
mod packet;
mod ports;
mod quality;
mod reception;
mod secured;
mod session;
mod srtp;

pub use mos::mos_x100;
pub use nat::Nat;
pub use packet::{RtpHeader, is_rtcp, read_rtp};
pub use ports::{PortPair, PortPool, PortRangeError};
pub use quality::{DirectionQuality, Quality};
pub use reception::Reception;
pub use session::{Component, DropReason, RelaySession, Verdict};
pub use srtp::{GROWTH_MAX, Receiver, Refused, Sender, Unsent};

//! SIP on the wire: the only code of the node that reads SIP bytes.
//!
//! A [`Message`] is a lazy view: one pass finds the lines, and each header is read when it is asked for,
//! without copying. A [`Writer`] pushes bytes into a buffer that is used again. A [`Framer`] cuts a
//! stream into messages with the same pass, so both agree on every length. [`verdict`] says what the
//! protocol alone decides: accept, refuse with a status, or drop.
//!
//! Absent by design: sockets and the difference between UDP and TCP beyond [`Framing`]; transactions,
//! dialogs, bodies (`sdp` reads those), digest.
//!
//! ```
//! use sip::{Framing, Message, Method, Name};
//!
//! let bytes = b"OPTIONS sip:bob@example.net SIP/2.0\r\n\
//!     Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK74b\r\n\
//!     From: <sip:alice@example.com>;tag=9f\r\nTo: <sip:bob@example.net>\r\n\
//!     i: a84b@192.0.2.1\r\nCSeq: 63104 OPTIONS\r\nl: 0\r\n\r\n";
//! let message = Message::parse(bytes, Framing::Datagram)?;
//! assert_eq!(message.method(), Some(Method::Options));
//! assert_eq!(message.get(Name::CallId), Some(&b"a84b@192.0.2.1"[..]));
//! assert_eq!(message.from()?.tag(), Some(&b"9f"[..]));
//! # Ok::<(), sip::ParseError>(())
//! ```

mod address;
mod body;
mod challenge;
mod error;
mod fields;
mod framer;
mod getters;
mod grammar;
pub mod limits;
mod message;
mod method;
mod name;
mod params;
mod response;
mod scan;
mod status;
mod uri;
pub mod verdict;
mod via;
mod writer;

pub use address::NameAddr;
pub use body::{Part, Parts};
pub use challenge::{Authorization, Challenge};
pub use error::ParseError;
pub use fields::{Contact, Credentials, MediaType, RAck, Reason, Refresher, SessionExpires};
pub use framer::{Frame, FrameError, Framer};
pub use message::{All, Header, Headers, Message, OwnedMessage, StartLine, Values};
pub use method::Method;
pub use name::Name;
pub use params::{Param, Params, ParamsIter, is_plain_value, unquote};
pub use response::{push_host_port, push_ip, response_to};
pub use scan::Framing;
pub use status::reason_of;
pub use uri::{Host, Scheme, Uri, decode, ip_address};
pub use via::{MAGIC_COOKIE, Rport, Via, response_target};
pub use writer::{Writer, push_number};

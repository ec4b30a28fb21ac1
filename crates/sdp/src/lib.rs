//! Session descriptions (RFC 4566) under offer/answer (RFC 3264): reading them within limits, moving their
//! media to our own addresses, choosing codecs, checking that an answer fits its offer.
//!
//! A [`Session`] borrows the body that it was read from. Everything that is written comes from one pass over
//! the original lines ([`Rewrite`]), which copies every byte that it has no reason to change: unknown
//! attributes, T.38 and format parameters pass as they are. A stream can be written secured or in clear,
//! whatever its author wrote: keys (`a=crypto`) belong to a leg.
//!
//! Absent by design: sockets, names (a `c=` line with a host name gives no endpoint), any knowledge of SIP,
//! and any state. Which version an `o=` line carries is the caller's record; this crate writes what it is told.
//!
//! ```
//! use sdp::{Anchor, Origin, Session};
//!
//! let body = b"v=0\r\no=alice 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
//!              m=audio 49170 RTP/AVP 0 8\r\n";
//! let offer = Session::parse(body)?;
//! let anchor = Anchor { address: "198.51.100.7".parse()?, ports: &[10_000] };
//! let ours = Origin { id: 4711, version: 1, address: anchor.address };
//! assert_eq!(
//!     offer.anchored(&anchor, ours)?,
//!     b"v=0\r\no=- 4711 1 IN IP4 198.51.100.7\r\ns=-\r\nc=IN IP4 198.51.100.7\r\nt=0 0\r\n\
//!       m=audio 10000 RTP/AVP 0 8\r\n",
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod answer;
mod codec;
mod crypto;
mod direction;
mod line;
mod media;
mod rewrite;
mod session;

pub use answer::{AnswerError, check_answer};
pub use codec::{Codec, CodecList};
pub use crypto::{Crypto, Security};
pub use direction::Direction;
pub use line::{BODY_MAX, LINE_MAX, LINES_MAX};
pub use media::{Endpoint, FORMATS_MAX, Media, MediaKind, Transport};
pub use rewrite::{Anchor, Codecs, Origin, Rewrite, RewriteError};
pub use session::{MEDIA_MAX, ParseError, PeerOrigin, Session, Unsupported, first_codec};

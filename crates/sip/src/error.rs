//! What can be wrong with bytes: one enum, each case naming the header or rule that is broken.
//!
//! The text of each case is what the reason phrase of a 400 says (RFC 3261 §21.4.1).

use thiserror::Error;

use crate::Name;

/// Why bytes are not a message, or a header is not what its name promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseError {
    /// Nothing but line ends: a keep-alive (RFC 5626 §3.5.1), not a message.
    #[error("Empty message")]
    Empty,
    /// The message is longer than [`MESSAGE_BYTES_MAX`](crate::limits::MESSAGE_BYTES_MAX).
    #[error("Message too large")]
    TooLarge,
    /// The first line is neither a request line nor a status line (RFC 3261 §7.1, §7.2).
    #[error("Malformed start line")]
    StartLine,
    /// The version is not SIP/2.0 (RFC 3261 §7.1).
    #[error("SIP version not supported")]
    Version,
    /// The status code is not 100 to 699 (RFC 3261 §7.2).
    #[error("Malformed status code")]
    Status,
    /// A CR without LF, or an LF without CR (RFC 3261 §7).
    #[error("Line end that is not CRLF")]
    LineEnd,
    /// A header line without a name or a colon (RFC 3261 §7.3.1).
    #[error("Malformed header line")]
    HeaderLine,
    /// A header line or start line is longer than the limit.
    #[error("Header line too long")]
    HeaderTooLong,
    /// There are more header lines than [`HEADERS_MAX`](crate::limits::HEADERS_MAX).
    #[error("Too many header lines")]
    TooManyHeaders,
    /// The list has more values than [`VALUES_MAX`](crate::limits::VALUES_MAX).
    #[error("Too many values in {0}")]
    TooManyValues(Name),
    /// The header section does not end with an empty line (RFC 3261 §7).
    #[error("Unfinished header section")]
    Unfinished,
    /// Content-Length is not a number (RFC 3261 §20.14).
    #[error("Malformed Content-Length")]
    ContentLength,
    /// Content-Length is missing on a stream (RFC 3261 §18.3).
    #[error("Missing Content-Length")]
    ContentLengthMissing,
    /// Content-Length appears twice: no one can know which is meant.
    #[error("Repeated Content-Length")]
    ContentLengthRepeated,
    /// Content-Length promises more than the datagram holds (RFC 3261 §18.3).
    #[error("Content-Length larger than the body")]
    BodyShort,
    /// The Request-URI cannot be read (RFC 3261 §19.1).
    #[error("Malformed Request-URI")]
    RequestUri,
    /// The Request-URI carries header fields, which §19.1.1 forbids there.
    #[error("Headers in Request-URI")]
    RequestUriHeaders,
    /// A URI outside the request line cannot be read.
    #[error("Malformed URI")]
    Uri,
    /// A branch of the magic cookie alone identifies nothing (RFC 3261 §8.1.1.7).
    #[error("Empty branch in Via")]
    Branch,
    /// CSeq names another method than the request line (RFC 3261 §8.1.1.5).
    #[error("CSeq method differs from request method")]
    CSeqMethod,
    /// A header that the message needs is absent.
    #[error("Missing {0}")]
    Missing(Name),
    /// A header does not follow its grammar.
    #[error("Malformed {0}")]
    Malformed(Name),
    /// A header that may appear once appears more often.
    #[error("Repeated {0}")]
    Repeated(Name),
}

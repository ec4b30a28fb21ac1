//! What one message may cost: bounds on size, count and list length, the same for datagrams and streams.
//!
//! RFC 3261 sets no bounds; these are ours, chosen far above what real peers send, so that a hostile
//! message is refused before it costs memory or time.

/// The largest message, start line to body. Every offset of an index fits into 16 bits because of it.
pub const MESSAGE_BYTES_MAX: usize = 65_535;

/// The most header lines in one message.
pub const HEADERS_MAX: usize = 128;

/// The longest header line, folds included, without its final CRLF.
pub const HEADER_BYTES_MAX: usize = 8 * 1024;

/// The longest header name.
pub const NAME_BYTES_MAX: usize = 255;

/// The longest start line.
pub const START_LINE_BYTES_MAX: usize = 8 * 1024;

/// The most values of one list header (Via, Route, Record-Route, Contact) in one message.
pub const VALUES_MAX: usize = 64;

/// How many header lines an index holds without touching the heap.
pub(crate) const HEADERS_INLINE: usize = 48;

/// The most parts of a multipart body that are looked at.
pub const PARTS_MAX: usize = 16;

/// How deep parts of parts are followed.
pub const PARTS_NESTED_MAX: usize = 3;

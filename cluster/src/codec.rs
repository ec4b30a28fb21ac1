//! Bytes of log entries and snapshots: the only place that names bincode.
//!
//! The encoding is positional, so a reordered field would be silent corruption: every record kind has golden
//! bytes below. Each encoded value stands behind a version byte; lengths are checked before memory is taken;
//! bytes left over are an error.

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::command::Stamped;

/// Why bytes can't be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// There is nothing.
    #[error("nothing to decode")]
    Empty,
    /// A version that this program does not know.
    #[error("encoding version {0} is not known: it needs another version of this program")]
    Version(u8),
    /// The bytes are no value of this version, or one that is too large.
    #[error("the bytes make no sense")]
    Nonsense,
    /// Bytes are left over.
    #[error("{0} bytes are left over")]
    Trailing(usize),
}

/// Appends a value behind its version byte.
pub(crate) fn encode<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    out.push(VERSION);
    append(value, out);
}

/// Reads a value that fills `bytes`.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let (version, rest) = bytes.split_first().ok_or(DecodeError::Empty)?;
    if *version != VERSION {
        return Err(DecodeError::Version(*version));
    }
    let (value, used) = decode_prefix(rest)?;
    match rest.len() - used {
        0 => Ok(value),
        left => Err(DecodeError::Trailing(left)),
    }
}

/// Appends a value without a version byte: the parts of a file that has one at its head.
pub(crate) fn append<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    // Writing to a Vec can't fail, and none of our types refuses to be serialised.
    bincode::serde::encode_into_std_write(value, out, CONFIG).expect("our own types encode");
}

/// Reads a value off the front of `bytes`; gives how many it took.
pub(crate) fn decode_prefix<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), DecodeError> {
    bincode::serde::decode_from_slice(bytes, CONFIG).map_err(|_| DecodeError::Nonsense)
}

/// Appends a log entry's payload.
pub fn encode_entry(stamped: &Stamped, out: &mut Vec<u8>) {
    encode(stamped, out);
}

/// Reads a log entry's payload. Any bytes may be given: this is a fuzz target.
///
/// # Errors
/// The bytes are no entry that this program knows.
pub fn decode_entry(bytes: &[u8]) -> Result<Stamped, DecodeError> {
    decode(bytes)
}

/// The version of all that is encoded.
pub(crate) const VERSION: u8 = 2;

/// Little-endian with variable-length integers; no value above 64 MiB.
const CONFIG: bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Varint,
    bincode::config::Limit<{ 64 << 20 }>,
> = bincode::config::standard().with_limit::<{ 64 << 20 }>();

//! Names of resources: `[A-Za-z0-9][A-Za-z0-9._-]{0,62}`; numbers are named by their E.164 form.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The name of a resource. Cheap to clone: records and slots carry it by the thousand.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Name(Arc<str>);

impl Name {
    /// Longest name, in bytes.
    pub const BYTES_MAX: usize = 63;

    /// A checked name. A leading `+` is allowed, because numbers are named by their E.164 form.
    pub fn new(text: &str) -> Result<Name, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > Self::BYTES_MAX {
            return Err(NameError::TooLong { bytes: text.len() });
        }
        let body = text.strip_prefix('+').unwrap_or(text);
        let starts_well = body.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        let stays_well = body.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if starts_well && stays_well { Ok(Name(Arc::from(text))) } else { Err(NameError::Character) }
    }

    /// The name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NameError {
    /// Nothing at all.
    #[error("a name can't be empty")]
    Empty,
    /// More than [`Name::BYTES_MAX`] bytes.
    #[error("a name has at most 63 characters, this one has {bytes}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// A character that names can't have.
    #[error("a name is a letter or digit, then letters, digits, `.`, `_` or `-`")]
    Character,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_contract() {
        let check = |text: &str, expected: Result<(), NameError>| {
            assert_eq!(Name::new(text).map(|_| ()), expected, "{text:?}");
        };
        check("easycall-ams", Ok(()));
        check("0", Ok(()));
        check("a.b_c-D9", Ok(()));
        check("+31201234567", Ok(()));
        check("", Err(NameError::Empty));
        check("-a", Err(NameError::Character));
        check(".a", Err(NameError::Character));
        check("a b", Err(NameError::Character));
        check("+", Err(NameError::Character));
        check("é", Err(NameError::Character));
        check(&"a".repeat(63), Ok(()));
        check(&"a".repeat(64), Err(NameError::TooLong { bytes: 64 }));
    }
}

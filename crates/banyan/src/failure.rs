//! How a command ends when it does not end well: the exit code of the contract, and one clear sentence.

use std::fmt;

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// The cluster said no, the result is negative, or the environment refused: exit 1.
    No(String),
    /// Bad usage or a bad file: exit 2.
    Usage(String),
    /// The cluster can't be reached: exit 3.
    Unreachable(String),
    /// Everything is said already: this exit code.
    Said(u8),
}

impl Failure {
    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            Failure::No(_) => 1,
            Failure::Usage(_) => 2,
            Failure::Unreachable(_) => 3,
            Failure::Said(code) => *code,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::No(text) | Failure::Usage(text) | Failure::Unreachable(text) => f.write_str(text),
            Failure::Said(_) => Ok(()),
        }
    }
}

/// What a command gives.
pub type Result<T = ()> = std::result::Result<T, Failure>;

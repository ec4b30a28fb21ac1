//! Passwords: never printed, never logged (I-39).

use std::fmt;

use serde::{Deserialize, Serialize};

/// A password. `Debug` and `Display` print `***`, whatever it holds.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Secret {
    /// The password itself.
    Given(String),
    /// `password_stored = true`: the one that is stored under this account already.
    Keep,
}

impl Secret {
    /// The password, for the one place that computes a digest from it.
    pub fn reveal(&self) -> Option<&str> {
        match self {
            Secret::Given(text) => Some(text),
            Secret::Keep => None,
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_prints_itself() {
        let secret = Secret::Given("canary-7f3a".into());
        for text in [format!("{secret}"), format!("{secret:?}"), format!("{:#?}", Some(&secret))] {
            assert!(!text.contains("canary"), "{text}");
            assert!(text.contains("***"), "{text}");
        }
    }
}

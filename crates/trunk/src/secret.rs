//! Passwords: never printed, never logged (I-39), and kept only as what is needed of them.

use std::fmt;

use auth::{Ha1, Seal};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// A password, or what is kept of it. `Debug` and `Display` print `***`, whatever it holds.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Secret {
    /// The password itself, on its way from an operator to the cluster.
    Given(Zeroizing<String>),
    /// `password_stored = true`: the one that is stored under this account already.
    Keep,
    /// What a trunk's account is checked against.
    Digest(Box<Ha1>),
    /// A password for a carrier, encrypted under a key derived from the cluster's.
    Sealed(Vec<u8>),
}

impl Secret {
    /// A password.
    pub fn given(text: impl Into<String>) -> Secret {
        Secret::Given(Zeroizing::new(text.into()))
    }

    /// The password, as long as it is one: for the way from `banyan apply` to the cluster, and for the one place that
    /// makes of it what is kept.
    pub fn reveal(&self) -> Option<&str> {
        match self {
            Secret::Given(text) => Some(text),
            Secret::Keep | Secret::Digest(_) | Secret::Sealed(_) => None,
        }
    }

    /// What a digest of this account's is checked against. A password that nobody has hashed yet is no account's.
    pub fn ha1(&self) -> Option<&Ha1> {
        match self {
            Secret::Digest(ha1) => Some(ha1),
            Secret::Given(_) | Secret::Keep | Secret::Sealed(_) => None,
        }
    }

    /// A carrier's password, for the one place that answers its challenges.
    pub fn open(&self, owner: &str, username: &str, seal: &Seal) -> Option<Zeroizing<String>> {
        match self {
            Secret::Sealed(bytes) => seal.open(owner, username, bytes),
            Secret::Given(text) => Some(text.clone()),
            Secret::Keep | Secret::Digest(_) => None,
        }
    }

    /// Keeps no more than the hashes of a trunk's password.
    pub(crate) fn hashed(self, username: &str, realm: &str) -> Secret {
        match self {
            Secret::Given(text) => Secret::Digest(Box::new(Ha1::new(username, realm, &text))),
            kept => kept,
        }
    }

    /// Encrypts a carrier's password.
    pub(crate) fn sealed(self, owner: &str, username: &str, seal: &Seal) -> Secret {
        match self {
            Secret::Given(text) => Secret::Sealed(seal.close(owner, username, &text)),
            kept => kept,
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
    fn i39_a_secret_never_prints_itself() {
        let given = Secret::given("canary-7f3a");
        let hashed = given.clone().hashed("u", "r");
        let sealed = given.clone().sealed("g", "u", &Seal::new(b"key"));
        for secret in [&given, &hashed, &sealed] {
            for text in [format!("{secret}"), format!("{secret:?}"), format!("{:#?}", Some(secret))] {
                assert!(!text.contains("canary"), "{text}");
                assert!(text.contains("***"), "{text}");
            }
        }
    }

    #[test]
    fn what_is_kept_reveals_no_password() {
        let given = Secret::given("canary-7f3a");
        assert_eq!(given.reveal(), Some("canary-7f3a"));
        let hashed = given.clone().hashed("u", "r");
        assert_eq!((hashed.reveal(), hashed.ha1()), (None, Some(&Ha1::new("u", "r", "canary-7f3a"))));
        let sealed = given.sealed("g", "u", &Seal::new(b"key"));
        assert_eq!((sealed.reveal(), sealed.ha1()), (None, None));
        assert_eq!(Secret::Keep.hashed("u", "r"), Secret::Keep);
    }
}

//! What is kept of a password: the hashes that a digest is checked against, never the password (contract, accounts).

use std::fmt;

use md5::Md5;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

use crate::algorithm::{Algorithm, joined};
use crate::key::push_hex;

/// `H(username ":" realm ":" password)` for each algorithm (RFC 7616 §3.4.2). Whoever has it can pass for its user in
/// that realm, so it prints as `***`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ha1 {
    md5: [u8; 16],
    sha256: [u8; 32],
}

impl Ha1 {
    /// What remains of a password.
    pub fn new(username: &str, realm: &str, password: &str) -> Ha1 {
        let parts = [username.as_bytes(), realm.as_bytes(), password.as_bytes()];
        let (mut md5, mut sha256) = ([0; 16], [0; 32]);
        fill(&mut md5, joined::<Md5>(&parts).as_ref());
        fill(&mut sha256, joined::<Sha256>(&parts).as_ref());
        Ha1 { md5, sha256 }
    }

    /// One that belongs to nobody: unknown users are checked against it, so that they cost what known ones cost.
    pub const fn nobody() -> Ha1 {
        Ha1 { md5: [0; 16], sha256: [0; 32] }
    }

    /// The hash as the digits that enter the next one.
    pub fn hex(&self, algorithm: Algorithm) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        match algorithm {
            Algorithm::Md5 => push_hex(&mut out, &self.md5),
            Algorithm::Sha256 => push_hex(&mut out, &self.sha256),
        }
        out
    }

    /// Whether this is the same, in the same time wherever they differ.
    pub fn is(&self, other: &Ha1) -> Choice {
        self.md5.ct_eq(&other.md5) & self.sha256.ct_eq(&other.sha256)
    }
}

impl fmt::Debug for Ha1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

fn fill(out: &mut [u8], from: &[u8]) {
    out.iter_mut().zip(from).for_each(|(to, byte)| *to = *byte);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 2617 §3.5's user; the value by `md5sum` of `Mufasa:testrealm@host.com:Circle Of Life`.
    #[test]
    fn the_hash_is_of_user_realm_and_password() {
        let ha1 = Ha1::new("Mufasa", "testrealm@host.com", "Circle Of Life");
        assert_eq!(ha1.hex(Algorithm::Md5), b"939e7578ed9e3c518a452acee763bce9");
        assert_eq!(ha1.hex(Algorithm::Sha256).len(), 64);
    }

    /// I-39.
    #[test]
    fn i39_it_prints_nothing_of_itself() {
        let text = format!("{:?} {:#?}", Ha1::new("a", "b", "canary"), Some(Ha1::nobody()));
        assert!(text.contains("***") && !text.contains("canary") && !text.contains("00"), "{text}");
    }

    #[test]
    fn two_are_the_same_only_if_both_hashes_are() {
        let ha1 = Ha1::new("a", "b", "c");
        assert!(bool::from(ha1.is(&ha1.clone())));
        assert!(!bool::from(ha1.is(&Ha1 { md5: [0; 16], ..ha1.clone() })));
        assert!(!bool::from(ha1.is(&Ha1 { sha256: [0; 32], ..ha1.clone() })));
    }
}

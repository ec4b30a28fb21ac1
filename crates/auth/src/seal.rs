//! Passwords that must be had again: those for carriers, whose realm comes with the challenge. They are kept encrypted
//! under a key derived from the cluster's (AES-256-GCM).

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::{Zeroize, Zeroizing};

use crate::key::{derive, mac};

/// Encrypts and decrypts passwords. Prints as `***`.
///
/// The nonce is a keyed sum of what is encrypted: the same password of the same account gives the same bytes, so that
/// applying a file again changes nothing, and no two passwords ever share a nonce.
pub struct Seal {
    key: [u8; 32],
    nonces: [u8; 32],
}

impl Seal {
    /// The seal of a cluster.
    pub fn new(cluster: &[u8]) -> Seal {
        Seal { key: derive(cluster, b"banyan passwords"), nonces: derive(cluster, b"banyan password nonces") }
    }

    /// Encrypts a password of `owner`'s account `username`.
    pub fn close(&self, owner: &str, username: &str, password: &str) -> Vec<u8> {
        let label = label(owner, username);
        let sum = mac(&self.nonces, &[&label, password.as_bytes()]);
        let nonce: [u8; NONCE_LEN] = std::array::from_fn(|i| sum.get(i).copied().unwrap_or_default());
        let mut bytes = password.as_bytes().to_vec();
        self.cipher()
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(label), &mut bytes)
            .expect("a password is shorter than 64 GiB");
        let mut sealed = nonce.to_vec();
        sealed.append(&mut bytes);
        sealed
    }

    /// The password again. `None` if it was another cluster's, or another account's.
    pub fn open(&self, owner: &str, username: &str, sealed: &[u8]) -> Option<Zeroizing<String>> {
        let (nonce, bytes) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut bytes = Zeroizing::new(bytes.to_vec());
        let (nonce, label) = (Nonce::assume_unique_for_key(*nonce), label(owner, username));
        let password = self.cipher().open_in_place(nonce, Aad::from(label), &mut bytes).ok()?;
        std::str::from_utf8(password).ok().map(|text| Zeroizing::new(text.to_owned()))
    }

    fn cipher(&self) -> LessSafeKey {
        let key = UnboundKey::new(&AES_256_GCM, &self.key).expect("AES-256 has a key of 32 bytes");
        LessSafeKey::new(key)
    }
}

impl Drop for Seal {
    fn drop(&mut self) {
        self.key.zeroize();
        self.nonces.zeroize();
    }
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Whose password it is; the length keeps the two apart.
fn label(owner: &str, username: &str) -> Vec<u8> {
    let mut label = (owner.len() as u64).to_be_bytes().to_vec();
    label.extend_from_slice(owner.as_bytes());
    label.extend_from_slice(username.as_bytes());
    label
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_had_again_by_its_cluster_for_its_account_alone() {
        let seal = Seal::new(b"the cluster's key");
        let sealed = seal.close("carrier-a", "acct-1", "canary");
        assert_eq!(seal.open("carrier-a", "acct-1", &sealed).as_deref().map(String::as_str), Some("canary"));
        assert!(Seal::new(b"another's").open("carrier-a", "acct-1", &sealed).is_none());
        assert!(seal.open("carrier-b", "acct-1", &sealed).is_none());
        assert!(seal.open("carrier-a", "acct-2", &sealed).is_none());
        assert!(seal.open("carrier-aa", "cct-1", &sealed).is_none());
        for len in 0..sealed.len() {
            assert!(seal.open("carrier-a", "acct-1", &sealed[..len]).is_none());
        }
    }

    #[test]
    fn the_same_password_gives_the_same_bytes_and_another_a_nonce_of_its_own() {
        let seal = Seal::new(b"key");
        let sealed = seal.close("g", "u", "one");
        assert_eq!(sealed, seal.close("g", "u", "one"));
        for other in [seal.close("g", "u", "two"), seal.close("h", "u", "one"), seal.close("g", "v", "one")] {
            assert_ne!(sealed[..NONCE_LEN], other[..NONCE_LEN]);
        }
        assert!(!sealed.windows(3).any(|window| window == b"one"));
    }
}

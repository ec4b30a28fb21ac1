//! Nonces that nobody has to remember: a time and a number under the cluster's key (RFC 7616 §3.3).

use std::time::Duration;

use machine::ClusterTime;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::key::{derive, mac, push_hex, read_hex};

/// How long a nonce can be used. A client that asks again later hears `stale=true` and asks nobody for a password.
pub const NONCE_LIFETIME: Duration = Duration::from_secs(300);

/// The key under which a cluster's nonces are made. Prints as `***`.
#[derive(Clone)]
pub struct NonceKey([u8; 32]);

/// A nonce of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Nonce {
    /// When it was made.
    pub issued: ClusterTime,
    /// Drawn, so that no two are the same.
    pub salt: u64,
    /// How often its client was wrong before. Two times are enough (contract: "the same again, then 403").
    pub failed: u8,
}

/// One use of a nonce: what a quorum remembers of it, so that it is used once (RFC 7616 §3.4, `nc`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Use {
    /// When the nonce was made.
    pub issued: ClusterTime,
    /// Its number.
    pub salt: u64,
    /// Which of its uses this is: the client counts from one.
    pub nc: u32,
}

/// A nonce as it stands in a challenge.
pub type NonceText = [u8; TEXT];

/// Time (6), salt (8), failures (1) and sum (12), in digits.
const TEXT: usize = 2 * (SAID + SUM);
const SAID: usize = 15;
const SUM: usize = 12;

impl NonceKey {
    /// The key of a cluster's nonces, from the cluster's key.
    pub fn new(cluster: &[u8]) -> NonceKey {
        NonceKey(derive(cluster, b"banyan nonces"))
    }

    /// A nonce as text.
    pub fn write(&self, nonce: &Nonce) -> NonceText {
        let said = said(nonce);
        let mut text = Vec::with_capacity(TEXT);
        push_hex(&mut text, &said);
        push_hex(&mut text, &self.sum(&said));
        std::array::from_fn(|i| text.get(i).copied().unwrap_or(b'0'))
    }

    /// Reads a nonce that this cluster made, whenever that was. `None` for any other.
    pub fn read(&self, text: &[u8]) -> Option<Nonce> {
        let (said_text, sum_text) = text.split_at_checked(2 * SAID)?;
        let (mut said, mut sum) = ([0; SAID], [0; SUM]);
        read_hex(said_text, &mut said)?;
        read_hex(sum_text, &mut sum)?;
        if !bool::from(self.sum(&said).ct_eq(&sum)) {
            return None;
        }
        let (time, rest) = said.split_at_checked(6)?;
        let (salt, failed) = rest.split_at_checked(8)?;
        let number = |bytes: &[u8]| bytes.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        Some(Nonce { issued: ClusterTime(number(time)), salt: number(salt), failed: *failed.first()? })
    }

    fn sum(&self, said: &[u8; SAID]) -> [u8; SUM] {
        let whole = mac(&self.0, &[said]);
        std::array::from_fn(|i| whole.get(i).copied().unwrap_or_default())
    }
}

impl Drop for NonceKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl std::fmt::Debug for NonceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Nonce {
    /// Whether it can't be used any more. One from a node whose clock is ahead is as good as new.
    pub fn is_stale(&self, now: ClusterTime) -> bool {
        is_past(self.issued, now)
    }
}

impl Use {
    /// Whether its nonce can't be used any more.
    pub fn is_stale(&self, now: ClusterTime) -> bool {
        is_past(self.issued, now)
    }
}

fn is_past(issued: ClusterTime, now: ClusterTime) -> bool {
    issued + NONCE_LIFETIME <= now
}

fn said(nonce: &Nonce) -> [u8; SAID] {
    let time = nonce.issued.0.to_be_bytes().into_iter().skip(2);
    let mut bytes = time.chain(nonce.salt.to_be_bytes()).chain([nonce.failed]);
    std::array::from_fn(|_| bytes.next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: Nonce =
        Nonce { issued: ClusterTime(1_700_000_000_123), salt: 0x0123_4567_89ab_cdef, failed: 1 };

    #[test]
    fn any_node_of_the_cluster_reads_what_one_wrote_and_no_other_cluster_does() {
        let text = NonceKey::new(b"the cluster's key").write(&NONCE);
        assert_eq!(NonceKey::new(b"the cluster's key").read(&text), Some(NONCE));
        assert_eq!(NonceKey::new(b"another's").read(&text), None);
    }

    #[test]
    fn a_nonce_with_any_digit_changed_is_none_of_ours() {
        let key = NonceKey::new(b"key");
        let text = key.write(&NONCE);
        for place in 0..text.len() {
            let mut forged = text;
            forged[place] = if forged[place] == b'0' { b'1' } else { b'0' };
            assert_eq!(key.read(&forged), None, "digit {place}");
        }
        for len in 0..text.len() {
            assert_eq!(key.read(&text[..len]), None);
        }
    }

    #[test]
    fn it_is_good_for_its_lifetime_and_not_a_moment_longer() {
        let (issued, life) = (ClusterTime(1_000), NONCE_LIFETIME.as_millis() as u64);
        let nonce = Nonce { issued, ..NONCE };
        assert!(!nonce.is_stale(ClusterTime(0)), "made by a clock that is ahead");
        assert!(!nonce.is_stale(ClusterTime(999 + life)));
        assert!(nonce.is_stale(ClusterTime(1_000 + life)));
    }
}

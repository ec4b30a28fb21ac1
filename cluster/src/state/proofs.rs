//! Uses of nonces: each counts once, on whichever node it is shown (RFC 7616 §3.4, FR5). Kept as long as the nonce can be
//! used; bounded, and then the oldest nonces can't be used any more.

use std::collections::BTreeMap;

use auth::Use;
use machine::ClusterTime;
use serde::{Deserialize, Serialize};

/// The uses that were made.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Proofs {
    /// By the nonce's time and number.
    used: BTreeMap<(ClusterTime, u64), Counts>,
    /// Nonces up to this time can't be used: what was used of them may be forgotten.
    floor: Option<ClusterTime>,
}

/// The counts that a nonce was used with: the highest, and which of the 64 below it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Counts {
    top: u32,
    below: u64,
}

impl Proofs {
    /// Makes a use; false if it was made before, or can't be told any more.
    pub(super) fn take(&mut self, proof: &Use, now: ClusterTime) -> bool {
        if !self.is_free(proof, now) {
            return false;
        }
        match self.used.get_mut(&(proof.issued, proof.salt)) {
            Some(counts) => counts.take(proof.nc),
            None => {
                let counts = Counts { top: proof.nc, below: 0 };
                self.used.insert((proof.issued, proof.salt), counts);
                while self.used.len() > NONCES_MAX {
                    if let Some(((issued, _), _)) = self.used.pop_first() {
                        self.floor = self.floor.max(Some(issued));
                    }
                }
            }
        }
        true
    }

    /// Whether a use could be made now.
    pub(super) fn is_free(&self, proof: &Use, now: ClusterTime) -> bool {
        if proof.is_stale(now) || self.floor.is_some_and(|floor| proof.issued <= floor) {
            return false;
        }
        self.used.get(&(proof.issued, proof.salt)).is_none_or(|counts| counts.is_free(proof.nc))
    }

    /// Forgets nonces that are too old to be used.
    pub(super) fn forget(&mut self, now: ClusterTime) {
        while let Some(first) = self.used.first_entry() {
            let (issued, salt) = *first.key();
            if !(Use { issued, salt, nc: 0 }).is_stale(now) {
                break;
            }
            first.remove();
        }
    }

    /// How many nonces are known.
    pub(super) fn len(&self) -> usize {
        self.used.len()
    }
}

impl Counts {
    /// A count far below the highest is refused: whether it was used is not known any more.
    fn is_free(&self, nc: u32) -> bool {
        if nc > self.top {
            return true;
        }
        let back = self.top - nc;
        (1..=64).contains(&back) && self.below & (1 << (back - 1)) == 0
    }

    fn take(&mut self, nc: u32) {
        if nc > self.top {
            let up = nc - self.top;
            // The former highest is `up` below the new one.
            let shifted = self.below.checked_shl(up).unwrap_or(0);
            self.below = if up <= 64 { shifted | 1 << (up - 1) } else { 0 };
            self.top = nc;
        } else {
            let back = self.top - nc;
            if (1..=64).contains(&back) {
                self.below |= 1 << (back - 1);
            }
        }
    }
}

/// Nonces of about a minute at a thousand calls a second, each with its own: 4 MiB.
const NONCES_MAX: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: ClusterTime = ClusterTime(1_000_000);

    fn once(proofs: &mut Proofs, salt: u64, nc: u32) -> bool {
        proofs.take(&Use { issued: NOW, salt, nc }, NOW)
    }

    #[test]
    fn fr5_each_count_of_a_nonce_is_taken_once_in_any_order() {
        let mut proofs = Proofs::default();
        for nc in [5, 3, 4, 1, 2, 70, 68, 69, 7] {
            assert!(once(&mut proofs, 1, nc), "first {nc}");
            assert!(!once(&mut proofs, 1, nc), "again {nc}");
        }
        // 5 is 65 below 70: no longer known, so no longer taken. 6 is 64 below, and was never used.
        assert!(!once(&mut proofs, 1, 5));
        assert!(once(&mut proofs, 1, 6));
        assert!(once(&mut proofs, 2, 5), "another nonce");
        assert!(once(&mut proofs, 1, u32::MAX));
        assert!(!once(&mut proofs, 1, 70));
    }

    /// A window of 64 by hand against a plain set.
    #[test]
    fn counts_agree_with_a_set_while_they_are_near() {
        let (mut proofs, mut set) = (Proofs::default(), std::collections::BTreeSet::new());
        let (mut draw, mut top) = (7u64, 0u32);
        for _ in 0..5_000 {
            draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let nc = (top + 20).saturating_sub((draw >> 33) as u32 % 80).max(1);
            let near = nc > top || top - nc <= 64;
            assert_eq!(once(&mut proofs, 1, nc), near && set.insert(nc), "{nc} with {top} the highest");
            top = top.max(nc);
        }
    }

    #[test]
    fn an_old_nonce_is_forgotten_and_can_never_be_used_again() {
        let mut proofs = Proofs::default();
        assert!(once(&mut proofs, 1, 1));
        let later = NOW + auth::NONCE_LIFETIME;
        proofs.forget(ClusterTime(later.0 - 1));
        assert_eq!(proofs.len(), 1);
        proofs.forget(later);
        assert_eq!(proofs.len(), 0);
        assert!(!proofs.take(&Use { issued: NOW, salt: 1, nc: 1 }, later));
    }

    /// I-40: what is forgotten for want of room is refused, not taken twice.
    #[test]
    fn i40_too_many_nonces_make_the_oldest_unusable() {
        let mut proofs = Proofs::default();
        let at = |n: u64| Use { issued: ClusterTime(n), salt: n, nc: 1 };
        for n in 0..=NONCES_MAX as u64 {
            assert!(proofs.take(&at(n), ClusterTime(n)));
        }
        let now = ClusterTime(NONCES_MAX as u64);
        assert_eq!(proofs.len(), NONCES_MAX);
        assert!(!proofs.take(&at(0), now), "forgotten");
        assert!(!proofs.take(&Use { salt: 99, ..at(0) }, now), "as old as one that was forgotten");
        assert!(proofs.take(&Use { salt: 99, ..at(1) }, now));
    }
}

//! INVITEs that this node refused because of how it was: too busy, stopping, without a majority. It keeps no answer, but a
//! late copy must hear the same, though the node is well by then: its caller has gone elsewhere, and no callee may ring for it.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use call::InviteKey;
use machine::Instant;

/// The keys of refused INVITEs, for as long as a copy may come, and bounded: under a flood the oldest go first.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    keys: BTreeSet<InviteKey>,
    queue: VecDeque<(Instant, InviteKey)>,
}

impl Refused {
    /// This INVITE is refused.
    pub(crate) fn insert(&mut self, now: Instant, keep: Duration, key: InviteKey) {
        while self.queue.len() >= REFUSED_MAX || self.queue.front().is_some_and(|(until, _)| *until <= now) {
            if let Some((_, key)) = self.queue.pop_front() {
                self.keys.remove(&key);
            }
        }
        if self.keys.insert(key) {
            self.queue.push_back((now + keep, key));
        }
    }

    /// Whether a copy of this INVITE was refused.
    pub(crate) fn has(&self, key: &InviteKey) -> bool {
        self.keys.contains(key)
    }
}

/// So many are known at once: some hundred KiB.
const REFUSED_MAX: usize = 8_192;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(dialog: u128) -> InviteKey {
        InviteKey { dialog, branch: 1 }
    }

    fn at(s: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(s)
    }

    #[test]
    fn a_refused_invite_is_known_for_its_time_and_no_longer() {
        let mut refused = Refused::default();
        let keep = Duration::from_secs(32);
        refused.insert(at(0), keep, key(1));
        refused.insert(at(20), keep, key(1));
        refused.insert(at(31), keep, key(2));
        assert!(refused.has(&key(1)) && refused.has(&key(2)));
        refused.insert(at(32), keep, key(3));
        assert!(!refused.has(&key(1)) && refused.has(&key(2)));
    }

    #[test]
    fn a_flood_pushes_out_the_oldest() {
        let mut refused = Refused::default();
        for n in 0..=REFUSED_MAX as u128 {
            refused.insert(at(0), Duration::from_secs(32), key(n));
        }
        assert!(!refused.has(&key(0)) && refused.has(&key(1)));
        assert_eq!(refused.queue.len(), REFUSED_MAX);
    }
}

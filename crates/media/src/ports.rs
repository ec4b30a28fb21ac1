//! Port pairs for media: RTP on an even port, RTCP on the next (RFC 3550 §11).

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::Duration;

use machine::{Instant, Rng};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Two neighbouring ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortPair(u16);

impl PortPair {
    /// The pair that begins at this port, if it is even.
    pub fn new(rtp: u16) -> Option<PortPair> {
        (rtp.is_multiple_of(2) && rtp > 0).then_some(PortPair(rtp))
    }

    /// The even port.
    pub const fn rtp(self) -> u16 {
        self.0
    }

    /// The odd port after it.
    pub const fn rtcp(self) -> u16 {
        self.0 + 1
    }
}

/// Why a range of ports cannot serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PortRangeError {
    /// It holds not a single pair.
    #[error("ports {from}-{to} hold no even/odd pair")]
    Empty {
        /// Its first port.
        from: u16,
        /// Its last port.
        to: u16,
    },
}

/// What a pair is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Free,
    Taken,
    /// Given back, but a peer may still send to it.
    Resting,
}

/// The pairs of a port range. A pair is never handed out twice at a time, and one that is given back rests
/// before it is used again, so that a late packet of the last call does not reach the next.
#[derive(Clone, Debug)]
pub struct PortPool {
    first: u16,
    rest: Duration,
    uses: Vec<Use>,
    /// The free pairs, the longest unused first. Pairs that were claimed since stand here too: `Slot` knows.
    queue: VecDeque<u16>,
    queued: Vec<bool>,
    resting: VecDeque<(Instant, u16)>,
    free: usize,
}

impl PortPool {
    /// All pairs within `ports`; each rests for `rest` after use. They are handed out in an order drawn from
    /// `rng`, so that a stranger cannot guess the next one.
    ///
    /// # Errors
    /// The range holds no pair.
    pub fn new(
        ports: RangeInclusive<u16>,
        rest: Duration,
        rng: &mut Rng,
    ) -> Result<PortPool, PortRangeError> {
        let (from, to) = (*ports.start(), *ports.end());
        let first = (u32::from(from).max(1) + 1) & !1;
        // The odd port must be in the range too.
        let count = (u32::from(to) + 1).saturating_sub(first) / 2;
        let (Ok(first), Ok(count)) = (u16::try_from(first), u16::try_from(count)) else {
            return Err(PortRangeError::Empty { from, to });
        };
        if count == 0 {
            return Err(PortRangeError::Empty { from, to });
        }
        let mut queue: VecDeque<u16> = (0..count).collect();
        for i in (1..usize::from(count)).rev() {
            queue.swap(i, rng.below(i as u64 + 1) as usize);
        }
        Ok(PortPool {
            first,
            rest,
            uses: vec![Use::Free; usize::from(count)],
            queue,
            queued: vec![true; usize::from(count)],
            resting: VecDeque::new(),
            free: usize::from(count),
        })
    }

    /// Takes the pair that has been free for the longest time; `None` if all are in use or resting.
    pub fn allocate(&mut self, now: Instant) -> Option<PortPair> {
        self.allocate_within(now, &(0..=u16::MAX))
    }

    /// Takes a pair of which both ports lie within `ports` (a trunk's own range).
    pub fn allocate_within(&mut self, now: Instant, ports: &RangeInclusive<u16>) -> Option<PortPair> {
        self.wake(now);
        let mut at = 0;
        while let Some(index) = self.queue.get(at).copied() {
            let pair = self.pair(index);
            if self.uses.get(usize::from(index)) != Some(&Use::Free) {
                // Claimed while it stood in the queue.
                self.queue.remove(at);
                self.set_queued(index, false);
            } else if ports.contains(&pair.rtp()) && ports.contains(&pair.rtcp()) {
                self.queue.remove(at);
                self.set_queued(index, false);
                self.set(index, Use::Taken);
                self.free -= 1;
                return Some(pair);
            } else {
                at += 1;
            }
        }
        None
    }

    /// Takes this very pair, for a call that had it before (after a restart or a takeover); resting pairs
    /// too. False if it is in use, or not of this range.
    pub fn claim(&mut self, pair: PortPair) -> bool {
        let Some(index) = self.index(pair) else { return false };
        match self.uses.get(usize::from(index)) {
            Some(Use::Free) => self.free -= 1,
            Some(Use::Resting) => self.resting.retain(|(_, resting)| *resting != index),
            Some(Use::Taken) | None => return false,
        }
        self.set(index, Use::Taken);
        true
    }

    /// Gives a pair back. A pair that is not in use is left alone.
    pub fn release(&mut self, now: Instant, pair: PortPair) {
        let Some(index) = self.index(pair) else { return };
        if self.uses.get(usize::from(index)) == Some(&Use::Taken) {
            self.set(index, Use::Resting);
            self.resting.push_back((now + self.rest, index));
        }
    }

    /// How many pairs can be taken now.
    pub fn free(&mut self, now: Instant) -> usize {
        self.wake(now);
        self.free
    }

    /// How many pairs there are.
    pub fn size(&self) -> usize {
        self.uses.len()
    }

    /// Frees the pairs that have rested enough.
    fn wake(&mut self, now: Instant) {
        while let Some((until, index)) = self.resting.front().copied() {
            if until > now {
                break;
            }
            self.resting.pop_front();
            self.set(index, Use::Free);
            self.free += 1;
            if self.queued.get(usize::from(index)) == Some(&false) {
                self.set_queued(index, true);
                self.queue.push_back(index);
            }
        }
    }

    fn pair(&self, index: u16) -> PortPair {
        PortPair(self.first + index * 2)
    }

    fn index(&self, pair: PortPair) -> Option<u16> {
        let index = pair.rtp().checked_sub(self.first)? / 2;
        (usize::from(index) < self.uses.len()).then_some(index)
    }

    fn set(&mut self, index: u16, to: Use) {
        if let Some(slot) = self.uses.get_mut(usize::from(index)) {
            *slot = to;
        }
    }

    fn set_queued(&mut self, index: u16, queued: bool) {
        if let Some(slot) = self.queued.get_mut(usize::from(index)) {
            *slot = queued;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machine::Rng;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const REST: Duration = Duration::from_secs(2);

    fn pool(ports: RangeInclusive<u16>) -> PortPool {
        PortPool::new(ports, REST, &mut Rng::from_u64(7)).expect("a range with pairs")
    }

    fn at(s: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(s)
    }

    #[test]
    fn pairs_are_even_and_odd_within_the_range() {
        for (ports, expected) in [
            (10_000..=10_003, vec![10_000, 10_002]),
            (10_001..=10_004, vec![10_002]),
            (10_000..=10_001, vec![10_000]),
            (65_534..=65_535, vec![65_534]),
            (0..=3, vec![2]),
        ] {
            let mut pool = pool(ports);
            let mut all: Vec<u16> = std::iter::from_fn(|| pool.allocate(at(0))).map(PortPair::rtp).collect();
            all.sort_unstable();
            assert_eq!(all, expected);
        }
        for ports in [10_001..=10_002, 10_000..=10_000, 65_535..=65_535, RangeInclusive::new(20, 10)] {
            let (from, to) = (*ports.start(), *ports.end());
            let error = PortPool::new(ports, REST, &mut Rng::from_u64(7)).expect_err("no pair");
            assert_eq!(error, PortRangeError::Empty { from, to });
        }
    }

    #[test]
    fn ten_thousand_ports_carry_2500_anchored_calls() {
        assert_eq!(pool(10_000..=19_999).size(), 2 * 2_500);
    }

    #[test]
    fn a_pair_rests_before_it_is_used_again() {
        let mut pool = pool(10_000..=10_001);
        let pair = pool.allocate(at(0)).expect("free");
        assert_eq!(pool.allocate(at(0)), None);
        pool.release(at(1), pair);
        assert_eq!(pool.allocate(at(2)), None);
        assert_eq!(pool.allocate(at(3)), Some(pair));
    }

    #[test]
    fn a_restored_call_gets_its_own_ports_and_nobody_else_does() {
        let mut pool = pool(10_000..=10_003);
        let pair = PortPair::new(10_002).expect("even");
        assert!(pool.claim(pair));
        assert!(!pool.claim(pair));
        assert!(!pool.claim(PortPair::new(10_004).expect("even")));
        assert_eq!(pool.allocate(at(0)).map(PortPair::rtp), Some(10_000));
        assert_eq!(pool.allocate(at(0)), None);
        // A resting pair may be claimed by the call that had it.
        pool.release(at(0), pair);
        assert!(pool.claim(pair));
        assert_eq!(pool.allocate(at(9)), None);
    }

    #[test]
    fn pairs_whose_rest_is_over_count_as_free_though_nobody_asks_for_one() {
        let mut pool = pool(10_000..=10_003);
        let pair = pool.allocate(at(0)).unwrap();
        pool.release(at(0), pair);
        assert_eq!((pool.free(at(1)), pool.free(at(60))), (1, 2));
    }

    #[test]
    fn fl12_a_trunk_gets_ports_of_its_own_range_only() {
        let mut pool = pool(10_000..=10_019);
        let own = 10_004..=10_008;
        let mut got: Vec<u16> =
            std::iter::from_fn(|| pool.allocate_within(at(0), &own)).map(PortPair::rtp).collect();
        got.sort_unstable();
        // 10,008 has its odd port outside.
        assert_eq!(got, [10_004, 10_006]);
        assert_eq!(pool.free(at(0)), 8);
    }

    proptest! {
        /// Never two owners of a pair, never a pair that rests, and nothing gets lost.
        #[test]
        fn no_pair_has_two_owners(steps in prop::collection::vec((0..4u8, 0..16u16), 1..200)) {
            let mut pool = pool(10_000..=10_031);
            let mut owned = BTreeSet::new();
            let mut released: Vec<(Instant, PortPair)> = Vec::new();
            for (i, (step, n)) in steps.into_iter().enumerate() {
                let now = at(i as u64 / 4);
                match step {
                    0 | 1 => match pool.allocate(now) {
                        Some(pair) => {
                            prop_assert!(owned.insert(pair));
                            prop_assert!(!released.iter().any(|(at, p)| *p == pair && now.since(*at) < REST));
                        }
                        None => {
                            let resting = released.iter().filter(|(at, p)| now.since(*at) < REST && !owned.contains(p));
                            let resting: BTreeSet<_> = resting.map(|(_, p)| *p).collect();
                            prop_assert_eq!(owned.len() + resting.len(), 16);
                        }
                    },
                    2 => {
                        if let Some(pair) = owned.iter().nth(usize::from(n) % owned.len().max(1)).copied() {
                            owned.remove(&pair);
                            pool.release(now, pair);
                            released.push((now, pair));
                        }
                    }
                    _ => {
                        let pair = PortPair::new(10_000 + n * 2).expect("even");
                        prop_assert_eq!(pool.claim(pair), owned.insert(pair));
                        released.retain(|(_, p)| *p != pair);
                    }
                }
            }
        }
    }
}

//! Local CSeq numbers, reserved in blocks so that they rise across a change of node (RFC 3261 §12.2.1.1).

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// How many numbers one reservation covers.
pub const CSEQ_BLOCK: u32 = 64;

/// The numbers that this side gives to its requests. A node uses none above `reserved_to`, which is recorded
/// first; a successor starts above it, so no number is ever used twice (RFC 3261 §12.2.2 allows the gap).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalCseq {
    next: u32,
    reserved_to: u32,
}

/// The block is used up: `reserved_to` must be recorded before the next number may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("CSeq numbers up to {reserved_to} must be reserved first")]
pub struct NeedsReservation {
    /// What to record, then hand to [`LocalCseq::reserve`].
    pub reserved_to: u32,
}

impl LocalCseq {
    /// The first number to be used is `first`; its block is recorded with the dialog itself.
    pub fn starting_at(first: u32) -> LocalCseq {
        LocalCseq { next: first, reserved_to: first.saturating_add(CSEQ_BLOCK - 1) }
    }

    /// The next number, if its block is reserved.
    pub fn take(&mut self) -> Result<u32, NeedsReservation> {
        if self.next > self.reserved_to {
            return Err(NeedsReservation { reserved_to: self.next.saturating_add(CSEQ_BLOCK - 1) });
        }
        let number = self.next;
        self.next = number.saturating_add(1);
        Ok(number)
    }

    /// The block up to `reserved_to` is recorded. Never takes a reservation back.
    pub fn reserve(&mut self, reserved_to: u32) {
        self.reserved_to = self.reserved_to.max(reserved_to);
    }

    /// The numbers as a successor may use them: none of the predecessor's block, for it may have used them all.
    pub fn for_successor(self) -> LocalCseq {
        LocalCseq { next: self.reserved_to.saturating_add(1), reserved_to: self.reserved_to }
    }

    /// How many numbers are left in the block.
    pub fn left(&self) -> u32 {
        self.reserved_to.saturating_add(1).saturating_sub(self.next)
    }

    /// The last number that is reserved.
    pub fn reserved_to(&self) -> u32 {
        self.reserved_to
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_run_to_the_end_of_their_block_and_no_further() {
        let mut numbers = LocalCseq::starting_at(10);
        assert_eq!(numbers.reserved_to(), 73); // 10 and 63 more.
        for expected in 10..=73 {
            assert_eq!(numbers.take(), Ok(expected));
        }
        assert_eq!(numbers.take(), Err(NeedsReservation { reserved_to: 137 }));
        assert_eq!(
            numbers.take(),
            Err(NeedsReservation { reserved_to: 137 }),
            "asking again changes nothing"
        );
        numbers.reserve(137);
        assert_eq!(numbers.take(), Ok(74));
        numbers.reserve(80);
        assert_eq!(numbers.reserved_to(), 137, "a late, smaller reservation takes nothing back");
    }

    #[test]
    fn a_successor_starts_above_the_block_and_reserves_first() {
        // signalwire/freeswitch#1833: a lower CSeq after recovery is refused with 500.
        let mut numbers = LocalCseq::starting_at(1);
        assert_eq!(numbers.take(), Ok(1));
        let mut successor = numbers.for_successor();
        assert_eq!(successor.take(), Err(NeedsReservation { reserved_to: 128 }));
        successor.reserve(128);
        assert_eq!(successor.take(), Ok(65));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Take,
        /// The reservation asked for is recorded.
        Reserve,
        /// The node dies; what is recorded goes to a successor.
        Die,
    }

    proptest! {
        #[test]
        fn i12_cseq_strictly_rises_across_takeovers(
            first in 0u32..1 << 30,
            steps in proptest::collection::vec(
                prop_oneof![8 => Just(Step::Take), 2 => Just(Step::Reserve), 1 => Just(Step::Die)], 0..400),
        ) {
            let mut numbers = LocalCseq::starting_at(first);
            let mut recorded = numbers;
            let mut last = None;
            for step in steps {
                match step {
                    Step::Take => if let Ok(number) = numbers.take() {
                        prop_assert!(last.is_none_or(|last| number > last), "{number} after {last:?}");
                        prop_assert!(number <= recorded.reserved_to(), "used before it was recorded");
                        last = Some(number);
                    },
                    Step::Reserve => if let Err(needs) = numbers.take().map(|n| last = Some(n)) {
                        recorded.reserve(needs.reserved_to);
                        numbers.reserve(needs.reserved_to);
                    },
                    Step::Die => numbers = recorded.for_successor(),
                }
            }
        }
    }
}

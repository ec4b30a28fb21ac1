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

    /// The last number that is reserved.
    pub fn reserved_to(&self) -> u32 {
        self.reserved_to
    }
}

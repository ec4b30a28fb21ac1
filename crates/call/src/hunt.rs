//! From one host of a target to its next (RFC 3263 §4.3), which is not from one target to the next: the party, its slot
//! and its credentials stay.

use smallvec::SmallVec;
use trunk::Hop;

use crate::call::Call;
use crate::live::{CallRecord, Tried};

/// Which of its target's hosts an attempt goes to. What a successor knows of it is how earlier attempts ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hunt {
    target: u16,
    /// How many of its hosts have failed in this call.
    pub passed: u16,
}

impl Hunt {
    /// Where a call's record leaves it.
    pub fn of(record: &CallRecord) -> Hunt {
        let Some(target) = record.attempts.last().map(|tried| tried.target) else { return Hunt::default() };
        let of_target = record.attempts.iter().rev().take_while(|tried| tried.target == target);
        let failed = of_target.filter(|tried| has_failed(tried)).count();
        Hunt { target, passed: u16::try_from(failed).unwrap_or(u16::MAX) }
    }

    /// The next attempt is to this target.
    pub fn turn_to(&mut self, target: u16) {
        if self.target != target {
            *self = Hunt { target, passed: 0 };
        }
    }

    /// Leaves out the hosts that have failed.
    pub fn pass(&self, hops: &mut SmallVec<[Hop; 1]>) {
        hops.drain(..usize::from(self.passed).min(hops.len()));
    }
}

/// §4.3: it was silent, could not be reached, or said 503.
fn has_failed(tried: &Tried) -> bool {
    tried.ended.is_some_and(|ended| matches!(ended.status, 408 | 503))
}

impl Call {
    /// Whether the attempt at a target is followed by one at its next host; counts that it is. Not once a callee was heard
    /// to ring: then the target is there, and what it says is its word.
    pub(crate) fn hunt_on(&mut self, target: u16, status: u16, is_response: bool) -> bool {
        let Some(setup) = self.setup.as_mut() else { return false };
        let Some(attempt) = setup.attempt.as_ref() else { return false };
        let host_failed = match (status, is_response) {
            (503, true) => attempt.early.is_empty(),
            (408 | 503, false) => !attempt.heard,
            _ => false,
        };
        if !host_failed || attempt.hops.is_empty() {
            return false;
        }
        setup.hunt.turn_to(target);
        setup.hunt.passed += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use machine::WallTime;
    use trunk::{Name, Party, Transport};

    use super::*;
    use crate::record::AttemptEnd;

    fn hops(passed: u16, count: u16) -> Vec<u16> {
        let hop = |port| Hop { transport: Transport::Udp, address: ([192, 0, 2, 1], port).into() };
        let mut hops = (1..=count).map(hop).collect();
        Hunt { target: 0, passed }.pass(&mut hops);
        hops.iter().map(|hop| hop.address.port()).collect()
    }

    #[test]
    fn hosts_that_failed_are_left_out_and_another_target_begins_at_its_first() {
        assert_eq!((hops(0, 3), hops(2, 3), hops(5, 3)), (vec![1, 2, 3], vec![3], vec![]));
        let mut hunt = Hunt { target: 4, passed: 2 };
        hunt.turn_to(4);
        assert_eq!(hunt.passed, 2);
        hunt.turn_to(5);
        assert_eq!((hunt.target, hunt.passed), (5, 0));
    }

    /// RFC 3263 §4.3: a 503 and silence pass on; a challenge and a busy callee are the target's word.
    #[test]
    fn only_silence_and_503_say_that_a_host_failed() {
        let party = Party::Gateway { name: Name::new("g").expect("a name") };
        let tried = |status: Option<u16>| Tried {
            target: 0,
            party: party.clone(),
            uri: String::new(),
            redirected: None,
            started_at: WallTime(0),
            ended: status.map(|status| AttemptEnd { status, at: WallTime(0) }),
        };
        let failed = [Some(408), Some(503)].map(|status| has_failed(&tried(status)));
        let others = [Some(407), Some(486), Some(500), None].map(|status| has_failed(&tried(status)));
        assert_eq!((failed, others), ([true; 2], [false; 4]));
    }
}

//! I-31: what is recorded never goes back. In no copy does the cluster's time fall, does an answered call ring again,
//! does an ACK that came become missing, or an attempt or a reservation of CSeqs become less: a command that is
//! applied twice, or by the wrong node, does such things.

use std::collections::BTreeMap;

use call::{CallId, CallRecord, Phase};
use cluster::State;
use machine::ClusterTime;

use super::{Invariant, View};

/// I-31 as each call sees it, in each node's own copy.
#[derive(Debug, Default)]
pub struct OnlyForward {
    last: BTreeMap<u64, (u64, ClusterTime, BTreeMap<CallId, Progress>)>,
}

/// How far a call has come: each part only rises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Progress {
    attempt: u16,
    cancelled: bool,
    answered: bool,
    acked: bool,
    reserved_to: [u32; 2],
    /// Whether an attempt is in the record twice.
    repeats: bool,
}

impl Progress {
    fn of(record: &CallRecord) -> Progress {
        let attempt = record.attempt;
        let repeats = record.attempts.len() > usize::from(attempt) + 1;
        match &record.phase {
            Phase::Ringing { cancelled, .. } => {
                Progress { attempt, cancelled: *cancelled, repeats, ..Progress::default() }
            }
            Phase::Answered { confirm, acked } => Progress {
                attempt,
                repeats,
                cancelled: false,
                answered: true,
                acked: *acked,
                reserved_to: [&confirm.ingress, &confirm.egress].map(|leg| leg.dialog.cseq.reserved_to()),
            },
        }
    }

    /// What of it is less than it was.
    fn falls(&self, before: &Progress) -> Option<&'static str> {
        let numbers = self.reserved_to.iter().zip(&before.reserved_to);
        if before.answered && !self.answered {
            return Some("its answer is gone");
        }
        if before.acked && !self.acked {
            return Some("its ACK is gone");
        }
        if before.cancelled && !self.cancelled && !self.answered {
            return Some("its CANCEL is gone");
        }
        if self.attempt < before.attempt {
            return Some("an attempt of it is gone");
        }
        if self.repeats {
            return Some("an attempt of it is recorded twice");
        }
        numbers.into_iter().any(|(now, before)| now < before).then_some("CSeqs of it are reserved no more")
    }
}

impl OnlyForward {
    fn moves(&mut self, node: u64, index: u64, state: &State) -> Option<String> {
        let (time, now) =
            (state.time(), state.calls().map(|record| (record.id, Progress::of(record))).collect());
        self.compare(node, index, time, now)
    }

    fn compare(
        &mut self,
        node: u64,
        index: u64,
        time: ClusterTime,
        now: BTreeMap<CallId, Progress>,
    ) -> Option<String> {
        // A process that begins anew begins before where the last one ended.
        let before = self.last.get(&node).filter(|(before, ..)| *before <= index);
        let found = before.and_then(|(_, at, calls)| {
            if time < *at {
                return Some(format!("on node {node}, the cluster's time falls from {} to {}", at.0, time.0));
            }
            now.iter().find_map(|(call, progress)| {
                let what = progress.falls(calls.get(call)?)?;
                Some(format!("on node {node}, call {call}: {what}"))
            })
        });
        self.last.insert(node, (index, time, now));
        found
    }
}

impl Invariant for OnlyForward {
    fn clause(&self) -> &'static str {
        "I-31 what is recorded never goes back"
    }

    fn look(&mut self, view: &View<'_>) -> Option<String> {
        view.moved.iter().find_map(|node| {
            let (id, index) = (node.cluster().node().0, node.cluster().status().applied);
            node.cluster().read(|state| self.moves(id, index, state))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(progress: Progress) -> BTreeMap<CallId, Progress> {
        [(CallId(1), progress)].into()
    }

    #[test]
    fn i31_a_record_that_knows_less_than_before_is_found() {
        let answered =
            Progress { answered: true, acked: true, reserved_to: [64, 128], ..Progress::default() };
        for (before, after) in [
            (answered, Progress { answered: false, ..answered }),
            (answered, Progress { acked: false, ..answered }),
            (answered, Progress { reserved_to: [64, 64], ..answered }),
            (Progress { attempt: 2, ..answered }, answered),
            (Progress { cancelled: true, ..Progress::default() }, Progress::default()),
            (answered, Progress { repeats: true, ..answered }),
        ] {
            let mut forward = OnlyForward::default();
            assert_eq!(forward.compare(1, 5, ClusterTime(1), one(before)), None);
            assert_eq!(forward.compare(2, 6, ClusterTime(1), one(after)), None, "another copy");
            assert!(forward.compare(1, 6, ClusterTime(1), one(after)).is_some(), "{before:?} {after:?}");
        }
        let given_up = Progress { cancelled: true, ..Progress::default() };
        assert_eq!(answered.falls(&given_up), None, "the answer crossed the CANCEL");
    }

    #[test]
    fn i31_time_that_falls_is_found_and_a_process_that_begins_anew_is_not() {
        let mut forward = OnlyForward::default();
        assert_eq!(forward.compare(1, 5, ClusterTime(9), BTreeMap::new()), None);
        assert_eq!(forward.compare(1, 2, ClusterTime(4), BTreeMap::new()), None, "it replays its log");
        assert!(forward.compare(1, 3, ClusterTime(3), BTreeMap::new()).is_some());
    }
}

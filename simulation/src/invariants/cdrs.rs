//! I-28: exactly one CDR per admitted call, the same on all nodes, none before its call ends.

use std::collections::{BTreeMap, BTreeSet};

use call::{CallId, Incarnation};
use cluster::State;

use super::{Invariant, View};

/// I-28. A CDR stays in the state until two nodes have it on disk, which is longer than between two looks.
#[derive(Debug, Default)]
pub struct OneCdrPerCall {
    admitted: BTreeSet<CallId>,
    /// The newest of them, by the incarnation that admitted them.
    newest: BTreeMap<Incarnation, CallId>,
    by_number: BTreeMap<u64, CallId>,
    by_call: BTreeMap<CallId, u64>,
}

impl OneCdrPerCall {
    /// Calls are named in the order in which an incarnation takes them.
    fn admit(&mut self, state: &State) {
        let mut newest = None;
        for call in state.calls().map(|record| record.id) {
            let incarnation = call.incarnation();
            let known = match newest {
                Some((of, known)) if of == incarnation => known,
                _ => self.newest.get(&incarnation).copied(),
            };
            if known.is_none_or(|known| known < call) {
                self.admitted.insert(call);
                self.newest.insert(incarnation, call);
            }
            newest = Some((incarnation, known.max(Some(call))));
        }
    }

    fn made(&mut self, number: u64, call: CallId) -> Option<String> {
        let known = *self.by_number.entry(number).or_insert(call);
        if known != call {
            return Some(format!("CDR {number} is of call {call} on one node and of {known} on another"));
        }
        let first = *self.by_call.entry(call).or_insert(number);
        (first != number).then(|| format!("call {call} has CDRs {first} and {number}"))
    }
}

impl Invariant for OneCdrPerCall {
    fn clause(&self) -> &'static str {
        "I-28 exactly one CDR per admitted call"
    }

    fn look(&mut self, view: &View<'_>) -> Option<String> {
        view.moved.iter().find_map(|node| {
            node.cluster().read(|state| {
                self.admit(state);
                let twice = state.cdrs().find_map(|(number, cdr)| self.made(number, cdr.id));
                let early = || {
                    let early = state.cdrs().find(|(_, cdr)| state.call(cdr.id).is_some());
                    early.map(|(number, cdr)| format!("CDR {number} is of call {}, which lives", cdr.id))
                };
                twice.or_else(early)
            })
        })
    }

    fn end(&mut self, view: &View<'_>) -> Option<String> {
        if let Some(found) = self.look(view) {
            return Some(found);
        }
        view.moved.iter().find_map(|node| {
            let (made, live) = node.cluster().read(|state| {
                (state.cdrs_made(), state.calls().map(|record| record.id).collect::<BTreeSet<_>>())
            });
            if made != self.by_number.len() as u64 {
                return Some(format!("{made} CDRs were made, {} were seen", self.by_number.len()));
            }
            let without =
                self.admitted.iter().find(|id| !live.contains(id) && !self.by_call.contains_key(id));
            without.map(|call| format!("call {call} was admitted, ended, and has no CDR"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i28_a_second_cdr_of_a_call_and_a_number_of_two_calls_are_found() {
        let mut cdrs = OneCdrPerCall::default();
        assert_eq!(cdrs.made(1, CallId(10)), None);
        assert_eq!(cdrs.made(1, CallId(10)), None, "another node has it too");
        assert_eq!(cdrs.made(2, CallId(11)), None);
        assert!(cdrs.made(3, CallId(10)).is_some(), "a second CDR");
        assert!(cdrs.made(2, CallId(12)).is_some(), "one number, two calls");
    }
}

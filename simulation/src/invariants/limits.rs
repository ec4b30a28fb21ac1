//! I-1: active calls of a trunk or gateway ≤ its limit, at every instant in log order, emergency calls aside.
//! I-6: a limit that is lowered below what is in use drops nobody, and admits nobody until there is room.

use std::collections::{BTreeMap, BTreeSet};

use call::CallId;
use cluster::State;
use trunk::Scope;

use super::{Invariant, View};

/// I-1 and I-6, as each node's own copy of the state has it.
#[derive(Debug, Default)]
pub struct Limits {
    /// What each node's copy had at the last look: of each scope its limit and the calls that count.
    last: BTreeMap<u64, BTreeMap<Scope, Counted>>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Counted {
    limit: Option<u32>,
    calls: BTreeMap<CallId, u32>,
}

impl Counted {
    fn used(&self) -> u32 {
        self.calls.values().sum()
    }

    /// Whether calls beyond the limit may stand, because they came before it.
    fn may_follow(&self, before: Option<&Counted>) -> bool {
        let Some(limit) = self.limit.filter(|limit| self.used() > *limit) else { return true };
        let Some(before) = before else { return false };
        let known: BTreeSet<&CallId> = before.calls.keys().collect();
        // Where the limit was another at the last look, what came since may have come before the change.
        before.limit != Some(limit) || self.calls.keys().all(|call| known.contains(call))
    }
}

/// Counted here from the slots themselves: the state's own sums may be what is wrong.
fn count(state: &State) -> BTreeMap<Scope, Counted> {
    let mut counted: BTreeMap<Scope, Counted> = BTreeMap::new();
    for (scope, call, _) in state.slots() {
        if state.call(call).is_none_or(|record| !record.admit.emergency) {
            let limit = state.resources().concurrent(scope);
            let of = counted.entry(scope.clone()).or_insert_with(|| Counted { limit, ..Counted::default() });
            *of.calls.entry(call).or_default() += 1;
        }
    }
    counted
}

impl Invariant for Limits {
    fn clause(&self) -> &'static str {
        "I-1 active calls never exceed the limit"
    }

    fn look(&mut self, view: &View<'_>) -> Option<String> {
        view.moved.iter().find_map(|node| {
            let (id, now) = (node.cluster().node().0, node.cluster().read(count));
            // A copy that begins late, from a snapshot, can't say what came first; others can.
            let before = self.last.get(&id);
            let over =
                now.iter().find(|(scope, of)| before.is_some_and(|before| !of.may_follow(before.get(scope))));
            let found = over.map(|(scope, of)| {
                format!("on node {id}, {} carries {} of {:?}", scope.name(), of.used(), of.limit)
            });
            self.last.insert(id, now);
            found
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(limit: u32, calls: &[u64]) -> Counted {
        let calls = calls.iter().map(|call| (CallId(*call), 1)).collect();
        Counted { limit: Some(limit), calls }
    }

    #[test]
    fn i1_a_call_beyond_the_limit_is_found() {
        assert!(counted(2, &[1, 2]).may_follow(None));
        assert!(!counted(2, &[1, 2, 3]).may_follow(Some(&counted(2, &[1, 2]))));
        assert!(!counted(2, &[1, 2, 3]).may_follow(None));
    }

    #[test]
    fn i6_calls_that_came_before_a_lowered_limit_stand_and_no_other_joins_them() {
        assert!(counted(1, &[1, 2]).may_follow(Some(&counted(2, &[1, 2]))));
        assert!(counted(1, &[1, 2]).may_follow(Some(&counted(1, &[1, 2, 3]))));
        assert!(!counted(1, &[1, 2]).may_follow(Some(&counted(1, &[1, 3]))));
    }
}

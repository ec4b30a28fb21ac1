//! I-1: active calls of a trunk or gateway ≤ its limit, at every instant in log order, emergency calls aside.
//! I-6: a limit that is lowered below what is in use drops nobody, and admits nobody until there is room.

use std::collections::{BTreeMap, BTreeSet};

use call::CallId;
use cluster::State;
use trunk::{Scope, Side};

use super::{Invariant, Leaps, View};

/// I-1 and I-6, as each node's own copy of the state has it.
#[derive(Debug, Default)]
pub struct Limits {
    /// What each node's copy had at the last look: of each scope its limit, and the calls beyond it.
    last: BTreeMap<u64, BTreeMap<Scope, Counted>>,
    leaps: Leaps,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Counted {
    limit: Option<u32>,
    /// The resources' version: between two looks a limit may have been lowered, lifted and lowered again.
    version: u64,
    /// The calls that count, where there are more than the limit.
    calls: BTreeSet<CallId>,
    /// The slots that they hold.
    used: u32,
}

impl Counted {
    /// Whether calls beyond the limit may stand, because they came before it.
    fn may_follow(&self, before: Option<&Counted>) -> bool {
        let Some(limit) = self.limit.filter(|limit| self.used > *limit) else { return true };
        // A scope that had nothing at the last look: whether the limit was another then, nobody knows.
        let Some(before) = before else { return true };
        // Where the resources were others at the last look, what came since may have come before the change.
        before.version != self.version || before.limit != Some(limit) || self.calls.is_subset(&before.calls)
    }
}

/// Counts a scope's slots. They are looked at themselves, since the state's own sums may be what is wrong; one by
/// one only where there may be too many.
fn count(state: &State, scope: &Scope, held: &[(CallId, Side)]) -> Counted {
    let (limit, version) = (state.resources().concurrent(scope), state.resources().version);
    if limit.is_none_or(|limit| held.len() <= limit as usize) {
        return Counted { limit, version, ..Counted::default() };
    }
    let counts = |call: CallId| state.call(call).is_none_or(|record| !record.admit.emergency);
    let counted = held.iter().filter(|(call, _)| counts(*call));
    let used = counted.clone().count() as u32;
    let over = limit.is_some_and(|limit| used > limit);
    let calls = if over { counted.map(|(call, _)| *call).collect() } else { BTreeSet::new() };
    Counted { limit, version, calls, used }
}

/// The slots of each scope, one scope after the other.
fn by_scope(state: &State, mut each: impl FnMut(&Scope, &[(CallId, Side)])) {
    let (mut of, mut held) = (None, Vec::new());
    for (scope, call, side) in state.slots() {
        if let Some(before) = of.filter(|before: &&Scope| !std::ptr::eq(*before, scope)) {
            each(before, &held);
            held.clear();
        }
        of = Some(scope);
        held.push((call, side));
    }
    if let Some(last) = of {
        each(last, &held);
    }
}

impl Limits {
    fn look_at(&mut self, node: u64, applied: u64, state: &State) -> Option<String> {
        // A copy that begins late, or leaps, can't say what came first; others can.
        let is_new = self.leaps.leapt(node, applied) || !self.last.contains_key(&node);
        let last = self.last.entry(node).or_default();
        // What is known of a scope that has nothing now says nothing of what comes later, under whatever limit.
        let mut before_now = std::mem::take(last);
        let mut found = None;
        by_scope(state, |scope, held| {
            let now = count(state, scope, held);
            let before = before_now.remove(scope);
            if found.is_none() && !is_new && !now.may_follow(before.as_ref()) {
                found =
                    Some(format!("on node {node}, {} carries {} of {:?}", scope.name(), now.used, now.limit));
            }
            last.insert(scope.clone(), now);
        });
        found
    }
}

impl Invariant for Limits {
    fn clause(&self) -> &'static str {
        "I-1 active calls never exceed the limit"
    }

    fn look(&mut self, view: &View<'_>) -> Option<String> {
        view.moved.iter().find_map(|node| {
            let cluster = node.cluster();
            let applied = cluster.status().applied;
            cluster.read(|state| self.look_at(cluster.node().0, applied, state))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(limit: u32, calls: &[u64]) -> Counted {
        let calls: BTreeSet<CallId> = calls.iter().map(|call| CallId(*call)).collect();
        Counted { limit: Some(limit), version: limit.into(), used: calls.len() as u32, calls }
    }

    #[test]
    fn i1_a_call_beyond_the_limit_is_found() {
        assert!(counted(2, &[1, 2]).may_follow(None));
        assert!(!counted(2, &[1, 2, 3]).may_follow(Some(&counted(2, &[1, 2]))));
        assert!(counted(2, &[1, 2, 3]).may_follow(None));
    }

    #[test]
    fn i6_calls_that_came_before_a_lowered_limit_stand_and_no_other_joins_them() {
        assert!(counted(1, &[1, 2]).may_follow(Some(&counted(2, &[1, 2]))));
        assert!(counted(1, &[1, 2]).may_follow(Some(&counted(1, &[1, 2, 3]))));
        assert!(!counted(1, &[1, 2]).may_follow(Some(&counted(1, &[1, 3]))));
    }
}

//! I-3: a count is the size of the set of live slots. I-4: a slot is of a live call, and names it once. I-5: when
//! all calls have ended, no slot is left.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cluster::State;
use machine::Instant;

use super::{Invariant, View};

/// I-3, I-4 and I-5, as each node's own copy has it: sums at every look, slot by slot once a second.
#[derive(Debug, Default)]
pub struct Slots {
    /// When each node's copy was last looked at slot by slot.
    last: BTreeMap<u64, Instant>,
}

/// Live calls hold all slots, and no more than there are.
fn sums_differ(state: &State) -> Option<String> {
    let held = state.slots().count();
    let named: usize = state.calls().map(|record| record.slots.len()).sum();
    (held != named).then(|| format!("{held} slots are held, and live calls name {named}"))
}

fn wrong(state: &State) -> Option<String> {
    let mut held: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (scope, call, side) in state.slots() {
        held.entry(scope).or_default().insert((call, side));
    }
    for (scope, held) in &held {
        let (held, counted) = (held.len(), state.usage(scope).concurrent);
        if counted as usize != held {
            return Some(format!("{} counts {counted} and holds {held}", scope.name()));
        }
    }
    let orphan = state.slots().find(|(_, call, _)| state.call(*call).is_none());
    if let Some((scope, call, _)) = orphan {
        return Some(format!("{} holds a slot of call {call}, which does not live", scope.name()));
    }
    let forgotten = state.calls().find(|record| {
        let is_held =
            |slot: &trunk::Slot| held.get(&slot.scope).is_some_and(|of| of.contains(&(record.id, slot.side)));
        !record.slots.iter().all(is_held)
    });
    forgotten.map(|record| format!("call {} lives and its slot is gone", record.id))
}

impl Invariant for Slots {
    fn clause(&self) -> &'static str {
        "I-3 I-4 I-5 slots are those of live calls"
    }

    fn look(&mut self, view: &View<'_>) -> Option<String> {
        view.moved.iter().find_map(|node| {
            let id = node.cluster().node().0;
            let known = self.last.get(&id).is_some_and(|last| view.at.since(*last) < EACH);
            if !known {
                self.last.insert(id, view.at);
            }
            let found = node.cluster().read(|state| if known { sums_differ(state) } else { wrong(state) });
            found.map(|found| format!("on node {id}, {found}"))
        })
    }

    fn end(&mut self, view: &View<'_>) -> Option<String> {
        self.last.clear();
        self.look(view).or_else(|| {
            view.moved.iter().find_map(|node| {
                let left = node.cluster().read(|state| state.slots().count());
                (left > 0).then(|| format!("{left} slots are left on node {}", node.cluster().node()))
            })
        })
    }
}

const EACH: Duration = Duration::from_secs(1);

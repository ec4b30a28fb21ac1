//! I-3: a count is the size of the set of live slots. I-4: a slot is of a live call, and names it once. I-5: when
//! all calls have ended, no slot is left.

use std::collections::{BTreeMap, BTreeSet};

use cluster::State;

use super::{Invariant, View};

/// I-3, I-4 and I-5, as each node's own copy has it.
#[derive(Debug, Default)]
pub struct Slots;

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
        let on = |node: u64, found: String| format!("on node {node}, {found}");
        view.moved
            .iter()
            .find_map(|node| node.cluster().read(wrong).map(|found| on(node.cluster().node().0, found)))
    }

    fn end(&mut self, view: &View<'_>) -> Option<String> {
        self.look(view).or_else(|| {
            view.moved.iter().find_map(|node| {
                let left = node.cluster().read(|state| state.slots().count());
                (left > 0).then(|| format!("{left} slots are left on node {}", node.cluster().node()))
            })
        })
    }
}

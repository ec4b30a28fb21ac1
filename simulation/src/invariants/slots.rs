//! I-3: a count is the size of the set of live slots. I-4: a slot is of a live call, and names it once. I-5: when
//! all calls have ended, no slot is left.

use std::collections::BTreeSet;

use cluster::State;

use super::{Invariant, View};

/// I-3, I-4 and I-5, as each node's own copy has it.
#[derive(Debug, Default)]
pub struct Slots;

fn wrong(state: &State) -> Option<String> {
    let scopes: BTreeSet<_> = state.slots().map(|(scope, ..)| scope).collect();
    for scope in scopes {
        let (held, counted) = (state.slots().filter(|(of, ..)| *of == scope).count(), state.usage(scope));
        if counted.concurrent as usize != held {
            return Some(format!("{} counts {} and holds {held}", scope.name(), counted.concurrent));
        }
    }
    let orphan = state.slots().find(|(_, call, _)| state.call(*call).is_none());
    if let Some((scope, call, _)) = orphan {
        return Some(format!("{} holds a slot of call {call}, which does not live", scope.name()));
    }
    let forgotten = state.calls().find(|record| {
        record.slots.iter().any(|slot| {
            !state
                .slots()
                .any(|(scope, call, side)| (scope, call, side) == (&slot.scope, record.id, slot.side))
        })
    });
    forgotten.map(|record| format!("call {} lives and its slot is gone", record.id))
}

impl Invariant for Slots {
    fn clause(&self) -> &'static str {
        "I-3 I-4 I-5 slots are those of live calls"
    }

    fn look(&mut self, view: &View<'_>) -> Option<String> {
        let on = |node: u64, found: String| format!("on node {node}, {found}");
        view.nodes
            .iter()
            .find_map(|node| node.cluster().read(wrong).map(|found| on(node.cluster().node().0, found)))
    }

    fn end(&mut self, view: &View<'_>) -> Option<String> {
        self.look(view).or_else(|| {
            view.nodes.iter().find_map(|node| {
                let left = node.cluster().read(|state| state.slots().count());
                (left > 0).then(|| format!("{left} slots are left on node {}", node.cluster().node()))
            })
        })
    }
}

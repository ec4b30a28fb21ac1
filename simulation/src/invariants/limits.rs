//! I-1: active calls of a trunk or gateway ≤ its limit, at every instant in log order, emergency calls aside.

use std::collections::BTreeMap;

use node::NodeHandle;

use super::Invariant;

/// I-1, as each node's own copy of the state has it.
#[derive(Debug, Default)]
pub struct Limits;

impl Invariant for Limits {
    fn clause(&self) -> &'static str {
        "I-1 active calls never exceed the limit"
    }

    fn look(&mut self, nodes: &[NodeHandle]) -> Option<String> {
        nodes.iter().find_map(|node| {
            node.cluster().read(|state| {
                let mut used = BTreeMap::new();
                for (scope, call, _) in state.slots() {
                    // Counted here from the slots themselves: the state's own sums may be what is wrong.
                    if state.call(call).is_none_or(|record| !record.admit.emergency) {
                        *used.entry(scope).or_insert(0u32) += 1;
                    }
                }
                let over = used.into_iter().find_map(|(scope, used)| {
                    let limit = state.resources().concurrent(scope)?;
                    (used > limit).then(|| format!("{} carries {used} of {limit}", scope.name()))
                });
                over.map(|over| format!("on node {}, {over}", node.cluster().node()))
            })
        })
    }
}

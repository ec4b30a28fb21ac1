//! I-7, before anybody speaks: no two nodes at once find that they may speak for a home, each by its own copy of the
//! state and its own lease.

use std::collections::BTreeMap;

use call::{Epoch, HomeId};
use cluster::State;
use node::NodeHandle;

use super::{Invariant, View};

/// I-7 of leases. Who yields a home, or leaves, is silent before its lease ends, and still has the lease: that one
/// does not claim.
#[derive(Debug, Default)]
pub struct OneClaimant;

/// The homes that a node holds, as its own copy says, with their epochs.
fn held(node: &NodeHandle) -> BTreeMap<HomeId, Epoch> {
    let id = node.cluster().node();
    node.cluster().read(|state| {
        let held = state.homes().filter(|(_, home)| home.holder == Some(id) && home.floating().is_some());
        held.map(|(home, state)| (home, state.epoch)).collect()
    })
}

/// Whether a node was evicted, as this copy says.
fn is_evicted(state: &State, node: call::NodeId) -> bool {
    state.node(node).is_some_and(|node| !node.alive)
}

impl Invariant for OneClaimant {
    fn clause(&self) -> &'static str {
        "I-7 no two may speak for a home"
    }

    fn look(&mut self, view: &View<'_>) -> Option<String> {
        let may = |node: &&NodeHandle| view.up.contains(&node.cluster().node().0) && node.is_ready();
        let claims: Vec<_> = view.nodes.iter().filter(may).map(|node| (node, held(node))).collect();
        claims.iter().find_map(|(newer, theirs)| {
            claims.iter().find_map(|(older, its)| {
                let id = older.cluster().node();
                let home = its.iter().find(|(home, epoch)| theirs.get(home).is_some_and(|it| it > epoch))?;
                let wrong = newer.cluster().read(|state| is_evicted(state, id));
                wrong.then(|| {
                    format!(
                        "node {} may speak for home {}, and node {id} too",
                        newer.cluster().node(),
                        home.0.0
                    )
                })
            })
        })
    }
}

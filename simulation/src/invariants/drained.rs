//! A drained node gives its homes away (contract, `node drain`): with all nodes up and joined, and another that takes
//! homes, none is left with it for long.

use std::collections::BTreeMap;
use std::time::Duration;

use cluster::State;
use machine::Instant;
use node::NodeHandle;

use super::{Invariant, View};

/// That of floating homes, where nothing else goes wrong meanwhile.
#[derive(Debug, Default)]
pub struct DrainedIsEmpty {
    /// Since when a node has held homes although it is drained and nothing kept it.
    since: BTreeMap<u64, Instant>,
    /// When all copies were last at the same place of the log.
    equal: Option<Instant>,
}

/// The nodes that are drained, hold floating homes, and have somebody to take them.
fn laden(state: &State) -> Vec<u64> {
    let takes = |but| state.nodes().any(|(id, node)| id != but && node.alive && node.drained.is_none());
    let holds = |id| state.homes().any(|(_, home)| home.floating().is_some() && home.holder == Some(id));
    let drained = state.nodes().filter(|(_, node)| node.alive && node.drained.is_some());
    drained.map(|(id, _)| id).filter(|id| takes(*id) && holds(*id)).map(|id| id.0).collect()
}

impl DrainedIsEmpty {
    /// These nodes are laden now; gives one that has been for too long.
    fn are_laden(&mut self, at: Instant, laden: &[u64]) -> Option<String> {
        self.since.retain(|node, _| laden.contains(node));
        laden.iter().find_map(|node| {
            let since = *self.since.entry(*node).or_insert(at);
            (at.since(since) > PATIENCE).then(|| format!("node {node} is drained and keeps a home"))
        })
    }
}

impl Invariant for DrainedIsEmpty {
    fn clause(&self) -> &'static str {
        "a drained node gives its homes away"
    }

    fn look(&mut self, view: &View<'_>) -> Option<String> {
        let joined = |node: &u64| view.up.iter().all(|it| it == node || view.links.are_joined(*node, *it));
        let newest = view.nodes.iter().max_by_key(|node| node.cluster().status().applied)?;
        let all = newest.cluster().status().members.len();
        let behind = |node: &NodeHandle| node.cluster().status().applied < newest.cluster().status().applied;
        if !view.nodes.iter().any(behind) {
            self.equal = Some(view.at);
        }
        // Where links are slow some copy always lags, and a home takes its time to move.
        let quick = self.equal.is_some_and(|equal| view.at.since(equal) < LAG_MAX);
        let undisturbed =
            quick && view.nodes.len() == all && view.up.len() == all && view.up.iter().all(joined);
        let laden = if undisturbed { newest.cluster().read(laden) } else { Vec::new() };
        self.are_laden(view.at, &laden)
    }
}

/// Homes go one by one, each after what was proposed there is said; slow disks and links take their time.
const PATIENCE: Duration = Duration::from_millis(3_500);

const LAG_MAX: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drained_node_that_keeps_a_home_is_found_and_one_that_lets_go_is_not() {
        let at = |ms| Instant::ZERO + Duration::from_millis(ms);
        let mut drained = DrainedIsEmpty::default();
        assert_eq!(drained.are_laden(at(0), &[1, 2]), None);
        assert_eq!(drained.are_laden(at(3_000), &[1]), None);
        assert_eq!(drained.are_laden(at(3_400), &[1, 2]), None);
        assert!(drained.are_laden(at(3_600), &[1, 2]).is_some(), "node 1");
        assert_eq!(drained.are_laden(at(6_000), &[2]), None, "it began anew");
    }
}

//! I-31: the state's digest is equal at the same index of the log, on all nodes and in all their lives.

use std::collections::BTreeMap;

use super::{Invariant, View};

/// I-31. Each index that any node is seen at is remembered; at the end the digests over all bytes must agree.
#[derive(Debug, Default)]
pub struct EqualDigests {
    seen: BTreeMap<u64, (u64, u64)>,
}

impl EqualDigests {
    fn compare(&mut self, node: u64, index: u64, digest: u64) -> Option<String> {
        let (other, known) = *self.seen.entry(index).or_insert((node, digest));
        (known != digest).then(|| {
            format!("at index {index}, node {node} has {digest:016x} and node {other} had {known:016x}")
        })
    }
}

impl Invariant for EqualDigests {
    fn clause(&self) -> &'static str {
        "I-31 equal state at equal index"
    }

    fn look(&mut self, view: &View<'_>) -> Option<String> {
        view.moved.iter().find_map(|node| {
            let cluster = node.cluster();
            let index = cluster.status().applied;
            // Before its first entry, a new life has what its last snapshot held.
            (index > 0)
                .then(|| self.compare(cluster.node().0, index, cluster.read(cluster::State::digest)))?
        })
    }

    fn end(&mut self, view: &View<'_>) -> Option<String> {
        if let Some(found) = self.look(view) {
            return Some(found);
        }
        let full: Vec<(u64, u64, u64)> = view
            .moved
            .iter()
            .map(|node| {
                let cluster = node.cluster();
                (cluster.node().0, cluster.status().applied, cluster.read(cluster::State::full_digest))
            })
            .collect();
        let mut at: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        // Whether all have come equally far is asked while they heal; one may just be a batch ahead.
        full.into_iter().find_map(|(node, index, digest)| {
            let (first, known) = *at.entry(index).or_insert((node, digest));
            (known != digest).then(|| {
                format!("node {first} ends at {index} with {known:016x}, node {node} with {digest:016x}")
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i31_two_states_at_one_index_are_found() {
        let mut digests = EqualDigests::default();
        assert_eq!(digests.compare(1, 7, 0xA), None);
        assert_eq!(digests.compare(2, 8, 0xB), None);
        assert_eq!(digests.compare(2, 7, 0xA), None);
        assert!(digests.compare(3, 8, 0xC).is_some());
    }
}

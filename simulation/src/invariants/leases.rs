//! I-7, before anything goes wrong: no lease runs longer than those count on who would give its homes away. A node's
//! lease has ended when its leader may evict it, and one that was evicted has none for longer than what was granted
//! before.

use std::collections::BTreeMap;
use std::time::Duration;

use machine::Instant;
use node::NodeHandle;

use super::{Invariant, View};

/// I-7 of what leaders grant and holders make of it. Two that speak at once show only if a partition falls into the
/// same moment; a lease that is too long shows each time.
#[derive(Debug)]
pub struct NoLongLease {
    lease: Duration,
    /// Since when the newest copy says that a node was evicted.
    evicted: BTreeMap<u64, Instant>,
}

impl NoLongLease {
    /// Of leases of this length.
    pub fn new(lease: Duration) -> NoLongLease {
        NoLongLease { lease, evicted: BTreeMap::new() }
    }

    /// A node was evicted, or was not; gives for how much longer than it may it could speak, if it has a lease.
    fn too_long(&mut self, at: Instant, node: u64, evicted: bool, left: Duration) -> Option<Duration> {
        if !evicted {
            self.evicted.remove(&node);
            return None;
        }
        let since = *self.evicted.entry(node).or_insert(at);
        // A clock that runs 1 % slow; and a look comes up to 5 ms late.
        let most = self.lease + self.lease / 50 + Duration::from_millis(10);
        let beyond = (at + left).since(since + most);
        (!left.is_zero() && !beyond.is_zero()).then_some(beyond)
    }
}

/// How long a node's lease runs beyond the moment when one that leads may evict it, if it does.
fn beyond(leader: &NodeHandle, node: &NodeHandle, left: Duration) -> Option<Duration> {
    let counted = leader.cluster().lease_of(node.cluster().node())?;
    let beyond = left.saturating_sub(counted);
    // One that was succeeded and does not know of it yet says nothing of what its successor grants.
    let leads = || leader.cluster().status().term >= node.cluster().status().term;
    (!beyond.is_zero() && leads()).then_some(beyond)
}

impl Invariant for NoLongLease {
    fn clause(&self) -> &'static str {
        "I-7 no lease outlasts what its leader counts on"
    }

    fn look(&mut self, view: &View<'_>) -> Option<String> {
        let newest = view.nodes.iter().max_by_key(|node| node.cluster().status().applied)?;
        view.nodes.iter().find_map(|node| {
            let id = node.cluster().node();
            let left = node.cluster().lease_left().unwrap_or_default();
            let evicted = newest.cluster().read(|state| state.node(id).is_some_and(|it| !it.alive));
            if let Some(beyond) = self.too_long(view.at, id.0, evicted, left) {
                return Some(format!(
                    "node {id} was evicted, and has a lease for {} ms more",
                    beyond.as_millis()
                ));
            }
            let mut leaders = view.nodes.iter().filter(|it| view.up.contains(&it.cluster().node().0));
            let (leader, more) = leaders.find_map(|leader| Some((leader, beyond(leader, node, left)?)))?;
            let leader = leader.cluster().node();
            Some(format!(
                "node {id} has a lease for {} µs more than node {leader} counts on",
                more.as_micros()
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i7_who_is_evicted_has_a_lease_for_as_long_as_it_had_before_and_no_longer() {
        let at = |ms| Instant::ZERO + Duration::from_millis(ms);
        let ms = Duration::from_millis;
        let mut leases = NoLongLease::new(ms(250));
        assert_eq!(leases.too_long(at(900), 1, false, ms(250)), None);
        assert_eq!(leases.too_long(at(1_000), 1, true, ms(250)), None);
        assert_eq!(leases.too_long(at(1_100), 1, true, ms(150)), None);
        assert!(leases.too_long(at(1_100), 1, true, ms(250)).is_some(), "granted since");
        assert_eq!(leases.too_long(at(1_200), 1, false, ms(250)), None, "it counts again");
        assert_eq!(leases.too_long(at(1_300), 1, true, ms(250)), None, "and was evicted once more");
        assert_eq!(leases.too_long(at(9_000), 1, true, ms(0)), None, "it has none");
    }
}

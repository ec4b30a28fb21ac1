//! I-33: a node that is cut off from the majority says nothing from a floating home once its lease has ended, so
//! it admits nothing, ends nothing, and never speaks beside its successor.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use machine::Instant;

use super::{Invariant, Sent, View};
use crate::fault::Effects;

/// I-33 on the wire.
#[derive(Debug)]
pub struct MuteMinority {
    homes: Vec<IpAddr>,
    grace: Duration,
    effects: Arc<Effects>,
    /// The voters, as each node's own log says.
    voters: BTreeMap<u64, BTreeSet<u64>>,
    /// Since when a node has been cut off.
    since: BTreeMap<u64, Instant>,
}

impl MuteMinority {
    /// Of the homes with these addresses, and leases of this length. Tells `effects` when nobody has a quorum.
    pub fn new(homes: Vec<IpAddr>, lease: Duration, effects: Arc<Effects>) -> MuteMinority {
        // A clock that runs 1 % slow; and a look comes up to 5 ms late.
        let grace = lease + lease / 50 + Duration::from_millis(10);
        MuteMinority { homes, grace, effects, voters: BTreeMap::new(), since: BTreeMap::new() }
    }

    fn speaks(&self, at: Instant, node: u64, home: IpAddr) -> Option<String> {
        let since = self.since.get(&node).filter(|_| self.homes.contains(&home))?;
        let cut_off = at.since(*since);
        (cut_off > self.grace)
            .then(|| format!("node {node} speaks from {home}, cut off for {} ms", cut_off.as_millis()))
    }

    fn hears_majority(&self, heard: &BTreeSet<u64>) -> bool {
        let mut voters = self.voters.values();
        self.voters.is_empty() || voters.any(|it| it.intersection(heard).count() * 2 > it.len())
    }

    fn is_cut_off(&mut self, at: Instant, node: u64, cut_off: bool) {
        if cut_off {
            self.since.entry(node).or_insert(at);
        } else {
            self.since.remove(&node);
        }
    }
}

impl Invariant for MuteMinority {
    fn clause(&self) -> &'static str {
        "I-33 a minority is mute"
    }

    fn sent(&mut self, sent: &Sent<'_>) -> Option<String> {
        self.speaks(sent.at, sent.life.node(), sent.from.ip())
    }

    fn look(&mut self, view: &View<'_>) -> Option<String> {
        // A change of members counts from when it is in a log, and need move no copy.
        for node in view.nodes {
            let members = node.cluster().status().members;
            let voters = members.iter().filter(|it| it.is_voter).map(|it| it.node.0).collect();
            self.voters.insert(node.cluster().node().0, voters);
        }
        self.voters.retain(|node, _| view.nodes.iter().any(|it| it.cluster().node().0 == *node));
        self.since.retain(|node, _| view.up.contains(node));
        let furthest = view.nodes.iter().max_by_key(|node| node.cluster().status().applied);
        let newest = furthest.and_then(|node| self.voters.get(&node.cluster().node().0)).cloned();
        let newest = newest.as_ref();
        let mut quorum = false;
        let heard = |node: u64| -> BTreeSet<u64> {
            let hears = |it: &u64| *it == node || view.links.are_joined(node, *it);
            view.up.iter().copied().filter(hears).collect()
        };
        for node in view.up {
            // Whoever leads must hear a majority; a follower need not hear anybody else. While the members change, some
            // know of it and some do not: a majority of either will do.
            let led = heard(*node).into_iter().any(|leader| self.hears_majority(&heard(leader)));
            quorum |= newest.is_none_or(|it| it.intersection(&heard(*node)).count() * 2 > it.len());
            self.is_cut_off(view.at, *node, !led);
        }
        if !quorum {
            self.effects.no_quorum(view.at);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i33_who_is_cut_off_may_speak_for_its_lease_and_no_longer() {
        let home: IpAddr = [10, 0, 9, 1].into();
        let at = |ms| Instant::ZERO + Duration::from_millis(ms);
        let mut mute = MuteMinority::new(vec![home], Duration::from_millis(250), Arc::default());
        mute.is_cut_off(at(100), 1, true);
        assert_eq!(mute.speaks(at(350), 1, home), None);
        assert!(mute.speaks(at(400), 1, home).is_some());
        assert_eq!(mute.speaks(at(400), 1, [10, 0, 0, 1].into()), None, "its own, fixed, home");
        assert_eq!(mute.speaks(at(400), 2, home), None);
        mute.is_cut_off(at(500), 1, false);
        assert_eq!(mute.speaks(at(501), 1, home), None);
    }
}

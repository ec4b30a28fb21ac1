//! Nodes: their lives, whose commands still count, who is held dead, who takes no homes.

use call::{Incarnation, NodeId};
use machine::ClusterTime;
use machine::museum::planted;
use serde::{Deserialize, Serialize};
use trunk::Name;

use super::digest;
use super::{APPLY_VERSION, Delta, State};
use crate::command::{Batch, Boot, Booted, Command, DrainedUntil, Refused, Verdict};

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// What the node file calls it.
    pub name: String,
    /// Its present life.
    pub incarnation: Incarnation,
    /// Drawn by that life.
    pub(super) nonce: u64,
    /// The last batch of that life that was applied.
    seq: u64,
    /// CDRs up to this number are on its disk.
    pub cdrs_durable: u64,
    /// Whether it counts: it booted or returned and was not evicted since. Only such a node holds homes.
    pub alive: bool,
    /// Since when it counts, or does not.
    pub since: ClusterTime,
    /// Whether it takes no homes, and how long.
    pub drained: Option<DrainedUntil>,
    /// Where it stands.
    pub region: Option<Name>,
    /// The floating homes that it can hold.
    pub floating: Vec<Name>,
    /// The newest version of `apply` that its program knows.
    pub supports: u32,
}

impl State {
    /// Whether a batch is the next of its node's stream. Its number counts from here on.
    pub(super) fn accept(&mut self, batch: &Batch) -> Result<(), Verdict> {
        if let ([Command::Boot(boot)], 0) = (batch.commands.as_slice(), batch.incarnation.0) {
            let known = self.nodes.get(&batch.node).is_some_and(|node| node.nonce == boot.nonce);
            return if known { Err(Verdict::Repeated) } else { Ok(()) };
        }
        let Some(node) = self.nodes.get_mut(&batch.node) else { return Err(Verdict::Fenced) };
        if node.incarnation != batch.incarnation {
            return Err(Verdict::Fenced);
        }
        let expected = node.seq + 1;
        match batch.seq {
            seq if planted("sequence-unchecked") => {
                node.seq = seq;
                Ok(())
            }
            seq if seq < expected => Err(Verdict::Repeated),
            seq if seq > expected => Err(Verdict::Gap { expected }),
            seq => {
                node.seq = seq;
                Ok(())
            }
        }
    }

    /// Begins a node's next life: a new incarnation, and a new epoch for each home that it holds.
    pub(super) fn boot(
        &mut self,
        id: NodeId,
        boot: &Boot,
        deltas: &mut Vec<Delta>,
    ) -> Result<Booted, Refused> {
        if boot.supports < self.apply_version {
            let (needed, supported) = (self.apply_version, boot.supports);
            return Err(Refused::TooOld { node: id, needed, supported });
        }
        let last = self.incarnations.last_key_value().map_or(0, |(last, _)| last.0);
        let incarnation = Incarnation(last + 1);
        self.incarnations.insert(incarnation, id);
        let before = self.nodes.get(&id);
        let node = Node {
            name: boot.name.clone(),
            incarnation,
            nonce: boot.nonce,
            seq: 0,
            cdrs_durable: before.map_or(0, |node| node.cdrs_durable),
            alive: true,
            since: self.time,
            drained: before.and_then(|node| node.drained).filter(|until| *until == DrainedUntil::Resume),
            region: boot.region.clone(),
            floating: boot.floating.iter().map(|home| home.name.clone()).collect(),
            supports: boot.supports,
        };
        self.set_node(id, Some(node));
        deltas.push(Delta::Booted(id));
        self.boot_homes(id, boot, deltas);
        Ok(Booted { incarnation, homes: self.held(id) })
    }

    /// What a process that booted before learns when it asks again.
    pub fn booted(&self, id: NodeId, nonce: u64) -> Option<Booted> {
        let node = self.nodes.get(&id).filter(|node| node.nonce == nonce)?;
        Some(Booted { incarnation: node.incarnation, homes: self.held(id) })
    }

    /// Whether this life of a node counts: only then may a leader grant it a lease.
    pub fn is_alive(&self, node: NodeId, incarnation: Incarnation) -> bool {
        self.nodes.get(&node).is_some_and(|node| node.alive && node.incarnation == incarnation)
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(&id)
    }

    /// The log's term of the entry that is applied next.
    pub fn enter_term(&mut self, term: u64) {
        self.term = term;
    }

    /// A leader holds a node dead.
    pub(super) fn evict(
        &mut self,
        node: NodeId,
        incarnation: Incarnation,
        term: u64,
        deltas: &mut Vec<Delta>,
    ) -> Result<(), Refused> {
        // A batch may wait while leaders change, and the next leader may grant what this command took for
        // ended: it counts only in the term in which it was decided.
        if term != self.term || !self.is_alive(node, incarnation) {
            return Err(Refused::Stale);
        }
        self.bury(node, deltas)
    }

    /// A node does not count any more; its homes go to others.
    pub(super) fn bury(&mut self, id: NodeId, deltas: &mut Vec<Delta>) -> Result<(), Refused> {
        let mut node = self.nodes.get(&id).cloned().ok_or(Refused::UnknownNode(id))?;
        if node.alive {
            (node.alive, node.since) = (false, self.time);
            self.set_node(id, Some(node));
            deltas.push(Delta::Evicted(id));
            self.orphan_homes(id, deltas);
            if planted("bindings-die-with-their-node") {
                self.bindings.lose(id);
            }
        }
        Ok(())
    }

    /// A node that was evicted counts again.
    pub(super) fn revive(&mut self, id: NodeId, deltas: &mut Vec<Delta>) -> Result<(), Refused> {
        let mut node = self.nodes.get(&id).cloned().ok_or(Refused::UnknownNode(id))?;
        if !node.alive {
            (node.alive, node.since) = (true, self.time);
            self.set_node(id, Some(node));
            deltas.push(Delta::Standing(id));
            self.take_fixed_homes_back(id, deltas);
            self.settle(deltas);
        } else if self.is_homeless(id) {
            self.take_fixed_homes_back(id, deltas);
        }
        Ok(())
    }

    /// A node takes no homes for a while.
    pub(super) fn drain(
        &mut self,
        id: NodeId,
        until: DrainedUntil,
        deltas: &mut Vec<Delta>,
    ) -> Result<(), Refused> {
        let mut node = self.nodes.get(&id).cloned().ok_or(Refused::UnknownNode(id))?;
        let others = self.nodes.iter().any(|(other, it)| *other != id && it.alive && it.drained.is_none());
        if !others {
            return Err(Refused::LastNode(id));
        }
        // An operator's word stays until he takes it back.
        if node.drained != Some(DrainedUntil::Resume) && node.drained != Some(until) {
            node.drained = Some(until);
            self.set_node(id, Some(node));
            deltas.push(Delta::Standing(id));
        }
        Ok(())
    }

    /// A drained node takes homes again.
    pub(super) fn resume(&mut self, id: NodeId, deltas: &mut Vec<Delta>) -> Result<(), Refused> {
        let mut node = self.nodes.get(&id).cloned().ok_or(Refused::UnknownNode(id))?;
        if node.drained.take().is_some() {
            // It proves itself anew before homes with calls come back.
            node.since = self.time;
            let alive = node.alive;
            self.set_node(id, Some(node));
            deltas.push(Delta::Standing(id));
            if alive {
                self.take_fixed_homes_back(id, deltas);
                self.settle(deltas);
            }
        }
        Ok(())
    }

    /// A node is gone for good.
    pub(super) fn remove(&mut self, id: NodeId, deltas: &mut Vec<Delta>) -> Result<(), Refused> {
        let node = self.nodes.get(&id).ok_or(Refused::UnknownNode(id))?;
        if node.alive && self.homes.values().any(|home| home.holder == Some(id)) {
            return Err(Refused::HoldsHomes(id));
        }
        self.settle(deltas);
        let stuck = self.homes.iter().find(|(home, state)| state.is_fixed_of(id) && self.has_calls(**home));
        if let Some((home, _)) = stuck {
            return Err(Refused::NoTaker(*home));
        }
        self.set_node(id, None);
        deltas.push(Delta::Removed(id));
        self.forget_homes();
        // One disk fewer counts.
        self.cdrs.release(self.cdrs_safe());
        Ok(())
    }

    /// What the cluster's commands mean.
    pub fn apply_version(&self) -> u32 {
        self.apply_version
    }

    /// The newest version that every node supports, if it is above the present one: the leader proposes it.
    pub fn version_to_raise(&self) -> Option<u32> {
        Some(self.supported()).filter(|version| *version > self.apply_version)
    }

    fn supported(&self) -> u32 {
        self.nodes.values().map(|node| node.supports).min().unwrap_or(0)
    }

    /// Commands mean more from here on.
    pub(super) fn raise_version(&mut self, to: u32) -> Result<(), Refused> {
        let (from, supported) = (self.apply_version, self.supported());
        if to <= from || to > supported {
            return Err(Refused::Version { from, to, supported });
        }
        // Applying what it does not understand would part this node from the others.
        assert!(to <= APPLY_VERSION, "the cluster is at version {to}: this node's program is too old");
        self.apply_version = to;
        Ok(())
    }

    /// CDRs up to this number are on enough disks: two, or one in a cluster of one.
    pub(super) fn cdrs_safe(&self) -> u64 {
        let mut durable: Vec<u64> = self.nodes.values().map(|node| node.cdrs_durable).collect();
        durable.sort_unstable_by(|a, b| b.cmp(a));
        durable.get(1).or(durable.first()).copied().unwrap_or(0)
    }

    /// Changes a node, and the digest with it. Batches and CDRs that it has count up outside the digest.
    fn set_node(&mut self, id: NodeId, to: Option<Node>) {
        let after = to.as_ref().map_or(0, |node| digest::of_node(id, node));
        let before = match to {
            Some(node) => self.nodes.insert(id, node),
            None => self.nodes.remove(&id),
        };
        let before = before.map_or(0, |node| digest::of_node(id, &node));
        self.roster = self.roster.wrapping_sub(before).wrapping_add(after);
    }
}

//! Homes: who holds them, in which epoch, and where calls go whose home is lost.
//!
//! A home leaves a node in one of three ways only: the node was evicted, which its lease has ended before; it
//! said itself, by `Yield` or `Leave`, that it is silent; or its process was succeeded by the next one. So
//! whoever finds itself the holder in its own copy of the state, and has a lease, is alone.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};

use call::{Epoch, HomeId, NodeId};
use machine::ClusterTime;
use machine::museum::planted;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use trunk::Name;

use super::digest;
use super::placement::{Adopter, Place};
use super::{Delta, State};
use crate::command::{Boot, FloatingHome, Held, Refused};

/// The version of `apply` from which `Return` gives a node that serves its own address back.
const RECLAIMED_SINCE: u32 = 3;

/// A service address that calls belong to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Home {
    /// Its name. A fixed home's is unique on its node only.
    pub name: Name,
    /// Who holds it. Nobody: its node is down or drained, or nobody who could hold it is up.
    pub holder: Option<NodeId>,
    /// How often it changed hands.
    pub epoch: Epoch,
    /// Whether it can change hands at all.
    pub kind: HomeKind,
    /// When it last changed hands.
    pub moved_at: ClusterTime,
}

/// Whether a home can change hands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HomeKind {
    /// A node's own address: nobody else can hold it. Its calls are adopted by another home.
    Fixed {
        /// Whose.
        of: NodeId,
    },
    /// An address that moves, with its calls.
    Floating(FloatingHome),
}

impl Home {
    /// What the node files say of a floating home.
    pub fn floating(&self) -> Option<&FloatingHome> {
        match &self.kind {
            HomeKind::Fixed { .. } => None,
            HomeKind::Floating(spec) => Some(spec),
        }
    }

    /// Whether it is the same home as one of another cluster.
    pub(super) fn is_like(&self, other: &Home) -> bool {
        let owner = |home: &Home| match home.kind {
            HomeKind::Fixed { of } => Some(of),
            HomeKind::Floating(_) => None,
        };
        self.name == other.name && owner(self) == owner(other)
    }

    pub(super) fn is_fixed_of(&self, node: NodeId) -> bool {
        matches!(self.kind, HomeKind::Fixed { of } if of == node)
    }
}

impl State {
    /// Whether a node holds a home in this epoch.
    pub fn holds(&self, node: NodeId, home: HomeId, epoch: Epoch) -> bool {
        self.homes.get(&home).is_some_and(|state| state.holder == Some(node) && state.epoch == epoch)
    }

    /// The homes that a node holds.
    pub fn held(&self, node: NodeId) -> Vec<Held> {
        let held = self.homes.iter().filter(|(_, state)| state.holder == Some(node));
        held.map(|(home, state)| Held { home: *home, name: state.name.clone(), epoch: state.epoch }).collect()
    }

    /// A home by its name.
    pub fn home_named(&self, name: &Name) -> Option<(HomeId, &Home)> {
        self.homes.iter().find(|(_, home)| home.name == *name).map(|(id, home)| (*id, home))
    }

    pub(super) fn has_calls(&self, home: HomeId) -> bool {
        self.calls.values().any(|record| record.home == home)
    }

    /// What a booting node brings, holds on to, and is given.
    pub(super) fn boot_homes(&mut self, id: NodeId, boot: &Boot, deltas: &mut Vec<Delta>) {
        for spec in &boot.floating {
            // The newest word on a home counts: node files change one node after the other.
            let known = self
                .homes
                .iter()
                .find(|(_, home)| home.floating().is_some_and(|known| known.name == spec.name));
            let kind = HomeKind::Floating(spec.clone());
            match known.map(|(home, state)| (*home, state.clone())) {
                Some((home, state)) => self.set_home(home, Some(Home { kind, ..state })),
                None => drop(self.add_home(&spec.name, kind)),
            }
        }
        let own: Vec<HomeId> = self.homes_of(id);
        for home in own {
            if self.can_hold(id, home) {
                self.give(home, Some(id), deltas);
            } else {
                self.give(home, None, deltas);
            }
        }
        for name in &boot.homes {
            let known = self.homes.iter().find(|(_, home)| home.is_fixed_of(id) && home.name == *name);
            let home = match known {
                Some((home, _)) => *home,
                None => self.add_home(name, HomeKind::Fixed { of: id }),
            };
            if self.homes.get(&home).is_some_and(|state| state.holder.is_none()) {
                self.give(home, Some(id), deltas);
            }
        }
        self.settle(deltas);
    }

    /// A node's own addresses are its own again.
    pub(super) fn take_fixed_homes_back(&mut self, id: NodeId, deltas: &mut Vec<Delta>) {
        let free = |home: &super::Home| home.is_fixed_of(id) && home.holder.is_none();
        let back: Vec<HomeId> = self.homes.iter().filter(|(_, it)| free(it)).map(|(id, _)| *id).collect();
        back.into_iter().for_each(|home| self.give(home, Some(id), deltas));
    }

    /// What a node held that does not count any more goes to others.
    pub(super) fn orphan_homes(&mut self, id: NodeId, deltas: &mut Vec<Delta>) {
        let mut homes = self.homes_of(id);
        if planted("order-of-hashes") {
            homes.sort_by_cached_key(|home| RandomState::new().hash_one(home.0));
        }
        for home in homes {
            let to = self.taker(home, Place::Orphan);
            self.give(home, to, deltas);
            if planted("slots-die-with-their-node") {
                let calls = self.calls.values().filter(|record| record.home == home);
                calls.for_each(|record| self.slots.release(record.id, &record.slots));
            }
        }
        self.settle(deltas);
    }

    /// A home goes from its holder, who is silent for it, to another.
    pub(super) fn yield_home(
        &mut self,
        from: NodeId,
        home: HomeId,
        epoch: Epoch,
        deltas: &mut Vec<Delta>,
    ) -> Result<(), Refused> {
        if !self.holds(from, home, epoch) {
            return Err(Refused::Stale);
        }
        let is_fixed = self.homes.get(&home).is_some_and(|state| state.floating().is_none());
        match self.taker(home, Place::Yielded) {
            Some(to) => self.give(home, Some(to), deltas),
            None if is_fixed && self.adopters().iter().any(|it| it.node != from && !it.drained) => {
                self.give(home, None, deltas);
                self.settle(deltas);
            }
            None => return Err(Refused::NoTaker(home)),
        }
        Ok(())
    }

    /// Whether a node that serves has lost its own address: it was resumed while it gave that up. It gets it back by
    /// `Return`.
    pub fn is_homeless(&self, id: NodeId) -> bool {
        let serves = self.nodes.get(&id).is_some_and(|node| node.alive && node.drained.is_none());
        let lost = |home: &Home| home.is_fixed_of(id) && home.holder.is_none();
        serves && self.apply_version >= RECLAIMED_SINCE && self.homes.values().any(lost)
    }

    /// Finds holders for homes without one, and other homes for the calls of those that stay so.
    pub(super) fn settle(&mut self, deltas: &mut Vec<Delta>) {
        let free = self.homes.iter().filter(|(_, home)| home.holder.is_none());
        let mut free: Vec<HomeId> = free.map(|(id, _)| *id).collect();
        if planted("order-of-hashes") {
            free.sort_by_cached_key(|home| RandomState::new().hash_one(home.0));
        }
        let mut lost = BTreeSet::new();
        for home in free {
            match self.taker(home, Place::Orphan) {
                Some(to) => self.give(home, Some(to), deltas),
                None => drop(lost.insert(home)),
            }
        }
        if !lost.is_empty() {
            self.adopt(&lost, deltas);
        }
        self.forget_homes();
    }

    /// Re-homes the calls of lost homes, each to where its id leads: to all survivors alike.
    fn adopt(&mut self, lost: &BTreeSet<HomeId>, deltas: &mut Vec<Delta>) {
        let adopters = self.adopters();
        let orphans = self.calls.values().filter(|record| lost.contains(&record.home));
        let orphans: Vec<_> = orphans.map(|record| (record.id, record.home)).collect();
        for (call, from) in orphans {
            let region = self.homes.get(&from).and_then(|home| self.region_of(home)).cloned();
            let Some(to) = Adopter::choose(&adopters, call, region.as_ref()) else { return };
            let (to, epoch) = (to.home, to.epoch);
            if let Some(record) = self.calls.get_mut(&call) {
                let before = digest::of_call(record);
                Arc::make_mut(record).adopt(to, epoch);
                let after = digest::of_call(record);
                self.digest = self.digest.wrapping_sub(before).wrapping_add(after);
                deltas.push(Delta::Adopted { record: record.clone(), from });
            }
        }
    }

    /// Forgets homes that nobody holds, nobody brings and no call belongs to.
    pub(super) fn forget_homes(&mut self) {
        let unwanted = |home: &Home| match &home.kind {
            HomeKind::Fixed { of } => !self.nodes.contains_key(of),
            HomeKind::Floating(spec) => !self.nodes.values().any(|node| node.floating.contains(&spec.name)),
        };
        let unwanted = self.homes.iter().filter(|(_, home)| home.holder.is_none() && unwanted(home));
        let unwanted: Vec<HomeId> =
            unwanted.map(|(id, _)| *id).filter(|home| !self.has_calls(*home)).collect();
        unwanted.into_iter().for_each(|home| self.set_home(home, None));
    }

    fn homes_of(&self, node: NodeId) -> Vec<HomeId> {
        self.homes.iter().filter(|(_, home)| home.holder == Some(node)).map(|(id, _)| *id).collect()
    }

    fn add_home(&mut self, name: &Name, kind: HomeKind) -> HomeId {
        // A number is never used again, not even one whose home was forgotten.
        self.homes_made += 1;
        let id = HomeId(self.homes_made);
        let home = Home { name: name.clone(), holder: None, epoch: Epoch(0), kind, moved_at: self.time };
        self.set_home(id, Some(home));
        id
    }

    /// Puts a home into a node's hands, or nobody's: a new epoch in any case.
    fn give(&mut self, id: HomeId, to: Option<NodeId>, deltas: &mut Vec<Delta>) {
        let Some(home) = self.homes.get(&id) else { return };
        assert!(
            to.is_none_or(|to| self.nodes.get(&to).is_some_and(|node| node.alive)),
            "only the living hold"
        );
        let (from, epoch) = (home.holder, Epoch(home.epoch.0 + u64::from(!planted("epoch-unchanged"))));
        let moved_at = if from == to { home.moved_at } else { self.time };
        let home = Home { holder: to, epoch, moved_at, ..home.clone() };
        self.set_home(id, Some(home));
        if from != to {
            deltas.push(Delta::HomeMoved { home: id, from, to, epoch });
        }
    }

    /// Changes a home, and the digest with it.
    fn set_home(&mut self, id: HomeId, to: Option<Home>) {
        let after = to.as_ref().map_or(0, |home| digest::of_home(id, home));
        let before = match to {
            Some(home) => self.homes.insert(id, home),
            None => self.homes.remove(&id),
        };
        let before = before.map_or(0, |home| digest::of_home(id, &home));
        self.roster = self.roster.wrapping_sub(before).wrapping_add(after);
    }
}

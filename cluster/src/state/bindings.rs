//! Where accounts of trunks are registered: one binding each, the newest replaces the older (RFC 3261 §10.3).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use call::NodeId;
use machine::ClusterTime;
use serde::{Deserialize, Serialize};
use trunk::{Name, Resources};

use super::State;
use super::digest::Mixer;
use crate::registration::{Binding, Place, Rebind, Register, Registered};

/// An account: its trunk, and which of its accounts it is.
pub(super) type AccountKey = (Name, u8);

/// The bindings, and their digest.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Bindings {
    bound: BTreeMap<AccountKey, Arc<Binding>>,
    /// None of them runs out before. So most batches need no look at each.
    soonest: Option<ClusterTime>,
    /// The sum of one digest for each.
    pub(super) digest: u64,
}

impl Bindings {
    /// Where an account is registered.
    pub(super) fn get(&self, trunk: &Name, account: u8) -> Option<&Arc<Binding>> {
        // A key is made for the look-up: there are few of them a second.
        self.bound.get(&(trunk.clone(), account))
    }

    /// All of them, by trunk and account.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (&Name, u8, &Arc<Binding>)> {
        self.bound.iter().map(|((trunk, account), binding)| (trunk, *account, binding))
    }

    /// Forgets those that have run out; whether any has.
    pub(super) fn forget(&mut self, now: ClusterTime) -> bool {
        if self.soonest.is_none_or(|soonest| soonest > now) {
            return false;
        }
        let before = self.bound.len();
        self.retain(|_, binding| binding.expires > now);
        self.soonest = self.bound.values().map(|binding| binding.expires).min();
        self.bound.len() < before
    }

    /// Forgets those whose account is gone, or is called otherwise.
    pub(super) fn follow(&mut self, resources: &Resources) {
        self.retain(|(trunk, account), binding| {
            let accounts = resources.trunks.get(trunk).map_or(&[][..], |trunk| &trunk.accounts);
            let index = usize::from(*account).checked_sub(1);
            index.and_then(|at| accounts.get(at)).is_some_and(|it| it.username == binding.username)
        });
    }

    /// Forgets those that a node has heard: a planted bug's.
    pub(super) fn lose(&mut self, node: NodeId) {
        self.retain(|_, binding| binding.node != node);
    }

    /// Whether the digest is that of its bindings.
    pub(super) fn is_consistent(&self) -> bool {
        self.digest == self.bound.iter().map(|(key, it)| digest(key, it)).fold(0, u64::wrapping_add)
    }

    pub(super) fn put(&mut self, key: AccountKey, binding: Arc<Binding>) {
        self.remove(&key);
        self.digest = self.digest.wrapping_add(digest(&key, &binding));
        self.soonest = Some(self.soonest.map_or(binding.expires, |soonest| soonest.min(binding.expires)));
        self.bound.insert(key, binding);
    }

    fn remove(&mut self, key: &AccountKey) {
        if let Some(old) = self.bound.remove(key) {
            self.digest = self.digest.wrapping_sub(digest(key, &old));
        }
    }

    fn retain(&mut self, mut keep: impl FnMut(&AccountKey, &Binding) -> bool) {
        let gone: Vec<_> =
            self.bound.iter().filter(|(key, it)| !keep(key, it)).map(|(key, _)| key.clone()).collect();
        gone.iter().for_each(|key| self.remove(key));
    }
}

impl State {
    /// Where an account of a trunk, counted from one, is registered.
    pub fn binding(&self, trunk: &Name, account: u8) -> Option<&Arc<Binding>> {
        self.bindings.get(trunk, account).filter(|binding| binding.expires > self.time)
    }

    /// Where accounts are registered, by trunk and account.
    pub fn bindings(&self) -> impl Iterator<Item = (&Name, u8, &Arc<Binding>)> {
        self.bindings.iter().filter(|(_, _, binding)| binding.expires > self.time)
    }

    /// Whether a use of a nonce could be made now.
    pub fn is_unused(&self, proof: &auth::Use) -> bool {
        self.proofs.is_free(proof, self.time)
    }

    /// How many nonces are remembered.
    pub fn nonces(&self) -> usize {
        self.proofs.len()
    }

    pub(super) fn register(&mut self, node: NodeId, register: &Register) -> Registered {
        if !self.take_proof(&register.proof) {
            return Registered::Replayed;
        }
        let accounts = self.resources.trunks.get(&register.trunk).map(|trunk| &trunk.accounts);
        let index = usize::from(register.account).checked_sub(1);
        let account = accounts.zip(index).and_then(|(accounts, at)| accounts.get(at));
        if account.is_none_or(|account| account.username != register.username) {
            return Registered::Unknown;
        }
        let key = (register.trunk.clone(), register.account);
        let known = self.bindings.bound.get(&key).cloned();
        let is_late = |it: &Arc<Binding>| it.call_id == register.call_id && it.cseq >= register.cseq;
        if register.change != Rebind::Query && known.as_ref().is_some_and(is_late) {
            return Registered::OutOfOrder;
        }
        match &register.change {
            Rebind::Query => {}
            Rebind::Put(place) => self.bindings.put(key, Arc::new(bound(register, place, node, self.time))),
            Rebind::Remove(contact) => {
                if known.as_ref().is_some_and(|it| it.place.contact == *contact) {
                    self.bindings.remove(&key);
                }
            }
            Rebind::Clear => self.bindings.remove(&key),
        }
        if let Some(known) = known.filter(|_| register.change != Rebind::Query) {
            self.leave_health(&known.place);
        }
        Registered::Bound(self.bindings.get(&register.trunk, register.account).cloned())
    }

    /// Makes a use of a nonce; false if it was made before.
    pub(super) fn take_proof(&mut self, proof: &auth::Use) -> bool {
        let taken = self.proofs.take(proof, self.time);
        if taken {
            let mut mixer = Mixer::new(b'p');
            [proof.issued.0, proof.salt, u64::from(proof.nc)].into_iter().for_each(|n| mixer.number(n));
            self.digest = self.digest.wrapping_add(mixer.finish());
        }
        taken
    }
}

fn bound(register: &Register, place: &Place, node: NodeId, now: ClusterTime) -> Binding {
    Binding {
        username: register.username.clone(),
        call_id: register.call_id.clone(),
        cseq: register.cseq,
        place: place.clone(),
        node,
        expires: now + Duration::from_secs(u64::from(place.expires_s)),
    }
}

fn digest((trunk, account): &AccountKey, binding: &Binding) -> u64 {
    let mut mixer = Mixer::new(b'b');
    mixer.bytes(trunk.as_bytes());
    mixer.bytes(binding.call_id.as_bytes());
    mixer.bytes(binding.place.contact.as_bytes());
    [u64::from(*account), u64::from(binding.cseq), binding.expires.0]
        .into_iter()
        .for_each(|n| mixer.number(n));
    mixer.finish()
}

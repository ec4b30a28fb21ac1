//! Concurrency: a slot is an object keyed by scope, call and side. The count is the size of a set, so it can
//! neither leak nor double nor go below zero.

use std::collections::{BTreeMap, BTreeSet};

use call::CallId;
use machine::museum::planted;
use trunk::{Resources, Scope, Side, Slot};

use super::digest::Mixer;

/// All slots that live calls hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Slots {
    by_scope: BTreeMap<Scope, BTreeSet<(CallId, Side)>>,
    /// The sum of the digests of all slots.
    pub(super) digest: u64,
}

impl Slots {
    /// The first slot of `wanted` for which there is no room, for a call that holds `held` and would give all
    /// of it back in the same step. Scopes in which the call would hold no more than now are not asked: a
    /// lowered limit drops nobody.
    pub(super) fn first_full<'a>(
        &self,
        resources: &Resources,
        wanted: &'a [Slot],
        held: &[Slot],
    ) -> Option<(&'a Slot, u32)> {
        wanted.iter().find_map(|slot| {
            let mut limit = limit(resources, &slot.scope)?;
            if planted("limit-passed-by-one") {
                limit += 1;
            }
            if planted("limit-reached-too-early") {
                limit = limit.saturating_sub(1);
            }
            let mine = held.iter().filter(|own| own.scope == slot.scope).count();
            let then = wanted.iter().filter(|other| other.scope == slot.scope).count();
            let others = self.used(&slot.scope) - mine;
            (then > mine && others + then > limit as usize).then_some((slot, limit))
        })
    }

    /// Takes slots for a call.
    pub(super) fn take(&mut self, call: CallId, slots: &[Slot]) {
        for slot in slots {
            let fresh = match self.by_scope.get_mut(&slot.scope) {
                Some(holders) => holders.insert((call, slot.side)),
                None => self.by_scope.entry(slot.scope.clone()).or_default().insert((call, slot.side)),
            };
            assert!(fresh, "{call} takes a slot that it holds");
            self.digest = self.digest.wrapping_add(digest(call, slot));
        }
    }

    /// Gives a call's slots back.
    pub(super) fn release(&mut self, call: CallId, slots: &[Slot]) {
        for slot in slots {
            let held = self.by_scope.get_mut(&slot.scope).is_some_and(|all| all.remove(&(call, slot.side)));
            assert!(held, "{call} gives back a slot that it does not hold");
            if self.used(&slot.scope) == 0 {
                self.by_scope.remove(&slot.scope);
            }
            self.digest = self.digest.wrapping_sub(digest(call, slot));
        }
    }

    /// How many slots of a scope are held.
    pub(super) fn used(&self, scope: &Scope) -> usize {
        self.by_scope.get(scope).map_or(0, BTreeSet::len)
    }

    /// Every scope of which slots are held, and who holds them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Scope, &BTreeSet<(CallId, Side)>)> {
        self.by_scope.iter()
    }
}

/// A scope's limit now; absent: none.
pub(super) fn limit(resources: &Resources, scope: &Scope) -> Option<u32> {
    match scope {
        Scope::Trunk(name) => resources.trunks.get(name)?.limits.concurrent,
        Scope::Gateway(name) => resources.gateways.get(name)?.limits.concurrent,
    }
}

fn digest(call: CallId, slot: &Slot) -> u64 {
    let mut mixer = Mixer::new(b's');
    mixer.number(call.0);
    mixer
        .number(u64::from(slot.side == Side::Egress) << 1 | u64::from(matches!(slot.scope, Scope::Trunk(_))));
    mixer.bytes(slot.scope.name().as_bytes());
    mixer.finish()
}

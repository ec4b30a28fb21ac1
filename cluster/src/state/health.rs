//! Which targets are down, and which node asks each of them.
//!
//! Who asks follows from the state alone, without a claim: two nodes that differ for a moment cost an OPTIONS, and what
//! is not said by the one whose turn it is, is refused. Only what turns is written down.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use call::{HomeId, NodeId};
use serde::{Deserialize, Serialize};
use trunk::{Probed, SipTarget};

use super::State;
use super::digest::Mixer;
use super::enrolments::Seat;
use super::placement::score;
use crate::command::Refused;
use crate::health::{Down, Turn, Turned, Watched};
use crate::registration::Place;

/// The version of `apply` from which targets are known to be down.
const SINCE: u32 = 3;

/// The targets that are down, and their digest.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Healths {
    down: BTreeMap<SipTarget, Down>,
    /// The sum of one digest for each.
    pub(super) digest: u64,
}

impl Healths {
    pub(super) fn is_empty(&self) -> bool {
        self.down.is_empty()
    }

    /// Forgets targets that nobody asks any more.
    fn follow(&mut self, probed: &BTreeMap<SipTarget, Asked>) {
        let gone: Vec<SipTarget> = self.down.keys().filter(|it| !probed.contains_key(it)).cloned().collect();
        gone.iter().for_each(|target| self.set(target, None));
    }

    /// Whether the digest is that of its targets.
    pub(super) fn is_consistent(&self) -> bool {
        self.digest == self.down.iter().map(|(target, it)| digest(target, it)).fold(0, u64::wrapping_add)
    }

    fn set(&mut self, target: &SipTarget, to: Option<Down>) {
        let after = to.as_ref().map_or(0, |it| digest(target, it));
        let before = match to {
            Some(it) => self.down.insert(target.clone(), it),
            None => self.down.remove(target),
        };
        let before = before.map_or(0, |it| digest(target, &it));
        self.digest = self.digest.wrapping_sub(before).wrapping_add(after);
    }
}

/// How a target is asked, and the home from which, where it is an account's.
struct Asked {
    how: Probed,
    home: Option<HomeId>,
}

impl State {
    /// Whatever is asked: targets that resources name, and where accounts are registered, as their trunk's `probe` says.
    fn asked(&self) -> BTreeMap<SipTarget, Asked> {
        let named = self.resources.probed().into_iter();
        let mut asked: BTreeMap<_, _> =
            named.map(|(target, how)| (target, Asked { how, home: None })).collect();
        for (trunk, _, binding) in self.bindings.iter() {
            let owner = self.resources.trunks.get(trunk).filter(|it| !it.probe.interval.is_zero());
            if let (Some(owner), Some(target)) = (owner, binding.place.asked_at()) {
                let how = Probed { probe: owner.probe.clone(), registrar: None };
                asked.entry(target).or_insert(Asked { how, home: Some(binding.place.home) });
            }
        }
        asked
    }

    /// Resources or bindings have changed: what nobody asks any more is not down.
    pub(super) fn follow_health(&mut self) {
        // Nearly always nothing is down.
        if !self.health.is_empty() {
            let asked = self.asked();
            self.health.follow(&asked);
        }
    }

    /// An account is not there any more.
    pub(super) fn leave_health(&mut self, place: &Place) {
        if place.asked_at().is_some_and(|target| self.down(&target).is_some()) {
            self.follow_health();
        }
    }

    /// A target that is down, whoever is called there.
    pub fn down(&self, target: &SipTarget) -> Option<&Down> {
        // Nearly always nothing is down, and every call asks.
        if self.health.is_empty() { None } else { self.health.down.get(&target.peer()) }
    }

    /// How many targets are down.
    pub fn targets_down(&self) -> usize {
        self.health.down.len()
    }

    /// Changes whenever another target may have to be asked, or by another node; see [`State::bindings_version`], too.
    pub fn watch_version(&self) -> (u64, u64) {
        let roster = self.roster.wrapping_add(self.enrolments.digest);
        (self.resources.version, roster.wrapping_add(u64::from(self.apply_version)))
    }

    /// Changes with every REGISTER of an account.
    pub const fn bindings_version(&self) -> u64 {
        self.bindings.digest
    }

    /// Every target that is to be asked, and by whom.
    pub fn watched(&self) -> Vec<Watched> {
        if self.apply_version < SINCE {
            return Vec::new();
        }
        let seats = self.seats_free();
        let asked = self.asked().into_iter();
        asked.filter_map(|(target, how)| self.watch(&seats, target, how)).collect()
    }

    fn watch(&self, seats: &[Seat], target: SipTarget, asked: Asked) -> Option<Watched> {
        let home = self.watcher(seats, &target, &asked)?;
        let held = self.home(home)?;
        Some(Watched { target, probe: asked.how.probe, home, epoch: held.epoch, node: held.holder? })
    }

    /// The home from which a target is asked: that at which it registered, which may be the only one that a NAT lets in, or that
    /// from which we register there, or else any that rendezvous hashing finds.
    fn watcher(&self, seats: &[Seat], target: &SipTarget, asked: &Asked) -> Option<HomeId> {
        let Asked { how, home } = asked;
        let is_held = |home: &HomeId| self.home(*home).is_some_and(|it| it.holder.is_some());
        if let Some(home) = home.filter(is_held) {
            return Some(home);
        }
        let registrar = how.registrar.as_ref().and_then(|name| self.resources.gateways.get(name));
        let registers = registrar.and_then(|gateway| self.seats(gateway).first().copied().flatten());
        registers.or_else(|| {
            let key = target.to_string();
            let best =
                seats.iter().min_by_key(|seat| (Reverse(score(b'o', key.as_bytes(), seat.node)), seat.node));
            best?.homes.first().copied()
        })
    }

    pub(super) fn note_health(&mut self, node: NodeId, turned: &Turned) -> Result<(), Refused> {
        let Turned { target, home, epoch, turn } = turned;
        let is_its = self.apply_version >= SINCE && self.holds(node, *home, *epoch);
        let how = self.asked().remove(target).filter(|_| is_its).ok_or(Refused::Stale)?;
        if self.watcher(&self.seats_free(), target, &how) != Some(*home) {
            return Err(Refused::Stale);
        }
        let to = match *turn {
            Turn::Up => None,
            Turn::Down { status, at } => Some(Down { status, since: at, node }),
        };
        self.health.set(target, to);
        Ok(())
    }
}

fn digest(target: &SipTarget, it: &Down) -> u64 {
    let mut mixer = Mixer::new(b'o');
    mixer.bytes(target.to_string().as_bytes());
    [u64::from(it.status), it.since.0 as u64, it.node.0].into_iter().for_each(|n| mixer.number(n));
    mixer.finish()
}

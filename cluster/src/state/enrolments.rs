//! Our own registrations with carriers: which home makes each, and what came of it.
//!
//! Each is *claimed* before its first word is said, in an epoch of a home, and the claim holds as long as that home is
//! held in that epoch, or until its node lets go of it: so there is one speaker for it, by the argument for homes.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use call::{HomeId, NodeId};
use machine::museum::planted;
use serde::{Deserialize, Serialize};
use trunk::{Gateway, Name, Resources};

use super::State;
use super::digest::Mixer;
use super::placement::score;
use crate::command::Refused;
use crate::enrolment::{Enrol, EnrolStep, Enrolment};

/// The version of `apply` from which registrations of ours are claimed.
pub(super) const SINCE: u32 = 2;
/// As many contacts of homes before are taken away; who moved more often than that lets the oldest run out.
const FORMER_MAX: usize = 4;

type Key = (Name, u8);

/// Registrations of ours, and their digest.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Enrolments {
    all: BTreeMap<Key, Enrolment>,
    /// The sum of one digest for each.
    pub(super) digest: u64,
}

impl Enrolments {
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Forgets those whose account is gone, or is called otherwise, or does not register any more.
    pub(super) fn follow(&mut self, resources: &Resources) {
        let is_wanted = |(gateway, account): &Key, it: &Enrolment| {
            username(resources, gateway, *account).is_some_and(|name| *name == it.username)
        };
        let gone: Vec<Key> =
            self.all.iter().filter(|(key, it)| !is_wanted(key, it)).map(|(key, _)| key.clone()).collect();
        gone.iter().for_each(|key| self.set(key, None));
    }

    /// Whether the digest is that of its enrolments.
    pub(super) fn is_consistent(&self) -> bool {
        self.digest == self.all.iter().map(|(key, it)| digest(key, it)).fold(0, u64::wrapping_add)
    }

    fn set(&mut self, key: &Key, to: Option<Enrolment>) {
        let after = to.as_ref().map_or(0, |it| digest(key, it));
        let before = match to {
            Some(it) => self.all.insert(key.clone(), it),
            None => self.all.remove(key),
        };
        let before = before.map_or(0, |it| digest(key, &it));
        self.digest = self.digest.wrapping_sub(before).wrapping_add(after);
    }
}

/// A node from which an account can be registered, or a target asked, and its homes.
pub(super) struct Seat {
    pub(super) node: NodeId,
    pub(super) homes: Vec<HomeId>,
}

impl State {
    /// Whether this version of commands knows registrations of ours.
    pub fn enrols(&self) -> bool {
        self.apply_version >= SINCE
    }

    /// A registration of ours.
    pub fn enrolment(&self, gateway: &Name, account: u8) -> Option<&Enrolment> {
        self.enrolments.all.get(&(gateway.clone(), account))
    }

    /// Registrations of ours, by gateway and account.
    pub fn enrolments(&self) -> impl ExactSizeIterator<Item = (&Name, u8, &Enrolment)> {
        self.enrolments.all.iter().map(|((gateway, account), it)| (gateway, *account, it))
    }

    /// Whether a registration is claimed by whoever holds its home, and nobody else may make it.
    pub fn is_claimed(&self, it: &Enrolment) -> bool {
        !it.released && (planted("claim-outlives-its-home") || self.holds(it.node, it.home, it.epoch))
    }

    /// The home from which each account of a gateway is to be registered: at two nodes, as long as there are two. What
    /// can stay where it is stays; the rest goes by rendezvous hashing to nodes that have none of them.
    pub fn seats(&self, gateway: &Gateway) -> Vec<Option<HomeId>> {
        let seats = self.seats_free();
        let mut chosen = vec![None; gateway.accounts.len()];
        let mut taken: Vec<NodeId> = Vec::with_capacity(chosen.len());
        // Those that are made now come before those whose home has moved, perhaps to where another is made.
        for is_made in [true, false] {
            for (place, account) in chosen.iter_mut().zip(1u8..).filter(|(place, _)| place.is_none()) {
                let known = self.enrolment(&gateway.name, account);
                let Some(known) = known.filter(|it| self.is_claimed(it) == is_made) else { continue };
                let holds = |seat: &&Seat| seat.homes.contains(&known.home) && !taken.contains(&seat.node);
                if let Some(seat) = seats.iter().find(holds) {
                    *place = Some(known.home);
                    taken.push(seat.node);
                }
            }
        }
        for (place, account) in chosen.iter_mut().zip(1u8..).filter(|(place, _)| place.is_none()) {
            let best = seats.iter().min_by_key(|seat| {
                let key = [gateway.name.as_bytes(), &[account]].concat();
                (taken.contains(&seat.node), Reverse(score(b'r', &key, seat.node)), seat.node)
            });
            let Some(seat) = best else { continue };
            taken.push(seat.node);
            let known = self.enrolment(&gateway.name, account).map(|it| it.home);
            *place = known.filter(|home| seat.homes.contains(home)).or_else(|| seat.homes.first().copied());
        }
        chosen
    }

    /// The nodes that count and stay, each with its homes: first those that move with their bindings when it dies.
    pub(super) fn seats_free(&self) -> Vec<Seat> {
        let seat = |node: NodeId| {
            let held = || self.homes.iter().filter(move |(_, home)| home.holder == Some(node));
            let floating = held().filter(|(_, home)| home.floating().is_some());
            let fixed = held().filter(|(_, home)| home.floating().is_none());
            Seat { node, homes: floating.chain(fixed).map(|(id, _)| *id).collect() }
        };
        let alive = |drained: bool| {
            let nodes = self.nodes.iter().filter(move |(_, it)| it.alive && it.drained.is_some() == drained);
            nodes.map(|(node, _)| seat(*node)).filter(|seat| !seat.homes.is_empty())
        };
        let staying: Vec<Seat> = alive(false).collect();
        // A node that is about to go is better than none.
        if staying.is_empty() { alive(true).collect() } else { staying }
    }

    pub(super) fn enrol(&mut self, node: NodeId, enrol: &Enrol) -> Result<(), Refused> {
        if !self.enrols() || !self.holds(node, enrol.home, enrol.epoch) {
            return Err(Refused::Stale);
        }
        let key = (enrol.gateway.clone(), enrol.account);
        let known = self.enrolments.all.get(&key);
        let next = match &enrol.step {
            EnrolStep::Claim { username, contact } => self.claimed(node, enrol, username, contact)?,
            step => {
                let is_its = |it: &&Enrolment| {
                    self.is_claimed(it) && (it.node, it.home, it.epoch) == (node, enrol.home, enrol.epoch)
                };
                let known = known.filter(is_its).ok_or(Refused::Stale)?;
                self.went_on(known, step)
            }
        };
        self.enrolments.set(&key, Some(next));
        Ok(())
    }

    fn claimed(&self, node: NodeId, enrol: &Enrol, name: &str, contact: &str) -> Result<Enrolment, Refused> {
        let index = usize::from(enrol.account).checked_sub(1).ok_or(Refused::Stale)?;
        let gateway = self.resources.gateways.get(&enrol.gateway).ok_or(Refused::Stale)?;
        let is_account =
            username(&self.resources, &enrol.gateway, enrol.account).is_some_and(|it| it == name);
        let is_seat = self.seats(gateway).get(index).copied().flatten() == Some(enrol.home);
        let known = self.enrolment(&enrol.gateway, enrol.account);
        let is_free = known.is_none_or(|it| !self.is_claimed(it) || it.node == node && it.home == enrol.home);
        if !planted("everyone-registers") && (!is_account || !is_seat || !is_free) {
            return Err(Refused::Stale);
        }
        let fresh = Enrolment {
            username: name.to_owned(),
            home: enrol.home,
            epoch: enrol.epoch,
            node,
            released: false,
            contact: contact.to_owned(),
            former: Vec::new(),
            target: None,
            status: None,
            expires: Default::default(),
            at: None,
        };
        let Some(known) = known else { return Ok(fresh) };
        if known.contact == contact {
            // The same Contact in other hands: what the registrar has still leads there.
            let (epoch, released) = (enrol.epoch, false);
            return Ok(Enrolment { home: enrol.home, epoch, node, released, ..known.clone() });
        }
        let mut former: Vec<String> = known.former.clone();
        former.push(known.contact.clone());
        former.retain(|it| it != contact);
        former.drain(..former.len().saturating_sub(FORMER_MAX));
        Ok(Enrolment { former, ..fresh })
    }

    fn went_on(&self, known: &Enrolment, step: &EnrolStep) -> Enrolment {
        let known = known.clone();
        match step {
            EnrolStep::Bound { target, expires_s, at } => Enrolment {
                former: Vec::new(),
                target: Some(target.clone()),
                status: Some(200),
                expires: self.time + Duration::from_secs(u64::from(*expires_s)),
                at: Some(*at),
                ..known
            },
            EnrolStep::Failed { target, status, at } => {
                Enrolment { target: Some(target.clone()), status: Some(*status), at: Some(*at), ..known }
            }
            EnrolStep::Release => Enrolment { released: true, ..known },
            // Handled before: a claim is no step of one that is claimed.
            EnrolStep::Claim { .. } => known,
        }
    }
}

/// The name of an account that is to be registered.
fn username<'a>(resources: &'a Resources, gateway: &Name, account: u8) -> Option<&'a String> {
    let gateway = resources.gateways.get(gateway).filter(|gateway| gateway.register)?;
    let index = usize::from(account).checked_sub(1)?;
    Some(&gateway.accounts.get(index)?.username)
}

fn digest((gateway, account): &Key, it: &Enrolment) -> u64 {
    let mut mixer = Mixer::new(b'e');
    mixer.bytes(gateway.as_bytes());
    mixer.bytes(it.contact.as_bytes());
    it.former.iter().for_each(|contact| mixer.bytes(contact.as_bytes()));
    let flags = u64::from(*account) << 1 | u64::from(it.released);
    let status = it.status.map_or(0, u64::from);
    [flags, u64::from(it.home.0), it.epoch.0, it.node.0, status, it.expires.0]
        .into_iter()
        .for_each(|n| mixer.number(n));
    mixer.finish()
}

//! What faults have done: a fault that met nothing has proved nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use machine::Instant;

use super::Kind;
use crate::letter::number_in;

/// How often each kind took effect, and which calls the network has harmed.
#[derive(Debug, Default)]
pub struct Effects(Mutex<Done>);

#[derive(Debug, Default)]
struct Done {
    counts: BTreeMap<Kind, u64>,
    /// Calls of which a datagram was harmed, and whether its bytes were changed.
    harmed: BTreeMap<u32, bool>,
    /// Calls of which a node said something into a connection that the peer had lost.
    unheard: BTreeSet<u32>,
    /// Connections that are over.
    broken: BTreeSet<u64>,
    /// Calls that a limit has refused.
    limited: BTreeSet<u32>,
    /// When no node could hear a majority: from, until.
    no_quorum: Vec<(Instant, Instant)>,
    /// When a node took no calls: from, until.
    idle: BTreeMap<u64, Vec<(Instant, Instant)>>,
    /// Calls whose home was lost, and who belong to another.
    adopted: BTreeMap<u32, Adoption>,
}

/// A call belongs to another home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adoption {
    /// Since when, the last time.
    pub at: Instant,
    /// Whether it was answered before.
    pub answered: bool,
}

impl Effects {
    /// A fault took effect.
    pub fn count(&self, kind: Kind) {
        *self.lock().counts.entry(kind).or_default() += 1;
    }

    /// A fault took effect so many times.
    pub fn count_many(&self, kind: Kind, times: u64) {
        if times > 0 {
            *self.lock().counts.entry(kind).or_default() += times;
        }
    }

    /// A fault has harmed this datagram.
    pub fn harm(&self, kind: Kind, bytes: &[u8]) {
        let mut done = self.lock();
        *done.counts.entry(kind).or_default() += 1;
        if let Some(number) = number_in(bytes) {
            *done.harmed.entry(number).or_default() |= kind == Kind::Corruption;
        }
    }

    /// A machine could not send this datagram: to its call that is as if the network had lost it.
    pub fn lost_to(&self, bytes: &[u8]) {
        if let Some(number) = number_in(bytes) {
            self.lock().harmed.entry(number).or_default();
        }
    }

    /// A message of a call was lost with its connection, or what it asked on it stays without an answer.
    pub fn lose(&self, number: u32) {
        self.lock().harmed.entry(number).or_default();
    }

    /// A node said something of a call into a connection that the peer had lost.
    pub fn miss(&self, number: u32) {
        self.lock().unheard.insert(number);
    }

    /// Whether a peer has not heard, and was not told so, what a node said of a call.
    pub fn is_unheard(&self, number: u32) -> bool {
        self.lock().unheard.contains(&number)
    }

    /// A connection is over for both its ends.
    pub fn broke(&self, line: u64) {
        self.lock().broken.insert(line);
    }

    /// Whether a connection is over for both its ends.
    pub fn is_broken(&self, line: u64) -> bool {
        self.lock().broken.contains(&line)
    }

    /// Whether the network has harmed a call.
    pub fn is_harmed(&self, number: u32) -> bool {
        self.lock().harmed.contains_key(&number)
    }

    /// Whether a name has led nowhere, or elsewhere, so far.
    pub fn has_misled(&self) -> bool {
        self.lock().counts.keys().any(|kind| kind.needs_names())
    }

    /// Whether the network has changed bytes of a call.
    pub fn is_forged(&self, number: u32) -> bool {
        self.lock().harmed.get(&number).is_some_and(|forged| *forged)
    }

    /// A limit has refused a call.
    pub fn limit(&self, number: u32) {
        self.lock().limited.insert(number);
    }

    /// Whether a limit has refused a call.
    pub fn is_limited(&self, number: u32) -> bool {
        self.lock().limited.contains(&number)
    }

    /// No node can hear a majority now.
    pub fn no_quorum(&self, at: Instant) {
        extend(&mut self.lock().no_quorum, at);
    }

    /// A node takes no calls now: it is down, stands still, is drained, or has no lease.
    pub fn takes_none(&self, node: u64, at: Instant) {
        extend(self.lock().idle.entry(node).or_default(), at);
    }

    /// Whether at some time between these a node took no calls, or had just begun to.
    pub fn took_none(&self, node: u64, from: Instant, until: Instant) -> bool {
        let done = self.lock();
        done.idle.get(&node).is_some_and(|times| overlaps(times, from, until))
    }

    /// Whether at some time between these any node took no calls, or had just begun to.
    pub fn any_took_none(&self, from: Instant, until: Instant) -> bool {
        self.lock().idle.values().any(|times| overlaps(times, from, until))
    }

    /// Whether any call was adopted.
    pub fn any_adopted(&self) -> bool {
        !self.lock().adopted.is_empty()
    }

    /// A call belongs to another home now. One that rang at the first time was never whole again.
    pub fn adopt(&self, number: u32, adoption: Adoption) {
        let mut done = self.lock();
        let answered = done.adopted.get(&number).is_none_or(|before| before.answered) && adoption.answered;
        done.adopted.insert(number, Adoption { answered, ..adoption });
    }

    /// The last adoption of a call.
    pub fn adoption(&self, number: u32) -> Option<Adoption> {
        self.lock().adopted.get(&number).copied()
    }

    /// Whether at some time between these no node could hear a majority, or had just begun to.
    pub fn lacked_quorum(&self, from: Instant, until: Instant) -> bool {
        overlaps(&self.lock().no_quorum, from, until)
    }

    /// How often each kind took effect.
    pub fn counts(&self) -> BTreeMap<Kind, u64> {
        self.lock().counts.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Done> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

fn extend(times: &mut Vec<(Instant, Instant)>, at: Instant) {
    match times.last_mut() {
        Some((_, until)) if at.since(*until) < GAP => *until = at,
        _ => times.push((at, at)),
    }
}

fn overlaps(times: &[(Instant, Instant)], from: Instant, until: Instant) -> bool {
    times.iter().any(|(lost, found)| *lost <= until && from <= *found + GAP)
}

/// An election, and the first lease after it.
const GAP: Duration = Duration::from_secs(3);

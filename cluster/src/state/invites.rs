//! INVITEs that were decided: a retransmission finds its call, a merged copy is known as one (RFC 3261
//! §8.2.2.2), on any node. Kept while the call lives and 64·T1 longer.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use call::{CallId, InviteKey, Limited, Outcome};
use machine::ClusterTime;
use serde::{Deserialize, Serialize};

/// What an INVITE was decided to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Decided {
    branch: u64,
    call: CallId,
    /// The limit that refused it.
    limited: Option<Limited>,
    /// Its final status, where it was never answered and is over.
    refused: Option<u16>,
}

/// The INVITEs of live calls and of those that ended a moment ago.
#[derive(Clone, Debug, Default)]
pub(super) struct Invites {
    decided: BTreeMap<u128, Decided>,
    /// When the finished ones are forgotten, in that order.
    leaving: VecDeque<(ClusterTime, u128)>,
}

impl Invites {
    /// What is said of an INVITE that was decided before.
    pub(super) fn known(&self, key: &InviteKey) -> Option<Outcome> {
        let decided = self.decided.get(&key.dialog)?;
        Some(match &decided.limited {
            _ if decided.branch != key.branch => Outcome::Merged,
            Some(limited) => Outcome::Limited(limited.clone()),
            None => decided.refused.map_or(Outcome::Duplicate(decided.call), Outcome::Refused),
        })
    }

    /// Notes a decision.
    pub(super) fn decide(&mut self, key: &InviteKey, call: CallId, limited: Option<Limited>) {
        self.decided.insert(key.dialog, Decided { branch: key.branch, call, limited, refused: None });
    }

    /// The call is over, or never was: forget it in 64·T1. Until then a caller that has not heard how it was refused
    /// hears it from whoever gets the next copy.
    pub(super) fn finish(&mut self, key: &InviteKey, refused: Option<u16>, now: ClusterTime) {
        if let Some(decided) = self.decided.get_mut(&key.dialog) {
            decided.refused = refused;
        }
        self.leaving.push_back((now + LINGER, key.dialog));
    }

    /// Forgets what is due.
    pub(super) fn forget(&mut self, now: ClusterTime) {
        while let Some((_, dialog)) = self.leaving.pop_front_if(|(at, _)| *at <= now) {
            self.decided.remove(&dialog);
        }
    }

    /// The finished ones, for a snapshot; those of live calls follow from their records.
    pub(super) fn finished(&self) -> impl Iterator<Item = (ClusterTime, u128, &Decided)> {
        self.leaving.iter().filter_map(|(at, dialog)| Some((*at, *dialog, self.decided.get(dialog)?)))
    }

    /// Takes a finished one from a snapshot.
    pub(super) fn restore(&mut self, at: ClusterTime, dialog: u128, decided: Decided) {
        self.decided.insert(dialog, decided);
        self.leaving.push_back((at, dialog));
    }

    /// How many are kept.
    pub(super) fn len(&self) -> usize {
        self.decided.len()
    }
}

/// 64·T1 (RFC 3261 §17.1.1.1): no retransmission comes later.
const LINGER: Duration = Duration::from_secs(32);

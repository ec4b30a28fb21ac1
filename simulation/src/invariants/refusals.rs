//! I-2: nobody hears that a limit is reached while a slot was free.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use cluster::State;
use machine::Instant;
use node::NodeHandle;
use trunk::Scope;

use super::{Invariant, Sent, View};
use crate::fault::Effects;
use crate::letter::Start;
use crate::plan::trunk_name;

/// I-2: a refusal is compared with what was in use shortly before.
#[derive(Debug)]
pub struct NoFalseRefusal {
    effects: Arc<Effects>,
    /// When some copy last had a scope that was full, or may have had one between two looks: it caught up by several
    /// entries, or several calls ended.
    full: Option<Instant>,
    /// Up to where each node's copy was looked at.
    seen: BTreeMap<u64, Progress>,
    /// When each call was first asked for: a copy of its INVITE hears what was decided about the first.
    asked: BTreeMap<u32, Instant>,
    /// Calls that were refused; their answers may come again, much later.
    refused: BTreeSet<u32>,
}

fn is_full(state: &State) -> bool {
    let trunk = Scope::Trunk(trunk_name());
    let mut scopes: Vec<&Scope> = state.slots().map(|(scope, ..)| scope).collect();
    // Slots come scope by scope.
    scopes.dedup_by(|a, b| std::ptr::eq(*a, *b));
    scopes.into_iter().chain([&trunk]).any(|scope| {
        let limit = state.resources().concurrent(scope);
        limit.is_some_and(|limit| state.usage(scope).concurrent >= limit)
    })
}

/// How far a node's copy has come.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Progress {
    applied: u64,
    cdrs: u64,
    resources: u64,
}

impl Progress {
    fn of(node: &NodeHandle) -> Progress {
        let (cdrs, resources) = node.cluster().read(|state| (state.cdrs_made(), state.resources().version));
        Progress { applied: node.cluster().status().applied, cdrs, resources }
    }

    /// Whether it hides what was true on the way from `before`: a copy caught up, several calls ended, or a limit was
    /// lowered and raised in one batch.
    fn hides(self, before: Progress) -> bool {
        self.applied > before.applied + AT_ONCE
            || self.cdrs > before.cdrs + 1
            || self.resources > before.resources + 1
    }
}

impl NoFalseRefusal {
    /// Tells `effects` which calls a limit has refused.
    pub fn new(effects: Arc<Effects>) -> NoFalseRefusal {
        NoFalseRefusal {
            effects,
            full: None,
            seen: BTreeMap::new(),
            asked: BTreeMap::new(),
            refused: BTreeSet::new(),
        }
    }

    fn refuses(&mut self, at: Instant, number: u32, full_now: bool) -> bool {
        let asked = self.asked.get(&number).copied().unwrap_or(at);
        let lately = self.full.is_some_and(|full| full >= asked || at.since(full) < RECENT);
        !self.refused.insert(number) || lately || full_now
    }
}

impl Invariant for NoFalseRefusal {
    fn clause(&self) -> &'static str {
        "I-2 no refusal while a slot is free"
    }

    fn sent(&mut self, sent: &Sent<'_>) -> Option<String> {
        let letter = sent.letter?;
        if sent.life.node() == 0 {
            if letter.start == Start::Request("INVITE") {
                self.asked.entry(letter.number?).or_insert(sent.at);
            }
            return None;
        }
        let Start::Response(status @ 400..) = letter.start else { return None };
        let number = letter.number?;
        if !sent.bytes.windows(LIMITED.len()).any(|window| window == LIMITED) {
            return None;
        }
        self.effects.limit(number);
        let sender = |node: &&NodeHandle| node.cluster().node().0 == sent.life.node();
        // Nobody has looked at it since it started.
        sent.nodes.iter().find(sender)?;
        let leapt = |node: &NodeHandle| {
            let before = self.seen.get(&node.cluster().node().0).copied().unwrap_or_default();
            Progress::of(node).hides(before)
        };
        let full_now = sent.nodes.iter().any(|node| leapt(node) || node.cluster().read(is_full));
        let right = self.refuses(sent.at, number, full_now);
        (!right).then(|| format!("call #{number} hears {status} and nothing is full"))
    }

    fn look(&mut self, view: &View<'_>) -> Option<String> {
        for node in view.moved {
            let now = Progress::of(node);
            let before = self.seen.insert(node.cluster().node().0, now).unwrap_or_default();
            if now.hides(before) || node.cluster().read(is_full) {
                self.full = Some(view.at);
            }
        }
        None
    }
}

const LIMITED: &[u8] = b"limits.concurrent";
/// Entries that a copy takes between two looks when it is not catching up.
const AT_ONCE: u64 = 4;
/// A commit over slow links to a slow disk, and the answer's way.
const RECENT: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i2_a_refusal_with_room_is_found_and_its_repetition_is_not_another() {
        let mut refusals = NoFalseRefusal::new(Arc::default());
        let at = |seconds| Instant::ZERO + Duration::from_secs(seconds);
        assert!(!refusals.refuses(at(1), 1, false), "nothing was ever full");
        refusals.full = Some(at(2));
        assert!(refusals.refuses(at(4), 2, false));
        assert!(!refusals.refuses(at(9), 3, false), "it was full too long ago");
        assert!(refusals.refuses(at(9), 4, true));
        assert!(refusals.refuses(at(60), 4, false), "told before, and repeated");
    }

    #[test]
    fn i2_only_what_may_have_been_true_between_two_looks_excuses() {
        let before = Progress { applied: 7, cdrs: 2, resources: 3 };
        assert!(!Progress { applied: 11, cdrs: 3, resources: 4 }.hides(before), "seen step by step");
        assert!(Progress { applied: 12, ..before }.hides(before));
        assert!(Progress { cdrs: 4, ..before }.hides(before));
        assert!(Progress { resources: 5, ..before }.hides(before), "lowered and raised");
    }
}

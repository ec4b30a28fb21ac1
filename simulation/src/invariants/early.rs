//! I-9: no 200 to the caller and no ACK to the callee before the answer is committed, emergency calls aside.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use call::Phase;
use cluster::State;

use super::{Invariant, Sent};
use crate::fault::Effects;
use crate::letter::{Letter, Start, number_in};
use crate::plan::{is_callee, is_caller};

/// I-9: what a node says is compared with what has been applied there.
#[derive(Debug)]
pub struct NothingEarly {
    effects: Arc<Effects>,
    /// The branches of INVITEs to callees, by Call-ID: an ACK with one of them is of a refusal.
    invites: BTreeMap<String, BTreeSet<String>>,
}

/// What a node's copy knows of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Rings,
    /// The caller has given up: an answer that crosses it is acknowledged and ended at once.
    GivenUp,
    Answered,
    Nothing,
}

fn known(state: &State, number: u32) -> Known {
    let record = state.calls().find(|record| number_in(record.admit.facts.to.as_bytes()) == Some(number));
    match record.map(|record| &record.phase) {
        None => Known::Nothing,
        Some(Phase::Ringing { cancelled: true, .. }) => Known::GivenUp,
        Some(Phase::Ringing { .. }) => Known::Rings,
        Some(Phase::Answered { .. }) => Known::Answered,
    }
}

impl NothingEarly {
    /// Calls whose bytes the network has changed are left alone.
    pub fn new(effects: Arc<Effects>) -> NothingEarly {
        NothingEarly { effects, invites: BTreeMap::new() }
    }

    /// What the letter promises, if it does.
    fn promise(&mut self, letter: &Letter<'_>, to_callee: bool, late: bool) -> Option<&'static str> {
        match letter.start {
            Start::Request("INVITE") if to_callee => {
                let known = self.invites.entry(letter.call_id.to_owned()).or_default();
                known.insert(letter.branch.to_owned());
                None
            }
            Start::Request("ACK") if to_callee => {
                let refusal = self.invites.get(letter.call_id).is_some_and(|it| it.contains(letter.branch));
                // Where messages are lost a callee may be given up and answer late: it gets ACK and BYE.
                (!refusal && !late).then_some("an ACK to the callee")
            }
            Start::Response(200..300) if !to_callee && letter.cseq.1 == "INVITE" => {
                Some("a 200 to the caller")
            }
            _ => None,
        }
    }
}

impl Invariant for NothingEarly {
    fn clause(&self) -> &'static str {
        "I-9 nothing is promised before it is committed"
    }

    fn sent(&mut self, sent: &Sent<'_>) -> Option<String> {
        let (letter, node) = (sent.letter?, sent.life.node());
        let (to_caller, to_callee) = (is_caller(sent.to.ip()), is_callee(sent.to.ip()));
        if node == 0 || !(to_caller || to_callee) {
            return None;
        }
        let number = letter.number.filter(|number| !self.effects.is_forged(*number))?;
        // What the callee of a lost home says late ends at once, too, while the call goes on elsewhere.
        let late = self.effects.is_harmed(number) || self.effects.adoption(number).is_some();
        let promise = self.promise(&letter, to_callee, late)?;
        let handle = sent.nodes.iter().find(|handle| handle.cluster().node().0 == node)?;
        let known = handle.cluster().read(|state| known(state, number));
        (known == Known::Rings).then(|| format!("node {node} sends {promise} of call #{number}, which rings"))
    }
}

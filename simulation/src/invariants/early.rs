//! I-9: nothing is said before what it rests on is committed, emergency calls aside: no 100 before the admission, no
//! INVITE before its attempt, no 200 to the caller and no ACK to the callee before the answer, no refusal and no 200
//! to a BYE before the end, no 200 to a CANCEL before the wish to give up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use call::Phase;
use cluster::State;
use machine::Instant;
use node::NodeHandle;

use super::{Invariant, Sent, View, number_of, record_of};
use crate::fault::Effects;
use crate::letter::{Letter, Start};
use crate::plan::{is_callee, is_caller};

/// I-9: what a node says is compared with what has been applied there.
#[derive(Debug)]
pub struct NothingEarly {
    effects: Arc<Effects>,
    /// The branches of INVITEs to callees, by Call-ID: an ACK with one of them is of a refusal.
    invites: BTreeMap<String, BTreeSet<String>>,
    /// The branches of INVITEs that opened something, by call: each is an attempt.
    attempts: BTreeMap<u32, BTreeSet<String>>,
    /// The Call-ID of the last of them.
    newest: BTreeMap<u32, String>,
    /// Calls that some copy has had, and since when.
    admitted: BTreeMap<u32, Instant>,
    /// Calls that some callee has answered or refused: their CANCEL comes too late.
    decided: BTreeSet<u32>,
}

/// What a node's copy knows of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// With how many attempts.
    Rings(usize),
    /// The caller has given up: an answer that crosses it is acknowledged and ended at once.
    GivenUp(usize),
    /// After so many.
    Answered(usize),
    Nothing,
}

/// What a message promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Promise {
    /// To the caller: its call is known.
    Trying,
    /// To the callee, for the so manyth time: it is called.
    Invite(usize),
    /// To the caller: it is answered.
    Answer,
    /// To the callee: its answer stands.
    Ack,
    /// To the caller: nothing comes of it.
    Refusal,
    /// To either: the call is over.
    Bye,
    /// To the caller: its wish to give up outlives the node that it told.
    Cancel,
}

impl Promise {
    const fn words(self) -> &'static str {
        match self {
            Promise::Trying => "a provisional answer to the caller",
            Promise::Invite(_) => "a fresh INVITE to the callee",
            Promise::Answer => "a 200 to the caller",
            Promise::Ack => "an ACK to the callee",
            Promise::Refusal => "a refusal to the caller",
            Promise::Bye => "a 200 to a BYE",
            Promise::Cancel => "a 200 to a CANCEL",
        }
    }

    /// Whether what a copy has allows it.
    const fn stands(self, known: Known) -> bool {
        match (self, known) {
            (Promise::Trying, known) => !matches!(known, Known::Nothing),
            // One that was given up while its node was mute may go out after the answer to another.
            (
                Promise::Invite(count),
                Known::Rings(attempts) | Known::GivenUp(attempts) | Known::Answered(attempts),
            ) => count <= attempts,
            (Promise::Invite(_), Known::Nothing) => false,
            (Promise::Answer | Promise::Ack | Promise::Cancel, known) => !matches!(known, Known::Rings(_)),
            (Promise::Refusal, known) => !matches!(known, Known::Rings(_) | Known::GivenUp(_)),
            (Promise::Bye, known) => !matches!(known, Known::Answered(_)),
        }
    }
}

fn known(state: &State, number: u32) -> Known {
    let Some(record) = record_of(state, number) else { return Known::Nothing };
    match &record.phase {
        Phase::Ringing { cancelled: true, .. } => Known::GivenUp(record.attempts.len()),
        Phase::Ringing { .. } => Known::Rings(record.attempts.len()),
        Phase::Answered { .. } => Known::Answered(record.attempts.len()),
    }
}

impl NothingEarly {
    /// Calls whose bytes the network has changed are left alone.
    pub fn new(effects: Arc<Effects>) -> NothingEarly {
        let (invites, attempts, admitted) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let (newest, decided) = (BTreeMap::new(), BTreeSet::new());
        NothingEarly { effects, invites, attempts, newest, admitted, decided }
    }

    /// What the letter promises, if it does.
    fn promise(&mut self, letter: &Letter<'_>, to_callee: bool, late: bool) -> Option<Promise> {
        match (letter.start, letter.cseq.1) {
            (Start::Request("INVITE"), _) if to_callee => {
                let known = self.invites.entry(letter.call_id.to_owned()).or_default();
                known.insert(letter.branch.to_owned());
                let number = letter.number.filter(|_| letter.to_tag.is_empty())?;
                let attempts = self.attempts.entry(number).or_default();
                let fresh = attempts.insert(letter.branch.to_owned());
                let promise = fresh.then_some(Promise::Invite(attempts.len()))?;
                self.newest.insert(number, letter.call_id.to_owned());
                Some(promise)
            }
            (Start::Request("ACK"), _) if to_callee => {
                let refusal = self.invites.get(letter.call_id).is_some_and(|it| it.contains(letter.branch));
                // A callee that is given up, since it could not be heard, and answers while the next one rings gets ACK
                // and BYE (RFC 3261 §13.2.2.4). Where messages are lost there need not be a next one.
                let next = letter.number.and_then(|number| self.newest.get(&number));
                let given_up = next.is_some_and(|call_id| call_id != letter.call_id);
                (!refusal && !late && !given_up).then_some(Promise::Ack)
            }
            (Start::Response(..200), "INVITE") if !to_callee => Some(Promise::Trying),
            (Start::Response(200..300), "INVITE") if !to_callee => Some(Promise::Answer),
            (Start::Response(300..), "INVITE") if !to_callee => Some(Promise::Refusal),
            (Start::Response(200..300), "BYE") => Some(Promise::Bye),
            (Start::Response(200..300), "CANCEL") if !to_callee => Some(Promise::Cancel),
            _ => None,
        }
    }

    /// Whether a promise may be kept or broken whatever a copy says.
    fn is_excused(&self, promise: Promise, number: u32, at: Instant) -> bool {
        let since = self.admitted.get(&number).map(|since| at.since(*since));
        match promise {
            // It was admitted, and may be over: a copy of its INVITE came late.
            Promise::Trying => since.is_some(),
            // A caller that waited so long for a commit is told (`call::overdue`).
            Promise::Refusal => since.is_some_and(|since| since >= OVERDUE),
            Promise::Cancel => self.decided.contains(&number),
            _ => false,
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
        // What a callee says to the CANCEL itself decides nothing.
        if node == 0 && letter.is_final_to_invite().is_some_and(|status| status != 487) {
            self.decided.extend(letter.number);
        }
        if node == 0 || !(to_caller || to_callee) {
            return None;
        }
        let number = letter.number.filter(|number| !self.effects.is_forged(*number))?;
        // What the callee of a lost home says late ends at once, too, while the call goes on elsewhere; and so where a
        // name led elsewhere.
        let effects = &self.effects;
        let late = effects.is_harmed(number) || effects.adoption(number).is_some() || effects.has_misled();
        let promise = self.promise(&letter, to_callee, late)?;
        let sender = sent.nodes.iter().find(|handle| handle.cluster().node().0 == node)?;
        let known = sender.cluster().read(|state| known(state, number));
        // What a node passes on for another that has adopted the call stands on that one's copy.
        let applied = sender.cluster().status().applied;
        let stands = |handle: &NodeHandle| {
            let cluster = handle.cluster();
            cluster.status().applied >= applied
                && promise.stands(cluster.read(|state| self::known(state, number)))
        };
        let wrong = !sent.nodes.iter().any(stands) && !self.is_excused(promise, number, sent.at);
        wrong.then(|| format!("node {node} sends {} of call #{number}: {known:?}", promise.words()))
    }

    fn look(&mut self, view: &View<'_>) -> Option<String> {
        for node in view.moved {
            node.cluster().read(|state| {
                let numbers = state.calls().filter_map(|it| number_of(it));
                numbers.for_each(|number| {
                    self.admitted.entry(number).or_insert(view.at);
                });
            });
        }
        None
    }
}

/// A little less than 64·T1.
const OVERDUE: Duration = Duration::from_secs(31);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i9_only_a_callee_that_is_given_up_is_acknowledged_before_an_answer_is_committed() {
        let mut early = NothingEarly::new(Arc::default());
        let mut says = |start, method, call_id, branch, to_tag| {
            let letter =
                Letter { start, call_id, cseq: (1, method), from_tag: "f", to_tag, branch, number: Some(1) };
            early.promise(&letter, true, false)
        };
        assert_eq!(says(Start::Request("INVITE"), "INVITE", "a", "a1", ""), Some(Promise::Invite(1)));
        assert_eq!(says(Start::Request("ACK"), "ACK", "a", "a2", "t"), Some(Promise::Ack));
        assert_eq!(says(Start::Request("INVITE"), "INVITE", "b", "b1", ""), Some(Promise::Invite(2)));
        assert_eq!(says(Start::Request("ACK"), "ACK", "a", "a2", "t"), None, "the first target is given up");
        assert_eq!(says(Start::Request("ACK"), "ACK", "b", "b2", "t"), Some(Promise::Ack));
    }

    #[test]
    fn i9_each_promise_stands_on_what_is_committed_and_on_nothing_less() {
        let all = [Known::Nothing, Known::Rings(1), Known::GivenUp(1), Known::Answered(1)];
        let stands = |promise: Promise| all.map(|known| promise.stands(known));
        assert_eq!(stands(Promise::Trying), [false, true, true, true]);
        assert_eq!(stands(Promise::Invite(1)), [false, true, true, true]);
        assert_eq!(stands(Promise::Invite(2)), [false; 4]);
        assert_eq!(stands(Promise::Answer), [true, false, true, true]);
        assert_eq!(stands(Promise::Ack), [true, false, true, true]);
        assert_eq!(stands(Promise::Refusal), [true, false, false, true]);
        assert_eq!(stands(Promise::Bye), [true, true, true, false]);
        assert_eq!(stands(Promise::Cancel), [true, false, true, true]);
    }
}

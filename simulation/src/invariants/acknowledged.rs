//! I-14, of callees: one that repeats its answer, since the ACK was lost or went out too early, gets another
//! (RFC 3261 §13.2.2.4); and so does one that repeats its refusal while its call lives on elsewhere (§17.1.1.2), though
//! the node that heard it first was lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use call::Phase;
use cluster::State;
use machine::Instant;

use super::{Invariant, Sent, record_of};
use crate::fault::Effects;
use crate::letter::{Letter, Start};
use crate::plan::{CALM, is_callee};

/// I-14 on the wire, when faults are over and nothing is lost any more.
#[derive(Debug)]
pub struct Acknowledged {
    effects: Arc<Effects>,
    /// By Call-ID, since when a callee has repeated an answer that nobody acknowledges.
    waits: BTreeMap<String, Instant>,
}

/// Whether a copy of the state has the call as answered by this dialog.
fn stands(state: &State, number: u32, call_id: &str) -> bool {
    record_of(state, number).is_some_and(|record| match &record.phase {
        Phase::Answered { confirm, .. } => *confirm.egress.dialog.call_id == *call_id,
        Phase::Ringing { .. } => false,
    })
}

/// Whether a copy of the state has the call, whatever has become of it.
fn lives(state: &State, number: u32) -> bool {
    record_of(state, number).is_some()
}

impl Acknowledged {
    /// Calls whose bytes the network has changed, and those that came to another home, are left alone.
    pub fn new(effects: Arc<Effects>) -> Acknowledged {
        Acknowledged { effects, waits: BTreeMap::new() }
    }

    fn is_acknowledged(&mut self, letter: &Letter<'_>) {
        self.waits.remove(letter.call_id);
    }

    /// A callee repeats its answer; gives for how long it has.
    fn repeats(&mut self, at: Instant, letter: &Letter<'_>) -> Option<Duration> {
        if at < CALM + SETTLES {
            return None;
        }
        let since = *self.waits.entry(letter.call_id.to_owned()).or_insert(at);
        Some(at.since(since)).filter(|waited| *waited > PATIENCE)
    }
}

impl Invariant for Acknowledged {
    fn clause(&self) -> &'static str {
        "I-14 a callee's answer is acknowledged as often as it comes"
    }

    fn sent(&mut self, sent: &Sent<'_>) -> Option<String> {
        let letter = sent.letter.filter(|_| sent.line.is_none())?;
        match (letter.start, letter.cseq.1) {
            (Start::Request("ACK"), _) if is_callee(sent.to.ip()) => {
                self.is_acknowledged(&letter);
                None
            }
            (Start::Response(status @ 200..), "INVITE") if is_callee(sent.from.ip()) => {
                let waited = self.repeats(sent.at, &letter)?;
                let number = letter.number?;
                let exempt = self.effects.is_forged(number) || self.effects.adoption(number).is_some();
                let stands = |node: &node::NodeHandle| {
                    node.cluster().read(|state| match status {
                        ..300 => stands(state, number, letter.call_id),
                        _ => lives(state, number),
                    })
                };
                (!exempt && sent.nodes.iter().all(|node| node.is_ready() && stands(node))).then(|| {
                    let ms = waited.as_millis();
                    format!("call #{number}: {} has repeated its answer for {ms} ms", sent.from)
                })
            }
            _ => None,
        }
    }
}

/// After how much calm the homes are held and calls are rebuilt.
const SETTLES: Duration = Duration::from_secs(5);
/// A little less than T2, the longest between two copies of an answer: the second shows that the first was not heeded.
const PATIENCE: Duration = Duration::from_millis(3_500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i14_an_answer_that_is_repeated_for_long_and_never_acknowledged_is_found() {
        let (start, cseq) = (Start::Response(200), (1, "INVITE"));
        let answer =
            Letter { start, call_id: "c", cseq, from_tag: "f", to_tag: "t", branch: "b", number: None };
        let mut acknowledged = Acknowledged::new(Arc::default());
        let after = |ms| CALM + SETTLES + Duration::from_millis(ms);
        assert_eq!(acknowledged.repeats(CALM, &answer), None);
        assert_eq!(acknowledged.repeats(after(0), &answer), None);
        assert_eq!(acknowledged.repeats(after(500), &answer), None, "its ACK may be on its way");
        assert_eq!(acknowledged.repeats(after(4_500), &answer), Some(Duration::from_millis(4_500)));
        acknowledged.is_acknowledged(&answer);
        assert_eq!(acknowledged.repeats(after(8_500), &answer), None);
    }
}

//! I-13: a request that comes again gets the same final answer, from whichever node, and never a second call
//! (RFC 3261 §17.2.1).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::redirects::whom_and_where;
use super::{Invariant, Sent};
use crate::fault::Effects;
use crate::letter::{Letter, Start};
use crate::plan::{is_callee, is_caller, node_at};

/// I-13 on the wire, for callers' INVITEs.
#[derive(Debug)]
pub struct OneFinal {
    effects: Arc<Effects>,
    finals: BTreeMap<(String, u32), (u16, String)>,
    /// The Call-IDs under which each callee was invited, by call; a gateway's target that others send calls to as well is
    /// invited once for each (I-25).
    asked: BTreeMap<(u32, IpAddr, String), Vec<String>>,
    /// The Call-IDs under which each callee has challenged: it is asked once more, with an answer.
    challenged: BTreeMap<(u32, IpAddr), BTreeSet<String>>,
}

impl OneFinal {
    /// Calls whose bytes the network has changed are left alone.
    pub fn new(effects: Arc<Effects>) -> OneFinal {
        OneFinal { effects, finals: BTreeMap::new(), asked: BTreeMap::new(), challenged: BTreeMap::new() }
    }

    /// `refusable`: who refuses may refuse twice.
    fn answered(&mut self, letter: &Letter<'_>, status: u16, refusable: bool) -> Option<String> {
        let key = (letter.call_id.to_owned(), letter.cseq.0);
        let (first, tag) = self.finals.entry(key).or_insert_with(|| (status, letter.to_tag.to_owned()));
        let differs = *first != status || *tag != letter.to_tag;
        // A copy that was long under way, or whose refusal was lost, may find that it is a first one again; but
        // what was answered stays answered. A node that is alone refuses at its own address what may be let in later,
        // and ends then.
        let differs = differs && !(refusable && *first >= 300);
        // What a node refused because of how it was is forgotten with its process: another may let a late copy in.
        let differs = differs && !(*first == 503 && is_stateless(tag));
        differs.then(|| format!("answered {first} with tag {tag}, then {status} with tag {}", letter.to_tag))
    }

    fn invited(&mut self, number: u32, callee: IpAddr, why: String, letter: &Letter<'_>) -> Option<String> {
        let asked = self.asked.entry((number, callee, why)).or_default();
        if !asked.iter().any(|known| known == letter.call_id) {
            asked.push(letter.call_id.to_owned());
        }
        let challenged = self.challenged.get(&(number, callee)).map_or(0, BTreeSet::len);
        (asked.len() > 1 + challenged).then(|| format!("{callee} was invited as {}", asked.join(" and ")))
    }
}

/// Whether a tag of ours names no call.
fn is_stateless(tag: &str) -> bool {
    tag.len() == 16
}

impl Invariant for OneFinal {
    fn clause(&self) -> &'static str {
        "I-13 one INVITE, one answer, one call"
    }

    fn sent(&mut self, sent: &Sent<'_>) -> Option<String> {
        let letter = sent.letter?;
        let number = letter.number.filter(|number| !self.effects.is_forged(*number))?;
        if sent.life.node() == 0 {
            if letter.is_final_to_invite() == Some(407) {
                let ids = self.challenged.entry((number, sent.from.ip())).or_default();
                ids.insert(letter.call_id.to_owned());
            }
            return None;
        }
        let found = match (letter.is_final_to_invite(), letter.start) {
            (Some(status), _) if is_caller(sent.to.ip()) => {
                let alone = node_at(sent.from.ip()).is_some() && status >= 300;
                self.answered(&letter, status, alone || self.effects.is_harmed(number))
            }
            (None, Start::Request("INVITE")) if is_callee(sent.to.ip()) && letter.to_tag.is_empty() => {
                let why = whom_and_where(sent.bytes).filter(|(whom, uri)| whom != uri);
                let why = why.map_or(String::new(), |(whom, uri)| format!("{uri} for {whom}"));
                self.invited(number, sent.to.ip(), why, &letter)
            }
            _ => None,
        };
        found.map(|found| format!("call #{number}: {found}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(to_tag: &str) -> Letter<'_> {
        let (start, cseq) = (Start::Response(0), (1, "INVITE"));
        Letter { start, call_id: "c", cseq, from_tag: "f", to_tag, branch: "b", number: None }
    }

    #[test]
    fn i13_another_answer_and_a_second_call_are_found() {
        let mut finals = OneFinal::new(Arc::default());
        assert_eq!(finals.answered(&letter("a"), 200, false), None);
        assert_eq!(finals.answered(&letter("a"), 200, false), None);
        assert!(finals.answered(&letter("b"), 200, true).is_some(), "another tag");
        assert!(finals.answered(&letter("a"), 487, true).is_some(), "another status");
        let mut finals = OneFinal::new(Arc::default());
        assert_eq!(finals.answered(&letter("47e828406197047e"), 503, false), None);
        assert_eq!(finals.answered(&letter("0000030000000002i1"), 200, false), None);
        let callee = IpAddr::from([10, 0, 2, 1]);
        assert_eq!(finals.invited(1, callee, String::new(), &letter("")), None);
        assert_eq!(finals.invited(1, callee, String::new(), &letter("")), None);
        assert!(finals.invited(1, callee, String::new(), &Letter { call_id: "d", ..letter("") }).is_some());
    }
}

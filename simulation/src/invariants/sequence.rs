//! I-12: within a leg, CSeq strictly rises over takeovers, and the tags stay what they were (RFC 3261 §12.2.1.1).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::{Invariant, Sent};
use crate::fault::Effects;
use crate::letter::{Letter, Start};

/// I-12 on the wire, where nodes send.
#[derive(Debug)]
pub struct Sequence {
    effects: Arc<Effects>,
    legs: BTreeMap<(String, IpAddr), Leg>,
}

/// What nodes have sent within a leg.
#[derive(Debug, Default)]
struct Leg {
    cseq: u32,
    /// Of the requests so far, by their branches: each may be sent again until it is answered.
    branches: BTreeMap<String, u32>,
    from_tag: String,
    to_tag: String,
}

impl Leg {
    fn sends(&mut self, letter: &Letter<'_>, method: &str) -> Option<String> {
        let (number, _) = letter.cseq;
        if self.cseq > 0 && letter.from_tag != self.from_tag {
            return Some(format!("the tag of {method} {number} changes to {}", letter.from_tag));
        }
        letter.from_tag.clone_into(&mut self.from_tag);
        // Within a dialog only; several may begin, of which one is confirmed.
        if !letter.to_tag.is_empty() && method == "BYE" {
            if !self.to_tag.is_empty() && letter.to_tag != self.to_tag {
                return Some(format!("the remote tag of {method} {number} changes to {}", letter.to_tag));
            }
            letter.to_tag.clone_into(&mut self.to_tag);
        }
        if matches!(method, "ACK" | "CANCEL") || self.branches.get(letter.branch) == Some(&number) {
            return None;
        }
        let wrong = number <= self.cseq && self.cseq > 0;
        let found = wrong.then(|| format!("{method} has CSeq {number} after {}", self.cseq));
        self.branches.insert(letter.branch.to_owned(), number);
        self.cseq = self.cseq.max(number);
        found
    }
}

impl Sequence {
    /// Calls whose bytes the network has changed are left alone.
    pub fn new(effects: Arc<Effects>) -> Sequence {
        Sequence { effects, legs: BTreeMap::new() }
    }
}

impl Invariant for Sequence {
    fn clause(&self) -> &'static str {
        "I-12 CSeq rises and tags stay"
    }

    fn sent(&mut self, sent: &Sent<'_>) -> Option<String> {
        let letter = sent.letter.filter(|_| sent.life.node() != 0)?;
        let Start::Request(method) = letter.start else { return None };
        let number = letter.number.filter(|number| !self.effects.is_forged(*number))?;
        let leg = self.legs.entry((letter.call_id.to_owned(), sent.to.ip())).or_default();
        leg.sends(&letter, method).map(|found| format!("call #{number}: {found}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter<'a>(method: &'a str, cseq: u32, branch: &'a str, from_tag: &'a str) -> Letter<'a> {
        let start = Start::Request(method);
        Letter { start, call_id: "c", cseq: (cseq, method), from_tag, to_tag: "", branch, number: None }
    }

    #[test]
    fn i12_a_reused_number_and_a_new_tag_are_found() {
        let mut leg = Leg::default();
        assert_eq!(leg.sends(&letter("INVITE", 1, "a", "t"), "INVITE"), None);
        assert_eq!(leg.sends(&letter("INVITE", 1, "a", "t"), "INVITE"), None, "sent again");
        assert_eq!(leg.sends(&letter("ACK", 1, "b", "t"), "ACK"), None);
        assert!(leg.sends(&letter("BYE", 1, "c", "t"), "BYE").is_some(), "the number of the INVITE");
        assert_eq!(leg.sends(&letter("BYE", 2, "d", "t"), "BYE"), None);
        assert_eq!(leg.sends(&letter("INVITE", 1, "a", "t"), "INVITE"), None, "sent again after a newer one");
        assert!(
            leg.sends(&letter("INVITE", 2, "a", "t"), "INVITE").is_some(),
            "another number, an old branch"
        );
        assert!(leg.sends(&letter("BYE", 3, "e", "u"), "BYE").is_some(), "another tag");
    }
}

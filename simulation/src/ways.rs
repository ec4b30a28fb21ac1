//! What peers do by their nature, seen on the wire: giving up, answering late, losing an ACK, hanging up at once,
//! refusing, asking for a change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::fault::{Effects, Kind};
use crate::letter::{Letter, Start};

/// Counts the ways of peers.
#[derive(Debug)]
pub(crate) struct Ways {
    effects: Arc<Effects>,
    /// CANCELs that a callee has answered, by Call-ID.
    cancelled: BTreeSet<String>,
    /// 2xx that a caller has been sent and not acknowledged, by Call-ID.
    unacknowledged: BTreeMap<String, u32>,
    /// Who has hung up, by call.
    hung_up: BTreeMap<u32, BTreeSet<String>>,
}

impl Ways {
    pub(crate) fn new(effects: Arc<Effects>) -> Ways {
        let (cancelled, unacknowledged) = (BTreeSet::new(), BTreeMap::new());
        Ways { effects, cancelled, unacknowledged, hung_up: BTreeMap::new() }
    }

    /// A message leaves, of a peer or of a node.
    pub(crate) fn sees(&mut self, letter: &Letter<'_>, of_peer: bool) {
        if let Some(kind) = self.way(letter, of_peer) {
            self.effects.count(kind);
        }
    }

    fn way(&mut self, letter: &Letter<'_>, of_peer: bool) -> Option<Kind> {
        let id = letter.call_id;
        match (letter.start, letter.cseq.1, of_peer) {
            (Start::Response(200), "INVITE", false) => {
                *self.unacknowledged.entry(id.to_owned()).or_default() += 1;
                None
            }
            (Start::Request("ACK"), _, true) => {
                let sent = self.unacknowledged.remove(id).unwrap_or_default();
                // What the network has lost is another fault.
                let harmed = letter.number.is_some_and(|number| self.effects.is_harmed(number));
                (sent > 1 && !harmed).then_some(Kind::LostAck)
            }
            (Start::Request("CANCEL"), _, true) => Some(Kind::Cancel),
            (Start::Request("INVITE"), _, true) if !letter.to_tag.is_empty() => Some(Kind::Reinvite),
            (Start::Request("BYE"), _, true) => {
                let ends = self.hung_up.entry(letter.number?).or_default();
                (ends.insert(id.to_owned()) && ends.len() == 2).then_some(Kind::Glare)
            }
            (Start::Response(200), "CANCEL", true) => {
                self.cancelled.insert(id.to_owned());
                None
            }
            (Start::Response(200), "INVITE", true) => self.cancelled.remove(id).then_some(Kind::LateAnswer),
            (Start::Response(486 | 404 | 603 | 503), "INVITE", true) => Some(Kind::Refusal),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter<'a>(start: Start<'a>, method: &'a str, call_id: &'a str) -> Letter<'a> {
        Letter { start, call_id, cseq: (1, method), from_tag: "f", to_tag: "t", branch: "b", number: Some(1) }
    }

    #[test]
    fn ways_are_told_by_what_came_before() {
        let mut ways = Ways::new(Arc::default());
        let (answer, ack) =
            (letter(Start::Response(200), "INVITE", "a"), letter(Start::Request("ACK"), "ACK", "a"));
        assert_eq!((ways.way(&answer, false), ways.way(&ack, true)), (None, None));
        assert_eq!((ways.way(&answer, false), ways.way(&answer, false)), (None, None));
        assert_eq!(ways.way(&ack, true), Some(Kind::LostAck));
        assert_eq!(ways.way(&answer, true), None);
        assert_eq!(ways.way(&letter(Start::Response(200), "CANCEL", "a"), true), None);
        assert_eq!(ways.way(&answer, true), Some(Kind::LateAnswer));
        let bye = |leg| letter(Start::Request("BYE"), "BYE", leg);
        assert_eq!((ways.way(&bye("a"), true), ways.way(&bye("a"), true)), (None, None));
        assert_eq!(ways.way(&bye("b"), true), Some(Kind::Glare));
    }
}

//! I-19: once a peer has spoken within a dialog on another connection, what a node asks it goes there
//! (OpenSIPS/opensips#3903).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use machine::Instant;

use super::{Invariant, Sent};
use crate::fault::Effects;
use crate::letter::{Letter, Start};

/// I-19 on the wire.
#[derive(Debug)]
pub struct NewFlow {
    effects: Arc<Effects>,
    /// The newest connection on which a peer asked something within a dialog, and when, by Call-ID and by the address
    /// of ours that it spoke to: one to a lost home is another node's.
    newest: BTreeMap<(String, IpAddr), (u64, Instant)>,
}

impl NewFlow {
    /// Connections that are over are left alone.
    pub fn new(effects: Arc<Effects>) -> NewFlow {
        NewFlow { effects, newest: BTreeMap::new() }
    }

    fn peer_asks(&mut self, at: Instant, (line, ours): (u64, IpAddr), letter: &Letter<'_>) {
        let known = self.newest.entry((letter.call_id.to_owned(), ours)).or_insert((line, at));
        if line > known.0 {
            *known = (line, at);
        }
    }

    /// A node asks something on a connection; gives the one on which it should have.
    fn node_asks(&self, at: Instant, (line, ours): (u64, IpAddr), letter: &Letter<'_>) -> Option<u64> {
        let (newest, since) = *self.newest.get(&(letter.call_id.to_owned(), ours))?;
        let stale = newest > line && at.since(since) > HEARD && !self.effects.is_broken(newest);
        stale.then_some(newest)
    }
}

impl Invariant for NewFlow {
    fn clause(&self) -> &'static str {
        "I-19 what is asked within a dialog goes to its newest connection"
    }

    fn sent(&mut self, sent: &Sent<'_>) -> Option<String> {
        let (line, letter) = (sent.line?, sent.letter?);
        let Start::Request(method) = letter.start else { return None };
        if letter.to_tag.is_empty() || matches!(method, "ACK" | "CANCEL") {
            return None;
        }
        if sent.life.node() == 0 {
            self.peer_asks(sent.at, (line, sent.to.ip()), &letter);
            return None;
        }
        let newest = self.node_asks(sent.at, (line, sent.from.ip()), &letter)?;
        let (node, number) = (sent.life.node(), letter.number.unwrap_or_default());
        Some(format!(
            "call #{number}: node {node} sends {method} to {} on connection {line}, and {newest} is newer",
            sent.to
        ))
    }
}

/// Until a node has read what was sent.
const HEARD: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i19_a_request_on_an_older_connection_is_found_unless_the_newer_is_over() {
        let (cseq, start) = ((2, "BYE"), Start::Request("BYE"));
        let bye = Letter { start, call_id: "c", cseq, from_tag: "f", to_tag: "t", branch: "b", number: None };
        let mut flows = NewFlow::new(Arc::default());
        let home = IpAddr::from([10, 0, 9, 1]);
        let at = |ms| Instant::ZERO + Duration::from_millis(ms);
        assert_eq!(flows.node_asks(at(0), (1, home), &bye), None, "nobody spoke before");
        flows.peer_asks(at(0), (2, home), &bye);
        assert_eq!(flows.node_asks(at(10), (1, home), &bye), None, "it may not be read yet");
        assert_eq!(flows.node_asks(at(100), (1, home), &bye), Some(2));
        assert_eq!(flows.node_asks(at(100), (2, home), &bye), None);
        let other = IpAddr::from([10, 0, 9, 2]);
        assert_eq!(flows.node_asks(at(100), (1, other), &bye), None, "from another home");
        flows.effects.broke(2);
        assert_eq!(flows.node_asks(at(100), (1, home), &bye), None);
    }
}

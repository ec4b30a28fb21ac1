//! What may not be said yet over streams. Nobody repeats it there (RFC 3261 §17.1.1.2, §17.2.1), so it waits for the next
//! lease, for as long as a silent node counts as alive.

use std::net::SocketAddr;

use bytes::Bytes;
use call::Flow;

/// So many messages wait; with the next, all are forgotten.
const WAITING_MAX: usize = 1024;

/// Messages in the order in which they should have gone.
#[derive(Debug, Default)]
pub(crate) struct Unsaid {
    waiting: Vec<(Flow, Bytes)>,
    looks: u32,
}

impl Unsaid {
    /// One more.
    pub(crate) fn hold(&mut self, flow: Flow, bytes: Bytes) {
        if self.waiting.len() >= WAITING_MAX {
            self.waiting.clear();
        }
        self.waiting.push((flow, bytes));
    }

    /// Those that may be said now, by where they leave from.
    pub(crate) fn take(&mut self, may_speak: impl Fn(SocketAddr) -> bool) -> Vec<(Flow, Bytes)> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let (free, waiting) =
            std::mem::take(&mut self.waiting).into_iter().partition(|(flow, _)| may_speak(flow.local));
        self.waiting = waiting;
        free
    }

    /// A look now and then: after so many, what still waits is forgotten.
    pub(crate) fn look(&mut self, looks_max: u32) {
        self.looks = if self.waiting.is_empty() { 0 } else { self.looks + 1 };
        if self.looks > looks_max {
            *self = Unsaid::default();
        }
    }

    /// The home at this address is another's: what was to be said from there is its affair.
    pub(crate) fn forget(&mut self, local: SocketAddr) {
        self.waiting.retain(|(flow, _)| flow.local != local);
    }
}

#[cfg(test)]
mod tests {
    use trunk::Transport;

    use super::*;

    fn flow(local: &str) -> Flow {
        let local = local.parse().expect("literal");
        Flow { transport: Transport::Tcp, local, remote: local, connection: 0 }
    }

    fn held(words: &[(&str, &'static str)]) -> Unsaid {
        let mut unsaid = Unsaid::default();
        words.iter().for_each(|(local, word)| unsaid.hold(flow(local), Bytes::from_static(word.as_bytes())));
        unsaid
    }

    fn words(taken: Vec<(Flow, Bytes)>) -> Vec<Bytes> {
        taken.into_iter().map(|(_, bytes)| bytes).collect()
    }

    const HERE: &str = "192.0.2.1:5060";
    const THERE: &str = "192.0.2.2:5060";

    #[test]
    fn what_waited_is_said_in_its_order_and_once() {
        let mut unsaid = held(&[(HERE, "first"), (THERE, "elsewhere"), (HERE, "second")]);
        assert!(unsaid.take(|_| false).is_empty());
        assert_eq!(words(unsaid.take(|local| local == flow(HERE).local)), ["first", "second"]);
        assert_eq!(words(unsaid.take(|_| true)), ["elsewhere"]);
        assert!(unsaid.take(|_| true).is_empty());
    }

    #[test]
    fn a_node_that_counts_as_dead_has_nothing_left_to_say() {
        let mut unsaid = held(&[(HERE, "late")]);
        (0..20).for_each(|_| unsaid.look(20));
        assert_eq!(words(unsaid.take(|_| true)), ["late"], "the last look that it may wait for");
        unsaid = held(&[(HERE, "too late")]);
        (0..21).for_each(|_| unsaid.look(20));
        assert!(unsaid.take(|_| true).is_empty());
    }

    #[test]
    fn a_home_that_is_left_takes_its_words_along() {
        let mut unsaid = held(&[(HERE, "lost"), (THERE, "kept")]);
        unsaid.forget(flow(HERE).local);
        assert_eq!(words(unsaid.take(|_| true)), ["kept"]);
    }

    #[test]
    fn no_more_wait_than_there_is_room_for() {
        let mut unsaid = Unsaid::default();
        (0..1025).for_each(|_| unsaid.hold(flow(HERE), Bytes::from_static(b"one")));
        assert_eq!(unsaid.take(|_| true).len(), 1);
    }
}

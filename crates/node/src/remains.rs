//! Final answers of calls that are gone, for copies of what they answered (RFC 3261 timers D, J and K).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use call::{Flow, Remains};
use machine::Instant;

/// Answers by `route::transaction_key`, for as long as a copy may come, and bounded in number.
#[derive(Debug)]
pub(crate) struct Afterlife {
    keep: Duration,
    answers_max: usize,
    answers: BTreeMap<u64, (Flow, Bytes)>,
    queue: VecDeque<(Instant, u64)>,
}

impl Afterlife {
    /// Keeps each answer for `keep`, at most `answers_max` of them: the oldest go first.
    pub(crate) fn new(keep: Duration, answers_max: usize) -> Afterlife {
        Afterlife { keep, answers_max, answers: BTreeMap::new(), queue: VecDeque::new() }
    }

    /// Takes in what a call leaves behind.
    pub(crate) fn insert(&mut self, now: Instant, remains: Vec<Remains>) {
        self.expire(now);
        for Remains { key, flow, bytes } in remains {
            if self.queue.len() >= self.answers_max {
                self.pop();
            }
            if self.answers.insert(key, (flow, bytes)).is_none() {
                self.queue.push_back((now + self.keep, key));
            }
        }
    }

    /// The answer to a copy.
    pub(crate) fn get(&self, key: u64) -> Option<&(Flow, Bytes)> {
        self.answers.get(&key)
    }

    /// Forgets what nobody can ask for any more.
    pub(crate) fn expire(&mut self, now: Instant) {
        while self.queue.front().is_some_and(|(until, _)| *until <= now) {
            self.pop();
        }
        if self.queue.is_empty() {
            // A busy hour's memory goes back.
            self.queue.shrink_to(1_024);
        }
    }

    fn pop(&mut self) {
        if let Some((_, key)) = self.queue.pop_front() {
            self.answers.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trunk::Transport;

    fn remains(key: u64) -> Vec<Remains> {
        let at = "192.0.2.1:5060".parse().expect("literal");
        let flow = Flow { transport: Transport::Udp, local: at, remote: at, connection: 0 };
        vec![Remains { key, flow, bytes: Bytes::from_static(b"SIP/2.0 200 OK\r\n") }]
    }

    fn at(s: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(s)
    }

    #[test]
    fn an_answer_is_kept_for_its_time_and_no_longer() {
        let mut afterlife = Afterlife::new(Duration::from_secs(32), 10);
        afterlife.insert(at(0), remains(1));
        afterlife.insert(at(31), remains(2));
        assert!(afterlife.get(1).is_some());
        afterlife.expire(at(32));
        assert!(afterlife.get(1).is_none());
        assert!(afterlife.get(2).is_some());
    }

    #[test]
    fn the_oldest_answer_makes_room() {
        let mut afterlife = Afterlife::new(Duration::from_secs(32), 2);
        for key in 1..=3 {
            afterlife.insert(at(0), remains(key));
        }
        assert!(afterlife.get(1).is_none());
        assert!(afterlife.get(2).is_some() && afterlife.get(3).is_some());
    }
}

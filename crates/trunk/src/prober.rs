//! Whether one target is up, as its answers to OPTIONS say (RFC 3261 §11): down after some failures in a row, up again
//! after some answers in a row. What is said, and to whom, others know.

use std::collections::VecDeque;
use std::time::Duration;

use machine::{Instant, Machine, Rng};

use crate::settings::Probe;

/// The watch over one target, for as long as one node keeps it.
#[derive(Debug)]
pub struct Prober {
    probe: Probe,
    is_down: bool,
    /// Answers in a row of one that is down, failures in a row of one that is up.
    streak: u32,
    is_asking: bool,
    due: Instant,
    outputs: VecDeque<Output>,
}

/// What came of an OPTIONS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// A final answer.
    Answered(u16),
    /// None, or it could not be sent there.
    Silent,
    /// This node may not speak now, which says nothing of the target.
    Unsaid,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send an OPTIONS; one that has no answer yet has failed.
    Ask,
    /// It is up again.
    Up,
    /// It is down: its last failure had this status, 408 for silence.
    Down(u16),
}

impl Prober {
    /// A watch over a target that is known to be down, or not. Its first OPTIONS comes within an interval, so that those of
    /// many targets, and of a node that died, do not come at once.
    pub fn start(now: Instant, probe: Probe, is_down: bool, mut rng: Rng) -> Prober {
        let interval = u64::try_from(probe.interval.as_millis()).unwrap_or(u64::MAX);
        let due = now + Duration::from_millis(rng.below(interval.max(1)));
        Prober { probe, is_down, streak: 0, is_asking: false, due, outputs: VecDeque::new() }
    }

    fn came_to(&mut self, status: u16) {
        let is_alive = is_alive(status);
        if is_alive != self.is_down {
            self.streak = 0;
            return;
        }
        self.streak = self.streak.saturating_add(1);
        let enough = if self.is_down { self.probe.up_after } else { self.probe.down_after };
        if self.streak >= enough {
            (self.streak, self.is_down) = (0, !is_alive);
            self.outputs.push_back(if is_alive { Output::Up } else { Output::Down(status) });
        }
    }
}

/// Whether who answers so can take calls. A refusal says that somebody is there, and so does 501: many do not know OPTIONS.
fn is_alive(status: u16) -> bool {
    !matches!(status, 408 | 500 | 502..=599)
}

impl Machine for Prober {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, _: Instant, input: Input) {
        match (self.is_asking, input) {
            (true, Input::Answered(status)) => self.came_to(status),
            (true, Input::Silent) => self.came_to(408),
            // An answer to nothing, or nothing to answer.
            (true, Input::Unsaid) | (false, Input::Answered(_) | Input::Silent | Input::Unsaid) => {}
        }
        self.is_asking = false;
    }

    fn handle_timeout(&mut self, now: Instant) {
        if now < self.due {
            return;
        }
        if std::mem::replace(&mut self.is_asking, true) {
            self.came_to(408);
        }
        // From when it was due, unless that is long ago: a node that stood still asks once.
        let next = self.due + self.probe.interval;
        self.due = if next > now { next } else { now + self.probe.interval };
        self.outputs.push_back(Output::Ask);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Some(self.due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    fn probe(down_after: u32, up_after: u32) -> Probe {
        Probe { interval: INTERVAL, down_after, up_after }
    }

    fn drain(prober: &mut Prober) -> Vec<Output> {
        std::iter::from_fn(|| prober.poll_output()).collect()
    }

    fn start(probe: Probe, is_down: bool) -> Prober {
        Prober::start(Instant::ZERO, probe, is_down, Rng::from_u64(7))
    }

    /// Lets it ask, and hands it what came of that; gives what it says of the target.
    fn round(prober: &mut Prober, input: Input) -> Vec<Output> {
        let due = prober.poll_timeout().expect("it asks again");
        prober.handle_timeout(due);
        assert_eq!(drain(prober), [Output::Ask]);
        assert_eq!(prober.poll_timeout(), Some(due + INTERVAL));
        prober.handle(due, input);
        drain(prober)
    }

    const OK: Input = Input::Answered(200);

    /// KW27: no 200 and it is down, after as many as its trunk says; the twin says another number.
    #[test]
    fn kw27_failures_in_a_row_make_it_down_and_answers_in_a_row_up() {
        for (down_after, up_after) in [(3, 2), (1, 4)] {
            let mut prober = start(probe(down_after, up_after), false);
            for _ in 1..down_after {
                assert_eq!(round(&mut prober, Input::Silent), []);
            }
            assert_eq!(round(&mut prober, Input::Silent), [Output::Down(408)]);
            assert_eq!(round(&mut prober, Input::Silent), [], "it is said once");
            for _ in 1..up_after {
                assert_eq!(round(&mut prober, OK), []);
            }
            assert_eq!(round(&mut prober, OK), [Output::Up]);
        }
    }

    #[test]
    fn what_is_not_in_a_row_turns_nothing() {
        let mut up = start(probe(2, 2), false);
        let mut down = start(probe(2, 2), true);
        for _ in 0..10 {
            for input in [Input::Silent, OK] {
                assert_eq!((round(&mut up, input), round(&mut down, input)), (vec![], vec![]));
            }
        }
    }

    /// RFC 3261 §11.2: the answer to OPTIONS is that to an INVITE, so only what is ill or silent is down.
    #[test]
    fn who_refuses_is_there_and_who_is_ill_is_not() {
        for status in [200, 202, 302, 401, 403, 404, 405, 407, 420, 481, 486, 501, 603] {
            assert_eq!(
                round(&mut start(probe(1, 1), true), Input::Answered(status)),
                [Output::Up],
                "{status}"
            );
        }
        for status in [408, 500, 502, 503, 504, 580] {
            let turned = round(&mut start(probe(1, 1), false), Input::Answered(status));
            assert_eq!(turned, [Output::Down(status)], "{status}");
        }
    }

    #[test]
    fn an_interval_without_an_answer_is_silence_and_the_next_question_comes() {
        let mut prober = start(probe(2, 2), false);
        let due = prober.poll_timeout().unwrap();
        prober.handle_timeout(due);
        prober.handle_timeout(due + INTERVAL);
        assert_eq!(drain(&mut prober), [Output::Ask, Output::Ask]);
        prober.handle_timeout(due + INTERVAL * 2);
        assert_eq!(drain(&mut prober), [Output::Down(408), Output::Ask]);
        // Before it is due nothing happens.
        prober.handle_timeout(due + INTERVAL * 2 + Duration::from_secs(1));
        assert_eq!(drain(&mut prober), []);
    }

    #[test]
    fn a_node_that_may_not_speak_learns_nothing_of_the_target() {
        let mut prober = start(probe(1, 1), false);
        assert_eq!(round(&mut prober, Input::Unsaid), []);
        assert_eq!(round(&mut prober, Input::Silent), [Output::Down(408)]);
        // An answer that nobody waits for any more is none.
        prober.handle(Instant::ZERO, OK);
        assert_eq!(drain(&mut prober), []);
    }

    /// Whoever takes over knows what was known, and counts from zero: no target goes down by a death of ours.
    #[test]
    fn a_successor_asks_within_an_interval_and_begins_to_count_anew() {
        let mut firsts: Vec<Instant> = (0..50)
            .map(|seed| Prober::start(Instant::ZERO, probe(2, 2), false, Rng::from_u64(seed)))
            .map(|prober| prober.poll_timeout().unwrap())
            .collect();
        firsts.sort_unstable();
        assert!(firsts[49] < Instant::ZERO + INTERVAL && firsts[49].since(firsts[0]) > INTERVAL / 2);
        let mut dies = start(probe(2, 2), false);
        assert_eq!(round(&mut dies, Input::Silent), []);
        assert_eq!(round(&mut start(probe(2, 2), false), Input::Silent), []);
    }
}

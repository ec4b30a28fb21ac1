//! The retransmission of a 2xx to INVITE by its UAS (RFC 3261 §13.3.1.4).

use std::time::Duration;

use bytes::Bytes;
use machine::{Instant, Machine};

use crate::deadlines::Deadlines;
use crate::{Output, Outputs, ServerInput, Timer, Times, pop};

/// Repeats a 2xx until its ACK comes. Over every transport: a hop further on may be UDP.
///
/// `Respond` is not needed: the 2xx is given at the start. `Ack` ends it with `Acknowledged` and `Terminated`;
/// silence for 64·T1 ends it with `TimedOut(Unacknowledged)`, after which the owner sends BYE.
#[derive(Clone, Debug)]
pub struct Answer2xx {
    times: Times,
    message: Option<Bytes>,
    /// The interval waited last.
    interval: Duration,
    deadlines: Deadlines,
    outputs: Outputs,
}

impl Answer2xx {
    /// Sends the 2xx.
    pub fn start(now: Instant, times: Times, message: Bytes) -> Answer2xx {
        Answer2xx::resume(now, times, message, Duration::ZERO)
    }

    /// Sends the 2xx at a successor, `elapsed` after it went out first; what is left of 64·T1 is waited.
    pub fn resume(now: Instant, times: Times, message: Bytes, elapsed: Duration) -> Answer2xx {
        let mut answer = Answer2xx {
            times,
            message: None,
            interval: times.first(),
            deadlines: Deadlines::default(),
            outputs: Outputs::new(),
        };
        let left = times.give_up().saturating_sub(elapsed);
        if left.is_zero() {
            // Too late to repeat it: the caller gave up, or its ACK is lost for good.
            answer.end(Output::TimedOut(Timer::Unacknowledged));
            return answer;
        }
        answer.outputs.push(Output::Send(message.clone()));
        answer.message = Some(message);
        answer.deadlines.set(Timer::Answer, now + answer.interval);
        answer.deadlines.set(Timer::Unacknowledged, now + left);
        answer
    }

    /// Whether the ACK came or was given up.
    pub fn is_terminated(&self) -> bool {
        self.message.is_none()
    }

    fn end(&mut self, outcome: Output) {
        self.message = None;
        self.deadlines.clear_all();
        self.outputs.push(outcome);
        self.outputs.push(Output::Terminated);
    }
}

impl Machine for Answer2xx {
    type Input = ServerInput;
    type Output = Output;

    fn handle(&mut self, _now: Instant, input: ServerInput) {
        match (&self.message, input) {
            (Some(_), ServerInput::Ack) => self.end(Output::Acknowledged),
            // The INVITE came again: the caller has not seen the 2xx. The timer will repeat it soon enough.
            (Some(_), ServerInput::Retransmission) => {}
            (Some(_), ServerInput::TransportError) => self.outputs.push(Output::TransportFailed),
            // The 2xx was given at the start; another may not replace it.
            (Some(_), ServerInput::Respond { .. }) => {}
            (None, _) => {} // Nothing can change any more.
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.deadlines.expired(now) {
            match timer {
                Timer::Answer => {
                    self.outputs.extend(self.message.clone().map(Output::Send));
                    self.interval = self.times.capped(self.interval);
                    self.deadlines.set(Timer::Answer, now + self.interval);
                }
                _ => self.end(Output::TimedOut(Timer::Unacknowledged)),
            }
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        pop(&mut self.outputs)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.next()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ladder::*;

    fn answer() -> Answer2xx {
        Answer2xx::start(at(0), Times::default(), bytes("200"))
    }

    #[test]
    fn a_2xx_is_repeated_from_t1_doubling_to_t2_until_64_t1() {
        // RFC 3261 §13.3.1.4.
        let mut answer = answer();
        assert_eq!(drain(&mut answer), [send("200")]);
        let ladder = run(&mut answer, 60_000);
        let sends = [500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500];
        assert_eq!(send_times(&ladder), sends);
        let end = [(32_000, Output::TimedOut(Timer::Unacknowledged)), (32_000, Output::Terminated)];
        assert_eq!(ladder[sends.len()..], end);
    }

    #[test]
    fn the_first_ack_ends_it_and_later_ones_are_absorbed() {
        // I-14: an ACK is absorbed once.
        let mut answer = answer();
        drain(&mut answer);
        run(&mut answer, 600);
        assert_eq!(handle(&mut answer, 700, ServerInput::Ack), [Output::Acknowledged, Output::Terminated]);
        assert_eq!(handle(&mut answer, 800, ServerInput::Ack), []);
        assert_eq!(answer.poll_timeout(), None);
        assert!(answer.is_terminated());
    }

    #[test]
    fn a_successor_repeats_it_only_within_64_t1_of_the_answer() {
        let mut early =
            Answer2xx::resume(at(0), Times::default(), bytes("200"), Duration::from_millis(31_000));
        assert_eq!(drain(&mut early), [send("200")]);
        let ladder = run(&mut early, 60_000);
        assert_eq!(
            ladder,
            [(500, send("200")), (1000, Output::TimedOut(Timer::Unacknowledged)), (1000, Output::Terminated)]
        );
        let mut late = Answer2xx::resume(at(0), Times::default(), bytes("200"), Duration::from_secs(32));
        assert_eq!(drain(&mut late), [Output::TimedOut(Timer::Unacknowledged), Output::Terminated]);
    }

    proptest! {
        #[test]
        fn any_course_ends_by_timer(course in any_course(any_server_input())) {
            let mut answer = answer();
            let outputs = batter(&mut answer, course);
            assert_ends(&mut answer, outputs);
        }
    }
}

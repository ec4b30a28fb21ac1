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

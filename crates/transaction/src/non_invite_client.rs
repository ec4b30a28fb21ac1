//! Non-INVITE client transaction (RFC 3261 §17.1.2).

use std::time::Duration;

use bytes::Bytes;
use machine::{Instant, Machine};

use crate::deadlines::Deadlines;
use crate::{ClientInput, Output, Outputs, Timer, Times, pop};

/// A request other than INVITE that we sent, until no copy of its answer can come any more.
#[derive(Clone, Debug)]
pub struct NonInviteClient {
    state: State,
    times: Times,
    reliable: bool,
    request: Option<Bytes>,
    /// The interval that timer E waited last.
    interval: Duration,
    deadlines: Deadlines,
    outputs: Outputs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Trying,
    Proceeding,
    Completed,
    Terminated,
}

impl NonInviteClient {
    /// Sends the request. `reliable`: the transport retransmits by itself (TCP, TLS).
    pub fn start(now: Instant, times: Times, reliable: bool, request: Bytes) -> NonInviteClient {
        let mut client = NonInviteClient {
            state: State::Trying,
            times,
            reliable,
            request: Some(request.clone()),
            interval: times.first(),
            deadlines: Deadlines::default(),
            outputs: Outputs::new(),
        };
        client.outputs.push(Output::Send(request));
        if !reliable {
            client.deadlines.set(Timer::E, now + client.interval);
        }
        client.deadlines.set(Timer::F, now + times.give_up());
        client
    }

    /// The same transaction at a successor: the identical request goes out again, and the peer repeats its answer.
    pub fn resume(now: Instant, times: Times, reliable: bool, request: Bytes) -> NonInviteClient {
        NonInviteClient::start(now, times, reliable, request)
    }

    /// Whether a final response came.
    pub fn is_final(&self) -> bool {
        matches!(self.state, State::Completed | State::Terminated)
    }

    /// Whether the transaction may be forgotten.
    pub fn is_terminated(&self) -> bool {
        self.state == State::Terminated
    }

    fn terminate(&mut self) {
        self.state = State::Terminated;
        self.request = None;
        self.deadlines.clear_all();
        self.outputs.push(Output::Terminated);
    }
}

impl Machine for NonInviteClient {
    type Input = ClientInput;
    type Output = Output;

    fn handle(&mut self, now: Instant, input: ClientInput) {
        match (self.state, input) {
            (State::Trying | State::Proceeding, ClientInput::Response { status: status @ ..200 }) => {
                self.state = State::Proceeding;
                self.outputs.push(Output::Deliver { status });
            }
            (State::Trying | State::Proceeding, ClientInput::Response { status }) => {
                self.outputs.push(Output::Deliver { status });
                self.deadlines.clear_all();
                self.request = None;
                if self.reliable {
                    self.terminate(); // Timer K is nought.
                } else {
                    self.state = State::Completed;
                    self.deadlines.set(Timer::K, now + self.times.t4);
                }
            }
            (State::Trying | State::Proceeding, ClientInput::TransportError) => {
                self.outputs.push(Output::TransportFailed);
                self.terminate();
            }
            // Neither ACK nor CANCEL exists for these methods (§9.1, §17.1.2).
            (_, ClientInput::Acknowledge(_) | ClientInput::Cancel) => {}
            // Repeated responses are absorbed here; nothing of ours is on the way any more.
            (State::Completed, ClientInput::Response { .. } | ClientInput::TransportError) => {}
            (State::Terminated, ClientInput::Response { .. } | ClientInput::TransportError) => {}
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.deadlines.expired(now) {
            match timer {
                Timer::E => {
                    self.outputs.extend(self.request.clone().map(Output::Send));
                    // §17.1.2.2: once the peer is known to work on it, every T2 is enough.
                    self.interval = match self.state {
                        State::Proceeding => self.times.capped(self.times.t2),
                        _ => self.times.capped(self.interval),
                    };
                    self.deadlines.set(Timer::E, now + self.interval);
                }
                Timer::F => {
                    self.outputs.push(Output::TimedOut(Timer::F));
                    self.terminate();
                }
                _ => self.terminate(), // K: the time of absorbing is over.
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

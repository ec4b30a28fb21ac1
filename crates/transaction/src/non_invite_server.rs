//! Non-INVITE server transaction (RFC 3261 §17.2.2).

use bytes::Bytes;
use machine::{Instant, Machine};

use crate::deadlines::Deadlines;
use crate::{Output, Outputs, ServerInput, Timer, Times, pop};

/// A request other than INVITE that came in, until its answer needs no more care.
#[derive(Clone, Debug)]
pub struct NonInviteServer {
    state: State,
    times: Times,
    reliable: bool,
    /// The response that a retransmitted request gets.
    last: Option<Bytes>,
    deadlines: Deadlines,
    outputs: Outputs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Trying and Proceeding: what differs is only whether `last` holds a response.
    Proceeding,
    Completed,
    Terminated,
}

impl NonInviteServer {
    /// The transaction of a new request. `reliable`: the transport retransmits by itself (TCP, TLS).
    pub fn new(times: Times, reliable: bool) -> NonInviteServer {
        NonInviteServer {
            state: State::Proceeding,
            times,
            reliable,
            last: None,
            deadlines: Deadlines::default(),
            outputs: Outputs::new(),
        }
    }

    /// The same transaction at a successor; `last` is what the predecessor may have answered, and is sent again.
    pub fn resume(now: Instant, times: Times, reliable: bool, last: Option<(u16, Bytes)>) -> NonInviteServer {
        let mut request = NonInviteServer::new(times, reliable);
        if let Some((status, message)) = last {
            request.handle(now, ServerInput::Respond { status, message });
        }
        request
    }

    /// Whether a final response went out.
    pub fn is_final(&self) -> bool {
        self.state != State::Proceeding
    }

    /// Whether the transaction may be forgotten.
    pub fn is_terminated(&self) -> bool {
        self.state == State::Terminated
    }

    fn terminate(&mut self) {
        self.state = State::Terminated;
        self.last = None;
        self.deadlines.clear_all();
        self.outputs.push(Output::Terminated);
    }
}

impl Machine for NonInviteServer {
    type Input = ServerInput;
    type Output = Output;

    fn handle(&mut self, now: Instant, input: ServerInput) {
        match (self.state, input) {
            (State::Proceeding, ServerInput::Respond { status: ..200, message }) => {
                self.outputs.push(Output::Send(message.clone()));
                self.last = Some(message);
            }
            (State::Proceeding, ServerInput::Respond { message, .. }) => {
                self.outputs.push(Output::Send(message.clone()));
                if self.reliable {
                    self.terminate(); // Timer J is nought.
                } else {
                    self.state = State::Completed;
                    self.last = Some(message);
                    self.deadlines.set(Timer::J, now + self.times.give_up());
                }
            }
            // Before any answer there is nothing to repeat, and the request is absorbed.
            (State::Proceeding | State::Completed, ServerInput::Retransmission) => {
                self.outputs.extend(self.last.clone().map(Output::Send));
            }
            (State::Proceeding | State::Completed, ServerInput::TransportError) => {
                self.outputs.push(Output::TransportFailed);
                self.terminate();
            }
            // RFC 3261 §17.2.2: any other final response of the owner is discarded.
            (State::Completed, ServerInput::Respond { .. }) => {}
            // ACK belongs to INVITE alone.
            (State::Proceeding | State::Completed, ServerInput::Ack) => {}
            (State::Terminated, _) => {} // Nothing can change any more.
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        // J is the only timer: the time of absorbing is over.
        if self.deadlines.expired(now).is_some() {
            self.terminate();
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        pop(&mut self.outputs)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.next()
    }
}

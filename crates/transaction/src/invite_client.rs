//! INVITE client transaction (RFC 3261 §17.1.1 as amended by RFC 6026 §7.2) with the wait of §9.1.

use std::time::Duration;

use bytes::Bytes;
use machine::{Instant, Machine};

use crate::deadlines::Deadlines;
use crate::{ClientInput, Output, Outputs, Timer, Times, pop};

/// An INVITE that we sent, from its first transmission until no copy of its answer can come any more.
#[derive(Clone, Debug)]
pub struct InviteClient {
    state: State,
    times: Times,
    reliable: bool,
    /// While calling: the INVITE. Once completed: the ACK, as soon as the owner has given it.
    message: Option<Bytes>,
    /// The owner wants the INVITE cancelled.
    cancel: bool,
    /// The interval that timer A waited last.
    interval: Duration,
    deadlines: Deadlines,
    outputs: Outputs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Calling,
    Proceeding,
    /// A 2xx came; every copy and fork of it is the owner's (RFC 6026).
    Accepted,
    Completed,
    Terminated,
}

impl InviteClient {
    /// Sends the INVITE. `reliable`: the transport retransmits by itself (TCP, TLS).
    pub fn start(now: Instant, times: Times, reliable: bool, invite: Bytes) -> InviteClient {
        let mut client = InviteClient {
            state: State::Calling,
            times,
            reliable,
            message: Some(invite.clone()),
            cancel: false,
            interval: times.first(),
            deadlines: Deadlines::default(),
            outputs: Outputs::new(),
        };
        client.outputs.push(Output::Send(invite));
        if !reliable {
            client.deadlines.set(Timer::A, now + client.interval);
        }
        client.deadlines.set(Timer::B, now + times.give_up());
        client
    }

    /// The same transaction at a successor: the identical INVITE goes out again, and the peer repeats its last
    /// response. `cancel`: the intent to cancel was recorded.
    pub fn resume(now: Instant, times: Times, reliable: bool, invite: Bytes, cancel: bool) -> InviteClient {
        let mut client = InviteClient::start(now, times, reliable, invite);
        client.cancel = cancel;
        client
    }

    /// Whether a final response came.
    pub fn is_final(&self) -> bool {
        !matches!(self.state, State::Calling | State::Proceeding)
    }

    /// Whether the transaction may be forgotten.
    pub fn is_terminated(&self) -> bool {
        self.state == State::Terminated
    }

    /// The INVITE, as long as no final response came: a CANCEL and a refusal's ACK are written from it.
    pub fn invite(&self) -> Option<&Bytes> {
        if self.is_final() { None } else { self.message.as_ref() }
    }

    fn respond(&mut self, now: Instant, status: u16) {
        self.outputs.push(Output::Deliver { status });
        match status {
            ..200 => {
                let first = self.state == State::Calling;
                self.state = State::Proceeding;
                if first {
                    self.deadlines.clear_all();
                    if self.cancel {
                        self.send_cancel(now);
                    }
                }
            }
            200..300 => {
                self.state = State::Accepted;
                self.message = None;
                self.deadlines.clear_all();
                self.deadlines.set(Timer::M, now + self.times.give_up());
            }
            300.. => {
                self.state = State::Completed;
                self.message = None;
                self.deadlines.clear_all();
                // Over UDP at least 32 s. Over TCP and TLS D is nought once the ACK is given; until then this bounds the wait.
                self.deadlines.set(Timer::D, now + self.times.give_up().max(TIMER_D_MIN));
            }
        }
    }

    fn send_cancel(&mut self, now: Instant) {
        self.outputs.push(Output::SendCancel);
        // §9.1: without a final response within 64·T1 the INVITE counts as cancelled.
        self.deadlines.set(Timer::Cancelled, now + self.times.give_up());
    }

    fn terminate(&mut self) {
        self.state = State::Terminated;
        self.message = None;
        self.deadlines.clear_all();
        self.outputs.push(Output::Terminated);
    }
}

impl Machine for InviteClient {
    type Input = ClientInput;
    type Output = Output;

    fn handle(&mut self, now: Instant, input: ClientInput) {
        match (self.state, input) {
            (State::Calling | State::Proceeding, ClientInput::Response { status }) => {
                self.respond(now, status)
            }
            (State::Accepted, ClientInput::Response { status: status @ 200..300 }) => {
                self.outputs.push(Output::Deliver { status });
            }
            // The peer has not seen the ACK; before the owner gave one there is nothing to repeat.
            (State::Completed, ClientInput::Response { status: 300.. }) => {
                self.outputs.extend(self.message.clone().map(Output::Send));
            }
            (State::Completed, ClientInput::Acknowledge(ack)) => {
                self.outputs.push(Output::Send(ack.clone()));
                if self.reliable {
                    self.terminate(); // Timer D is nought.
                } else {
                    self.message = Some(ack);
                }
            }
            // No CANCEL before a provisional response (§9.1): remember the wish.
            (State::Calling, ClientInput::Cancel) => self.cancel = true,
            (State::Proceeding, ClientInput::Cancel) => {
                if !self.cancel {
                    self.cancel = true;
                    self.send_cancel(now);
                }
            }
            (State::Calling | State::Proceeding | State::Completed, ClientInput::TransportError) => {
                self.outputs.push(Output::TransportFailed);
                self.terminate();
            }
            // The ACK to a 2xx is no part of this transaction (§13.2.2.4); before a final response there is none.
            (State::Calling | State::Proceeding | State::Accepted, ClientInput::Acknowledge(_)) => {}
            // Too late to cancel (§9.1): the 2xx or refusal stands.
            (State::Accepted | State::Completed, ClientInput::Cancel) => {}
            // A provisional after a final, or a refusal after a 2xx, is out of order and means nothing.
            (State::Accepted | State::Completed, ClientInput::Response { .. }) => {}
            // Nothing of ours is on the way in this state.
            (State::Accepted, ClientInput::TransportError) => {}
            (State::Terminated, _) => {} // Nothing can change any more.
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.deadlines.expired(now) {
            match timer {
                Timer::A => {
                    self.outputs.extend(self.message.clone().map(Output::Send));
                    self.interval = Times::doubled(self.interval);
                    self.deadlines.set(Timer::A, now + self.interval);
                }
                Timer::B | Timer::Cancelled => {
                    self.outputs.push(Output::TimedOut(timer));
                    self.terminate();
                }
                _ => self.terminate(), // D and M: the time of absorbing is over.
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

/// RFC 3261 §17.1.1.2: at least 32 s, whatever T1 is, for the server's timer H may rest on another T1.
const TIMER_D_MIN: Duration = Duration::from_secs(32);

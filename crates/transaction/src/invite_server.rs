//! INVITE server transaction (RFC 3261 §17.2.1 as amended by RFC 6026 §7.1).

use std::time::Duration;

use bytes::Bytes;
use machine::{Instant, Machine};

use crate::deadlines::Deadlines;
use crate::{Output, Outputs, ServerInput, Timer, Times, pop};

/// An INVITE that came in, from its receipt until its answer needs no more care.
#[derive(Clone, Debug)]
pub struct InviteServer {
    state: State,
    times: Times,
    reliable: bool,
    /// The response that a retransmitted INVITE gets.
    last: Option<Bytes>,
    /// The interval that timer G waited last.
    interval: Duration,
    deadlines: Deadlines,
    outputs: Outputs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Proceeding,
    /// A 2xx went out; the owner retransmits it (RFC 6026).
    Accepted,
    Completed,
    Confirmed,
    Terminated,
}

impl InviteServer {
    /// The transaction of a new INVITE. `reliable`: the transport retransmits by itself (TCP, TLS).
    pub fn new(times: Times, reliable: bool) -> InviteServer {
        InviteServer {
            state: State::Proceeding,
            times,
            reliable,
            last: None,
            interval: times.first(),
            deadlines: Deadlines::default(),
            outputs: Outputs::new(),
        }
    }

    /// The same transaction at a successor; `last` is what the predecessor may have answered, and is sent again.
    pub fn resume(now: Instant, times: Times, reliable: bool, last: Option<(u16, Bytes)>) -> InviteServer {
        let mut invite = InviteServer::new(times, reliable);
        if let Some((status, message)) = last {
            invite.handle(now, ServerInput::Respond { status, message });
        }
        invite
    }

    /// Whether a final response went out.
    pub fn is_final(&self) -> bool {
        self.state != State::Proceeding
    }

    /// Whether the transaction may be forgotten.
    pub fn is_terminated(&self) -> bool {
        self.state == State::Terminated
    }

    fn respond(&mut self, now: Instant, status: u16, message: Bytes) {
        self.outputs.push(Output::Send(message.clone()));
        match status {
            ..200 => self.last = Some(message),
            200..300 => {
                // The owner retransmits the 2xx until its ACK; a repeated INVITE is only absorbed.
                self.state = State::Accepted;
                self.last = None;
                self.deadlines.set(Timer::L, now + self.times.give_up());
            }
            300.. => {
                self.state = State::Completed;
                self.last = Some(message);
                if !self.reliable {
                    self.interval = self.times.first();
                    self.deadlines.set(Timer::G, now + self.interval);
                }
                self.deadlines.set(Timer::H, now + self.times.give_up());
            }
        }
    }

    fn resend(&mut self) {
        self.outputs.extend(self.last.clone().map(Output::Send));
    }

    fn terminate(&mut self) {
        self.state = State::Terminated;
        self.last = None;
        self.deadlines.clear_all();
        self.outputs.push(Output::Terminated);
    }
}

impl Machine for InviteServer {
    type Input = ServerInput;
    type Output = Output;

    fn handle(&mut self, now: Instant, input: ServerInput) {
        match (self.state, input) {
            (State::Proceeding, ServerInput::Respond { status, message }) => {
                self.respond(now, status, message)
            }
            // Nothing stored: the owner has not answered yet, and the caller's own retransmission is its insurance.
            (State::Proceeding | State::Completed, ServerInput::Retransmission) => self.resend(),
            // Only a 2xx may follow a 2xx: it is the owner's retransmission (RFC 6026 §7.1).
            (State::Accepted, ServerInput::Respond { status: 200..300, message }) => {
                self.outputs.push(Output::Send(message));
            }
            (State::Accepted, ServerInput::Ack) => self.outputs.push(Output::Acknowledged),
            (State::Completed, ServerInput::Ack) => {
                self.outputs.push(Output::Acknowledged);
                self.deadlines.clear_all();
                self.last = None;
                if self.reliable {
                    self.terminate();
                } else {
                    // Linger for T4 to absorb repeated ACKs.
                    self.state = State::Confirmed;
                    self.deadlines.set(Timer::I, now + self.times.t4);
                }
            }
            // RFC 6026 §7.1: the owner is told, and the state stays, for the peer may still retransmit.
            (State::Proceeding | State::Accepted | State::Completed, ServerInput::TransportError) => {
                self.outputs.push(Output::TransportFailed);
            }
            // An ACK before the final response matches nothing that was sent.
            (State::Proceeding, ServerInput::Ack) => {}
            // Repeated INVITEs are absorbed here; that is what the state is for.
            (State::Accepted, ServerInput::Retransmission) => {}
            // The final response is chosen once; a later one is the owner's mistake and must not reach the peer.
            (State::Accepted | State::Completed, ServerInput::Respond { .. }) => {}
            (State::Confirmed | State::Terminated, _) => {} // Nothing can change any more.
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.deadlines.expired(now) {
            match timer {
                Timer::G => {
                    self.resend();
                    self.interval = self.times.capped(self.interval);
                    self.deadlines.set(Timer::G, now + self.interval);
                }
                Timer::H => {
                    self.outputs.push(Output::TimedOut(Timer::H));
                    self.terminate();
                }
                _ => self.terminate(), // I and L: the time of absorbing is over.
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

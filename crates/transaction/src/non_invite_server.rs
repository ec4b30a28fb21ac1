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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ladder::*;

    fn server(reliable: bool) -> NonInviteServer {
        NonInviteServer::new(Times::default(), reliable)
    }

    fn respond(status: u16, text: &'static str) -> ServerInput {
        ServerInput::Respond { status, message: bytes(text) }
    }

    #[test]
    fn before_any_answer_a_retransmission_is_absorbed() {
        // RFC 3261 §17.2.2, Trying.
        let mut request = server(false);
        assert_eq!(handle(&mut request, 500, ServerInput::Retransmission), []);
        assert_eq!(request.poll_timeout(), None);
    }

    #[test]
    fn a_retransmission_gets_the_last_provisional_then_the_final() {
        // RFC 3261 §17.2.2, Proceeding and Completed.
        let mut request = server(false);
        assert_eq!(handle(&mut request, 0, respond(100, "100")), [send("100")]);
        assert_eq!(handle(&mut request, 500, ServerInput::Retransmission), [send("100")]);
        assert_eq!(handle(&mut request, 600, respond(200, "200")), [send("200")]);
        assert_eq!(handle(&mut request, 700, ServerInput::Retransmission), [send("200")]);
        assert_eq!(handle(&mut request, 800, respond(500, "500")), []);
        assert_eq!(handle(&mut request, 900, ServerInput::Retransmission), [send("200")]);
        assert_eq!(handle(&mut request, 950, ServerInput::Ack), []);
    }

    #[test]
    fn timer_j_keeps_the_answer_for_64_t1() {
        // RFC 3261 §17.2.2: J is 64·T1 over UDP.
        let mut request = server(false);
        handle(&mut request, 1000, respond(200, "200"));
        assert_eq!(run(&mut request, 60_000), [(33_000, Output::Terminated)]);
        assert_eq!(handle(&mut request, 33_001, ServerInput::Retransmission), []);
    }

    #[test]
    fn timer_j_is_nought_over_tcp() {
        let mut request = server(true);
        assert_eq!(handle(&mut request, 0, respond(200, "200")), [send("200"), Output::Terminated]);
        assert!(request.is_final() && request.is_terminated());
    }

    #[test]
    fn a_transport_error_ends_it() {
        // RFC 3261 §17.2.2 and §17.2.4.
        let mut request = server(false);
        handle(&mut request, 0, respond(200, "200"));
        let end = [Output::TransportFailed, Output::Terminated];
        assert_eq!(handle(&mut request, 1, ServerInput::TransportError), end);
        assert_eq!(handle(&mut request, 2, ServerInput::TransportError), []);
    }

    #[test]
    fn a_successor_repeats_what_the_predecessor_may_have_said() {
        let mut bye = NonInviteServer::resume(at(0), Times::default(), false, Some((200, bytes("200"))));
        assert_eq!(drain(&mut bye), [send("200")]);
        assert_eq!(handle(&mut bye, 1, ServerInput::Retransmission), [send("200")]);
    }

    proptest! {
        #[test]
        fn any_course_ends_by_timer(course in any_course(any_server_input()), reliable: bool) {
            let mut request = server(reliable);
            let mut outputs = batter(&mut request, course);
            // Only its owner can end a transaction that it never answered.
            request.handle(at(240_000), respond(500, "500"));
            outputs.extend(drain(&mut request));
            assert_ends(&mut request, outputs);
        }
    }
}

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ladder::*;

    fn client(reliable: bool) -> NonInviteClient {
        NonInviteClient::start(at(0), Times::default(), reliable, bytes("BYE"))
    }

    /// A client that has sent its request.
    fn asked(reliable: bool) -> NonInviteClient {
        let mut request = client(reliable);
        assert_eq!(drain(&mut request), [send("BYE")]);
        request
    }

    fn response(status: u16) -> ClientInput {
        ClientInput::Response { status }
    }

    fn deliver(status: u16) -> Output {
        Output::Deliver { status }
    }

    #[test]
    fn timer_e_doubles_to_t2_and_timer_f_gives_up() {
        // RFC 3261 §17.1.2.2: T1, 2·T1, … up to T2 apart; F at 64·T1.
        let mut request = asked(false);
        let ladder = run(&mut request, 60_000);
        let sends = [500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500];
        assert_eq!(send_times(&ladder), sends);
        let end = [(32_000, Output::TimedOut(Timer::F)), (32_000, Output::Terminated)];
        assert_eq!(ladder[sends.len()..], end);
    }

    #[test]
    fn over_tcp_nothing_is_repeated_and_timer_f_gives_up() {
        let mut request = asked(true);
        let end = [(32_000, Output::TimedOut(Timer::F)), (32_000, Output::Terminated)];
        assert_eq!(run(&mut request, 60_000), end);
    }

    #[test]
    fn after_a_provisional_timer_e_repeats_every_t2_and_timer_f_stays() {
        // RFC 3261 §17.1.2.2, Proceeding: E is reset to T2 when it fires.
        let mut request = asked(false);
        assert_eq!(handle(&mut request, 100, response(100)), [deliver(100)]);
        let ladder = run(&mut request, 60_000);
        assert_eq!(send_times(&ladder), [500, 4500, 8500, 12_500, 16_500, 20_500, 24_500, 28_500]);
        assert_eq!(ladder.last(), Some(&(32_000, Output::Terminated)));
    }

    #[test]
    fn a_final_is_delivered_once_and_timer_k_absorbs_its_copies_for_t4() {
        // RFC 3261 §17.1.2.2: K is T4 over UDP.
        let mut request = asked(false);
        assert_eq!(handle(&mut request, 1000, response(200)), [deliver(200)]);
        assert_eq!(handle(&mut request, 1500, response(200)), []);
        assert_eq!(run(&mut request, 60_000), [(6000, Output::Terminated)]);
    }

    #[test]
    fn timer_k_is_nought_over_tcp() {
        let mut request = asked(true);
        assert_eq!(handle(&mut request, 1000, response(481)), [deliver(481), Output::Terminated]);
    }

    #[test]
    fn a_transport_error_ends_it_unless_the_answer_is_there() {
        // RFC 3261 §17.1.4.
        let end = [Output::TransportFailed, Output::Terminated];
        assert_eq!(handle(&mut asked(false), 1, ClientInput::TransportError), end);
        let mut answered = asked(false);
        handle(&mut answered, 1, response(200));
        assert_eq!(handle(&mut answered, 2, ClientInput::TransportError), []);
    }

    #[test]
    fn a_successor_sends_the_identical_request() {
        let mut bye = NonInviteClient::resume(at(0), Times::default(), false, bytes("BYE"));
        assert_eq!(drain(&mut bye), [send("BYE")]);
        assert_eq!(run(&mut bye, 600), [(500, send("BYE"))]);
    }

    proptest! {
        #[test]
        fn any_course_ends_by_timer(course in any_course(any_client_input()), reliable: bool) {
            let mut request = client(reliable);
            let outputs = batter(&mut request, course);
            assert_ends(&mut request, outputs);
        }
    }
}

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

    /// The same transaction at a successor that knows of a provisional response: the peer has the INVITE, so
    /// nothing is sent, and it repeats its final response until that is acknowledged.
    pub fn proceed(times: Times, reliable: bool, invite: Bytes) -> InviteClient {
        InviteClient {
            state: State::Proceeding,
            times,
            reliable,
            message: Some(invite),
            cancel: false,
            interval: times.first(),
            deadlines: Deadlines::default(),
            outputs: Outputs::new(),
        }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ladder::*;

    fn client(reliable: bool) -> InviteClient {
        InviteClient::start(at(0), Times::default(), reliable, bytes("INVITE"))
    }

    /// A client that has sent its INVITE.
    fn called(reliable: bool) -> InviteClient {
        let mut invite = client(reliable);
        assert_eq!(drain(&mut invite), [send("INVITE")]);
        invite
    }

    fn response(status: u16) -> ClientInput {
        ClientInput::Response { status }
    }

    fn deliver(status: u16) -> Output {
        Output::Deliver { status }
    }

    #[test]
    fn timer_a_doubles_without_a_cap_and_timer_b_gives_up() {
        // RFC 3261 §17.1.1.2: 0, T1, 3·T1, 7·T1, …, then B at 64·T1.
        let mut invite = called(false);
        let ladder = run(&mut invite, 60_000);
        assert_eq!(send_times(&ladder), [500, 1500, 3500, 7500, 15_500, 31_500]);
        let end = [(32_000, Output::TimedOut(Timer::B)), (32_000, Output::Terminated)];
        assert_eq!(ladder[6..], end);
    }

    #[test]
    fn over_tcp_nothing_is_repeated_and_timer_b_gives_up() {
        // RFC 3261 §17.1.1.2: A only over unreliable transports, B over all.
        let mut invite = called(true);
        let end = [(32_000, Output::TimedOut(Timer::B)), (32_000, Output::Terminated)];
        assert_eq!(run(&mut invite, 60_000), end);
    }

    #[test]
    fn a_provisional_stops_timers_a_and_b() {
        // RFC 3261 §17.1.1.2, Proceeding: how long it may ring is the owner's to say.
        let mut invite = called(false);
        assert_eq!(handle(&mut invite, 100, response(100)), [deliver(100)]);
        assert_eq!(handle(&mut invite, 200, response(180)), [deliver(180)]);
        assert_eq!(invite.poll_timeout(), None);
        assert!(invite.invite().is_some());
    }

    #[test]
    fn a_refusal_is_delivered_once_and_acknowledged_only_when_the_owner_says_so() {
        // RFC 3261 §17.1.1.2 would send ACK at once; nothing is acknowledged before it is recorded.
        let mut invite = called(false);
        assert_eq!(handle(&mut invite, 1000, response(486)), [deliver(486)]);
        assert_eq!(handle(&mut invite, 1500, response(486)), []);
        assert_eq!(handle(&mut invite, 1600, ClientInput::Acknowledge(bytes("ACK"))), [send("ACK")]);
        // From now on each copy of the refusal means that the ACK was lost.
        assert_eq!(handle(&mut invite, 2500, response(486)), [send("ACK")]);
        assert_eq!(handle(&mut invite, 2600, response(180)), []);
        assert_eq!(handle(&mut invite, 2700, response(200)), []);
    }

    #[test]
    fn timer_d_absorbs_refusals_for_32_s() {
        // RFC 3261 §17.1.1.2: D at least 32 s over UDP.
        let mut invite = called(false);
        handle(&mut invite, 1000, response(486));
        handle(&mut invite, 1600, ClientInput::Acknowledge(bytes("ACK")));
        assert_eq!(run(&mut invite, 60_000), [(33_000, Output::Terminated)]);
    }

    #[test]
    fn timer_d_is_at_least_32_s_even_with_a_short_t1() {
        let times = Times { t1: Duration::from_millis(10), ..Times::default() };
        let mut invite = InviteClient::start(at(0), times, false, bytes("INVITE"));
        drain(&mut invite);
        handle(&mut invite, 5, response(486));
        assert_eq!(run(&mut invite, 60_000), [(32_005, Output::Terminated)]);
    }

    #[test]
    fn timer_d_is_nought_over_tcp_once_the_ack_is_given() {
        let mut invite = called(true);
        assert_eq!(handle(&mut invite, 1000, response(486)), [deliver(486)]);
        let end = [send("ACK"), Output::Terminated];
        assert_eq!(handle(&mut invite, 9000, ClientInput::Acknowledge(bytes("ACK"))), end);
    }

    #[test]
    fn every_2xx_is_delivered_copies_and_forks_until_timer_m() {
        // RFC 6026 §7.2: Accepted for 64·T1, over every transport.
        for reliable in [false, true] {
            let mut invite = called(reliable);
            assert_eq!(handle(&mut invite, 1000, response(200)), [deliver(200)]);
            assert_eq!(handle(&mut invite, 1500, response(200)), [deliver(200)]);
            assert_eq!(handle(&mut invite, 1600, response(202)), [deliver(202)]);
            // Neither a refusal nor a provisional may follow it, and its ACK is none of this transaction's.
            assert_eq!(handle(&mut invite, 1700, response(486)), []);
            assert_eq!(handle(&mut invite, 1800, response(183)), []);
            assert_eq!(handle(&mut invite, 1900, ClientInput::Acknowledge(bytes("ACK"))), []);
            assert_eq!(run(&mut invite, 60_000), [(33_000, Output::Terminated)]);
        }
    }

    #[test]
    fn a_cancel_waits_for_a_provisional() {
        // RFC 3261 §9.1: CANCEL must not be sent before a provisional response.
        let mut invite = called(false);
        assert_eq!(handle(&mut invite, 100, ClientInput::Cancel), []);
        assert_eq!(run(&mut invite, 600), [(500, send("INVITE"))]);
        assert_eq!(handle(&mut invite, 700, response(100)), [deliver(100), Output::SendCancel]);
        assert_eq!(handle(&mut invite, 800, response(487)), [deliver(487)]);
    }

    #[test]
    fn a_cancel_goes_out_once_while_ringing_and_gives_up_after_64_t1() {
        // RFC 3261 §9.1: without a final response in 64·T1 the INVITE counts as cancelled.
        let mut invite = called(false);
        handle(&mut invite, 100, response(180));
        assert_eq!(handle(&mut invite, 200, ClientInput::Cancel), [Output::SendCancel]);
        assert_eq!(handle(&mut invite, 300, ClientInput::Cancel), []);
        assert_eq!(handle(&mut invite, 400, response(180)), [deliver(180)]);
        let end = [(32_200, Output::TimedOut(Timer::Cancelled)), (32_200, Output::Terminated)];
        assert_eq!(run(&mut invite, 60_000), end);
    }

    #[test]
    fn a_2xx_that_crosses_the_cancel_wins() {
        // RFC 3261 §9.1: CANCEL has no effect on an INVITE that was answered.
        let mut invite = called(false);
        handle(&mut invite, 100, response(180));
        handle(&mut invite, 200, ClientInput::Cancel);
        assert_eq!(handle(&mut invite, 210, response(200)), [deliver(200)]);
        assert_eq!(handle(&mut invite, 220, ClientInput::Cancel), []);
        assert_eq!(run(&mut invite, 60_000), [(32_210, Output::Terminated)]);
    }

    #[test]
    fn a_transport_error_ends_it_while_something_of_ours_is_on_the_way() {
        // RFC 3261 §17.1.4.
        let end = [Output::TransportFailed, Output::Terminated];
        assert_eq!(handle(&mut called(false), 1, ClientInput::TransportError), end);
        let mut refused = called(false);
        handle(&mut refused, 1, response(503));
        assert_eq!(handle(&mut refused, 2, ClientInput::TransportError), end);
        let mut accepted = called(false);
        handle(&mut accepted, 1, response(200));
        assert_eq!(handle(&mut accepted, 2, ClientInput::TransportError), []);
    }

    #[test]
    fn a_successor_that_knows_of_a_ringing_peer_sends_nothing_but_what_it_is_asked_to() {
        let mut ringing = InviteClient::proceed(Times::default(), false, bytes("INVITE"));
        assert_eq!(ringing.poll_output(), None);
        assert_eq!(ringing.poll_timeout(), None);
        ringing.handle(at(5_000), ClientInput::Cancel);
        assert_eq!(ringing.poll_output(), Some(Output::SendCancel));
        let mut answered = InviteClient::proceed(Times::default(), false, bytes("INVITE"));
        answered.handle(at(9_000), ClientInput::Response { status: 200 });
        assert_eq!(answered.poll_output(), Some(Output::Deliver { status: 200 }));
        assert!(answered.is_final());
    }

    #[test]
    fn a_successor_sends_the_identical_invite_and_remembers_the_wish_to_cancel() {
        let mut ringing = InviteClient::resume(at(0), Times::default(), false, bytes("INVITE"), false);
        assert_eq!(drain(&mut ringing), [send("INVITE")]);
        assert_eq!(handle(&mut ringing, 10, response(180)), [deliver(180)]);
        let mut cancelled = InviteClient::resume(at(0), Times::default(), false, bytes("INVITE"), true);
        assert_eq!(drain(&mut cancelled), [send("INVITE")]);
        assert_eq!(handle(&mut cancelled, 10, response(180)), [deliver(180), Output::SendCancel]);
    }

    proptest! {
        #[test]
        fn any_course_ends_by_timer(course in any_course(any_client_input()), reliable: bool) {
            let mut invite = client(reliable);
            let mut outputs = batter(&mut invite, course);
            // An INVITE that rings is ended by its answer; how long it rings is the owner's to say.
            invite.handle(at(240_000), response(487));
            outputs.extend(drain(&mut invite));
            assert_ends(&mut invite, outputs);
        }

        #[test]
        fn cancel_is_asked_for_at_most_once_and_never_before_a_response(course in any_course(any_client_input())) {
            let outputs = batter(&mut client(false), course);
            let cancel = outputs.iter().position(|o| *o == Output::SendCancel);
            let heard = outputs.iter().position(|o| matches!(o, Output::Deliver { .. }));
            prop_assert!(cancel.is_none() || cancel > heard);
            prop_assert!(outputs.iter().filter(|o| **o == Output::SendCancel).count() <= 1);
        }
    }
}

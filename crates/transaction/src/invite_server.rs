//! INVITE server transaction (RFC 3261 §17.2.1 as amended by RFC 6026 §7.1).

use std::time::Duration;

use bytes::Bytes;
use machine::museum::planted;
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
                if !planted("refused-call-never-forgotten") {
                    self.deadlines.set(Timer::H, now + self.times.give_up());
                }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ladder::*;

    fn server(reliable: bool) -> InviteServer {
        InviteServer::new(Times::default(), reliable)
    }

    fn respond(status: u16, text: &'static str) -> ServerInput {
        ServerInput::Respond { status, message: bytes(text) }
    }

    #[test]
    fn a_new_invite_gets_no_automatic_100() {
        // RFC 3261 §17.2.1 wants 100 after 200 ms; ours is sent by the owner, once the call is recorded.
        let mut invite = server(false);
        assert_eq!(invite.poll_timeout(), None);
        assert_eq!(handle(&mut invite, 500, ServerInput::Retransmission), []);
        assert_eq!(handle(&mut invite, 501, respond(100, "100")), [send("100")]);
    }

    #[test]
    fn a_retransmitted_invite_gets_the_last_provisional() {
        // RFC 3261 §17.2.1.
        let mut invite = server(false);
        handle(&mut invite, 0, respond(100, "100"));
        handle(&mut invite, 10, respond(180, "180"));
        assert_eq!(handle(&mut invite, 500, ServerInput::Retransmission), [send("180")]);
        assert_eq!(handle(&mut invite, 1500, ServerInput::Retransmission), [send("180")]);
        assert!(!invite.is_final());
    }

    #[test]
    fn timer_g_repeats_a_refusal_from_t1_doubling_to_t2_and_timer_h_gives_up() {
        // RFC 3261 §17.2.1: G at T1, min(2·T1, T2), …; H at 64·T1.
        let mut invite = server(false);
        assert_eq!(handle(&mut invite, 0, respond(486, "486")), [send("486")]);
        let ladder = run(&mut invite, 60_000);
        let sends = [500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500];
        assert_eq!(send_times(&ladder), sends);
        let end = [(32_000, Output::TimedOut(Timer::H)), (32_000, Output::Terminated)];
        assert_eq!(ladder[sends.len()..], end);
        assert!(invite.is_terminated());
    }

    #[test]
    fn timer_g_is_not_used_over_tcp_but_timer_h_is() {
        // RFC 3261 §17.2.1: G only over unreliable transports, H over all.
        let mut invite = server(true);
        handle(&mut invite, 0, respond(486, "486"));
        let ladder = run(&mut invite, 60_000);
        assert_eq!(ladder, [(32_000, Output::TimedOut(Timer::H)), (32_000, Output::Terminated)]);
    }

    #[test]
    fn an_ack_ends_retransmission_and_timer_i_lingers_for_t4() {
        // RFC 3261 §17.2.1: Confirmed absorbs ACKs for T4.
        let mut invite = server(false);
        handle(&mut invite, 0, respond(486, "486"));
        assert_eq!(handle(&mut invite, 100, ServerInput::Ack), [Output::Acknowledged]);
        assert_eq!(handle(&mut invite, 200, ServerInput::Ack), []);
        assert_eq!(handle(&mut invite, 300, ServerInput::Retransmission), []);
        assert_eq!(run(&mut invite, 60_000), [(5100, Output::Terminated)]);
    }

    #[test]
    fn timer_i_is_nought_over_tcp() {
        let mut invite = server(true);
        handle(&mut invite, 0, respond(486, "486"));
        assert_eq!(handle(&mut invite, 100, ServerInput::Ack), [Output::Acknowledged, Output::Terminated]);
    }

    #[test]
    fn a_retransmitted_invite_gets_the_refusal_at_once() {
        // RFC 3261 §17.2.1, Completed.
        let mut invite = server(true);
        handle(&mut invite, 0, respond(404, "404"));
        assert_eq!(handle(&mut invite, 10, ServerInput::Retransmission), [send("404")]);
    }

    #[test]
    fn after_a_2xx_invites_are_absorbed_acks_reported_and_timer_l_ends_it() {
        // RFC 6026 §7.1: Accepted for 64·T1, over every transport.
        for reliable in [false, true] {
            let mut invite = server(reliable);
            assert_eq!(handle(&mut invite, 0, respond(200, "200")), [send("200")]);
            assert_eq!(handle(&mut invite, 400, ServerInput::Retransmission), []);
            assert_eq!(handle(&mut invite, 500, respond(200, "200")), [send("200")]);
            assert_eq!(handle(&mut invite, 600, respond(486, "486")), []);
            assert_eq!(handle(&mut invite, 700, ServerInput::Ack), [Output::Acknowledged]);
            assert_eq!(handle(&mut invite, 800, ServerInput::Ack), [Output::Acknowledged]);
            assert_eq!(run(&mut invite, 60_000), [(32_000, Output::Terminated)]);
        }
    }

    #[test]
    fn a_transport_error_is_told_and_the_transaction_goes_on() {
        // RFC 6026 §7.1, the amended figure 7.
        let mut invite = server(false);
        assert_eq!(handle(&mut invite, 0, ServerInput::TransportError), [Output::TransportFailed]);
        handle(&mut invite, 1, respond(500, "500"));
        assert_eq!(handle(&mut invite, 2, ServerInput::TransportError), [Output::TransportFailed]);
        assert_eq!(handle(&mut invite, 3, ServerInput::Retransmission), [send("500")]);
    }

    #[test]
    fn a_successor_repeats_what_the_predecessor_may_have_said() {
        let mut fresh = InviteServer::resume(at(0), Times::default(), false, None);
        assert_eq!(drain(&mut fresh), []);
        let mut ringing = InviteServer::resume(at(0), Times::default(), false, Some((180, bytes("180"))));
        assert_eq!(drain(&mut ringing), [send("180")]);
        assert_eq!(handle(&mut ringing, 20, ServerInput::Retransmission), [send("180")]);
        let mut refused = InviteServer::resume(at(0), Times::default(), false, Some((486, bytes("486"))));
        assert_eq!(drain(&mut refused), [send("486")]);
        assert_eq!(run(&mut refused, 600), [(500, send("486"))]);
    }

    #[test]
    fn a_late_shell_repeats_once_not_in_bursts() {
        let mut invite = server(false);
        handle(&mut invite, 0, respond(486, "486"));
        invite.handle_timeout(at(20_000));
        assert_eq!(drain(&mut invite), [send("486")]);
    }

    proptest! {
        #[test]
        fn any_course_ends_by_timer(course in any_course(any_server_input()), reliable: bool) {
            let mut invite = server(reliable);
            let mut outputs = batter(&mut invite, course);
            // Only its owner can end a transaction that it never answered.
            invite.handle(at(240_000), respond(500, "500"));
            outputs.extend(drain(&mut invite));
            assert_ends(&mut invite, outputs);
        }
    }
}

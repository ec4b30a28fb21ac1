//! One callee: rings, answers or refuses, hangs up or waits for BYE (RFC 3261 §13.3, §9.2, §15), and checks what
//! the far node sends.

use std::sync::Arc;

use machine::{Instant, Machine, Timers};

use crate::caller::{Input, LINGER};
use crate::local::{CallRef, Event, Flow, Local, Output};
use crate::message::{Message, Method, Start};
use crate::outcome::Outcome;
use crate::pending::{Pending, earliest};
use crate::plan::CalleePlan;
use crate::sdp::Audio;
use crate::session::{Dialog, Happened, Session};
use crate::violation::Violation;
use crate::writer::respond;

/// The machine of one callee.
#[derive(Debug)]
pub struct Callee {
    session: Session,
    plan: CalleePlan,
    state: State,
    timers: Timers<Timer>,
    invite: Box<Message>,
    invite_flow: Flow,
    /// The last response to the INVITE, for its retransmissions.
    said: Option<bytes::Bytes>,
    cancelled: bool,
    /// What the caller offered; media starts with the ACK.
    offer: Option<Audio>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No final answer yet.
    Ringing,
    /// 200 is sent, its ACK has not come.
    Answered,
    /// A refusal is sent, its ACK has not come.
    Refused,
    /// Acknowledged.
    Up,
    /// Our BYE is unanswered.
    Ending,
    /// The outcome is told; retransmissions are still answered.
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timer {
    Ring,
    Answer,
    HangUp,
    Linger,
}

impl Callee {
    /// A callee for this INVITE, which came over `flow`; it hears media at `audio`.
    pub fn new(
        local: Arc<Local>,
        call: CallRef,
        plan: CalleePlan,
        audio: Audio,
        invite: Box<Message>,
        flow: Flow,
    ) -> Callee {
        let tag = local.tag(call);
        let user = match &invite.start {
            Start::Request(_, uri) => user_of(uri),
            Start::Response(_) => "callee",
        };
        let dialog = Dialog {
            call_id: invite.call_id.clone(),
            local: format!("{};tag={tag}", invite.to),
            local_tag: tag,
            remote: invite.from.clone(),
            remote_tag: invite.from_tag.clone(),
            target: invite.contact.clone().unwrap_or_default(),
            routes: invite.record_routes.clone(),
            contact: local.contact(user),
            cseq: 0,
            cseq_remote: Some(invite.cseq.0),
            flow,
        };
        let mut session = Session::new(local, call, dialog, audio);
        (session.challenges_bye, session.challenges_reinvite) =
            (plan.challenges_bye, plan.challenges_reinvite);
        Callee {
            session,
            plan,
            state: State::Ringing,
            timers: Timers::default(),
            invite,
            invite_flow: flow,
            said: None,
            cancelled: false,
            offer: None,
        }
    }

    /// Whether the outcome is told and no retransmission is awaited any more.
    pub fn is_gone(&self) -> bool {
        self.state == State::Ended && self.timers.is_empty()
    }

    /// Whether it is answered, acknowledged and not about to end.
    pub fn talks(&self) -> bool {
        self.state == State::Up
    }

    /// The number, or name, that was called.
    pub fn called(&self) -> &str {
        match &self.invite.start {
            Start::Request(_, uri) => user_of(uri),
            Start::Response(_) => "",
        }
    }

    /// What To says.
    pub fn to(&self) -> &str {
        &self.invite.to
    }

    /// The branch and Call-ID by which retransmissions of the INVITE and its CANCEL are found.
    pub(crate) fn key(&self) -> (&str, &str) {
        (&self.invite.branch, &self.invite.call_id)
    }

    fn start(&mut self, now: Instant) {
        self.session.tell(Event::Offered);
        if let Err(violation) = self.invite.check(self.session.local.transport.is_stream()) {
            self.session.broke(violation);
        }
        if self.invite.contact.is_none() {
            self.session.broke(Violation::Missing { header: "Contact" });
        }
        self.offer = self.session.read_audio(&self.invite);
        self.invite.body = Vec::new();
        if self.plan.ring_after >= QUICK {
            // RFC 3261 §8.2.6.1: a 100 where the answer takes longer than 200 ms.
            self.say(100, None);
        }
        self.timers.set(Timer::Ring, now + self.plan.ring_after);
        self.handle_timeout(now);
    }

    /// Answers the INVITE.
    fn say(&mut self, status: u16, sdp: Option<&[u8]>) {
        let moved = self.moved().filter(|_| status == MOVED);
        let ours = (101..300).contains(&status).then_some(self.session.dialog.contact.as_str());
        let contact = moved.as_deref().or(ours);
        let bytes = respond(&self.invite, status, &self.session.dialog.local_tag, contact, sdp);
        self.said = Some(bytes.clone());
        self.session.outputs.push_back(Output::Send { flow: self.invite_flow, bytes });
    }

    fn answer(&mut self, now: Instant) {
        let sdp = match &self.offer {
            Some(offer) => match offer.answer(self.session.audio.address) {
                Some(answer) => {
                    self.session.audio = answer;
                    self.session.description()
                }
                None => {
                    self.session.broke(Violation::NoCodec);
                    return self.refuse(now, 488);
                }
            },
            None => {
                self.session.offered_late = true;
                self.session.description()
            }
        };
        self.say(200, Some(&sdp));
        self.state = State::Answered;
        self.await_ack(now, 200);
    }

    fn refuse(&mut self, now: Instant, status: u16) {
        self.timers.clear_all();
        self.say(status, None);
        self.session.tell(Event::Refused);
        self.state = State::Refused;
        self.await_ack(now, status);
    }

    /// The Contacts to which the caller is sent, if it is. One that has taken many turns is welcome: it must end somewhere.
    fn moved(&self) -> Option<String> {
        let Start::Request(_, uri) = &self.invite.start else { return None };
        let turn = uri.split_once(";turn=").map_or(0, |(_, turn)| turn.parse().unwrap_or(0));
        let moved = self.plan.redirect.as_ref().filter(|_| turn < TURNS_MAX)?;
        let turn = (turn + 1).to_string();
        Some(moved.contacts.replace("{user}", user_of(uri)).replace("{turn}", &turn))
    }

    fn await_ack(&mut self, now: Instant, status: u16) {
        let Some(bytes) = self.said.clone() else { return };
        let (local, cseq, flow) = (&self.session.local, self.invite.cseq.0, self.invite_flow);
        self.session.answer = Some(Pending::response(now, local, status, cseq, bytes, flow));
    }

    fn on_message(&mut self, now: Instant, message: &Message, flow: Flow) {
        let Start::Request(method, _) = &message.start else {
            let happened = self.session.on_response(message);
            return self.on_session(now, happened);
        };
        if *method == Method::Cancel {
            return self.on_cancel(now, message, flow);
        }
        if *method == Method::Invite && message.branch == self.invite.branch {
            if let Some(bytes) = self.said.clone() {
                self.session.outputs.push_back(Output::Send { flow, bytes });
            }
            return;
        }
        if *method == Method::Ack && self.state == State::Refused {
            return self.on_refusal_ack(now, message);
        }
        let happened = self.session.on_request(now, message, flow);
        self.on_session(now, happened);
    }

    fn on_cancel(&mut self, now: Instant, message: &Message, flow: Flow) {
        if self.session.repeat(message, flow) {
            return;
        }
        if message.cseq.0 != self.invite.cseq.0 {
            self.session.broke(Violation::CSeqMismatch);
        }
        self.session.respond(message, flow, 200, None);
        // RFC 3261 §9.2: no effect once a final response is sent.
        if self.state != State::Ringing {
            return;
        }
        self.cancelled = true;
        self.timers.clear_all();
        if self.plan.answers_late {
            self.answer(now);
        } else {
            self.refuse(now, 487);
        }
    }

    /// The ACK of a refusal is part of the INVITE's transaction (§17.2.1): same branch.
    fn on_refusal_ack(&mut self, now: Instant, message: &Message) {
        if message.branch != self.invite.branch {
            self.session.broke(Violation::Branch);
        }
        if message.cseq.0 != self.invite.cseq.0 {
            self.session.broke(Violation::CSeqMismatch);
        }
        let outcome = if self.cancelled { Outcome::Cancelled } else { Outcome::Declined };
        self.end(now, outcome);
    }

    fn on_session(&mut self, now: Instant, happened: Happened) {
        match (self.state, happened) {
            (State::Ended, _) | (_, Happened::Nothing) => {}
            (State::Answered, Happened::Acknowledged) => {
                self.state = State::Up;
                self.session.tell(Event::Answered);
                if let Some(offer) = self.offer.take() {
                    self.session.follow_media(&offer);
                }
                if let Some(after) = self.plan.hang_up_after {
                    self.timers.set(Timer::HangUp, now + after);
                }
            }
            // The ACK of a re-INVITE's answer.
            (_, Happened::Acknowledged) => {}
            (State::Answered, Happened::ByeReceived) if !self.cancelled => {
                // RFC 3261 §13.2.2.4: every 2xx is acknowledged, BYE or not.
                self.end(now, Outcome::TimedOut("ACK before BYE"));
            }
            (State::Answered | State::Up, Happened::ByeReceived) => {
                self.end(now, if self.cancelled { Outcome::Cancelled } else { Outcome::Completed });
            }
            // Glare: our own BYE still waits for its answer.
            (State::Ending, Happened::ByeReceived) => {}
            (State::Ringing | State::Refused, Happened::ByeReceived) => {
                self.session.broke(Violation::UnexpectedRequest { method: "BYE" });
            }
            (_, Happened::ByeAnswered(status)) => {
                // 481: the far side's BYE crossed ours and ended the dialog first.
                if !(200..300).contains(&status) && status != 481 {
                    self.session.broke(Violation::UnexpectedResponse { status, method: "BYE" });
                }
                self.end(now, Outcome::Completed);
            }
            (_, Happened::Unanswered(_)) => self.end(now, Outcome::TimedOut("answer to BYE")),
            (State::Refused, Happened::Unacknowledged) => {
                self.end(now, Outcome::TimedOut("ACK of a refusal"));
            }
            (_, Happened::Unacknowledged) => self.end(now, Outcome::TimedOut("ACK")),
        }
    }

    fn on_timer(&mut self, now: Instant, timer: Timer) {
        match (timer, self.state) {
            (Timer::Ring, State::Ringing) => {
                // A redirect server rings nowhere; one that does is no redirect server.
                let at_once = self.plan.redirect.as_ref().is_some_and(|moved| !moved.rings);
                if at_once && self.moved().is_some() {
                    return self.refuse(now, MOVED);
                }
                self.say(180, None);
                self.timers.set(Timer::Answer, now + self.plan.answer_after);
            }
            (Timer::Answer, State::Ringing) => match self.plan.refuse {
                _ if self.moved().is_some() => self.refuse(now, MOVED),
                Some(status) => self.refuse(now, status),
                None => self.answer(now),
            },
            (Timer::HangUp, State::Up) => {
                let call = self.session.call;
                self.session.outputs.push_back(Output::StopMedia { call, ended: false });
                self.state = State::Ending;
                self.session.send_request(now, Method::Bye);
            }
            // Set in a state that is over.
            (Timer::Ring | Timer::Answer | Timer::HangUp | Timer::Linger, _) => {}
        }
    }

    fn end(&mut self, now: Instant, outcome: Outcome) {
        if self.state == State::Ended {
            return;
        }
        self.state = State::Ended;
        self.timers.clear_all();
        self.timers.set(Timer::Linger, now + LINGER);
        self.session.close();
        let outcome = self.session.violation.take().map_or(outcome, Outcome::Broken);
        self.session.tell(Event::Ended(outcome));
    }
}

impl Machine for Callee {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Start => self.start(now),
            Input::Received { message, flow } => self.on_message(now, &message, flow),
            Input::Probe if self.state == State::Up => self.session.probe(now),
            Input::Probe => {}
            Input::HangUp => self.on_timer(now, Timer::HangUp),
            Input::Abandon => self.end(now, Outcome::TimedOut("end of the call before the run's")),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        let happened = self.session.tick(now);
        self.on_session(now, happened);
        while let Some(timer) = self.timers.expired(now) {
            self.on_timer(now, timer);
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.session.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        earliest([self.session.next(), self.timers.next()])
    }
}

/// The user part of a SIP URI, without its parameters (RFC 3261 §19.1.1).
fn user_of(uri: &str) -> &str {
    let user = uri.split_once(':').and_then(|(_, rest)| rest.split_once('@'));
    user.map_or("callee", |(user, _)| user.split(';').next().unwrap_or("callee"))
}

/// Moved Temporarily (RFC 3261 §21.3.3).
const MOVED: u16 = 302;
/// A caller that has taken so many turns is sent on no more.
const TURNS_MAX: u32 = 6;
/// An answer within this needs no 100 (RFC 3261 §17.2.1).
const QUICK: std::time::Duration = std::time::Duration::from_millis(200);

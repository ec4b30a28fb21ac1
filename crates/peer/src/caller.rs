//! One caller: places a call, holds it, ends it (RFC 3261 §13.2, §9.1, §15), and checks every answer.

use std::sync::Arc;
use std::time::Duration;

use machine::{Instant, Machine, Timers};

use crate::local::{CallRef, Event, Flow, Local, Output};
use crate::message::{Message, Method};
use crate::outcome::Outcome;
use crate::pending::{Pending, earliest, tick};
use crate::plan::CallerPlan;
use crate::sdp::{Audio, Direction};
use crate::session::{Dialog, Happened, Session};
use crate::violation::Violation;
use crate::writer::Request;

/// What happens to a caller or a callee.
#[derive(Debug)]
pub enum Input {
    /// The call begins.
    Start,
    /// A message of the call came.
    Received {
        /// The message.
        message: Box<Message>,
        /// Where it came from.
        flow: Flow,
    },
    /// Ask for what it has anew, by a re-INVITE, if it talks.
    Probe,
    /// Hang up, or give up, now.
    HangUp,
    /// The run is over: end at once, whatever the plan says.
    Abandon,
}

/// Who calls whom.
#[derive(Clone, Debug)]
pub struct Destination {
    /// Where the INVITE goes.
    pub flow: Flow,
    /// The Request-URI.
    pub uri: String,
    /// The user part of From and Contact.
    pub user: String,
}

/// The machine of one caller.
#[derive(Debug)]
pub struct Caller {
    session: Session,
    plan: CallerPlan,
    state: State,
    timers: Timers<Timer>,
    /// The INVITE until its final response.
    invite: Option<Pending>,
    /// Our CANCEL until its answer.
    cancel: Option<Pending>,
    destination: Destination,
    scheduled: Instant,
    progressed: bool,
    acks_lost: u32,
    /// The INVITE's branch and CSeq, for ACKs of refusals that come again.
    invite_branch: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No final answer yet.
    Calling,
    /// CANCEL is sent, or will be with the first provisional answer.
    Cancelling,
    /// Answered.
    Up,
    /// Our BYE is unanswered.
    Ending,
    /// The outcome is told; retransmissions are still answered.
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timer {
    Patience,
    Cancel,
    Hold,
    Reinvite,
    Linger,
}

impl Caller {
    /// A caller that is due at `scheduled` and hears media at `audio`.
    pub fn new(
        local: Arc<Local>,
        call: CallRef,
        destination: Destination,
        plan: CallerPlan,
        audio: Audio,
        scheduled: Instant,
    ) -> Caller {
        let tag = local.tag(call);
        let dialog = Dialog {
            call_id: format!("{tag}@{}", local.address.ip()),
            local: format!("<sip:{}@{}>;tag={tag}", destination.user, local.address),
            local_tag: tag,
            remote: format!("<{}>", destination.uri),
            remote_tag: String::new(),
            target: destination.uri.clone(),
            routes: Vec::new(),
            contact: local.contact(&destination.user),
            cseq: 1,
            cseq_remote: None,
            flow: destination.flow,
        };
        Caller {
            session: Session::new(local, call, dialog, audio),
            acks_lost: plan.acks_lost,
            plan,
            state: State::Calling,
            timers: Timers::default(),
            invite: None,
            cancel: None,
            destination,
            scheduled,
            progressed: false,
            invite_branch: String::new(),
        }
    }

    /// Whether the outcome is told and no retransmission is awaited any more.
    pub fn is_gone(&self) -> bool {
        self.state == State::Ended && self.timers.is_empty()
    }

    /// Whether it is answered and not about to end.
    pub fn talks(&self) -> bool {
        self.state == State::Up
    }

    fn start(&mut self, now: Instant) {
        let branch = self.session.next_branch();
        let sdp = self.session.description();
        let dialog = &self.session.dialog;
        let bytes = Request {
            method: Method::Invite,
            uri: &self.destination.uri,
            via: &self.session.local.via,
            branch: &branch,
            routes: &[],
            record_routes: &self.session.local.record_routes,
            from: &dialog.local,
            to: &dialog.remote,
            call_id: &dialog.call_id,
            cseq: 1,
            contact: Some(&dialog.contact),
            sdp: Some(&sdp),
        }
        .write();
        self.invite_branch.clone_from(&branch);
        let flow = self.destination.flow;
        let pending = Pending::request(now, &self.session.local, Method::Invite, 1, branch, bytes, flow);
        self.session.outputs.push_back(pending.send());
        self.invite = Some(pending);
        self.timers.set(Timer::Patience, now + self.plan.patience);
    }

    fn on_message(&mut self, now: Instant, message: &Message, flow: Flow) {
        match message.status() {
            None => {
                let happened = self.session.on_request(now, message, flow);
                self.on_session(now, happened);
            }
            Some(status) if message.branch == self.invite_branch => match message.cseq.1 {
                Method::Cancel => self.on_cancel_response(message, status),
                _ => self.on_invite_response(now, message, status, flow),
            },
            Some(_) => {
                let happened = self.session.on_response(message);
                self.on_session(now, happened);
            }
        }
    }

    fn on_invite_response(&mut self, now: Instant, message: &Message, status: u16, flow: Flow) {
        let Some(invite) = &mut self.invite else { return self.on_repeated_final(message, status) };
        if status < 200 {
            invite.provisional();
        }
        if let Some(invite) = &self.invite
            && let Err(violation) = self.session.check_response(message, invite)
        {
            self.session.broke(violation);
        }
        match status {
            0..=199 => self.on_provisional(now, message, status),
            200..=299 => {
                self.invite = None;
                self.on_answer(now, message, flow);
            }
            _ => {
                self.invite = None;
                self.refused(message);
                match self.state {
                    // Any final answer settles a CANCEL: 487, or one that crossed it.
                    State::Cancelling if self.plan.cancel_after.is_some() => {
                        self.end(now, Outcome::Cancelled);
                    }
                    State::Cancelling => self.end(now, Outcome::TimedOut("answer")),
                    _ => self.end(now, Outcome::Refused(status)),
                }
            }
        }
    }

    fn on_provisional(&mut self, now: Instant, message: &Message, status: u16) {
        if status > 100 {
            // RFC 3261 §12.1.1: a provisional response that makes a dialog carries Contact.
            if message.contact.is_none() {
                self.session.broke(Violation::Missing { header: "Contact" });
            }
            self.progress(now);
            if let (Some(after), State::Calling) = (self.plan.cancel_after, self.state)
                && self.timers.get(Timer::Cancel).is_none()
            {
                self.timers.set(Timer::Cancel, now + after);
            }
        }
        if self.state == State::Cancelling && self.cancel.is_none() {
            self.send_cancel(now);
        }
    }

    fn on_answer(&mut self, now: Instant, message: &Message, flow: Flow) {
        self.progress(now);
        let Session { dialog, local, .. } = &mut self.session;
        dialog.remote.clone_from(&message.to);
        dialog.remote_tag.clone_from(&message.to_tag);
        dialog.flow = flow;
        // RFC 3261 §12.1.2: the caller's route set is the Record-Route in reverse. Those before us take their own away.
        let ours = &local.record_routes;
        let beyond = message.record_routes.iter().rev().filter(|route| !ours.contains(route));
        dialog.routes = beyond.cloned().collect();
        match &message.contact {
            Some(target) => dialog.target.clone_from(target),
            None => self.session.broke(Violation::Missing { header: "Contact" }),
        }
        self.send_ack();
        self.timers.clear(Timer::Patience);
        self.timers.clear(Timer::Cancel);
        if self.state == State::Cancelling {
            // The answer crossed our CANCEL: take it and hang up (§9.1, §15).
            self.hang_up(now);
            return;
        }
        match self.session.read_audio(message) {
            Some(theirs) if theirs.has_codec() => self.session.follow_media(&theirs),
            Some(_) => self.session.broke(Violation::NoCodec),
            None => self.session.broke(Violation::NoSdp),
        }
        self.state = State::Up;
        self.session.tell(Event::Answered);
        let grace = if self.plan.waits_for_bye { BYE_GRACE } else { Duration::ZERO };
        self.timers.set(Timer::Hold, now + self.plan.hold + grace);
        if let Some(after) = self.plan.reinvite_after {
            self.timers.set(Timer::Reinvite, now + after);
        }
    }

    /// A final response that came again: its ACK was lost.
    fn on_repeated_final(&mut self, message: &Message, status: u16) {
        if status >= 300 {
            self.refused(message);
        } else if status >= 200 {
            if message.to_tag != self.session.dialog.remote_tag {
                self.session.broke(Violation::SecondAnswer);
            }
            self.send_ack();
        }
    }

    fn send_ack(&mut self) {
        let lost = self.acks_lost > 0;
        self.acks_lost = self.acks_lost.saturating_sub(1);
        self.session.acknowledge(1, lost);
    }

    fn refused(&mut self, message: &Message) {
        let (uri, branch) = (&self.destination.uri, &self.invite_branch);
        self.session.acknowledge_refusal(uri, &message.to, branch, 1, self.destination.flow, false);
    }

    fn send_cancel(&mut self, now: Instant) {
        let dialog = &self.session.dialog;
        let bytes = Request {
            method: Method::Cancel,
            uri: &self.destination.uri,
            via: &self.session.local.via,
            branch: &self.invite_branch,
            routes: &[],
            record_routes: &[],
            from: &dialog.local,
            to: &dialog.remote,
            call_id: &dialog.call_id,
            cseq: 1,
            contact: None,
            sdp: None,
        }
        .write();
        let branch = self.invite_branch.clone();
        let flow = self.destination.flow;
        let pending = Pending::request(now, &self.session.local, Method::Cancel, 1, branch, bytes, flow);
        self.session.outputs.push_back(pending.send());
        self.cancel = Some(pending);
    }

    fn on_cancel_response(&mut self, message: &Message, status: u16) {
        let Some(cancel) = self.cancel.take_if(|_| status >= 200) else { return };
        if let Err(violation) = self.session.check_response(message, &cancel) {
            self.session.broke(violation);
        }
        // 481 where the final answer was already on its way (§9.2).
        if status != 200 && status != 481 {
            self.session.broke(Violation::UnexpectedResponse { status, method: "CANCEL" });
        }
    }

    fn hang_up(&mut self, now: Instant) {
        self.session.outputs.push_back(Output::StopMedia { call: self.session.call, ended: false });
        if self.state != State::Cancelling {
            self.state = State::Ending;
        }
        self.timers.clear(Timer::Reinvite);
        self.session.send_request(now, Method::Bye);
    }

    /// Ends the call before its plan would: a call that rings counts as cancelled.
    fn hang_up_now(&mut self, now: Instant) {
        match self.state {
            State::Up => self.hang_up(now),
            State::Calling => {
                self.plan.cancel_after.get_or_insert_default();
                self.on_timer(now, Timer::Cancel);
            }
            State::Cancelling | State::Ending | State::Ended => {}
        }
    }

    fn on_session(&mut self, now: Instant, happened: Happened) {
        match (self.state, happened) {
            (State::Ended, _) | (_, Happened::Nothing | Happened::Acknowledged) => {}
            (State::Up, Happened::ByeReceived) if self.plan.waits_for_bye || self.plan.allows_bye => {
                self.end(now, Outcome::Completed);
            }
            (State::Up, Happened::ByeReceived) => self.end(now, Outcome::HungUp),
            // Glare: our own BYE still waits for its answer.
            (State::Ending | State::Cancelling, Happened::ByeReceived) => {}
            (State::Calling, Happened::ByeReceived) => {
                self.session.broke(Violation::UnexpectedRequest { method: "BYE" });
            }
            (state, Happened::ByeAnswered(status)) => {
                // 481 is right after glare: the far side's BYE ended the dialog first.
                let expected = (200..300).contains(&status) || (status == 481 && self.plan.allows_bye);
                if !expected {
                    self.session.broke(Violation::UnexpectedResponse { status, method: "BYE" });
                }
                let cancelled = state == State::Cancelling;
                self.end(now, if cancelled { Outcome::Cancelled } else { Outcome::Completed });
            }
            (_, Happened::Unanswered(Method::Bye)) => self.end(now, Outcome::TimedOut("answer to BYE")),
            (_, Happened::Unanswered(_)) => self.end(now, Outcome::TimedOut("answer to re-INVITE")),
            (_, Happened::Unacknowledged) => self.end(now, Outcome::TimedOut("ACK")),
        }
    }

    fn on_timer(&mut self, now: Instant, timer: Timer) {
        match (timer, self.state) {
            (Timer::Cancel | Timer::Patience, State::Calling) => {
                if timer == Timer::Patience {
                    self.plan.cancel_after = None;
                }
                self.state = State::Cancelling;
                self.timers.set(Timer::Patience, now + FINAL_GRACE);
                // RFC 3261 §9.1: no CANCEL before a provisional response.
                if self.progressed || self.invite.as_ref().is_some_and(|invite| invite.next().is_none()) {
                    self.send_cancel(now);
                }
            }
            (Timer::Patience, State::Cancelling) => self.end(now, Outcome::TimedOut("final after CANCEL")),
            (Timer::Hold, State::Up) if self.plan.waits_for_bye => self.end(now, Outcome::TimedOut("BYE")),
            (Timer::Hold, State::Up) => self.hang_up(now),
            (Timer::Reinvite, State::Up) => {
                if self.plan.holds {
                    self.session.audio.direction = Direction::SendOnly;
                }
                self.session.send_request(now, Method::Invite);
            }
            // Set in a state that is over.
            (Timer::Cancel | Timer::Patience | Timer::Hold | Timer::Reinvite | Timer::Linger, _) => {}
        }
    }

    fn progress(&mut self, now: Instant) {
        if !std::mem::replace(&mut self.progressed, true) {
            self.session.tell(Event::Progress(now.since(self.scheduled)));
        }
    }

    fn end(&mut self, now: Instant, outcome: Outcome) {
        if self.state == State::Ended {
            return;
        }
        self.state = State::Ended;
        self.invite = None;
        self.cancel = None;
        self.timers.clear_all();
        self.timers.set(Timer::Linger, now + LINGER);
        self.session.close();
        let outcome = self.session.violation.take().map_or(outcome, Outcome::Broken);
        self.session.tell(Event::Ended(outcome));
    }
}

impl Machine for Caller {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Start => self.start(now),
            Input::Received { message, flow } => self.on_message(now, &message, flow),
            Input::Probe if self.state == State::Up => self.session.probe(now),
            Input::Probe => {}
            Input::HangUp => self.hang_up_now(now),
            Input::Abandon => self.end(now, Outcome::TimedOut("end of the call before the run's")),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        let call = self.session.call;
        if tick(&mut self.invite, now, call, &mut self.session.outputs) {
            self.end(now, Outcome::TimedOut("answer to INVITE"));
        }
        if tick(&mut self.cancel, now, call, &mut self.session.outputs) {
            self.end(now, Outcome::TimedOut("answer to CANCEL"));
        }
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
        let next = |pending: &Option<Pending>| pending.as_ref().and_then(Pending::next);
        earliest([next(&self.invite), next(&self.cancel), self.session.next(), self.timers.next()])
    }
}

/// How long a finished call still answers retransmissions: T4 (RFC 3261 §17.1.2.2).
pub(crate) const LINGER: Duration = Duration::from_secs(5);
/// How long after the planned end the far side's BYE may come.
const BYE_GRACE: Duration = Duration::from_secs(10);
/// How long after CANCEL the INVITE's final answer may come (RFC 3261 §9.1: 64·T1).
const FINAL_GRACE: Duration = Duration::from_secs(32);

//! From the INVITE to its final answer: the caller's transaction and the attempts to reach a callee.

use std::sync::Arc;

use bytes::Bytes;
use dialog::{Dialog, Forks};
use machine::museum::planted;
use machine::{Instant, Machine, WallTime};
use sip::OwnedMessage;
use smallvec::SmallVec;
use transaction::{Answer2xx, ClientInput, InviteClient, InviteServer, NonInviteClient, ServerInput};
use trunk::{Hop, Target};

use crate::admission::settings;
use crate::call::{Call, CallTimer, Stage, Waiting};
use crate::cdr::HangupBy;
use crate::ending::Ending;
use crate::fading::{Fading, refusal_ack};
use crate::hunt::Hunt;
use crate::io::{Event, Output};
use crate::record::{Admit, Attempt, AttemptEnd, CallCommand, Challenged, Change, Flow, Limited, Outcome};
use crate::reject::{self, Answer};
use crate::route::Branch;

/// What is needed only until the call is answered and its ACK came; dropped then.
#[derive(Debug)]
pub(crate) struct Setup {
    /// The caller's INVITE.
    pub invite: OwnedMessage,
    /// Where it came from.
    pub flow: Flow,
    /// Its transaction.
    pub server: InviteServer,
    /// Whether it was answered at all, by this node.
    pub responded: bool,
    /// How the call asked to be let in; absent for a call that policy refused.
    pub admit: Option<Arc<Admit>>,
    /// The attempt under way.
    pub attempt: Option<AttemptLeg>,
    /// Names that are being looked up; only the answer to the last one counts.
    pub resolving: u32,
    /// The attempt whose callee has its INVITE, as the record knows: it gets no copy.
    pub rings: Option<u16>,
    /// Where it rings, if the record says so. A name may lead elsewhere by now.
    pub rings_at: Option<Hop>,
    /// Which of its target's hosts an attempt goes to.
    pub hunt: Hunt,
    /// The caller gave up.
    pub cancelled: bool,
    /// 18x was relayed.
    pub progressed: bool,
    /// The callee's answer, while a reliable 18x with a description has no PRACK (RFC 3262 §3).
    pub held: Option<Box<(OwnedMessage, Flow)>>,
    /// Repeats the 200 until the caller's ACK.
    pub answer: Option<Answer2xx>,
    /// The callee's ACK waits for the caller's, which carries the answer to its offer.
    pub ack_owed: bool,
    /// The 200, until the answer is committed.
    pub ok: Option<Bytes>,
    /// What the caller hears in the end, once the end is committed, or its commit is overdue.
    pub verdict: Option<Verdict>,
    /// A Session-Expires that the current target demanded (RFC 4028 §7.3).
    pub session_expires: Option<u32>,
    /// The current target's challenge, which its INVITE answers.
    pub challenge: Option<Box<Challenged>>,
    /// The current target refused an offer of RTP/SAVP, and is asked in clear.
    pub plain: bool,
    /// How the call is let in once the attempt that is proposed is granted: with the targets of a redirect.
    pub onward: Option<Arc<Admit>>,
    /// The challenge that the caller hears if its digest was used before.
    pub again: Vec<u8>,
}

impl Setup {
    /// The set-up of a call that has asked nobody yet.
    pub fn new(invite: OwnedMessage, flow: Flow, server: InviteServer) -> Setup {
        Setup {
            invite,
            flow,
            server,
            responded: false,
            admit: None,
            attempt: None,
            resolving: 0,
            rings: None,
            rings_at: None,
            hunt: Hunt::default(),
            cancelled: false,
            progressed: false,
            held: None,
            answer: None,
            ack_owed: false,
            ok: None,
            verdict: None,
            session_expires: None,
            challenge: None,
            plain: false,
            onward: None,
            again: Vec::new(),
        }
    }
}

/// One INVITE to one target.
#[derive(Debug)]
pub(crate) struct AttemptLeg {
    /// Its number: branch, Call-ID and tag follow from it.
    pub number: u16,
    /// The target's index in the plan.
    pub target: u16,
    /// Where it goes; absent while its name is looked up.
    pub flow: Option<Flow>,
    /// Its branch.
    pub branch: Branch,
    /// The offer that it carries; empty where there is none.
    pub offer: Bytes,
    /// The INVITE; absent while its name is looked up.
    pub invite: Option<OwnedMessage>,
    /// Its transaction; absent while its name is looked up.
    pub client: Option<InviteClient>,
    /// Whether the callee said anything, so that a CANCEL may go out (RFC 3261 §9.1).
    pub heard: bool,
    /// The CANCEL, once sent.
    pub cancel: Option<NonInviteClient>,
    /// The callees' dialogs, one for each tag that answered.
    pub forks: Forks,
    /// The caller's side of each, in the same order.
    pub early: Vec<Dialog>,
    /// The target's hosts that are left to try.
    pub hops: SmallVec<[Hop; 1]>,
    /// Its end is proposed; the response that ended it, if there was one, waits for its ACK.
    pub failure: Option<Option<Box<OwnedMessage>>>,
}

/// The final answer that waits for the end to be committed.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// One of ours.
    Ours(Answer),
    /// A peer's, passed on.
    Theirs(Box<OwnedMessage>),
}

impl Verdict {
    /// The status that the caller hears.
    pub fn status(&self) -> u16 {
        match self {
            Verdict::Ours(answer) => answer.status,
            Verdict::Theirs(message) => reject::relayed(message.view().status().unwrap_or(500)),
        }
    }

    /// Why, for the CDR.
    pub fn reason(&self) -> String {
        match self {
            Verdict::Ours(answer) => answer.text.clone(),
            Verdict::Theirs(message) => String::from_utf8_lossy(message.view().reason_phrase()).into_owned(),
        }
    }
}

impl Call {
    /// `Admit` was applied: let in, or not.
    pub(crate) fn admitted(&mut self, now: Instant, wall: WallTime, outcome: Outcome) {
        self.timers.clear(CallTimer::Uncommitted);
        match outcome {
            Outcome::Target(target) => {
                self.outputs.push_back(Output::Event(Event::Admitted));
                self.stage = Stage::Trying;
                if self.admitted_late(now, wall) {
                    return;
                }
                self.respond(now, 100, None, &[]);
                if self.setup.as_ref().is_some_and(|setup| setup.cancelled) {
                    // The CANCEL overtook the commit: no INVITE goes out at all (RFC 3261 §9.2).
                    self.conclude(now, wall, Verdict::Ours(reject::cancelled()), HangupBy::Caller);
                } else if let Some(hangup) = self.hangup_wanted.take() {
                    self.conclude(now, wall, Verdict::Ours(Answer::new(503, hangup.reason)), hangup.by);
                } else {
                    self.start_attempt(now, wall, target);
                }
            }
            Outcome::Limited(limited) => {
                let answer = self.limited(&limited);
                self.outputs.push_back(Output::Event(Event::Refused(answer.status)));
                self.stage = Stage::Over;
                self.release_media();
                self.refuse(now, answer);
            }
            Outcome::Merged => {
                self.stage = Stage::Over;
                self.release_media();
                self.refuse(now, reject::merged());
            }
            Outcome::Refused(status) => {
                self.stage = Stage::Over;
                self.release_media();
                self.refuse(now, Answer::new(status, "said before"));
            }
            Outcome::Duplicate(_) if planted("copy-answered") => {
                self.stage = Stage::Over;
                self.release_media();
                self.refuse(now, reject::merged());
            }
            // Its nonce was used by another INVITE meanwhile. No call and no record: it may prove itself again.
            Outcome::Replayed => {
                self.stage = Stage::Over;
                self.release_media();
                let challenge = self.setup.as_mut().map(|setup| std::mem::take(&mut setup.again));
                self.refuse(now, reject::replayed(challenge.unwrap_or_default()));
            }
            // Another call has this INVITE, or the home is no longer ours: say nothing.
            Outcome::Duplicate(_) | Outcome::Stale | Outcome::Done => self.vanish(),
        }
    }

    /// `Refuse` was applied: its CDR is safe, the caller may hear it.
    pub(crate) fn refused(&mut self, now: Instant) {
        self.timers.clear(CallTimer::Uncommitted);
        self.stage = Stage::Over;
        if let Some(verdict) = self.setup.as_ref().and_then(|setup| setup.verdict.as_ref()) {
            self.outputs.push_back(Output::Event(Event::Refused(verdict.status())));
            self.finish_ingress(now);
        }
    }

    /// What the owner of a limit wants said.
    fn limited(&self, limited: &Limited) -> Answer {
        let admit = self.setup.as_ref().and_then(|setup| setup.admit.as_ref());
        admit.map_or_else(
            || reject::no_quorum(0),
            |admit| reject::limited(limited, &self.context.resources, &admit.plan),
        )
    }

    fn refuse(&mut self, now: Instant, answer: Answer) {
        if let Some(setup) = self.setup.as_mut() {
            setup.verdict = Some(Verdict::Ours(answer));
        }
        self.finish_ingress(now);
    }

    /// The attempt failed: with a response, or without one (`status` says as what it counts, RFC 3261 §8.1.3.1).
    pub(crate) fn attempt_failed(
        &mut self,
        now: Instant,
        wall: WallTime,
        status: u16,
        response: Option<Box<OwnedMessage>>,
    ) {
        let Some(setup) = self.setup.as_mut() else { return };
        let Some(attempt) = setup.attempt.as_mut() else { return };
        if attempt.failure.is_some() || self.stage != Stage::Trying {
            // What ends it is decided; a response that comes meanwhile still wants its ACK.
            if response.is_some() {
                attempt.failure = Some(response);
            }
            return;
        }
        let (number, target) = (attempt.number, attempt.target);
        attempt.failure = Some(response.clone());
        self.timers.clear(CallTimer::NoResponse);
        self.timers.clear(CallTimer::Ring);
        if setup.cancelled {
            return self.conclude(now, wall, Verdict::Ours(reject::cancelled()), HangupBy::Caller);
        }
        let (from_target, onward) = self.after_failure(target, status, response.as_deref());
        let ended = AttemptEnd { status, at: wall };
        match from_target {
            Some(from_target) => {
                let session_expires = self.setup.as_ref().and_then(|setup| setup.session_expires);
                let challenge = self.setup.as_ref().and_then(|setup| setup.challenge.clone());
                let number = number + 1;
                let next = Attempt { number, from_target, ended, session_expires, challenge, onward };
                if let Some(setup) = self.setup.as_mut() {
                    setup.onward = setup.admit.as_ref().map(|admit| next.admit(admit));
                }
                self.propose(CallCommand::Change(Change::Attempt(next)), Waiting::Attempt);
                self.await_commit(now);
                if planted("invite-before-attempt") {
                    self.leave_attempt(now);
                    self.start_attempt(now, wall, from_target);
                }
            }
            None => {
                let verdict = match response {
                    Some(message) if !(300..400).contains(&status) => Verdict::Theirs(message),
                    _ => Verdict::Ours(reject::unreached(status)),
                };
                self.conclude(now, wall, verdict, HangupBy::Callee);
            }
        }
    }

    /// Which target of the plan comes after a failed attempt, if any, and the targets that a redirect puts there.
    fn after_failure(
        &mut self,
        target: u16,
        status: u16,
        response: Option<&OwnedMessage>,
    ) -> (Option<u16>, Vec<Target>) {
        let challenge = response.and_then(|m| self.challenged(target, status, &m.view()));
        let may_be_clear = self.may_ask_in_clear(status);
        let Some(setup) = self.setup.as_mut() else { return (None, Vec::new()) };
        let demanded = response.filter(|_| status == 422).and_then(|m| m.view().min_se().ok().flatten());
        match demanded.filter(|min_se| setup.session_expires.is_none_or(|had| had < *min_se)) {
            // Once more to the same target, with what it demands (RFC 4028 §7.3).
            Some(min_se) => {
                setup.session_expires = Some(min_se);
                (Some(target), Vec::new())
            }
            // Once more, with what it asks for (RFC 3261 §22.3).
            None if challenge.is_some() => {
                setup.challenge = challenge;
                (Some(target), Vec::new())
            }
            None if !setup.plain && may_be_clear => {
                setup.plain = true;
                (Some(target), Vec::new())
            }
            None => {
                setup.challenge = None;
                setup.plain = false;
                if self.hunt_on(target, status, response.is_some()) {
                    return (Some(target), Vec::new());
                }
                let onward = self.sent_on(target, status, response);
                let next =
                    if onward.is_empty() { self.next_target(target, status) } else { Some(target + 1) };
                (next, onward)
            }
        }
    }

    /// A further attempt was granted, or no target has a free slot.
    pub(crate) fn attempt_granted(&mut self, now: Instant, wall: WallTime, outcome: Outcome) {
        let cancelled = self.setup.as_ref().is_some_and(|setup| setup.cancelled);
        if planted("invite-before-attempt") && matches!(outcome, Outcome::Target(_)) {
            return;
        }
        self.leave_attempt(now);
        if let Some(setup) = self.setup.as_mut().filter(|_| matches!(outcome, Outcome::Target(_))) {
            setup.admit = setup.onward.take().or_else(|| setup.admit.take());
        }
        self.answer_left_callee(now);
        if self.stage != Stage::Trying {
            return; // The end was decided meanwhile.
        }
        self.timers.clear(CallTimer::Uncommitted);
        match outcome {
            Outcome::Target(_) if cancelled => {
                self.conclude(now, wall, Verdict::Ours(reject::cancelled()), HangupBy::Caller);
            }
            Outcome::Target(target) => self.start_attempt(now, wall, target),
            Outcome::Limited(limited) => {
                self.conclude(now, wall, Verdict::Ours(self.limited(&limited)), HangupBy::System);
            }
            Outcome::Duplicate(_)
            | Outcome::Refused(_)
            | Outcome::Merged
            | Outcome::Replayed
            | Outcome::Stale
            | Outcome::Done => self.vanish(),
        }
    }

    /// The first target after `current` that may be tried after `status`.
    pub(crate) fn next_target(&self, current: u16, status: u16) -> Option<u16> {
        let setup = self.setup.as_ref()?;
        let plan = &setup.admit.as_ref()?.plan;
        let party = &plan.targets.get(usize::from(current))?.party;
        let delivery = &settings(&self.context.resources, party)?.delivery;
        let outcome = match status {
            408 => trunk::Outcome::NoAnswer,
            503 | 504 if !self.heard(setup) => trunk::Outcome::Unreachable,
            // A redirect that nobody follows is as good as no answer (contract: the next target, else 480).
            300..400 => trunk::Outcome::Unreachable,
            status => trunk::Outcome::Status(status),
        };
        let next = current + 1;
        let exists = plan.targets.len() > usize::from(next);
        (exists && delivery.after(outcome, setup.progressed) == trunk::Next::NextTarget).then_some(next)
    }

    /// Whether the current attempt failed with a response, rather than for want of one.
    fn heard(&self, setup: &Setup) -> bool {
        matches!(&setup.attempt, Some(AttemptLeg { failure: Some(Some(_)), .. }))
    }

    /// Acknowledges the refusal that ended the current attempt and lets its transaction go.
    pub(crate) fn leave_attempt(&mut self, now: Instant) {
        let Some(attempt) = self.setup.as_mut().and_then(|setup| setup.attempt.take()) else { return };
        let AttemptLeg {
            flow: Some(flow),
            client: Some(mut client),
            invite: Some(invite),
            branch,
            failure,
            cancel,
            ..
        } = attempt
        else {
            return;
        };
        match failure.flatten() {
            Some(response) if response.view().status().is_some_and(|status| status < 300) => {
                // It answered a call that is over: ACK and BYE (RFC 3261 §13.2.2.4).
                self.dismiss_from(now, &invite, &response.view(), flow);
                self.fade(now, Fading { client, flow, branch, invite, cancel, answered: true });
            }
            Some(response) if client.is_final() => {
                let ack = refusal_ack(&invite.view(), &response.view());
                if !planted("refusal-unacknowledged") {
                    client.handle(now, ClientInput::Acknowledge(ack.clone()));
                    self.remain(&response.view(), flow, ack);
                }
                self.fade(now, Fading { client, flow, branch, invite, cancel, answered: false });
            }
            _ if client.is_terminated() => {}
            // No final response yet: cancelled, it fades away on its own.
            _ => {
                client.handle(now, ClientInput::Cancel);
                self.fade(now, Fading { client, flow, branch, invite, cancel, answered: false });
            }
        }
    }

    /// Proposes the end of a call that was not answered; the caller hears `verdict` when it is committed.
    pub(crate) fn conclude(&mut self, now: Instant, wall: WallTime, verdict: Verdict, by: HangupBy) {
        let Some(setup) = self.setup.as_mut() else { return };
        if self.stage == Stage::Ending || self.stage == Stage::Over {
            return;
        }
        self.stage = Stage::Ending;
        let (status, reason) = (verdict.status(), verdict.reason());
        setup.verdict = Some(verdict);
        self.await_commit(now);
        self.ending = Some(Ending { status, reason: reason.into(), by, at: wall });
        self.begin_end(now);
        if planted("refusal-before-commit") {
            self.finish_ingress(now);
        }
    }

    /// Gives the caller its final, non-2xx answer, unless it has one.
    pub(crate) fn finish_ingress(&mut self, now: Instant) {
        let Some(setup) = self.setup.as_ref() else { return };
        let Some(verdict) = setup.verdict.as_ref() else { return };
        if setup.server.is_final() {
            return self.pump_setup();
        }
        let message = self.final_response(&setup.invite.view(), setup.flow, verdict);
        let status = verdict.status();
        if let Some(setup) = self.setup.as_mut() {
            setup.responded = true;
            setup.server.handle(now, ServerInput::Respond { status, message });
        }
        self.pump_setup();
    }

    /// Answers the caller's INVITE provisionally.
    pub(crate) fn respond(&mut self, now: Instant, status: u16, tag: Option<&[u8]>, extra: &[u8]) {
        let Some(setup) = self.setup.as_ref() else { return };
        let message = self.provisional(&setup.invite.view(), setup.flow, status, tag, extra);
        if let Some(setup) = self.setup.as_mut() {
            setup.responded = true;
            setup.server.handle(now, ServerInput::Respond { status, message });
        }
        self.pump_setup();
    }
}

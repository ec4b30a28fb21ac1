//! From the callee's 2xx to the caller's ACK (RFC 3261 §13): the answer is committed before either hears of it.

use bytes::Bytes;
use dialog::{Answered, DialogState, InDialog};
use machine::museum::planted;
use machine::{Instant, Machine, WallTime};
use sip::{Message, Method, OwnedMessage};
use transaction::{Answer2xx, ServerInput};

use crate::admission::settings;
use crate::attempt::is_sdp;
use crate::call::{Call, CallTimer, Stage, Waiting};
use crate::cdr::HangupBy;
use crate::exchange::Kind;
use crate::io::{Event, Output};
use crate::leg::{Leg, Legs};
use crate::media::RelaySdp;
use crate::message::INVITE_CSEQ;
use crate::record::{CallCommand, Change, Confirm, Flow, Side};
use crate::reject::{self, Answer};
use crate::route;
use crate::security::Said;
use crate::setup::{AttemptLeg, Verdict};

impl Call {
    /// A 2xx to the attempt's INVITE. The first one wins; the callee repeats it until it is acknowledged.
    pub(crate) fn answered(&mut self, now: Instant, wall: WallTime, message: OwnedMessage, flow: Flow) {
        let Some(setup) = self.setup.as_mut() else { return };
        let Some(attempt) = setup.attempt.as_mut() else { return };
        if self.stage == Stage::Ending || attempt.failure.is_some() {
            // Too late: it was given up for another target, or the call is over. ACK and BYE follow the commit.
            attempt.failure = Some(Some(Box::new(message)));
            return;
        }
        if self.stage != Stage::Trying {
            return; // Answered already: another fork's turn comes when it repeats its 2xx.
        }
        if setup.cancelled {
            // CANCEL and 200 crossed: the callee gets ACK and BYE once the end is committed (RFC 3261 §9.1).
            return self.undo_answer(now, wall, message, reject::cancelled(), HangupBy::Caller);
        }
        let view = message.view();
        if !may_answer(attempt, &view) {
            setup.held = Some(Box::new((message, flow)));
            return;
        }
        let broken = |text| Answer::new(502, text);
        let index = match self.take_early(now, &view).map(|early| (early.index, early.answered)) {
            Some((index, Answered::Success)) => index,
            Some(_) => return,
            None => {
                let answer = broken("the callee's answer opens no dialog");
                return self.undo_answer(now, wall, message, answer, HangupBy::System);
            }
        };
        let delayed = self.setup.as_ref().is_some_and(|setup| setup.invite.view().body().is_empty());
        let theirs = Bytes::copy_from_slice(view.body());
        let ours = match is_sdp(&view) {
            true if delayed => self.describe(Side::Ingress, &theirs, Said::Offer),
            true => {
                let offer = self.setup.as_ref().map(|setup| setup.invite.clone());
                let offer = offer.as_ref().map(|invite| invite.view().body()).unwrap_or_default();
                self.describe(Side::Ingress, &theirs, Said::Answer(offer))
            }
            false => Ok(theirs.clone()),
        };
        let ours =
            ours.ok().filter(|_| self.fits_offer(&view) && (delayed || self.is_secure_enough(&theirs)));
        let Some(ours) = ours else {
            let answer = broken("the callee's session description is unusable");
            return self.undo_answer(now, wall, message, answer, HangupBy::System);
        };
        if self.join(now, index, flow, (ours, theirs), delayed).is_none() {
            let answer = broken("the callee's answer opens no dialog");
            return self.undo_answer(now, wall, message, answer, HangupBy::System);
        }
        self.stage = Stage::Confirming;
        self.await_commit(now);
        self.write_ok(&view);
        self.propose_confirm(now, wall, view.status().unwrap_or(200), delayed);
        if planted("answer-before-commit") {
            self.send_ok(now);
        }
        if planted("ack-before-commit") && !delayed {
            self.acknowledge_callee(&Bytes::new());
        }
    }

    /// Whether the callee's description answers the offer that it got (RFC 3264 §6). Asked only where the relay goes
    /// by both; with direct media it is the caller's business.
    fn fits_offer(&self, response: &Message<'_>) -> bool {
        let attempt = self.setup.as_ref().and_then(|setup| setup.attempt.as_ref());
        let Some(attempt) = attempt.filter(|attempt| !attempt.offer.is_empty()) else { return true };
        if self.media.ports.is_none() || !is_sdp(response) {
            return true;
        }
        let offer = sdp::Session::parse(&attempt.offer);
        let answer = sdp::Session::parse(response.body());
        matches!((offer, answer), (Ok(offer), Ok(answer)) if sdp::check_answer(&offer, &answer).is_ok())
    }

    /// Makes both legs out of the winning fork.
    fn join(
        &mut self,
        now: Instant,
        index: usize,
        flow: Flow,
        (ours, theirs): (Bytes, Bytes),
        delayed: bool,
    ) -> Option<()> {
        let flow = self.flow_here(flow)?;
        let setup = self.setup.as_mut()?;
        let attempt = setup.attempt.as_mut()?;
        let sent = attempt.offer.clone();
        if index >= attempt.early.len() {
            return None;
        }
        let egress = attempt.forks.take_winner()?;
        let mut ingress = attempt.early.swap_remove(index);
        ingress.responded(now, Method::Invite, 200, !ours.is_empty());
        let view = setup.invite.view();
        // With direct media the callee got the very offer of the caller.
        let offer = if sent == view.body() { sent.clone() } else { Bytes::copy_from_slice(view.body()) };
        let leg = |dialog, flow: Flow, local_sdp, remote_sdp| Leg {
            dialog,
            flow,
            known_at: flow.local,
            local_sdp,
            remote_sdp,
            latched: None,
        };
        self.legs = Some(Box::new(Legs {
            ingress: leg(ingress, setup.flow, ours, offer),
            egress: leg(egress, flow, sent, theirs),
            delayed,
        }));
        self.media.early = None;
        Some(())
    }

    /// Writes the caller's 200; it waits for the commit.
    fn write_ok(&mut self, response: &Message<'_>) {
        let (Some(setup), Some(legs)) = (self.setup.as_ref(), self.legs.as_ref()) else { return };
        let state = legs.ingress.dialog.state();
        let mut extra = Vec::with_capacity(64);
        if let Some(session) = &state.session {
            session.write_answer(&mut extra, state.peer.timer);
        }
        let (tag, body) = (state.local_tag.as_bytes(), &legs.ingress.local_sdp);
        let bytes = self.relayed_response(&setup.invite.view(), setup.flow, response, tag, &extra, body);
        if let Some(setup) = self.setup.as_mut() {
            setup.ok = Some(bytes);
        }
    }

    fn propose_confirm(&mut self, now: Instant, wall: WallTime, status: u16, delayed_offer: bool) {
        let (Some(legs), Some(setup)) = (self.legs.as_ref(), self.setup.as_ref()) else { return };
        let confirm = Confirm {
            attempt: setup.attempt.as_ref().map_or(0, |attempt| attempt.number),
            status,
            ingress: legs.ingress.state(now),
            egress: legs.egress.state(now),
            delayed_offer,
            answered_at: wall,
        };
        self.propose(CallCommand::Change(Change::Confirm(Box::new(confirm))), Waiting::Confirm);
    }

    /// Ends the call although the callee answered.
    fn undo_answer(
        &mut self,
        now: Instant,
        wall: WallTime,
        message: OwnedMessage,
        answer: Answer,
        by: HangupBy,
    ) {
        if let Some(attempt) = self.setup.as_mut().and_then(|setup| setup.attempt.as_mut()) {
            attempt.failure = Some(Some(Box::new(message)));
        }
        self.conclude(now, wall, Verdict::Ours(answer), by);
    }

    /// The answer is committed: the callee gets its ACK, the caller its 200.
    pub(crate) fn confirmed(&mut self, now: Instant, wall: WallTime) {
        if self.stage != Stage::Confirming {
            return; // Its caller was told that nothing came of it; the `End` follows.
        }
        self.timers.clear(CallTimer::Uncommitted);
        self.stage = Stage::Answered;
        self.outputs.push_back(Output::Event(Event::Answered));
        let callee = self.callee.as_ref().and_then(|party| settings(&self.context.resources, party));
        let plan_max = self.setup.as_ref().and_then(|s| s.admit.as_ref()).map(|a| a.plan.max_duration);
        let max = plan_max.or(callee.map(|settings| settings.delivery.max_duration));
        if let Some(max) = max.filter(|max| !max.is_zero()) {
            self.timers.set(CallTimer::MaxDuration, now + max);
        }
        self.relay_answered();
        let Some(legs) = self.legs.as_ref() else { return };
        let (delayed, gone) = (legs.delayed, legs.ingress.dialog.is_ended());
        let Some(setup) = self.setup.as_mut() else { return };
        setup.ack_owed = delayed;
        if !delayed {
            self.acknowledge_callee(&Bytes::new());
        }
        if gone {
            // The caller's BYE overtook the commit: its INVITE gets 487 instead of an answer (RFC 3261 §15.1.2).
            if let Some(setup) = self.setup.as_mut() {
                setup.verdict = Some(Verdict::Ours(reject::cancelled()));
            }
        } else {
            self.send_ok(now);
        }
        if let Some(hangup) = self.hangup_wanted.take() {
            self.hang_up(now, wall, *hangup);
        }
    }

    /// The caller's 200, repeated until its ACK.
    fn send_ok(&mut self, now: Instant) {
        let times = self.times();
        let Some(setup) = self.setup.as_mut() else { return };
        let Some(ok) = setup.ok.take() else { return };
        setup.server.handle(now, ServerInput::Respond { status: 200, message: ok.clone() });
        let mut answer = Answer2xx::start(now, times, ok);
        // The transaction has just sent it; this one only repeats it.
        let _first = answer.poll_output();
        setup.answer = Some(answer);
        setup.responded = true;
        self.pump_setup();
    }

    /// Tells the relay what both legs agreed on.
    pub(crate) fn relay_answered(&mut self) {
        if self.media.ports.is_none() {
            return;
        }
        let Some(legs) = self.legs.as_ref() else { return };
        let (a, b) = (legs.ingress.remote_sdp.clone(), legs.egress.remote_sdp.clone());
        let (a_flow, b_flow) = (legs.ingress.flow, legs.egress.flow);
        self.set_relay(RelaySdp { sdp: &a, flow: a_flow }, RelaySdp { sdp: &b, flow: b_flow }, true);
    }

    /// ACK to the callee's 2xx; with the caller's answer, where the callee made the offer.
    pub(crate) fn acknowledge_callee(&mut self, answer: &Bytes) {
        let offer = self.legs.as_ref().map(|legs| legs.egress.remote_sdp.clone()).unwrap_or_default();
        let body = self.describe(Side::Egress, answer, Said::Answer(&offer)).unwrap_or_default();
        let Some(legs) = self.legs.as_mut() else { return };
        legs.egress.dialog.sent_request(Method::Ack, INVITE_CSEQ, !body.is_empty());
        if !body.is_empty() {
            legs.egress.local_sdp = body;
        }
        if let Some(setup) = self.setup.as_mut() {
            setup.ack_owed = false;
            // Its answer, repeated, and those of other forks are known by the leg from here on.
            setup.attempt = None;
        }
        self.repeat_ack(INVITE_CSEQ);
    }

    /// Sends the ACK of the callee's 2xx to the INVITE or re-INVITE of this number, as often as the 2xx comes.
    pub(crate) fn repeat_ack(&mut self, cseq: u32) {
        if self.is_confirming() || self.setup.as_ref().is_some_and(|setup| setup.ack_owed) {
            return;
        }
        let Some(legs) = self.legs.as_ref() else { return };
        let body = if legs.delayed && cseq == INVITE_CSEQ { &legs.egress.local_sdp[..] } else { &[] };
        let flow = legs.egress.flow;
        let ack = self.write_ack((legs.egress.dialog.state(), flow), cseq, body);
        self.send(flow, ack);
    }

    /// Writes the ACK of a 2xx in a dialog.
    pub(crate) fn write_ack(&self, (state, flow): (&DialogState, Flow), cseq: u32, body: &[u8]) -> Bytes {
        let (dialog, number) = (state.call_id.as_bytes(), cseq.to_be_bytes());
        let parts: [&[u8]; 4] = [b"ack", dialog, state.remote_tag.as_bytes(), &number];
        let branch = route::branch(&self.context.secret, self.id, &parts);
        let via = self.via_value(&flow, &branch);
        let mut out = Vec::with_capacity(512);
        let body = Some(dialog::Body { content_type: b"application/sdp", bytes: body });
        let body = body.filter(|body| !body.bytes.is_empty());
        let request = InDialog { method: Method::Ack, cseq, via: &via, contact: None, extra: b"", body };
        state.write_request(&mut out, &request);
        Bytes::from(out)
    }

    /// An ACK: of our 200, of a refusal, or of the answer to a re-INVITE.
    pub(crate) fn receive_ack(&mut self, now: Instant, wall: WallTime, message: &OwnedMessage) {
        let view = message.view();
        let Ok((cseq, _)) = view.cseq() else { return };
        let initial = self.setup.as_ref().is_some_and(|setup| {
            let invite = setup.invite.view();
            invite.cseq().is_ok_and(|(number, _)| number == cseq)
                && invite.from_tag().ok().flatten() == view.from_tag().ok().flatten()
        });
        if !initial {
            return self.receive_exchange_ack(now, &view, cseq);
        }
        let Some(setup) = self.setup.as_mut() else { return };
        let Some(answer) = setup.answer.as_mut() else {
            setup.server.handle(now, ServerInput::Ack);
            return self.pump_setup();
        };
        answer.handle(now, ServerInput::Ack);
        setup.answer = None;
        self.setup_acknowledged(now, wall, &view);
    }

    /// The caller acknowledged the 200: its part of the set-up is over.
    fn setup_acknowledged(&mut self, now: Instant, wall: WallTime, ack: &Message<'_>) {
        let draw = self.draw();
        let answers = !ack.body().is_empty();
        if let Some(legs) = self.legs.as_mut() {
            // A stray ACK changes nothing; the dialog says so.
            let _ = legs.ingress.dialog.receive_request(ack, answers, draw);
        }
        let owed = self.setup.as_ref().is_some_and(|setup| setup.ack_owed);
        if owed && self.stage == Stage::Answered {
            let sdp = Bytes::copy_from_slice(ack.body());
            if let Some(legs) = self.legs.as_mut() {
                legs.ingress.remote_sdp = sdp.clone();
            }
            self.relay_answered();
            let change = CallCommand::Change(Change::Acked(Some(sdp.clone())));
            return self.propose(change, Waiting::DelayedAck(sdp));
        }
        if self.stage == Stage::Answered {
            self.lazy(Change::Acked(None));
        }
        self.setup = None;
        self.send_wanted(now, wall, Side::Ingress);
    }

    /// The caller's answer to the callee's offer is committed: the callee gets it in its ACK.
    pub(crate) fn answer_recorded(&mut self, sdp: &Bytes) {
        if self.setup.as_ref().is_some_and(|setup| setup.ack_owed) {
            self.acknowledge_callee(sdp);
        }
        if self.stage == Stage::Answered {
            self.setup = None;
        }
    }

    /// The caller gives up, or the sender of a re-INVITE does.
    pub(crate) fn receive_cancel(&mut self, now: Instant, wall: WallTime, message: OwnedMessage, flow: Flow) {
        let view = message.view();
        let key = self.transaction_key(&view);
        if self.repeat_exchange(now, key) {
            return;
        }
        let branch = view.top_via().ok().and_then(|via| via.branch);
        let ours = self
            .setup
            .as_ref()
            .is_some_and(|setup| setup.invite.view().top_via().is_ok_and(|via| via.branch == branch));
        if !ours {
            return self.cancel_exchange(now, message, flow);
        }
        self.open_exchange(message, key, flow, Side::Ingress, Kind::Cancel);
        match self.stage {
            Stage::Asking | Stage::Trying => {
                self.give_up(now, wall);
                self.propose(CallCommand::Change(Change::Cancel(wall)), Waiting::Cancel);
                self.conclude_cancelled(now, wall);
            }
            // Too late, if the answer is committed at all.
            Stage::Confirming => {
                if let Some(setup) = self.setup.as_mut() {
                    setup.cancelled = true;
                }
                self.answer_kind(now, &Kind::Cancel, 200);
            }
            // Answered once the end is committed: a successor that knows of neither would ring on.
            Stage::Ending => {}
            // Too late: the answer stands, or the call is over (RFC 3261 §9.2).
            Stage::Answered | Stage::Over => {
                self.answer_kind(now, &Kind::Cancel, 200);
            }
        }
    }

    /// The intent to give up is committed: the CANCEL, or the BYE that meant one, gets its 200.
    pub(crate) fn cancel_recorded(&mut self, now: Instant) {
        self.answer_kind(now, &Kind::Cancel, 200);
        self.answer_kind(now, &Kind::Bye, 200);
    }
}

/// RFC 3262 §3: no 2xx before the PRACK of a reliable 18x that carried a description.
fn may_answer(attempt: &AttemptLeg, response: &Message<'_>) -> bool {
    let tag = response.to_tag().ok().flatten().unwrap_or_default();
    let known = (0..attempt.early.len())
        .find(|i| attempt.forks.get(*i).is_some_and(|fork| fork.state().remote_tag.as_bytes() == tag));
    known.and_then(|i| attempt.early.get(i)).is_none_or(dialog::Dialog::may_answer)
}

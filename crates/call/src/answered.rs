//! From the callee's 2xx to the caller's ACK (RFC 3261 §13): the answer is committed before either hears of it.

use bytes::Bytes;
use dialog::{Answered, InDialog};
use machine::{Instant, Machine, WallTime};
use sip::{Method, OwnedMessage};
use transaction::{Answer2xx, ServerInput};

use crate::admission::settings;
use crate::attempt::is_sdp;
use crate::call::{Call, CallTimer, Legs, Stage, Waiting};
use crate::cdr::HangupBy;
use crate::exchange::Kind;
use crate::fading::Fading;
use crate::io::{Event, Output};
use crate::leg::Leg;
use crate::media::RelaySdp;
use crate::message::INVITE_CSEQ;
use crate::record::{CallCommand, Change, Confirm, Flow, Side};
use crate::reject;
use crate::route;
use crate::setup::{AttemptLeg, Verdict};

impl Call {
    /// A 2xx to the attempt's INVITE. The first one wins; the callee repeats it until it is acknowledged.
    pub(crate) fn answered(&mut self, now: Instant, wall: WallTime, message: &OwnedMessage, flow: Flow) {
        if self.stage != Stage::Trying {
            return;
        }
        let view = message.view();
        if self.setup.as_ref().is_some_and(|setup| setup.cancelled) {
            // CANCEL and 200 crossed: the callee gets ACK and BYE once the end is committed (RFC 3261 §9.1).
            return self.undo_answer(now, wall, message, reject::cancelled(), HangupBy::Caller);
        }
        let Some((index, Answered::Success)) = self.take_early(now, &view) else { return };
        let delayed = self.setup.as_ref().is_some_and(|setup| setup.invite.view().body().is_empty());
        let ours = if is_sdp(&view) {
            match self.describe(Side::Ingress, view.body(), delayed) {
                Ok(body) => body,
                Err(_) => {
                    let answer = reject::Answer::new(502, "the callee's session description is unusable");
                    return self.undo_answer(now, wall, message, answer, HangupBy::System);
                }
            }
        } else {
            Bytes::copy_from_slice(view.body())
        };
        if self.join(now, index, &view, flow, ours.clone()).is_none() {
            let answer = reject::Answer::new(502, "the callee's answer opens no dialog");
            return self.undo_answer(now, wall, message, answer, HangupBy::System);
        }
        self.stage = Stage::Confirming;
        self.timers.clear(CallTimer::Ring);
        self.write_ok(&view, &ours);
        self.propose_confirm(wall, view.status().unwrap_or(200), delayed);
    }

    /// Makes both legs out of the winning fork.
    fn join(
        &mut self,
        now: Instant,
        index: usize,
        response: &sip::Message<'_>,
        flow: Flow,
        ours: Bytes,
    ) -> Option<()> {
        let setup = self.setup.as_mut()?;
        let caller_sdp = Bytes::copy_from_slice(setup.invite.view().body());
        let attempt = setup.attempt.as_mut()?;
        if index >= attempt.early.len() {
            return None;
        }
        let mut ingress = attempt.early.remove(index);
        let egress = attempt.forks.take_winner()?;
        let offer = sip::Message::parse(&attempt.invite, sip::Framing::Datagram).ok()?;
        let sent = Bytes::copy_from_slice(offer.body());
        ingress.responded(now, Method::Invite, 200, !ours.is_empty());
        let remote_sdp = Bytes::copy_from_slice(response.body());
        self.legs = Some(Box::new(Legs {
            ingress: Leg {
                dialog: ingress,
                flow: setup.flow,
                local_sdp: ours,
                remote_sdp: caller_sdp,
                latched: None,
            },
            egress: Leg { dialog: egress, flow, local_sdp: sent, remote_sdp, latched: None },
        }));
        Some(())
    }

    /// Writes the caller's 200; it waits for the commit.
    fn write_ok(&mut self, response: &sip::Message<'_>, body: &Bytes) {
        let (Some(setup), Some(legs)) = (self.setup.as_ref(), self.legs.as_ref()) else { return };
        let state = legs.ingress.dialog.state();
        let mut extra = Vec::new();
        if let Some(session) = &state.session {
            session.write_answer(&mut extra, state.peer.timer);
        }
        let body = Some(&body[..]).filter(|body| !body.is_empty());
        let tag = state.local_tag.as_bytes();
        let bytes = self.relayed_response(&setup.invite.view(), setup.flow, response, tag, &extra, body);
        if let Some(setup) = self.setup.as_mut() {
            setup.ok = Some(bytes);
        }
    }

    fn propose_confirm(&mut self, wall: WallTime, status: u16, delayed_offer: bool) {
        let (Some(legs), Some(setup)) = (self.legs.as_ref(), self.setup.as_ref()) else { return };
        let confirm = Confirm {
            attempt: setup.attempt.as_ref().map_or(0, |attempt| attempt.number),
            status,
            ingress: legs.ingress.state(),
            egress: legs.egress.state(),
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
        message: &OwnedMessage,
        answer: reject::Answer,
        by: HangupBy,
    ) {
        if let Some(attempt) = self.setup.as_mut().and_then(|setup| setup.attempt.as_mut()) {
            attempt.failure = Some(Some(message.clone()));
        }
        self.conclude(now, wall, Verdict::Ours(answer), by);
    }

    /// The answer is committed: the callee gets its ACK, the caller its 200.
    pub(crate) fn confirmed(&mut self, now: Instant, wall: WallTime) {
        self.stage = Stage::Answered;
        self.outputs.push_back(Output::Event(Event::Answered));
        let callee = self.callee.as_ref().and_then(|party| settings(&self.context.resources, party));
        let plan_max = self.setup.as_ref().and_then(|s| s.admit.as_ref()).map(|a| a.plan.max_duration);
        let max = plan_max.or(callee.map(|settings| settings.delivery.max_duration));
        if let Some(max) = max.filter(|max| !max.is_zero()) {
            self.timers.set(CallTimer::MaxDuration, now + max);
        }
        self.relay_answered();
        let delayed = self.setup.as_ref().is_some_and(|setup| setup.invite.view().body().is_empty());
        if !delayed {
            self.acknowledge_callee(now, None);
        }
        let times = self.times();
        let Some(setup) = self.setup.as_mut() else { return };
        let Some(ok) = setup.ok.take() else { return };
        setup.server.handle(now, ServerInput::Respond { status: 200, message: ok.clone() });
        let mut answer = Answer2xx::start(now, times, ok);
        // The transaction has just sent it; this one only repeats it.
        let _first = answer.poll_output();
        setup.answer = Some(answer);
        self.pump_setup(now);
        if let Some((reason, by)) = self.hangup_wanted.take() {
            self.hang_up(now, wall, &reason, by, None);
        }
    }

    /// Tells the relay what both legs agreed on.
    pub(crate) fn relay_answered(&mut self) {
        let Some(legs) = self.legs.as_ref() else { return };
        let (a, b) = (legs.ingress.remote_sdp.clone(), legs.egress.remote_sdp.clone());
        let (a_flow, b_flow) = (legs.ingress.flow, legs.egress.flow);
        self.set_relay(RelaySdp { sdp: &a, flow: a_flow }, RelaySdp { sdp: &b, flow: b_flow }, true);
    }

    /// ACK to the callee's 2xx; with the caller's answer, where the callee made the offer.
    pub(crate) fn acknowledge_callee(&mut self, now: Instant, answer: Option<Bytes>) {
        let body = answer.and_then(|sdp| self.describe(Side::Egress, &sdp, false).ok());
        let Some(legs) = self.legs.as_mut() else { return };
        legs.egress.dialog.sent_request(Method::Ack, INVITE_CSEQ, body.is_some());
        if let Some(body) = &body {
            legs.egress.local_sdp = body.clone();
        }
        let (state, flow) = (legs.egress.dialog.state().clone(), legs.egress.flow);
        let parts: [&[u8]; 3] = [b"ack", state.remote_tag.as_bytes(), &INVITE_CSEQ.to_be_bytes()];
        let branch = route::branch(&self.context.secret, self.id, &parts);
        let via = self.via_value(&flow, &branch);
        let mut bytes = Vec::with_capacity(512);
        let sdp = |bytes| dialog::Body { content_type: b"application/sdp", bytes };
        state.write_request(
            &mut bytes,
            &InDialog {
                method: Method::Ack,
                cseq: INVITE_CSEQ,
                via: &via,
                contact: None,
                extra: b"",
                body: body.as_deref().map(sdp),
            },
        );
        let ack = Bytes::from(bytes);
        self.send(flow, ack.clone());
        let attempt = self.setup.as_mut().and_then(|setup| setup.attempt.take());
        if let Some(AttemptLeg { client: Some(client), branch, invite, cancel, .. }) = attempt {
            let winner = Some((state.remote_tag.clone(), ack));
            self.fade(now, Fading { client, flow, branch, invite, cancel, winner, byes: Vec::new() });
        }
    }

    /// An ACK: of our 200, of a refusal, or of the answer to a re-INVITE.
    pub(crate) fn receive_ack(&mut self, now: Instant, wall: WallTime, message: OwnedMessage) {
        let view = message.view();
        let Ok((cseq, _)) = view.cseq() else { return };
        let initial = self.setup.as_ref().is_some_and(|setup| {
            let invite = setup.invite.view();
            invite.cseq().is_ok_and(|(number, _)| number == cseq)
                && invite.from_tag().ok().flatten() == view.from_tag().ok().flatten()
        });
        if !initial {
            return self.receive_exchange_ack(now, wall, &message);
        }
        let Some(setup) = self.setup.as_mut() else { return };
        let Some(answer) = setup.answer.as_mut() else {
            setup.server.handle(now, ServerInput::Ack);
            return self.pump_setup(now);
        };
        answer.handle(now, ServerInput::Ack);
        self.setup_acknowledged(now, &message);
    }

    /// The caller acknowledged the 200: its part of the set-up is over.
    fn setup_acknowledged(&mut self, now: Instant, message: &OwnedMessage) {
        let view = message.view();
        let draw = self.draw();
        if let Some(legs) = self.legs.as_mut() {
            // A stray ACK changes nothing; the dialog says so.
            let _ = legs.ingress.dialog.receive_request(&view, !view.body().is_empty(), draw);
        }
        let delayed = self.setup.as_ref().is_some_and(|s| s.attempt.is_some());
        if delayed {
            let sdp = Bytes::copy_from_slice(view.body());
            if let Some(legs) = self.legs.as_mut() {
                legs.ingress.remote_sdp = sdp.clone();
            }
            self.relay_answered();
            let change = Change::Acked(Some(sdp.clone()));
            self.propose(CallCommand::Change(change), Waiting::DelayedAck(sdp));
            if let Some(setup) = self.setup.as_mut() {
                setup.answer = None;
            }
        } else {
            self.lazy(Change::Acked(None));
            self.setup = None;
        }
        let _ = now;
    }

    /// The caller gives up, or the sender of a re-INVITE does.
    pub(crate) fn receive_cancel(&mut self, now: Instant, wall: WallTime, message: OwnedMessage, flow: Flow) {
        if self.repeat_exchange(now, &message) {
            return;
        }
        let view = message.view();
        let branch = view.top_via().ok().and_then(|via| via.branch);
        let ours = self.setup.as_ref().is_some_and(|setup| {
            setup.invite.view().top_via().is_ok_and(|via| via.branch == branch)
        });
        if !ours {
            return self.cancel_exchange(now, message, flow);
        }
        self.open_exchange(&message, flow, Side::Ingress, Kind::Cancel);
        match self.stage {
            Stage::Asking | Stage::Trying => {
                self.give_up(now, wall);
                self.propose(CallCommand::Change(Change::Cancel(wall)), Waiting::Cancel);
            }
            // Too late: the answer stands, or the end is on its way (RFC 3261 §9.2).
            Stage::Confirming | Stage::Answered | Stage::Ending | Stage::Over => self.cancel_recorded(now),
        }
    }

    /// The intent to cancel is committed: the CANCEL gets its 200.
    pub(crate) fn cancel_recorded(&mut self, now: Instant) {
        self.answer_kind(now, &Kind::Cancel, 200);
    }

    /// Carries out what the dialogs' timers want.
    pub(crate) fn leg_timeouts(&mut self, now: Instant, wall: WallTime) {
        for side in [Side::Ingress, Side::Egress] {
            let Some(legs) = self.legs.as_mut() else { return };
            let (leg, _) = legs.pair(side);
            leg.dialog.handle_timeout(now);
            while let Some(output) = self.legs.as_mut().and_then(|legs| legs.pair(side).0.dialog.poll_output()) {
                match output {
                    dialog::Output::Refresh(by) => self.refresh(now, side, by),
                    dialog::Output::SessionExpired => {
                        self.hang_up(now, wall, "session timer", HangupBy::System, None);
                    }
                    // A relayed request is its sender's to try again; a refresh of ours is timed by the dialog.
                    dialog::Output::Retry | dialog::Output::Send(_) | dialog::Output::NoPrack => {}
                }
            }
        }
    }
}

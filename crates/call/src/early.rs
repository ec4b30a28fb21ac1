//! Early dialogs: 18x of the callee, as the caller gets them (RFC 3261 §12.1, §13.2.2.1; RFC 3262).

use bytes::Bytes;
use dialog::{Answered, ReliableOrder};
use machine::{Instant, Machine, WallTime};
use sip::{Message, Method, Name, OwnedMessage};
use transaction::ServerInput;

use crate::admission::settings;
use crate::attempt::{invite_sent, is_sdp};
use crate::bridge::Request;
use crate::call::{Call, Stage, Waiting};
use crate::exchange::Kind;
use crate::io::{Event, Output};
use crate::leg::session_policy;
use crate::message::INVITE_CSEQ;
use crate::record::{CallCommand, Change, Flow, Progress, Side};
use crate::security::Said;

/// Which dialog a response of the attempt belongs to.
pub(crate) struct Early {
    pub index: usize,
    /// Whether the response opened it.
    pub fresh: bool,
    pub answered: Answered,
}

impl Call {
    /// 18x: an early dialog, relayed to the caller in one of its own.
    pub(crate) fn progress(
        &mut self,
        now: Instant,
        wall: WallTime,
        status: u16,
        message: &OwnedMessage,
        flow: Flow,
    ) {
        let given_up = |setup: &crate::setup::Setup| {
            setup.cancelled || setup.attempt.as_ref().is_none_or(|attempt| attempt.failure.is_some())
        };
        if self.stage != Stage::Trying || self.setup.as_deref().is_none_or(given_up) {
            return;
        }
        let view = message.view();
        let Some(early) = self.take_early(now, &view) else {
            // Without a tag it opens no dialog; that the callee rings is worth telling all the same.
            return self.respond(now, status, None, &[]);
        };
        let reliable = match early.answered {
            Answered::Provisional { reliable: Some(ReliableOrder::Next { rseq }) } => Some(rseq),
            Answered::Provisional { reliable: Some(ReliableOrder::Repeated) } => {
                return self.acknowledge_again(now, early.index, flow);
            }
            // One before it is missing, and both come again (RFC 3262 §4).
            Answered::Provisional { reliable: Some(ReliableOrder::Early) } => return,
            _ => None,
        };
        if is_sdp(&view) {
            self.relay_early(flow, view.body());
        }
        let Some(setup) = self.setup.as_ref() else { return };
        if !setup.progressed {
            self.outputs.push_back(Output::Event(Event::Ringing));
        }
        let Some(attempt) = setup.attempt.as_ref() else { return };
        let number = attempt.number;
        // One record of each early dialog is enough; a repeated 180 changes nothing.
        if reliable.is_some() || early.fresh || !view.body().is_empty() {
            let Some(dialog) = attempt.forks.get(early.index) else { return };
            let progress = Progress {
                attempt: number,
                dialog: dialog.state().clone(),
                status,
                rseq: reliable,
                sdp: Some(Bytes::copy_from_slice(view.body())).filter(|body| !body.is_empty()),
                at: wall,
            };
            let waiting = match reliable {
                Some(_) => Waiting::Progress(Box::new((number, early.index, message.clone(), flow))),
                None => Waiting::Lazy,
            };
            self.propose(CallCommand::Change(Change::Progress(Box::new(progress))), waiting);
        }
        if reliable.is_none() {
            self.relay_progress(now, early.index, message, None);
        }
    }

    /// A reliable 18x is recorded: it is acknowledged and relayed, if its attempt still goes on.
    pub(crate) fn progress_recorded(
        &mut self,
        now: Instant,
        attempt: u16,
        index: usize,
        message: &OwnedMessage,
        flow: Flow,
    ) {
        let current = self.setup.as_ref().and_then(|setup| setup.attempt.as_ref());
        if self.stage == Stage::Trying && current.is_some_and(|a| a.number == attempt) {
            self.send_prack(now, index, flow);
            self.relay_progress(now, index, message, message.view().rseq().ok().flatten());
        }
    }

    /// A reliable 18x came again: its PRACK was lost, perhaps with a predecessor that had recorded it.
    fn acknowledge_again(&mut self, now: Instant, index: usize, flow: Flow) {
        let recording = self.waiting.iter().any(|w| matches!(w, Waiting::Progress(p) if p.1 == index));
        let on_its_way = self.exchanges.iter().any(|e| e.kind == Kind::Prack && e.asked.is_none());
        if !recording && !on_its_way {
            self.send_prack(now, index, flow);
        }
    }

    /// The caller hears the 18x, reliably where both the callee said it so and the caller can.
    fn relay_progress(&mut self, now: Instant, index: usize, message: &OwnedMessage, rseq: Option<u32>) {
        let view = message.view();
        let Ok(body) = self.early_body(&view) else { return };
        let Some(setup) = self.setup.as_mut() else { return };
        if setup.cancelled {
            return;
        }
        setup.progressed = true;
        let invite = setup.invite.view();
        let wants = rseq.is_some()
            && (invite.has_token(Name::Supported, b"100rel") || invite.has_token(Name::Require, b"100rel"));
        let Some(early) = setup.attempt.as_mut().and_then(|attempt| attempt.early.get_mut(index)) else {
            return;
        };
        let mut extra = Vec::new();
        // The callee's own number, one early dialog for one: a successor goes on with the same numbers.
        let chance = rseq.filter(|_| wants).map(|rseq| u64::from(rseq.saturating_sub(1)));
        let rseq = chance.and_then(|chance| early.next_rseq(chance).ok());
        if let Some(rseq) = rseq {
            extra.extend_from_slice(b"Require: 100rel\r\nRSeq: ");
            sip::push_number(&mut extra, rseq);
            extra.extend_from_slice(b"\r\n");
        }
        let Some(setup) = self.setup.as_ref() else { return };
        let Some(early) = setup.attempt.as_ref().and_then(|attempt| attempt.early.get(index)) else { return };
        let tag = early.state().local_tag.as_bytes();
        let bytes = self.relayed_response(&setup.invite.view(), setup.flow, &view, tag, &extra, &body);
        let status = view.status().unwrap_or(180);
        let Some(setup) = self.setup.as_mut() else { return };
        setup.responded = true;
        if rseq.is_some() {
            if let Some(early) = setup.attempt.as_mut().and_then(|attempt| attempt.early.get_mut(index)) {
                early.send_provisional(now, bytes, !body.is_empty());
            }
            self.pump_early();
        } else {
            setup.server.handle(now, ServerInput::Respond { status, message: bytes });
            self.pump_setup();
        }
    }

    /// A body of an 18x as the caller gets it.
    fn early_body(&mut self, view: &Message<'_>) -> Result<Bytes, crate::reject::Answer> {
        let body = Bytes::copy_from_slice(view.body());
        // A description that can't be read is not passed on; the 2xx may carry a better one.
        if !is_sdp(view) {
            return Ok(body);
        }
        let Some(invite) = self.setup.as_ref().map(|setup| setup.invite.clone()) else { return Ok(body) };
        let offer = invite.view();
        let said = if offer.body().is_empty() { Said::Offer } else { Said::Answer(offer.body()) };
        self.describe(Side::Ingress, &body, said)
    }

    /// Gives a response of the attempt to its egress dialog, and makes the ingress dialog that mirrors it.
    pub(crate) fn take_early(&mut self, now: Instant, response: &Message<'_>) -> Option<Early> {
        let callee = self.callee.as_ref().and_then(|party| settings(&self.context.resources, party));
        let demanded = self.setup.as_ref().and_then(|setup| setup.session_expires);
        let session = self.session_request(callee, demanded);
        let dialog_settings = dialog::Settings { t1: self.context.times.t1, session: session_policy(callee) };
        let attempt = self.setup.as_mut()?.attempt.as_mut()?;
        let invite = attempt.invite.as_ref()?.view();
        let sent = invite_sent(&invite, session)?;
        let has_sdp = !response.body().is_empty();
        let forked = attempt.forks.receive(now, &sent, response, has_sdp, dialog_settings).ok()?;
        if forked.fresh {
            let early = {
                let attempt = self.setup.as_ref()?.attempt.as_ref()?;
                let tag = response.to_tag().ok().flatten().unwrap_or_default();
                self.ingress_dialog(attempt.number, tag)?
            };
            self.setup.as_mut()?.attempt.as_mut()?.early.push(early);
        }
        Some(Early { index: forked.index, fresh: forked.fresh, answered: forked.answered })
    }

    /// The caller's side of a callee's early dialog.
    pub(crate) fn ingress_dialog(&self, attempt: u16, remote_tag: &[u8]) -> Option<dialog::Dialog> {
        let tag = self.ingress_tag(&[&attempt.to_be_bytes(), remote_tag]);
        let tag = std::str::from_utf8(&tag).ok()?;
        let setup = self.setup.as_ref()?;
        let caller = settings(&self.context.resources, &self.party);
        let dialog_settings = dialog::Settings { t1: self.context.times.t1, session: session_policy(caller) };
        let view = setup.invite.view();
        dialog::Dialog::from_invite(&view, tag, 1, !view.body().is_empty(), dialog_settings).ok()
    }

    fn send_prack(&mut self, now: Instant, index: usize, flow: Flow) {
        let Some(attempt) = self.setup.as_mut().and_then(|setup| setup.attempt.as_mut()) else { return };
        let Some(dialog) = attempt.forks.get_mut(index) else { return };
        // Without a number yet, at a successor, the callee's next copy finds one.
        let Ok(cseq) = dialog.take_cseq() else { return };
        let mut rack = Vec::with_capacity(32);
        dialog.write_rack(&mut rack, INVITE_CSEQ);
        dialog.sent_request(Method::Prack, cseq, false);
        let request = Request { method: Method::Prack, cseq, extra: &rack, body: None };
        let Some(attempt) = self.setup.as_ref().and_then(|setup| setup.attempt.as_ref()) else { return };
        let Some(dialog) = attempt.forks.get(index) else { return };
        let sent = self.make_sent(now, Side::Egress, (dialog.state(), flow), &request);
        self.open_own(Kind::Prack, sent);
    }

    /// Repeats reliable provisionals. Gives whether a caller never sent its PRACK.
    pub(crate) fn pump_early(&mut self) -> bool {
        let Some(setup) = self.setup.as_mut() else { return false };
        let flow = setup.flow;
        let mut given_up = false;
        for early in setup.attempt.iter_mut().flat_map(|attempt| attempt.early.iter_mut()) {
            while let Some(output) = early.poll_output() {
                match output {
                    dialog::Output::Send(bytes) => self.outputs.push_back(Output::Send { flow, bytes }),
                    dialog::Output::NoPrack => given_up = true,
                    _ => {} // Session timers and glare begin with the answer.
                }
            }
        }
        given_up
    }
}

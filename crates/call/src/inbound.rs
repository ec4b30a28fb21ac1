//! Which part of the call a message is for.

use machine::museum::planted;
use machine::{Instant, Machine, WallTime};
use sip::{Message, Method, OwnedMessage};
use transaction::{ClientInput, ServerInput};

use crate::call::{Call, Hangup, Stage};
use crate::cdr::HangupBy;
use crate::record::{Flow, Side};
use crate::reject;
use crate::setup::Verdict;

/// What a response answers, and how.
pub(crate) struct Answer<'a> {
    pub branch: &'a [u8],
    pub status: u16,
    pub method: Method<'a>,
}

impl Call {
    pub(crate) fn receive(&mut self, now: Instant, wall: WallTime, message: OwnedMessage, flow: Flow) {
        let view = message.view();
        let Some(method) = view.method() else { return self.receive_response(now, wall, message, flow) };
        match method {
            Method::Invite if view.to_tag().ok().flatten().is_none() => self.invite_again(now),
            Method::Cancel => self.receive_cancel(now, wall, message, flow),
            Method::Ack => self.receive_ack(now, wall, &message),
            _ => self.receive_request(now, wall, message, flow),
        }
    }

    /// The caller's INVITE came again: its last answer goes out again, if there was one.
    fn invite_again(&mut self, now: Instant) {
        let Some(setup) = self.setup.as_mut() else { return };
        if !setup.responded && self.stage == Stage::Trying {
            // A successor does not know what its predecessor said; that the call is known is always true.
            return self.respond(now, 100, None, &[]);
        }
        setup.server.handle(now, ServerInput::Retransmission);
        self.pump_setup();
    }

    fn receive_response(&mut self, now: Instant, wall: WallTime, message: OwnedMessage, flow: Flow) {
        let view = message.view();
        let (Ok(via), Some(status), Ok((cseq, method))) = (view.top_via(), view.status(), view.cseq()) else {
            return;
        };
        let branch = via.branch.unwrap_or_default();
        let attempt = self.setup.as_mut().and_then(|setup| setup.attempt.as_mut());
        if let Some(attempt) = attempt.filter(|attempt| attempt.branch == branch) {
            let input = ClientInput::Response { status };
            if method == Method::Cancel {
                if let Some(cancel) = attempt.cancel.as_mut() {
                    cancel.handle(now, input);
                }
            } else if let Some(client) = attempt.client.as_mut() {
                client.handle(now, input);
                self.pump_attempt(now, wall, Some((message, flow)));
            }
            return;
        }
        let of = Answer { branch, status, method };
        if self.receive_exchange_response(now, wall, &message, &of)
            || self.receive_faded(now, &view, &of, flow)
        {
            return;
        }
        match (method, status) {
            (Method::Invite, 200..300) => self.answered_again(now, &view, branch, cseq, flow),
            (Method::Invite, 300..) => self.refused_again(&view, (branch, cseq), flow),
            _ => {}
        }
    }

    /// A 2xx to an INVITE whose transaction is gone: the winner's ACK was lost (perhaps with a predecessor) and is
    /// made anew with the response's CSeq (RFC 3261 §13.2.2.4); that of another fork, or of an attempt that was given
    /// up, gets ACK and BYE.
    fn answered_again(&mut self, now: Instant, view: &Message<'_>, branch: &[u8], cseq: u32, flow: Flow) {
        if planted("ack-not-repeated") {
            return;
        }
        if self.legs.as_ref().is_some_and(|legs| legs.egress.dialog.owns(view)) {
            self.follow_flow(Side::Egress, flow);
            return self.repeat_ack(cseq);
        }
        if !self.is_confirming() && (0..self.attempts).any(|n| self.attempt_branch(n) == branch) {
            self.dismiss_stray(now, view, flow);
        }
    }

    /// Fires the timers of what goes on until the call is answered and acknowledged.
    pub(crate) fn setup_timeout(&mut self, now: Instant, wall: WallTime) {
        let Some(setup) = self.setup.as_mut() else { return };
        setup.server.handle_timeout(now);
        if let Some(answer) = setup.answer.as_mut() {
            answer.handle_timeout(now);
        }
        if let Some(attempt) = setup.attempt.as_mut() {
            if let Some(client) = attempt.client.as_mut() {
                client.handle_timeout(now);
            }
            if let (Some(cancel), Some(flow)) = (attempt.cancel.as_mut(), attempt.flow) {
                cancel.handle_timeout(now);
                crate::fading::pump(cancel, flow, &mut self.outputs);
            }
            attempt.early.iter_mut().for_each(|early| early.handle_timeout(now));
        }
        self.pump_setup();
        if self.pump_answer() {
            self.never_acknowledged(now, wall);
        }
        if self.pump_early() {
            self.no_prack(now, wall);
        }
        self.pump_attempt(now, wall, None);
    }

    /// RFC 3261 §13.3.1.4: a caller that never acknowledges is sent BYE.
    pub(crate) fn never_acknowledged(&mut self, now: Instant, wall: WallTime) {
        if let Some(setup) = self.setup.as_mut() {
            setup.answer = None;
        }
        self.hang_up(now, wall, Hangup::ours("no ACK"));
        self.setup = None;
        self.send_wanted(now, wall, crate::record::Side::Ingress);
    }

    /// RFC 3262 §3: a caller that never sends PRACK gets 5xx.
    fn no_prack(&mut self, now: Instant, wall: WallTime) {
        if let Some(setup) = self.setup.as_mut()
            && let Some((held, _)) = setup.held.take().map(|held| *held)
            && let Some(attempt) = setup.attempt.as_mut()
        {
            attempt.failure = Some(Some(Box::new(held)));
        }
        self.give_up(now, wall);
        let verdict = Verdict::Ours(reject::Answer::new(504, "no PRACK"));
        self.conclude(now, wall, verdict, HangupBy::System);
    }

    pub(crate) fn unreachable(&mut self, now: Instant, wall: WallTime, flow: Flow) {
        let attempt = self.setup.as_mut().and_then(|setup| setup.attempt.as_mut());
        let same = |theirs: &Flow| theirs.remote == flow.remote && theirs.transport == flow.transport;
        if let Some(attempt) = attempt.filter(|attempt| attempt.flow.as_ref().is_some_and(same)) {
            if let Some(client) = attempt.client.as_mut() {
                client.handle(now, ClientInput::TransportError);
            }
            self.pump_attempt(now, wall, None);
        }
        self.exchanges_unreachable(now, wall, flow);
    }
}

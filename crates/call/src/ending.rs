//! How a call ends: both legs are told at once, the end is committed, then whoever asked is answered
//! (RFC 3261 §15).

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use machine::museum::planted;
use machine::{Instant, WallTime};
use sip::{Message, Method, Name};

use crate::bridge::Request;
use crate::call::{Call, CallTimer, Hangup, Stage, Waiting, Wanted};
use crate::cdr::HangupBy;
use crate::exchange::Kind;
use crate::io::{Event, Output};
use crate::record::{CallCommand, Change, End, Side};
use crate::reject;
use crate::setup::Verdict;

/// How a call ended, until the relay's figures are there and the end is proposed.
#[derive(Debug)]
pub(crate) struct Ending {
    pub status: u16,
    pub reason: Cow<'static, str>,
    pub by: HangupBy,
    pub at: WallTime,
}

/// The reason of a call that a side ended.
pub(crate) const BYE: &str = "BYE";

/// How long an end waits for the relay's figures.
const MEASURED_WITHIN: Duration = Duration::from_secs(1);

impl Call {
    /// Ends the call at our own wish, or because a side said BYE. Ends already decided go out at once.
    pub(crate) fn hang_up(&mut self, now: Instant, wall: WallTime, hangup: Hangup) {
        match self.stage {
            Stage::Ending | Stage::Over => {}
            // What is on its way to a quorum must be known before it can be undone.
            Stage::Asking | Stage::Confirming => self.hangup_wanted = Some(Box::new(hangup)),
            Stage::Trying => {
                let answer = reject::Answer::new(503, hangup.reason);
                self.give_up(now, wall);
                self.conclude(now, wall, Verdict::Ours(answer), hangup.by);
            }
            Stage::Answered => self.end_answered(now, wall, hangup),
        }
    }

    fn end_answered(&mut self, now: Instant, wall: WallTime, hangup: Hangup) {
        self.stage = Stage::Ending;
        self.timers.clear_all();
        self.rehoming = None;
        self.wanted.retain(|(_, wanted)| !matches!(wanted, Wanted::Rehome | Wanted::Presence));
        if self.setup.as_ref().is_some_and(|setup| setup.verdict.is_some()) {
            self.await_commit(now);
        }
        if self.setup.as_ref().is_some_and(|setup| setup.ack_owed) {
            // The caller's answer will not come any more; the callee's 2xx is acknowledged before its BYE.
            self.acknowledge_callee(&Bytes::new());
        }
        for side in [Side::Ingress, Side::Egress] {
            if hangup.from != Some(side) {
                self.send_bye(now, side, hangup.reason.clone());
            }
        }
        let Hangup { reason, by, .. } = hangup;
        self.ending = Some(Ending { status: 200, reason, by, at: wall });
        self.begin_end(now);
    }

    /// Asks the relay for its last figures, or goes on at once where there is none.
    pub(crate) fn begin_end(&mut self, now: Instant) {
        let relayed = self.media.installed && self.media.ports.is_some();
        self.release_media();
        if relayed {
            self.timers.set(CallTimer::Unmeasured, now + MEASURED_WITHIN);
        } else {
            self.propose_end();
        }
    }

    /// Proposes the end, once.
    pub(crate) fn propose_end(&mut self) {
        let Some(ending) = self.ending.take() else { return };
        self.timers.clear(CallTimer::Unmeasured);
        let end = End {
            status: ending.status,
            reason: ending.reason.into_owned(),
            by: ending.by,
            at: ending.at,
            ingress_quality: self.media.quality.0,
            egress_quality: self.media.quality.1,
            events: std::mem::take(&mut self.events),
        };
        self.propose(CallCommand::Change(Change::End(Box::new(end))), Waiting::End);
    }

    /// `End` is committed: whatever waited for it is said now.
    pub(crate) fn ended(&mut self, now: Instant) {
        self.stage = Stage::Over;
        self.timers.clear(CallTimer::Uncommitted);
        let verdict = self.setup.as_ref().and_then(|setup| setup.verdict.as_ref()).map(Verdict::status);
        self.outputs.push_back(Output::Event(Event::Ended(verdict.unwrap_or(200))));
        self.leave_attempt(now);
        let repeats = self.setup.as_ref().is_some_and(|setup| setup.answer.is_some());
        match verdict {
            Some(_) => self.finish_ingress(now),
            // A caller that has not acknowledged its 200 still hears it, and then BYE.
            None if repeats => {}
            None => self.setup = None,
        }
        self.acknowledge_exchanges();
        self.answer_kind(now, &Kind::Cancel, 200);
        self.answer_byes(now);
    }

    /// BYE: told to the far leg at once, answered when the end is committed.
    pub(crate) fn receive_bye(
        &mut self,
        now: Instant,
        wall: WallTime,
        index: usize,
        side: Side,
        reason: Vec<u8>,
    ) {
        let repeats = self.setup.as_ref().is_some_and(|setup| setup.answer.is_some());
        if side == Side::Ingress && repeats {
            // It has the 200, though its ACK did not come.
            if self.setup.as_ref().is_some_and(|setup| setup.ack_owed) {
                self.acknowledge_callee(&Bytes::new());
            }
            self.setup = None;
            self.wanted.retain(|(wanted, _)| *wanted != Side::Ingress);
        }
        if self.stage == Stage::Over {
            return self.answer_exchange(now, index, 200);
        }
        if self.bye_reason.is_empty() {
            self.bye_reason = reason;
        }
        if planted("bye-answered-before-commit") {
            self.answer_exchange(now, index, 200);
        }
        self.hang_up(now, wall, Hangup::of(side, BYE));
    }

    /// The end is committed: every BYE that waits for it is answered.
    fn answer_byes(&mut self, now: Instant) {
        self.answer_kind(now, &Kind::Bye, 200);
        self.answer_kind(now, &Kind::Cancel, 200);
        for index in 0..self.exchanges.len() {
            // RFC 3261 §15.1.2: requests that are still pending get 487.
            let pending = self.exchanges.get(index).and_then(|e| e.asked.as_ref());
            if pending.is_some_and(|asked| asked.last.is_none()) {
                self.answer_exchange(now, index, 487);
            }
        }
    }

    /// BYE on one leg, unless it can't be sent or was.
    pub(crate) fn send_bye(&mut self, now: Instant, side: Side, reason: Cow<'static, str>) {
        let repeats = self.setup.as_ref().is_some_and(|setup| setup.answer.is_some());
        let Some(legs) = self.legs.as_mut() else { return };
        let leg = legs.leg_mut(side);
        if leg.dialog.is_ended() {
            return;
        }
        if side == Side::Ingress && repeats {
            // RFC 3261 §15: no BYE to a caller before its ACK, or before that is given up.
            self.wanted.push((side, Wanted::Bye(reason)));
            return;
        }
        leg.dialog.ack_timed_out();
        let Ok(cseq) = leg.dialog.take_cseq() else {
            // A reservation is on its way to a quorum; the BYE follows it.
            self.wanted.push((side, Wanted::Bye(reason)));
            return self.keep_numbers(side);
        };
        leg.dialog.sent_request(Method::Bye, cseq, false);
        let mut extra = Vec::new();
        if reason == BYE {
            extra = std::mem::take(&mut self.bye_reason);
        } else {
            extra.extend_from_slice(b"Reason: SIP;cause=200;text=");
            crate::message::push_quoted(&mut extra, &reason);
            extra.extend_from_slice(b"\r\n");
        }
        self.send_request(
            now,
            side,
            Kind::Bye,
            &Request { method: Method::Bye, cseq, extra: &extra, body: None },
        );
    }
}

/// The Reason lines of a BYE: why the call ended is the far side's business too (RFC 3326).
pub(crate) fn reason_lines(bye: &Message<'_>) -> Vec<u8> {
    let mut lines = Vec::new();
    for header in bye.headers().filter(|header| header.id == Name::Reason) {
        lines.extend_from_slice(header.line);
        lines.extend_from_slice(b"\r\n");
    }
    lines
}

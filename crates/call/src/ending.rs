//! How a call ends: both legs are told at once, the end is committed, then whoever asked is answered.

use machine::{Instant, WallTime};
use sip::Method;

use crate::call::{Call, Stage, Waiting};
use crate::cdr::HangupBy;
use crate::record::{CallCommand, Change, End, Side};
use crate::reject;
use crate::setup::Verdict;

/// How a call ended, until the relay's figures are there and the end is proposed.
#[derive(Debug)]
pub(crate) struct Ending {
    pub status: u16,
    pub reason: String,
    pub by: HangupBy,
    pub at: WallTime,
}

impl Call {
    /// Ends the call at our own wish, or because `from` said BYE. Ends already decided go out at once.
    pub(crate) fn hang_up(
        &mut self,
        now: Instant,
        wall: WallTime,
        reason: &str,
        by: HangupBy,
        from: Option<Side>,
    ) {
        match self.stage {
            Stage::Ending | Stage::Over => return,
            Stage::Answered | Stage::Confirming => {}
            Stage::Asking | Stage::Trying => {
                let answer = reject::Answer::new(503, reason);
                self.give_up(now, wall);
                return self.conclude(now, wall, Verdict::Ours(answer), by);
            }
        }
        if self.stage == Stage::Confirming {
            // The answer is on its way to a quorum: it must be known before it can be undone.
            self.hangup_wanted = Some((reason.to_owned(), by));
            return;
        }
        self.stage = Stage::Ending;
        self.timers.clear_all();
        for side in [Side::Ingress, Side::Egress] {
            if from != Some(side) {
                self.send_bye(now, side, reason);
            }
        }
        self.ending = Some(Ending { status: 200, reason: reason.to_owned(), by, at: wall });
        self.begin_end();
    }

    /// Asks the relay for its last figures, or goes on at once where there is none.
    pub(crate) fn begin_end(&mut self) {
        let relayed = self.media.installed && self.media.ports.is_some();
        self.release_media();
        if !relayed {
            self.propose_end();
        }
    }

    /// Proposes the end, once.
    pub(crate) fn propose_end(&mut self) {
        let Some(ending) = self.ending.take() else { return };
        let end = End {
            status: ending.status,
            reason: ending.reason,
            by: ending.by,
            at: ending.at,
            ingress_quality: self.media.quality.0,
            egress_quality: self.media.quality.1,
            events: std::mem::take(&mut self.events),
        };
        self.propose(CallCommand::Change(Change::End(Box::new(end))), Waiting::End);
    }

    /// BYE on one leg, unless it can't be sent or was.
    pub(crate) fn send_bye(&mut self, now: Instant, side: Side, reason: &str) {
        let Some(legs) = self.legs.as_mut() else { return };
        let (leg, _) = legs.pair(side);
        if leg.dialog.is_ended() {
            return;
        }
        // A caller that never acknowledged is sent BYE all the same (RFC 3261 §13.3.1.4).
        leg.dialog.ack_timed_out();
        let Ok(cseq) = leg.dialog.take_cseq() else {
            // A reservation is on its way to a quorum; the BYE follows it.
            self.byes_wanted.push((side, reason.to_owned()));
            return;
        };
        leg.dialog.sent_request(Method::Bye, cseq, false);
        let (state, flow) = (leg.dialog.state().clone(), leg.flow);
        let mut extra = Vec::new();
        if reason != "BYE" {
            let text = crate::message::quoted(reason);
            extra.extend_from_slice(b"Reason: SIP;cause=200;text=");
            extra.extend_from_slice(&text);
            extra.extend_from_slice(b"\r\n");
        } else if let Some(line) = self.bye_reason.take() {
            extra.extend_from_slice(&line);
        }
        self.send_request(now, side, &state, flow, Method::Bye, cseq, &extra, None);
    }
}

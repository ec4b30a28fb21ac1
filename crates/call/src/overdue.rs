//! What a caller hears when a commit does not come: a full disk, no quorum (contract: 503 with Retry-After).
//!
//! Nothing is acknowledged before the commit that records it. But a caller that heard a provisional response waits
//! without a timer of its own (RFC 3261 §17.1.1.2), so it would ring for as long as the disk is full. After 64·T1 it
//! is told. What was proposed is never taken back: an `End` follows it, and whatever is applied then changes nothing
//! that anybody heard.

use std::borrow::Cow;

use machine::museum::planted;
use machine::{Instant, WallTime};

use crate::call::{Call, CallTimer, Hangup, Stage, Waiting};
use crate::cdr::HangupBy;
use crate::record::Side;
use crate::reject;
use crate::setup::Verdict;

impl Call {
    /// The caller waits for a commit from here on, if it did not already, and for nothing else. When this ends a
    /// callee that answered has stopped repeating its 2xx too (RFC 3261 §13.3.1.4).
    pub(crate) fn await_commit(&mut self, now: Instant) {
        let until = self.timers.get(CallTimer::Uncommitted).unwrap_or(now + self.times().give_up());
        self.timers.clear_all();
        self.timers.set(CallTimer::Uncommitted, until);
    }

    /// The commit did not come in time.
    pub(crate) fn commit_overdue(&mut self, now: Instant, wall: WallTime) {
        match self.stage {
            // Not let in yet; if it is after all, the caller is gone and no callee may be woken.
            Stage::Asking => {
                let draw = self.draw();
                if let Some(setup) = self.setup.as_mut() {
                    let answer = if setup.cancelled { reject::cancelled() } else { reject::no_quorum(draw) };
                    setup.verdict.get_or_insert(Verdict::Ours(answer));
                }
            }
            Stage::Trying | Stage::Confirming => self.forsake(now, wall),
            // The verdict is known, and the `End` that carries it is on its way.
            Stage::Ending => {}
            Stage::Answered | Stage::Over => return,
        }
        self.timers.clear(CallTimer::Uncommitted);
        self.finish_ingress(now);
    }

    /// Ends a call whose next attempt, or whose answer, can't be recorded.
    fn forsake(&mut self, now: Instant, wall: WallTime) {
        let gave_up = self.legs.as_ref().is_some_and(|legs| legs.ingress.dialog.is_ended())
            || self.setup.as_ref().is_some_and(|setup| setup.cancelled);
        let (answer, by) = match gave_up {
            true => (reject::cancelled(), HangupBy::Caller),
            false => (reject::no_quorum(self.draw()), HangupBy::System),
        };
        self.hangup_wanted = None;
        if self.stage == Stage::Confirming {
            if let Some(setup) = self.setup.as_mut() {
                setup.ok = None;
                // Its answer, repeated, is known by the leg from here on.
                setup.attempt = None;
            }
            // A caller may say BYE before its ACK (RFC 3261 §15); the ACK itself waits for the commit.
            self.send_bye(now, Side::Egress, Cow::Borrowed("no quorum"));
        }
        self.conclude(now, wall, Verdict::Ours(answer), by);
    }

    /// `Admit` is committed, but its caller was told already that nothing came of it.
    pub(crate) fn admitted_late(&mut self, now: Instant, wall: WallTime) -> bool {
        let Some(verdict) = self.setup.as_mut().and_then(|setup| setup.verdict.take()) else { return false };
        let hangup = Hangup::ours("no quorum");
        self.hangup_wanted = None;
        self.conclude(now, wall, verdict, hangup.by);
        true
    }

    /// Whether an answer is on its way to a quorum: until it is there no 2xx of a callee is acknowledged.
    pub(crate) fn is_confirming(&self) -> bool {
        !planted("ack-before-commit")
            && self.waiting.iter().any(|waiting| matches!(waiting, Waiting::Confirm))
    }
}

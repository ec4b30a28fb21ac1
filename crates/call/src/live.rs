//! All that a quorum holds of a live call, and how each committed change alters it.
//!
//! `State::apply` and `Call::restore` share this code, so a successor sees exactly what was committed.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use machine::museum::planted;
use machine::{ClusterTime, WallTime};
use serde::{Deserialize, Serialize};
use trunk::{Party, Plan, Redirected, Slot, Target};

use crate::id::{CallId, Epoch, HomeId};
use crate::record::{
    Admit, Attempt, AttemptEnd, Challenged, Change, Confirm, LegState, Mark, Progress, Side,
};

/// How far a call has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Phase {
    /// Admitted, not answered: the early dialogs of the current attempt, and whether the caller gave up.
    Ringing {
        /// Early dialogs by arrival.
        early: Vec<Progress>,
        /// The caller's CANCEL was committed.
        cancelled: bool,
    },
    /// Answered.
    Answered {
        /// The answer, as later updates left it.
        confirm: Box<Confirm>,
        /// Whether the caller's ACK came.
        acked: bool,
    },
}

/// One attempt, as the CDR will list it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// The target's index in the plan.
    pub target: u16,
    /// Who it led to.
    pub party: Party,
    /// The Request-URI.
    pub uri: String,
    /// The redirect that led to it.
    pub redirected: Option<Box<Redirected>>,
    /// When it began.
    pub started_at: WallTime,
    /// How it ended; absent while it goes on.
    pub ended: Option<AttemptEnd>,
}

/// When what a call's deadlines count from was committed, in the cluster's time: nodes' civil times differ, and leap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moments {
    /// The current attempt.
    pub attempt: ClusterTime,
    /// The answer.
    pub answered: ClusterTime,
    /// The caller's leg, as it is now.
    pub ingress: ClusterTime,
    /// The callee's leg, as it is now.
    pub egress: ClusterTime,
}

impl Moments {
    fn leg(&mut self, side: Side) -> &mut ClusterTime {
        match side {
            Side::Ingress => &mut self.ingress,
            Side::Egress => &mut self.egress,
        }
    }
}

/// All that a quorum holds of a live call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallRecord {
    /// Its name.
    pub id: CallId,
    /// The home that its peers see.
    pub home: HomeId,
    /// The epoch of that home when it was admitted.
    pub epoch: Epoch,
    /// How it was let in. The targets are dropped at the answer, the INVITE at its ACK.
    pub admit: Arc<Admit>,
    /// Every attempt so far; the last is the current one.
    pub attempts: Vec<Tried>,
    /// The number of the current attempt (retries at one target count too).
    pub attempt: u16,
    /// A Session-Expires demanded by the current target.
    pub session_expires: Option<u32>,
    /// The current target's challenge, which its INVITE answers.
    pub challenge: Option<Box<Challenged>>,
    /// The slots that it holds now.
    pub slots: Vec<Slot>,
    /// When 18x was first relayed.
    pub ringing_at: Option<WallTime>,
    /// How far it has come.
    pub phase: Phase,
    /// When it came there.
    pub moments: Moments,
    /// How far its secured packets may have come. Not encoded here: since version 3 a snapshot has it by itself.
    #[serde(skip)]
    pub marks: Vec<Mark>,
}

impl CallRecord {
    /// A call that was let in at `at`, its first attempt going to `target` of its plan.
    pub fn admitted(
        id: CallId,
        home: HomeId,
        epoch: Epoch,
        admit: Arc<Admit>,
        target: u16,
        at: ClusterTime,
    ) -> CallRecord {
        let mut record = CallRecord {
            id,
            home,
            epoch,
            attempts: Vec::new(),
            attempt: 0,
            session_expires: None,
            challenge: None,
            slots: Vec::new(),
            ringing_at: None,
            phase: Phase::Ringing { early: Vec::new(), cancelled: false },
            moments: Moments { attempt: at, ..Moments::default() },
            marks: Vec::new(),
            admit,
        };
        record.start_attempt(target, record.admit.started_at);
        record
    }

    /// Another home adopts it. An address that stands for all of a machine's (`0.0.0.0`) says nothing of which machine
    /// that was, so that it can't pass for the new home's.
    pub fn adopt(&mut self, home: HomeId, epoch: Epoch) {
        (self.home, self.epoch) = (home, epoch);
        let forget = |local: &mut SocketAddr| {
            if local.ip().is_unspecified() {
                local.set_port(0);
            }
        };
        if self.admit.ingress.local.ip().is_unspecified() {
            forget(&mut Arc::make_mut(&mut self.admit).ingress.local);
        }
        if let Phase::Answered { confirm, .. } = &mut self.phase {
            forget(&mut confirm.ingress.flow.local);
            forget(&mut confirm.egress.flow.local);
        }
    }

    /// Takes a change that was committed at `at`. `granted` is the target that `apply` chose, for an `Attempt`.
    pub fn apply(&mut self, change: &Change, granted: Option<u16>, at: ClusterTime) {
        match change {
            Change::Attempt(attempt) => self.take_attempt(attempt, granted, at),
            Change::Progress(progress) => self.take_progress(progress),
            Change::Cancel(_) => {
                if let Phase::Ringing { cancelled, .. } = &mut self.phase {
                    *cancelled = !planted("cancel-forgotten");
                }
            }
            Change::Confirm(confirm) => self.take_confirm(confirm, at),
            Change::Acked(sdp) => {
                if let Phase::Answered { acked, confirm } = &mut self.phase {
                    *acked = true;
                    if let Some(sdp) = sdp {
                        confirm.ingress.remote_sdp = sdp.clone();
                    }
                    // At most 2 KiB stay of an answered call.
                    Arc::make_mut(&mut self.admit).invite = Bytes::new();
                }
            }
            Change::Update(_) if planted("update-forgotten") => {}
            Change::Update(update) => {
                if let Phase::Answered { confirm, .. } = &mut self.phase {
                    let (near, far) = match update.side {
                        Side::Ingress => (&mut confirm.ingress, &mut confirm.egress),
                        Side::Egress => (&mut confirm.egress, &mut confirm.ingress),
                    };
                    replace(near, &update.leg);
                    *self.moments.leg(update.side) = at;
                    if let Some(leg) = &update.far {
                        replace(far, leg);
                        *self.moments.leg(update.side.other()) = at;
                    }
                }
            }
            Change::Advance(side, reserved_to) => self.take_advance(*side, *reserved_to),
            Change::Rehome(rehome) => {
                let admit = Arc::make_mut(&mut self.admit);
                admit.ingress.local = rehome.local;
                admit.ports.clone_from(&rehome.ports);
            }
            Change::Mark(mark) => mark.note(&mut self.marks),
            // The record goes away with the End; the CDR is made from it beforehand.
            Change::End(_) => {}
        }
    }

    /// Whether the current attempt goes in clear to a target that refused RTP/SAVP.
    pub(crate) fn asks_in_clear(&self) -> bool {
        let [.., before, current] = &self.attempts[..] else { return false };
        before.target == current.target && before.ended.is_some_and(|end| end.status == 488)
    }

    /// The target that the current attempt goes to; absent once answered.
    pub fn target(&self) -> Option<&Target> {
        let tried = self.attempts.last()?;
        self.admit.plan.targets.get(usize::from(tried.target))
    }

    /// The Call-ID of the callee's leg, once a response of the callee named it.
    pub fn egress_call_id(&self) -> Option<&str> {
        match &self.phase {
            Phase::Answered { confirm, .. } => Some(&confirm.egress.dialog.call_id),
            Phase::Ringing { early, .. } => early.last().map(|progress| &*progress.dialog.call_id),
        }
    }

    /// The slots that the call would hold on `target` of its plan.
    pub fn slots_for(&self, target: u16) -> Vec<Slot> {
        slots_for(&self.admit.plan, target)
    }

    fn start_attempt(&mut self, target: u16, at: WallTime) {
        self.slots = self.slots_for(target);
        if let Some(chosen) = self.admit.plan.targets.get(usize::from(target)) {
            self.attempts.push(Tried {
                target,
                party: chosen.party.clone(),
                uri: chosen.uri.to_string(),
                redirected: chosen.redirected.clone(),
                started_at: at,
                ended: None,
            });
        }
    }

    fn take_attempt(&mut self, attempt: &Attempt, granted: Option<u16>, at: ClusterTime) {
        let Some(target) = granted else { return };
        self.moments.attempt = at;
        if let Some(last) = self.attempts.last_mut() {
            last.ended = Some(attempt.ended);
        }
        self.attempt = attempt.number;
        self.session_expires = attempt.session_expires;
        self.challenge.clone_from(&attempt.challenge);
        self.admit = attempt.admit(&self.admit);
        self.start_attempt(target, attempt.ended.at);
        if let Phase::Ringing { early, .. } = &mut self.phase {
            early.clear();
        }
    }

    fn take_progress(&mut self, progress: &Progress) {
        if progress.attempt != self.attempt {
            return;
        }
        if progress.status > 100 && self.ringing_at.is_none() {
            self.ringing_at = Some(progress.at);
        }
        if let Phase::Ringing { early, .. } = &mut self.phase {
            match early.iter_mut().find(|e| e.dialog.remote_tag == progress.dialog.remote_tag) {
                Some(known) => *known = progress.clone(),
                None => early.push(progress.clone()),
            }
        }
    }

    fn take_confirm(&mut self, confirm: &Confirm, at: ClusterTime) {
        (self.moments.answered, self.moments.ingress, self.moments.egress) = (at, at, at);
        if let Some(last) = self.attempts.last_mut() {
            last.ended = Some(AttemptEnd { status: confirm.status, at: confirm.answered_at });
        }
        self.challenge = None;
        let mut confirm = Box::new(confirm.clone());
        if let Phase::Ringing { early, .. } = &self.phase {
            // Numbers that were reserved while it rang stay reserved.
            let tag = &confirm.egress.dialog.remote_tag;
            let known = early.iter().find(|e| e.dialog.remote_tag == *tag).map(|e| e.dialog.cseq);
            if let Some(known) = known {
                confirm.egress.dialog.cseq.reserve(known.reserved_to());
            }
        }
        self.phase = Phase::Answered { confirm, acked: false };
        // No further target is tried. The INVITE stays until the ACK: a successor may have to repeat the 200.
        Arc::make_mut(&mut self.admit).plan.targets = Vec::new();
    }

    fn take_advance(&mut self, side: Side, reserved_to: u32) {
        match (&mut self.phase, side) {
            (Phase::Answered { confirm, .. }, Side::Ingress) => {
                confirm.ingress.dialog.cseq.reserve(reserved_to);
            }
            (Phase::Answered { confirm, .. }, Side::Egress) => {
                confirm.egress.dialog.cseq.reserve(reserved_to);
            }
            (Phase::Ringing { early, .. }, _) => {
                for progress in early {
                    progress.dialog.cseq.reserve(reserved_to);
                }
            }
        }
    }
}

/// The slots that a call of `plan` holds while `target` is tried: the caller's and the target's, none twice.
pub fn slots_for(plan: &Plan, target: u16) -> Vec<Slot> {
    let mut slots: Vec<Slot> = plan.slots.to_vec();
    if let Some(target) = plan.targets.get(usize::from(target)) {
        for slot in target.slots.iter() {
            if !slots.contains(slot) {
                slots.push(slot.clone());
            }
        }
    }
    slots
}

/// A leg as an update has it. A reservation that was committed meanwhile is not taken back (I-12).
fn replace(leg: &mut LegState, update: &LegState) {
    let reserved_to = leg.dialog.cseq.reserved_to();
    *leg = update.clone();
    leg.dialog.cseq.reserve(reserved_to);
}

//! `apply`: the one function that changes the state.

use std::sync::Arc;

use call::{
    Admit, Attempt, CallCommand, CallId, CallRecord, Cdr, Change, End, Epoch, HomeId, Limited, LimitedBy,
    NodeId, Phase, Refuse,
};
use machine::museum::planted;
use trunk::{Kind, Name, Resource, Side, Slot};

use super::digest::{self, Mixer};
use super::{Delta, State, slots};
use crate::command::{Batch, Command, Outcome, Refused, Stamped, Verdict};

impl State {
    /// Applies a batch. What changed is added to `deltas`, in order.
    pub fn apply(&mut self, stamped: &Stamped, deltas: &mut Vec<Delta>) -> Verdict {
        // A new leader's clock may lag by what it had not heard of; the cluster's time never goes back.
        self.time = if planted("time-turned-back") { stamped.time } else { self.time.max(stamped.time) };
        self.invites.forget(self.time);
        self.proofs.forget(self.time);
        if self.bindings.forget(self.time) {
            self.follow_health();
        }
        let batch = &stamped.batch;
        if let Err(verdict) = self.accept(batch) {
            return verdict;
        }
        let outcomes = batch.commands.iter().map(|command| self.command(batch, command, deltas)).collect();
        Verdict::Applied(outcomes)
    }

    fn command(&mut self, batch: &Batch, command: &Command, deltas: &mut Vec<Delta>) -> Outcome {
        match command {
            Command::Boot(boot) => {
                self.boot(batch.node, boot, deltas).map_or_else(Outcome::Refused, Outcome::Booted)
            }
            Command::Call { call, home, epoch, command } => {
                let mut step = Step { state: self, deltas, node: batch.node, call: *call, home: *home };
                Outcome::Call(step.run(*epoch, command))
            }
            Command::PutResources(set) => Outcome::Put(self.put(set, deltas)),
            Command::DeleteResource { kind, name } => Outcome::Deleted(self.delete(*kind, name, deltas)),
            Command::CdrsDurable(up_to) => {
                let made = self.cdrs.made();
                if let Some(node) = self.nodes.get_mut(&batch.node) {
                    node.cdrs_durable = node.cdrs_durable.max((*up_to).min(made));
                }
                self.cdrs.release(self.cdrs_safe());
                Outcome::Done
            }
            Command::Tick => Outcome::Done,
            Command::Evict { node, incarnation, term } => {
                outcome(self.evict(*node, *incarnation, *term, deltas))
            }
            Command::Leave => outcome(self.bury(batch.node, deltas)),
            Command::Return => outcome(self.revive(batch.node, deltas)),
            Command::Yield { home, epoch } => outcome(self.yield_home(batch.node, *home, *epoch, deltas)),
            Command::Drain { node, until } => outcome(self.drain(*node, *until, deltas)),
            Command::Resume(node) => outcome(self.resume(*node, deltas)),
            Command::Remove(node) => outcome(self.remove(*node, deltas)),
            Command::RaiseVersion(to) => outcome(self.raise_version(*to)),
            Command::Register(register) => Outcome::Registered(self.register(batch.node, register)),
            Command::Enrol(enrol) => outcome(self.enrol(batch.node, enrol)),
            Command::Restore(backup) => outcome(self.restore(backup, deltas)),
            Command::Health(health) => outcome(self.note_health(batch.node, health)),
        }
    }

    fn put(
        &mut self,
        set: &[Resource],
        deltas: &mut Vec<Delta>,
    ) -> Result<Vec<trunk::Applied>, trunk::ApplyError> {
        let before = self.resources.version;
        let applied = Arc::make_mut(&mut self.resources).apply(set.to_vec())?;
        self.resources_changed(before, deltas);
        Ok(applied)
    }

    fn delete(&mut self, kind: Kind, name: &str, deltas: &mut Vec<Delta>) -> Result<(), trunk::DeleteError> {
        let before = self.resources.version;
        Arc::make_mut(&mut self.resources).delete(kind, name)?;
        self.resources_changed(before, deltas);
        Ok(())
    }

    pub(super) fn resources_changed(&mut self, before: u64, deltas: &mut Vec<Delta>) {
        if self.resources.version != before {
            self.windows.retain(|name, _| self.resources.trunks.contains_key(name));
            if planted("windows-cleared-by-reload") {
                self.windows.clear();
            }
            self.bindings.follow(&self.resources);
            self.enrolments.follow(&self.resources);
            self.follow_health();
            let mut mixer = Mixer::new(b'r');
            mixer.number(self.resources.version);
            self.digest = self.digest.wrapping_add(mixer.finish());
            deltas.push(Delta::Resources(self.resources.clone()));
        }
    }
}

/// One command of one call, on its way through the state.
struct Step<'a> {
    state: &'a mut State,
    deltas: &'a mut Vec<Delta>,
    node: NodeId,
    call: CallId,
    home: HomeId,
}

impl Step<'_> {
    fn run(&mut self, epoch: Epoch, command: &CallCommand) -> call::Outcome {
        if !self.state.holds(self.node, self.home, epoch) && !planted("epoch-unchecked") {
            return call::Outcome::Stale;
        }
        match command {
            CallCommand::Admit(admit) => self.admit(epoch, admit),
            CallCommand::Refuse(refuse) => self.refuse(refuse),
            CallCommand::Change(change) => self.change(change),
        }
    }

    fn admit(&mut self, epoch: Epoch, admit: &Arc<Admit>) -> call::Outcome {
        if let Some(known) = self.state.invites.known(&admit.key).filter(|_| !planted("copy-admitted")) {
            return known;
        }
        if self.state.calls.contains_key(&self.call) {
            return call::Outcome::Duplicate(self.call);
        }
        let replayed = admit.proof.as_ref().is_some_and(|proof| !self.state.take_proof(proof));
        // An emergency call is put through (I-27), perhaps long before it could be recorded.
        if replayed && !admit.emergency {
            return call::Outcome::Replayed;
        }
        let target = match self.decide(admit) {
            Ok(target) => target,
            Err(limited) => {
                let cdr = Cdr::limited(self.call, admit, &limited, &self.state.resources, self.node);
                self.keep_cdr(cdr);
                self.state.invites.decide(&admit.key, self.call, Some(limited.clone()));
                self.state.invites.finish(&admit.key, None, self.state.time);
                return call::Outcome::Limited(limited);
            }
        };
        self.count(admit);
        self.state.invites.decide(&admit.key, self.call, None);
        let at = self.state.time;
        let record = CallRecord::admitted(self.call, self.home, epoch, admit.clone(), target, at);
        self.state.slots.take(self.call, &record.slots);
        self.check_limits(&record);
        self.state.digest = self.state.digest.wrapping_add(digest::of_call(&record));
        let record = Arc::new(record);
        self.deltas.push(Delta::Call(record.clone()));
        self.state.calls.insert(self.call, record);
        call::Outcome::Target(target)
    }

    /// The first target for which everything is free, or the limit that says no.
    fn decide(&self, admit: &Admit) -> Result<u16, Limited> {
        if admit.emergency {
            return Ok(0);
        }
        let state = &*self.state;
        for name in &admit.plan.windows {
            let (Some(trunk), Some(windows)) = (state.resources.trunks.get(name), state.windows.get(name))
            else {
                // Never counted: only a limit of zero could say no.
                if let Some(limited) = self.zero_window(name) {
                    return Err(limited);
                }
                continue;
            };
            if let Some(exceeded) = windows.exceeded(state.time, &trunk.limits) {
                return Err(window_limited(name, &exceeded));
            }
        }
        self.first_free(admit, 0, &[])
    }

    fn zero_window(&self, name: &Name) -> Option<Limited> {
        let limits = &self.state.resources.trunks.get(name)?.limits;
        let exceeded = super::windows::Windows::default().exceeded(self.state.time, limits)?;
        Some(window_limited(name, &exceeded))
    }

    fn first_free(&self, admit: &Admit, from: u16, held: &[Slot]) -> Result<u16, Limited> {
        let mut first = None;
        for target in from..u16::try_from(admit.plan.targets.len()).unwrap_or(u16::MAX) {
            let wanted = call::slots_for(&admit.plan, target);
            let full = self.state.slots.first_full(&self.state.resources, &wanted, held);
            match full {
                _ if admit.emergency => return Ok(target),
                None => return Ok(target),
                Some((slot, limit)) => {
                    first.get_or_insert_with(|| slot_limited(slot, limit));
                }
            }
        }
        // A plan has a target (`trunk`), an attempt asks for one that its plan has (`call`); a limit of nobody
        // is what a caller hears who breaks that.
        Err(first.unwrap_or_else(|| Limited {
            kind: LimitedBy::Concurrent,
            scope: admit.party.name().clone(),
            limit: 0,
            egress: false,
            retry_after_s: 0,
        }))
    }

    /// Counts an admitted call in the windows of its trunks, each once.
    fn count(&mut self, admit: &Admit) {
        if admit.emergency {
            return;
        }
        for name in &admit.plan.windows {
            if let Some(trunk) = self.state.resources.trunks.get(name) {
                let windows = match self.state.windows.get_mut(name) {
                    Some(windows) => windows,
                    None => self.state.windows.entry(name.clone()).or_default(),
                };
                windows.count(self.state.time, &trunk.limits);
                if planted("call-counted-twice") {
                    windows.count(self.state.time, &trunk.limits);
                }
                let mut mixer = Mixer::new(b'w');
                mixer.bytes(name.as_bytes());
                mixer.number(self.state.time.0);
                self.state.digest = self.state.digest.wrapping_add(mixer.finish());
            }
        }
    }

    fn refuse(&mut self, refuse: &Refuse) -> call::Outcome {
        if self.state.invites.known(&refuse.key).is_none() {
            // Used or not, it is refused; but it proves nothing a second time.
            let _ = refuse.proof.as_ref().is_none_or(|proof| self.state.take_proof(proof));
            self.keep_cdr(Cdr::refused(self.call, refuse, self.node));
            self.state.invites.decide(&refuse.key, self.call, None);
            self.state.invites.finish(&refuse.key, Some(refuse.status), self.state.time);
        }
        call::Outcome::Done
    }

    fn change(&mut self, change: &Change) -> call::Outcome {
        let Some(record) = self.state.calls.get(&self.call).filter(|record| record.home == self.home) else {
            return call::Outcome::Stale;
        };
        match change {
            Change::Attempt(attempt) => {
                let record = record.clone();
                self.attempt(&record, attempt, change)
            }
            Change::End(end) => {
                let record = record.clone();
                self.end(&record, end);
                call::Outcome::Done
            }
            _ => {
                self.update(change, None);
                call::Outcome::Done
            }
        }
    }

    fn attempt(&mut self, record: &CallRecord, attempt: &Attempt, change: &Change) -> call::Outcome {
        if matches!(record.phase, Phase::Answered { .. }) {
            return call::Outcome::Stale;
        }
        let admit = attempt.admit(&record.admit);
        let target = match self.first_free(&admit, attempt.from_target, &record.slots) {
            Ok(target) => target,
            Err(limited) => return call::Outcome::Limited(limited),
        };
        // One step: nobody can take the slot in between, and none is held twice.
        let wanted = call::slots_for(&admit.plan, target);
        let given: Vec<Slot> = record.slots.iter().filter(|slot| !wanted.contains(slot)).cloned().collect();
        let taken: Vec<Slot> = wanted.into_iter().filter(|slot| !record.slots.contains(slot)).collect();
        if !planted("slot-leaked-by-failover") {
            self.state.slots.release(self.call, &given);
        }
        self.state.slots.take(self.call, &taken);
        self.update(change, Some(target));
        call::Outcome::Target(target)
    }

    fn update(&mut self, change: &Change, granted: Option<u16>) {
        if let Some(record) = self.state.calls.get_mut(&self.call) {
            let before = digest::of_call(record);
            Arc::make_mut(record).apply(change, granted, self.state.time);
            let after = digest::of_call(record);
            self.state.digest = self.state.digest.wrapping_sub(before).wrapping_add(after);
            self.deltas.push(Delta::Call(record.clone()));
        }
    }

    fn end(&mut self, record: &CallRecord, end: &End) {
        let admitted_by = self.state.node_of(self.call).unwrap_or(self.node);
        let cdr = Cdr::ended(record, end, egress_call_id(record), (admitted_by, self.node));
        self.state.calls.remove(&self.call);
        if !planted("slot-leaked-by-cancel") || end.status != 487 {
            self.state.slots.release(self.call, &record.slots);
        }
        if planted("slot-released-twice") {
            self.state.slots.release(self.call, &record.slots);
        }
        let refused = matches!(record.phase, Phase::Ringing { .. }).then_some(end.status);
        self.state.invites.finish(&record.admit.key, refused, self.state.time);
        self.state.digest = self.state.digest.wrapping_sub(digest::of_call(record));
        self.deltas.push(Delta::CallEnded(self.call));
        if planted("cdr-twice") && record.attempts.len() > 1 {
            self.keep_cdr(cdr.clone());
        }
        if !planted("cdr-missing-of-cancelled") || end.status != 487 {
            self.keep_cdr(cdr);
        }
    }

    fn keep_cdr(&mut self, cdr: Cdr) {
        let cdr = Arc::new(cdr);
        let number = self.state.cdrs.keep(cdr.clone());
        let mut mixer = Mixer::new(b'd');
        mixer.number(number);
        mixer.number(cdr.id.0);
        mixer.number(u64::from(cdr.sip_status));
        self.state.digest = self.state.digest.wrapping_add(mixer.finish());
        self.deltas.push(Delta::Cdr(number, cdr));
    }

    /// No admission but an emergency takes a scope above its limit.
    fn check_limits(&self, record: &CallRecord) {
        for slot in &record.slots {
            let used = self.state.slots.used(&slot.scope);
            let limit = slots::limit(&self.state.resources, &slot.scope);
            assert!(
                record.admit.emergency
                    || limit.is_none_or(|limit| used <= limit as usize)
                    || planted("limit-passed-by-one"),
                "{used} slots of {:?} are held",
                slot.scope
            );
        }
    }
}

fn outcome(result: Result<(), Refused>) -> Outcome {
    result.map_or_else(Outcome::Refused, |()| Outcome::Done)
}

/// The Call-ID of the callee's leg, once it is known from a dialog.
fn egress_call_id(record: &CallRecord) -> Option<String> {
    match &record.phase {
        Phase::Answered { confirm, .. } => Some(confirm.egress.dialog.call_id.to_string()),
        Phase::Ringing { early, .. } => early.last().map(|progress| progress.dialog.call_id.to_string()),
    }
}

fn slot_limited(slot: &Slot, limit: u32) -> Limited {
    Limited {
        kind: LimitedBy::Concurrent,
        scope: slot.scope.name().clone(),
        limit,
        egress: slot.side == Side::Egress,
        retry_after_s: 0,
    }
}

fn window_limited(name: &Name, exceeded: &super::windows::Exceeded) -> Limited {
    Limited {
        kind: exceeded.kind,
        scope: name.clone(),
        limit: exceeded.limit,
        egress: false,
        retry_after_s: exceeded.retry_after_s,
    }
}

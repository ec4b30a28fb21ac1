//! A call from its record: after a crash of its actor, of its node, or of another's.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dialog::{Dialog, DialogState, Forks};
use machine::museum::planted;
use machine::{ClusterTime, Instant, WallTime};
use sip::{Framing, Name, OwnedMessage, response_to};
use transaction::{Answer2xx, InviteServer};
use trunk::{Hop, Party, Resources, Target, Transport, Word as _};

use crate::admission::settings;
use crate::call::{Call, CallTimer, Hangup, Stage, Waiting};
use crate::context::Context;
use crate::fading::Left;
use crate::hunt::Hunt;
use crate::io::TakePorts;
use crate::leg::{Leg, Legs, session_policy};
use crate::live::{CallRecord, Phase};
use crate::message::{is_sips, push_abilities};
use crate::record::{CallCommand, Change, Confirm, Flow, LegState, Progress, Side, Update};
use crate::rehome::{next_hop, o_address};
use crate::security::Said;
use crate::setup::Setup;

/// The 200 to a caller that has not acknowledged it.
#[derive(Debug)]
pub(crate) struct OkAgain {
    bytes: Bytes,
    /// How long ago it was said first.
    lasted: Duration,
    /// As seen from here.
    at: Instant,
}

impl Call {
    /// The call that a quorum remembers: it goes on where it was. A callee that is not known to ring gets its
    /// INVITE again, unchanged; an answered one only takes its media back. In another home than that which its peers know, it tells them.
    /// `time` is the cluster's: deadlines go on from where they were.
    pub fn restore(
        now: Instant,
        wall: WallTime,
        time: ClusterTime,
        context: Arc<Context>,
        record: &CallRecord,
        ports: &mut dyn TakePorts,
    ) -> Call {
        let admit = &record.admit;
        let mut call = Call::empty(context, record.id, admit.seed, admit.party.clone());
        call.media.ports = admit.ports.clone();
        call.media.installed = admit.ports.is_some();
        (call.media.marks, call.media.resumed) = (record.marks.clone(), true);
        // The current attempt begins again under its own number; that of an answered call is over.
        call.attempts = match record.phase {
            Phase::Ringing { .. } => record.attempt,
            Phase::Answered { .. } => record.attempt + 1,
        };
        call.left = Left::of(record);
        call.callee = record.attempts.last().map(|tried| tried.party.clone());
        match &record.phase {
            Phase::Ringing { cancelled, .. } if call.is_stranded(record) => {
                call.find_ports(ports);
                let _ = call.restore_setup(record);
                call.restore_stranded(now, wall, record, *cancelled);
            }
            Phase::Ringing { early, cancelled } => {
                if let Some(known) = &call.media.ports {
                    // Its INVITE goes out again as it was: there are no others for it.
                    ports.keep(known);
                }
                call.restore_ringing(now, wall, record, early, *cancelled);
                call.keep_ringing(now, time.since(record.moments.attempt));
            }
            Phase::Answered { confirm, acked } => {
                let others = call.find_ports(ports);
                let lasted = time.since(record.moments.answered);
                call.restore_legs(now, time, record, confirm);
                call.restore_answered((now, wall), record, confirm, (*acked, lasted), others);
            }
        }
        call
    }

    fn restore_setup(&mut self, record: &CallRecord) -> Option<()> {
        let invite = OwnedMessage::parse(record.admit.invite.clone(), Framing::Datagram).ok()?;
        let flow = self.flow_here(record.admit.ingress).unwrap_or(record.admit.ingress);
        // Connections are numbered by each process for itself: the same number is another peer's here.
        let flow = Flow { connection: 0, ..flow };
        let server = InviteServer::new(self.times(), flow.transport != Transport::Udp);
        let mut setup = Setup::new(invite, flow, server);
        setup.admit = Some(record.admit.clone());
        if let Some(admit) = setup.admit.as_mut().filter(|_| planted("redirect-forgotten")) {
            Arc::make_mut(admit).plan.targets.retain(|target| target.redirected.is_none());
        }
        setup.progressed = record.ringing_at.is_some();
        setup.session_expires = record.session_expires;
        setup.challenge.clone_from(&record.challenge);
        setup.plain = record.asks_in_clear();
        self.setup = Some(Box::new(setup));
        Some(())
    }

    fn restore_ringing(
        &mut self,
        now: Instant,
        wall: WallTime,
        record: &CallRecord,
        early: &[Progress],
        cancelled: bool,
    ) {
        self.stage = Stage::Trying;
        let target = record.attempts.last().map(|tried| tried.target);
        if self.restore_setup(record).is_none() {
            return;
        }
        let resources = &self.context.resources;
        if let Some(setup) = self.setup.as_mut() {
            let rings = early.iter().any(|progress| progress.attempt == record.attempt);
            setup.rings = rings.then_some(record.attempt);
            let of_attempt = early.iter().rfind(|progress| progress.attempt == record.attempt);
            let chosen = target.and_then(|target| record.admit.plan.targets.get(usize::from(target)));
            setup.rings_at =
                of_attempt.zip(chosen).and_then(|(it, chosen)| rings_at(resources, &it.dialog, chosen));
            setup.hunt = Hunt::of(record);
        }
        if let Some(target) = target {
            self.start_attempt(now, wall, target);
        }
        let callee_settings = self.dialog_settings(self.callee.as_ref());
        let mut forks = Vec::new();
        let mut ingress = Vec::new();
        for progress in early {
            let tag = progress.dialog.remote_tag.as_bytes();
            if let Some(mut dialog) = self.ingress_dialog(progress.attempt, tag) {
                if let Some(rseq) = progress.rseq {
                    // The caller may have been told reliably, by this number; its PRACK is welcome.
                    let _ = dialog.next_rseq(u64::from(rseq.saturating_sub(1)));
                }
                forks.push(Dialog::restore(now, progress.dialog.clone(), callee_settings, None));
                ingress.push(dialog);
            }
        }
        let numbers = early.iter().map(|progress| progress.dialog.cseq.reserved_to()).max();
        if let Some(attempt) = self.setup.as_mut().and_then(|setup| setup.attempt.as_mut()) {
            attempt.forks = Forks::restore(forks);
            attempt.early = ingress;
            attempt.heard = !early.is_empty();
        }
        if let Some(last) = numbers {
            self.reserve_numbers(Side::Egress, last);
        }
        if cancelled {
            self.give_up(now, wall);
            self.conclude_cancelled(now, wall);
        }
    }

    /// Its callee may ring for what is left of its time (kamailio#4938). One that has answered while nobody heard it
    /// says so again within T2 (RFC 3261 §13.3.1.4), and its INVITE goes out before its CANCEL where its name is looked up first.
    fn keep_ringing(&mut self, now: Instant, rang: Duration) {
        let heard = now + self.times().t2 + self.times().t1;
        if let Some(at) = self.timers.get(CallTimer::Ring) {
            self.timers.set(CallTimer::Ring, at.min(heard.max(at - rang)));
        }
    }

    fn restore_legs(&mut self, now: Instant, time: ClusterTime, record: &CallRecord, confirm: &Confirm) {
        let caller_settings = self.dialog_settings(Some(&self.party));
        let callee_settings = self.dialog_settings(self.callee.as_ref());
        let leg = |state: &LegState, settings, at: ClusterTime| Leg {
            dialog: Dialog::restore(now, state.dialog.clone(), settings, session_left(state, time.since(at))),
            flow: self.leg_flow(state),
            known_at: state.flow.local,
            local_sdp: state.local_sdp.clone(),
            remote_sdp: state.remote_sdp.clone(),
            latched: state.latched,
        };
        let mut legs = Legs {
            ingress: leg(&confirm.ingress, caller_settings, record.moments.ingress),
            egress: leg(&confirm.egress, callee_settings, record.moments.egress),
            delayed: confirm.delayed_offer,
        };
        if planted("bridge-lost") {
            legs.ingress.dialog.end();
        }
        self.media.versions = [o_version(&confirm.ingress.local_sdp), o_version(&confirm.egress.local_sdp)];
        self.media.origins = [o_address(&legs.ingress.local_sdp), o_address(&legs.egress.local_sdp)];
        self.legs = Some(Box::new(legs));
    }

    fn restore_answered(
        &mut self,
        (now, wall): (Instant, WallTime),
        record: &CallRecord,
        confirm: &Confirm,
        (acked, lasted): (bool, Duration),
        ports: bool,
    ) {
        self.stage = Stage::Answered;
        let strays = self.find_strays();
        let max = record.admit.plan.max_duration;
        if !max.is_zero() {
            self.timers.set(CallTimer::MaxDuration, now + max.saturating_sub(lasted));
        }
        let expired = !acked && lasted >= self.times().give_up();
        let mut again = None;
        if !acked && !planted("answer-not-repeated") {
            again = self.restore_unacknowledged(record, confirm, lasted);
        } else if confirm.delayed_offer && confirm.egress.local_sdp.is_empty() {
            self.restore_delayed_answer(&confirm.ingress.remote_sdp);
        }
        self.relay_answered();
        if ports && let Some(local) = self.legs.as_ref().map(|legs| legs.ingress.flow.local) {
            self.propose_rehome(local);
        }
        let again = again.map(|bytes| Box::new(OkAgain { bytes, lasted, at: now }));
        if self.media.ports.is_some() && strays != [false, false] {
            self.propose_descriptions(now, again);
        } else if let Some(again) = again {
            self.repeat_ok(now, wall, *again);
        }
        // A successor's numbers begin above the predecessor's block, and that is recorded before one is used.
        self.keep_numbers(Side::Ingress);
        self.keep_numbers(Side::Egress);
        if expired {
            // RFC 3261 §13.3.1.4: a caller that never acknowledged is sent BYE.
            return self.hang_up(now, wall, Hangup::ours("no ACK"));
        }
        self.ask_streams(strays);
        self.begin_rehoming(now, wall, strays, !acked);
    }

    /// The answer that went, or should have gone, into the callee's ACK: the callee's 2xx, repeated, wants it again.
    fn restore_delayed_answer(&mut self, sdp: &Bytes) {
        let answer = {
            let offer = self.legs.as_ref().map(|legs| legs.egress.remote_sdp.clone()).unwrap_or_default();
            self.describe(Side::Egress, sdp, Said::Answer(&offer)).unwrap_or_default()
        };
        if let Some(legs) = self.legs.as_mut() {
            legs.egress.local_sdp = answer;
        }
    }

    /// The caller's ACK never came: gives its 200, as it is said from here.
    fn restore_unacknowledged(
        &mut self,
        record: &CallRecord,
        confirm: &Confirm,
        lasted: Duration,
    ) -> Option<Bytes> {
        if lasted >= self.times().give_up() {
            return None;
        }
        self.restore_setup(record)?;
        let setup = self.setup.as_mut()?;
        setup.responded = true;
        setup.ack_owed = confirm.delayed_offer;
        let setup = self.setup.as_ref()?;
        let view = setup.invite.view();
        let tag = confirm.ingress.dialog.local_tag.as_bytes();
        let mut out = Vec::with_capacity(1024);
        let mut writer = response_to(&mut out, &view, confirm.status, b"", Some(tag), setup.flow.remote);
        writer.copy(&view, Name::RecordRoute);
        self.push_contact(writer.buffer(), &setup.flow, view.uri().is_some_and(is_sips));
        push_abilities(&mut writer, settings(&self.context.resources, &self.party));
        let state = &confirm.ingress.dialog;
        if let Some(session) = &state.session {
            session.write_answer(writer.buffer(), state.peer.timer);
        }
        let body = self.legs.as_ref().map(|legs| &legs.ingress.local_sdp[..]).unwrap_or_default();
        match body {
            [] => writer.end(),
            body => writer.body(b"application/sdp", body),
        }
        if let Some(legs) = self.legs.as_mut() {
            legs.ingress.dialog.await_ack();
        }
        Some(out.into())
    }

    /// Commits what the peers are told from here, before they are: another home that has to tell them goes on from
    /// there, and says nothing else under a version that they may have heard (RFC 3264 §8).
    fn propose_descriptions(&mut self, now: Instant, again: Option<Box<OkAgain>>) {
        let Some(legs) = self.legs.as_ref() else { return };
        let (leg, far) = (legs.ingress.state(now), Some(legs.egress.state(now)));
        let update = Update { side: Side::Ingress, leg, far };
        let waiting = again.map_or(Waiting::Lazy, Waiting::Described);
        self.propose(CallCommand::Change(Change::Update(Box::new(update))), waiting);
    }

    /// The caller's 200 is repeated for what is left of 64·T1.
    pub(crate) fn repeat_ok(&mut self, now: Instant, wall: WallTime, again: OkAgain) {
        let OkAgain { bytes, lasted, at } = again;
        let times = self.times();
        // One that ends meanwhile, too: its caller gets no BYE before its ACK (RFC 3261 §15).
        let Some(setup) = self.setup.as_mut() else { return };
        setup.answer = Some(Answer2xx::resume(now, times, bytes, lasted + now.since(at)));
        if self.pump_answer() {
            self.never_acknowledged(now, wall);
        }
    }

    fn dialog_settings(&self, party: Option<&Party>) -> dialog::Settings {
        let settings = party.and_then(|party| settings(&self.context.resources, party));
        dialog::Settings { t1: self.context.times.t1, session: session_policy(settings) }
    }
}

/// Where a callee rings, and by which transport: its target's, or its own word where DNS chose (RFC 3263 §4.1).
fn rings_at(resources: &Resources, dialog: &DialogState, target: &Target) -> Option<Hop> {
    let given = resources.wanted(target).is_none_or(|wanted| wanted.transport.is_some());
    let said = sip::Uri::parse(dialog.next_hop()).ok().and_then(|uri| {
        let word = std::str::from_utf8(uri.param(b"transport")?).ok()?;
        Transport::from_word(&word.to_ascii_lowercase())
    });
    let transport = said.filter(|_| !given).unwrap_or(target.transport);
    Some(Hop { transport, address: next_hop(dialog, transport)? })
}

/// How much of a leg's session is left, so long after that leg was recorded.
fn session_left(leg: &LegState, passed: Duration) -> Option<Duration> {
    leg.session_left_ms.map(|left| Duration::from_millis(left.into()).saturating_sub(passed))
}

/// The version in the `o=` line of a description of ours.
fn o_version(body: &[u8]) -> u64 {
    let session = sdp::Session::parse(body).ok();
    let version =
        session.and_then(|session| std::str::from_utf8(session.origin().version).ok()?.parse().ok());
    version.unwrap_or(0)
}

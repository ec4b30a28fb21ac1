//! One attempt: its INVITE goes out, its responses come in.

use std::net::SocketAddr;

use bytes::Bytes;
use dialog::{Answered, Forks, InviteSent, LocalCseq, ReliableOrder};
use machine::{Instant, Machine, WallTime};
use sip::{Framing, Message, Method, Name, OwnedMessage};
use transaction::{ClientInput, InviteClient, NonInviteClient, Output as Tx};
use trunk::Transport;

use crate::admission::{settings, target_address};
use crate::call::{Call, CallTimer, Stage, Waiting};
use crate::io::{Event, Output};
use crate::leg::session_policy;
use crate::media::RelaySdp;
use crate::message::{INVITE_CSEQ, Outgoing};
use crate::record::{CallCommand, Change, Flow, Progress, Side};
use crate::setup::AttemptLeg;

impl Call {
    /// A target was granted: its address is found and the INVITE goes out.
    pub(crate) fn start_attempt(&mut self, now: Instant, wall: WallTime, target: u16) {
        let Some(setup) = self.setup.as_mut() else { return };
        let Some(admit) = setup.admit.clone() else { return };
        let Some(chosen) = admit.plan.targets.get(usize::from(target)) else { return };
        let number = setup.attempts;
        setup.attempts += 1;
        self.callee = Some(chosen.party.clone());
        let branch = self.attempt_branch(number);
        let Some(setup) = self.setup.as_mut() else { return };
        setup.attempt = Some(AttemptLeg {
            number,
            target,
            flow: None,
            branch,
            invite: Bytes::new(),
            client: None,
            cancel: None,
            forks: Forks::default(),
            early: Vec::new(),
            addresses: Vec::new(),
            failure: None,
        });
        match (target_address(chosen), &chosen.host) {
            (Some(address), _) => self.resolved(now, wall, vec![address]),
            (None, trunk::Host::Name(host)) => {
                let port = chosen.port.unwrap_or(chosen.transport.default_port());
                self.outputs.push_back(Output::Resolve { host: host.clone(), port });
            }
            (None, trunk::Host::Ip(_)) => self.attempt_failed(now, wall, 503, None),
        }
    }

    /// The target's addresses are known: the first one is tried.
    pub(crate) fn resolved(&mut self, now: Instant, wall: WallTime, mut addresses: Vec<SocketAddr>) {
        let Some(setup) = self.setup.as_ref() else { return };
        let (Some(attempt), Some(admit)) = (setup.attempt.as_ref(), setup.admit.clone()) else { return };
        if attempt.client.is_some() || attempt.failure.is_some() {
            return;
        }
        let Some(target) = admit.plan.targets.get(usize::from(attempt.target)) else { return };
        let route = addresses.iter().position(|at| self.context.address(target.transport, *at).is_some());
        let Some(remote) = route.map(|i| addresses.remove(i)) else {
            return self.attempt_failed(now, wall, if addresses.is_empty() { 504 } else { 503 }, None);
        };
        let Some(local) = self.context.address(target.transport, remote) else { return };
        let flow = Flow { transport: target.transport, local, remote, connection: 0 };
        let invite = setup.invite.clone();
        let (number, branch, demanded) = (attempt.number, attempt.branch.clone(), setup.session_expires);
        let view = invite.view();
        // Each attempt is a session of its own, and the same attempt offers the same, at a successor too.
        self.media.versions = [self.media.versions[0], 0];
        let offer = if view.body().is_empty() {
            None
        } else if is_sdp(&view) {
            match self.describe(Side::Egress, view.body(), true) {
                Ok(offer) => Some(offer),
                Err(answer) => {
                    let verdict = crate::setup::Verdict::Ours(answer);
                    return self.conclude(now, wall, verdict, crate::cdr::HangupBy::System);
                }
            }
        } else {
            Some(Bytes::copy_from_slice(view.body()))
        };
        let leg = Outgoing { number, target, flow, branch: &branch, session_expires: demanded };
        let bytes = self.write_invite(&admit, &view, &leg, offer.as_deref());
        let reliable = target.transport != Transport::Udp;
        let client = InviteClient::start(now, self.times(), reliable, bytes.clone());
        self.set_attempt_timers(now);
        if let Some(attempt) = self.setup.as_mut().and_then(|setup| setup.attempt.as_mut()) {
            attempt.flow = Some(flow);
            attempt.invite = bytes;
            attempt.client = Some(client);
            attempt.addresses = addresses;
        }
        self.relay_early(flow, &[]);
        self.pump_attempt(now, wall, None);
    }

    fn set_attempt_timers(&mut self, now: Instant) {
        let callee = self.callee.as_ref().and_then(|party| settings(&self.context.resources, party));
        let Some(timers) = callee.map(|settings| &settings.timers) else { return };
        let (no_response, ring) = (timers.no_response, timers.ring);
        self.timers.set(CallTimer::NoResponse, now + no_response);
        self.timers.set(CallTimer::Ring, now + ring);
    }

    /// Tells the relay what is known while the call rings; the callee's description may be empty.
    fn relay_early(&mut self, flow: Flow, callee_sdp: &[u8]) {
        let Some(setup) = self.setup.as_ref() else { return };
        let (invite, ingress_flow) = (setup.invite.clone(), setup.flow);
        let ingress = RelaySdp { sdp: invite_sdp(&invite), flow: ingress_flow };
        self.set_relay(ingress, RelaySdp { sdp: callee_sdp, flow }, false);
    }

    /// Carries out what the attempt's transaction wants; `message` is the response just handed to it.
    pub(crate) fn pump_attempt(
        &mut self,
        now: Instant,
        wall: WallTime,
        message: Option<(OwnedMessage, Flow)>,
    ) {
        let mut message = message;
        loop {
            let attempt = self.setup.as_mut().and_then(|setup| setup.attempt.as_mut());
            let Some(attempt) = attempt else { return };
            let (Some(flow), Some(client)) = (attempt.flow, attempt.client.as_mut()) else { return };
            let Some(output) = client.poll_output() else { break };
            match output {
                Tx::Send(bytes) => self.outputs.push_back(Output::Send { flow, bytes }),
                Tx::Deliver { status } => {
                    if let Some((message, flow)) = message.take() {
                        self.attempt_answered(now, wall, status, message, flow);
                    }
                }
                Tx::SendCancel => self.send_cancel(now),
                Tx::TimedOut(_) => self.attempt_failed(now, wall, 408, None),
                Tx::TransportFailed => self.attempt_unreachable(now, wall),
                Tx::Acknowledged | Tx::Terminated => {}
            }
        }
    }

    /// Nothing can be sent there: the target's next address, else its end.
    fn attempt_unreachable(&mut self, now: Instant, wall: WallTime) {
        let attempt = self.setup.as_mut().and_then(|setup| setup.attempt.as_mut());
        let Some(attempt) = attempt else { return };
        let addresses = std::mem::take(&mut attempt.addresses);
        if addresses.is_empty() || attempt.failure.is_some() {
            return self.attempt_failed(now, wall, 503, None);
        }
        attempt.client = None;
        self.resolved(now, wall, addresses);
    }

    fn send_cancel(&mut self, now: Instant) {
        let times = self.times();
        let attempt = self.setup.as_mut().and_then(|setup| setup.attempt.as_mut());
        let Some(attempt) = attempt else { return };
        let Some(flow) = attempt.flow else { return };
        attempt.cancel = start_cancel(now, times, flow, &attempt.invite, &mut self.outputs);
    }

    fn attempt_answered(
        &mut self,
        now: Instant,
        wall: WallTime,
        status: u16,
        message: OwnedMessage,
        flow: Flow,
    ) {
        self.timers.clear(CallTimer::NoResponse);
        match status {
            100 => {}
            101..200 => self.progress(now, wall, status, &message, flow),
            200..300 => self.answered(now, wall, &message, flow),
            _ => self.attempt_failed(now, wall, status, Some(message)),
        }
    }

    /// 18x: an early dialog, relayed to the caller in one of its own.
    fn progress(&mut self, now: Instant, wall: WallTime, status: u16, message: &OwnedMessage, flow: Flow) {
        let view = message.view();
        let Some((index, answered)) = self.take_early(now, &view) else {
            // Without a tag it opens no dialog; that the callee rings is worth telling all the same.
            return self.respond(now, status, None, &[]);
        };
        let Some(early) = self.early_state(index) else { return };
        let reliable = match answered {
            Answered::Provisional { reliable: Some(ReliableOrder::Next { rseq }) } => Some(rseq),
            // Out of order, or seen before: its PRACK is on the way or it comes again (RFC 3262 §4).
            Answered::Provisional { reliable: Some(_) } => return,
            _ => None,
        };
        if is_sdp(&view) && !view.body().is_empty() {
            self.relay_early(flow, view.body());
        }
        let number = self.setup.as_ref().and_then(|s| s.attempt.as_ref()).map_or(0, |a| a.number);
        let progress = Progress {
            attempt: number,
            dialog: early,
            status,
            rseq: reliable,
            sdp: Some(Bytes::copy_from_slice(view.body())).filter(|body| !body.is_empty()),
            at: wall,
        };
        let first = self.setup.as_ref().is_some_and(|setup| !setup.progressed);
        if first {
            self.outputs.push_back(Output::Event(Event::Ringing));
        }
        let command = CallCommand::Change(Change::Progress(Box::new(progress)));
        match reliable {
            Some(_) => self.propose(command, Waiting::Progress(index, message.clone(), flow)),
            None => {
                // One record of each early dialog is enough; a repeated 180 changes nothing.
                if first || !view.body().is_empty() {
                    self.propose(command, Waiting::Lazy);
                }
                self.relay_progress(now, index, message, false);
            }
        }
    }

    /// A reliable 18x is recorded: it is acknowledged and relayed.
    pub(crate) fn progress_recorded(&mut self, now: Instant, index: usize, message: &OwnedMessage, flow: Flow) {
        self.send_prack(now, index, flow);
        self.relay_progress(now, index, message, true);
    }

    /// The caller hears the 18x, reliably where both the callee said it so and the caller can.
    fn relay_progress(&mut self, now: Instant, index: usize, message: &OwnedMessage, reliable: bool) {
        let view = message.view();
        let body = match self.early_body(&view) {
            Ok(body) => body,
            Err(()) => return,
        };
        let draw = self.draw();
        let Some(setup) = self.setup.as_mut() else { return };
        if setup.cancelled {
            return;
        }
        setup.progressed = true;
        let (invite, flow) = (setup.invite.clone(), setup.flow);
        let wants = invite.view().has_token(Name::Supported, b"100rel")
            || invite.view().has_token(Name::Require, b"100rel");
        let Some(attempt) = setup.attempt.as_mut() else { return };
        let Some(early) = attempt.early.get_mut(index) else { return };
        let mut extra = Vec::new();
        let rseq = if reliable && wants { early.next_rseq(draw).ok() } else { None };
        if let Some(rseq) = rseq {
            extra.extend_from_slice(b"Require: 100rel\r\nRSeq: ");
            sip::push_number(&mut extra, rseq);
            extra.extend_from_slice(b"\r\n");
        }
        let tag = early.state().local_tag.clone();
        let bytes =
            self.relayed_response(&invite.view(), flow, &view, tag.as_bytes(), &extra, body.as_deref());
        let status = view.status().unwrap_or(180);
        if rseq.is_some() {
            let attempt = self.setup.as_mut().and_then(|setup| setup.attempt.as_mut());
            if let Some(early) = attempt.and_then(|attempt| attempt.early.get_mut(index)) {
                early.send_provisional(now, bytes, body.is_some());
            }
            self.pump_early(now);
        } else if let Some(setup) = self.setup.as_mut() {
            setup.server.handle(now, transaction::ServerInput::Respond { status, message: bytes });
            self.pump_setup(now);
        }
    }

    /// A body of an 18x as the caller gets it.
    fn early_body(&mut self, view: &Message<'_>) -> Result<Option<Bytes>, ()> {
        if view.body().is_empty() {
            return Ok(None);
        }
        if !is_sdp(view) {
            return Ok(Some(Bytes::copy_from_slice(view.body())));
        }
        // A description that can't be read is not passed on; the 2xx may carry a better one.
        self.describe(Side::Ingress, view.body(), false).map(Some).map_err(|_| ())
    }

    /// Gives a response of the attempt to its egress dialog, and makes the ingress dialog that mirrors it.
    pub(crate) fn take_early(&mut self, now: Instant, response: &Message<'_>) -> Option<(usize, Answered)> {
        let callee = self.callee.as_ref().and_then(|party| settings(&self.context.resources, party));
        let policy = session_policy(callee);
        let demanded = self.setup.as_ref().and_then(|setup| setup.session_expires);
        let session = self.session_request(callee, demanded);
        let dialog_settings = dialog::Settings { t1: self.context.times.t1, session: policy };
        let setup = self.setup.as_mut()?;
        let attempt = setup.attempt.as_mut()?;
        let invite = attempt.invite.clone();
        let ours = Message::parse(&invite, Framing::Datagram).ok()?;
        let sent = invite_sent(&ours, session)?;
        let has_sdp = !response.body().is_empty();
        let forked = attempt.forks.receive(now, &sent, response, has_sdp, dialog_settings).ok()?;
        if forked.fresh {
            let tag = response.to_tag().ok().flatten().unwrap_or_default().to_vec();
            let number = attempt.number.to_be_bytes();
            let ingress_tag = self.ingress_tag(&[&number, &tag]);
            let early = self.ingress_dialog(&ingress_tag)?;
            self.setup.as_mut()?.attempt.as_mut()?.early.push(early);
        }
        Some((forked.index, forked.answered))
    }

    /// The caller's side of an early dialog.
    pub(crate) fn ingress_dialog(&self, tag: &[u8]) -> Option<dialog::Dialog> {
        let setup = self.setup.as_ref()?;
        let caller = settings(&self.context.resources, &self.party);
        let dialog_settings = dialog::Settings { t1: self.context.times.t1, session: session_policy(caller) };
        let view = setup.invite.view();
        let tag = std::str::from_utf8(tag).ok()?;
        dialog::Dialog::from_invite(&view, tag, 1, !view.body().is_empty(), dialog_settings).ok()
    }

    fn early_state(&mut self, index: usize) -> Option<dialog::DialogState> {
        Some(self.setup.as_ref()?.attempt.as_ref()?.forks.get(index)?.state().clone())
    }

    fn send_prack(&mut self, now: Instant, index: usize, flow: Flow) {
        let Some(attempt) = self.setup.as_mut().and_then(|s| s.attempt.as_mut()) else { return };
        let Some(dialog) = attempt.forks.get_mut(index) else { return };
        let Ok(cseq) = dialog.take_cseq() else { return };
        let mut rack = Vec::new();
        dialog.write_rack(&mut rack, INVITE_CSEQ);
        dialog.sent_request(Method::Prack, cseq, false);
        let state = dialog.state().clone();
        self.send_request(now, Side::Egress, &state, flow, Method::Prack, cseq, &rack, None);
    }

    /// Repeats reliable provisionals, and gives up on a caller that never sends PRACK.
    pub(crate) fn pump_early(&mut self, now: Instant) -> bool {
        let _ = now;
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

    /// The next number that follows from the call's seed: for waits, not for secrets.
    pub(crate) fn draw(&mut self) -> u64 {
        self.drawn = self.drawn.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.drawn ^ self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// The caller gave up (RFC 3261 §9.2).
    pub(crate) fn give_up(&mut self, now: Instant, wall: WallTime) {
        let Some(setup) = self.setup.as_mut() else { return };
        setup.cancelled = true;
        if let Some(client) = setup.attempt.as_mut().and_then(|attempt| attempt.client.as_mut()) {
            client.handle(now, ClientInput::Cancel);
        }
        if self.stage == Stage::Trying {
            self.pump_attempt(now, wall, None);
        }
    }
}

/// Sends the CANCEL of an INVITE of ours.
pub(crate) fn start_cancel(
    now: Instant,
    times: transaction::Times,
    flow: Flow,
    invite: &Bytes,
    outputs: &mut std::collections::VecDeque<Output>,
) -> Option<NonInviteClient> {
    let view = Message::parse(invite, Framing::Datagram).ok()?;
    let mut bytes = Vec::with_capacity(320);
    dialog::write_cancel(&mut bytes, &view, b"");
    let mut cancel = NonInviteClient::start(now, times, flow.transport != Transport::Udp, bytes.into());
    while let Some(output) = cancel.poll_output() {
        if let Tx::Send(bytes) = output {
            outputs.push_back(Output::Send { flow, bytes });
        }
    }
    Some(cancel)
}

/// An INVITE of ours, as `dialog` wants to know it.
pub(crate) fn invite_sent<'a>(
    invite: &Message<'a>,
    session: Option<dialog::SessionRequest>,
) -> Option<InviteSent<'a>> {
    let text = |bytes: &'a [u8]| std::str::from_utf8(bytes).ok();
    let from = text(invite.get(Name::From)?)?;
    Some(InviteSent {
        call_id: text(invite.call_id().ok()?)?,
        local_tag: text(invite.from_tag().ok().flatten()?)?,
        local: from.rsplit_once(";tag=").map_or(from, |(address, _)| address),
        remote: text(invite.get(Name::To)?)?,
        request_uri: text(invite.uri()?)?,
        cseq: INVITE_CSEQ,
        numbers: LocalCseq::starting_at(INVITE_CSEQ + 1),
        secure: false,
        offered: !invite.body().is_empty(),
        session,
    })
}

/// Whether a message's body is a session description.
pub(crate) fn is_sdp(message: &Message<'_>) -> bool {
    message.content_type().ok().flatten().is_some_and(|kind| kind.is(b"application", b"sdp"))
}

/// The offer of an INVITE; empty where there is none.
fn invite_sdp(invite: &OwnedMessage) -> &[u8] {
    let view = invite.view();
    if is_sdp(&view) { view.body() } else { &[] }
}

//! One attempt: its INVITE goes out, its transaction is served, and it may be cancelled (RFC 3261 §9, §13.2).

use std::collections::VecDeque;

use bytes::Bytes;
use dialog::{Forks, InviteSent, LocalCseq};
use machine::museum::planted;
use machine::{Instant, Machine, WallTime};
use sip::{Framing, Message, Name, OwnedMessage};
use smallvec::SmallVec;
use transaction::{ClientInput, InviteClient, NonInviteClient, Output as Tx, Times};
use trunk::{Hop, Transport};

use crate::admission::{settings, target_address};
use crate::call::{Call, CallTimer, Stage};
use crate::cdr::HangupBy;
use crate::hunt::Hunt;
use crate::io::Output;
use crate::media::RelaySdp;
use crate::message::{INVITE_CSEQ, Outgoing, is_sips};
use crate::record::{Flow, Side};
use crate::security::Said;
use crate::setup::{AttemptLeg, Verdict};

impl Call {
    /// A target was granted: its address is found and the INVITE goes out.
    pub(crate) fn start_attempt(&mut self, now: Instant, wall: WallTime, target: u16) {
        let Some(setup) = self.setup.as_mut() else { return };
        let Some(admit) = setup.admit.clone() else { return };
        let Some(chosen) = admit.plan.targets.get(usize::from(target)) else { return };
        let number = self.attempts;
        self.attempts += 1;
        self.callee = Some(chosen.party.clone());
        let branch = self.attempt_branch(number);
        let Some(setup) = self.setup.as_mut() else { return };
        setup.hunt.turn_to(target);
        setup.attempt = Some(AttemptLeg {
            number,
            target,
            flow: None,
            branch,
            invite: None,
            client: None,
            heard: false,
            cancel: None,
            forks: Forks::default(),
            early: Vec::new(),
            offer: Bytes::new(),
            hops: SmallVec::new(),
            failure: None,
        });
        self.set_ring_timer(now);
        let rings_at = self.setup.as_mut().and_then(|setup| setup.rings_at.take());
        let fixed = target_address(chosen).map(|address| Hop { transport: chosen.transport, address });
        match (fixed.or(rings_at), self.context.resources.wanted(chosen)) {
            (Some(hop), _) => self.hosts_known(now, wall, SmallVec::from_elem(hop, 1), Hunt::default()),
            (None, Some(wanted)) => {
                if let Some(setup) = self.setup.as_mut() {
                    setup.resolving += 1;
                }
                let draw = admit.seed.wrapping_add(u64::from(target));
                self.outputs.push_back(Output::Locate { wanted, draw });
            }
            (None, None) => self.attempt_failed(now, wall, 503, None),
        }
    }

    /// A look-up came back. Those for attempts that are over mean nothing any more.
    pub(crate) fn hosts_found(&mut self, now: Instant, wall: WallTime, hops: Vec<Hop>) {
        let Some(setup) = self.setup.as_mut() else { return };
        setup.resolving = setup.resolving.saturating_sub(1);
        if setup.resolving == 0 && self.stage == Stage::Trying {
            let hunt = setup.hunt;
            self.hosts_known(now, wall, hops.into(), hunt);
        }
    }

    /// The target's hosts are known: the first that has not failed yet is tried.
    fn hosts_known(&mut self, now: Instant, wall: WallTime, mut hops: SmallVec<[Hop; 1]>, hunt: Hunt) {
        let setup = self.setup.as_ref();
        let under_way = setup.and_then(|setup| Some((setup.attempt.as_ref()?, setup.admit.as_ref()?)));
        let Some((attempt, admit)) = under_way else { return };
        let Some(target) = admit.plan.targets.get(usize::from(attempt.target)) else { return };
        if target.redirected.is_some() && !planted("redirect-trusted-by-name") {
            // Whatever a trusted name leads to.
            let redirect =
                settings(&self.context.resources, &target.party).map(|settings| &settings.redirect);
            hops.retain(|hop| redirect.is_none_or(|redirect| !redirect.is_denied(hop.address.ip())));
        }
        let leads_nowhere = hops.is_empty();
        hops.retain(|hop| self.context.address(hop.transport, hop.address).is_some());
        hunt.pass(&mut hops);
        if hops.is_empty() {
            return self.attempt_failed(now, wall, if leads_nowhere { 504 } else { 503 }, None);
        }
        self.try_host(now, wall, hops);
    }

    /// The first of these hosts gets its INVITE; the others wait.
    fn try_host(&mut self, now: Instant, wall: WallTime, mut hops: SmallVec<[Hop; 1]>) {
        let Some(setup) = self.setup.as_ref() else { return };
        let (Some(attempt), Some(admit)) = (setup.attempt.as_ref(), setup.admit.clone()) else { return };
        if attempt.client.is_some() || attempt.failure.is_some() {
            return;
        }
        let Some(target) = admit.plan.targets.get(usize::from(attempt.target)) else { return };
        let Some(Hop { transport, address: remote }) = hops.first().copied() else { return };
        hops.remove(0);
        let Some(local) = self.context.address(transport, remote) else { return };
        let flow = Flow { transport, local, remote, connection: way_to(target) };
        if let Some(attempt) = self.setup.as_mut().and_then(|setup| setup.attempt.as_mut()) {
            // What is offered depends on the way.
            attempt.flow = Some(flow);
        }
        let offer = match self.egress_offer() {
            Ok(offer) => offer,
            Err(answer) => return self.conclude(now, wall, Verdict::Ours(answer), HangupBy::System),
        };
        let Some(setup) = self.setup.as_ref() else { return };
        let Some(attempt) = setup.attempt.as_ref() else { return };
        let (session_expires, challenge) = (setup.session_expires, setup.challenge.as_deref());
        let number = attempt.number;
        let leg = Outgoing { number, target, flow, branch: &attempt.branch, session_expires, challenge };
        let bytes = self.write_invite(&admit, &setup.invite.view(), &leg, &offer);
        let Ok(invite) = OwnedMessage::parse(bytes.clone(), Framing::Datagram) else {
            return self.attempt_failed(now, wall, 503, None);
        };
        let rings = self.setup.as_mut().is_some_and(|setup| setup.rings.take() == Some(number));
        // A stream that its peer had to this address is gone with its holder: there it must come again, to be answered.
        let client = match transport {
            Transport::Udp if rings => InviteClient::proceed(self.times(), false, bytes),
            transport => InviteClient::start(now, self.times(), transport != Transport::Udp, bytes),
        };
        // Each host has its time from when it is asked: how long DNS takes is not its fault.
        let settings = settings(&self.context.resources, &target.party).filter(|_| !rings);
        if let Some(no_response) = settings.map(|settings| settings.timers.no_response) {
            self.timers.set(CallTimer::NoResponse, now + no_response);
        }
        if let Some(attempt) = self.setup.as_mut().and_then(|setup| setup.attempt.as_mut()) {
            attempt.invite = Some(invite);
            attempt.offer = offer;
            attempt.client = Some(client);
            attempt.hops = hops;
        }
        self.relay_early(flow, &[]);
        self.pump_attempt(now, wall, None);
    }

    /// The caller's offer as the callee gets it; empty where there is none.
    fn egress_offer(&mut self) -> Result<Bytes, crate::reject::Answer> {
        // Each attempt is a session of its own, and the same attempt offers the same, at a successor too.
        self.media.restart(Side::Egress);
        let Some(setup) = self.setup.as_ref() else { return Ok(Bytes::new()) };
        let invite = setup.invite.clone();
        let view = invite.view();
        let body = Bytes::copy_from_slice(view.body());
        if is_sdp(&view) { self.describe(Side::Egress, &body, Said::Offer) } else { Ok(body) }
    }

    fn set_ring_timer(&mut self, now: Instant) {
        let callee = self.callee.as_ref().and_then(|party| settings(&self.context.resources, party));
        let Some(timers) = callee.map(|settings| &settings.timers) else { return };
        let ring = timers.ring;
        self.timers.set(CallTimer::Ring, now + ring);
    }

    /// Tells the relay what is known while the call rings; the callee's description may be empty.
    pub(crate) fn relay_early(&mut self, flow: Flow, callee_sdp: &[u8]) {
        if self.media.ports.is_none() {
            return;
        }
        let Some(setup) = self.setup.as_ref() else { return };
        let (invite, ingress_flow) = (setup.invite.clone(), setup.flow);
        let view = invite.view();
        let offer = if is_sdp(&view) { view.body() } else { &[] };
        let ingress = RelaySdp { sdp: offer, flow: ingress_flow };
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
                    attempt.heard = true;
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

    /// Nothing can be sent there: the target's next host, else its end.
    fn attempt_unreachable(&mut self, now: Instant, wall: WallTime) {
        let attempt = self.setup.as_mut().and_then(|setup| setup.attempt.as_mut());
        let Some(attempt) = attempt else { return };
        if attempt.hops.is_empty() || attempt.failure.is_some() || self.stage != Stage::Trying {
            return self.attempt_failed(now, wall, 503, None);
        }
        let hops = std::mem::take(&mut attempt.hops);
        attempt.client = None;
        if let Some(setup) = self.setup.as_mut() {
            setup.hunt.passed += 1;
        }
        self.try_host(now, wall, hops);
    }

    fn send_cancel(&mut self, now: Instant) {
        let times = self.times();
        let attempt = self.setup.as_mut().and_then(|setup| setup.attempt.as_mut());
        let Some(attempt) = attempt else { return };
        if let (Some(flow), Some(invite)) = (attempt.flow, &attempt.invite) {
            attempt.cancel = Some(start_cancel(now, times, flow, &invite.view(), &mut self.outputs));
        }
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
            200..300 => self.answered(now, wall, message, flow),
            _ => self.attempt_failed(now, wall, status, Some(Box::new(message))),
        }
    }

    /// The caller gave up (RFC 3261 §9.2): the INVITE is cancelled, as soon as that is allowed.
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

    /// The caller, who gave up, hears 487: at once where the callee said nothing yet, else when the callee confirms
    /// it, or has had its time to.
    pub(crate) fn conclude_cancelled(&mut self, now: Instant, wall: WallTime) {
        if self.stage != Stage::Trying {
            return;
        }
        let heard = self.setup.as_ref().and_then(|setup| setup.attempt.as_ref()).is_some_and(|a| a.heard);
        if heard {
            self.timers.set(CallTimer::Cancelled, now + self.times().t1 * CANCEL_PATIENCE);
        } else {
            self.conclude(now, wall, Verdict::Ours(crate::reject::cancelled()), HangupBy::Caller);
        }
    }
}

/// Which connection leads to a target. A telephone that registered over TLS has no certificate, and need not listen: it is
/// called over the connection by which it came (RFC 5626 §5.3).
fn way_to(target: &trunk::Target) -> u64 {
    let came = target.registered.as_ref().is_some_and(|registered| registered.route.is_empty());
    if came && target.transport == Transport::Tls { Flow::CAME } else { 0 }
}

/// How many T1 a callee has to confirm its CANCEL before the caller hears 487 without it.
const CANCEL_PATIENCE: u32 = 8;

/// Sends the CANCEL of an INVITE of ours.
pub(crate) fn start_cancel(
    now: Instant,
    times: Times,
    flow: Flow,
    invite: &Message<'_>,
    outputs: &mut VecDeque<Output>,
) -> NonInviteClient {
    let mut bytes = Vec::with_capacity(320);
    dialog::write_cancel(&mut bytes, invite, b"");
    let mut cancel = NonInviteClient::start(now, times, flow.transport != Transport::Udp, bytes.into());
    crate::fading::pump(&mut cancel, flow, outputs);
    cancel
}

/// An INVITE of ours, as `dialog` wants to know it.
pub(crate) fn invite_sent<'a>(
    invite: &Message<'a>,
    session: Option<dialog::SessionRequest>,
) -> Option<InviteSent<'a>> {
    let text = |bytes: &'a [u8]| std::str::from_utf8(bytes).ok();
    // We wrote it, so the tag is its last parameter.
    let (local, local_tag) = text(invite.get(Name::From)?)?.rsplit_once(";tag=")?;
    Some(InviteSent {
        call_id: text(invite.call_id().ok()?)?,
        local_tag,
        local,
        remote: text(invite.get(Name::To)?)?,
        request_uri: text(invite.uri()?)?,
        cseq: INVITE_CSEQ,
        numbers: LocalCseq::starting_at(INVITE_CSEQ + 1),
        secure: invite.uri().is_some_and(is_sips),
        offered: !invite.body().is_empty(),
        session,
    })
}

/// Whether a message's body is a session description.
pub(crate) fn is_sdp(message: &Message<'_>) -> bool {
    !message.body().is_empty()
        && message.content_type().ok().flatten().is_some_and(|kind| kind.is(b"application", b"sdp"))
}

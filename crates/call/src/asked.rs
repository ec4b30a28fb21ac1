//! Requests of either side inside the two dialogs: who may ask, what becomes of it, and what is answered
//! (RFC 3261 §12.2.2, §15.1.2; RFC 3262 §3).

use bytes::Bytes;
use dialog::{Received, Reject};
use machine::{Instant, Machine, WallTime};
use sip::{Message, Method, OwnedMessage, response_to};
use transaction::{Answer2xx, InviteServer, NonInviteServer, ServerInput};
use trunk::Transport;

use crate::admission::settings;
use crate::call::{Call, Hangup, Stage, Waiting};
use crate::ending::{BYE, reason_lines};
use crate::exchange::{Asked, Exchange, Kind, Server, Step};
use crate::message::{is_sips, push_abilities};
use crate::record::{CallCommand, Change, Flow, Side};
use crate::reject::Answer;
use crate::route;

/// What becomes of a request.
enum Course {
    Refuse(Reject),
    Answer(u16),
    /// BYE, with its Reason lines.
    Bye(Vec<u8>),
    /// A BYE that a later request overtook.
    LateBye(Reject),
    /// A session refresh, answered here.
    Refresh,
    /// The far side is asked.
    SendOn,
}

/// A final answer to a request inside a dialog.
#[derive(Clone, Copy, Default)]
pub(crate) struct Reply<'a> {
    pub status: u16,
    /// The reason phrase; empty for the usual one.
    pub reason: &'a [u8],
    /// Whole header lines, each with its CRLF.
    pub extra: &'a [u8],
    /// The body, and what it is.
    pub body: &'a [u8],
    pub content_type: &'a [u8],
}

impl Reply<'_> {
    /// A status and nothing else.
    pub fn of(status: u16) -> Reply<'static> {
        Reply { status, ..Reply::default() }
    }
}

impl Call {
    /// A request inside a dialog of ours, other than ACK and CANCEL.
    pub(crate) fn receive_request(
        &mut self,
        now: Instant,
        wall: WallTime,
        message: OwnedMessage,
        flow: Flow,
    ) {
        let view = message.view();
        let Some(method) = view.method() else { return };
        let Some((_, side)) = view.to_tag().ok().flatten().and_then(route::call_of_tag) else { return };
        if !self.may_ask(side, &flow) {
            // A stranger with the right tags learns nothing (threat 30).
            return;
        }
        self.follow_flow(side, flow);
        let key = self.transaction_key(&view);
        if self.repeat_exchange(now, key) {
            return;
        }
        let kind = Kind::of(method);
        let has_sdp = !view.body().is_empty();
        let draw = self.draw();
        let Some(legs) = self.legs.as_mut() else {
            return self.receive_early_request(now, wall, message, key, flow, side);
        };
        let received = legs.leg_mut(side).dialog.receive_request(&view, has_sdp, draw);
        let course = self.course(side, &kind, received, &view);
        let index = self.open_exchange(message, key, flow, side, kind);
        match course {
            Course::Refuse(reject) => self.refuse_exchange(now, index, &reject),
            Course::Answer(status) => self.answer_exchange(now, index, status),
            Course::LateBye(reject) => {
                self.refuse_exchange(now, index, &reject);
                if let Some(legs) = self.legs.as_mut() {
                    legs.leg_mut(side).dialog.end();
                }
                self.hang_up(now, wall, Hangup::of(side, BYE));
            }
            Course::Bye(reason) => self.receive_bye(now, wall, index, side, reason),
            Course::Refresh => self.refresh_locally(now, index, side),
            Course::SendOn => self.send_on(now, index),
        }
    }

    /// A peer that speaks on another connection has lost the one before, whether or not we know it: what we ask it
    /// goes there from now on (OpenSIPS/opensips#3903).
    pub(crate) fn follow_flow(&mut self, side: Side, flow: Flow) {
        let Some(legs) = self.legs.as_mut() else { return };
        let known = &mut legs.leg_mut(side).flow;
        let same = known.transport == flow.transport && known.local == flow.local;
        if same && known.remote.ip() == flow.remote.ip() {
            known.connection = flow.connection;
        }
    }

    /// Decides what becomes of a request that the dialog took or refused.
    fn course(
        &mut self,
        side: Side,
        kind: &Kind,
        received: Result<Received, Reject>,
        request: &Message<'_>,
    ) -> Course {
        match received {
            // Out of order it is refused (RFC 3261 §12.2.2); but who sent it has left the dialog (§15.1.1).
            Err(reject @ Reject::OutOfOrder { .. }) if *kind == Kind::Bye => Course::LateBye(reject),
            Err(reject) => Course::Refuse(reject),
            Ok(Received::Bye) => Course::Bye(reason_lines(request)),
            Ok(Received::Prack) => Course::Answer(200),
            Ok(_) if matches!(self.stage, Stage::Ending | Stage::Over) => {
                Course::Refuse(Reject::NoSuchDialog)
            }
            // The answer is on its way to a quorum; in a moment this can be served.
            Ok(_) if self.stage != Stage::Answered => {
                Course::Refuse(Reject::OfferPending { retry_after_s: 1 })
            }
            Ok(Received::Cancel | Received::Ack { .. }) => Course::Answer(200),
            Ok(Received::Other) if request.method() == Some(Method::Options) => Course::Answer(200),
            Ok(_) if !self.serves(request) => Course::Answer(405),
            Ok(Received::Invite { .. } | Received::Update { .. }) if self.is_refresh(side, kind, request) => {
                Course::Refresh
            }
            Ok(Received::Invite { .. } | Received::Update { .. } | Received::Other) => Course::SendOn,
        }
    }

    /// Whether a request may come along this flow: from the leg's own peer, or from another address of its party.
    fn may_ask(&self, side: Side, flow: &Flow) -> bool {
        let party = match side {
            Side::Ingress => Some(&self.party),
            Side::Egress => self.callee.as_ref(),
        };
        let known = match (&self.legs, &self.setup) {
            (Some(legs), _) => Some(legs.leg(side).flow),
            (None, Some(setup)) if side == Side::Ingress => Some(setup.flow),
            (None, setup) => setup.as_ref().and_then(|s| s.attempt.as_ref()?.flow),
        };
        known.is_some_and(|known| known.remote.ip() == flow.remote.ip())
            || party.is_some_and(|party| {
                self.context.resources.admits(party, flow.remote, flow.transport, flow.local.port())
            })
    }

    /// Whether both parties serve the method; INVITE and BYE always.
    fn serves(&self, request: &Message<'_>) -> bool {
        let Some(method) = request.method() else { return false };
        if matches!(method, Method::Invite | Method::Bye) {
            return true;
        }
        let Ok(name) = std::str::from_utf8(method.as_bytes()) else { return false };
        let serves = |party| {
            settings(&self.context.resources, party).is_some_and(|settings| settings.access.serves(name))
        };
        serves(&self.party) && self.callee.as_ref().is_some_and(serves)
    }

    /// A request before there is an answer: PRACK, or a BYE that means CANCEL (RFC 3261 §15).
    fn receive_early_request(
        &mut self,
        now: Instant,
        wall: WallTime,
        message: OwnedMessage,
        key: u64,
        flow: Flow,
        side: Side,
    ) {
        let view = message.view();
        let Some(kind) = view.method().map(Kind::of) else { return };
        let (has_sdp, draw) = (!view.body().is_empty(), self.draw());
        let attempt = self.setup.as_mut().and_then(|setup| setup.attempt.as_mut());
        let mut own = None;
        if let Some(attempt) = attempt {
            own = match side {
                Side::Ingress => attempt.early.iter_mut().find(|dialog| dialog.owns(&view)),
                Side::Egress => attempt.forks.iter_mut().find(|dialog| dialog.owns(&view)),
            };
        }
        let received = own.map_or(Err(Reject::NoSuchDialog), |d| d.receive_request(&view, has_sdp, draw));
        let index = self.open_exchange(message, key, flow, side, kind);
        match received {
            Err(reject) => self.refuse_exchange(now, index, &reject),
            Ok(Received::Bye) if side == Side::Ingress && self.stage == Stage::Trying => {
                self.give_up(now, wall);
                self.propose(CallCommand::Change(Change::Cancel(wall)), Waiting::Cancel);
                self.conclude_cancelled(now, wall);
            }
            Ok(Received::Prack) => {
                self.answer_exchange(now, index, 200);
                let held = self.setup.as_mut().and_then(|setup| setup.held.take());
                if let Some((answer, flow)) = held.map(|held| *held) {
                    self.answered(now, wall, answer, flow);
                }
            }
            Ok(Received::Bye) if side == Side::Egress && self.rings_once() => {
                // It answered, no copy of its 2xx came through, and it gave up (RFC 3261 §13.3.1.4).
                self.attempt_failed(now, wall, 408, None);
            }
            Ok(Received::Bye | Received::Other) => self.answer_exchange(now, index, 200),
            // An UPDATE or re-INVITE before the answer: the far leg may have several dialogs; ask again later.
            Ok(_) => self.answer_exchange(now, index, 491),
        }
    }

    /// Whether the attempt under way has one early dialog: without it nobody is left to answer.
    fn rings_once(&self) -> bool {
        let attempt = self.setup.as_ref().and_then(|setup| setup.attempt.as_ref());
        self.stage == Stage::Trying && attempt.is_some_and(|attempt| attempt.early.len() == 1)
    }

    /// What makes a request the same request, for its copies.
    pub(crate) fn transaction_key(&self, request: &Message<'_>) -> u64 {
        route::transaction_key(&self.context.secret, request).unwrap_or_default()
    }

    /// Opens a server transaction for a request.
    pub(crate) fn open_exchange(
        &mut self,
        request: OwnedMessage,
        key: u64,
        flow: Flow,
        side: Side,
        kind: Kind,
    ) -> usize {
        let reliable = flow.transport != Transport::Udp;
        let server = match kind {
            Kind::Invite => Server::Invite(InviteServer::new(self.times(), reliable)),
            _ => Server::Other(NonInviteServer::new(self.times(), reliable)),
        };
        let asked = Asked { side, request, key, flow, server, ok: None, decided: false, last: None };
        self.exchanged += 1;
        self.exchanges.push(Exchange {
            number: self.exchanged,
            kind,
            asked: Some(Box::new(asked)),
            sent: None,
            step: Step::Open,
            answer: Bytes::new(),
        });
        self.exchanges.len() - 1
    }

    /// Whether a request is one that is already on its way: its last answer goes out again.
    pub(crate) fn repeat_exchange(&mut self, now: Instant, key: u64) -> bool {
        let mut known = self.exchanges.iter_mut().filter_map(|exchange| exchange.asked.as_mut());
        let Some(asked) = known.find(|asked| asked.key == key) else { return false };
        asked.server.handle(now, ServerInput::Retransmission);
        self.pump_exchanges();
        true
    }

    /// Answers every unanswered request of a kind.
    pub(crate) fn answer_kind(&mut self, now: Instant, kind: &Kind, status: u16) {
        for index in 0..self.exchanges.len() {
            if self.exchanges.get(index).is_some_and(|e| e.kind == *kind && e.is_unanswered()) {
                self.answer_exchange(now, index, status);
            }
        }
    }

    /// The next attempt is committed: a callee that left the last one by a BYE gets its 200.
    pub(crate) fn answer_left_callee(&mut self, now: Instant) {
        for index in 0..self.exchanges.len() {
            let left = |e: &Exchange| {
                e.kind == Kind::Bye
                    && e.asked
                        .as_ref()
                        .is_some_and(|asked| asked.side == Side::Egress && asked.last.is_none())
            };
            if self.exchanges.get(index).is_some_and(left) {
                self.answer_exchange(now, index, 200);
            }
        }
    }

    /// Answers a request without a body.
    pub(crate) fn answer_exchange(&mut self, now: Instant, index: usize, status: u16) {
        self.respond_exchange(now, index, &Reply::of(status));
    }

    fn refuse_exchange(&mut self, now: Instant, index: usize, reject: &Reject) {
        let mut extra = Vec::new();
        let mut number = |name: &[u8], value: u32| {
            extra.extend_from_slice(name);
            sip::push_number(&mut extra, value);
            extra.extend_from_slice(b"\r\n");
        };
        if let Some(seconds) = reject.retry_after_s() {
            number(b"Retry-After: ", u32::from(seconds));
        }
        if let Reject::IntervalTooSmall { min_se_s } = reject {
            number(b"Min-SE: ", *min_se_s);
        }
        self.respond_exchange(now, index, &Reply { extra: &extra, ..Reply::of(reject.status()) });
    }

    /// Writes and sends the final answer to a request inside a dialog.
    pub(crate) fn respond_exchange(&mut self, now: Instant, index: usize, reply: &Reply<'_>) {
        let times = self.times();
        let Some(exchange) = self.exchanges.get(index) else { return };
        let Some(asked) = exchange.asked.as_ref() else { return };
        if asked.last.is_some() {
            return;
        }
        let bytes = self.write_reply(&exchange.kind, asked, reply);
        let Some(exchange) = self.exchanges.get_mut(index) else { return };
        let Some(asked) = exchange.asked.as_mut() else { return };
        asked.last = Some((reply.status, bytes.clone()));
        asked.server.handle(now, ServerInput::Respond { status: reply.status, message: bytes.clone() });
        if exchange.kind == Kind::Invite && (200..300).contains(&reply.status) {
            let mut ok = Answer2xx::start(now, times, bytes);
            // The transaction has just sent it; this one only repeats it.
            let _first = ok.poll_output();
            asked.ok = Some(ok);
        }
        if !asked.decided
            && let Some(legs) = self.legs.as_mut()
        {
            let dialog = &mut legs.leg_mut(asked.side).dialog;
            dialog.responded(now, exchange.kind.method(), reply.status, !reply.body.is_empty());
        }
        self.pump_exchanges();
    }

    fn write_reply(&self, kind: &Kind, asked: &Asked, reply: &Reply<'_>) -> Bytes {
        let view = asked.request.view();
        let mut out = Vec::with_capacity(384);
        // Requests inside a dialog have their tag; a CANCEL outside one gets any (RFC 3261 §9.2).
        let tag = (*kind == Kind::Cancel).then(|| self.ingress_tag(&[b"plain"]));
        let tag = tag.as_ref().map(|tag| &tag[..]);
        let mut writer = response_to(&mut out, &view, reply.status, reply.reason, tag, asked.flow.remote);
        let targets = matches!(kind, Kind::Invite | Kind::Update);
        if targets && reply.status < 300 {
            // What came by another home's address is answered with ours: requests come here from now on.
            let flow = self.flow_here(asked.flow).unwrap_or(asked.flow);
            self.push_contact(writer.buffer(), &flow, view.uri().is_some_and(is_sips));
        }
        if (targets && reply.status < 300) || matches!(kind, Kind::Other(_)) || reply.status == 405 {
            let party = if asked.side == Side::Ingress { Some(&self.party) } else { self.callee.as_ref() };
            push_abilities(&mut writer, party.and_then(|p| settings(&self.context.resources, p)));
        }
        writer.buffer().extend_from_slice(reply.extra);
        match reply.body {
            [] => writer.end(),
            body => writer.body(reply.content_type, body),
        }
        Bytes::from(out)
    }

    /// An answer of ours to a request that the call can't serve.
    pub(crate) fn refuse_request(&mut self, message: &OwnedMessage, flow: Flow, answer: &Answer) {
        let bytes = self.plain_response(&message.view(), flow, answer);
        self.send(flow, bytes);
    }
}

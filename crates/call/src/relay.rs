//! Takes requests inside the dialogs, sends them on to the far leg, and brings the answers back.

use bytes::Bytes;
use dialog::{Answered, InDialog, Received, RefreshBy};
use machine::{Instant, Machine, WallTime};
use sdp::Session;
use sip::{Message, Method, Name, OwnedMessage, response_to};
use transaction::{
    Answer2xx, ClientInput, InviteClient, InviteServer, NonInviteClient, NonInviteServer, Output as Tx,
    ServerInput,
};
use trunk::Transport;

use crate::admission::settings;
use crate::attempt::is_sdp;
use crate::call::{Call, Stage, Waiting};
use crate::exchange::{Asked, Client, Exchange, Kind, Sent, Server};
use crate::fading::refusal_ack;
use crate::io::Output;
use crate::message::push_abilities;
use crate::record::{CallCommand, Change, Flow, Side, Update};
use crate::reject::Answer;
use crate::route;

impl Call {
    /// A request inside a dialog of ours, other than ACK and CANCEL.
    pub(crate) fn receive_request(
        &mut self,
        now: Instant,
        wall: WallTime,
        message: OwnedMessage,
        flow: Flow,
    ) {
        if self.repeat_exchange(now, &message) {
            return;
        }
        let view = message.view();
        let Some(kind) = view.method().map(Kind::of) else { return };
        let tag = view.to_tag().ok().flatten().and_then(route::call_of_tag);
        let Some((_, side)) = tag else { return };
        if !self.may_ask(side, &flow) {
            // A stranger with the right tags learns nothing (threat 30).
            return;
        }
        let Some(legs) = self.legs.as_mut() else {
            return self.receive_early_request(now, wall, message, flow, side, kind);
        };
        let has_sdp = !view.body().is_empty();
        let draw = self.drawn ^ self.seed;
        let (near, _) = legs.pair(side);
        let received = near.dialog.receive_request(&view, has_sdp, draw);
        self.draw();
        let index = self.open_exchange(&message, flow, side, kind.clone());
        let received = match received {
            Ok(received) => received,
            Err(reject) => return self.refuse_exchange(now, index, &reject),
        };
        if !matches!(received, Received::Bye) && self.stage != Stage::Answered {
            return self.refuse_exchange(now, index, &dialog::Reject::NoSuchDialog);
        }
        match received {
            Received::Bye => self.receive_bye(now, wall, index, side, &view),
            Received::Other if view.method() == Some(Method::Options) => self.answer_exchange(now, index, 200),
            Received::Prack | Received::Cancel | Received::Ack { .. } => self.answer_exchange(now, index, 200),
            _ if !self.serves(side, &view) => self.answer_exchange(now, index, 405),
            Received::Invite { .. } | Received::Update { .. } if self.is_refresh(side, &kind, &view) => {
                self.refresh_locally(now, index, side);
            }
            _ => self.send_on(now, index, side, &message),
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
    fn serves(&self, side: Side, request: &Message<'_>) -> bool {
        let Some(method) = request.method() else { return false };
        if matches!(method, Method::Invite | Method::Bye) {
            return true;
        }
        let Ok(name) = std::str::from_utf8(method.as_bytes()) else { return false };
        let serves = |party| {
            settings(&self.context.resources, party).is_some_and(|settings| settings.access.serves(name))
        };
        let _ = side;
        serves(&self.party) && self.callee.as_ref().is_some_and(serves)
    }

    /// A request before there is an answer: PRACK, or a BYE that means CANCEL (RFC 3261 §15).
    fn receive_early_request(
        &mut self,
        now: Instant,
        wall: WallTime,
        message: OwnedMessage,
        flow: Flow,
        side: Side,
        kind: Kind,
    ) {
        let view = message.view();
        let has_sdp = !view.body().is_empty();
        let draw = self.draw();
        let attempt = self.setup.as_mut().and_then(|setup| setup.attempt.as_mut());
        let dialogs = attempt.map(|attempt| match side {
            Side::Ingress => attempt.early.iter_mut().collect::<Vec<_>>(),
            Side::Egress => attempt.forks.iter_mut().collect(),
        });
        let own = dialogs.into_iter().flatten().find(|dialog| dialog.owns(&view));
        let received =
            own.map_or(Err(dialog::Reject::NoSuchDialog), |d| d.receive_request(&view, has_sdp, draw));
        let index = self.open_exchange(&message, flow, side, kind.clone());
        match received {
            Err(reject) => self.refuse_exchange(now, index, &reject),
            Ok(Received::Bye) => {
                if side == Side::Ingress && matches!(self.stage, Stage::Asking | Stage::Trying) {
                    self.give_up(now, wall);
                    self.propose(CallCommand::Change(Change::Cancel(wall)), Waiting::Lazy);
                }
                self.answer_exchange(now, index, 200);
            }
            Ok(Received::Prack | Received::Other) => self.answer_exchange(now, index, 200),
            // An UPDATE or re-INVITE before the answer: the far leg may have several dialogs; ask again later.
            Ok(_) => self.answer_exchange(now, index, 491),
        }
    }

    /// Opens a server transaction for a request.
    pub(crate) fn open_exchange(
        &mut self,
        message: &OwnedMessage,
        flow: Flow,
        side: Side,
        kind: Kind,
    ) -> usize {
        let reliable = flow.transport != Transport::Udp;
        let server = match kind {
            Kind::Invite => Server::Invite(InviteServer::new(self.times(), reliable)),
            _ => Server::Other(NonInviteServer::new(self.times(), reliable)),
        };
        let key = route::transaction_key(&self.context.secret, &message.view()).unwrap_or_default();
        let request = message.clone();
        self.exchanged += 1;
        self.exchanges.push(Exchange {
            number: self.exchanged,
            kind,
            asked: Some(Asked { side, request, key, flow, server, ok: None, last: None }),
            sent: None,
            accepted: None,
            answer: Bytes::new(),
        });
        self.exchanges.len() - 1
    }

    /// Whether a request is one that is already on its way: its last answer goes out again.
    pub(crate) fn repeat_exchange(&mut self, now: Instant, message: &OwnedMessage) -> bool {
        let Some(key) = route::transaction_key(&self.context.secret, &message.view()) else { return false };
        let known = self.exchanges.iter_mut().filter_map(|exchange| exchange.asked.as_mut());
        let Some(asked) = known.into_iter().find(|asked| asked.key == key) else { return false };
        asked.server.handle(now, ServerInput::Retransmission);
        self.pump_exchanges();
        true
    }

    /// BYE: told to the far leg at once, answered when the end is committed.
    fn receive_bye(&mut self, now: Instant, wall: WallTime, index: usize, side: Side, bye: &Message<'_>) {
        if self.stage == Stage::Over {
            return self.answer_exchange(now, index, 200);
        }
        // RFC 3326: why the call ended is the far side's business too.
        let mut reason = Vec::new();
        for header in bye.headers().filter(|header| header.id == Name::Reason) {
            reason.extend_from_slice(header.line);
            reason.extend_from_slice(b"\r\n");
        }
        self.bye_reason = Some(reason);
        self.hang_up(now, wall, "BYE", Call::hangup_by(side), Some(side));
    }

    /// The end is committed: every BYE that waits for it is answered.
    pub(crate) fn answer_byes(&mut self, now: Instant, wall: WallTime) {
        let _ = wall;
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

    /// Answers every unanswered request of a kind.
    pub(crate) fn answer_kind(&mut self, now: Instant, kind: &Kind, status: u16) {
        for index in 0..self.exchanges.len() {
            let exchange = self.exchanges.get(index);
            let waits = |e: &Exchange| e.kind == *kind && e.asked.as_ref().is_some_and(|a| a.last.is_none());
            if exchange.is_some_and(waits) {
                self.answer_exchange(now, index, status);
            }
        }
    }

    /// Answers a request without a body.
    pub(crate) fn answer_exchange(&mut self, now: Instant, index: usize, status: u16) {
        self.respond_exchange(now, index, status, b"", &[], None);
    }

    fn refuse_exchange(&mut self, now: Instant, index: usize, reject: &dialog::Reject) {
        let mut extra = Vec::new();
        if let Some(seconds) = reject.retry_after_s() {
            extra.extend_from_slice(b"Retry-After: ");
            sip::push_number(&mut extra, u32::from(seconds));
            extra.extend_from_slice(b"\r\n");
        }
        if let dialog::Reject::IntervalTooSmall { min_se_s } = reject {
            extra.extend_from_slice(b"Min-SE: ");
            sip::push_number(&mut extra, *min_se_s);
            extra.extend_from_slice(b"\r\n");
        }
        self.respond_exchange(now, index, reject.status(), b"", &extra, None);
    }

    /// Writes and sends the final answer to a request inside a dialog.
    fn respond_exchange(
        &mut self,
        now: Instant,
        index: usize,
        status: u16,
        reason: &[u8],
        extra: &[u8],
        body: Option<&[u8]>,
    ) {
        let times = self.times();
        let Some(exchange) = self.exchanges.get(index) else { return };
        let Some(asked) = exchange.asked.as_ref() else { return };
        let view = asked.request.view();
        let mut out = Vec::with_capacity(512);
        let tag = self.ingress_tag(&[b"plain"]);
        let mut writer = response_to(&mut out, &view, status, reason, Some(&tag), asked.flow.remote);
        if matches!(exchange.kind, Kind::Invite | Kind::Update) && status < 300 {
            self.push_contact(writer.buffer(), &asked.flow);
        }
        if status < 300 || status == 405 {
            let party = if asked.side == Side::Ingress { Some(&self.party) } else { self.callee.as_ref() };
            push_abilities(&mut writer, party.and_then(|p| settings(&self.context.resources, p)));
        }
        writer.buffer().extend_from_slice(extra);
        match body.filter(|body| !body.is_empty()) {
            Some(body) => writer.body(b"application/sdp", body),
            None => writer.end(),
        }
        let bytes = Bytes::from(out);
        let Some(exchange) = self.exchanges.get_mut(index) else { return };
        let is_invite = exchange.kind == Kind::Invite;
        let kind = exchange.kind.clone();
        let Some(asked) = exchange.asked.as_mut() else { return };
        asked.last = Some((status, bytes.clone()));
        asked.server.handle(now, ServerInput::Respond { status, message: bytes.clone() });
        if is_invite && (200..300).contains(&status) {
            let mut ok = Answer2xx::start(now, times, bytes);
            let _first = ok.poll_output();
            asked.ok = Some(ok);
        }
        let side = asked.side;
        if let Some(legs) = self.legs.as_mut() {
            legs.pair(side).0.dialog.responded(now, kind.method(), status, body.is_some());
        }
        self.pump_exchanges();
    }

    /// Whether a re-INVITE or UPDATE changes nothing: a session refresh, answered here (RFC 4028 §7.4, §9).
    fn is_refresh(&self, side: Side, kind: &Kind, request: &Message<'_>) -> bool {
        let Some(legs) = self.legs.as_ref() else { return false };
        let body = request.body();
        if body.is_empty() {
            return *kind == Kind::Update;
        }
        let known = &legs.leg(side).remote_sdp;
        let (Ok(new), Ok(old)) = (Session::parse(body), Session::parse(known)) else { return false };
        is_sdp(request) && new.repeats(&old)
    }

    fn refresh_locally(&mut self, now: Instant, index: usize, side: Side) {
        let Some(legs) = self.legs.as_ref() else { return };
        let leg = legs.leg(side);
        let has_sdp = self
            .exchanges
            .get(index)
            .and_then(|e| e.asked.as_ref())
            .is_some_and(|asked| !asked.request.view().body().is_empty());
        let (sdp, mut extra) = (leg.local_sdp.clone(), Vec::new());
        leg.dialog.write_session_answer(&mut extra);
        let body = Some(&sdp[..]).filter(|_| has_sdp);
        self.respond_exchange(now, index, 200, b"", &extra, body);
        self.note_leg(side);
    }

    /// Records how a leg stands now.
    fn note_leg(&mut self, side: Side) {
        let Some(legs) = self.legs.as_ref() else { return };
        let (leg, far) = (legs.leg(side).state(), legs.leg(side.other()).state());
        self.lazy(Change::Update(Box::new(Update { side, leg, far: Some(far) })));
    }

    /// Sends a request on to the far leg.
    fn send_on(&mut self, now: Instant, index: usize, side: Side, message: &OwnedMessage) {
        let view = message.view();
        let Some(method) = view.method() else { return };
        let far = side.other();
        let sdp = if is_sdp(&view) {
            match self.describe(far, view.body(), true) {
                Ok(sdp) => sdp,
                Err(Answer { status, .. }) => return self.answer_exchange(now, index, status),
            }
        } else {
            Bytes::copy_from_slice(view.body())
        };
        let Some(legs) = self.legs.as_mut() else { return };
        let (leg, _) = legs.pair(far);
        if leg.dialog.may_send(method, !sdp.is_empty()).is_err() {
            // The far side is in the middle of an exchange of its own: glare for the asker (RFC 3261 §14.2).
            return self.answer_exchange(now, index, 491);
        }
        let Ok(cseq) = leg.dialog.take_cseq() else { return self.answer_exchange(now, index, 500) };
        leg.dialog.sent_request(method, cseq, !sdp.is_empty());
        let (state, flow) = (leg.dialog.state().clone(), leg.flow);
        let mut extra = Vec::new();
        if matches!(method, Method::Invite | Method::Update) {
            leg.dialog.write_session_request(&mut extra);
        }
        let content_type = view.get(Name::ContentType).unwrap_or(b"application/sdp").to_vec();
        let body = Some(dialog::Body { content_type: &content_type, bytes: &sdp }).filter(|b| !b.bytes.is_empty());
        if method == Method::Invite {
            self.respond_trying(now, index);
        }
        let sent = self.make_sent(now, far, &state, flow, method, cseq, &extra, body);
        if let Some(exchange) = self.exchanges.get_mut(index) {
            exchange.sent = Some(Sent { sdp, ..sent });
        }
        self.keep_numbers(far);
        self.pump_exchanges();
    }

    /// 100 to a re-INVITE, so that it is not repeated while the far side thinks.
    fn respond_trying(&mut self, now: Instant, index: usize) {
        let Some(asked) = self.exchanges.get_mut(index).and_then(|e| e.asked.as_mut()) else { return };
        let mut out = Vec::with_capacity(256);
        response_to(&mut out, &asked.request.view(), 100, b"", None, asked.flow.remote).end();
        asked.server.handle(now, ServerInput::Respond { status: 100, message: out.into() });
    }

    /// Reserves the next block of CSeqs before the last one runs out.
    pub(crate) fn keep_numbers(&mut self, side: Side) {
        let Some(legs) = self.legs.as_mut() else { return };
        let numbers = &legs.leg(side).dialog.state().cseq;
        if numbers.left() < 16 {
            let reserved_to = numbers.reserved_to() + dialog::CSEQ_BLOCK;
            let change = Change::Advance(side, reserved_to);
            self.propose(CallCommand::Change(change), Waiting::Advance(side, reserved_to));
        }
    }

    /// A reservation is committed.
    pub(crate) fn advanced(&mut self, now: Instant, wall: WallTime, side: Side, reserved_to: u32) {
        let _ = wall;
        let Some(legs) = self.legs.as_mut() else { return };
        legs.pair(side).0.dialog.reserve_cseq(reserved_to);
        if let Some(at) = self.byes_wanted.iter().position(|(wanted, _)| *wanted == side) {
            let (_, reason) = self.byes_wanted.remove(at);
            self.send_bye(now, side, &reason);
        }
    }

    /// Sends a request of our own on a leg.
    pub(crate) fn send_request(
        &mut self,
        now: Instant,
        side: Side,
        state: &dialog::DialogState,
        flow: Flow,
        method: Method<'_>,
        cseq: u32,
        extra: &[u8],
        body: Option<dialog::Body<'_>>,
    ) {
        let sent = self.make_sent(now, side, state, flow, method, cseq, extra, body);
        self.exchanged += 1;
        self.exchanges.push(Exchange {
            number: self.exchanged,
            kind: Kind::of(method),
            asked: None,
            sent: Some(sent),
            accepted: None,
            answer: Bytes::new(),
        });
        self.pump_exchanges();
    }

    fn make_sent(
        &mut self,
        now: Instant,
        side: Side,
        state: &dialog::DialogState,
        flow: Flow,
        method: Method<'_>,
        cseq: u32,
        extra: &[u8],
        body: Option<dialog::Body<'_>>,
    ) -> Sent {
        let name: &[u8] = if side == Side::Ingress { b"i" } else { b"e" };
        let parts = [method.as_bytes(), name, state.remote_tag.as_bytes(), &cseq.to_be_bytes()];
        let branch = route::branch(&self.context.secret, self.id, &parts);
        let via = self.via_value(&flow, &branch);
        let contact = self.contact_value(&flow);
        let targets = matches!(method, Method::Invite | Method::Update);
        let mut out = Vec::with_capacity(512);
        let sdp = body.map(|body| Bytes::copy_from_slice(body.bytes)).unwrap_or_default();
        let contact = Some(&contact[..]).filter(|_| targets);
        state.write_request(&mut out, &InDialog { method, cseq, via: &via, contact, extra, body });
        let bytes = Bytes::from(out);
        let reliable = flow.transport != Transport::Udp;
        let client = match method {
            Method::Invite => Client::Invite(InviteClient::start(now, self.times(), reliable, bytes.clone())),
            _ => Client::Other(NonInviteClient::start(now, self.times(), reliable, bytes.clone())),
        };
        Sent { side, flow, branch, cseq, bytes, client, sdp, ack: None }
    }

    /// A session refresh of ours is due.
    pub(crate) fn refresh(&mut self, now: Instant, side: Side, by: RefreshBy) {
        let Some(legs) = self.legs.as_mut() else { return };
        let (leg, _) = legs.pair(side);
        let (method, sdp) = match by {
            RefreshBy::Update => (Method::Update, Bytes::new()),
            RefreshBy::Invite => (Method::Invite, leg.local_sdp.clone()),
        };
        if leg.dialog.may_send(method, !sdp.is_empty()).is_err() {
            return;
        }
        let Ok(cseq) = leg.dialog.take_cseq() else { return };
        let mut extra = Vec::new();
        leg.dialog.sent_request(method, cseq, !sdp.is_empty());
        leg.dialog.write_session_request(&mut extra);
        let (state, flow) = (leg.dialog.state().clone(), leg.flow);
        let body = Some(dialog::Body { content_type: b"application/sdp", bytes: &sdp });
        let body = body.filter(|body| !body.bytes.is_empty());
        self.send_request(now, side, &state, flow, method, cseq, &extra, body);
        self.keep_numbers(side);
    }

    /// A response that may belong to a request inside the dialogs. Gives whether it does.
    pub(crate) fn receive_exchange_response(
        &mut self,
        now: Instant,
        wall: WallTime,
        message: &OwnedMessage,
        flow: Flow,
    ) -> bool {
        let view = message.view();
        let (Ok(via), Some(status)) = (view.top_via(), view.status()) else { return false };
        let branch = via.branch.unwrap_or_default();
        let found = self.exchanges.iter().position(|e| e.sent.as_ref().is_some_and(|s| s.branch == branch));
        let Some(index) = found else { return false };
        let Some(sent) = self.exchanges.get_mut(index).and_then(|e| e.sent.as_mut()) else { return false };
        sent.client.handle(now, ClientInput::Response { status });
        let mut news = false;
        while let Some(output) = sent.client.poll_output() {
            match output {
                Tx::Send(bytes) => self.outputs.push_back(Output::Send { flow: sent.flow, bytes }),
                Tx::Deliver { .. } => news = true,
                _ => {} // Time-outs are seen where timers fire.
            }
        }
        if news {
            self.exchange_answered(now, wall, index, status, message);
        }
        let _ = flow;
        true
    }

    /// The far side answered a request.
    fn exchange_answered(
        &mut self,
        now: Instant,
        wall: WallTime,
        index: usize,
        status: u16,
        message: &OwnedMessage,
    ) {
        let view = message.view();
        let draw = self.draw();
        let Some(exchange) = self.exchanges.get_mut(index) else { return };
        let Some(sent) = exchange.sent.as_mut() else { return };
        let side = sent.side;
        let kind = exchange.kind.clone();
        let answered = self.legs.as_mut().map(|legs| {
            legs.pair(side).0.dialog.receive_response(now, &view, !view.body().is_empty(), draw)
        });
        if status < 200 {
            return;
        }
        if kind == Kind::Invite && status >= 300 {
            let ack = refusal_ack(&sent.bytes, &view);
            sent.client.handle(now, ClientInput::Acknowledge(ack));
        }
        match answered {
            Some(Ok(Answered::Repeated)) => {
                if let Some(ack) = sent.ack.clone() {
                    let flow = sent.flow;
                    self.send(flow, ack);
                }
            }
            Some(Ok(Answered::Success)) if matches!(kind, Kind::Invite | Kind::Update) => {
                exchange.accepted = Some(message.clone());
                self.exchange_accepted(now, index, side);
            }
            Some(Ok(Answered::Gone)) if kind != Kind::Bye => {
                self.answer_exchange_with(now, index, message);
                self.hang_up(now, wall, "the dialog is gone", Call::hangup_by(side), Some(side));
            }
            _ => self.answer_exchange_with(now, index, message),
        }
        self.pump_exchanges();
    }

    /// Passes a far answer back to whoever asked, without a change of session.
    fn answer_exchange_with(&mut self, now: Instant, index: usize, message: &OwnedMessage) {
        let view = message.view();
        let status = crate::reject::relayed(view.status().unwrap_or(500));
        let asked = self.exchanges.get(index).and_then(|e| e.asked.as_ref());
        if asked.is_some_and(|asked| asked.last.is_none()) {
            let reason: &[u8] = if view.status() == Some(status) { view.reason_phrase() } else { b"" };
            self.respond_exchange(now, index, status, reason, &[], None);
        }
    }

    /// A 2xx that changes the session: recorded first, then both sides hear of it.
    fn exchange_accepted(&mut self, now: Instant, index: usize, far: Side) {
        let Some(exchange) = self.exchanges.get(index) else { return };
        let Some(message) = exchange.accepted.clone() else { return };
        let number = exchange.number;
        let view = message.view();
        let sent_sdp = exchange.sent.as_ref().map(|sent| sent.sdp.clone()).unwrap_or_default();
        let asked_sdp = exchange.asked.as_ref().map(|a| Bytes::copy_from_slice(a.request.view().body()));
        let delayed = exchange.kind == Kind::Invite && sent_sdp.is_empty();
        let near = far.other();
        let answer = if asked_sdp.is_some() && is_sdp(&view) {
            self.describe(near, view.body(), delayed).unwrap_or_default()
        } else {
            Bytes::new()
        };
        let Some(legs) = self.legs.as_mut() else { return };
        let (far_leg, near_leg) = legs.pair(far);
        if !view.body().is_empty() {
            far_leg.remote_sdp = Bytes::copy_from_slice(view.body());
        }
        if !sent_sdp.is_empty() {
            far_leg.local_sdp = sent_sdp;
        }
        if let Some(asked_sdp) = asked_sdp.filter(|sdp| !sdp.is_empty()) {
            near_leg.remote_sdp = asked_sdp;
        }
        if !answer.is_empty() {
            near_leg.local_sdp = answer.clone();
        }
        let (leg, far_state) = (far_leg.state(), near_leg.state());
        if let Some(exchange) = self.exchanges.get_mut(index) {
            exchange.answer = answer;
        }
        let update = Update { side: far, leg, far: Some(far_state) };
        self.propose(CallCommand::Change(Change::Update(Box::new(update))), Waiting::Exchange(number));
        let _ = now;
    }

    /// A changed session is committed: ACK to the far side, 2xx to whoever asked, the relay follows.
    pub(crate) fn exchange_recorded(&mut self, now: Instant, wall: WallTime, number: u32) {
        let _ = wall;
        let Some(index) = self.exchanges.iter().position(|e| e.number == number) else { return };
        let Some(exchange) = self.exchanges.get_mut(index) else { return };
        let is_invite = exchange.kind == Kind::Invite;
        let accepted = exchange.accepted.take();
        let answer = exchange.answer.clone();
        let asked = exchange.asked.as_ref().map(|asked| asked.side);
        let delayed = is_invite && exchange.sent.as_ref().is_some_and(|sent| sent.sdp.is_empty());
        // Where the far side made the offer, its ACK carries the asker's answer and must wait for it.
        if is_invite && !(delayed && asked.is_some()) {
            self.acknowledge_exchange(index, None);
        }
        self.relay_answered();
        if let (Some(side), Some(message)) = (asked, accepted) {
            let view = message.view();
            let mut extra = Vec::new();
            if let Some(legs) = self.legs.as_ref() {
                legs.leg(side).dialog.write_session_answer(&mut extra);
            }
            let status = view.status().unwrap_or(200);
            let body = Some(&answer[..]).filter(|body| !body.is_empty());
            self.respond_exchange(now, index, status, view.reason_phrase(), &extra, body);
        }
        self.pump_exchanges();
    }

    /// ACK to the far side's 2xx to a re-INVITE.
    fn acknowledge_exchange(&mut self, index: usize, answer: Option<&Bytes>) {
        let Some(sent) = self.exchanges.get(index).and_then(|e| e.sent.as_ref()) else { return };
        let (side, cseq, flow) = (sent.side, sent.cseq, sent.flow);
        let body = answer.and_then(|sdp| self.describe(side, sdp, false).ok());
        let Some(legs) = self.legs.as_mut() else { return };
        let (leg, _) = legs.pair(side);
        leg.dialog.sent_request(Method::Ack, cseq, body.is_some());
        if let Some(body) = &body {
            leg.local_sdp = body.clone();
        }
        let state = leg.dialog.state().clone();
        let parts: [&[u8]; 3] = [b"ack", state.remote_tag.as_bytes(), &cseq.to_be_bytes()];
        let branch = route::branch(&self.context.secret, self.id, &parts);
        let via = self.via_value(&flow, &branch);
        let mut out = Vec::with_capacity(512);
        let sdp = |bytes| dialog::Body { content_type: b"application/sdp", bytes };
        let body = body.as_deref().map(sdp);
        let request = InDialog { method: Method::Ack, cseq, via: &via, contact: None, extra: b"", body };
        state.write_request(&mut out, &request);
        let ack = Bytes::from(out);
        if let Some(sent) = self.exchanges.get_mut(index).and_then(|e| e.sent.as_mut()) {
            sent.ack = Some(ack.clone());
        }
        self.send(flow, ack);
    }

    /// An ACK for the answer to a re-INVITE.
    pub(crate) fn receive_exchange_ack(&mut self, now: Instant, wall: WallTime, message: &OwnedMessage) {
        let _ = wall;
        let view = message.view();
        let Ok((cseq, _)) = view.cseq() else { return };
        let Some((_, side)) = view.to_tag().ok().flatten().and_then(route::call_of_tag) else { return };
        let mine = |e: &Exchange| {
            e.asked.as_ref().is_some_and(|asked| {
                let number = asked.request.view().cseq().map_or(0, |(number, _)| number);
                e.kind == Kind::Invite && asked.side == side && number == cseq
            })
        };
        let Some(index) = self.exchanges.iter().position(mine) else { return };
        let draw = self.draw();
        if let Some(legs) = self.legs.as_mut() {
            let _ = legs.pair(side).0.dialog.receive_request(&view, !view.body().is_empty(), draw);
        }
        let Some(exchange) = self.exchanges.get_mut(index) else { return };
        let waits = exchange.sent.as_ref().is_some_and(|sent| sent.sdp.is_empty() && sent.ack.is_none());
        let Some(asked) = exchange.asked.as_mut() else { return };
        let success = asked.last.as_ref().is_some_and(|(status, _)| *status < 300);
        asked.server.handle(now, ServerInput::Ack);
        if let Some(ok) = asked.ok.as_mut() {
            ok.handle(now, ServerInput::Ack);
        }
        if waits && success && !view.body().is_empty() {
            let sdp = Bytes::copy_from_slice(view.body());
            if let Some(legs) = self.legs.as_mut() {
                legs.pair(side).0.remote_sdp = sdp.clone();
            }
            self.acknowledge_exchange(index, Some(&sdp));
            self.relay_answered();
            self.note_leg(side);
        }
        self.pump_exchanges();
    }

    /// CANCEL of a re-INVITE, or of nothing.
    pub(crate) fn cancel_exchange(&mut self, now: Instant, message: OwnedMessage, flow: Flow) {
        let view = message.view();
        let branch = view.top_via().ok().and_then(|via| via.branch);
        let cancels = |e: &&mut Exchange| {
            e.kind == Kind::Invite
                && e.asked.as_ref().is_some_and(|asked| {
                    asked.request.view().top_via().is_ok_and(|via| via.branch == branch)
                })
        };
        let Some(exchange) = self.exchanges.iter_mut().find(cancels) else {
            return self.refuse_request(&message, flow, &Answer::new(481, ""));
        };
        let side = exchange.asked.as_ref().map_or(Side::Ingress, |asked| asked.side);
        if let Some(Sent { client: Client::Invite(client), flow, bytes, .. }) = exchange.sent.as_mut() {
            client.handle(now, ClientInput::Cancel);
            while let Some(output) = client.poll_output() {
                if output == Tx::SendCancel {
                    // Sent once; the far side's final answer bounds the wait (RFC 3261 §9.1).
                    let flow = *flow;
                    let times = self.context.times;
                    crate::attempt::start_cancel(now, times, flow, bytes, &mut self.outputs);
                }
            }
        }
        let index = self.open_exchange(&message, flow, side, Kind::Cancel);
        self.answer_exchange(now, index, 200);
    }

    /// Fires the timers of the requests inside the dialogs.
    pub(crate) fn exchange_timeouts(&mut self, now: Instant, wall: WallTime) {
        let mut silent = Vec::new();
        let mut unacknowledged = false;
        for exchange in &mut self.exchanges {
            if let Some(asked) = exchange.asked.as_mut() {
                asked.server.handle_timeout(now);
                if let Some(ok) = asked.ok.as_mut() {
                    ok.handle_timeout(now);
                }
            }
            if let Some(sent) = exchange.sent.as_mut() {
                sent.client.handle_timeout(now);
            }
        }
        self.pump_exchanges_noting(&mut silent, &mut unacknowledged);
        for number in silent {
            self.exchange_failed(now, wall, number);
        }
        if unacknowledged {
            self.hang_up(now, wall, "no ACK", crate::cdr::HangupBy::System, None);
        }
    }

    /// What was sent along a flow could not be sent.
    pub(crate) fn exchanges_unreachable(&mut self, now: Instant, wall: WallTime, flow: Flow) {
        for exchange in &mut self.exchanges {
            if let Some(sent) = exchange.sent.as_mut()
                && sent.flow.remote == flow.remote
                && sent.flow.transport == flow.transport
            {
                sent.client.handle(now, ClientInput::TransportError);
            }
        }
        let (mut silent, mut unacknowledged) = (Vec::new(), false);
        self.pump_exchanges_noting(&mut silent, &mut unacknowledged);
        for number in silent {
            self.exchange_failed(now, wall, number);
        }
    }

    /// A request of ours got no answer: 408 to whoever asked, and the call ends (RFC 3261 §12.2.1.2).
    fn exchange_failed(&mut self, now: Instant, wall: WallTime, number: u32) {
        let Some(index) = self.exchanges.iter().position(|e| e.number == number) else { return };
        let Some(exchange) = self.exchanges.get(index) else { return };
        let kind = exchange.kind.clone();
        let Some(side) = exchange.sent.as_ref().map(|sent| sent.side) else { return };
        if let Some(legs) = self.legs.as_mut() {
            legs.pair(side).0.dialog.request_failed(now, kind.method(), 408);
        }
        if exchange_waits(self.exchanges.get(index)) {
            self.answer_exchange(now, index, 408);
        }
        if matches!(kind, Kind::Invite | Kind::Update) {
            self.hang_up(now, wall, "no answer to a request", Call::hangup_by(side), None);
        }
    }

    pub(crate) fn pump_exchanges(&mut self) {
        let (mut silent, mut unacknowledged) = (Vec::new(), false);
        self.pump_exchanges_noting(&mut silent, &mut unacknowledged);
    }

    fn pump_exchanges_noting(&mut self, silent: &mut Vec<u32>, unacknowledged: &mut bool) {
        for exchange in &mut self.exchanges {
            if let Some(asked) = exchange.asked.as_mut() {
                let flow = asked.flow;
                while let Some(output) = asked.server.poll_output() {
                    if let Tx::Send(bytes) = output {
                        self.outputs.push_back(Output::Send { flow, bytes });
                    }
                }
                while let Some(output) = asked.ok.as_mut().and_then(Machine::poll_output) {
                    match output {
                        Tx::Send(bytes) => self.outputs.push_back(Output::Send { flow, bytes }),
                        Tx::TimedOut(_) => *unacknowledged = true,
                        _ => {} // The ACK was taken where it came.
                    }
                }
            }
            let Some(sent) = exchange.sent.as_mut() else { continue };
            let flow = sent.flow;
            while let Some(output) = sent.client.poll_output() {
                match output {
                    Tx::Send(bytes) => self.outputs.push_back(Output::Send { flow, bytes }),
                    Tx::TimedOut(_) | Tx::TransportFailed => silent.push(exchange.number),
                    _ => {} // Responses are delivered where they come.
                }
            }
        }
    }

    /// Who ends a call that a side ends.
    pub(crate) const fn hangup_by(side: Side) -> crate::cdr::HangupBy {
        match side {
            Side::Ingress => crate::cdr::HangupBy::Caller,
            Side::Egress => crate::cdr::HangupBy::Callee,
        }
    }
}

fn exchange_waits(exchange: Option<&Exchange>) -> bool {
    exchange.and_then(|e| e.asked.as_ref()).is_some_and(|asked| asked.last.is_none())
}

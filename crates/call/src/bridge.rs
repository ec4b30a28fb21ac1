//! Requests on their way to the far leg, and the far side's answers on their way back (RFC 3261 §12.2, §14;
//! RFC 3311; RFC 4028 §7.3).

use bytes::Bytes;
use dialog::{Answered, DialogState, InDialog};
use machine::{Instant, WallTime};
use sip::{Framing, Message, Method, Name, OwnedMessage, response_to};
use transaction::{ClientInput, InviteClient, NonInviteClient, Output as Tx, ServerInput};
use trunk::Transport;

use crate::admission::settings;
use crate::asked::Reply;
use crate::attempt::is_sdp;
use crate::call::{Call, Hangup, Wanted};
use crate::exchange::{Client, Exchange, Kind, Sent, Step};
use crate::fading::refusal_ack;
use crate::inbound::Answer;
use crate::io::Output;
use crate::message::{is_ours, passes, push_abilities_lines};
use crate::record::{Flow, Side};
use crate::route;
use crate::security::Said;

/// A request of ours inside a dialog.
pub(crate) struct Request<'a> {
    pub method: Method<'a>,
    pub cseq: u32,
    /// Whole header lines, each with its CRLF.
    pub extra: &'a [u8],
    pub body: Option<dialog::Body<'a>>,
}

impl Call {
    /// Sends the request of an exchange on to the far leg.
    pub(crate) fn send_on(&mut self, now: Instant, index: usize) {
        let Some(exchange) = self.exchanges.get(index) else { return };
        let Some(asked) = exchange.asked.as_ref().filter(|_| exchange.is_unanswered()) else { return };
        let (number, far, request) = (exchange.number, asked.side.other(), asked.request.clone());
        let view = request.view();
        let Some(method) = view.method() else { return };
        let Some(legs) = self.legs.as_ref() else { return };
        let dialog = &legs.leg(far).dialog;
        if dialog.may_send(method, !view.body().is_empty()).is_err() {
            // The far side is in the middle of an exchange of its own: glare for the asker (RFC 3261 §14.2).
            return self.answer_exchange(now, index, 491);
        }
        if dialog.state().cseq.left() == 0 {
            self.wanted.push((far, Wanted::SendOn(number)));
            return self.keep_numbers(far);
        }
        let mut body = Bytes::copy_from_slice(view.body());
        if is_sdp(&view) {
            let allowed = self.check_offer(far.other(), &view);
            body = match allowed.and_then(|()| self.describe(far, &body, Said::Offer)) {
                Ok(sdp) => sdp,
                Err(answer) => return self.answer_exchange(now, index, answer.status),
            };
        }
        if method == Method::Invite {
            self.respond_trying(now, index);
        }
        self.forward(now, index, far, &view, body);
    }

    /// Writes and sends the request of an exchange on a leg; again with other numbers after a 422.
    fn forward(&mut self, now: Instant, index: usize, side: Side, asked: &Message<'_>, body: Bytes) {
        let Some(method) = asked.method() else { return };
        let mut extra = self.bridged_lines(asked, side);
        let content_type = asked.get(Name::ContentType).unwrap_or(b"application/sdp");
        let body = Some(dialog::Body { content_type, bytes: &body }).filter(|body| !body.bytes.is_empty());
        let Some(sent) = self.send_in_dialog(now, side, method, &mut extra, body) else {
            return self.answer_exchange(now, index, 500);
        };
        if let Some(exchange) = self.exchanges.get_mut(index) {
            exchange.sent = Some(sent);
        }
        self.pump_exchanges();
        self.keep_numbers(side);
    }

    /// Takes a number, writes a request of a leg's dialog and starts its transaction. A re-INVITE or UPDATE carries
    /// what we want of session timers and what we can (RFC 4028 §7.4).
    pub(crate) fn send_in_dialog(
        &mut self,
        now: Instant,
        side: Side,
        method: Method<'_>,
        extra: &mut Vec<u8>,
        body: Option<dialog::Body<'_>>,
    ) -> Option<Sent> {
        if matches!(method, Method::Invite | Method::Update) {
            let party = if side == Side::Ingress { Some(&self.party) } else { self.callee.as_ref() };
            push_abilities_lines(extra, party.and_then(|party| settings(&self.context.resources, party)));
        }
        let leg = self.legs.as_mut()?.leg_mut(side);
        let cseq = leg.dialog.take_cseq().ok()?;
        leg.dialog.sent_request(method, cseq, body.is_some());
        if matches!(method, Method::Invite | Method::Update) {
            leg.dialog.write_session_request(extra);
        }
        let leg = self.legs.as_ref()?.leg(side);
        Some(self.make_sent(
            now,
            side,
            (leg.dialog.state(), leg.flow),
            &Request { method, cseq, extra, body },
        ))
    }

    /// Header lines of one side's message as the other side may see them.
    fn bridged_lines(&self, message: &Message<'_>, to: Side) -> Vec<u8> {
        let of = |party| settings(&self.context.resources, party);
        let (caller, callee) = (of(&self.party), self.callee.as_ref().and_then(of));
        let (from, to) = if to == Side::Ingress { (callee, caller) } else { (caller, callee) };
        let mut lines = Vec::new();
        for header in message.headers().filter(|header| !is_ours(header) && passes(header, from, to)) {
            lines.extend_from_slice(header.line);
            lines.extend_from_slice(b"\r\n");
        }
        lines
    }

    /// 100 to a re-INVITE, so that it is not repeated while the far side thinks.
    fn respond_trying(&mut self, now: Instant, index: usize) {
        let Some(asked) = self.exchanges.get_mut(index).and_then(|e| e.asked.as_mut()) else { return };
        let mut out = Vec::with_capacity(256);
        response_to(&mut out, &asked.request.view(), 100, b"", None, asked.flow.remote).end();
        asked.server.handle(now, ServerInput::Respond { status: 100, message: out.into() });
    }

    /// Sends a request of our own on an answered leg, whose dialog knows of it already.
    pub(crate) fn send_request(&mut self, now: Instant, side: Side, kind: Kind, request: &Request<'_>) {
        let Some(legs) = self.legs.as_ref() else { return };
        let leg = legs.leg(side);
        let sent = self.make_sent(now, side, (leg.dialog.state(), leg.flow), request);
        self.open_own(kind, sent);
    }

    /// Opens an exchange that nobody but us asked for.
    pub(crate) fn open_own(&mut self, kind: Kind, sent: Sent) {
        self.exchanged += 1;
        self.exchanges.push(Exchange {
            number: self.exchanged,
            kind,
            asked: None,
            sent: Some(sent),
            step: Step::Open,
            answer: Bytes::new(),
        });
        self.pump_exchanges();
    }

    /// Writes a request of a dialog and starts its transaction.
    pub(crate) fn make_sent(
        &self,
        now: Instant,
        side: Side,
        (state, flow): (&DialogState, Flow),
        request: &Request<'_>,
    ) -> Sent {
        let Request { method, cseq, extra, body } = *request;
        let name: &[u8] = if side == Side::Ingress { b"i" } else { b"e" };
        // The Call-ID tells attempts apart whose callees chose the same tag.
        let (dialog, number) = (state.call_id.as_bytes(), cseq.to_be_bytes());
        let parts = [method.as_bytes(), name, dialog, state.remote_tag.as_bytes(), &number];
        let branch = route::branch(&self.context.secret, self.id, &parts);
        let via = self.via_value(&flow, &branch);
        let targets = matches!(method, Method::Invite | Method::Update);
        let contact = targets.then(|| self.contact_value(&flow, state.secure));
        let length = 384 + extra.len() + body.map_or(0, |body| body.bytes.len());
        let mut out = Vec::with_capacity(length);
        let contact = contact.as_deref();
        state.write_request(&mut out, &InDialog { method, cseq, via: &via, contact, extra, body });
        let bytes = Bytes::from(out);
        let reliable = flow.transport != Transport::Udp;
        let body = body.map(|body| Bytes::copy_from_slice(body.bytes)).unwrap_or_default();
        let client = match method {
            Method::Invite => Client::Invite(InviteClient::start(now, self.times(), reliable, bytes.clone())),
            _ => Client::Other(NonInviteClient::start(now, self.times(), reliable, bytes.clone())),
        };
        Sent { side, flow, branch, cseq, bytes, client, body, ack: None, succeeded: false }
    }

    /// A response that may belong to a request inside the dialogs. Gives whether it does.
    pub(crate) fn receive_exchange_response(
        &mut self,
        now: Instant,
        wall: WallTime,
        message: &OwnedMessage,
        of: &Answer<'_>,
    ) -> bool {
        let Answer { branch, status, method } = *of;
        let found = self.exchanges.iter().position(|e| e.sent.as_ref().is_some_and(|s| s.branch == branch));
        let Some(index) = found else { return false };
        let Some(exchange) = self.exchanges.get_mut(index) else { return false };
        let Some(sent) = exchange.sent.as_mut() else { return false };
        if method == Method::Cancel && exchange.kind != Kind::Cancel {
            return true; // Of the CANCEL of a re-INVITE, which is sent once.
        }
        if exchange.kind == Kind::Cancel && method != Method::Cancel {
            return false; // Of the INVITE of a predecessor that this CANCEL is for.
        }
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
        let has_sdp = !view.body().is_empty();
        let answered = self
            .legs
            .as_mut()
            .map(|legs| legs.leg_mut(side).dialog.receive_response(now, &view, has_sdp, draw));
        if status < 200 {
            return;
        }
        let session = matches!(exchange.kind, Kind::Invite | Kind::Update);
        if exchange.kind == Kind::Invite
            && status >= 300
            && let Ok(invite) = Message::parse(&sent.bytes, Framing::Datagram)
        {
            let ack = refusal_ack(&invite, &view);
            sent.client.handle(now, ClientInput::Acknowledge(ack));
        }
        sent.succeeded |= exchange.kind == Kind::Invite && status < 300;
        let (kind, flow, ack) = (exchange.kind.clone(), sent.flow, sent.ack.clone());
        self.pump_exchanges(); // The ACK of a refusal goes first.
        match answered {
            Some(Ok(Answered::Repeated)) => {
                if let Some(ack) = ack {
                    self.send(flow, ack);
                }
            }
            Some(Ok(Answered::Success)) if session => {
                self.exchange_accepted(now, index, message);
            }
            Some(Ok(Answered::IntervalTooSmall { .. })) => self.ask_again(now, index),
            Some(Ok(Answered::Gone)) if kind != Kind::Bye => {
                self.pass_back(now, index, message);
                self.hang_up(now, wall, Hangup::of(side, "the dialog is gone"));
            }
            Some(Ok(Answered::Refused)) if session && self.refused_to_move(now, index, side, &view) => {}
            _ => self.pass_back(now, index, message),
        }
        self.pump_exchanges();
    }

    /// 422: the same again, once, with the Min-SE that the peer demands (RFC 4028 §7.3). The asker need not know.
    fn ask_again(&mut self, now: Instant, index: usize) {
        let Some(exchange) = self.exchanges.get(index) else { return };
        let Some(sent) = exchange.sent.as_ref() else { return };
        let (side, body, kind) = (sent.side, sent.body.clone(), exchange.kind.clone());
        if let Some(request) = exchange.asked.as_ref().map(|asked| asked.request.clone()) {
            return self.forward(now, index, side, &request.view(), body);
        }
        self.send_refresh(now, side, &kind, &body);
    }

    /// Passes a far answer back to whoever asked, without a change of session.
    fn pass_back(&mut self, now: Instant, index: usize, message: &OwnedMessage) {
        let view = message.view();
        let far = view.status().unwrap_or(500);
        let status = crate::reject::relayed(far);
        let Some(exchange) = self.exchanges.get(index).filter(|exchange| exchange.is_unanswered()) else {
            return;
        };
        let Some(asked) = exchange.asked.as_ref() else { return };
        let reason: &[u8] = if far == status { view.reason_phrase() } else { b"" };
        let extra = if far == status { self.bridged_lines(&view, asked.side) } else { Vec::new() };
        // A description in an answer that changes no session says nothing about ours.
        let body = if is_sdp(&view) { &[] } else { view.body() };
        let content_type = view.get(Name::ContentType).unwrap_or_default();
        self.respond_exchange(now, index, &Reply { status, reason, extra: &extra, body, content_type });
    }
}

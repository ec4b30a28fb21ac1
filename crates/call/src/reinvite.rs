//! A change of session on its way through both legs: the far side's 2xx is committed, then both hear of it
//! (RFC 3261 §14, RFC 3264 §8, RFC 3311).

use bytes::Bytes;
use machine::{Instant, Machine, WallTime};
use sip::{Message, OwnedMessage};
use transaction::{ClientInput, Output as Tx, ServerInput};

use crate::asked::Reply;
use crate::attempt::{is_sdp, start_cancel};
use crate::call::{Call, Stage, Waiting};
use crate::exchange::{Client, Exchange, Kind, Sent, Step};
use crate::record::{CallCommand, Change, Flow, Side, Update};
use crate::reject::Answer;
use crate::route;
use crate::security::Said;

impl Call {
    /// A 2xx that changes the session: recorded first, then both sides hear of it.
    pub(crate) fn exchange_accepted(&mut self, now: Instant, index: usize, message: &OwnedMessage) {
        let Some(exchange) = self.exchanges.get_mut(index) else { return };
        exchange.step = Step::Accepted(Box::new(message.clone()));
        let view = message.view();
        let Some(sent) = exchange.sent.as_ref() else { return };
        let (number, kind, far, sent_body) =
            (exchange.number, exchange.kind.clone(), sent.side, sent.body.clone());
        let offered = exchange.asked.as_ref().map(|a| Bytes::copy_from_slice(a.request.view().body()));
        let delayed = kind == Kind::Invite && sent_body.is_empty();
        let near = far.other();
        let theirs = Bytes::copy_from_slice(view.body());
        let answer = match offered.is_some() && is_sdp(&view) {
            true => {
                let said = match &offered {
                    Some(offer) if !delayed => Said::Answer(offer),
                    _ => Said::Offer,
                };
                self.describe(near, &theirs, said).unwrap_or_default()
            }
            false => Bytes::new(),
        };
        let Some(legs) = self.legs.as_mut() else { return };
        let (far_leg, near_leg) = legs.pair(far);
        if !theirs.is_empty() {
            far_leg.remote_sdp = theirs;
        }
        if !sent_body.is_empty() {
            far_leg.local_sdp = sent_body;
        }
        // Our request named our address, and the peer took it.
        far_leg.known_at = far_leg.flow.local;
        if let Some(offered) = &offered {
            if !offered.is_empty() {
                near_leg.remote_sdp = offered.clone();
            }
            if !answer.is_empty() {
                near_leg.local_sdp = answer.clone();
            }
            near_leg.dialog.responded(now, kind.method(), 200, !answer.is_empty());
        }
        let leg = far_leg.state(now);
        let near_state = offered.is_some().then(|| near_leg.state(now));
        if let Some(exchange) = self.exchanges.get_mut(index) {
            exchange.answer = answer;
            if let Some(asked) = exchange.asked.as_mut() {
                asked.decided = true;
            }
        }
        let update = Update { side: far, leg, far: near_state };
        self.propose(CallCommand::Change(Change::Update(Box::new(update))), Waiting::Exchange(number));
    }

    /// What an exchange waited for is committed: it goes on.
    pub(crate) fn exchange_recorded(&mut self, now: Instant, wall: WallTime, number: u32) {
        let Some(index) = self.exchanges.iter().position(|e| e.number == number) else { return };
        let Some(exchange) = self.exchanges.get_mut(index) else { return };
        match std::mem::replace(&mut exchange.step, Step::Open) {
            Step::Open => {}
            Step::Refreshed => self.refresh_recorded(now, index),
            Step::Accepted(message) => self.acceptance_recorded(now, wall, index, &message),
            Step::Answering(sdp) => {
                self.acknowledge_exchange(index, &sdp);
                self.relay_answered();
            }
        }
        self.pump_exchanges();
    }

    /// A changed session is committed: ACK to the far side, 2xx to whoever asked, the relay follows.
    fn acceptance_recorded(&mut self, now: Instant, wall: WallTime, index: usize, message: &OwnedMessage) {
        let Some(exchange) = self.exchanges.get(index) else { return };
        let asked = exchange.asked.as_ref().map(|asked| asked.side);
        let answer = exchange.answer.clone();
        let delayed = exchange.sent.as_ref().is_some_and(|sent| sent.body.is_empty());
        // Where the far side made the offer, its ACK carries the asker's answer and must wait for it.
        if !(delayed && asked.is_some()) {
            self.acknowledge_exchange(index, &Bytes::new());
        }
        self.relay_answered();
        if let Some(far) = self.exchanges.get(index).and_then(|e| e.sent.as_ref()).map(|sent| sent.side) {
            self.peer_moved(now, wall, far);
        }
        let Some(side) = asked else { return };
        let mut extra = Vec::new();
        if let Some(legs) = self.legs.as_ref() {
            legs.leg(side).dialog.write_session_answer(&mut extra);
        }
        let view = message.view();
        let reply = Reply {
            status: view.status().unwrap_or(200),
            reason: view.reason_phrase(),
            extra: &extra,
            body: &answer,
            content_type: b"application/sdp",
        };
        self.respond_exchange(now, index, &reply);
    }

    /// ACK to the far side's 2xx to a re-INVITE, once.
    fn acknowledge_exchange(&mut self, index: usize, answer: &Bytes) {
        let Some(sent) = self.exchanges.get(index).and_then(|e| e.sent.as_ref()) else { return };
        if !sent.succeeded || sent.ack.is_some() {
            return;
        }
        let (side, cseq, flow) = (sent.side, sent.cseq, sent.flow);
        let offer = self.legs.as_ref().map(|legs| legs.leg(side).remote_sdp.clone()).unwrap_or_default();
        let body = self.describe(side, answer, Said::Answer(&offer)).unwrap_or_default();
        let Some(legs) = self.legs.as_mut() else { return };
        let leg = legs.leg_mut(side);
        leg.dialog.sent_request(sip::Method::Ack, cseq, !body.is_empty());
        if !body.is_empty() {
            leg.local_sdp = body.clone();
        }
        let Some(legs) = self.legs.as_ref() else { return };
        let ack = self.write_ack((legs.leg(side).dialog.state(), flow), cseq, &body);
        if let Some(sent) = self.exchanges.get_mut(index).and_then(|e| e.sent.as_mut()) {
            sent.ack = Some(ack.clone());
        }
        self.send(flow, ack);
    }

    /// The call is over: re-INVITEs that the far side accepted are acknowledged, whatever they waited for.
    pub(crate) fn acknowledge_exchanges(&mut self) {
        for index in 0..self.exchanges.len() {
            self.acknowledge_exchange(index, &Bytes::new());
        }
    }

    /// An ACK for the answer to a re-INVITE.
    pub(crate) fn receive_exchange_ack(&mut self, now: Instant, ack: &Message<'_>, cseq: u32) {
        let Some((_, side)) = ack.to_tag().ok().flatten().and_then(route::call_of_tag) else { return };
        let mine = |e: &Exchange| {
            e.asked.as_ref().is_some_and(|asked| {
                let number = asked.request.view().cseq().map_or(0, |(number, _)| number);
                e.kind == Kind::Invite && asked.side == side && number == cseq
            })
        };
        let Some(index) = self.exchanges.iter().position(mine) else { return };
        let draw = self.draw();
        if let Some(legs) = self.legs.as_mut() {
            // A stray ACK changes nothing; the dialog says so.
            let _ = legs.leg_mut(side).dialog.receive_request(ack, !ack.body().is_empty(), draw);
        }
        let Some(exchange) = self.exchanges.get_mut(index) else { return };
        let owed = exchange.sent.as_ref().is_some_and(|sent| sent.body.is_empty() && sent.ack.is_none());
        let answering = matches!(exchange.step, Step::Answering(_));
        let Some(asked) = exchange.asked.as_mut() else { return };
        let success = asked.last.as_ref().is_some_and(|(status, _)| *status < 300);
        asked.server.handle(now, ServerInput::Ack);
        if let Some(ok) = asked.ok.as_mut() {
            ok.handle(now, ServerInput::Ack);
        }
        if owed && success && !answering && self.stage == Stage::Answered {
            self.commit_answer(now, index, side, Bytes::copy_from_slice(ack.body()));
        }
        self.pump_exchanges();
    }

    /// The asker's answer to the far side's offer: recorded, then it goes into the far side's ACK.
    fn commit_answer(&mut self, now: Instant, index: usize, side: Side, sdp: Bytes) {
        let Some(legs) = self.legs.as_mut() else { return };
        if !sdp.is_empty() {
            legs.leg_mut(side).remote_sdp = sdp.clone();
        }
        let leg = legs.leg(side).state(now);
        let Some(exchange) = self.exchanges.get_mut(index) else { return };
        exchange.step = Step::Answering(sdp);
        let number = exchange.number;
        let update = Update { side, leg, far: None };
        self.propose(CallCommand::Change(Change::Update(Box::new(update))), Waiting::Exchange(number));
    }

    /// CANCEL of a re-INVITE, or of nothing.
    pub(crate) fn cancel_exchange(&mut self, now: Instant, message: OwnedMessage, flow: Flow) {
        let view = message.view();
        let branch = view.top_via().ok().and_then(|via| via.branch);
        let cancels = |e: &&mut Exchange| {
            e.kind == Kind::Invite
                && e.asked
                    .as_ref()
                    .is_some_and(|asked| asked.request.view().top_via().is_ok_and(|via| via.branch == branch))
        };
        let Some(exchange) = self.exchanges.iter_mut().find(cancels) else {
            return self.refuse_request(&message, flow, &Answer::new(481, ""));
        };
        let side = exchange.asked.as_ref().map_or(Side::Ingress, |asked| asked.side);
        if let Some(Sent { client: Client::Invite(client), flow, bytes, .. }) = exchange.sent.as_mut() {
            client.handle(now, ClientInput::Cancel);
            while let Some(output) = client.poll_output() {
                if output == Tx::SendCancel
                    && let Ok(invite) = Message::parse(bytes, sip::Framing::Datagram)
                {
                    // Sent once; the far side's final answer bounds the wait (RFC 3261 §9.1).
                    start_cancel(now, self.context.times, *flow, &invite, &mut self.outputs);
                }
            }
        }
        let key = self.transaction_key(&view);
        let index = self.open_exchange(message, key, flow, side, Kind::Cancel);
        self.answer_exchange(now, index, 200);
    }
}

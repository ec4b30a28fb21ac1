//! INVITEs of ours that nobody waits for any more: refused targets, cancelled ones, and the forks that lost
//! (RFC 3261 §9.1, §13.2.2.4). Whatever still answers is acknowledged and sent BYE.

use std::collections::VecDeque;

use bytes::Bytes;
use dialog::{Dialog, InviteSent, LocalCseq};
use machine::museum::planted;
use machine::{Instant, Machine};
use sip::{Message, Method, Name, OwnedMessage, Writer};
use transaction::{ClientInput, InviteClient, NonInviteClient, Output as Tx};
use trunk::Transport;

use crate::attempt::{invite_sent, start_cancel};
use crate::bridge::Request;
use crate::call::{Call, Stage};
use crate::exchange::Kind;
use crate::inbound::Answer;
use crate::io::Output;
use crate::live::CallRecord;
use crate::message::INVITE_CSEQ;
use crate::record::{Flow, Side};

/// An INVITE that nobody waits for.
#[derive(Debug)]
pub(crate) struct Fading {
    pub client: InviteClient,
    pub flow: Flow,
    pub branch: crate::route::Branch,
    pub invite: OwnedMessage,
    pub cancel: Option<NonInviteClient>,
    /// A 2xx came: other forks' may follow for 64·T1 (RFC 3261 §13.2.2.4).
    pub answered: bool,
}

impl Fading {
    /// Whether nothing of it is left.
    pub fn is_over(&self) -> bool {
        self.client.is_terminated()
    }

    /// Whether the call must live on for it.
    pub fn is_busy(&self) -> bool {
        !self.client.is_final() || self.answered
    }

    /// When it wants to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let cancel = self.cancel.as_ref().and_then(Machine::poll_timeout);
        self.client.poll_timeout().into_iter().chain(cancel).min()
    }
}

/// An attempt that a predecessor has ended: what the ACK of its refusal needs.
#[derive(Debug)]
pub(crate) struct Left {
    uri: String,
    routes: Vec<String>,
}

impl Left {
    /// Those of a call's record, by their numbers.
    pub fn of(record: &CallRecord) -> Box<[Left]> {
        let before = record.attempts.split_last().map_or(&[][..], |(_, before)| before);
        let left = before.iter().map(|tried| {
            let target = record.admit.plan.targets.get(usize::from(tried.target));
            let registered = target.and_then(|target| target.registered.as_ref());
            let routes = registered.map_or_else(Vec::new, |registered| registered.route.clone());
            Left { uri: tried.uri.clone(), routes }
        });
        left.collect()
    }
}

impl Call {
    /// Whether the call is over and a callee that was given up has said nothing final yet. No record tells of it, so
    /// nobody but this machine cancels it when it begins to ring, or acknowledges it.
    pub fn has_open_end(&self) -> bool {
        self.stage == Stage::Over && self.fading.iter().any(|fading| !fading.client.is_final())
    }

    /// Lets an INVITE fade away.
    pub(crate) fn fade(&mut self, now: Instant, fading: Fading) {
        self.fading.push(fading);
        self.pump_fading(now);
    }

    /// A response that may belong to a fading INVITE or its CANCEL. Gives whether it does.
    pub(crate) fn receive_faded(
        &mut self,
        now: Instant,
        response: &Message<'_>,
        of: &Answer<'_>,
        flow: Flow,
    ) -> bool {
        let Answer { branch, status, method } = *of;
        let Some(index) = self.fading.iter().position(|fading| fading.branch == branch) else { return false };
        let Some(fading) = self.fading.get_mut(index) else { return false };
        let input = ClientInput::Response { status };
        if method == Method::Cancel {
            if let Some(cancel) = fading.cancel.as_mut() {
                cancel.handle(now, input);
            }
            return true;
        }
        fading.client.handle(now, input);
        if self.pump_fading(now) {
            self.faded_answered(now, index, response, flow);
        }
        true
    }

    /// Fires the timers of what fades.
    pub(crate) fn fade_timeouts(&mut self, now: Instant) {
        for fading in &mut self.fading {
            fading.client.handle_timeout(now);
            if let Some(cancel) = fading.cancel.as_mut() {
                cancel.handle_timeout(now);
            }
        }
        self.pump_fading(now);
    }

    /// Carries out what fading transactions want. Gives whether a final response is news.
    fn pump_fading(&mut self, now: Instant) -> bool {
        let times = self.times();
        let mut answered = false;
        for fading in &mut self.fading {
            let flow = fading.flow;
            while let Some(output) = fading.client.poll_output() {
                match output {
                    // Who hears an INVITE only now would ring beside the next target (I-41).
                    Tx::Send(bytes) if fading.client.invite() == Some(&bytes) => {}
                    Tx::Send(bytes) => self.outputs.push_back(Output::Send { flow, bytes }),
                    Tx::SendCancel => {
                        let invite = fading.invite.view();
                        fading.cancel = Some(start_cancel(now, times, flow, &invite, &mut self.outputs));
                    }
                    Tx::Deliver { status: 200.. } => answered = true,
                    // Nobody waits for it, so nobody minds how it failed.
                    Tx::Deliver { .. }
                    | Tx::Acknowledged
                    | Tx::TimedOut(_)
                    | Tx::TransportFailed
                    | Tx::Terminated => {}
                }
            }
            if let Some(cancel) = fading.cancel.as_mut() {
                pump(cancel, flow, &mut self.outputs);
            }
        }
        answered
    }

    /// A final response to an INVITE that nobody waits for.
    fn faded_answered(&mut self, now: Instant, index: usize, response: &Message<'_>, flow: Flow) {
        let Some(fading) = self.fading.get_mut(index) else { return };
        if response.status().is_some_and(|status| status < 300) {
            fading.answered = true;
            // A connection on which the peer speaks stands; that of the INVITE may not.
            let flow = if flow.transport == Transport::Udp { fading.flow } else { flow };
            let invite = fading.invite.clone();
            return self.dismiss_from(now, &invite, response, flow);
        }
        let ack = refusal_ack(&fading.invite.view(), response);
        fading.client.handle(now, ClientInput::Acknowledge(ack.clone()));
        self.remain(response, flow, ack);
        self.pump_fading(now);
    }

    /// A refusal of an attempt that a predecessor has ended, and was lost before it said ACK: whoever refused repeats it until
    /// it hears one (RFC 3261 §17.1.1.3, §17.2.1).
    pub(crate) fn refused_again(&mut self, refusal: &Message<'_>, (branch, cseq): (&[u8], u32), flow: Flow) {
        let mut left = (0..).zip(&self.left);
        let Some((_, Left { uri, routes })) = left.find(|(number, _)| self.attempt_branch(*number) == branch)
        else {
            return;
        };
        let flow = self.flow_here(flow).unwrap_or(flow);
        let mut out = Vec::with_capacity(320);
        let mut writer = Writer::request(&mut out, Method::Ack, uri.as_bytes());
        writer.header(Name::Via, &[&self.via_value(&flow, branch)]);
        writer.number(Name::MaxForwards, 70);
        for route in routes {
            writer.header(Name::Route, &[route.as_bytes()]);
        }
        writer.copy(refusal, Name::From).copy(refusal, Name::To).copy(refusal, Name::CallId);
        writer.cseq(cseq, Method::Ack);
        writer.end();
        let ack = Bytes::from(out);
        self.remain(refusal, flow, ack.clone());
        self.send(flow, ack);
    }

    /// ACK and BYE for a 2xx to an INVITE of ours that came too late.
    pub(crate) fn dismiss_from(
        &mut self,
        now: Instant,
        invite: &OwnedMessage,
        response: &Message<'_>,
        flow: Flow,
    ) {
        let view = invite.view();
        if let Some(sent) = invite_sent(&view, None) {
            self.dismiss(now, &sent, response, flow);
        }
    }

    /// ACK and BYE for a 2xx to an INVITE of ours of which nothing else is known any more: the response repeats
    /// what its dialog is made of.
    pub(crate) fn dismiss_stray(&mut self, now: Instant, response: &Message<'_>, flow: Flow) {
        let text = |bytes| std::str::from_utf8(bytes).ok();
        let local = response.get(Name::From).and_then(text).and_then(|from| from.rsplit_once(";tag="));
        let remote = response.get(Name::To).and_then(text).and_then(|to| to.rsplit_once(";tag="));
        let call_id = response.call_id().ok().and_then(text);
        let (Some((local, local_tag)), Some((remote, _)), Some(call_id)) = (local, remote, call_id) else {
            return;
        };
        let sent = InviteSent {
            call_id,
            local_tag,
            local,
            remote,
            request_uri: remote.trim_matches(['<', '>']),
            cseq: INVITE_CSEQ,
            numbers: LocalCseq::starting_at(INVITE_CSEQ + 1),
            secure: false,
            offered: true,
            session: None,
        };
        self.dismiss(now, &sent, response, flow);
    }

    /// ACK and BYE for a 2xx that lost (RFC 3261 §13.2.2.4).
    fn dismiss(&mut self, now: Instant, sent: &InviteSent<'_>, response: &Message<'_>, flow: Flow) {
        if planted("late-answer-ignored") {
            return;
        }
        let flow = self.flow_here(flow).unwrap_or(flow);
        let Ok(mut lost) = Dialog::from_response(sent, response, dialog::Settings::default()) else { return };
        let ack = self.write_ack((lost.state(), flow), sent.cseq, &[]);
        self.send(flow, ack);
        let Ok(number) = lost.take_cseq() else { return };
        let bye = Request { method: Method::Bye, cseq: number, extra: b"", body: None };
        let bye = self.make_sent(now, Side::Egress, (lost.state(), flow), &bye);
        let mut sent = self.exchanges.iter().filter_map(|exchange| exchange.sent.as_ref());
        match sent.find(|sent| sent.branch == bye.branch).map(|sent| sent.client.is_final()) {
            Some(true) => {}
            // Who repeats its 2xx has not heard the ACK, which may have gone into a connection that it had lost; then
            // the BYE behind it did, too.
            Some(false) if flow.transport != Transport::Udp => self.send(flow, bye.bytes),
            Some(false) => {}
            None => self.open_own(Kind::Bye, bye),
        }
    }
}

/// The ACK of a refusal.
pub(crate) fn refusal_ack(invite: &Message<'_>, response: &Message<'_>) -> Bytes {
    let mut out = Vec::with_capacity(320);
    dialog::write_refusal_ack(&mut out, invite, response);
    out.into()
}

/// Sends what a client transaction wants sent; nobody waits for its answer.
pub(crate) fn pump(client: &mut NonInviteClient, flow: Flow, outputs: &mut VecDeque<Output>) {
    while let Some(output) = client.poll_output() {
        if let Tx::Send(bytes) = output {
            outputs.push_back(Output::Send { flow, bytes });
        }
    }
}

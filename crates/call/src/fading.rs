//! INVITEs of ours that nobody waits for any more: refused targets, cancelled ones, and the forks that lost
//! (RFC 3261 §9.1, §13.2.2.4). Whatever still answers is acknowledged and sent BYE.

use std::collections::VecDeque;

use bytes::Bytes;
use dialog::{Dialog, InDialog};
use machine::{Instant, Machine};
use sip::{Framing, Message, Method, OwnedMessage};
use transaction::{ClientInput, InviteClient, NonInviteClient, Output as Tx, Timer};
use trunk::Transport;

use crate::attempt::{invite_sent, start_cancel};
use crate::call::Call;
use crate::io::Output;
use crate::record::Flow;
use crate::route;

/// An INVITE that nobody waits for.
#[derive(Debug)]
pub(crate) struct Fading {
    pub client: InviteClient,
    pub flow: Flow,
    pub branch: Vec<u8>,
    /// The INVITE; empty where everything that may come was seen.
    pub invite: Bytes,
    pub cancel: Option<NonInviteClient>,
    /// The fork that won, and the ACK that its repeated 2xx gets.
    pub winner: Option<(Box<str>, Bytes)>,
    /// BYEs to forks that lost, by branch.
    pub byes: Vec<(Vec<u8>, NonInviteClient)>,
}

impl Fading {
    /// Whether nothing of it is left.
    pub fn is_over(&self) -> bool {
        self.client.is_terminated() && self.byes.iter().all(|(_, bye)| bye.is_terminated())
    }

    /// Whether the call must live on for it.
    pub fn is_busy(&self) -> bool {
        !self.client.is_final() || self.byes.iter().any(|(_, bye)| !bye.is_final())
    }

    /// When it wants to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let rest = self.cancel.iter().chain(self.byes.iter().map(|(_, bye)| bye));
        self.client.poll_timeout().into_iter().chain(rest.filter_map(Machine::poll_timeout)).min()
    }
}

impl Call {
    /// Lets an INVITE fade away.
    pub(crate) fn fade(&mut self, now: Instant, fading: Fading) {
        self.fading.push(fading);
        self.pump_fading(now, None);
    }

    /// A response that may belong to a fading INVITE, its CANCEL, or a BYE of it.
    pub(crate) fn receive_faded(&mut self, now: Instant, message: &OwnedMessage, flow: Flow) {
        let view = message.view();
        let (Ok(via), Some(status), Ok((_, method))) = (view.top_via(), view.status(), view.cseq()) else {
            return;
        };
        let branch = via.branch.unwrap_or_default();
        let input = ClientInput::Response { status };
        for (index, fading) in self.fading.iter_mut().enumerate() {
            if let Some((_, bye)) = fading.byes.iter_mut().find(|(b, _)| b == branch) {
                bye.handle(now, input);
                break;
            }
            if fading.branch != branch {
                continue;
            }
            if method == Method::Cancel {
                if let Some(cancel) = fading.cancel.as_mut() {
                    cancel.handle(now, input);
                }
                break;
            }
            fading.client.handle(now, input);
            return self.pump_fading(now, Some((index, message, flow)));
        }
        self.pump_fading(now, None);
    }

    /// Fires the timers of what fades.
    pub(crate) fn fade_timeouts(&mut self, now: Instant) {
        for fading in &mut self.fading {
            fading.client.handle_timeout(now);
            let rest = fading.cancel.iter_mut().chain(fading.byes.iter_mut().map(|(_, bye)| bye));
            rest.for_each(|client| client.handle_timeout(now));
        }
        self.pump_fading(now, None);
    }

    fn pump_fading(&mut self, now: Instant, message: Option<(usize, &OwnedMessage, Flow)>) {
        let times = self.times();
        let mut answered = None;
        for (index, fading) in self.fading.iter_mut().enumerate() {
            while let Some(output) = fading.client.poll_output() {
                match output {
                    Tx::Send(bytes) => self.outputs.push_back(Output::Send { flow: fading.flow, bytes }),
                    Tx::SendCancel => {
                        fading.cancel =
                            start_cancel(now, times, fading.flow, &fading.invite, &mut self.outputs);
                    }
                    Tx::Deliver { status: 200.. } => answered = Some(index),
                    Tx::Deliver { .. } | Tx::Acknowledged | Tx::TransportFailed | Tx::Terminated => {}
                    Tx::TimedOut(timer) => debug_assert!(matches!(timer, Timer::B | Timer::Cancelled)),
                }
            }
            let flow = fading.flow;
            let rest = fading.cancel.iter_mut().chain(fading.byes.iter_mut().map(|(_, bye)| bye));
            rest.for_each(|client| pump(client, flow, &mut self.outputs));
        }
        if let (Some(index), Some((at, message, flow))) = (answered, message)
            && index == at
        {
            self.faded_answered(now, index, message, flow);
        }
    }

    /// A final response to an INVITE that nobody waits for.
    fn faded_answered(&mut self, now: Instant, index: usize, message: &OwnedMessage, flow: Flow) {
        let view = message.view();
        let status = view.status().unwrap_or(500);
        let tag = view.to_tag().ok().flatten().unwrap_or_default();
        let Some(fading) = self.fading.get_mut(index) else { return };
        if status >= 300 {
            let ack = refusal_ack(&fading.invite, &view);
            fading.client.handle(now, ClientInput::Acknowledge(ack.clone()));
            self.remain(&view, flow, ack);
            return self.pump_fading(now, None);
        }
        if let Some((winner, ack)) = &fading.winner
            && winner.as_bytes() == tag
        {
            let (flow, ack) = (fading.flow, ack.clone());
            return self.send(flow, ack);
        }
        let (invite, flow) = (fading.invite.clone(), fading.flow);
        self.dismiss(now, index, &invite, &view, flow);
    }

    /// ACK and BYE for a 2xx that lost (RFC 3261 §13.2.2.4).
    pub(crate) fn dismiss(&mut self, now: Instant, index: usize, invite: &Bytes, response: &Message<'_>, flow: Flow) {
        let Ok(ours) = Message::parse(invite, Framing::Datagram) else { return };
        let Some(sent) = invite_sent(&ours, None) else { return };
        let Ok(mut lost) = Dialog::from_response(&sent, response, dialog::Settings::default()) else { return };
        let cseq = response.cseq().map_or(sent.cseq, |(number, _)| number);
        let tag = lost.state().remote_tag.clone();
        let ack_branch = self.dialog_branch(b"ack", &tag, cseq);
        let ack = self.write_in_dialog(lost.state(), flow, Method::Ack, cseq, &ack_branch);
        self.send(flow, ack);
        let known = self.fading.get(index).is_some_and(|f| !f.byes.is_empty());
        let Ok(number) = lost.take_cseq() else { return };
        let bye_branch = self.dialog_branch(b"bye", &tag, number);
        if known && self.fading.iter().any(|f| f.byes.iter().any(|(branch, _)| *branch == bye_branch)) {
            return;
        }
        let bye = self.write_in_dialog(lost.state(), flow, Method::Bye, number, &bye_branch);
        let client = NonInviteClient::start(now, self.times(), flow.transport != Transport::Udp, bye);
        if let Some(fading) = self.fading.get_mut(index) {
            fading.byes.push((bye_branch, client));
        }
        self.pump_fading(now, None);
    }

    fn dialog_branch(&self, kind: &[u8], tag: &str, cseq: u32) -> Vec<u8> {
        route::branch(&self.context.secret, self.id, &[kind, tag.as_bytes(), &cseq.to_be_bytes()])
    }

    fn write_in_dialog(
        &self,
        state: &dialog::DialogState,
        flow: Flow,
        method: Method<'_>,
        cseq: u32,
        branch: &[u8],
    ) -> Bytes {
        let mut out = Vec::with_capacity(384);
        let via = self.via_value(&flow, branch);
        state.write_request(
            &mut out,
            &InDialog { method, cseq, via: &via, contact: None, extra: b"", body: None },
        );
        out.into()
    }
}

/// The ACK of a refusal.
pub(crate) fn refusal_ack(invite: &Bytes, response: &Message<'_>) -> Bytes {
    let mut out = Vec::with_capacity(320);
    if let Ok(invite) = Message::parse(invite, Framing::Datagram) {
        dialog::write_refusal_ack(&mut out, &invite, response);
    }
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

//! What a caller and a callee have in common once a dialog may exist (RFC 3261 §12, §14, §15): requests of ours
//! inside it, the far side's requests inside it, and every check that both ends make.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use machine::Instant;

use crate::local::{CallRef, Event, Flow, Local, Output, Side, address_of};
use crate::message::{Message, Method, Start};
use crate::pending::{Pending, earliest, tick};
use crate::sdp::{Audio, Direction};
use crate::violation::Violation;
use crate::writer::{Request, respond};

/// What a message or a tick meant for the call around the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Happened {
    /// Nothing that the call must know.
    Nothing,
    /// Our 2xx was acknowledged.
    Acknowledged,
    /// Our 2xx was not acknowledged for 64·T1.
    Unacknowledged,
    /// The far side's BYE was answered.
    ByeReceived,
    /// Our BYE was answered with this status.
    ByeAnswered(u16),
    /// Our request was not answered for 64·T1.
    Unanswered(Method),
}

/// One end's view of its dialog (RFC 3261 §12.1).
#[derive(Debug)]
pub(crate) struct Dialog {
    pub(crate) call_id: String,
    /// From of our requests: our URI and tag.
    pub(crate) local: String,
    pub(crate) local_tag: String,
    /// To of our requests; with the tag once it is known.
    pub(crate) remote: String,
    pub(crate) remote_tag: String,
    /// The remote target (§12.2.1.1).
    pub(crate) target: String,
    pub(crate) routes: Vec<String>,
    /// Our Contact URI.
    pub(crate) contact: String,
    pub(crate) cseq: u32,
    pub(crate) cseq_remote: Option<u32>,
    /// Where the far side was last heard.
    pub(crate) flow: Flow,
}

/// The dialog, our media, and what is unanswered.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) local: Arc<Local>,
    pub(crate) call: CallRef,
    pub(crate) dialog: Dialog,
    pub(crate) audio: Audio,
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) violation: Option<Violation>,
    /// Our BYE or re-INVITE.
    pub(crate) request: Option<Pending>,
    /// Our final response to INVITE or re-INVITE.
    pub(crate) answer: Option<Pending>,
    /// Our 2xx carried the offer, so its ACK must bring the answer.
    pub(crate) offered_late: bool,
    /// The far side's BYE is answered by 407.
    pub(crate) challenges_bye: bool,
    /// Its re-INVITEs are.
    pub(crate) challenges_reinvite: bool,
    /// The last request's branch and what we answered.
    last: Option<(String, Bytes)>,
    /// The last ACK of a 2xx, by CSeq.
    ack: Option<(u32, Bytes)>,
    sdp_version: u32,
    branches: u32,
    over: bool,
}

impl Session {
    pub(crate) fn new(local: Arc<Local>, call: CallRef, dialog: Dialog, audio: Audio) -> Session {
        Session {
            local,
            call,
            dialog,
            audio,
            outputs: VecDeque::new(),
            violation: None,
            request: None,
            answer: None,
            offered_late: false,
            challenges_bye: false,
            challenges_reinvite: false,
            last: None,
            ack: None,
            sdp_version: 0,
            branches: 0,
            over: false,
        }
    }

    /// Notes the first rule that the far side broke; the call goes on, so that it ends in order.
    pub(crate) fn broke(&mut self, violation: Violation) {
        self.violation.get_or_insert(violation);
    }

    /// Queues an event.
    pub(crate) fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event { call: self.call, event });
    }

    /// A branch never used before.
    pub(crate) fn next_branch(&mut self) -> String {
        self.branches += 1;
        Local::branch(&self.dialog.local_tag, self.branches)
    }

    /// Our session description; its version rises each time.
    pub(crate) fn description(&mut self) -> Vec<u8> {
        self.sdp_version += 1;
        self.audio.write(u64::from(self.call.number) + 1, self.sdp_version)
    }

    /// Sends a request inside the dialog.
    pub(crate) fn send_request(&mut self, now: Instant, method: Method) {
        self.dialog.cseq += 1;
        let (branch, cseq) = (self.next_branch(), self.dialog.cseq);
        let sdp = (method == Method::Invite).then(|| self.description());
        let bytes = self.write(method, &branch, cseq, sdp.as_deref());
        let flow = self.next_hop();
        let pending = Pending::request(now, &self.local, method, cseq, branch, bytes, flow);
        self.outputs.push_back(pending.send());
        self.request = Some(pending);
    }

    /// Offers again what we have, unless a request of ours is unanswered.
    pub(crate) fn probe(&mut self, now: Instant) {
        if self.request.is_none() {
            self.send_request(now, Method::Invite);
        }
    }

    /// Acknowledges a 2xx to INVITE: a transaction of its own (§13.2.2.4). `lost` ACKs are only remembered.
    pub(crate) fn acknowledge(&mut self, cseq: u32, lost: bool) {
        let bytes = match &self.ack {
            Some((acknowledged, bytes)) if *acknowledged == cseq => bytes.clone(),
            _ => {
                let branch = self.next_branch();
                self.write(Method::Ack, &branch, cseq, None)
            }
        };
        self.ack = Some((cseq, bytes.clone()));
        if !lost {
            let flow = self.next_hop();
            self.outputs.push_back(Output::Send { flow, bytes });
        }
    }

    /// Acknowledges a refusal of `invite`: part of its transaction, same branch (§17.1.1.3).
    pub(crate) fn acknowledge_refusal(
        &mut self,
        uri: &str,
        to: &str,
        branch: &str,
        cseq: u32,
        flow: Flow,
        routed: bool,
    ) {
        let bytes = Request {
            method: Method::Ack,
            uri,
            via: &self.local.via,
            branch,
            routes: if routed { &self.dialog.routes } else { &[] },
            record_routes: &[],
            from: &self.dialog.local,
            to,
            call_id: &self.dialog.call_id,
            cseq,
            contact: None,
            sdp: None,
        }
        .write();
        self.outputs.push_back(Output::Send { flow, bytes });
    }

    /// Begins, moves or pauses our media as the far side's description asks.
    pub(crate) fn follow_media(&mut self, theirs: &Audio) {
        let call = self.call;
        let payload = theirs.payloads.iter().copied().find(|payload| Some(*payload) != theirs.events);
        match (theirs.direction, payload) {
            (Direction::SendRecv | Direction::RecvOnly, Some(payload)) => {
                self.outputs.push_back(Output::StartMedia { call, remote: theirs.address, payload });
            }
            _ => self.outputs.push_back(Output::StopMedia { call, ended: false }),
        }
    }

    /// Nothing of ours is sent any more, save answers to retransmissions.
    pub(crate) fn close(&mut self) {
        self.over = true;
        self.request = None;
        self.answer = None;
        self.outputs.push_back(Output::StopMedia { call: self.call, ended: true });
    }

    /// The far side's session description, if it is one and has audio.
    pub(crate) fn read_audio(&mut self, message: &Message) -> Option<Audio> {
        if message.body.is_empty() {
            return None;
        }
        let kind = message.content_type.as_deref().unwrap_or_default();
        if !kind.get(..15).is_some_and(|kind| kind.eq_ignore_ascii_case("application/sdp")) {
            self.broke(Violation::ContentType);
            return None;
        }
        let audio = Audio::read(&message.body);
        if audio.is_none() {
            self.broke(Violation::NoAudio);
        }
        audio
    }

    /// Answers a request, and remembers the answer for its retransmission.
    pub(crate) fn respond(
        &mut self,
        request: &Message,
        flow: Flow,
        status: u16,
        sdp: Option<&[u8]>,
    ) -> Bytes {
        let with_contact = matches!(request.cseq.1, Method::Invite | Method::Update) && status < 300;
        let contact = with_contact.then_some(self.dialog.contact.as_str());
        let bytes = respond(request, status, &self.dialog.local_tag, contact, sdp);
        self.last = Some((request.branch.clone(), bytes.clone()));
        self.outputs.push_back(Output::Send { flow, bytes: bytes.clone() });
        bytes
    }

    /// Resends the answer to a request that came again.
    pub(crate) fn repeat(&mut self, request: &Message, flow: Flow) -> bool {
        match &self.last {
            Some((branch, bytes)) if *branch == request.branch => {
                self.outputs.push_back(Output::Send { flow, bytes: bytes.clone() });
                true
            }
            _ => false,
        }
    }

    /// A request inside the dialog.
    pub(crate) fn on_request(&mut self, now: Instant, request: &Message, flow: Flow) -> Happened {
        let method = request.cseq.1;
        if method == Method::Ack {
            return self.on_ack(request);
        }
        if self.repeat(request, flow) {
            return Happened::Nothing;
        }
        // RFC 3261 §15.1.1: who sends BYE has left the session.
        let leaving = self.request.as_ref().is_some_and(|pending| pending.method == Method::Bye);
        if self.over || (leaving && method != Method::Bye) {
            self.respond(request, flow, 481, None);
            return Happened::Nothing;
        }
        self.check_request(request);
        // RFC 3261 §12.2.2: a lower number is out of order.
        if self.dialog.cseq_remote.is_some_and(|last| request.cseq.0 <= last) {
            self.broke(Violation::CSeqOrder);
            self.respond(request, flow, 500, None);
            return Happened::Nothing;
        }
        self.dialog.cseq_remote = Some(request.cseq.0);
        self.dialog.flow = flow;
        match method {
            Method::Bye => {
                self.answer = None;
                // Challenged or not: who sends BYE has left the session (RFC 3261 §15.1.1).
                let status = if self.challenges_bye { 407 } else { 200 };
                self.respond(request, flow, status, None);
                return Happened::ByeReceived;
            }
            Method::Invite => self.on_reinvite(now, request, flow),
            Method::Update => {
                let answer = self.answer_to(request);
                self.respond(request, flow, 200, answer.as_deref());
            }
            Method::Options | Method::Info => {
                self.respond(request, flow, 200, None);
            }
            // Never offered: 100rel, and whatever else Allow does not list.
            Method::Prack | Method::Cancel | Method::Ack | Method::Other => {
                self.broke(Violation::UnexpectedRequest { method: method.as_str() });
                self.respond(request, flow, 481, None);
            }
        }
        Happened::Nothing
    }

    /// A response to our BYE or re-INVITE.
    pub(crate) fn on_response(&mut self, response: &Message) -> Happened {
        let status = response.status().unwrap_or_default();
        let cseq = response.cseq.0;
        let Some(pending) = self.request.as_mut().filter(|pending| pending.branch == response.branch) else {
            // A 2xx that came again because our ACK was lost.
            if response.cseq.1 == Method::Invite && (200..300).contains(&status) {
                self.acknowledge(cseq, false);
            }
            return Happened::Nothing;
        };
        if status < 200 {
            pending.provisional();
            return Happened::Nothing;
        }
        let Some(pending) = self.request.take() else { return Happened::Nothing };
        if let Err(violation) = self.check_response(response, &pending) {
            self.broke(violation);
        }
        if response.to_tag != self.dialog.remote_tag {
            self.broke(Violation::TagChanged { header: "To" });
        }
        if pending.method != Method::Invite {
            return Happened::ByeAnswered(status);
        }
        if status < 300 {
            self.acknowledge(cseq, false);
            match self.read_audio(response) {
                Some(theirs) => self.follow_media(&theirs),
                None => self.broke(Violation::NoSdp),
            }
        } else {
            let (uri, to) = (self.dialog.target.clone(), response.to.clone());
            self.acknowledge_refusal(&uri, &to, &pending.branch, cseq, pending.flow, true);
            // RFC 3261 §14.1: 491 is glare; anything else refuses a refresh that changes nothing.
            if status != 491 {
                self.broke(Violation::UnexpectedResponse { status, method: "INVITE" });
            }
        }
        Happened::Nothing
    }

    /// What holds for every response to a request of ours (§8.1.3.3).
    pub(crate) fn check_response(&self, response: &Message, pending: &Pending) -> Result<(), Violation> {
        response.check(self.local.transport.is_stream())?;
        if response.from_tag != self.dialog.local_tag {
            return Err(Violation::TagChanged { header: "From" });
        }
        if response.call_id != self.dialog.call_id {
            return Err(Violation::CallIdChanged);
        }
        if response.cseq != (pending.cseq, pending.method) {
            return Err(Violation::CSeqMismatch);
        }
        if response.to_tag.is_empty() && response.status().is_some_and(|status| status > 100) {
            return Err(Violation::Missing { header: "To tag" });
        }
        Ok(())
    }

    /// Sends again what is due.
    pub(crate) fn tick(&mut self, now: Instant) -> Happened {
        let method = self.request.as_ref().map(|pending| pending.method);
        if tick(&mut self.request, now, self.call, &mut self.outputs) {
            return Happened::Unanswered(method.unwrap_or(Method::Other));
        }
        if tick(&mut self.answer, now, self.call, &mut self.outputs) {
            return Happened::Unacknowledged;
        }
        Happened::Nothing
    }

    /// When `tick` has something to do.
    pub(crate) fn next(&self) -> Option<Instant> {
        let next = |pending: &Option<Pending>| pending.as_ref().and_then(Pending::next);
        earliest([next(&self.request), next(&self.answer)])
    }

    fn on_ack(&mut self, request: &Message) -> Happened {
        let Some(answer) = self.answer.take_if(|answer| answer.cseq == request.cseq.0) else {
            return Happened::Nothing;
        };
        drop(answer);
        self.check_request(request);
        if std::mem::take(&mut self.offered_late) {
            match self.read_audio(request) {
                Some(theirs) if theirs.has_codec() => self.follow_media(&theirs),
                Some(_) => self.broke(Violation::NoCodec),
                None => self.broke(Violation::NoSdp),
            }
        }
        Happened::Acknowledged
    }

    fn refuse_reinvite(&mut self, now: Instant, request: &Message, flow: Flow, status: u16) {
        let bytes = self.respond(request, flow, status, None);
        self.answer = Some(Pending::response(now, &self.local, status, request.cseq.0, bytes, flow));
    }

    fn on_reinvite(&mut self, now: Instant, request: &Message, flow: Flow) {
        // RFC 3261 §14.2: our own re-INVITE is under way.
        if self.request.as_ref().is_some_and(|pending| pending.method == Method::Invite) {
            return self.refuse_reinvite(now, request, flow, 491);
        }
        if self.challenges_reinvite {
            return self.refuse_reinvite(now, request, flow, 407);
        }
        match &request.contact {
            Some(target) => self.dialog.target.clone_from(target),
            None => self.broke(Violation::Missing { header: "Contact" }),
        }
        let sdp = match self.answer_to(request) {
            Some(sdp) => sdp,
            None => {
                self.offered_late = true;
                self.description()
            }
        };
        let bytes = self.respond(request, flow, 200, Some(&sdp));
        self.answer = Some(Pending::response(now, &self.local, 200, request.cseq.0, bytes, flow));
    }

    /// Our answer to the offer in a request, if there is one.
    fn answer_to(&mut self, request: &Message) -> Option<Vec<u8>> {
        let theirs = self.read_audio(request)?;
        match theirs.answer(self.audio.address) {
            Some(answer) => self.audio = answer,
            None => self.broke(Violation::NoCodec),
        }
        self.follow_media(&theirs);
        Some(self.description())
    }

    /// The far side's route set: what our INVITE recorded (RFC 3261 §12.1.1). Our responses record nothing.
    fn route_set(&self) -> &[String] {
        match self.call.side {
            Side::Caller => &self.local.record_routes,
            Side::Callee => &[],
        }
    }

    fn check_request(&mut self, request: &Message) {
        let over_stream = self.local.transport.is_stream();
        let Start::Request(_, uri) = &request.start else { return };
        let bare = |uri: &str| uri.split(';').next().map(str::to_owned);
        if let Err(violation) = request.check(over_stream) {
            self.broke(violation);
        } else if request.from_tag != self.dialog.remote_tag {
            self.broke(Violation::TagChanged { header: "From" });
        } else if request.call_id != self.dialog.call_id {
            self.broke(Violation::CallIdChanged);
        } else if bare(uri) != bare(&self.dialog.contact) {
            self.broke(Violation::RequestUri);
        } else if request.routes != self.route_set() {
            self.broke(Violation::Route);
        }
    }

    fn write(&self, method: Method, branch: &str, cseq: u32, sdp: Option<&[u8]>) -> Bytes {
        Request {
            method,
            uri: &self.dialog.target,
            via: &self.local.via,
            branch,
            routes: &self.dialog.routes,
            record_routes: &[],
            from: &self.dialog.local,
            to: &self.dialog.remote,
            call_id: &self.dialog.call_id,
            cseq,
            contact: (method == Method::Invite).then_some(self.dialog.contact.as_str()),
            sdp,
        }
        .write()
    }

    /// Where requests inside the dialog go: the first route or the remote target over UDP, the stream that is
    /// already there over TCP.
    fn next_hop(&self) -> Flow {
        if self.local.transport.is_stream() {
            return self.dialog.flow;
        }
        let hop = self
            .dialog
            .routes
            .first()
            .map_or(self.dialog.target.as_str(), |route| crate::message::uri_of(route));
        address_of(hop).map_or(self.dialog.flow, Flow::Datagram)
    }
}

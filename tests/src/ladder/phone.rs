//! A telephone that does as it is told, and by itself only what RFC 3261 has every telephone do: it repeats what is not
//! answered, answers repetitions as before, and acknowledges refusals.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use env::{Batch, Datagrams, Outgoing};
use machine::Instant;

use super::text::{Heard, message, sdp};
use simulation::plan::{home, sip_of};

/// A telephone with one call.
pub(super) struct Phone {
    at: SocketAddr,
    socket: Arc<dyn Datagrams>,
    /// Which call it places.
    number: u32,
    pub(super) answers_byes: bool,
    /// What was heard and not asked for yet.
    inbox: VecDeque<Heard>,
    /// What was heard before, with what was said to it.
    known: BTreeMap<String, Option<String>>,
    last: Option<Heard>,
    /// The request that was heard last.
    asked: Option<Heard>,
    /// What is repeated until it is answered, or acknowledged.
    pending: Vec<Pending>,
    dialog: Dialog,
    now: Instant,
}

struct Pending {
    /// The CSeq whose answer, or ACK, ends it.
    cseq: (u32, String),
    /// Whether it is an answer that waits for its ACK.
    is_answer: bool,
    bytes: String,
    next: Instant,
    every: Duration,
}

#[derive(Clone, Debug, Default)]
struct Dialog {
    call_id: String,
    local: String,
    remote: String,
    target: String,
    cseq: u32,
    invite: u32,
    branches: u32,
    version: u32,
}

impl Phone {
    pub(super) fn new(peers: &peer::World, at: SocketAddr, number: u32) -> Phone {
        let socket = peers.network.bind(at).expect("each telephone has an address of its own");
        Phone {
            at,
            socket,
            number,
            answers_byes: false,
            inbox: VecDeque::new(),
            known: BTreeMap::new(),
            last: None,
            asked: None,
            pending: Vec::new(),
            dialog: Dialog::default(),
            now: Instant::ZERO,
        }
    }

    /// Hears what has come, and repeats what is due.
    pub(super) fn live(&mut self, now: Instant) {
        self.now = now;
        let mut batch = Batch::default();
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(Ok(())) = self.socket.poll_recv(&mut cx, &mut batch) {
            let texts: Vec<String> =
                batch.iter().map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned()).collect();
            batch.clear();
            texts.into_iter().for_each(|text| self.hear(Heard { text }));
        }
        let mut due = Vec::new();
        for pending in self.pending.iter_mut().filter(|pending| pending.next <= now) {
            pending.every = (pending.every * 2).min(T2);
            pending.next = now + pending.every;
            due.push(pending.bytes.clone());
        }
        due.iter().for_each(|bytes| self.send(bytes));
    }

    /// The next message that a ladder has to speak of.
    pub(super) fn next(&mut self) -> Option<String> {
        let heard = self.inbox.pop_front()?;
        if !heard.is_response() && heard.name() != "ACK" {
            self.asked = Some(heard.clone());
        }
        self.last = Some(heard.clone());
        Some(heard.name().to_owned())
    }

    pub(super) fn last_heard(&self) -> String {
        self.last.as_ref().map_or_else(String::new, |heard| heard.text.clone())
    }

    fn hear(&mut self, heard: Heard) {
        if let Some(said) = self.known.get(&heard.text).cloned() {
            said.iter().for_each(|said| self.send(said));
            return;
        }
        self.known.insert(heard.text.clone(), None);
        let cseq = heard.cseq();
        let is_final = heard.is_response() && !heard.name().starts_with('1');
        if heard.is_response() {
            // An INVITE is not repeated once anything was heard, others until their final answer (§17.1).
            let ends = |it: &Pending| !it.is_answer && it.cseq == cseq && (is_final || cseq.1 == "INVITE");
            self.pending.retain(|it| !ends(it));
            if cseq.1 == "INVITE" && !heard.first("To").contains(";tag=") && is_final {
                return;
            }
            if cseq.1 == "INVITE" && heard.first("To").contains(";tag=") {
                self.dialog.remote = heard.first("To");
                if !heard.contact().is_empty() {
                    self.dialog.target = heard.contact();
                }
            }
            if is_final && cseq.1 == "INVITE" && !heard.name().starts_with('2') {
                let ack = self.refusal_ack(&heard);
                self.known.insert(heard.text.clone(), Some(ack.clone()));
                self.send(&ack);
            }
        } else if heard.name() == "ACK" {
            self.pending.retain(|it| !(it.is_answer && it.cseq.0 == cseq.0));
        } else if heard.name() == "INVITE" {
            self.called(&heard);
        } else if heard.name() == "BYE" && self.answers_byes {
            self.asked = Some(heard);
            return self.answer(200);
        }
        self.inbox.push_back(heard);
    }

    /// An INVITE, or a re-INVITE, makes or changes the dialog (§12.1.1, §12.2.2).
    fn called(&mut self, invite: &Heard) {
        if self.dialog.call_id != invite.first("Call-ID") {
            let local = format!("{};tag=t{}", invite.first("To"), self.number);
            self.dialog = Dialog { call_id: invite.first("Call-ID"), local, ..Dialog::default() };
        }
        self.dialog.remote = invite.first("From");
        self.dialog.target = invite.contact();
    }

    /// A request of this method, in the dialog where there is one.
    pub(super) fn request(&mut self, method: &str, direction: &str) {
        if self.dialog.call_id.is_empty() {
            self.begin();
        }
        let dialog = &mut self.dialog;
        match method {
            "ACK" | "CANCEL" => {}
            "INVITE" => {
                dialog.cseq += 1;
                dialog.invite = dialog.cseq;
            }
            _ => dialog.cseq += 1,
        }
        // A CANCEL has the branch of what it cancels (§9.1), the ACK of a 2xx one of its own (§13.2.2.4).
        dialog.branches += u32::from(method != "CANCEL");
        let number = if matches!(method, "ACK" | "CANCEL") { dialog.invite } else { dialog.cseq };
        let dialog = dialog.clone();
        let mut headers = vec![
            format!("Via: SIP/2.0/UDP {};rport;branch=z9hG4bK{}x{}", self.at, self.number, dialog.branches),
            "Max-Forwards: 70".to_owned(),
            format!("From: {}", dialog.local),
            format!("To: {}", dialog.remote),
            format!("Call-ID: {}", dialog.call_id),
            format!("CSeq: {number} {method}"),
        ];
        let mut body = String::new();
        if method == "INVITE" {
            self.dialog.version += 1;
            headers.push(format!("Contact: <sip:phone@{}>", self.at));
            body = sdp(self.at.ip(), self.dialog.version, direction);
        }
        let bytes = message(&format!("{method} {} SIP/2.0", dialog.target), &headers, &body);
        self.send(&bytes);
        if method != "ACK" {
            let cseq = (number, method.to_owned());
            self.pending.push(Pending { cseq, is_answer: false, bytes, next: self.now + T1, every: T1 });
        }
    }

    fn begin(&mut self) {
        let called = format!("sip:+3130{:07}@{}", self.number, sip_of(home(0)));
        self.dialog = Dialog {
            call_id: format!("call{}@{}", self.number, self.at.ip()),
            local: format!("<sip:+3120123456{}@{}>;tag=f{}", self.number, self.at, self.number),
            remote: format!("<{called}>"),
            target: called,
            ..Dialog::default()
        };
    }

    /// Answers the last request.
    pub(super) fn answer(&mut self, status: u16) {
        let asked = self.asked.clone().expect("there is something to answer");
        let phrase = match status {
            100 => "Trying",
            180 => "Ringing",
            200 => "OK",
            _ => "Busy Here",
        };
        let is_invite = asked.name() == "INVITE";
        let mut headers: Vec<String> = asked.all("Via").map(|via| format!("Via: {via}")).collect();
        let to = match (asked.first("To"), status) {
            (to, 100) => to,
            (to, _) if to.contains(";tag=") => to,
            _ => self.dialog.local.clone(),
        };
        headers.push(format!("From: {}", asked.first("From")));
        headers.push(format!("To: {to}"));
        headers.push(format!("Call-ID: {}", asked.first("Call-ID")));
        headers.push(format!("CSeq: {}", asked.first("CSeq")));
        let mut body = String::new();
        if is_invite && status > 100 {
            headers.push(format!("Contact: <sip:phone@{}>", self.at));
        }
        if is_invite && status == 200 && asked.has_body() {
            self.dialog.version += 1;
            body = sdp(self.at.ip(), self.dialog.version, asked.direction());
        }
        let bytes = message(&format!("SIP/2.0 {status} {phrase}"), &headers, &body);
        self.send(&bytes);
        self.known.insert(asked.text.clone(), Some(bytes.clone()));
        if is_invite && status >= 200 {
            self.pending.push(Pending {
                cseq: asked.cseq(),
                is_answer: true,
                bytes,
                next: self.now + T1,
                every: T1,
            });
        }
    }

    /// The ACK of a refusal has its INVITE's branch (§17.1.1.3).
    fn refusal_ack(&self, refusal: &Heard) -> String {
        let headers = [
            format!("Via: {}", refusal.first("Via")),
            "Max-Forwards: 70".to_owned(),
            format!("From: {}", refusal.first("From")),
            format!("To: {}", refusal.first("To")),
            format!("Call-ID: {}", refusal.first("Call-ID")),
            format!("CSeq: {} ACK", refusal.cseq().0),
        ];
        message(&format!("ACK {} SIP/2.0", self.dialog.target), &headers, "")
    }

    fn send(&self, text: &str) {
        let to = sip_of(home(0));
        self.socket.send(&[Outgoing { to, bytes: text.as_bytes().to_vec().into() }]);
    }
}

/// RFC 3261 §17.1.1.1.
const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);

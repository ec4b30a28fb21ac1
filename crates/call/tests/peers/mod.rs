//! A caller and a callee that keep the rules of RFC 3261 by themselves, retransmissions included.

#![allow(clippy::unwrap_used, clippy::panic)] // What fails here fails a test.

use std::collections::{BTreeMap, BTreeSet};

use crate::ladder::{ANSWER, OFFER, OURS, Sent, from_callee, from_caller, invite, response};

/// A request of a peer that has no final answer.
#[derive(Clone)]
pub struct Pending {
    pub text: String,
    pub method: &'static str,
    pub cseq: u32,
    /// How many times it was sent.
    pub age: u32,
}

/// After this many ticks of half a second a peer gives up: 64·T1.
const GIVE_UP: u32 = 64;

/// Who calls.
pub struct Caller {
    pub phase: Phase,
    pub cancelled: bool,
    /// The last response that shows our tag: what requests in the dialog are made from.
    pub dialog: Option<Sent>,
    /// Where requests in the dialog go: the Contact that was heard last (RFC 3261 §12.2.1.2).
    target: String,
    pub pending: Vec<Pending>,
    /// The requests of the far side that were answered, by CSeq and method.
    answered: BTreeMap<String, String>,
    next_cseq: u32,
    version: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Calling,
    Ringing,
    Up,
    Done,
}

impl Caller {
    pub fn new() -> Caller {
        let first = Pending { text: invite(OFFER, ""), method: "INVITE", cseq: 1, age: 1 };
        Caller {
            phase: Phase::Calling,
            cancelled: false,
            dialog: None,
            target: OURS.to_owned(),
            pending: vec![first],
            answered: BTreeMap::new(),
            next_cseq: 2,
            version: 1,
        }
    }

    /// A message of ours arrives. Gives what it answers.
    pub fn hear(&mut self, message: &Sent) -> Vec<String> {
        aim(&mut self.target, message);
        if message.start().starts_with("SIP/2.0") {
            self.hear_response(message)
        } else {
            self.hear_request(message)
        }
    }

    fn hear_response(&mut self, message: &Sent) -> Vec<String> {
        let status: u16 = message.start()[8..11].parse().expect("a status");
        let (cseq, method) = cseq_of(message);
        if method == "INVITE" && cseq == 1 {
            return self.hear_answer(message, status);
        }
        if status < 200 {
            return Vec::new();
        }
        let known = self.pending.iter().any(|p| p.cseq == cseq && p.method == method);
        self.pending.retain(|p| !(p.cseq == cseq && p.method == method));
        match method.as_str() {
            "INVITE" => vec![self.ack(cseq, status, message)],
            "BYE" if known => {
                self.phase = Phase::Done;
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    fn hear_answer(&mut self, message: &Sent, status: u16) -> Vec<String> {
        match status {
            ..200 => {
                self.pending.retain(|p| p.cseq != 1 || p.method != "INVITE");
                if message.get("To").contains(";tag=") && self.phase != Phase::Up {
                    self.dialog = Some(message.clone());
                }
                if self.phase == Phase::Calling {
                    self.phase = Phase::Ringing;
                }
                Vec::new()
            }
            200..300 => {
                self.pending.retain(|p| p.cseq != 1);
                self.dialog = Some(message.clone());
                let mut out = vec![aimed(&from_caller(message, "ACK", 1, ""), &self.target)];
                if self.phase != Phase::Done && self.phase != Phase::Up {
                    self.phase = Phase::Up;
                    if self.cancelled {
                        out.extend(self.ask("BYE", "")); // RFC 3261 §9.1: the CANCEL came too late.
                    }
                }
                out
            }
            _ => {
                self.pending.retain(|p| p.cseq != 1);
                if self.phase != Phase::Up {
                    self.phase = Phase::Done;
                    self.pending.retain(|p| p.method != "BYE");
                }
                vec![self.ack(1, status, message)]
            }
        }
    }

    fn ack(&self, cseq: u32, status: u16, message: &Sent) -> String {
        let ack = from_caller(message, "ACK", cseq, "");
        match (status, cseq) {
            (..300, _) => aimed(&ack, &self.target),
            // Of a refusal: it goes where its INVITE went.
            (_, 1) => ack.replace("z9hG4bKACK1", "z9hG4bKa1"),
            (_, n) => {
                aimed(&ack, &self.target).replace(&format!("z9hG4bKACK{n}"), &format!("z9hG4bKINVITE{n}"))
            }
        }
    }

    fn hear_request(&mut self, message: &Sent) -> Vec<String> {
        let (cseq, method) = cseq_of(message);
        let key = format!("{cseq} {method}");
        if method == "ACK" {
            self.answered.remove(&format!("{cseq} INVITE"));
            return Vec::new();
        }
        if let Some(again) = self.answered.get(&key) {
            return vec![again.clone()];
        }
        let (status, body) = match (method.as_str(), self.phase) {
            ("BYE", Phase::Up | Phase::Ringing) => ("200 OK", String::new()),
            (_, Phase::Done | Phase::Calling) => ("481 Call Does Not Exist", String::new()),
            // RFC 3261 §15.1.1: who has sent BYE has left. §14.2: one INVITE at a time.
            _ if waits_for(&self.pending, "BYE") => ("481 Call Does Not Exist", String::new()),
            ("INVITE", _) if waits_for(&self.pending, "INVITE") => ("491 Request Pending", String::new()),
            ("INVITE", _) => ("200 OK", self.description(OFFER, "o=a 1 1")),
            _ => ("200 OK", String::new()),
        };
        if method == "BYE" {
            self.phase = Phase::Done;
            self.pending.retain(|p| p.method == "BYE");
        }
        let text = response(message, status, "", "Contact: <sip:al@192.0.2.1:5060>\r\n", &body);
        self.answered.insert(key, text.clone());
        vec![text]
    }

    fn description(&mut self, like: &str, origin: &str) -> String {
        self.version += 1;
        let fresh = origin.rsplit_once(' ').expect("a version").0;
        like.replace(origin, &format!("{fresh} {}", self.version))
    }

    /// Sends a request inside the dialog.
    pub fn ask(&mut self, method: &'static str, body: &str) -> Option<String> {
        let ok = self.dialog.clone()?;
        let body = if body == "changed" { self.description(OFFER, "o=a 1 1") } else { body.to_owned() };
        let cseq = self.next_cseq;
        self.next_cseq += 1;
        let text = aimed(&from_caller(&ok, method, cseq, &body), &self.target);
        self.pending.push(Pending { text: text.clone(), method, cseq, age: 1 });
        Some(text)
    }

    /// Gives up the call before it is answered.
    pub fn cancel(&mut self) -> Option<String> {
        if self.phase != Phase::Ringing || self.cancelled {
            return None;
        }
        self.cancelled = true;
        let text = invite("", "").replace("INVITE", "CANCEL");
        self.pending.push(Pending { text: text.clone(), method: "CANCEL", cseq: 1, age: 1 });
        Some(text)
    }

    /// Half a second passed: what has no answer goes out again.
    pub fn tick(&mut self) -> Vec<String> {
        for given_up in age(&mut self.pending) {
            if matches!(given_up, "BYE" | "INVITE") {
                self.phase = Phase::Done;
            }
        }
        self.pending.iter().map(|p| p.text.clone()).collect()
    }
}

/// Notes where a message says that requests are to go.
fn aim(target: &mut String, message: &Sent) {
    let contact = message.get("Contact");
    if let Some(at) = contact.strip_prefix("<sip:").and_then(|rest| rest.strip_suffix('>')) {
        at.clone_into(target);
    }
}

/// A request to where the peer thinks that we are.
fn aimed(request: &str, target: &str) -> String {
    request.replacen(OURS, target, 1)
}

fn waits_for(pending: &[Pending], method: &str) -> bool {
    pending.iter().any(|p| p.method == method)
}

/// Counts the pending requests' copies; gives the methods of those that are given up.
fn age(pending: &mut Vec<Pending>) -> Vec<&'static str> {
    pending.iter_mut().for_each(|p| p.age += 1);
    let old = pending.iter().filter(|p| p.age > GIVE_UP).map(|p| p.method).collect();
    pending.retain(|p| p.age <= GIVE_UP);
    old
}

fn cseq_of(message: &Sent) -> (u32, String) {
    let text = message.get("CSeq");
    let (number, method) = text.split_once(' ').expect("CSeq has two parts");
    (number.parse().expect("a number"), method.to_owned())
}

/// Who is called by one INVITE: a proxy's forks, perhaps.
pub struct Callee {
    pub invite: Sent,
    pub forks: BTreeMap<&'static str, Fork>,
    /// The final refusal, if that is what it said.
    pub refused: Option<String>,
    pub refusal_acked: bool,
    last_provisional: Option<String>,
    pub cancelled: bool,
    /// Whether it ever said anything.
    pub spoke: bool,
    age: u32,
    target: String,
    answered: BTreeMap<String, String>,
}

#[derive(Clone)]
pub struct Fork {
    pub phase: ForkPhase,
    /// It never got an ACK.
    pub abandoned: bool,
    ok: String,
    age: u32,
    next_cseq: u32,
    version: u32,
    pub pending: Vec<Pending>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForkPhase {
    /// 200 was sent.
    Answered,
    /// ACK came.
    Up,
    Done,
}

pub const TAGS: [&str; 2] = ["b1", "b2"];
const CONTACT: &str = "Contact: <sip:bo@198.51.100.1:5060>\r\n";

impl Callee {
    pub fn new(invite: Sent) -> Callee {
        let mut target = OURS.to_owned();
        aim(&mut target, &invite);
        Callee {
            invite,
            target,
            forks: BTreeMap::new(),
            refused: None,
            refusal_acked: false,
            last_provisional: None,
            cancelled: false,
            spoke: false,
            age: 0,
            answered: BTreeMap::new(),
        }
    }

    pub fn address(&self) -> String {
        self.invite.to.to_string()
    }

    /// Whether it has waited long for an ACK, or given up.
    pub fn is_tired(&self) -> bool {
        let waits = |fork: &Fork| fork.phase == ForkPhase::Answered && fork.age > GIVE_UP / 2;
        self.forks.values().any(|fork| fork.abandoned || waits(fork)) || self.age > GIVE_UP
    }

    /// Whether the INVITE has no final response yet.
    pub fn is_open(&self) -> bool {
        self.forks.is_empty() && self.refused.is_none()
    }

    /// Answers the INVITE in one way or another.
    pub fn answer(&mut self, choice: u8) -> Option<String> {
        let tag = TAGS[usize::from(choice >> 4) % 2];
        let (status, body) = match choice % 8 {
            0 => ("100 Trying", ""),
            1 | 2 => ("180 Ringing", ""),
            3 => ("183 Session Progress", ANSWER),
            4..=6 => ("200 OK", ANSWER),
            _ => (if choice & 8 == 0 { "486 Busy Here" } else { "503 Service Unavailable" }, ""),
        };
        if self.refused.is_some() || (!self.forks.is_empty() && !status.starts_with('2')) {
            return None;
        }
        if self.forks.contains_key(tag) {
            return None;
        }
        self.spoke = true;
        let with_tag = if status.starts_with("100") { "" } else { tag };
        let text = response(&self.invite, status, with_tag, CONTACT, body);
        match status.as_bytes()[0] {
            b'1' => self.last_provisional = Some(text.clone()),
            b'2' => {
                let fork = Fork {
                    phase: ForkPhase::Answered,
                    abandoned: false,
                    ok: text.clone(),
                    age: 1,
                    next_cseq: 1,
                    version: 1,
                    pending: Vec::new(),
                };
                self.forks.insert(tag, fork);
            }
            _ => self.refused = Some(text.clone()),
        }
        Some(text)
    }

    /// A message of ours arrives. Gives what it answers.
    pub fn hear(&mut self, message: &Sent) -> Vec<String> {
        aim(&mut self.target, message);
        if message.start().starts_with("SIP/2.0") {
            return self.hear_response(message);
        }
        let (cseq, method) = cseq_of(message);
        let tag = tag_of(&message.get("To"));
        match method.as_str() {
            "INVITE" if tag.is_none() => {
                self.last_provisional.iter().chain(&self.refused).last().cloned().into_iter().collect()
            }
            "CANCEL" => self.hear_cancel(message),
            "ACK" => {
                self.hear_ack(tag, cseq);
                Vec::new()
            }
            _ => self.hear_in_dialog(message, tag, cseq, &method),
        }
    }

    fn hear_cancel(&mut self, message: &Sent) -> Vec<String> {
        self.cancelled = true;
        let mut out = vec![response(message, "200 OK", "bc", "", "")];
        if self.is_open() {
            let refusal = response(&self.invite, "487 Request Terminated", "bc", "", "");
            self.refused = Some(refusal.clone());
            self.spoke = true;
            out.push(refusal);
        }
        out
    }

    fn hear_ack(&mut self, tag: Option<String>, cseq: u32) {
        if self.refused.is_some() {
            self.refusal_acked = true;
        }
        if let Some(fork) = tag.and_then(|tag| self.forks.get_mut(tag.as_str())) {
            if fork.phase == ForkPhase::Answered && cseq == 1 {
                fork.phase = ForkPhase::Up;
            }
            self.answered.remove(&format!("{cseq} INVITE"));
        }
    }

    fn hear_in_dialog(
        &mut self,
        message: &Sent,
        tag: Option<String>,
        cseq: u32,
        method: &str,
    ) -> Vec<String> {
        let key = format!("{tag:?} {cseq} {method}");
        if let Some(again) = self.answered.get(&key) {
            return vec![again.clone()];
        }
        let fork = tag.and_then(|tag| self.forks.get_mut(tag.as_str()));
        let live = fork.as_ref().is_some_and(|fork| fork.phase != ForkPhase::Done);
        let text = match (fork, method) {
            (Some(fork), "BYE") if live => {
                fork.phase = ForkPhase::Done;
                fork.pending.retain(|p| p.method == "BYE");
                response(message, "200 OK", "", "", "")
            }
            (Some(fork), _) if live && waits_for(&fork.pending, "BYE") => {
                response(message, "481 Call Does Not Exist", "", "", "")
            }
            (Some(fork), "INVITE") if live && waits_for(&fork.pending, "INVITE") => {
                response(message, "491 Request Pending", "", "", "")
            }
            (Some(fork), "INVITE") if live => {
                fork.version += 1;
                let body = ANSWER.replace("o=b 1 1", &format!("o=b 1 {}", fork.version));
                response(message, "200 OK", "", CONTACT, &body)
            }
            (Some(_), _) if live => response(message, "200 OK", "", CONTACT, ""),
            (None, "PRACK") => response(message, "200 OK", "", "", ""),
            _ => response(message, "481 Call Does Not Exist", "", "", ""),
        };
        self.answered.insert(key, text.clone());
        vec![text]
    }

    fn hear_response(&mut self, message: &Sent) -> Vec<String> {
        let status: u16 = message.start()[8..11].parse().expect("a status");
        let (cseq, method) = cseq_of(message);
        let tag = tag_of(&message.get("From"));
        let Some((name, fork)) = tag.and_then(|tag| self.forks.iter_mut().find(|(name, _)| **name == tag))
        else {
            return Vec::new();
        };
        if status < 200 {
            return Vec::new();
        }
        let known = fork.pending.iter().any(|p| p.cseq == cseq && p.method == method);
        fork.pending.retain(|p| !(p.cseq == cseq && p.method == method));
        match method.as_str() {
            "INVITE" => {
                let ack = aimed(&request(&self.invite, name, "ACK", cseq, ""), &self.target);
                let branch = format!("z9hG4bK{name}ACK{cseq}");
                vec![if status < 300 {
                    ack
                } else {
                    ack.replace(&branch, &format!("z9hG4bK{name}INVITE{cseq}"))
                }]
            }
            "BYE" if known => {
                fork.phase = ForkPhase::Done;
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// Sends a request inside a dialog that is up.
    pub fn ask(&mut self, tag: &'static str, method: &'static str, changed: bool) -> Option<String> {
        let fork = self.forks.get_mut(tag).filter(|fork| fork.phase == ForkPhase::Up)?;
        let body = if changed {
            fork.version += 1;
            ANSWER.replace("o=b 1 1", &format!("o=b 1 {}", fork.version))
        } else {
            String::new()
        };
        let cseq = fork.next_cseq;
        fork.next_cseq += 1;
        let text = aimed(&request(&self.invite, tag, method, cseq, &body), &self.target);
        fork.pending.push(Pending { text: text.clone(), method, cseq, age: 1 });
        Some(text)
    }

    /// Half a second passed: what has no answer or ACK goes out again.
    pub fn tick(&mut self) -> Vec<String> {
        let mut out = Vec::new();
        self.age += 1;
        if self.age > 4 * GIVE_UP && self.is_open() && self.spoke {
            self.refused = Some(response(&self.invite, "480 Temporarily Unavailable", "bt", "", ""));
            self.age = 0;
        }
        if !self.refusal_acked && self.age < 4 * GIVE_UP {
            out.extend(self.refused.clone());
        }
        let mut given_up = BTreeSet::new();
        for (tag, fork) in &mut self.forks {
            fork.age += 1;
            if fork.phase == ForkPhase::Answered {
                if fork.age > GIVE_UP {
                    given_up.insert(*tag);
                } else {
                    out.push(fork.ok.clone());
                }
            }
            if age(&mut fork.pending).contains(&"BYE") {
                fork.phase = ForkPhase::Done;
            }
            out.extend(fork.pending.iter().map(|p| p.text.clone()));
        }
        for tag in given_up {
            // RFC 3261 §13.3.1.4: never acknowledged, so BYE.
            if let Some(fork) = self.forks.get_mut(tag) {
                fork.phase = ForkPhase::Up;
                fork.abandoned = true;
            }
            out.extend(self.ask(tag, "BYE", false));
        }
        out
    }
}

fn tag_of(address: &str) -> Option<String> {
    address.split_once(";tag=").map(|(_, tag)| tag.to_owned())
}

/// A request of a fork: its branches are its own.
fn request(invite: &Sent, tag: &str, method: &str, cseq: u32, body: &str) -> String {
    from_callee(invite, tag, method, cseq, body).replace("z9hG4bKb", &format!("z9hG4bK{tag}"))
}

//! One call between a caller and a callee that the test plays by hand. Commits take effect when the test says.

#![allow(clippy::unwrap_used, clippy::panic)] // What fails here fails a test.
#![allow(dead_code)] // Each test file plays a part of it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use call::{
    Arrival, Call, CallCommand, CallId, CallRecord, Cdr, Change, Context, Epoch, Event, Flow, HomeId,
    Incarnation, Input, NodeId, Outcome, Output, Ports, Secret, TakePorts,
};
use machine::{ClusterTime, Instant, WallTime};
use sip::{Framing, OwnedMessage};
use trunk::{Gateway, Name, Party, Resource, Resources, SipTarget, Transport, Trunk};

/// The caller's address (RFC 5737).
pub const CALLER: &str = "192.0.2.1:5060";
/// The first callee's address.
pub const CALLEE: &str = "198.51.100.1:5060";
/// The second callee's address.
pub const SECOND: &str = "198.51.100.2:5060";
/// Ours.
pub const OURS: &str = "203.0.113.1:5060";
/// Another home's.
pub const ELSEWHERE: &str = "203.0.113.2:5060";

/// The caller's offer and the callee's answer.
pub const OFFER: &str = "v=0\r\no=a 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
    m=audio 4000 RTP/AVP 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\n";
pub const ANSWER: &str = "v=0\r\no=b 1 1 IN IP4 198.51.100.1\r\ns=-\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\n\
    m=audio 6000 RTP/AVP 8\r\n";

/// A home's ports: from `first` for the caller and 10,000 above for the callee.
#[derive(Clone, Copy)]
pub struct HomePorts {
    pub first: u16,
    /// Whether it has those of a call from another home.
    pub keeps: bool,
}

impl TakePorts for HomePorts {
    fn take(&mut self, streams: usize) -> Option<Ports> {
        let from = |first: u16| (0..streams as u16).map(|i| first + 2 * i).collect();
        Some(Ports { ingress: from(self.first), egress: from(self.first + 10_000) })
    }

    fn keep(&mut self, ports: &Ports) -> bool {
        self.keeps || ports.ingress.first() == Some(&self.first)
    }
}

/// A message that the call sent.
#[derive(Clone, Debug)]
pub struct Sent {
    pub to: SocketAddr,
    /// Our address.
    pub from: SocketAddr,
    /// On which connection; 0: any.
    pub connection: u64,
    pub text: String,
    message: OwnedMessage,
}

impl Sent {
    /// A message on its way to a peer.
    pub fn of(to: SocketAddr, bytes: &Bytes) -> Sent {
        let message = OwnedMessage::parse(bytes.clone(), Framing::Datagram)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(bytes)));
        let from = OURS.parse().unwrap();
        Sent { to, from, connection: 0, text: String::from_utf8_lossy(bytes).into_owned(), message }
    }

    /// The first line.
    pub fn start(&self) -> &str {
        self.text.split("\r\n").next().unwrap_or_default()
    }

    /// The value of a header.
    pub fn get(&self, name: &str) -> String {
        let view = self.message.view();
        view.find(name.as_bytes()).map(|v| String::from_utf8_lossy(v).into_owned()).unwrap_or_default()
    }

    /// The body.
    pub fn body(&self) -> String {
        String::from_utf8_lossy(self.message.view().body()).into_owned()
    }
}

/// The call, its quorum and its clock.
pub struct World {
    pub now: Instant,
    pub wall: WallTime,
    /// The cluster's time.
    pub time: ClusterTime,
    pub context: Arc<Context>,
    pub ports: HomePorts,
    pub call: Call,
    pub record: Option<CallRecord>,
    pub cdrs: Vec<Cdr>,
    pub sent: VecDeque<Sent>,
    pub events: Vec<Event>,
    pub proposed: VecDeque<CallCommand>,
    pub relay: Vec<String>,
    /// What the relay was told last.
    pub entry: Option<env::RelayEntry>,
    /// How the peers speak to us.
    pub transport: Transport,
    pub ended: bool,
    /// How often it said that it ended.
    pub endings: usize,
    /// What it left behind when it ended.
    pub remains: Vec<call::Remains>,
    /// The names of the changes that were committed, in order.
    pub committed: Vec<&'static str>,
    /// The relay never reports what it measured.
    pub unmeasured: bool,
    /// The outcome of the next Attempts and of Admit: which targets have free slots.
    pub free: Vec<bool>,
}

/// Who calls.
pub fn party() -> Party {
    Party::Trunk { name: Name::new("pbx").unwrap(), account: None }
}

/// The way between a peer and us.
pub fn flow(from: &str) -> Flow {
    let at = |text: &str| text.parse().unwrap();
    Flow { transport: Transport::Udp, local: at(OURS), remote: at(from), connection: 0 }
}

fn resources(change: impl Fn(&mut Trunk, &mut Gateway)) -> Resources {
    let mut resources = Resources::default();
    let mut trunk = Trunk::new(Name::new("pbx").unwrap());
    trunk.caller_ids = vec!["+31201234567".into()];
    let mut first = Gateway::new(Name::new("carrier-a").unwrap());
    first.targets = vec![SipTarget::parse("sip:198.51.100.1:5060").unwrap()];
    change(&mut trunk, &mut first);
    let mut second = Gateway::new(Name::new("carrier-b").unwrap());
    second.targets = vec![SipTarget::parse("sip:198.51.100.2:5060").unwrap()];
    second.priority = 20;
    let gateway = |gateway| Resource::Gateway(Box::new(gateway));
    let set = vec![Resource::Trunk(Box::new(trunk)), gateway(first), gateway(second)];
    resources.apply(set).unwrap();
    resources
}

/// The caller's INVITE.
pub fn invite(body: &str, extra: &str) -> String {
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!(
        "INVITE sip:+31301111111@203.0.113.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKa1\r\n\
         Max-Forwards: 70\r\nFrom: \"Al\" <sip:+31201234567@192.0.2.1>;tag=a1\r\nTo: <sip:+31301111111@203.0.113.1>\r\n\
         Call-ID: call-a\r\nCSeq: 1 INVITE\r\nContact: <sip:al@192.0.2.1:5060>\r\n{extra}{kind}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

impl World {
    /// A call with the usual INVITE.
    pub fn new() -> World {
        World::with(&invite(OFFER, ""), |_, _| {})
    }

    /// A call with this INVITE and these settings.
    pub fn with(invite: &str, change: impl Fn(&mut Trunk, &mut Gateway)) -> World {
        World::made(invite, change, None, Transport::Udp)
    }

    /// As `with`, but both sides speak TLS.
    pub fn under_tls(invite: &str, change: impl Fn(&mut Trunk, &mut Gateway)) -> World {
        let change = |trunk: &mut Trunk, gateway: &mut Gateway| {
            gateway.targets = vec![SipTarget::parse("sip:198.51.100.1:5060;transport=tls").unwrap()];
            change(trunk, gateway);
        };
        World::made(invite, change, None, Transport::Tls)
    }

    /// A call whose caller proved by digest who it is; if that was used before it hears this challenge.
    pub fn with_proof(invite: &str, again: &[u8]) -> World {
        let used = auth::Use { issued: ClusterTime(1), salt: 2, nc: 1 };
        World::made(invite, |_, _| {}, Some(call::Proof { used, again: again.to_vec() }), Transport::Udp)
    }

    fn made(
        invite: &str,
        change: impl Fn(&mut Trunk, &mut Gateway),
        proof: Option<call::Proof>,
        transport: Transport,
    ) -> World {
        let context = Arc::new(Context {
            home: HomeId(0),
            epoch: Epoch(1),
            resources: Arc::new(resources(change)),
            bindings: Arc::new(trunk::NoBindings),
            seal: Arc::new(auth::Seal::new(&[7; 16])),
            secret: Secret::new([7; 16]),
            domain: "sbc.example".into(),
            addresses: vec![(transport, OURS.parse().unwrap())],
            advertise: None,
            times: transaction::Times::default(),
            media: "203.0.113.1".parse().unwrap(),
        });
        let (now, wall) = (Instant::ZERO, WallTime(1_000_000));
        let arrival = Arrival {
            invite: OwnedMessage::parse(Bytes::from(invite.to_owned()), Framing::Datagram).unwrap(),
            flow: Flow { transport, ..flow(CALLER) },
            party: party(),
            strip: 0,
            seed: 42,
            proof,
            secures: true,
        };
        let id = CallId::new(Incarnation(1), 1);
        let mut ports = HomePorts { first: 10_000, keeps: true };
        let call = Call::new(now, wall, context.clone(), id, arrival, &mut ports);
        let mut world = World {
            now,
            wall,
            time: ClusterTime(7_000_000),
            context,
            ports,
            call,
            record: None,
            cdrs: Vec::new(),
            sent: VecDeque::new(),
            events: Vec::new(),
            proposed: VecDeque::new(),
            relay: Vec::new(),
            entry: None,
            transport,
            ended: false,
            endings: 0,
            remains: Vec::new(),
            committed: Vec::new(),
            unmeasured: false,
            free: vec![true; 8],
        };
        world.pump();
        world
    }

    /// Lets time pass.
    pub fn after(&mut self, d: Duration) {
        let until = self.now + d;
        while let Some(at) = self.call.poll_timeout().filter(|at| *at <= until) {
            self.advance(at);
            self.call.handle_timeout(self.now, self.wall);
            self.pump();
        }
        self.advance(until);
    }

    fn advance(&mut self, to: Instant) {
        let passed = to.since(self.now);
        self.wall.0 += passed.as_millis() as i64;
        self.time = self.time + passed;
        self.now = self.now.max(to);
    }

    /// A message arrives.
    pub fn receive(&mut self, from: &str, text: &str) {
        let (_, local) = self.context.addresses[0];
        self.receive_by(&local.to_string(), from, text);
    }

    /// A message arrives at this address of ours.
    pub fn receive_by(&mut self, local: &str, from: &str, text: &str) {
        let bytes = Bytes::from(text.to_owned());
        let message = OwnedMessage::parse(bytes, Framing::Datagram).expect("the test writes good SIP");
        let flow = Flow { local: local.parse().unwrap(), transport: self.transport, ..flow(from) };
        self.input(Input::Received { message, flow });
    }

    /// Any input.
    pub fn input(&mut self, input: Input) {
        self.call.handle(self.now, self.wall, input);
        self.pump();
    }

    /// Commits the oldest proposal.
    pub fn commit(&mut self) {
        let command = self.proposed.pop_front().expect("a proposal is in flight");
        let outcome = self.apply(command);
        self.input(Input::Applied(outcome));
    }

    /// Commits until nothing is proposed.
    pub fn commit_all(&mut self) {
        while !self.proposed.is_empty() {
            self.commit();
        }
    }

    fn grant(&self, from: u16, targets: usize) -> Option<u16> {
        (from..targets as u16).find(|t| self.free.get(usize::from(*t)).copied().unwrap_or(false))
    }

    fn apply(&mut self, command: CallCommand) -> Outcome {
        let node = NodeId(1);
        self.committed.push(name_of(&command));
        if self.record.is_none() && matches!(command, CallCommand::Change(_)) {
            return Outcome::Stale; // The call is over.
        }
        match command {
            CallCommand::Admit(admit) => {
                let Some(target) = self.grant(0, admit.plan.targets.len()) else {
                    let limited = self.limited();
                    self.cdrs.push(Cdr::limited(
                        self.call.id(),
                        &admit,
                        &limited,
                        &self.context.resources,
                        node,
                    ));
                    return Outcome::Limited(limited);
                };
                let record =
                    CallRecord::admitted(self.call.id(), HomeId(0), Epoch(1), admit, target, self.time);
                self.record = Some(record);
                Outcome::Target(target)
            }
            CallCommand::Refuse(refuse) => {
                self.cdrs.push(Cdr::refused(self.call.id(), &refuse, node));
                Outcome::Done
            }
            CallCommand::Change(change) => {
                let record = self.record.as_ref().expect("an admitted call");
                let granted = match &change {
                    Change::Attempt(a) => self.grant(a.from_target, record.admit.plan.targets.len()),
                    _ => None,
                };
                let record = self.record.as_mut().expect("an admitted call");
                if let Change::End(end) = &change {
                    self.cdrs.push(Cdr::ended(record, end, None, (node, node)));
                    self.record = None;
                    return Outcome::Done;
                }
                record.apply(&change, granted, self.time);
                match (change, granted) {
                    (Change::Attempt(_), Some(target)) => Outcome::Target(target),
                    (Change::Attempt(_), None) => Outcome::Limited(self.limited()),
                    _ => Outcome::Done,
                }
            }
        }
    }

    fn limited(&self) -> call::Limited {
        call::Limited {
            kind: call::LimitedBy::Concurrent,
            scope: Name::new("carrier-a").unwrap(),
            limit: 1,
            egress: true,
            retry_after_s: 0,
        }
    }

    fn pump(&mut self) {
        while let Some(output) = self.call.poll_output() {
            match output {
                Output::Send { flow, bytes } => {
                    let sent = Sent::of(flow.remote, &bytes);
                    self.sent.push_back(Sent { from: flow.local, connection: flow.connection, ..sent });
                }
                Output::Propose(command) => self.proposed.push_back(command),
                Output::Event(event) => self.events.push(event),
                Output::Ended(remains) => {
                    self.ended = true;
                    self.endings += 1;
                    self.remains = remains;
                }
                Output::Relay(call::RelayChange::Set(index, entry)) => {
                    self.entry = Some(env::RelayEntry::clone(&entry));
                    let remote = |side: &env::SideConfig| side.remote.map(|r| r.rtp.to_string());
                    self.relay.push(format!(
                        "{index} {:?} {:?}",
                        remote(&entry.ingress),
                        remote(&entry.egress)
                    ));
                }
                Output::Relay(call::RelayChange::Recorded(mark)) => {
                    self.relay.push(format!("recorded {mark:?}"))
                }
                Output::Relay(call::RelayChange::Remove) => {
                    self.relay.push("remove".into());
                    if self.unmeasured {
                        continue;
                    }
                    self.call.handle(self.now, self.wall, Input::Quality { ingress: None, egress: None });
                }
                Output::Locate { .. } => {}
            }
        }
    }

    /// The oldest proposal is applied by nobody: the home or the call is another's.
    pub fn refuse_as_stale(&mut self) {
        self.proposed.pop_front().expect("a proposal is in flight");
        self.input(Input::Applied(Outcome::Stale));
    }

    /// The first lines of all that was sent, in order; the queue is empty then.
    pub fn starts(&mut self) -> Vec<String> {
        self.sent.drain(..).map(|sent| sent.start().to_owned()).collect()
    }

    /// Sent messages that begin so, taken out of the queue.
    pub fn take(&mut self, start: &str) -> Vec<Sent> {
        let (taken, left): (VecDeque<_>, VecDeque<_>) =
            self.sent.drain(..).partition(|sent: &Sent| sent.start().starts_with(start));
        self.sent = left;
        taken.into()
    }

    /// The next message sent must begin so and go there.
    #[track_caller]
    pub fn expect(&mut self, to: &str, start: &str) -> Sent {
        let sent =
            self.sent.pop_front().unwrap_or_else(|| panic!("nothing was sent; wanted {start} to {to}"));
        assert!(sent.start().starts_with(start), "wanted {start}, got {}", sent.text);
        assert_eq!(sent.to, to.parse().unwrap(), "{start} went elsewhere");
        sent
    }

    /// Nothing more may have been sent.
    #[track_caller]
    pub fn expect_silence(&self) {
        assert!(self.sent.is_empty(), "sent: {:#?}", self.sent.iter().map(Sent::start).collect::<Vec<_>>());
    }

    /// The node dies here, after the oldest `applied` proposals were committed; a successor has the record and
    /// nothing else.
    pub fn take_over_after(&mut self, applied: usize) {
        self.apply_first(applied);
        self.take_over();
    }

    /// As `take_over_after`, into another home.
    pub fn adopt_after(&mut self, applied: usize, address: &str) {
        self.apply_first(applied);
        self.adopt_at(address);
    }

    fn apply_first(&mut self, count: usize) {
        for _ in 0..count {
            if let Some(command) = self.proposed.pop_front() {
                self.apply(command);
            }
        }
    }

    /// The node dies here; a successor has the record and nothing else.
    pub fn take_over(&mut self) {
        self.proposed.clear();
        self.sent.clear();
        let record = self.record.clone().expect("a live call");
        self.call =
            Call::restore(self.now, self.wall, self.time, self.context.clone(), &record, &mut self.ports);
        self.pump();
    }

    /// The node dies here, and its fixed home with it: another home, at this address, adopts the call.
    pub fn adopt_at(&mut self, address: &str) {
        self.adopt_over(&[Transport::Udp], address);
    }

    /// As `adopt_at`; the other home serves these transports.
    pub fn adopt_over(&mut self, transports: &[Transport], address: &str) {
        let at: SocketAddr = address.parse().unwrap();
        let home = HomeId(self.context.home.0 + 1);
        self.context = Arc::new(Context {
            home,
            addresses: transports.iter().map(|transport| (*transport, at)).collect(),
            media: at.ip(),
            ..Context::clone(&self.context)
        });
        self.record.as_mut().expect("a live call").adopt(home, Epoch(1));
        self.take_over();
    }
}

/// What a command is called.
pub fn name_of(command: &CallCommand) -> &'static str {
    match command {
        CallCommand::Admit(_) => "Admit",
        CallCommand::Refuse(_) => "Refuse",
        CallCommand::Change(change) => match change {
            Change::Attempt(_) => "Attempt",
            Change::Progress(_) => "Progress",
            Change::Cancel(_) => "Cancel",
            Change::Confirm(_) => "Confirm",
            Change::Acked(_) => "Acked",
            Change::Update(_) => "Update",
            Change::Advance(..) => "Advance",
            Change::End(_) => "End",
            Change::Rehome(_) => "Rehome",
            Change::Mark(_) => "Mark",
        },
    }
}

/// A response of a callee to an INVITE or other request of ours.
pub fn response(request: &Sent, status: &str, tag: &str, extra: &str, body: &str) -> String {
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    let tag = if request.get("To").contains(";tag=") || tag.is_empty() {
        String::new()
    } else {
        format!(";tag={tag}")
    };
    format!(
        "SIP/2.0 {status}\r\nVia: {}\r\nFrom: {}\r\nTo: {}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\n\
         {extra}{kind}Content-Length: {}\r\n\r\n{body}",
        request.get("Via"),
        request.get("From"),
        request.get("To"),
        request.get("Call-ID"),
        request.get("CSeq"),
        body.len()
    )
}

/// A request of the caller inside its dialog, made from the 200 (or 18x) that it got.
pub fn from_caller(ok: &Sent, method: &str, cseq: u32, body: &str) -> String {
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!(
        "{method} sip:203.0.113.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK{method}{cseq}\r\n\
         Max-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {cseq} {method}\r\n\
         Contact: <sip:al@192.0.2.1:5060>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
        ok.get("From"),
        ok.get("To"),
        ok.get("Call-ID"),
        body.len()
    )
}

/// A request of the callee inside its dialog, made from the INVITE that it got.
pub fn from_callee(invite: &Sent, tag: &str, method: &str, cseq: u32, body: &str) -> String {
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!(
        "{method} sip:203.0.113.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.1:5060;branch=z9hG4bKb{method}{cseq}\r\n\
         Max-Forwards: 70\r\nFrom: {};tag={tag}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {cseq} {method}\r\n\
         Contact: <sip:bo@198.51.100.1:5060>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
        invite.get("To"),
        invite.get("From"),
        invite.get("Call-ID"),
        body.len()
    )
}

/// The callee's Contact.
pub const CONTACT: &str = "Contact: <sip:bo@198.51.100.1:5060>\r\n";

/// The INVITE is out. Gives it.
pub fn invited(w: &mut World) -> Sent {
    w.commit();
    w.expect(CALLER, "SIP/2.0 100");
    w.expect(CALLEE, "INVITE")
}

/// The callee `b1` rings. Gives the INVITE.
pub fn ringing(w: &mut World) -> Sent {
    let invite = invited(w);
    w.receive(CALLEE, &response(&invite, "180 Ringing", "b1", CONTACT, ""));
    w.expect(CALLER, "SIP/2.0 180");
    w.commit_all();
    invite
}

/// The callee answered, and the caller has not acknowledged. Gives the INVITE and the caller's 200.
pub fn picked_up(w: &mut World) -> (Sent, Sent) {
    let invite = ringing(w);
    w.receive(CALLEE, &response(&invite, "200 OK", "b1", CONTACT, ANSWER));
    w.commit_all();
    w.expect(CALLEE, "ACK");
    let ok = w.expect(CALLER, "SIP/2.0 200");
    (invite, ok)
}

/// The call is up. Gives the INVITE and the caller's 200.
pub fn connected(w: &mut World) -> (Sent, Sent) {
    let (invite, ok) = picked_up(w);
    w.receive(CALLER, &from_caller(&ok, "ACK", 1, ""));
    w.commit_all();
    w.expect_silence();
    (invite, ok)
}

/// With further header lines.
pub fn with_lines(message: &str, lines: &str) -> String {
    message.replacen("Max-Forwards", &format!("{lines}Max-Forwards"), 1)
}

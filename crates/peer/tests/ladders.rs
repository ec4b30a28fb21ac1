//! Callers and callees against hand-written messages, in virtual time.

use std::net::SocketAddr;
use std::time::Duration;

use machine::{Instant, Rng};
use peer::{Agent, Destination, Event, Flow, Local, Mix, NoMedia, Outcome, Output, Transport, Violation};

const NODE: &str = "192.0.2.1:5060";
const SDP: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 10000 RTP/AVP 8 101\r\n\
    a=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\n";

/// One agent, its clock, and what it said.
struct Ladder {
    agent: Agent,
    now: Instant,
    events: Vec<Event>,
}

impl Ladder {
    fn new(mix: Mix) -> Ladder {
        let us: SocketAddr = "192.0.2.7:5070".parse().expect("literal");
        let local = Local::new(Transport::Udp, us, 0xabc, true);
        let agent = Agent::new(local, mix, Rng::from_u64(1), Box::new(NoMedia(us)));
        Ladder { agent, now: Instant::ZERO, events: Vec::new() }
    }

    /// A caller whose INVITE (F1) is sent; gives it.
    fn calling(mix: Mix) -> (Ladder, String) {
        let mut ladder = Ladder::new(mix);
        let flow = Flow::Datagram(NODE.parse().expect("literal"));
        let uri = "sip:+31201234567@192.0.2.1:5060".to_owned();
        ladder.agent.place(ladder.now, ladder.now, Destination { flow, uri, user: "alice".into() });
        let invite = ladder.sent();
        assert!(invite.starts_with("INVITE sip:+31201234567@192.0.2.1:5060 SIP/2.0\r\n"), "{invite}");
        (ladder, invite)
    }

    fn receive(&mut self, text: &str) {
        self.agent.receive(self.now, Flow::Datagram(NODE.parse().expect("literal")), text.as_bytes());
    }

    fn wait(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        self.agent.handle_timeout(self.now);
    }

    /// The next message out; panics if there is none.
    fn sent(&mut self) -> String {
        self.next().expect("a message")
    }

    fn next(&mut self) -> Option<String> {
        while let Some(output) = self.agent.poll_output() {
            match output {
                Output::Send { bytes, .. } => return Some(String::from_utf8(bytes.to_vec()).expect("text")),
                Output::Event { event, .. } => self.events.push(event),
                Output::Stray(violation) => self.events.push(Event::Ended(Outcome::Broken(violation))),
                Output::StartMedia { .. } | Output::StopMedia { .. } => {}
            }
        }
        None
    }

    fn expect(&mut self, start: &str) -> String {
        let sent = self.sent();
        assert!(sent.starts_with(start), "expected {start}, got {sent}");
        sent
    }

    fn outcome(&mut self) -> Option<Outcome> {
        assert_eq!(self.next(), None, "nothing more is sent");
        self.events.iter().find_map(|event| match event {
            Event::Ended(outcome) => Some(outcome.clone()),
            _ => None,
        })
    }
}

/// The value of a header.
fn header<'a>(message: &'a str, name: &str) -> &'a str {
    let value = message.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    value.expect("a header of this name")
}

/// A response of the node's to a request of ours.
fn response(request: &str, first: &str, extra: &str, sdp: &str) -> String {
    let copy = |name| header(request, name).to_owned();
    let to = copy("To");
    let to = if to.contains(";tag=") || first.starts_with("100") { to } else { format!("{to};tag=node") };
    let (via, from, id, cseq) = (copy("Via"), copy("From"), copy("Call-ID"), copy("CSeq"));
    format!(
        "SIP/2.0 {first}\r\nVia: {via};received=192.0.2.7\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {id}\r\nCSeq: {cseq}\r\n\
         {extra}Content-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    )
}

const CONTACT: &str = "Contact: <sip:node@192.0.2.1:5060>\r\n";
const ANSWER: &str = "Contact: <sip:node@192.0.2.1:5060>\r\nContent-Type: application/sdp\r\n";

fn mix() -> Mix {
    Mix { hold: Duration::from_secs(2), ..Mix::default() }
}

#[test]
fn a_call_from_invite_to_bye() {
    // RFC 3665 §3.1, seen by Alice, with a record-routing hop as in RFC 3261 §16.12.1.1.
    let (mut alice, invite) = Ladder::calling(mix());
    alice.receive(&response(&invite, "100 Trying", "", ""));
    alice.receive(&response(&invite, "180 Ringing", CONTACT, ""));
    let routes = "Record-Route: <sip:p2.example;lr>, <sip:192.0.2.1:5062;lr>\r\n";
    alice.receive(&response(&invite, "200 OK", &format!("{routes}{ANSWER}"), SDP));
    let ack = alice.expect("ACK sip:node@192.0.2.1:5060 SIP/2.0\r\n");
    // RFC 3261 §12.1.2: the route set is reversed; §13.2.2.4: the INVITE's CSeq number, a new branch.
    assert!(ack.contains("Route: <sip:192.0.2.1:5062;lr>\r\nRoute: <sip:p2.example;lr>\r\n"), "{ack}");
    assert_eq!(header(&ack, "CSeq"), "1 ACK");
    assert_ne!(header(&ack, "Via"), header(&invite, "Via"));
    assert_eq!(alice.next(), None);
    alice.wait(2000);
    let bye = alice.expect("BYE sip:node@192.0.2.1:5060 SIP/2.0\r\n");
    assert_eq!(
        (header(&bye, "CSeq"), header(&bye, "To")),
        ("2 BYE", "<sip:+31201234567@192.0.2.1:5060>;tag=node")
    );
    alice.receive(&response(&bye, "200 OK", "", ""));
    assert_eq!(alice.outcome(), Some(Outcome::Completed));
    assert_eq!(alice.events.iter().filter(|event| **event == Event::Answered).count(), 1);
}

#[test]
fn an_invite_is_sent_again_until_somebody_answers() {
    let (mut alice, invite) = Ladder::calling(mix());
    alice.wait(499);
    assert_eq!(alice.next(), None);
    alice.wait(1); // timer A
    assert_eq!(alice.sent(), invite);
    alice.wait(1000);
    assert_eq!(alice.sent(), invite);
    alice.receive(&response(&invite, "100 Trying", "", ""));
    alice.wait(5000);
    assert_eq!(alice.outcome(), None);
}

#[test]
fn nobody_answers_for_64_t1() {
    let (mut alice, _) = Ladder::calling(mix());
    for _ in 0..31 {
        alice.wait(1000);
        while alice.next().is_some() {}
    }
    assert_eq!(alice.outcome(), None);
    alice.wait(1000); // timer B, 32 s
    assert_eq!(alice.outcome(), Some(Outcome::TimedOut("answer to INVITE")));
}

#[test]
fn a_cancelled_call_ends_with_487() {
    // RFC 3665 §3.8.
    let (mut alice, invite) = Ladder::calling(Mix { cancel: 1.0, ..mix() });
    alice.receive(&response(&invite, "180 Ringing", CONTACT, ""));
    alice.wait(3);
    let cancel = alice.expect("CANCEL sip:+31201234567@192.0.2.1:5060 SIP/2.0\r\n");
    // RFC 3261 §9.1: same branch, same CSeq number, no To tag.
    assert_eq!((header(&cancel, "Via"), header(&cancel, "CSeq")), (header(&invite, "Via"), "1 CANCEL"));
    assert_eq!(header(&cancel, "To"), header(&invite, "To"));
    alice.receive(&response(&cancel, "200 OK", "", ""));
    let refusal = response(&invite, "487 Request Terminated", "", "");
    alice.receive(&refusal);
    let ack = alice.expect("ACK sip:+31201234567@192.0.2.1:5060 SIP/2.0\r\n");
    assert_eq!(header(&ack, "Via"), header(&invite, "Via")); // §17.1.1.3
    assert_eq!(alice.outcome(), Some(Outcome::Cancelled));
    // Our ACK was lost: the 487 comes again.
    alice.receive(&refusal);
    assert_eq!(alice.sent(), ack);
}

#[test]
fn an_answer_that_crosses_cancel_is_acknowledged_and_hung_up() {
    let (mut alice, invite) = Ladder::calling(Mix { cancel: 1.0, ..mix() });
    alice.receive(&response(&invite, "180 Ringing", CONTACT, ""));
    alice.wait(3);
    let cancel = alice.expect("CANCEL");
    alice.receive(&response(&invite, "200 OK", ANSWER, SDP));
    alice.receive(&response(&cancel, "481 Call/Transaction Does Not Exist", "", ""));
    alice.expect("ACK sip:node@");
    let bye = alice.expect("BYE sip:node@");
    alice.receive(&response(&bye, "200 OK", "", ""));
    assert_eq!(alice.outcome(), Some(Outcome::Cancelled));
}

#[test]
fn a_refusal_is_acknowledged_and_told() {
    let (mut alice, invite) = Ladder::calling(mix());
    alice.receive(&response(&invite, "486 Busy Here", "", ""));
    alice.expect("ACK");
    assert_eq!(alice.outcome(), Some(Outcome::Refused(486)));
}

#[test]
fn a_lost_ack_is_sent_when_the_answer_comes_again() {
    let (mut alice, invite) = Ladder::calling(Mix { lose_ack: 1.0, ..mix() });
    let answer = response(&invite, "200 OK", ANSWER, SDP);
    alice.receive(&answer);
    assert_eq!(alice.next(), None);
    alice.wait(500);
    alice.receive(&answer);
    alice.expect("ACK");
}

#[test]
fn what_the_node_does_wrong_in_an_answer_is_the_reason_of_a_failed_call() {
    let check = |change: &dyn Fn(&str) -> String, expected: Violation| {
        let (mut alice, invite) = Ladder::calling(mix());
        alice.receive(&change(&response(&invite, "200 OK", ANSWER, SDP)));
        alice.expect("ACK");
        alice.wait(2000);
        let bye = alice.expect("BYE");
        alice.receive(&response(&bye, "200 OK", "", ""));
        assert_eq!(alice.outcome(), Some(Outcome::Broken(expected)));
    };
    let swap = |old: &'static str, new: &'static str| {
        move |answer: &str| {
            assert!(answer.contains(old), "{old}");
            let changed = answer.replacen(old, new, 1);
            // The body's length follows.
            let (head, body) = changed.split_once("\r\n\r\n").expect("a body");
            let old = format!("Content-Length: {}", SDP.len());
            let head = head.replace(&old, &format!("Content-Length: {}", body.len()));
            format!("{head}\r\n\r\n{body}")
        }
    };
    check(&swap("Contact: <sip:node@192.0.2.1:5060>\r\n", ""), Violation::Missing { header: "Contact" });
    check(&swap("Content-Type: application/sdp", "Content-Type: text/plain"), Violation::ContentType);
    check(&swap(SDP, ""), Violation::NoSdp);
    check(&swap("m=audio 10000", "m=audio 0"), Violation::NoAudio);
    check(&swap("RTP/AVP 8 101", "RTP/AVP 18"), Violation::NoCodec);
    check(
        &swap("<sip:alice@192.0.2.7:5070>;tag=c", "<sip:alice@192.0.2.7:5070>;tag=x"),
        Violation::TagChanged { header: "From" },
    );
    check(&swap("CSeq: 1 INVITE", "CSeq: 2 INVITE"), Violation::CSeqMismatch);
    check(&swap("Contact:", "Via: SIP/2.0/UDP a;branch=z9hG4bKb\r\nContact:"), Violation::ForeignVia);
    check(&swap("Contact:", "Require: 100rel\r\nContact:"), Violation::Require);
    check(&|answer| answer.replace("Content-Length: ", "Content-Length: 1"), Violation::ContentLength);
}

#[test]
fn a_bye_before_its_time_is_a_failed_call() {
    let bye = |invite: &str| {
        let (from, to) = (header(invite, "To"), header(invite, "From"));
        let id = header(invite, "Call-ID");
        format!(
            "BYE sip:alice@192.0.2.7:5070 SIP/2.0\r\nVia: SIP/2.0/UDP {NODE};branch=z9hG4bKbye\r\nMax-Forwards: 70\r\n\
             From: {from};tag=node\r\nTo: {to}\r\nCall-ID: {id}\r\nCSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n"
        )
    };
    let (mut alice, invite) = Ladder::calling(mix());
    alice.receive(&response(&invite, "200 OK", ANSWER, SDP));
    alice.expect("ACK");
    alice.receive(&bye(&invite));
    let answer = alice.expect("SIP/2.0 200 OK");
    assert_eq!(alice.outcome(), Some(Outcome::HungUp));
    // The same BYE again gets the same answer.
    alice.receive(&bye(&invite));
    assert_eq!(alice.sent(), answer);
    // Where glare is planned, it is a good end.
    let (mut alice, invite) = Ladder::calling(Mix { glare: 0.5, ..mix() });
    alice.receive(&response(&invite, "200 OK", ANSWER, SDP));
    alice.expect("ACK");
    alice.receive(&bye(&invite));
    alice.expect("SIP/2.0 200 OK");
    assert_eq!(alice.outcome(), Some(Outcome::Completed));
}

/// The node's INVITE.
fn invite() -> String {
    format!(
        "INVITE sip:bob@192.0.2.7:5070 SIP/2.0\r\nVia: SIP/2.0/UDP {NODE};branch=z9hG4bKi\r\nMax-Forwards: 69\r\n\
         From: <sip:+31209876543@example.com>;tag=node\r\nTo: <sip:bob@example.com>\r\nCall-ID: 7@node\r\nCSeq: 10 INVITE\r\n\
         Contact: <sip:node@{NODE}>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{SDP}",
        SDP.len()
    )
}

/// A request of the node's inside the dialog that `answer` made.
fn inside(answer: &str, method: &str, branch: &str, cseq: u32) -> String {
    let (from, to) = (header(answer, "From"), header(answer, "To"));
    format!(
        "{method} sip:bob@192.0.2.7:5070 SIP/2.0\r\nVia: SIP/2.0/UDP {NODE};branch=z9hG4bK{branch}\r\nMax-Forwards: 69\r\n\
         From: {from}\r\nTo: {to}\r\nCall-ID: 7@node\r\nCSeq: {cseq} {method}\r\nContent-Length: 0\r\n\r\n"
    )
}

fn answered(mix: Mix) -> (Ladder, String) {
    let mut bob = Ladder::new(mix);
    bob.receive(&invite());
    bob.expect("SIP/2.0 180 Ringing");
    let answer = bob.expect("SIP/2.0 200 OK");
    (bob, answer)
}

#[test]
fn a_callee_rings_answers_and_takes_the_bye() {
    let mut bob =
        Ladder::new(Mix { ring: Duration::from_millis(300), answer: Duration::from_secs(1), ..mix() });
    bob.receive(&invite());
    bob.expect("SIP/2.0 100 Trying");
    bob.wait(299);
    assert_eq!(bob.next(), None);
    bob.wait(1);
    let ringing = bob.expect("SIP/2.0 180 Ringing");
    bob.receive(&invite()); // a retransmission gets the last answer (RFC 3261 §17.2.1)
    assert_eq!(bob.sent(), ringing);
    bob.wait(1000);
    let answer = bob.expect("SIP/2.0 200 OK");
    assert!(answer.contains("m=audio 5070 RTP/AVP 8 101\r\n"), "{answer}");
    assert_eq!(header(&answer, "Contact"), "<sip:bob@192.0.2.7:5070>");
    bob.receive(&inside(&answer, "ACK", "a", 10));
    bob.receive(&inside(&answer, "BYE", "b", 11));
    bob.expect("SIP/2.0 200 OK");
    assert_eq!(bob.outcome(), Some(Outcome::Completed));
}

#[test]
fn an_answer_is_sent_again_until_its_ack_and_given_up_after_64_t1() {
    let (mut bob, answer) = answered(mix());
    bob.wait(500); // RFC 3261 §13.3.1.4
    assert_eq!(bob.sent(), answer);
    bob.wait(1000);
    assert_eq!(bob.sent(), answer);
    bob.receive(&inside(&answer, "ACK", "a", 10));
    bob.wait(60_000);
    assert_eq!(bob.outcome(), None);

    let (mut bob, _) = answered(mix());
    for _ in 0..33 {
        bob.wait(1000);
        while bob.next().is_some() {}
    }
    assert_eq!(bob.outcome(), Some(Outcome::TimedOut("ACK")));
}

#[test]
fn a_cancelled_callee_answers_twice_and_waits_for_the_ack() {
    let mut bob = Ladder::new(Mix { answer: Duration::from_secs(1), ..mix() });
    bob.receive(&invite());
    bob.expect("SIP/2.0 180 Ringing");
    let cancel = inside(&invite(), "CANCEL", "i", 10);
    bob.receive(&cancel);
    assert_eq!(header(&bob.expect("SIP/2.0 200 OK"), "CSeq"), "10 CANCEL");
    let refusal = bob.expect("SIP/2.0 487 Request Terminated");
    assert_eq!(bob.outcome(), None);
    bob.receive(&inside(&refusal, "ACK", "i", 10));
    assert_eq!(bob.outcome(), Some(Outcome::Cancelled));
}

#[test]
fn a_late_answer_to_cancel_needs_ack_and_bye() {
    let mut bob = Ladder::new(Mix { answer: Duration::from_secs(1), answer_late: 1.0, ..mix() });
    bob.receive(&invite());
    bob.expect("SIP/2.0 180 Ringing");
    bob.receive(&inside(&invite(), "CANCEL", "i", 10));
    bob.expect("SIP/2.0 200 OK");
    let answer = bob.expect("SIP/2.0 200 OK");
    assert_eq!(header(&answer, "CSeq"), "10 INVITE");
    bob.receive(&inside(&answer, "ACK", "a", 10));
    bob.receive(&inside(&answer, "BYE", "b", 11));
    bob.expect("SIP/2.0 200 OK");
    assert_eq!(bob.outcome(), Some(Outcome::Cancelled));
}

#[test]
fn what_the_node_does_wrong_in_a_dialog_is_the_reason_of_a_failed_call() {
    let check = |old: &str, new: &str, expected: Violation| {
        let (mut bob, answer) = answered(mix());
        bob.receive(&inside(&answer, "ACK", "a", 10));
        let bye = inside(&answer, "BYE", "b", 11);
        assert!(bye.contains(old), "{old}");
        bob.receive(&bye.replace(old, new));
        bob.expect("SIP/2.0 200 OK");
        assert_eq!(bob.outcome(), Some(Outcome::Broken(expected)), "{new}");
    };
    check("sip:bob@192.0.2.7:5070", "sip:alice@192.0.2.7:5070", Violation::RequestUri);
    check(";tag=node", ";tag=other", Violation::TagChanged { header: "From" });
    check("7@node", "8@node", Violation::CallIdChanged);
    check("Max-Forwards: 69\r\n", "", Violation::Missing { header: "Max-Forwards" });
    check("Max-Forwards", "Route: <sip:a;lr>\r\nMax-Forwards", Violation::Route);
    check("z9hG4bKb", "b", Violation::Branch);
    // RFC 3261 §12.2.2: the number must rise.
    let (mut bob, answer) = answered(mix());
    bob.receive(&inside(&answer, "ACK", "a", 10));
    bob.receive(&inside(&answer, "OPTIONS", "o", 10));
    bob.expect("SIP/2.0 500 ");
    bob.receive(&inside(&answer, "BYE", "b", 11));
    bob.expect("SIP/2.0 200 OK");
    assert_eq!(bob.outcome(), Some(Outcome::Broken(Violation::CSeqOrder)));
    // §13.2.2.4: every 2xx is acknowledged.
    let (mut bob, answer) = answered(mix());
    bob.receive(&inside(&answer, "BYE", "b", 11));
    bob.expect("SIP/2.0 200 OK");
    assert_eq!(bob.outcome(), Some(Outcome::TimedOut("ACK before BYE")));
}

#[test]
fn both_ends_may_hang_up_at_once() {
    let (mut bob, answer) = answered(Mix { glare: 1.0, ..mix() });
    bob.receive(&inside(&answer, "ACK", "a", 10));
    bob.wait(2000);
    let bye = bob.expect("BYE sip:node@192.0.2.1:5060 SIP/2.0\r\n");
    assert_eq!(header(&bye, "CSeq"), "1 BYE");
    bob.receive(&inside(&answer, "BYE", "b", 11));
    bob.expect("SIP/2.0 200 OK");
    assert_eq!(bob.outcome(), None);
    bob.receive(&response(&bye, "481 Call/Transaction Does Not Exist", "", ""));
    assert_eq!(bob.outcome(), Some(Outcome::Completed));
}

#[test]
fn a_reinvite_is_answered_and_hold_pauses_our_media() {
    let (mut bob, answer) = answered(mix());
    bob.receive(&inside(&answer, "ACK", "a", 10));
    while bob.next().is_some() {}
    let held = format!("{SDP}a=sendonly\r\n");
    let head = "Contact: <sip:node@192.0.2.1:5060>\r\nContent-Type: application/sdp\r\nContent-Length: ";
    let reinvite = inside(&answer, "INVITE", "r", 11)
        .replace("Content-Length: 0\r\n\r\n", &format!("{head}{}\r\n\r\n{held}", held.len()));
    bob.receive(&reinvite);
    let again = bob.expect("SIP/2.0 200 OK");
    assert!(again.contains("a=recvonly\r\n"), "{again}"); // RFC 3264 §6.1
    bob.receive(&inside(&answer, "ACK", "s", 11));
    bob.wait(60_000);
    assert_eq!(bob.outcome(), None);
}

#[test]
fn options_are_answered_and_unknown_dialogs_are_not_there() {
    let mut bob = Ladder::new(mix());
    let options = inside(&invite(), "OPTIONS", "o", 1);
    bob.receive(&options);
    bob.expect("SIP/2.0 200 OK");
    bob.receive(
        &options.replace("OPTIONS", "BYE").replace("<sip:bob@example.com>", "<sip:bob@example.com>;tag=x"),
    );
    bob.expect("SIP/2.0 481 ");
    assert_eq!(bob.outcome(), Some(Outcome::Broken(Violation::UnexpectedRequest { method: "BYE" })));
}

#[test]
fn a_caller_that_is_asked_offers_again_and_hangs_up() {
    let (mut alice, invite) = Ladder::calling(mix());
    let call = peer::CallRef::caller(0);
    alice.agent.probe(alice.now, call);
    assert_eq!(alice.next(), None, "it does not talk yet");
    alice.receive(&response(&invite, "200 OK", ANSWER, SDP));
    alice.expect("ACK ");
    assert_eq!(alice.agent.talking(), [call]);
    alice.agent.probe(alice.now, call);
    let again = alice.expect("INVITE sip:node@192.0.2.1:5060 SIP/2.0\r\n");
    assert_eq!(header(&again, "CSeq"), "2 INVITE");
    alice.receive(&response(&again, "200 OK", ANSWER, SDP));
    alice.expect("ACK ");
    alice.agent.hang_up(alice.now);
    let bye = alice.expect("BYE ");
    assert_eq!(alice.agent.talking(), []);
    alice.receive(&response(&bye, "200 OK", "", ""));
    assert_eq!(alice.outcome(), Some(Outcome::Completed));
}

#[test]
fn a_caller_that_is_asked_to_hang_up_while_it_rings_cancels() {
    let (mut alice, invite) = Ladder::calling(mix());
    alice.receive(&response(&invite, "180 Ringing", CONTACT, ""));
    alice.agent.hang_up(alice.now);
    let cancel = alice.expect("CANCEL ");
    alice.receive(&response(&cancel, "200 OK", "", ""));
    alice.receive(&response(&invite, "487 Request Terminated", "", ""));
    alice.expect("ACK ");
    assert_eq!(alice.outcome(), Some(Outcome::Cancelled));
}

//! A node that dies or falls silent takes along what it had read from streams, and what it had written into them: nobody says
//! it again (RFC 3261 §17.1.2.1).

#![allow(clippy::unwrap_used, clippy::panic)] // What fails here fails a test.

mod ladder;

use std::sync::Arc;
use std::time::Duration;

use call::{Context, Flow, Input, Outcome, Phase};
use ladder::*;
use sip::{Framing, OwnedMessage};
use trunk::Transport;

/// An answered call whose node died; the ways to its peers were of this kind.
fn taken_over(transport: Transport) -> World {
    let mut w = World::new();
    connected(&mut w);
    let addresses = [Transport::Udp, Transport::Tcp].map(|it| (it, OURS.parse().unwrap())).to_vec();
    w.context = Arc::new(Context { addresses, ..Context::clone(&w.context) });
    if let Phase::Answered { confirm, .. } = &mut w.record.as_mut().unwrap().phase {
        (confirm.ingress.flow.transport, confirm.egress.flow.transport) = (transport, transport);
    }
    w.take_over();
    w.expect_silence();
    w.commit_all();
    w
}

#[test]
fn a_peer_over_a_stream_is_asked_whether_it_is_still_there() {
    let mut w = taken_over(Transport::Tcp);
    let (near, far) = (w.expect(CALLER, "OPTIONS"), w.expect(CALLEE, "OPTIONS"));
    for question in [&near, &far] {
        // I-12: above the predecessor's block of numbers; inside the dialog.
        let cseq: u32 = question.get("CSeq").split(' ').next().unwrap().parse().unwrap();
        assert!(cseq > 64 && question.get("To").contains(";tag="), "{}", question.text);
    }
    w.receive(CALLER, &response(&near, "200 OK", "", "", ""));
    // Whatever it thinks of OPTIONS, it has answered.
    w.receive(CALLEE, &response(&far, "405 Method Not Allowed", "", "", ""));
    w.commit_all();
    w.expect_silence();
    assert!(w.cdrs.is_empty());
}

#[test]
fn a_peer_over_udp_is_not_asked_since_it_repeats_its_bye() {
    let mut w = taken_over(Transport::Udp);
    w.after(Duration::from_secs(40));
    w.expect_silence();
}

#[test]
fn a_peer_whose_bye_died_with_the_node_ends_the_call() {
    // RFC 3261 §12.2.1.2: 481 ends the dialog, and 408 does.
    for gone in ["481 Call/Transaction Does Not Exist", "408 Request Timeout"] {
        let mut w = taken_over(Transport::Tcp);
        w.expect(CALLER, "OPTIONS");
        let far = w.expect(CALLEE, "OPTIONS");
        w.receive(CALLEE, &response(&far, gone, "", "", ""));
        w.expect(CALLER, "BYE");
        w.commit_all();
        assert_eq!(w.cdrs.len(), 1, "{gone}");
        assert!(w.take("BYE").is_empty(), "nobody is left at the callee");
    }
}

#[test]
fn a_peer_that_can_not_be_asked_keeps_its_call() {
    let mut w = taken_over(Transport::Tcp);
    w.take("OPTIONS");
    w.after(Duration::from_secs(40));
    w.commit_all();
    w.expect_silence();
    assert!(w.cdrs.is_empty() && w.record.is_some());
}

#[test]
fn a_callee_that_answered_too_late_and_lost_its_connection_hears_ack_and_bye_again() {
    for (transport, byes) in [(Transport::Tcp, 1), (Transport::Udp, 0)] {
        let mut w = World::new();
        let invite = ringing(&mut w);
        w.receive(CALLER, &ladder::invite("", "").replace("INVITE", "CANCEL"));
        w.commit_all();
        let late = response(&invite, "200 OK", "b1", CONTACT, ANSWER);
        w.receive(CALLEE, &late);
        w.commit_all();
        w.sent.clear();
        let message = OwnedMessage::parse(late.into(), Framing::Stream).unwrap();
        // Over UDP the BYE is repeated by its own timer (Timer E).
        w.input(Input::Received { message, flow: Flow { transport, connection: 7, ..flow(CALLEE) } });
        assert_eq!((w.take("ACK").len(), w.take("BYE").len()), (1, byes), "{transport:?}");
    }
}

#[test]
fn a_callee_has_time_to_repeat_its_answer_to_a_node_that_was_mute() {
    // T2 + T1, 4.5 s: a 2xx comes again after T2 at the latest (RFC 3261 §13.3.1.4). `timers.ring` is 60 s.
    for was_mute in [true, false] {
        let mut w = World::new();
        let invite = ringing(&mut w);
        w.after(Duration::from_secs(59));
        if was_mute {
            w.call.heard_again(w.now);
        }
        w.after(Duration::from_secs(4));
        w.commit_all();
        assert_eq!(w.take("CANCEL").len(), usize::from(!was_mute));
        if was_mute {
            w.receive(CALLEE, &response(&invite, "200 OK", "b1", CONTACT, ANSWER));
            w.commit_all();
            w.expect(CALLEE, "ACK");
            w.expect(CALLER, "SIP/2.0 200");
        }
    }
}

#[test]
fn a_caller_that_has_not_heard_how_its_call_was_refused_hears_it_from_whoever_comes_after() {
    let mut w = World::new();
    w.proposed.clear();
    w.input(Input::Applied(Outcome::Refused(486)));
    w.expect(CALLER, "SIP/2.0 486");
    assert!(w.take("INVITE").is_empty() && w.cdrs.is_empty() && w.record.is_none());
}

//! The node dies between any two messages; a successor has only the record (reliability.md I-8, I-12 to I-15, I-41).

mod ladder;

use std::time::Duration;

use ladder::*;

const CONTACT: &str = "Contact: <sip:bo@198.51.100.1:5060>\r\n";

fn ringing(w: &mut World) -> Sent {
    w.commit();
    w.expect(CALLER, "SIP/2.0 100");
    let invite = w.expect(CALLEE, "INVITE");
    w.receive(CALLEE, &response(&invite, "180 Ringing", "b1", CONTACT, ""));
    w.expect(CALLER, "SIP/2.0 180");
    w.commit_all();
    invite
}

#[test]
fn a_ringing_call_is_taken_over_with_the_identical_invite_and_answered() {
    let mut w = World::new();
    let invite = ringing(&mut w);
    w.take_over();
    // The same bytes: to the callee it is a retransmission (RFC 3261 §17.2.1).
    assert_eq!(w.expect(CALLEE, "INVITE").text, invite.text);
    w.receive(CALLEE, &response(&invite, "200 OK", "b1", CONTACT, ANSWER));
    w.expect_silence();
    w.commit_all();
    w.expect(CALLEE, "ACK");
    let ok = w.expect(CALLER, "SIP/2.0 200");
    assert!(ok.get("To").contains(";tag="));
}

#[test]
fn the_caller_keeps_its_to_tag_over_a_takeover() {
    let mut w = World::new();
    w.commit();
    w.expect(CALLER, "SIP/2.0 100");
    let invite = w.expect(CALLEE, "INVITE");
    w.receive(CALLEE, &response(&invite, "180 Ringing", "b1", CONTACT, ""));
    let tag = w.expect(CALLER, "SIP/2.0 180").get("To");
    w.commit_all();
    w.take_over();
    w.expect(CALLEE, "INVITE");
    w.receive(CALLEE, &response(&invite, "200 OK", "b1", CONTACT, ANSWER));
    w.commit_all();
    w.expect(CALLEE, "ACK");
    assert_eq!(w.expect(CALLER, "SIP/2.0 200").get("To"), tag);
}

#[test]
fn a_cancel_recorded_before_the_death_is_carried_out_after_it() {
    let mut w = World::new();
    let invite = ringing(&mut w);
    w.receive(CALLER, &ladder::invite("", "").replace("INVITE", "CANCEL"));
    w.commit_all();
    w.take_over();
    w.expect(CALLEE, "INVITE");
    w.receive(CALLEE, &response(&invite, "180 Ringing", "b1", CONTACT, ""));
    let cancel = w.expect(CALLEE, "CANCEL");
    w.receive(CALLEE, &response(&cancel, "200 OK", "b1", "", ""));
    w.receive(CALLEE, &response(&invite, "487 Request Terminated", "b1", "", ""));
    w.commit_all();
    w.expect(CALLEE, "ACK");
    w.expect(CALLER, "SIP/2.0 487");
    assert_eq!(w.cdrs.len(), 1);
}

fn up(w: &mut World, acked: bool) -> (Sent, Sent) {
    let invite = ringing(w);
    w.receive(CALLEE, &response(&invite, "200 OK", "b1", CONTACT, ANSWER));
    w.commit_all();
    w.expect(CALLEE, "ACK");
    let ok = w.expect(CALLER, "SIP/2.0 200");
    if acked {
        w.receive(CALLER, &from_caller(&ok, "ACK", 1, ""));
        w.commit_all();
    }
    (invite, ok)
}

#[test]
fn an_answered_call_goes_on_without_a_word_and_ends_from_either_side() {
    for from_the_caller in [true, false] {
        let mut w = World::new();
        let (invite, ok) = up(&mut w, true);
        w.take_over();
        w.expect_silence();
        w.commit();
        assert!(
            w.relay.last().is_some_and(|r| r.contains("192.0.2.1:4000") && r.contains("198.51.100.1:6000"))
        );
        let (far, near) = if from_the_caller {
            w.receive(CALLER, &from_caller(&ok, "BYE", 2, ""));
            (CALLEE, CALLER)
        } else {
            w.receive(CALLEE, &from_callee(&invite, "b1", "BYE", 1, ""));
            (CALLER, CALLEE)
        };
        w.commit();
        let bye = w.expect(far, "BYE");
        // lessons.md 4: CSeq leaves a gap and never goes back (I-12).
        let cseq: u32 = bye.get("CSeq").split(' ').next().unwrap().parse().unwrap();
        assert!(cseq > 64, "a successor starts above the reserved block: {cseq}");
        w.receive(far, &response(&bye, "200 OK", "", "", ""));
        w.commit_all();
        w.expect(near, "SIP/2.0 200");
        assert!(w.ended);
        assert_eq!(w.cdrs.len(), 1);
    }
}

#[test]
fn a_200_without_its_ack_is_repeated_by_the_successor_but_not_for_ever() {
    let mut w = World::new();
    let (_, ok) = up(&mut w, false);
    w.take_over();
    let again = w.expect(CALLER, "SIP/2.0 200");
    assert_eq!((again.get("To"), again.body()), (ok.get("To"), ok.body()));
    w.receive(CALLER, &from_caller(&ok, "ACK", 1, ""));
    w.after(Duration::from_secs(10));
    w.expect_silence();

    let mut w = World::new();
    up(&mut w, false);
    w.proposed.clear();
    w.wall.0 += 40_000; // 64·T1 have passed while nobody owned the call.
    w.take_over();
    w.expect_silence();
}

#[test]
fn a_callee_whose_ack_died_with_the_node_gets_it_from_the_successor() {
    let mut w = World::new();
    let (invite, _) = up(&mut w, true);
    w.take_over();
    w.receive(CALLEE, &response(&invite, "200 OK", "b1", CONTACT, ANSWER));
    let ack = w.expect(CALLEE, "ACK");
    assert_eq!(ack.get("CSeq"), "1 ACK");
    w.expect_silence();
}

//! The node dies between any two messages; a successor has only the record (reliability.md I-8, I-12 to I-15, I-41).

#![allow(clippy::unwrap_used, clippy::panic)] // What fails here fails a test.

mod ladder;

use std::time::Duration;

use ladder::*;

#[test]
fn a_callee_that_was_not_heard_is_sent_the_identical_invite_by_a_successor() {
    let mut w = World::new();
    w.commit();
    w.expect(CALLER, "SIP/2.0 100");
    let invite = w.expect(CALLEE, "INVITE");
    w.take_over();
    // The same bytes: to the callee it is a retransmission (RFC 3261 §17.2.1).
    assert_eq!(w.expect(CALLEE, "INVITE").text, invite.text);
    w.receive(CALLEE, &response(&invite, "180 Ringing", "b1", CONTACT, ""));
    w.expect(CALLER, "SIP/2.0 180");
}

#[test]
fn a_ringing_call_is_taken_over_without_a_word_and_answered() {
    let mut w = World::new();
    let invite = ringing(&mut w);
    w.take_over();
    w.after(Duration::from_secs(40));
    w.expect_silence();
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
    let cancel = w.expect(CALLEE, "CANCEL");
    w.receive(CALLEE, &response(&cancel, "200 OK", "b1", "", ""));
    w.receive(CALLEE, &response(&invite, "487 Request Terminated", "b1", "", ""));
    w.commit_all();
    w.expect(CALLEE, "ACK");
    w.expect(CALLER, "SIP/2.0 487");
    assert_eq!(w.cdrs.len(), 1);
}

fn up(w: &mut World, acked: bool) -> (Sent, Sent) {
    if acked { connected(w) } else { picked_up(w) }
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
    w.time = w.time + Duration::from_secs(40); // 64·T1 have passed while nobody owned the call.
    w.take_over();
    w.expect_silence();
}

#[test]
fn a_successor_whose_civil_time_is_another_keeps_every_deadline() {
    // Found by the simulation (seed 24, a clock that leaps): a successor counted 64·T1 by its own civil time.
    for hour_ms in [3_600_000, -3_600_000] {
        let mut w = World::new();
        up(&mut w, false);
        w.wall.0 += hour_ms;
        w.take_over();
        w.expect(CALLER, "SIP/2.0 200");
        w.commit_all();
        // And not for ever: 32 s later it gives up (RFC 3261 §13.3.1.4).
        w.after(Duration::from_secs(31));
        assert!(w.take("BYE").is_empty());
        w.after(Duration::from_secs(1));
        assert_eq!(w.take("BYE").len(), 2);
    }
}

#[test]
fn a_callee_rings_no_longer_because_its_node_died() {
    // The generic profile lets a callee ring for 60 s (timers.ring); kamailio/kamailio#4938.
    let mut w = World::new();
    ringing(&mut w);
    w.after(Duration::from_secs(40));
    w.wall.0 += 3_600_000;
    w.take_over();
    w.after(Duration::from_secs(19));
    w.expect_silence();
    w.after(Duration::from_secs(2));
    w.commit_all();
    w.expect(CALLEE, "CANCEL");
}

#[test]
fn a_callee_whose_time_ran_out_while_nobody_heard_it_may_still_answer() {
    // A 2xx is repeated every T2, 4 s, at the latest (RFC 3261 §13.3.1.4).
    for answers in [true, false] {
        let mut w = World::new();
        let invite = ringing(&mut w);
        w.time = w.time + Duration::from_secs(70);
        w.take_over();
        w.after(Duration::from_secs(4));
        w.expect_silence();
        if answers {
            w.receive(CALLEE, &response(&invite, "200 OK", "b1", CONTACT, ANSWER));
            w.commit_all();
            w.expect(CALLEE, "ACK");
            w.expect(CALLER, "SIP/2.0 200");
        } else {
            w.after(Duration::from_secs(1));
            w.commit_all();
            w.expect(CALLEE, "CANCEL");
        }
    }
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

#[test]
fn a_session_that_nobody_refreshes_ends_when_it_would_have_without_the_takeover() {
    // RFC 4028 §10; kamailio/kamailio#4938: deadlines are replicated state. 600 s, the caller refreshes: BYE is due
    // min(32, 200) s early, at 568 s.
    let refreshed = "Supported: timer\r\nSession-Expires: 600;refresher=uac\r\n";
    let mut w = World::with(&ladder::invite(OFFER, refreshed), |_, _| {});
    let (_, ok) = connected(&mut w);
    assert_eq!(ok.get("Session-Expires"), "600;refresher=uac");
    w.after(Duration::from_secs(400));
    // The successor's civil time is an hour behind.
    w.wall.0 -= 3_600_000;
    w.take_over();
    w.commit_all();
    w.sent.clear();
    w.after(Duration::from_secs(160));
    w.expect_silence();
    w.after(Duration::from_secs(8));
    assert_eq!(w.take("BYE").len(), 2);
}

#[test]
fn a_successor_awaits_the_ack_before_its_bye() {
    let mut w = World::new();
    let (_, ok) = up(&mut w, false);
    w.take_over();
    w.expect(CALLER, "SIP/2.0 200");
    w.commit_all();
    w.input(call::Input::Hangup("drain"));
    w.expect(CALLEE, "BYE");
    w.expect_silence();
    w.receive(CALLER, &from_caller(&ok, "ACK", 1, ""));
    w.expect(CALLER, "BYE");
}

#[test]
fn a_delayed_offer_is_answered_through_a_successor() {
    let mut w = World::with(&ladder::invite("", ""), |_, _| {});
    let invite = ringing(&mut w);
    w.receive(CALLEE, &response(&invite, "200 OK", "b1", CONTACT, ANSWER));
    w.commit_all();
    let ok = w.expect(CALLER, "SIP/2.0 200");
    w.take_over();
    w.sent.clear();
    w.commit_all();
    w.receive(CALLEE, &response(&invite, "200 OK", "b1", CONTACT, ANSWER));
    w.expect_silence();
    w.receive(CALLER, &from_caller(&ok, "ACK", 1, OFFER));
    w.expect_silence();
    w.commit_all();
    let ack = w.expect(CALLEE, "ACK");
    assert!(ack.body().contains("m=audio 20000"));
    // And a second successor repeats the very same.
    w.take_over();
    w.receive(CALLEE, &response(&invite, "200 OK", "b1", CONTACT, ANSWER));
    assert_eq!(w.expect(CALLEE, "ACK").body(), ack.body());
}

#[test]
fn a_fork_that_answers_late_is_let_go_by_a_successor_too() {
    let mut w = World::new();
    let (invite, _) = up(&mut w, true);
    w.take_over();
    w.commit_all();
    w.receive(CALLEE, &response(&invite, "200 OK", "b9", CONTACT, ANSWER));
    assert!(w.expect(CALLEE, "ACK").get("To").ends_with("tag=b9"));
    assert!(w.expect(CALLEE, "BYE").get("To").ends_with("tag=b9"));
}

#[test]
fn a_prack_lost_with_the_node_is_sent_by_its_successor_under_a_new_number() {
    let reliable = format!("{CONTACT}Require: 100rel\r\nRSeq: 5\r\n");
    let mut w = World::new();
    w.commit();
    w.expect(CALLER, "SIP/2.0 100");
    let invite = w.expect(CALLEE, "INVITE");
    w.receive(CALLEE, &response(&invite, "183 Session Progress", "b1", &reliable, ANSWER));
    w.commit_all();
    assert_eq!(w.expect(CALLEE, "PRACK").get("CSeq"), "2 PRACK");
    w.take_over();
    w.sent.clear();
    w.commit_all();
    w.receive(CALLEE, &response(&invite, "183 Session Progress", "b1", &reliable, ANSWER));
    let prack = w.expect(CALLEE, "PRACK");
    assert_eq!((prack.get("RAck").as_str(), prack.get("CSeq").as_str()), ("5 1 INVITE", "66 PRACK"));
}

#[test]
fn numbers_that_were_reserved_stay_reserved_whatever_an_update_says() {
    // I-12 over two takeovers: the update was made before the reservation was known, and applied after it.
    let mut w = World::new();
    let (_, ok) = up(&mut w, true);
    w.take_over();
    w.receive(CALLER, &from_caller(&ok, "UPDATE", 2, ""));
    w.commit_all();
    w.expect(CALLER, "SIP/2.0 200");
    w.input(call::Input::Hangup("drain"));
    let number = |sent: &Sent| sent.get("CSeq").split(' ').next().unwrap().parse::<u32>().unwrap();
    let first: Vec<u32> = w.take("BYE").iter().map(number).collect();
    w.take_over();
    w.commit_all();
    w.input(call::Input::Hangup("drain"));
    let second: Vec<u32> = w.take("BYE").iter().map(number).collect();
    assert!(first.iter().zip(&second).all(|(first, second)| first < second), "{first:?} {second:?}");
    assert_eq!((first.len(), second.len()), (2, 2));
}

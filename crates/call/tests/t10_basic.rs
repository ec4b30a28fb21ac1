//! The ordinary life of a call through the B2BUA (RFC 3665 §3.1), step by step, with the commit that each step
//! waits for.

mod ladder;

use std::time::Duration;

use call::{Event, HangupBy, Phase};
use ladder::*;

/// Brings a call up to the caller's ACK. Gives the INVITE that the callee got and the 200 that the caller got.
fn answered(w: &mut World) -> (Sent, Sent) {
    w.commit();
    w.expect(CALLER, "SIP/2.0 100");
    let invite = w.expect(CALLEE, "INVITE");
    w.receive(CALLEE, &response(&invite, "180 Ringing", "b1", CONTACT, ""));
    w.expect(CALLER, "SIP/2.0 180");
    w.receive(CALLEE, &response(&invite, "200 OK", "b1", CONTACT, ANSWER));
    w.expect_silence();
    w.commit_all();
    w.expect(CALLEE, "ACK");
    let ok = w.expect(CALLER, "SIP/2.0 200");
    w.receive(CALLER, &from_caller(&ok, "ACK", 1, ""));
    w.commit_all();
    w.expect_silence();
    (invite, ok)
}

#[test]
fn a_call_rings_is_answered_and_ends_with_one_cdr() {
    let mut w = World::new();
    // Nothing is said before a quorum knows of the call; the caller's own retransmission is its insurance.
    w.expect_silence();
    let (invite, ok) = answered(&mut w);
    w.receive(CALLER, &from_caller(&ok, "BYE", 2, ""));
    let bye = w.expect(CALLEE, "BYE sip:bo@198.51.100.1:5060");
    w.expect_silence();
    w.receive(CALLEE, &response(&bye, "200 OK", "b1", "", ""));
    w.expect_silence();
    w.commit_all();
    w.expect(CALLER, "SIP/2.0 200");
    assert!(w.ended);
    assert_eq!(w.cdrs.len(), 1);
    let cdr = &w.cdrs[0];
    assert_eq!(
        (cdr.sip_status, cdr.hangup_by, cdr.facts.to.as_str()),
        (200, HangupBy::Caller, "+31301111111")
    );
    assert!(cdr.answered_at.is_some() && cdr.codec_a.as_deref() == Some("PCMA"));
    assert_eq!(invite.get("Max-Forwards"), "69");
    assert!(w.events.contains(&Event::Answered));
}

#[test]
fn the_callee_sees_nothing_of_the_caller_but_what_policy_shows() {
    let mut w = World::new();
    w.commit();
    w.expect(CALLER, "SIP/2.0 100");
    let invite = w.expect(CALLEE, "INVITE sip:+31301111111@198.51.100.1:5060 SIP/2.0");
    assert!(!invite.text.contains("192.0.2.1"), "topology: {}", invite.text);
    assert!(!invite.text.contains("call-a") && !invite.text.contains("tag=a1"));
    assert!(invite.get("From").contains("<sip:+31201234567@sbc.example>"));
    assert_eq!(invite.get("Contact"), "<sip:203.0.113.1:5060>");
    assert!(
        invite.body().contains("m=audio 20000 RTP/AVP") && invite.body().contains("c=IN IP4 203.0.113.1")
    );
    assert_eq!(w.relay.first().map(String::as_str), Some("0 Some(\"192.0.2.1:4000\") None"));
}

#[test]
fn the_callee_may_hang_up_and_both_byes_may_cross() {
    let mut w = World::new();
    let (invite, ok) = answered(&mut w);
    w.receive(CALLEE, &from_callee(&invite, "b1", "BYE", 1, ""));
    let bye = w.expect(CALLER, "BYE sip:al@192.0.2.1:5060");
    w.receive(CALLER, &from_caller(&ok, "BYE", 2, ""));
    w.expect_silence();
    w.commit_all();
    w.expect(CALLEE, "SIP/2.0 200");
    w.expect(CALLER, "SIP/2.0 200");
    assert!(!w.ended, "our BYE to the caller has no answer yet");
    w.receive(CALLER, &response(&bye, "200 OK", "", "", ""));
    assert!(w.ended);
    assert_eq!((w.cdrs.len(), w.cdrs[0].hangup_by), (1, HangupBy::Callee));
}

#[test]
fn a_cancel_reaches_the_callee_at_once_and_its_200_waits_for_the_commit() {
    let mut w = World::new();
    w.commit();
    w.expect(CALLER, "SIP/2.0 100");
    let invite = w.expect(CALLEE, "INVITE");
    w.receive(CALLEE, &response(&invite, "180 Ringing", "b1", CONTACT, ""));
    w.expect(CALLER, "SIP/2.0 180");
    let cancel = ladder::invite("", "").replace("INVITE", "CANCEL");
    w.receive(CALLER, &cancel);
    let sent = w.expect(CALLEE, "CANCEL");
    assert_eq!(sent.get("Via"), invite.get("Via"), "RFC 3261 §9.1: the INVITE's own branch");
    w.expect_silence();
    w.commit_all();
    w.expect(CALLER, "SIP/2.0 200"); // of the CANCEL
    w.receive(CALLEE, &response(&sent, "200 OK", "b1", "", ""));
    w.receive(CALLEE, &response(&invite, "487 Request Terminated", "b1", "", ""));
    w.expect_silence();
    w.commit_all();
    w.expect(CALLEE, "ACK");
    let last = w.expect(CALLER, "SIP/2.0 487");
    assert!(last.get("To").contains(";tag="));
    w.receive(CALLER, &from_caller(&last, "ACK", 1, "").replace("z9hG4bKACK1", "z9hG4bKa1"));
    assert!(w.ended);
    assert_eq!((w.cdrs.len(), w.cdrs[0].sip_status, w.cdrs[0].hangup_by), (1, 487, HangupBy::Caller));
}

/// The end may be lost with its node: a successor that knew of neither would ring on for a caller that has its 200.
#[test]
fn a_cancel_that_crosses_a_refusal_is_answered_when_the_end_is_committed() {
    let mut w = World::new();
    let invite = ringing(&mut w);
    w.receive(CALLEE, &response(&invite, "486 Busy Here", "b1", "", ""));
    w.receive(CALLER, &ladder::invite("", "").replace("INVITE", "CANCEL"));
    w.expect_silence();
    w.commit_all();
    w.expect(CALLEE, "ACK");
    let answers = w.take("SIP/2.0");
    let told: Vec<_> = answers.iter().map(|it| (it.start().to_owned(), it.get("CSeq"))).collect();
    let told: Vec<_> = told.iter().map(|(start, cseq)| (start.as_str(), cseq.as_str())).collect();
    assert_eq!(told, [("SIP/2.0 486 Busy Here", "1 INVITE"), ("SIP/2.0 200 OK", "1 CANCEL")]);
    assert_eq!(w.cdrs.first().map(|cdr| cdr.sip_status), Some(486));
}

#[test]
fn a_cancel_that_crosses_the_answer_costs_the_callee_an_ack_and_a_bye() {
    // RFC 3261 §9.1 and I-15: never charged and dropped silently.
    let mut w = World::new();
    w.commit();
    w.expect(CALLER, "SIP/2.0 100");
    let invite = w.expect(CALLEE, "INVITE");
    w.receive(CALLEE, &response(&invite, "180 Ringing", "b1", CONTACT, ""));
    w.expect(CALLER, "SIP/2.0 180");
    w.receive(CALLER, &ladder::invite("", "").replace("INVITE", "CANCEL"));
    w.expect(CALLEE, "CANCEL");
    w.receive(CALLEE, &response(&invite, "200 OK", "b1", CONTACT, ANSWER));
    w.expect_silence();
    w.commit_all();
    let mut starts: Vec<String> = w.sent.drain(..).map(|s| s.start().to_owned()).collect();
    starts.sort();
    let begins = |text: &str| starts.iter().filter(|s| s.starts_with(text)).count();
    assert_eq!((begins("ACK"), begins("BYE"), begins("SIP/2.0 487")), (1, 1, 1), "{starts:?}");
    assert!(w.cdrs[0].answered_at.is_none() && w.cdrs[0].sip_status == 487);
}

#[test]
fn a_silent_target_is_left_for_the_next_within_the_call() {
    // Contract: `no_response` (4 s): no answer at all, next target.
    let mut w = World::new();
    w.commit();
    w.expect(CALLER, "SIP/2.0 100");
    w.expect(CALLEE, "INVITE");
    w.after(Duration::from_secs(4));
    w.sent.retain(|s| s.to != CALLEE.parse().unwrap());
    w.commit_all();
    let second = w.expect(SECOND, "INVITE");
    assert!(!second.text.contains("198.51.100.1:"), "{}", second.text);
    w.receive(SECOND, &response(&second, "486 Busy Here", "c1", "", ""));
    w.commit_all();
    w.expect(SECOND, "ACK");
    w.expect(CALLER, "SIP/2.0 486");
    let attempts: Vec<_> = w.cdrs[0].attempts.iter().map(|a| a.status).collect();
    assert_eq!(attempts, [Some(408), Some(486)]);
}

#[test]
fn a_target_that_is_given_up_gets_no_more_copies_of_its_invite() {
    // Found by banyan-sim, seed 721: it woke up late and rang beside the next target.
    let mut w = World::new();
    w.commit();
    w.expect(CALLER, "SIP/2.0 100");
    let first = w.expect(CALLEE, "INVITE");
    w.after(Duration::from_secs(4));
    assert_eq!(w.take("INVITE").len(), 3, "after 0.5, 1.5 and 3.5 s (RFC 3261 section 17.1.1.2)");
    w.commit_all();
    let second = w.expect(SECOND, "INVITE");
    w.receive(SECOND, &response(&second, "180 Ringing", "c1", CONTACT, ""));
    w.expect(CALLER, "SIP/2.0 180");
    w.after(Duration::from_secs(20));
    assert!(w.take("INVITE").is_empty());
    // Who has heard the first copy after all is cancelled.
    w.receive(CALLEE, &response(&first, "180 Ringing", "b1", CONTACT, ""));
    w.expect(CALLEE, "CANCEL");
}

#[test]
fn a_busy_callee_is_not_hunted_past() {
    // Contract: `stop_on = ["486", "600", "603"]`.
    let mut w = World::new();
    w.commit();
    w.expect(CALLER, "SIP/2.0 100");
    let invite = w.expect(CALLEE, "INVITE");
    w.receive(CALLEE, &response(&invite, "486 Busy Here", "b1", "", ""));
    w.commit_all();
    w.expect(CALLEE, "ACK");
    w.expect(CALLER, "SIP/2.0 486 Busy Here");
    w.expect_silence();
}

#[test]
fn a_5xx_goes_to_the_next_target_and_the_last_503_becomes_500() {
    let mut w = World::new();
    w.commit();
    w.expect(CALLER, "SIP/2.0 100");
    let first = w.expect(CALLEE, "INVITE");
    w.receive(CALLEE, &response(&first, "503 Service Unavailable", "b1", "Retry-After: 9\r\n", ""));
    w.commit_all();
    w.expect(CALLEE, "ACK");
    let second = w.expect(SECOND, "INVITE");
    w.receive(SECOND, &response(&second, "503 Service Unavailable", "c1", "Retry-After: 9\r\n", ""));
    w.commit_all();
    w.expect(SECOND, "ACK");
    let last = w.expect(CALLER, "SIP/2.0 500");
    assert_eq!(last.get("Retry-After"), "");
}

#[test]
fn a_full_gateway_is_passed_over_and_all_full_is_refused() {
    let mut w = World::new();
    w.free = vec![false, true];
    w.commit();
    w.expect(CALLER, "SIP/2.0 100");
    w.expect(SECOND, "INVITE");
    let mut w = World::new();
    w.free = vec![false, false];
    w.commit();
    let no = w.expect(CALLER, "SIP/2.0 486");
    assert!(no.get("Warning").contains("limits.concurrent"), "{}", no.text);
    assert_eq!(no.get("Reason"), "Q.850;cause=17");
    assert_eq!(w.cdrs.len(), 1);
}

#[test]
fn a_lost_ack_has_the_200_repeated_and_then_both_legs_ended() {
    let mut w = World::new();
    w.commit();
    w.expect(CALLER, "SIP/2.0 100");
    let invite = w.expect(CALLEE, "INVITE");
    w.receive(CALLEE, &response(&invite, "200 OK", "b1", CONTACT, ANSWER));
    w.commit_all();
    w.expect(CALLEE, "ACK");
    w.expect(CALLER, "SIP/2.0 200");
    w.after(Duration::from_millis(500));
    w.expect(CALLER, "SIP/2.0 200");
    w.after(Duration::from_secs(32));
    w.commit_all();
    let byes = w.sent.iter().filter(|s| s.start().starts_with("BYE")).count();
    assert!(byes >= 2, "BYE to both sides (RFC 3261 §13.3.1.4)");
    assert_eq!((w.cdrs.len(), w.cdrs[0].reason.as_str()), (1, "no ACK"));
}

#[test]
fn a_reinvite_is_relayed_and_its_2xx_waits_for_the_commit() {
    let mut w = World::new();
    let (_, ok) = answered(&mut w);
    let held = OFFER.replace("o=a 1 1", "o=a 1 2") + "a=sendonly\r\n";
    w.receive(CALLER, &from_caller(&ok, "INVITE", 2, &held));
    w.expect(CALLER, "SIP/2.0 100");
    let reinvite = w.expect(CALLEE, "INVITE sip:bo@198.51.100.1:5060");
    assert!(reinvite.body().contains("a=sendonly") && reinvite.body().contains("m=audio 20000"));
    let answer = ANSWER.replace("o=b 1 1", "o=b 1 2") + "a=recvonly\r\n";
    w.receive(CALLEE, &response(&reinvite, "200 OK", "", CONTACT, &answer));
    w.expect_silence();
    w.commit_all();
    w.expect(CALLEE, "ACK");
    let held_ok = w.expect(CALLER, "SIP/2.0 200");
    assert!(held_ok.body().contains("a=recvonly") && held_ok.body().contains("m=audio 10000"));
    w.receive(CALLER, &from_caller(&ok, "ACK", 2, ""));
    w.after(Duration::from_secs(2));
    w.expect_silence();
    let Some(Phase::Answered { confirm, .. }) = w.record.as_ref().map(|r| &r.phase) else { panic!() };
    assert!(String::from_utf8_lossy(&confirm.ingress.remote_sdp).contains("a=sendonly"));
}

#[test]
fn a_refused_reinvite_is_passed_back_and_the_call_stays() {
    // lessons.md 62: a B2BUA must relay failures too.
    let mut w = World::new();
    let (_, ok) = answered(&mut w);
    let t38 =
        OFFER.replace("o=a 1 1", "o=a 1 2").replace("m=audio 4000 RTP/AVP 8 0 101", "m=image 4000 udptl t38");
    w.receive(CALLER, &from_caller(&ok, "INVITE", 2, &t38));
    w.expect(CALLER, "SIP/2.0 100");
    let reinvite = w.expect(CALLEE, "INVITE");
    w.receive(CALLEE, &response(&reinvite, "488 Not Acceptable Here", "", "", ""));
    w.commit_all();
    let starts: Vec<String> = w.sent.drain(..).map(|s| s.start().to_owned()).collect();
    assert!(
        starts.iter().any(|s| s.starts_with("ACK")) && starts.iter().any(|s| s.contains("488")),
        "{starts:?}"
    );
    assert!(w.record.is_some() && w.cdrs.is_empty());
}

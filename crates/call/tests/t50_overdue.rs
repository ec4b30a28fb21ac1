//! Commits that do not come: a disk that is full, a majority that is gone. What a caller hears, and what is left when
//! they come after all.

#![allow(clippy::unwrap_used, clippy::panic)] // What fails here fails a test.

mod ladder;

use std::time::Duration;

use ladder::*;

/// 64·T1 (RFC 3261 §17.1.1.1, T1 = 500 ms), less a little and the rest.
const ALMOST: Duration = Duration::from_millis(31_999);
const THE_REST: Duration = Duration::from_millis(1);

/// The callee answered and repeats it; nothing is committed.
fn answered_in_vain(w: &mut World) -> (Sent, String) {
    let invite = ringing(w);
    let ok = response(&invite, "200 OK", "b1", CONTACT, ANSWER);
    w.receive(CALLEE, &ok);
    w.after(ALMOST);
    w.receive(CALLEE, &ok);
    w.expect_silence();
    (invite, ok)
}

/// The refusal of a caller whose commit did not come (contract: 503 with Retry-After 2 to 10).
#[track_caller]
fn expect_503(w: &mut World) -> Sent {
    let refusal = w.expect(CALLER, "SIP/2.0 503");
    let retry_after: u32 = refusal.get("Retry-After").parse().unwrap();
    assert!((2..=10).contains(&retry_after), "Retry-After: {retry_after}");
    assert!(refusal.get("Warning").contains("no quorum"));
    refusal
}

/// The caller acknowledges a refusal.
fn ack_of(refusal: &Sent) -> String {
    from_caller(refusal, "ACK", 1, "").replace("z9hG4bKACK1", "z9hG4bKa1")
}

#[test]
fn a_caller_whose_answer_cannot_be_recorded_hears_503_and_rings_no_more() {
    let mut w = World::new();
    let (_, ok) = answered_in_vain(&mut w);
    w.after(THE_REST);
    // RFC 3261 §15: the caller's side may say BYE before its ACK, and the ACK waits for the commit.
    let bye = w.expect(CALLEE, "BYE");
    let refusal = expect_503(&mut w);
    w.expect_silence();
    w.receive(CALLER, &ack_of(&refusal));
    w.receive(CALLEE, &ok);
    w.receive(CALLEE, &response(&bye, "200 OK", "", "", ""));
    w.after(Duration::from_secs(600));
    w.expect_silence();
    assert!(!w.ended, "what was proposed is not given up");
    // The disk has room again: the answer is recorded, and its end behind it.
    w.commit_all();
    w.expect_silence();
    assert_eq!(w.committed, ["Admit", "Progress", "Confirm", "End"]);
    assert!(w.ended);
    assert_eq!(w.cdrs.len(), 1);
    assert_eq!((w.cdrs[0].sip_status, w.cdrs[0].answered_at, w.cdrs[0].duration_ms()), (503, None, 0));
}

#[test]
fn an_answer_that_is_recorded_in_time_is_an_answer() {
    // The twin: one millisecond earlier.
    let mut w = World::new();
    answered_in_vain(&mut w);
    w.commit_all();
    w.expect(CALLEE, "ACK");
    let ok = w.expect(CALLER, "SIP/2.0 200");
    w.receive(CALLER, &from_caller(&ok, "ACK", 1, ""));
    w.after(Duration::from_secs(60));
    w.expect_silence();
    assert!(!w.ended && w.cdrs.is_empty());
}

#[test]
fn a_callee_that_repeats_its_answer_after_the_late_commit_gets_its_ack() {
    let mut w = World::new();
    let (_, ok) = answered_in_vain(&mut w);
    w.after(THE_REST);
    w.sent.clear();
    w.receive(CALLEE, &ok);
    w.expect_silence();
    w.commit_all();
    w.receive(CALLEE, &ok);
    w.expect(CALLEE, "ACK");
    w.expect_silence();
}

#[test]
fn a_callee_that_hung_up_meanwhile_gets_no_bye_and_its_own_is_answered_at_the_end() {
    let mut w = World::new();
    let (invite, _) = answered_in_vain(&mut w);
    w.receive(CALLEE, &from_callee(&invite, "b1", "BYE", 1, ""));
    w.expect_silence();
    w.after(THE_REST);
    expect_503(&mut w);
    w.expect_silence();
    w.commit_all();
    w.expect(CALLEE, "SIP/2.0 200");
    assert_eq!((w.cdrs.len(), w.cdrs[0].sip_status), (1, 503));
}

#[test]
fn a_caller_that_cancelled_meanwhile_hears_487() {
    let mut w = World::new();
    answered_in_vain(&mut w);
    w.receive(CALLER, &invite("", "").replace("INVITE", "CANCEL"));
    w.expect(CALLER, "SIP/2.0 200");
    w.after(THE_REST);
    w.expect(CALLEE, "BYE");
    w.expect(CALLER, "SIP/2.0 487");
    w.commit_all();
    assert_eq!((w.cdrs.len(), w.cdrs[0].sip_status), (1, 487));
}

#[test]
fn a_refusal_that_cannot_be_recorded_is_said_at_last() {
    let mut w = World::new();
    let invite = ringing(&mut w);
    w.receive(CALLEE, &response(&invite, "486 Busy Here", "b1", "", ""));
    w.after(ALMOST);
    w.expect_silence();
    w.after(THE_REST);
    let refusal = w.expect(CALLER, "SIP/2.0 486");
    w.receive(CALLER, &ack_of(&refusal));
    // The callee has stopped repeating its own (timer H), so nothing is owed to it any more.
    w.commit_all();
    w.expect_silence();
    assert_eq!((w.cdrs.len(), w.cdrs[0].sip_status), (1, 486));
    w.after(Duration::from_secs(60));
    assert!(w.ended);
}

#[test]
fn a_caller_whose_next_target_cannot_be_recorded_hears_503_and_no_further_callee_is_woken() {
    let mut w = World::new();
    invited(&mut w);
    w.after(Duration::from_secs(4)); // `timers.no_response`: the next target's turn.
    w.sent.clear();
    w.after(ALMOST);
    w.take("INVITE");
    w.expect_silence();
    w.after(THE_REST);
    let refusal = expect_503(&mut w);
    w.receive(CALLER, &ack_of(&refusal));
    w.after(Duration::from_secs(60));
    w.commit_all();
    assert!(w.take("INVITE").is_empty(), "nobody waits for the second callee");
    assert_eq!((w.cdrs.len(), w.cdrs[0].sip_status), (1, 503));
    w.after(Duration::from_secs(60));
    assert!(w.ended);
}

#[test]
fn a_call_that_is_let_in_after_its_caller_gave_up_wakes_nobody() {
    let mut w = World::new();
    w.after(ALMOST);
    w.expect_silence();
    w.after(THE_REST);
    let refusal = expect_503(&mut w);
    w.receive(CALLER, &ack_of(&refusal));
    w.after(Duration::from_secs(60));
    w.commit_all();
    w.expect_silence();
    assert_eq!(w.committed, ["Admit", "End"]);
    assert_eq!((w.cdrs.len(), w.cdrs[0].sip_status), (1, 503));
    assert!(w.ended);
    // The twin: in time, the callee is invited.
    let mut w = World::new();
    w.after(ALMOST);
    invited(&mut w);
}

#[test]
fn a_refused_call_that_cannot_be_recorded_hears_why_and_has_one_record() {
    let mut w = World::with(&invite(OFFER, ""), |trunk, _| {
        trunk.settings.destinations.deny_prefixes = vec!["+3130".into()];
    });
    w.after(ALMOST);
    w.expect_silence();
    w.after(THE_REST);
    let refusal = w.expect(CALLER, "SIP/2.0 403");
    w.receive(CALLER, &ack_of(&refusal));
    w.after(Duration::from_secs(60));
    w.commit_all();
    w.expect_silence();
    assert_eq!(w.committed, ["Refuse"]);
    assert!(w.ended && w.cdrs.len() == 1);
}

#[test]
fn a_successor_ends_an_answer_that_was_not_acknowledged_for_as_long_as_a_caller_tries() {
    // RFC 3261 §13.3.1.4. The twin: a second earlier the 200 is repeated.
    let restored_after = |d: Duration| {
        let mut w = World::new();
        picked_up(&mut w);
        w.now += d;
        w.time = w.time + d;
        w.take_over();
        w.commit_all();
        w
    };
    let mut w = restored_after(Duration::from_secs(32));
    w.expect(CALLER, "BYE");
    w.expect(CALLEE, "BYE");
    assert_eq!((w.cdrs.len(), w.cdrs[0].sip_status), (1, 200));
    let mut w = restored_after(Duration::from_secs(31));
    w.expect(CALLER, "SIP/2.0 200");
    w.expect_silence();
}

//! Races, silence, and ends at every stage: what is owed to each side, and when.

#![allow(clippy::unwrap_used, clippy::panic)] // What fails here fails a test.

mod ladder;

use std::time::Duration;

use call::Input;
use ladder::*;

fn cancel() -> String {
    invite("", "").replace("INVITE", "CANCEL")
}

#[test]
fn a_cancel_before_any_response_has_the_caller_hear_487_at_once() {
    // RFC 3261 §9.1 forbids the CANCEL until the callee says something; the caller need not wait for that.
    let mut w = World::new();
    let invite = invited(&mut w);
    w.receive(CALLER, &cancel());
    w.expect_silence();
    w.commit_all();
    let mut heard = w.starts();
    heard.sort();
    assert_eq!(heard, ["SIP/2.0 200 OK", "SIP/2.0 487 Request Terminated"]);
    assert_eq!((w.cdrs.len(), w.cdrs[0].sip_status), (1, 487));
    // The callee, woken late, is cancelled all the same.
    w.receive(CALLEE, &response(&invite, "180 Ringing", "b1", CONTACT, ""));
    let sent = w.expect(CALLEE, "CANCEL");
    w.receive(CALLEE, &response(&sent, "200 OK", "b1", "", ""));
    w.receive(CALLEE, &response(&invite, "487 Request Terminated", "b1", "", ""));
    w.expect(CALLEE, "ACK");
    w.expect_silence();
}

#[test]
fn a_callee_that_answers_after_the_487_gets_ack_and_bye() {
    let mut w = World::new();
    let invite = invited(&mut w);
    w.receive(CALLER, &cancel());
    w.commit_all();
    w.sent.clear();
    w.receive(CALLEE, &response(&invite, "200 OK", "b1", CONTACT, ANSWER));
    w.expect(CALLEE, "ACK");
    w.expect(CALLEE, "BYE");
    w.expect_silence();
}

#[test]
fn a_callee_that_ignores_its_cancel_does_not_keep_the_caller_waiting() {
    let mut w = World::new();
    ringing(&mut w);
    w.receive(CALLER, &cancel());
    w.expect(CALLEE, "CANCEL");
    w.commit_all();
    w.expect(CALLER, "SIP/2.0 200");
    w.after(Duration::from_secs(5));
    w.commit_all();
    assert_eq!(w.take("SIP/2.0 487").len(), 1);
}

#[test]
fn a_target_that_answers_after_it_was_given_up_gets_ack_and_bye_after_the_commit() {
    // I-26: never two answers. The second target's turn is decided; the first one's 2xx crossed that decision.
    let mut w = World::new();
    let first = invited(&mut w);
    w.after(Duration::from_secs(4));
    w.sent.clear();
    w.receive(CALLEE, &response(&first, "200 OK", "b1", CONTACT, ANSWER));
    w.expect_silence();
    w.commit_all();
    w.expect(CALLEE, "ACK");
    w.expect(CALLEE, "BYE");
    let second = w.expect(SECOND, "INVITE");
    w.receive(SECOND, &response(&second, "200 OK", "c1", CONTACT, ANSWER));
    w.commit_all();
    w.expect(SECOND, "ACK");
    w.expect(CALLER, "SIP/2.0 200");
}

#[test]
fn a_callee_whose_answer_never_came_through_and_who_hangs_up_is_given_up_for_the_next() {
    // RFC 3261 §13.3.1.4: without an ACK it says BYE after 64·T1. What it had answered, nobody heard.
    let mut w = World::with(&invite(OFFER, ""), |_, gateway| {
        gateway.settings.delivery.after_progress = trunk::settings::AfterProgress::Continue;
    });
    let first = ringing(&mut w);
    w.receive(CALLEE, &from_callee(&first, "b1", "BYE", 1, ""));
    w.expect_silence();
    w.commit_all();
    w.take("CANCEL");
    w.expect(CALLEE, "SIP/2.0 200");
    w.expect(SECOND, "INVITE");
    // The twin: by default a call that rang stops there.
    let mut w = World::new();
    let first = ringing(&mut w);
    w.receive(CALLEE, &from_callee(&first, "b1", "BYE", 1, ""));
    w.expect_silence();
    w.commit_all();
    w.take("CANCEL");
    let mut heard = w.starts();
    heard.sort();
    assert_eq!(heard, ["SIP/2.0 200 OK", "SIP/2.0 408 Request Timeout"]);
    assert_eq!((w.cdrs.len(), w.cdrs[0].sip_status), (1, 408));
}

#[test]
fn an_operator_may_end_the_call_at_every_stage() {
    let hangup = |w: &mut World| w.input(Input::Hangup("operator"));
    // Nothing committed yet: the caller hears of it when it is.
    let mut w = World::new();
    hangup(&mut w);
    w.expect_silence();
    w.commit_all();
    assert_eq!(w.starts(), ["SIP/2.0 100 Trying", "SIP/2.0 503 Service Unavailable"]);
    assert_eq!((w.cdrs.len(), w.cdrs[0].sip_status), (1, 503));
    // Ringing: the callee is cancelled at once.
    let mut w = World::new();
    ringing(&mut w);
    hangup(&mut w);
    w.expect(CALLEE, "CANCEL");
    w.expect_silence();
    w.commit_all();
    w.expect(CALLER, "SIP/2.0 503");
    // The answer is on its way to a quorum: first it is answered, then ended.
    let mut w = World::new();
    let invite = ringing(&mut w);
    w.receive(CALLEE, &response(&invite, "200 OK", "b1", CONTACT, ANSWER));
    hangup(&mut w);
    w.expect_silence();
    w.commit_all();
    w.expect(CALLEE, "ACK");
    let ok = w.expect(CALLER, "SIP/2.0 200");
    w.expect(CALLEE, "BYE");
    w.expect_silence();
    w.receive(CALLER, &from_caller(&ok, "ACK", 1, ""));
    w.expect(CALLER, "BYE");
    // Up; and once more, which changes nothing.
    let mut w = World::new();
    connected(&mut w);
    hangup(&mut w);
    hangup(&mut w);
    let bye = w.expect(CALLER, "BYE");
    assert!(bye.get("Reason").contains("operator"));
    w.expect(CALLEE, "BYE");
    w.commit_all();
    w.expect_silence();
    assert_eq!(w.cdrs.len(), 1);
}

#[test]
fn a_call_that_is_anothers_says_nothing_more() {
    // I-7: a stale epoch neither sends nor commits.
    let mut w = World::new();
    let invite = ringing(&mut w);
    w.receive(CALLEE, &response(&invite, "200 OK", "b1", CONTACT, ANSWER));
    w.refuse_as_stale();
    w.expect_silence();
    assert!(w.ended);
    w.receive(CALLEE, &response(&invite, "200 OK", "b1", CONTACT, ANSWER));
    w.after(Duration::from_secs(60));
    w.expect_silence();
    assert!(w.cdrs.is_empty() && w.proposed.is_empty());
}

#[test]
fn a_relay_that_never_reports_does_not_keep_the_call_from_ending() {
    // lessons.md 36: every state has a deadline.
    let mut w = World::new();
    let (_, ok) = connected(&mut w);
    w.unmeasured = true;
    w.receive(CALLER, &from_caller(&ok, "BYE", 2, ""));
    w.expect(CALLEE, "BYE");
    assert!(w.proposed.is_empty());
    w.after(Duration::from_secs(1));
    w.commit_all();
    assert_eq!(w.take("SIP/2.0 200").len(), 1);
    assert!(w.cdrs[0].ingress_quality.is_none());
}

#[test]
fn a_copy_of_the_invite_after_a_takeover_is_told_that_the_call_is_known() {
    // I-13. The predecessor's 100 may have been lost with it.
    let mut w = World::new();
    ringing(&mut w);
    w.take_over();
    w.expect_silence();
    w.receive(CALLER, &invite(OFFER, ""));
    w.expect(CALLER, "SIP/2.0 100");
}

#[test]
fn a_bye_that_a_later_request_overtook_is_refused_and_ends_the_call_all_the_same() {
    // RFC 3261 §12.2.2 wants 500; §15.1.1: its sender considers the dialog terminated as soon as it is sent.
    let mut w = World::new();
    let (_, ok) = connected(&mut w);
    w.receive(CALLER, &from_caller(&ok, "UPDATE", 3, ""));
    w.commit_all();
    w.expect(CALLER, "SIP/2.0 200");
    w.receive(CALLER, &from_caller(&ok, "BYE", 2, ""));
    w.expect(CALLER, "SIP/2.0 500");
    w.expect(CALLEE, "BYE");
    w.commit_all();
    w.expect_silence();
    assert_eq!(w.cdrs.len(), 1);
}

/// A message of the callee on a connection.
fn on_connection(w: &World, connection: u64, text: &str) -> Input {
    let message = sip::OwnedMessage::parse(text.to_owned().into(), sip::Framing::Datagram).unwrap();
    let local = w.context.addresses[0].1;
    Input::Received { message, flow: call::Flow { local, connection, ..flow(CALLEE) } }
}

#[test]
fn i19_a_peer_that_speaks_on_another_connection_is_asked_there() {
    // Found by banyan-sim, seeds 9 and 193: requests, and ACKs of an answer that was repeated, went to a connection that
    // the peer had lost (OpenSIPS/opensips#3903).
    let mut w = World::new();
    let (invite, ok) = connected(&mut w);
    w.input(on_connection(&w, 7, &response(&invite, "200 OK", "b1", CONTACT, ANSWER)));
    assert_eq!(w.expect(CALLEE, "ACK").connection, 7);
    w.input(on_connection(&w, 8, &from_callee(&invite, "b1", "OPTIONS", 1, "")));
    w.sent.clear();
    w.receive(CALLER, &from_caller(&ok, "BYE", 2, ""));
    assert_eq!(w.expect(CALLEE, "BYE").connection, 8);
    // The twin: whoever stays on the connection of its answer is asked there.
    let mut w = World::new();
    let (_, ok) = connected(&mut w);
    w.receive(CALLER, &from_caller(&ok, "BYE", 2, ""));
    assert_eq!(w.expect(CALLEE, "BYE").connection, 0);
}

//! Forks, reliable provisional responses, delayed offers, refreshes and requests at awkward moments.

#![allow(clippy::unwrap_used, clippy::panic)] // What fails here fails a test.

mod ladder;

use std::time::Duration;

use ladder::*;
use trunk::settings::MediaMode;

fn delayed() -> World {
    World::with(&invite("", ""), |_, _| {})
}

#[test]
fn a_delayed_answer_is_committed_before_the_callee_gets_it() {
    // RFC 3261 §13.2.1: the 2xx offers, the ACK answers. Architecture: "the SDP in the caller's ACK is committed".
    let mut w = delayed();
    let invite = ringing(&mut w);
    assert_eq!(invite.body(), "");
    w.receive(CALLEE, &response(&invite, "200 OK", "b1", CONTACT, ANSWER));
    w.commit_all();
    let ok = w.expect(CALLER, "SIP/2.0 200");
    assert!(ok.body().contains("m=audio 10000"));
    w.expect_silence();
    w.receive(CALLEE, &response(&invite, "200 OK", "b1", CONTACT, ANSWER));
    w.expect_silence();
    w.receive(CALLER, &from_caller(&ok, "ACK", 1, OFFER));
    w.expect_silence();
    w.commit_all();
    let ack = w.expect(CALLEE, "ACK");
    assert!(ack.body().contains("m=audio 20000"), "{}", ack.text);
    // A lost ACK is repeated with its answer.
    w.receive(CALLEE, &response(&invite, "200 OK", "b1", CONTACT, ANSWER));
    assert_eq!(w.expect(CALLEE, "ACK").text, ack.text);
}

#[test]
fn a_delayed_answer_that_never_comes_ends_both_legs_and_the_callee_is_acknowledged_first() {
    let mut w = delayed();
    let invite = ringing(&mut w);
    w.receive(CALLEE, &response(&invite, "200 OK", "b1", CONTACT, ANSWER));
    w.commit_all();
    w.sent.clear();
    w.after(Duration::from_secs(33));
    w.commit_all();
    let to_callee: Vec<String> = w
        .sent
        .iter()
        .filter(|s| s.to == CALLEE.parse().unwrap())
        .map(|s| s.start().split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(to_callee.get(..2), Some(&["ACK".to_owned(), "BYE".to_owned()][..]), "{to_callee:?}");
}

#[test]
fn a_fork_that_answers_while_another_rang_brings_its_own_tag_and_media() {
    // RFC 3261 §12.1: each To tag is a dialog; the caller sees one of ours for each.
    let mut w = World::new();
    let invite = invited(&mut w);
    w.receive(CALLEE, &response(&invite, "183 Session Progress", "b1", CONTACT, ANSWER));
    let ringing = w.expect(CALLER, "SIP/2.0 183");
    let other = ANSWER.replace("198.51.100.1", "198.51.100.7");
    w.receive(CALLEE, &response(&invite, "200 OK", "b2", CONTACT, &other));
    w.commit_all();
    let ack = w.expect(CALLEE, "ACK");
    assert!(ack.get("To").ends_with(";tag=b2"));
    let ok = w.expect(CALLER, "SIP/2.0 200");
    assert_ne!(ok.get("To"), ringing.get("To"));
    assert!(w.relay.last().is_some_and(|relay| relay.contains("198.51.100.7:6000")), "{:?}", w.relay);
    // The first one answers too late: ACK and BYE, in its own dialog (I-15). The winner hears nothing of it.
    w.receive(CALLEE, &response(&invite, "200 OK", "b1", CONTACT, ANSWER));
    assert!(w.expect(CALLEE, "ACK").get("To").ends_with(";tag=b1"));
    let bye = w.expect(CALLEE, "BYE");
    assert_eq!((bye.get("To").ends_with(";tag=b1"), bye.get("CSeq").as_str()), (true, "2 BYE"));
    w.receive(CALLEE, &response(&invite, "200 OK", "b1", CONTACT, ANSWER));
    w.expect(CALLEE, "ACK");
    w.receive(CALLEE, &response(&bye, "200 OK", "", "", ""));
    w.expect_silence();
}

#[test]
fn a_2xx_repeats_the_description_of_its_18x_exactly() {
    // RFC 3261 §13.2.1: "the same exact answer may also be placed in any provisional responses".
    let mut w = World::new();
    let invite = invited(&mut w);
    w.receive(CALLEE, &response(&invite, "183 Session Progress", "b1", CONTACT, ANSWER));
    let early = w.expect(CALLER, "SIP/2.0 183");
    w.receive(CALLEE, &response(&invite, "200 OK", "b1", CONTACT, ANSWER));
    w.commit_all();
    w.expect(CALLEE, "ACK");
    assert_eq!(w.expect(CALLER, "SIP/2.0 200").body(), early.body());
}

const RELIABLE: &str = "Contact: <sip:bo@198.51.100.1:5060>\r\nRequire: 100rel\r\nRSeq: 77\r\n";

fn with_100rel() -> World {
    World::with(&invite(OFFER, "Supported: 100rel\r\n"), |_, _| {})
}

#[test]
fn a_reliable_18x_is_acknowledged_after_its_commit_and_the_200_waits_for_the_callers_prack() {
    // RFC 3262 §3: no 2xx while a reliable provisional with a description is unacknowledged.
    let mut w = with_100rel();
    let invite = invited(&mut w);
    w.receive(CALLEE, &response(&invite, "183 Session Progress", "b1", RELIABLE, ANSWER));
    w.expect_silence();
    w.commit_all();
    let prack = w.expect(CALLEE, "PRACK");
    assert_eq!(prack.get("RAck"), "77 1 INVITE");
    w.receive(CALLEE, &response(&prack, "200 OK", "", "", ""));
    let early = w.expect(CALLER, "SIP/2.0 183");
    assert_eq!((early.get("RSeq").as_str(), early.get("Require").as_str()), ("77", "100rel"));
    w.receive(CALLEE, &response(&invite, "200 OK", "b1", CONTACT, ANSWER));
    assert!(w.proposed.is_empty(), "the caller's PRACK comes first");
    let prack = with_lines(&from_caller(&early, "PRACK", 2, ""), "RAck: 77 1 INVITE\r\n");
    w.receive(CALLER, &prack);
    w.expect(CALLER, "SIP/2.0 200");
    w.commit_all();
    w.expect(CALLEE, "ACK");
    w.expect(CALLER, "SIP/2.0 200");
}

#[test]
fn a_caller_without_100rel_hears_the_18x_unreliably() {
    // The twin: the callee's PRACK is our affair alone.
    let mut w = World::new();
    let invite = invited(&mut w);
    w.receive(CALLEE, &response(&invite, "183 Session Progress", "b1", RELIABLE, ANSWER));
    w.commit_all();
    w.expect(CALLEE, "PRACK");
    assert_eq!(w.expect(CALLER, "SIP/2.0 183").get("RSeq"), "");
    w.receive(CALLEE, &response(&invite, "200 OK", "b1", CONTACT, ANSWER));
    w.commit_all();
    w.expect(CALLEE, "ACK");
    w.expect(CALLER, "SIP/2.0 200");
}

#[test]
fn a_caller_that_never_sends_prack_gets_504_and_its_callee_is_let_go() {
    // RFC 3262 §3: after 64·T1 the request is rejected with a 5xx.
    let mut w = with_100rel();
    let invite = invited(&mut w);
    w.receive(CALLEE, &response(&invite, "183 Session Progress", "b1", RELIABLE, ANSWER));
    w.commit_all();
    let prack = w.expect(CALLEE, "PRACK");
    w.receive(CALLEE, &response(&prack, "200 OK", "", "", ""));
    w.receive(CALLEE, &response(&invite, "200 OK", "b1", CONTACT, ANSWER));
    w.after(Duration::from_secs(33));
    w.commit_all();
    assert_eq!(w.take("SIP/2.0 504").len(), 1);
    let begins: Vec<_> =
        w.starts().into_iter().filter(|s| s.starts_with("ACK") || s.starts_with("BYE")).collect();
    assert_eq!(begins.len(), 2, "{begins:?}");
}

#[test]
fn a_bye_of_the_callee_reaches_the_caller_only_after_its_ack() {
    // RFC 3261 §15: "MUST NOT send a BYE on a confirmed dialog until it has received an ACK".
    let mut w = World::new();
    let (invite, ok) = picked_up(&mut w);
    w.receive(CALLEE, &from_callee(&invite, "b1", "BYE", 1, ""));
    w.expect_silence();
    w.commit_all();
    w.expect(CALLEE, "SIP/2.0 200");
    w.expect_silence();
    assert!(!w.ended);
    w.after(Duration::from_millis(600));
    w.expect(CALLER, "SIP/2.0 200"); // The 200 is still repeated.
    w.receive(CALLER, &from_caller(&ok, "ACK", 1, ""));
    let bye = w.expect(CALLER, "BYE");
    w.receive(CALLER, &response(&bye, "200 OK", "", "", ""));
    assert!(w.ended && w.cdrs.len() == 1);
}

#[test]
fn a_caller_that_hangs_up_before_its_ack_is_not_asked_for_it() {
    let mut w = World::new();
    let (_, ok) = picked_up(&mut w);
    w.receive(CALLER, &from_caller(&ok, "BYE", 2, ""));
    let bye = w.expect(CALLEE, "BYE");
    w.receive(CALLEE, &response(&bye, "200 OK", "", "", ""));
    w.commit_all();
    w.expect(CALLER, "SIP/2.0 200");
    w.expect_silence();
    assert!(w.ended);
}

#[test]
fn a_bye_that_overtakes_the_commit_of_the_answer_has_the_invite_end_with_487() {
    // RFC 3261 §15.1.2: pending requests of an ended dialog get 487; the callee, which answered, ACK and BYE.
    let mut w = World::new();
    let invite = invited(&mut w);
    w.receive(CALLEE, &response(&invite, "180 Ringing", "b1", CONTACT, ""));
    let ringing = w.expect(CALLER, "SIP/2.0 180");
    w.commit_all();
    w.receive(CALLEE, &response(&invite, "200 OK", "b1", CONTACT, ANSWER));
    w.receive(CALLER, &from_caller(&ringing, "BYE", 2, ""));
    w.expect_silence();
    w.commit(); // Confirm.
    w.expect(CALLEE, "ACK");
    let bye = w.expect(CALLEE, "BYE");
    w.expect_silence();
    w.commit_all();
    let mut statuses = w.starts();
    statuses.sort();
    assert_eq!(statuses, ["SIP/2.0 200 OK", "SIP/2.0 487 Request Terminated"]);
    w.receive(CALLEE, &response(&bye, "200 OK", "", "", ""));
    w.receive(CALLER, &invite_ack());
    assert!(w.ended && w.cdrs.len() == 1);
}

/// The ACK of a refusal of the first INVITE.
fn invite_ack() -> String {
    invite("", "").replace("INVITE sip", "ACK sip").replace("1 INVITE", "1 ACK")
}

#[test]
fn an_update_that_overtakes_the_commit_of_the_answer_is_told_to_come_again() {
    let mut w = World::new();
    let invite = invited(&mut w);
    w.receive(CALLEE, &response(&invite, "180 Ringing", "b1", CONTACT, ""));
    let ringing = w.expect(CALLER, "SIP/2.0 180");
    w.commit_all();
    w.receive(CALLEE, &response(&invite, "200 OK", "b1", CONTACT, ANSWER));
    w.receive(CALLER, &from_caller(&ringing, "UPDATE", 2, ""));
    // 481 would have the caller end its call (RFC 3261 §12.2.1.2).
    assert_eq!(w.expect(CALLER, "SIP/2.0 500").get("Retry-After"), "1");
    w.commit_all();
    w.expect(CALLEE, "ACK");
    w.expect(CALLER, "SIP/2.0 200");
}

#[test]
fn a_reinvite_before_the_ack_meets_the_offer_that_is_not_answered() {
    // RFC 3261 §14.2: with a delayed offer pending, 491.
    let mut w = delayed();
    let invite = ringing(&mut w);
    w.receive(CALLEE, &response(&invite, "200 OK", "b1", CONTACT, ANSWER));
    w.commit_all();
    let ok = w.expect(CALLER, "SIP/2.0 200");
    w.receive(CALLER, &from_caller(&ok, "INVITE", 2, OFFER));
    w.expect(CALLER, "SIP/2.0 491");
}

#[test]
fn a_refresh_is_answered_here_after_its_commit() {
    // RFC 4028 §7.4; the commit rule: "200 to … UPDATE, re-INVITE wait".
    for (method, body) in [("UPDATE", ""), ("INVITE", OFFER)] {
        let mut w = World::new();
        let (_, ok) = connected(&mut w);
        w.receive(CALLER, &from_caller(&ok, method, 2, body));
        w.expect_silence();
        w.commit_all();
        let refreshed = w.expect(CALLER, "SIP/2.0 200");
        assert_eq!(refreshed.body(), if body.is_empty() { String::new() } else { ok.body() });
        w.expect_silence();
    }
}

#[test]
fn a_delayed_answer_to_a_reinvite_is_committed_before_the_far_side_gets_it() {
    let mut w = World::new();
    let (_, ok) = connected(&mut w);
    w.receive(CALLER, &from_caller(&ok, "INVITE", 2, ""));
    w.expect(CALLER, "SIP/2.0 100");
    let reinvite = w.expect(CALLEE, "INVITE");
    let offer = ANSWER.replace("o=b 1 1", "o=b 1 2");
    w.receive(CALLEE, &response(&reinvite, "200 OK", "", CONTACT, &offer));
    w.commit_all();
    w.expect(CALLER, "SIP/2.0 200");
    w.expect_silence();
    w.receive(CALLER, &from_caller(&ok, "ACK", 2, &OFFER.replace("o=a 1 1", "o=a 1 2")));
    w.expect_silence();
    w.commit_all();
    assert!(w.expect(CALLEE, "ACK").body().contains("m=audio 20000"));
}

#[test]
fn a_422_to_a_request_that_was_sent_on_is_followed_without_the_askers_knowledge() {
    // RFC 4028 §7.3: once more with the Min-SE that the peer demands. Session timers are each leg's own.
    let mut w = World::new();
    let (_, ok) = connected(&mut w);
    let held = OFFER.replace("o=a 1 1", "o=a 1 2") + "a=sendonly\r\n";
    w.receive(CALLER, &from_caller(&ok, "INVITE", 2, &held));
    w.expect(CALLER, "SIP/2.0 100");
    let first = w.expect(CALLEE, "INVITE");
    assert!(first.get("Session-Expires").starts_with("1800"), "{}", first.text);
    assert!(first.get("Supported").contains("timer"), "{}", first.text);
    w.receive(CALLEE, &response(&first, "422 Session Interval Too Small", "", "Min-SE: 3600\r\n", ""));
    w.expect(CALLEE, "ACK");
    let again = w.expect(CALLEE, "INVITE");
    assert_eq!(again.get("Min-SE"), "3600");
    assert_ne!(again.get("CSeq"), first.get("CSeq"));
    assert_eq!(again.body(), first.body());
    w.receive(CALLEE, &response(&again, "422 Session Interval Too Small", "", "Min-SE: 7200\r\n", ""));
    w.expect(CALLEE, "ACK");
    w.expect(CALLER, "SIP/2.0 422");
    w.expect_silence();
}

#[test]
fn a_refresh_of_ours_goes_out_at_half_the_interval_and_follows_a_422_once() {
    let mut w = World::new();
    let invite = ringing(&mut w);
    let timer = "Contact: <sip:bo@198.51.100.1:5060>\r\nSupported: timer\r\nAllow: INVITE, UPDATE\r\n\
                 Session-Expires: 600;refresher=uac\r\n";
    w.receive(CALLEE, &response(&invite, "200 OK", "b1", timer, ANSWER));
    w.commit_all();
    w.expect(CALLEE, "ACK");
    let ok = w.expect(CALLER, "SIP/2.0 200");
    w.receive(CALLER, &from_caller(&ok, "ACK", 1, ""));
    w.commit_all();
    w.after(Duration::from_secs(299));
    w.expect_silence();
    w.after(Duration::from_secs(1));
    let first = w.expect(CALLEE, "UPDATE");
    assert_eq!(first.get("Session-Expires"), "600;refresher=uac");
    w.receive(CALLEE, &response(&first, "422 Session Interval Too Small", "", "Min-SE: 900\r\n", ""));
    let again = w.expect(CALLEE, "UPDATE");
    assert_eq!((again.get("Min-SE").as_str(), again.get("CSeq").as_str()), ("900", "3 UPDATE"));
    w.receive(CALLEE, &response(&again, "200 OK", "", "Session-Expires: 900;refresher=uac\r\n", ""));
    w.commit_all();
    w.expect_silence();
    w.after(Duration::from_secs(460));
    w.expect(CALLEE, "UPDATE");
}

#[test]
fn a_caller_whose_session_interval_is_too_small_is_told_at_once() {
    // RFC 4028 §9. Found out at the answer, it would be too late.
    let timer = "Supported: timer\r\nSession-Expires: 30\r\n";
    let mut w = World::with(&invite(OFFER, timer), |_, _| {});
    w.commit();
    assert_eq!(w.expect(CALLER, "SIP/2.0 422").get("Min-SE"), "90");
    w.expect_silence();
    // The twin: an interval that may be served.
    let mut w = World::with(&invite(OFFER, &timer.replace("30", "300")), |_, _| {});
    invited(&mut w);
}

#[test]
fn an_info_is_sent_on_with_what_policy_lets_through_and_so_is_its_answer() {
    // RFC 6086: Info-Package says what the body means.
    let mut w = World::with(&invite(OFFER, ""), |trunk, gateway| {
        trunk.settings.access.methods.push("INFO".into());
        gateway.settings.access.methods.push("INFO".into());
    });
    let (_, ok) = connected(&mut w);
    let info =
        from_caller(&ok, "INFO", 2, "Signal=5\r\n").replace("application/sdp", "application/dtmf-relay");
    w.receive(CALLER, &with_lines(&info, "Info-Package: dtmf\r\n"));
    let Some(sent) = w.sent.pop_front() else { panic!("nothing was sent") };
    assert!(sent.start().starts_with("INFO"), "{}", sent.text);
    assert_eq!(
        (sent.get("Info-Package").as_str(), sent.get("Content-Type").as_str()),
        ("dtmf", "application/dtmf-relay")
    );
    assert_eq!(sent.body(), "Signal=5\r\n");
    w.receive(CALLEE, &response(&sent, "469 Bad Info Package", "", "Recv-Info: nil\r\n", ""));
    assert_eq!(w.expect(CALLER, "SIP/2.0 469").get("Recv-Info"), "nil");
}

#[test]
fn an_answer_that_does_not_fit_the_offer_is_nonsense_where_the_relay_goes_by_it() {
    // RFC 3264 §6: as many m= lines as the offer has, and of its codecs. Contract: "gateway answered nonsense", 502.
    let second_line = format!("{ANSWER}m=video 6002 RTP/AVP 31\r\n");
    let other_codec = ANSWER.replace("RTP/AVP 8", "RTP/AVP 18");
    let answered = |mode, answer: &str| {
        let mut w = World::with(&invite(OFFER, ""), |trunk, _| trunk.settings.media.mode = mode);
        let asked = ringing(&mut w);
        w.receive(CALLEE, &response(&asked, "200 OK", "b1", CONTACT, answer));
        w.expect_silence();
        w.commit_all();
        let status = w.cdrs.first().map(|cdr| cdr.sip_status);
        (status, w.starts())
    };
    for answer in [&second_line, &other_codec] {
        let (status, said) = answered(MediaMode::Anchored, answer);
        assert_eq!(status, Some(502));
        assert!(said.iter().any(|line| line.starts_with("SIP/2.0 502")), "{said:?}");
        assert!(said.iter().any(|line| line.starts_with("ACK")), "{said:?}");
        assert!(said.iter().any(|line| line.starts_with("BYE")), "{said:?}");
        // The twin: media that goes directly is the peers' own business.
        assert_eq!(answered(MediaMode::Direct, answer).0, None);
    }
    assert_eq!(answered(MediaMode::Anchored, ANSWER).0, None);
}

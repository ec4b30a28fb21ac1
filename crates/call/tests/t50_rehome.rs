//! A node with a fixed home dies, and another home adopts its calls (architecture "A node dies" 7; RFC 3261 §14.1).

#![allow(clippy::unwrap_used, clippy::panic)] // What fails here fails a test.

mod ladder;

use std::time::Duration;

use call::Event;
use ladder::*;
use trunk::settings::{MediaMode, Reinvite};

/// The call is up, and its node dies; the successor has committed what it needs. Gives the INVITE, the caller's 200
/// and the re-INVITEs to caller and callee.
fn adopted(w: &mut World) -> (Sent, Sent, Sent, Sent) {
    let (invite, ok) = connected(w);
    w.adopt_at(ELSEWHERE);
    w.commit_all();
    let (near, far) = reinvites(w);
    (invite, ok, near, far)
}
fn reinvites(w: &mut World) -> (Sent, Sent) {
    let near = w.expect(CALLER, "INVITE");
    let far = w.expect(CALLEE, "INVITE");
    w.expect_silence();
    (near, far)
}

/// Both peers accept.
fn accept(w: &mut World, near: &Sent, far: &Sent) {
    w.receive(CALLER, &response(near, "200 OK", "", CALLER_CONTACT, &version(OFFER, "o=a 1 ", 2)));
    w.receive(CALLEE, &response(far, "200 OK", "", CONTACT, &version(ANSWER, "o=b 1 ", 2)));
    w.commit_all();
    assert_eq!(w.expect(CALLER, "ACK").get("CSeq"), near.get("CSeq").replace("INVITE", "ACK"));
    assert_eq!(w.expect(CALLEE, "ACK").get("CSeq"), far.get("CSeq").replace("INVITE", "ACK"));
    w.expect_silence();
}

fn version(sdp: &str, origin: &str, to: u32) -> String {
    sdp.replace(&format!("{origin}1"), &format!("{origin}{to}"))
}

fn cseq(sent: &Sent) -> u32 {
    sent.get("CSeq").split(' ').next().unwrap().parse().unwrap()
}

fn line<'a>(body: &'a str, start: &str) -> &'a str {
    body.split("\r\n").find(|line| line.starts_with(start)).unwrap_or_default()
}

const CALLER_CONTACT: &str = "Contact: <sip:al@192.0.2.1:5060>\r\n";

#[test]
fn both_peers_are_told_by_an_offer_of_what_was_negotiated() {
    let mut w = World::new();
    let (invite, ok, near, far) = adopted(&mut w);
    for (again, before, port) in [(&near, &ok, 10_000), (&far, &invite, 20_000)] {
        assert_eq!(again.from, ELSEWHERE.parse().unwrap());
        assert!(again.get("Via").starts_with("SIP/2.0/UDP 203.0.113.2:5060;"), "{}", again.text);
        assert_eq!(again.get("Contact"), "<sip:203.0.113.2:5060>");
        assert_eq!(again.get("Call-ID"), before.get("Call-ID"));
        // lessons.md 4: above the predecessor's block (RFC 3261 §12.2.1.1).
        assert!(cseq(again) > 64, "{}", again.get("CSeq"));
        // RFC 3264 §8: the same o= line with the next version; a new address; the codec that was answered.
        let (was, is) = (before.body(), again.body());
        let origin = line(&was, "o=").replace(" 1 IN", " 2 IN");
        assert_eq!(line(&is, "o="), origin);
        assert_eq!(line(&is, "c="), "c=IN IP4 203.0.113.2");
        assert_eq!(line(&is, "m="), format!("m=audio {port} RTP/AVP 8"));
    }
    assert!(w.relay.last().is_some_and(|r| r.contains("192.0.2.1:4000") && r.contains("198.51.100.1:6000")));
    accept(&mut w, &near, &far);
    assert!(w.events.contains(&Event::Rehomed));
    // Who takes over now has nothing to tell.
    w.take_over();
    w.commit_all();
    w.expect_silence();
}

#[test]
fn nothing_is_said_before_the_numbers_are_committed() {
    let mut w = World::new();
    connected(&mut w);
    w.adopt_at(ELSEWHERE);
    w.expect_silence();
    let proposed: Vec<_> = w.proposed.iter().map(name_of).collect();
    assert_eq!(proposed, ["Update", "Advance", "Advance"]);
    w.commit();
    w.expect_silence();
    w.commit();
    w.expect(CALLER, "INVITE");
    w.expect_silence();
}

#[test]
fn ports_that_the_home_does_not_have_are_drawn_anew_and_committed_first() {
    for keeps in [true, false] {
        let mut w = World::new();
        connected(&mut w);
        w.ports = HomePorts { first: 30_000, keeps };
        w.adopt_at(ELSEWHERE);
        let first = w.proposed.front().map(name_of);
        w.commit_all();
        let (near, far) = reinvites(&mut w);
        let (a, b) = if keeps { (10_000, 20_000) } else { (30_000, 40_000) };
        assert_eq!(first, Some(if keeps { "Update" } else { "Rehome" }));
        assert!(
            near.body().contains(&format!("m=audio {a} ")) && far.body().contains(&format!("m=audio {b} "))
        );
        // Its successor in the same home goes on with them, and with the leg that was not told.
        w.receive(CALLER, &response(&near, "200 OK", "", CALLER_CONTACT, &version(OFFER, "o=a 1 ", 2)));
        w.commit_all();
        w.take_over();
        w.commit_all();
        let again = w.expect(CALLEE, "INVITE");
        w.expect_silence();
        assert_eq!(line(&again.body(), "m="), line(&far.body(), "m="));
        assert!(cseq(&again) > cseq(&far));
    }
}

#[test]
fn direct_media_stays_where_it_is() {
    let direct = |w: &mut trunk::Trunk, g: &mut trunk::Gateway| {
        w.settings.media.mode = MediaMode::Direct;
        g.settings.media.mode = MediaMode::Direct;
    };
    let mut w = World::with(&ladder::invite(OFFER, ""), direct);
    let (invite, ok, near, far) = adopted(&mut w);
    assert_eq!((near.body(), far.body()), (ok.body(), invite.body()));
    assert_eq!(near.get("Contact"), "<sip:203.0.113.2:5060>");
    accept(&mut w, &near, &far);
}

#[test]
fn a_peer_that_forbids_re_invites_gets_none_and_can_still_be_told_the_end() {
    let never = |_: &mut trunk::Trunk, g: &mut trunk::Gateway| g.settings.media.reinvite = Reinvite::Never;
    let mut w = World::with(&ladder::invite(OFFER, ""), never);
    let (_, ok) = connected(&mut w);
    w.adopt_at(ELSEWHERE);
    w.commit_all();
    let near = w.expect(CALLER, "INVITE");
    w.expect_silence();
    assert!(w.events.contains(&Event::NotRehomed(call::Side::Egress)) && !w.events.contains(&Event::Rehomed));
    w.receive(CALLER, &response(&near, "200 OK", "", CALLER_CONTACT, &version(OFFER, "o=a 1 ", 2)));
    w.commit_all();
    w.expect(CALLER, "ACK");
    w.receive(CALLER, &from_caller(&ok, "BYE", 2, ""));
    let bye = w.expect(CALLEE, "BYE");
    w.receive(CALLEE, &response(&bye, "200 OK", "", "", ""));
    w.commit_all();
    w.expect(CALLER, "SIP/2.0 200");
    assert_eq!(w.cdrs.first().map(|cdr| cdr.events.clone()), Some(vec!["not-rehomed".to_owned()]));
    assert!(w.ended);
}

#[test]
fn glare_waits_and_tries_again() {
    let mut w = World::new();
    let (_, _, near, far) = adopted(&mut w);
    w.receive(CALLER, &response(&near, "491 Request Pending", "", "", ""));
    w.receive(CALLEE, &response(&far, "491 Request Pending", "", "", ""));
    assert_eq!(w.take("ACK").len(), 2);
    // RFC 3261 §14.1: the owner of the Call-ID waits 2.1 to 4 s, the other 0 to 2 s.
    w.after(Duration::from_millis(2_050));
    let near = w.expect(CALLER, "INVITE");
    w.after(Duration::from_millis(1_960));
    let far = w.take("INVITE").into_iter().find(|sent| sent.to == CALLEE.parse().unwrap()).unwrap();
    w.take("INVITE");
    accept(&mut w, &near, &far);
    assert!(w.events.contains(&Event::Rehomed));
}

#[test]
fn a_peer_that_asks_for_time_gets_it_and_one_that_refuses_is_left_alone() {
    let mut w = World::new();
    let (_, _, near, far) = adopted(&mut w);
    w.receive(CALLER, &response(&near, "500 Server Internal Error", "", "Retry-After: 5\r\n", ""));
    w.receive(CALLEE, &response(&far, "488 Not Acceptable Here", "", "", ""));
    assert_eq!(w.take("ACK").len(), 2);
    w.after(Duration::from_millis(4_900));
    w.expect_silence();
    w.after(Duration::from_millis(200));
    w.expect(CALLER, "INVITE");
    w.expect_silence();
    assert!(w.events.contains(&Event::NotRehomed(call::Side::Egress)));
}

#[test]
fn a_peer_that_knows_the_dialog_no_more_ends_the_call() {
    for status in ["481 Call/Transaction Does Not Exist", "408 Request Timeout"] {
        let mut w = World::new();
        let (_, _, near, far) = adopted(&mut w);
        w.receive(CALLEE, &response(&far, status, "", "", ""));
        w.expect(CALLEE, "ACK");
        let bye = w.expect(CALLER, "BYE");
        w.receive(CALLER, &response(&near, "487 Request Terminated", "", "", ""));
        w.receive(CALLER, &response(&bye, "200 OK", "", "", ""));
        w.commit_all();
        assert!(w.ended, "{status}");
        let reasons: Vec<_> = w.cdrs.iter().map(|cdr| cdr.reason.clone()).collect();
        assert_eq!(reasons, ["the dialog is gone"]);
    }
}

#[test]
fn a_peer_that_is_silent_ends_the_call() {
    let mut w = World::new();
    let (_, _, near, _) = adopted(&mut w);
    w.receive(CALLER, &response(&near, "200 OK", "", CALLER_CONTACT, &version(OFFER, "o=a 1 ", 2)));
    w.commit_all();
    w.after(Duration::from_secs(33)); // Timer B.
    assert!(w.take("BYE").iter().any(|bye| bye.to == CALLER.parse().unwrap()));
    w.commit_all();
    assert_eq!(w.cdrs.len(), 1);
}

#[test]
fn afterwards_either_side_holds_refreshes_and_hangs_up() {
    for from_the_caller in [true, false] {
        let mut w = World::new();
        let (invite, ok, near, far) = adopted(&mut w);
        accept(&mut w, &near, &far);
        let ask = |method: &str, cseq: u32, body: &str| match from_the_caller {
            true => (CALLER, CALLEE, from_caller(&ok, method, cseq, body)),
            false => (CALLEE, CALLER, from_callee(&invite, "b1", method, cseq, body)),
        };
        let (offer, origin) = if from_the_caller { (OFFER, "o=a 1 ") } else { (ANSWER, "o=b 1 ") };
        let (answer, theirs) = if from_the_caller { (ANSWER, "o=b 1 ") } else { (OFFER, "o=a 1 ") };

        // Hold, through both legs, on the ports of this home.
        let held = format!("{}a=sendonly\r\n", version(offer, origin, 3));
        let (asker, other, hold) = ask("INVITE", 2, &held);
        w.receive(asker, &hold);
        w.expect(asker, "SIP/2.0 100");
        let passed = w.expect(other, "INVITE");
        assert!(passed.body().contains("c=IN IP4 203.0.113.2") && passed.body().contains("a=sendonly"));
        let answer = format!("{}a=recvonly\r\n", version(answer, theirs, 3));
        let contact = if from_the_caller { CONTACT } else { CALLER_CONTACT };
        w.receive(other, &response(&passed, "200 OK", "", contact, &answer));
        w.commit_all();
        w.expect(other, "ACK");
        let held_ok = w.expect(asker, "SIP/2.0 200");
        // The name of the session stays, its version rises by one with each description.
        let before = if from_the_caller { near.body() } else { far.body() };
        assert_eq!(line(&held_ok.body(), "o="), line(&before, "o=").replace(" 2 IN", " 3 IN"));
        w.receive(asker, &ask("ACK", 2, "").2);

        // A refresh is answered here.
        w.receive(asker, &ask("INVITE", 3, &held).2);
        w.commit_all();
        let refreshed = w.expect(asker, "SIP/2.0 200");
        assert_eq!(refreshed.get("Contact"), "<sip:203.0.113.2:5060>");
        w.receive(asker, &ask("ACK", 3, "").2);
        w.expect_silence();

        w.receive(asker, &ask("BYE", 4, "").2);
        let bye = w.expect(other, "BYE");
        w.receive(other, &response(&bye, "200 OK", "", "", ""));
        w.commit_all();
        w.expect(asker, "SIP/2.0 200");
        assert!(w.ended);
        assert_eq!(w.cdrs.first().map(|cdr| cdr.events.clone()), Some(vec!["rehomed".to_owned()]));
    }
}

#[test]
fn a_held_call_is_moved_as_a_held_one() {
    let mut w = World::new();
    let (invite, ok) = connected(&mut w);
    let held = format!("{}a=sendonly\r\n", version(OFFER, "o=a 1 ", 2));
    w.receive(CALLER, &from_caller(&ok, "INVITE", 2, &held));
    w.expect(CALLER, "SIP/2.0 100");
    let hold = w.expect(CALLEE, "INVITE");
    let answer = format!("{}a=recvonly\r\n", version(ANSWER, "o=b 1 ", 2));
    w.receive(CALLEE, &response(&hold, "200 OK", "", CONTACT, &answer));
    w.commit_all();
    w.receive(CALLER, &from_caller(&ok, "ACK", 2, ""));
    w.adopt_at(ELSEWHERE);
    w.commit_all();
    let (near, far) = reinvites(&mut w);
    // lessons.md 6: the caller holds, so it is offered recvonly, and the callee sendonly.
    assert!(near.body().contains("a=recvonly") && far.body().contains("a=sendonly"));
    assert!(line(&far.body(), "o=").contains(" 3 IN"), "{}", far.body());
    assert_eq!(far.get("Call-ID"), invite.get("Call-ID"));
}

#[test]
fn a_caller_whose_ack_is_lost_is_asked_by_re_invite() {
    let mut w = World::new();
    picked_up(&mut w);
    w.adopt_at(ELSEWHERE);
    // The callee's ACK may have died too.
    assert_eq!(w.expect(CALLEE, "ACK").get("CSeq"), "1 ACK");
    // The 200 describes our place, and waits until that is committed.
    w.expect_silence();
    w.commit();
    let ok = w.expect(CALLER, "SIP/2.0 200");
    assert_eq!(ok.get("Contact"), "<sip:203.0.113.2:5060>");
    assert!(ok.body().contains("c=IN IP4 203.0.113.2"));
    w.commit_all();
    let far = w.expect(CALLEE, "INVITE");
    w.receive(CALLEE, &response(&far, "200 OK", "", CONTACT, &version(ANSWER, "o=b 1 ", 2)));
    w.commit_all();
    w.expect(CALLEE, "ACK");
    w.after(Duration::from_millis(2_100));
    let near = w.take("INVITE").pop().expect("a re-INVITE after 4·T1");
    w.take("SIP/2.0 200");
    w.receive(CALLER, &response(&near, "200 OK", "", CALLER_CONTACT, &version(OFFER, "o=a 1 ", 2)));
    w.commit_all();
    w.expect(CALLER, "ACK");
    w.after(Duration::from_secs(40));
    w.expect_silence();
    assert!(w.record.is_some() && w.events.contains(&Event::Rehomed));

    // One whose ACK comes is asked at once.
    let mut w = World::new();
    picked_up(&mut w);
    w.adopt_at(ELSEWHERE);
    w.commit_all();
    w.expect(CALLEE, "ACK");
    let ok = w.expect(CALLER, "SIP/2.0 200");
    w.sent.clear();
    w.receive(CALLER, &from_caller(&ok, "ACK", 1, ""));
    w.expect(CALLER, "INVITE");
}

#[test]
fn a_third_home_describes_itself_under_a_version_that_nobody_has_heard() {
    // RFC 3264 §8; found by the simulation (seed 90): the second home's 200 was heard, and its node died too.
    let mut w = World::new();
    picked_up(&mut w);
    for (address, version) in [(ELSEWHERE, " 2 IN"), ("203.0.113.3:5060", " 3 IN")] {
        w.adopt_at(address);
        w.commit_all();
        w.expect(CALLEE, "ACK");
        let ok = w.expect(CALLER, "SIP/2.0 200");
        assert_eq!(ok.from, address.parse().unwrap());
        assert!(line(&ok.body(), "o=").contains(version), "{}", ok.body());
        let far = w.expect(CALLEE, "INVITE");
        assert!(line(&far.body(), "o=").contains(version), "{}", far.body());
    }
}

#[test]
fn a_ringing_call_is_cancelled_where_it_was_and_rings_elsewhere() {
    let mut w = World::new();
    w.free = vec![true, true];
    let invite = invited(&mut w);
    w.adopt_at(ELSEWHERE);
    let cancel = w.expect(CALLEE, "CANCEL");
    // RFC 3261 §9.1: Via, CSeq, From, To, Call-ID and Request-URI are the INVITE's.
    assert_eq!(cancel.from, ELSEWHERE.parse().unwrap());
    for header in ["Via", "From", "To", "Call-ID"] {
        assert_eq!(cancel.get(header), invite.get(header), "{header}");
    }
    assert_eq!(cancel.get("CSeq"), "1 CANCEL");
    w.expect_silence();
    w.commit_all();
    let next = w.expect(SECOND, "INVITE");
    assert!(next.get("Via").contains("203.0.113.2") && next.body().contains("c=IN IP4 203.0.113.2"));
    w.receive(CALLEE, &response(&cancel, "200 OK", "b1", "", ""));
    w.receive(SECOND, &response(&next, "200 OK", "b2", CONTACT, ANSWER));
    w.commit_all();
    w.expect(SECOND, "ACK");
    let ok = w.expect(CALLER, "SIP/2.0 200");
    assert_eq!(ok.get("Contact"), "<sip:203.0.113.2:5060>");
    w.receive(CALLER, &from_caller(&ok, "ACK", 1, ""));
    w.commit_all();
    // It is at home from the beginning: a successor has nothing to tell.
    w.take_over();
    w.commit_all();
    w.expect_silence();
}

#[test]
fn a_ringing_call_without_another_target_ends_with_503_and_a_cancelled_one_with_487() {
    for cancelled in [false, true] {
        let mut w = World::new();
        ringing(&mut w);
        if cancelled {
            w.receive(CALLER, &ladder::invite("", "").replace("INVITE", "CANCEL"));
            w.commit_all();
        }
        w.adopt_at(ELSEWHERE);
        w.expect(CALLEE, "CANCEL");
        w.expect_silence();
        w.commit_all();
        // after_progress = "stop": once it rang no other target is tried.
        let said = w.expect(CALLER, if cancelled { "SIP/2.0 487" } else { "SIP/2.0 503" });
        assert_eq!(said.from, ELSEWHERE.parse().unwrap());
        assert_eq!(w.cdrs.len(), 1);
    }
}

#[test]
fn a_reinvite_without_an_answer_is_repeated_until_the_bye_and_no_longer() {
    for ends in [false, true] {
        let mut w = World::new();
        let (_, _, near, far) = adopted(&mut w);
        if ends {
            w.receive(CALLEE, &response(&far, "481 Call/Transaction Does Not Exist", "", "", ""));
            w.expect(CALLEE, "ACK");
            w.expect(CALLER, "BYE");
        }
        w.after(Duration::from_millis(600)); // Timer A (RFC 3261 §17.1.1.2).
        let again =
            w.take("INVITE").into_iter().filter(|it| it.get("CSeq") == near.get("CSeq") && it.to == near.to);
        assert_eq!(again.count(), usize::from(!ends));
    }
}

#[test]
fn a_ringing_call_whose_second_home_dies_too_is_cancelled_where_it_was() {
    // It would ring there again, by an INVITE of the same branch from another address.
    for applied in 0..2 {
        let mut w = World::new();
        let invite = ringing(&mut w);
        w.adopt_at(ELSEWHERE);
        w.expect(CALLEE, "CANCEL");
        w.take_over_after(applied.min(w.proposed.len().saturating_sub(1)));
        assert_eq!(w.expect(CALLEE, "CANCEL").get("Via"), invite.get("Via"));
        w.commit_all();
        w.expect(CALLER, "SIP/2.0 503");
        assert!(w.take("INVITE").is_empty());
    }
}

#[test]
fn an_answer_to_the_lost_home_that_comes_through_is_let_go() {
    // Its node came back and passes it on: the next target rings already.
    let mut w = World::new();
    w.free = vec![true, true];
    let invite = invited(&mut w);
    w.adopt_at(ELSEWHERE);
    w.commit_all();
    w.sent.clear();
    w.receive_by(OURS, CALLEE, &response(&invite, "200 OK", "b1", CONTACT, ANSWER));
    assert_eq!(w.expect(CALLEE, "ACK").get("CSeq"), "1 ACK");
    w.expect(CALLEE, "BYE");
    w.expect_silence();
}

#[test]
fn what_comes_by_the_lost_home_is_answered_with_the_new_one() {
    let mut w = World::new();
    let (_, ok, near, far) = adopted(&mut w);
    // The caller's own request was on its way: glare, and then its turn.
    w.receive(CALLER, &response(&near, "491 Request Pending", "", "", ""));
    w.expect(CALLER, "ACK");
    w.receive(CALLEE, &response(&far, "200 OK", "", CONTACT, &version(ANSWER, "o=b 1 ", 2)));
    w.commit_all();
    w.expect(CALLEE, "ACK");
    w.receive_by(OURS, CALLER, &from_caller(&ok, "INVITE", 2, OFFER));
    w.commit_all();
    let refreshed = w.take("SIP/2.0 200").pop().expect("an answer");
    assert_eq!(refreshed.from, OURS.parse().unwrap());
    assert_eq!(refreshed.get("Contact"), "<sip:203.0.113.2:5060>");
    assert!(refreshed.body().contains("c=IN IP4 203.0.113.2"));
    w.receive(CALLER, &from_caller(&ok, "ACK", 2, ""));
    w.after(Duration::from_secs(3));
    assert_eq!(w.take("INVITE").first().map(|sent| sent.to), Some(CALLER.parse().unwrap()));
}

#[test]
fn a_call_that_comes_back_to_its_first_home_is_told_again() {
    let mut w = World::new();
    w.ports.keeps = false;
    let (_, _, near, _) = adopted(&mut w);
    w.receive(CALLER, &response(&near, "200 OK", "", CALLER_CONTACT, &version(OFFER, "o=a 1 ", 2)));
    w.commit_all();
    w.expect(CALLER, "ACK");
    // The callee never heard of the second home; the first has other ports for it now.
    w.ports = HomePorts { first: 12_000, keeps: false };
    w.adopt_at(OURS);
    w.commit_all();
    let (near, far) = reinvites(&mut w);
    assert!(near.body().contains("m=audio 12000") && far.body().contains("m=audio 22000"));
    assert!(near.body().contains("c=IN IP4 203.0.113.1"));
}

/// The record as it is when all of its flows are of this kind.
fn over(w: &mut World, change: impl Fn(&mut call::Flow)) {
    let record = w.record.as_mut().expect("a live call");
    change(&mut std::sync::Arc::make_mut(&mut record.admit).ingress);
    if let call::Phase::Answered { confirm, .. } = &mut record.phase {
        change(&mut confirm.ingress.flow);
        change(&mut confirm.egress.flow);
    }
}

#[test]
fn homes_that_listen_on_every_address_are_told_apart_all_the_same() {
    for adopted in [true, false] {
        let direct = |w: &mut trunk::Trunk, g: &mut trunk::Gateway| {
            w.settings.media.mode = MediaMode::Direct;
            g.settings.media.mode = MediaMode::Direct;
        };
        let mut w = World::with(&ladder::invite(OFFER, ""), direct);
        connected(&mut w);
        let all = "0.0.0.0:5060";
        over(&mut w, |flow| flow.local = all.parse().unwrap());
        if adopted {
            w.adopt_at(all);
            w.commit_all();
            reinvites(&mut w);
        } else {
            // Its own process, restarted: nothing has changed.
            let context = call::Context::clone(&w.context);
            let addresses = vec![(trunk::Transport::Udp, all.parse().unwrap())];
            w.context = std::sync::Arc::new(call::Context { addresses, ..context });
            w.take_over();
            w.commit_all();
            w.expect_silence();
        }
    }
}

#[test]
fn a_peer_over_tcp_is_dialled_where_it_wants_requests() {
    let mut w = World::new();
    connected(&mut w);
    // Both connections ended at the lost home; the caller's came from a port that nobody listens on.
    over(&mut w, |flow| {
        flow.transport = trunk::Transport::Tcp;
        flow.remote.set_port(40_000);
    });
    w.adopt_over(&[trunk::Transport::Udp, trunk::Transport::Tcp], ELSEWHERE);
    w.commit_all();
    let (near, far) = reinvites(&mut w); // They go to the Contacts: `CALLER` and `CALLEE`.
    assert_eq!(near.get("Contact"), "<sip:203.0.113.2:5060;transport=tcp>");
    assert!(far.get("Via").starts_with("SIP/2.0/TCP 203.0.113.2:5060;"));
}

#[test]
fn a_dialog_of_sips_uris_is_told_a_sips_uri() {
    // RFC 3261 §8.1.1.8, §12.2.1.1: what follows in it must be secure, too.
    for (secure, contact) in
        [(true, "<sips:203.0.113.2:5060>"), (false, "<sip:203.0.113.2:5060;transport=tls>")]
    {
        let mut w = World::new();
        connected(&mut w);
        over(&mut w, |flow| flow.transport = trunk::Transport::Tls);
        let record = w.record.as_mut().expect("a live call");
        if let call::Phase::Answered { confirm, .. } = &mut record.phase {
            confirm.ingress.dialog.secure = secure;
        }
        w.adopt_over(&[trunk::Transport::Udp, trunk::Transport::Tls], ELSEWHERE);
        w.commit_all();
        let (near, far) = reinvites(&mut w);
        assert_eq!(near.get("Contact"), contact);
        assert!(far.get("Via").starts_with("SIP/2.0/TLS 203.0.113.2:5060;"));
    }
}

#[test]
fn a_home_without_an_address_for_a_peer_ends_the_call_and_says_why() {
    let mut w = World::new();
    connected(&mut w);
    let record = w.record.as_mut().expect("a live call");
    if let call::Phase::Answered { confirm, .. } = &mut record.phase {
        confirm.egress.flow.transport = trunk::Transport::Tcp;
    }
    w.adopt_at(ELSEWHERE);
    w.commit_all();
    assert!(w.take("BYE").iter().any(|bye| bye.to == CALLER.parse().unwrap()));
    assert!(w.take("INVITE").is_empty());
    let reasons: Vec<_> = w.cdrs.iter().map(|cdr| cdr.reason.clone()).collect();
    assert_eq!(reasons, ["no address of the new home reaches the peer"]);
}

//! A target with several hosts: what fails is passed over within the call (RFC 3263 §4.3).

#![allow(clippy::unwrap_used, clippy::panic)] // What fails here fails a test.

mod ladder;

use std::time::Duration;

use call::{Input, Output};
use ladder::*;
use trunk::{Hop, SipTarget, Transport};

const B: &str = "198.51.100.7:5060";
const C: &str = "198.51.100.8:5060";

/// The first gateway is a domain.
fn world() -> World {
    let mut w = World::with(&invite(OFFER, ""), |_, gateway| {
        gateway.targets = vec![SipTarget::parse("sip:carrier.example.com").unwrap()];
    });
    w.commit();
    w.expect(CALLER, "SIP/2.0 100");
    w
}

/// DNS says that these are its hosts.
fn located(w: &mut World, at: &[&str]) {
    let hop = |at: &&str| Hop { transport: Transport::Udp, address: at.parse().unwrap() };
    w.input(Input::Located(at.iter().map(hop).collect()));
}

fn unavailable(invite: &Sent) -> String {
    response(invite, "503 Service Unavailable", "x1", "", "")
}

/// FR30: a host that says 503 is acknowledged and passed over, with another branch; then the next target.
#[test]
fn fr30_a_host_that_says_503_is_passed_over_within_the_call() {
    let mut w = world();
    located(&mut w, &[CALLEE, B]);
    let first = w.expect(CALLEE, "INVITE sip:+31301111111@carrier.example.com SIP/2.0");
    w.receive(CALLEE, &unavailable(&first));
    w.commit();
    w.expect(CALLEE, "ACK");
    located(&mut w, &[CALLEE, B]);
    let second = w.expect(B, "INVITE sip:+31301111111@carrier.example.com SIP/2.0");
    assert_ne!(second.get("Via"), first.get("Via"));
    // signalwire/freeswitch#2144: at the list's end comes the next target, not the list again.
    w.receive(B, &unavailable(&second));
    w.commit();
    w.expect(B, "ACK");
    w.expect(SECOND, "INVITE sip:+31301111111@198.51.100.2:5060");
    w.expect_silence();
}

/// RFC 3263 §4.3: silence passes on, too; the twin was heard, and rings on.
#[test]
fn fr30_a_silent_host_is_passed_over_and_one_that_was_heard_is_not() {
    for heard in [false, true] {
        let mut w = world();
        located(&mut w, &[CALLEE, B]);
        let first = w.expect(CALLEE, "INVITE");
        if heard {
            w.receive(CALLEE, &response(&first, "100 Trying", "", "", ""));
        }
        // `no_response` is 4 s unless it says otherwise.
        w.after(Duration::from_millis(4_100));
        w.take("INVITE");
        if heard {
            w.expect_silence();
            continue;
        }
        w.commit();
        located(&mut w, &[CALLEE, B]);
        w.expect(B, "INVITE");
        w.expect_silence();
    }
}

/// A busy callee is the target's word, not its host's.
#[test]
fn fr30_another_refusal_is_the_targets_word() {
    let mut w = world();
    located(&mut w, &[CALLEE, B]);
    let first = w.expect(CALLEE, "INVITE");
    w.receive(CALLEE, &response(&first, "486 Busy Here", "x1", "", ""));
    w.commit_all();
    w.expect(CALLEE, "ACK");
    w.expect(CALLER, "SIP/2.0 486");
    w.expect_silence();
}

/// A successor goes on at the host that the record leaves it, and a host that rings keeps its call.
#[test]
fn fr30_a_takeover_passes_over_the_same_hosts_and_stays_where_it_rings() {
    let mut w = world();
    located(&mut w, &[CALLEE, B, C]);
    let first = w.expect(CALLEE, "INVITE");
    w.receive(CALLEE, &unavailable(&first));
    w.commit();
    w.expect(CALLEE, "ACK");
    located(&mut w, &[CALLEE, B, C]);
    let second = w.expect(B, "INVITE");
    w.take_over();
    located(&mut w, &[CALLEE, B, C]);
    assert_eq!(w.expect(B, "INVITE").text, second.text);
    let contact = "Contact: <sip:bo@198.51.100.7:5060>\r\n";
    w.receive(B, &response(&second, "180 Ringing", "b1", contact, ""));
    w.expect(CALLER, "SIP/2.0 180");
    w.commit_all();
    w.take_over();
    assert!(!matches!(w.call.poll_output(), Some(Output::Locate { .. })));
    w.expect_silence();
    w.receive(B, &response(&second, "200 OK", "b1", contact, ANSWER));
    w.commit_all();
    w.expect(B, "ACK");
    w.expect(CALLER, "SIP/2.0 200");
}

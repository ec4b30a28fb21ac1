//! Redirects: a 3xx of a server that may send calls on (RFC 3261 §8.1.3.4).

#![allow(clippy::unwrap_used, clippy::panic)] // What fails here fails a test.

mod ladder;

use call::CallCommand;
use ladder::*;
use trunk::settings::HostPattern;

const PBX: &str = "198.51.100.9:5060";

/// The first gateway may send calls to one network, and to a name.
fn world() -> World {
    World::with(&invite(OFFER, ""), |_, gateway| {
        let redirect = &mut gateway.settings.redirect;
        redirect.follow = true;
        redirect.trusted =
            ["198.51.100.8/31", "pbx.example.com"].map(|it| HostPattern::parse(it).unwrap()).into();
        redirect.deny = vec![HostPattern::parse("10.0.0.0/8").unwrap()];
    })
}

fn moved(invite: &Sent, contacts: &str) -> String {
    response(invite, "302 Moved Temporarily", "r1", &format!("Contact: {contacts}\r\n"), "")
}

/// PS2, PS8, I-9: acknowledged, committed, and only then is the PBX called, for the same callee.
#[test]
fn ps8_a_trusted_contact_is_called_once_that_is_on_record() {
    let mut w = world();
    let first = invited(&mut w);
    w.receive(CALLEE, &moved(&first, "<sip:12035554433@198.51.100.9>"));
    w.expect_silence();
    assert!(matches!(w.proposed.front(), Some(CallCommand::Change(call::Change::Attempt(_)))));
    w.commit();
    w.expect(CALLEE, "ACK");
    let again = w.expect(PBX, "INVITE sip:12035554433@198.51.100.9 SIP/2.0");
    assert_eq!(again.get("To"), first.get("To"));
    assert_ne!(again.get("Call-ID"), first.get("Call-ID"));
    w.receive(PBX, &response(&again, "200 OK", "b1", "Contact: <sip:bo@198.51.100.9>\r\n", ANSWER));
    w.commit_all();
    w.expect(PBX, "ACK");
    let ok = w.expect(CALLER, "SIP/2.0 200");
    w.receive(CALLER, &from_caller(&ok, "ACK", 1, ""));
    w.receive(CALLER, &from_caller(&ok, "BYE", 2, ""));
    w.expect(PBX, "BYE");
    w.commit_all();
    let redirect = w.cdrs.first().unwrap().redirect.as_ref().unwrap();
    assert_eq!(redirect.to, "sip:12035554433@198.51.100.9");
    assert_eq!(redirect.rule, "198.51.100.8/31");
    assert_eq!(redirect.server, "sip:+31301111111@198.51.100.1:5060");
}

/// PS22: whoever takes over before the commit asks the server again, and after it calls the same PBX: never two.
#[test]
fn ps22_a_takeover_follows_the_redirect_exactly_once() {
    let mut w = world();
    let first = invited(&mut w);
    w.receive(CALLEE, &moved(&first, "<sip:1@198.51.100.9>, <sip:2@198.51.100.8>;q=0.5"));
    // Its node dies with the 302 in hand: nobody has heard of it.
    w.take_over_after(0);
    let asked = w.expect(CALLEE, "INVITE");
    assert_eq!(asked.text, first.text, "the server knows this request");
    w.receive(CALLEE, &moved(&first, "<sip:1@198.51.100.9>, <sip:2@198.51.100.8>;q=0.5"));
    w.commit();
    w.expect(CALLEE, "ACK");
    let before = w.expect(PBX, "INVITE sip:1@198.51.100.9");
    w.take_over();
    let after = w.expect(PBX, "INVITE sip:1@198.51.100.9");
    assert_eq!(before.text, after.text);
    w.expect_silence();
    // The second Contact is known to the successor, too.
    w.receive(PBX, &response(&after, "503 Service Unavailable", "b1", "", ""));
    w.commit();
    w.expect(PBX, "ACK");
    w.expect("198.51.100.8:5060", "INVITE sip:2@198.51.100.8");
}

/// RFC 3261 §17.1.1.3: its node was lost with the redirect on record and the ACK unsaid. The server repeats the 302, and
/// hears the ACK from whoever has the call now; of an attempt that nobody made it hears nothing.
#[test]
fn ps22_a_redirect_that_is_repeated_to_a_successor_is_acknowledged() {
    let mut w = world();
    let first = invited(&mut w);
    w.receive(CALLEE, &moved(&first, "<sip:1@198.51.100.9>"));
    w.commit();
    let before = w.expect(CALLEE, "ACK");
    w.expect(PBX, "INVITE sip:1@198.51.100.9");
    w.take_over();
    w.expect(PBX, "INVITE sip:1@198.51.100.9");
    let again = moved(&first, "<sip:1@198.51.100.9>");
    w.receive(CALLEE, &again);
    let ack = w.expect(CALLEE, "ACK sip:+31301111111@198.51.100.1:5060 SIP/2.0");
    for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
        assert_eq!(ack.get(name), before.get(name), "{name}");
    }
    let digest = first.get("Via").split_once("z9hG4bKb").unwrap().1.get(16..32).unwrap().to_owned();
    w.receive(CALLEE, &again.replace(&digest, "0123456789abcdef"));
    w.expect_silence();
}

/// RFC 3261 §8.1.3.4: what two servers name is one target. Without the second server it would be called in its turn, too.
#[test]
fn ps13_a_contact_that_waits_for_its_turn_is_not_called_twice() {
    for sent_on_again in [true, false] {
        let mut w = World::with(&invite(OFFER, ""), |_, gateway| {
            let redirect = &mut gateway.settings.redirect;
            (redirect.follow, redirect.max_hops) = (true, 2);
            redirect.trusted = vec![HostPattern::parse("198.51.100.8/31").unwrap()];
        });
        let first = invited(&mut w);
        w.receive(CALLEE, &moved(&first, "<sip:1@198.51.100.9>, <sip:2@198.51.100.8>;q=0.5"));
        w.commit();
        w.expect(CALLEE, "ACK");
        let second = w.expect(PBX, "INVITE sip:1@198.51.100.9");
        let answer = match sent_on_again {
            true => moved(&second, "<sip:2@198.51.100.8>"),
            false => response(&second, "503 Service Unavailable", "b1", "", ""),
        };
        w.receive(PBX, &answer);
        w.commit();
        w.expect(PBX, "ACK");
        let third = w.expect("198.51.100.8:5060", "INVITE sip:2@198.51.100.8");
        w.receive("198.51.100.8:5060", &response(&third, "503 Service Unavailable", "b2", "", ""));
        w.commit();
        w.expect("198.51.100.8:5060", "ACK");
        w.expect(SECOND, "INVITE sip:+31301111111@198.51.100.2");
    }
}

/// PS4, threat 11: a trusted name that leads to a denied address is not followed there; its other address is called.
#[test]
fn ps4_the_addresses_of_a_trusted_name_are_looked_at_too() {
    for (found, called) in [("10.1.2.3:5060", None), (PBX, Some(PBX))] {
        let mut w = world();
        let first = invited(&mut w);
        w.receive(CALLEE, &moved(&first, "<sip:1@pbx.example.com>"));
        w.commit();
        w.expect(CALLEE, "ACK");
        let hop = trunk::Hop { transport: trunk::Transport::Udp, address: found.parse().unwrap() };
        w.input(call::Input::Located(vec![hop]));
        w.commit_all();
        match called {
            Some(pbx) => drop(w.expect(pbx, "INVITE sip:1@pbx.example.com")),
            // The plan goes on with its next gateway.
            None => drop(w.expect(SECOND, "INVITE")),
        }
    }
}

/// PS12: an untrusted Contact is passed over, and alone it is as good as no answer: the next target.
#[test]
fn ps12_an_untrusted_contact_is_not_called() {
    let mut w = world();
    let first = invited(&mut w);
    w.receive(CALLEE, &moved(&first, "<sip:1@203.0.113.66>, <sip:2@pbx.example.org>"));
    w.commit();
    w.expect(CALLEE, "ACK");
    w.expect(SECOND, "INVITE sip:+31301111111@198.51.100.2");
    w.expect_silence();
}

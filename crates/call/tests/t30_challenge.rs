//! Digest on both legs: a gateway that asks for our password, and a caller whose proof was used before.

#![allow(clippy::unwrap_used, clippy::panic)] // What fails here fails a test.

mod ladder;

use auth::{Ha1, Offered};
use call::Outcome;
use ladder::*;
use trunk::{Account, Gateway, Secret};

/// The first gateway knows us.
fn with_account(gateway: &mut Gateway) {
    let account = Account { username: "acct-1".to_owned(), password: Secret::given("canary") };
    gateway.accounts = vec![account];
}

fn challenged_world() -> World {
    World::with(&invite(OFFER, ""), |_, gateway| with_account(gateway))
}

const CHALLENGE: &str =
    "Proxy-Authenticate: Digest realm=\"carrier.example\", nonce=\"n1\", algorithm=MD5, qop=\"auth\"\r\n";

/// A field of credentials, without quotes.
fn field(line: &str, name: &str) -> String {
    let found = line
        .split(", ")
        .find_map(|it| it.trim_start_matches("Digest ").strip_prefix(name)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("no {name} in {line}")).trim_matches('"').to_owned()
}

/// RFC 3261 §22.3: acknowledged, committed, asked again with the credentials of that gateway.
#[test]
fn a_gateway_that_asks_for_credentials_gets_them_after_they_are_on_record() {
    let mut w = challenged_world();
    let first = invited(&mut w);
    assert!(!first.text.contains("Authorization"), "{}", first.text);
    w.receive(CALLEE, &response(&first, "407 Proxy Authentication Required", "c1", CHALLENGE, ""));
    w.expect_silence();
    w.commit();
    w.expect(CALLEE, "ACK");
    let again = w.expect(CALLEE, "INVITE");
    let line = again.get("Proxy-Authorization");
    assert_eq!((field(&line, "username"), field(&line, "nc")), ("acct-1".to_owned(), "00000001".to_owned()));
    let ha1 = Ha1::new("acct-1", "carrier.example", "canary");
    let offered = Offered {
        realm: b"carrier.example",
        nonce: b"n1",
        algorithm: Some(b"MD5"),
        qop: Some(b"auth"),
        opaque: None,
        stale: false,
    };
    let (uri, cnonce) = (field(&line, "uri"), field(&line, "cnonce"));
    let expected =
        auth::respond("acct-1", &ha1, &offered, b"INVITE", uri.as_bytes(), 1, cnonce.as_bytes()).unwrap();
    assert_eq!(field(&line, "response").into_bytes(), expected.response);
    // I-39: the record has the challenge, and not the password.
    assert!(!format!("{:?}", w.record).contains("canary"));
    // A successor would say the same, byte for byte: over UDP it has nothing to repeat here but that.
    let before = again.text.clone();
    w.take_over();
    assert!(w.take("INVITE").iter().all(|it| it.text == before));
    w.receive(CALLEE, &response(&again, "200 OK", "b1", CONTACT, ANSWER));
    w.commit_all();
    w.expect(CALLEE, "ACK");
    w.expect(CALLER, "SIP/2.0 200");
    assert!(w.record.as_ref().is_some_and(|record| record.challenge.is_none()));
}

/// The same again is a wrong password: no third INVITE. Only a nonce that was too old is answered once more.
#[test]
fn a_gateway_that_refuses_the_credentials_is_not_asked_again() {
    for (stale, answers) in [(false, 1), (true, 2)] {
        let mut w = challenged_world();
        let mut invite = invited(&mut w);
        for round in 0..answers {
            let mut challenge = CHALLENGE.replace("n1", &format!("n{round}"));
            if round > 0 {
                challenge = challenge.replace("algorithm", "stale=true, algorithm");
            }
            w.receive(CALLEE, &response(&invite, "407 Proxy Authentication Required", "c1", &challenge, ""));
            w.commit();
            w.expect(CALLEE, "ACK");
            invite = w.expect(CALLEE, "INVITE");
            assert_eq!(field(&invite.get("Proxy-Authorization"), "nonce"), format!("n{round}"));
        }
        let last = if stale {
            CHALLENGE.replace("algorithm", "stale=true, algorithm")
        } else {
            CHALLENGE.to_owned()
        };
        w.receive(CALLEE, &response(&invite, "407 Proxy Authentication Required", "c1", &last, ""));
        w.commit_all();
        assert!(w.take("INVITE").iter().all(|it| it.to.to_string() != CALLEE), "asked once more");
    }
}

/// I-35, threat 5: a challenge for another realm, on another message, or of a gateway without an account, gets nothing.
#[test]
fn i35_nobody_else_gets_credentials() {
    // The twin without an account.
    let mut w = World::new();
    let first = invited(&mut w);
    w.receive(CALLEE, &response(&first, "407 Proxy Authentication Required", "c1", CHALLENGE, ""));
    w.commit_all();
    assert!(w.take("").iter().all(|it| !it.text.contains("Authorization")));
    // Another realm, after the first was answered.
    let mut w = challenged_world();
    let first = invited(&mut w);
    w.receive(CALLEE, &response(&first, "407 Proxy Authentication Required", "c1", CHALLENGE, ""));
    w.commit();
    w.expect(CALLEE, "ACK");
    let again = w.expect(CALLEE, "INVITE");
    let other =
        CHALLENGE.replace("carrier.example", "bank.example").replace("algorithm", "stale=true, algorithm");
    w.receive(CALLEE, &response(&again, "407 Proxy Authentication Required", "c2", &other, ""));
    w.commit_all();
    assert!(w.take("").iter().all(|it| !it.text.contains("bank.example")));
    // A BYE of ours.
    let mut w = challenged_world();
    let (_, ok) = connected(&mut w);
    w.receive(CALLER, &from_caller(&ok, "BYE", 2, ""));
    let bye = w.expect(CALLEE, "BYE");
    w.receive(CALLEE, &response(&bye, "407 Proxy Authentication Required", "", CHALLENGE, ""));
    w.commit_all();
    assert!(w.take("").iter().all(|it| !it.text.contains("Authorization")));
}

/// FR5: used between two nodes at once, a nonce lets in one call; the other hears a new challenge, and leaves no record.
#[test]
fn fr5_a_call_whose_proof_was_used_meanwhile_is_challenged_again() {
    let mut w = World::with_proof(&invite(OFFER, ""), b"Proxy-Authenticate: Digest stale=true\r\n");
    w.proposed.clear();
    w.input(call::Input::Applied(Outcome::Replayed));
    let answer = w.expect(CALLER, "SIP/2.0 407");
    assert_eq!(answer.get("Proxy-Authenticate"), "Digest stale=true");
    assert!(w.take("INVITE").is_empty());
    assert!(w.cdrs.is_empty() && w.record.is_none());
}

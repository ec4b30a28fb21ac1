//! Keys in session descriptions (SDES, RFC 4568): each leg by itself, under TLS and in no other way.

mod ladder;

use call::{Count, Input, Mark, Side};
use env::{SideKeys, SrtpCount, SrtpMark, SrtpSuite};
use ladder::*;
use trunk::settings::Srtp;
use trunk::{Gateway, Trunk};

/// The caller's keys: the first is of a suite that nobody knows, so the second is taken.
const SECURED: &str = "v=0\r\no=a 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
    m=audio 4000 RTP/SAVP 8 0\r\na=crypto:4 F8_128_HMAC_SHA1_80 inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR\r\n\
    a=crypto:5 AES_CM_128_HMAC_SHA1_32 inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR\r\n";
/// The callee's answer: it takes our first.
const ACCEPTED: &str = "v=0\r\no=b 1 1 IN IP4 198.51.100.1\r\ns=-\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\n\
    m=audio 6000 RTP/SAVP 8\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n";

fn wishes(caller: Srtp, callee: Srtp) -> impl Fn(&mut Trunk, &mut Gateway) {
    move |trunk, gateway| {
        (trunk.settings.media.srtp, gateway.settings.media.srtp) = (caller, callee);
    }
}

fn under_tls(offer: &str, caller: Srtp, callee: Srtp) -> World {
    World::under_tls(&invite(offer, ""), wishes(caller, callee))
}

/// The values of `a=crypto` in a message's body.
fn cryptos(sent: &Sent) -> Vec<String> {
    let body = sent.body();
    body.lines().filter_map(|line| line.strip_prefix("a=crypto:")).map(str::to_owned).collect()
}

fn keys(w: &World) -> [Option<SideKeys>; 2] {
    let entry = w.entry.as_ref().expect("the relay was told");
    [entry.ingress.keys, entry.egress.keys]
}

fn answer(w: &mut World, invite: &Sent, body: &str) -> Sent {
    w.receive(CALLEE, &response(invite, "200 OK", "b1", CONTACT, body));
    w.commit_all();
    w.expect(CALLEE, "ACK");
    let ok = w.expect(CALLER, "SIP/2.0 200");
    w.receive(CALLER, &from_caller(&ok, "ACK", 1, ""));
    w.commit_all();
    ok
}

#[test]
fn ex11_each_leg_under_tls_has_keys_of_its_own() {
    let mut w = under_tls(SECURED, Srtp::Optional, Srtp::Optional);
    let invite = invited(&mut w);
    // Ours: three suites, none of the caller's keys.
    let offered = cryptos(&invite);
    assert!(invite.body().contains("m=audio 20000 RTP/SAVP 8 0\r\n"), "{}", invite.body());
    let names: Vec<_> = offered.iter().map(|line| line.rsplit_once(' ').expect("words").0).collect();
    assert_eq!(names, ["1 AES_CM_128_HMAC_SHA1_80", "2 AEAD_AES_256_GCM", "3 AEAD_AES_128_GCM"]);
    assert!(!invite.text.contains("PS1uQCVeeCFC"));
    let ok = answer(&mut w, &invite, ACCEPTED);
    // The answer names the caller's tag, with a key of ours.
    let [line] = &cryptos(&ok)[..] else { panic!("one key: {}", ok.body()) };
    assert!(line.starts_with("5 AES_CM_128_HMAC_SHA1_32 inline:") && !line.contains("PS1u"), "{line}");
    assert!(ok.body().contains("m=audio 10000 RTP/SAVP 8\r\n") && !ok.text.contains("WVNfX19z"));
    let [Some(ingress), Some(egress)] = keys(&w) else { panic!("both are secured: {:?}", w.entry) };
    let (theirs, ours) = (ingress.receive.expect("theirs"), ingress.send.expect("ours"));
    assert_eq!((theirs.suite(), ours.suite()), (SrtpSuite::AesCm32, SrtpSuite::AesCm32));
    assert_eq!(theirs.key_and_salt(), b"=-n@%^x!Bjufr9)?,#5h\\`=&]{qiPQ");
    let (theirs, ours) = (egress.receive.expect("theirs"), egress.send.expect("ours"));
    assert_eq!((theirs.suite(), ours.suite()), (SrtpSuite::AesCm80, SrtpSuite::AesCm80));
    assert_ne!(ingress.send, egress.send);
    assert!(!format!("{:?}", w.entry).contains("qiPQ"));
}

#[test]
fn ex11_one_leg_is_secured_and_the_other_in_clear() {
    // Towards the callee.
    let mut w = under_tls(OFFER, Srtp::Off, Srtp::Required);
    let invite = invited(&mut w);
    assert!(invite.body().contains("RTP/SAVP"));
    let ok = answer(&mut w, &invite, ACCEPTED);
    assert!(ok.body().contains("m=audio 10000 RTP/AVP 8\r\n") && cryptos(&ok).is_empty(), "{}", ok.body());
    assert!(matches!(keys(&w), [None, Some(SideKeys { receive: Some(_), send: Some(_) })]));
    // Towards the caller.
    let mut w = under_tls(SECURED, Srtp::Required, Srtp::Off);
    let invite = invited(&mut w);
    assert!(invite.body().contains("m=audio 20000 RTP/AVP 8 0\r\n") && cryptos(&invite).is_empty());
    let ok = answer(&mut w, &invite, ANSWER);
    assert!(ok.body().contains("RTP/SAVP") && cryptos(&ok).len() == 1);
    assert!(matches!(keys(&w), [Some(SideKeys { receive: Some(_), send: Some(_) }), None]));
}

#[test]
fn what_is_required_and_not_offered_is_refused_and_what_is_off_is_not_taken() {
    let unusable =
        SECURED.replace("a=crypto:5 AES_CM_128_HMAC_SHA1_32", "a=crypto:5 AES_192_CM_HMAC_SHA1_80");
    for (offer, wish, refused) in [
        (OFFER, Srtp::Required, true),
        (OFFER, Srtp::Optional, false),
        (OFFER, Srtp::Off, false),
        (SECURED, Srtp::Required, false),
        (SECURED, Srtp::Optional, false),
        (SECURED, Srtp::Off, true),
        (&unusable, Srtp::Required, true),
    ] {
        let mut w = under_tls(offer, wish, Srtp::Off);
        w.commit();
        let start = w.expect(CALLER, "SIP/2.0").text;
        assert_eq!(start.starts_with("SIP/2.0 488"), refused, "{wish:?}: {start}");
        assert!(!refused || start.contains("media.srtp"), "{start}");
    }
}

#[test]
fn keys_do_not_travel_in_clear() {
    for (offer, caller, callee, expected) in [
        (OFFER, Srtp::Optional, Srtp::Optional, "SIP/2.0 100"),
        (OFFER, Srtp::Required, Srtp::Optional, "SIP/2.0 488"),
        (SECURED, Srtp::Optional, Srtp::Optional, "SIP/2.0 488"),
        (OFFER, Srtp::Optional, Srtp::Required, "SIP/2.0 100"),
    ] {
        let mut w = World::with(&invite(offer, ""), wishes(caller, callee));
        w.commit();
        w.expect(CALLER, expected);
        if expected == "SIP/2.0 100" && callee == Srtp::Required {
            w.commit();
            assert!(w.expect(CALLER, "SIP/2.0 488").text.contains("keys travel under TLS alone"));
        } else if expected == "SIP/2.0 100" {
            assert!(w.expect(CALLEE, "INVITE").body().contains("RTP/AVP"));
        }
    }
}

#[test]
fn a_callee_that_takes_no_keys_is_asked_in_clear_where_that_will_do() {
    for wish in [Srtp::Optional, Srtp::Required] {
        let mut w = under_tls(OFFER, Srtp::Off, wish);
        let invite = invited(&mut w);
        w.receive(CALLEE, &response(&invite, "488 Not Acceptable Here", "b1", "", ""));
        w.commit();
        w.expect(CALLEE, "ACK");
        if wish == Srtp::Required {
            w.expect(CALLER, "SIP/2.0 488");
            continue;
        }
        let again = w.expect(CALLEE, "INVITE");
        assert!(again.body().contains("RTP/AVP") && cryptos(&again).is_empty(), "{}", again.body());
        // A successor says the same.
        w.take_over();
        assert_eq!(w.expect(CALLEE, "INVITE").text, again.text);
        w.receive(CALLEE, &response(&again, "488 Not Acceptable Here", "b2", "", ""));
        w.commit();
        w.expect(CALLEE, "ACK");
        w.expect(CALLER, "SIP/2.0 488");
    }
}

#[test]
fn an_answer_in_clear_will_do_where_security_is_optional() {
    let mut w = under_tls(OFFER, Srtp::Off, Srtp::Optional);
    let invite = invited(&mut w);
    answer(&mut w, &invite, ANSWER);
    assert_eq!(keys(&w), [None, None]);
    let stranger = ACCEPTED.replace("a=crypto:1", "a=crypto:7");
    for (wish, body) in [(Srtp::Required, ANSWER), (Srtp::Optional, &stranger)] {
        let mut w = under_tls(OFFER, Srtp::Off, wish);
        let invite = invited(&mut w);
        w.receive(CALLEE, &response(&invite, "200 OK", "b1", CONTACT, body));
        w.commit_all();
        assert_eq!(w.take("SIP/2.0 502").len(), 1, "{wish:?}");
    }
}

#[test]
fn a_hold_and_a_successor_keep_the_keys() {
    let mut w = under_tls(SECURED, Srtp::Required, Srtp::Required);
    let invite = invited(&mut w);
    let ok = answer(&mut w, &invite, ACCEPTED);
    let before = keys(&w);
    let hold = SECURED.replace("a 1 1", "a 1 2") + "a=sendonly\r\n";
    w.receive(CALLER, &from_caller(&ok, "INVITE", 2, &hold));
    w.expect(CALLER, "SIP/2.0 100");
    let reinvite = w.expect(CALLEE, "INVITE");
    assert_eq!(cryptos(&reinvite), cryptos(&invite));
    let held = ACCEPTED.replace("b 1 1", "b 1 2") + "a=recvonly\r\n";
    w.receive(CALLEE, &response(&reinvite, "200 OK", "b1", CONTACT, &held));
    w.commit_all();
    w.expect(CALLEE, "ACK");
    let again = w.expect(CALLER, "SIP/2.0 200");
    assert_eq!(cryptos(&again), cryptos(&ok));
    assert_eq!(keys(&w), before);
    assert_eq!(w.entry.as_ref().and_then(|entry| entry.resumed.clone()), None);
    w.take_over();
    assert_eq!(keys(&w), before);
    assert_eq!(w.entry.as_ref().and_then(|entry| entry.resumed.clone()), Some(Vec::new()));
}

#[test]
fn a_mark_is_recorded_then_told_and_a_successor_has_it() {
    let mut w = under_tls(SECURED, Srtp::Required, Srtp::Required);
    let invite = invited(&mut w);
    answer(&mut w, &invite, ACCEPTED);
    w.relay.clear();
    let mark = Mark { side: Side::Egress, stream: 0, count: Count::Sent(7), value: 2 };
    w.input(Input::Mark(mark));
    w.input(Input::Mark(mark)); // Asked again meanwhile.
    assert!(w.relay.is_empty());
    w.commit();
    assert_eq!(w.relay, [format!("recorded {mark:?}")]);
    assert!(w.proposed.is_empty());
    // A late one takes nothing back.
    w.input(Input::Mark(Mark { value: 1, ..mark }));
    w.commit();
    w.take_over();
    let resumed = w.entry.as_ref().and_then(|entry| entry.resumed.clone());
    let told = (env::RelaySide::Egress, SrtpMark { count: SrtpCount::Sent(7), value: 2 });
    assert_eq!(resumed, Some(vec![told]));
}

#[test]
fn es2021_09_forged_packets_end_no_call() {
    let mut w = under_tls(SECURED, Srtp::Required, Srtp::Required);
    let invite = invited(&mut w);
    let ok = answer(&mut w, &invite, ACCEPTED);
    for _ in 0..200 {
        w.input(Input::Forged);
    }
    w.expect_silence();
    w.receive(CALLER, &from_caller(&ok, "BYE", 2, ""));
    let bye = w.expect(CALLEE, "BYE");
    w.receive(CALLEE, &response(&bye, "200 OK", "b1", "", ""));
    w.commit_all();
    assert_eq!(w.cdrs[0].events, ["srtp-forged"]);
}

//! What the settings of a trunk change on the wire, each with its twin.

mod ladder;

use ladder::*;
use trunk::settings::{IdentityHeader, MediaMode};

fn egress_invite(w: &mut World) -> Sent {
    w.commit();
    w.expect(CALLER, "SIP/2.0 100");
    w.expect(CALLEE, "INVITE")
}

#[test]
fn fr38_direct_audio_shows_each_side_the_other_and_carries_nothing() {
    // Source document 001: with direct audio the media does not pass the platform. Twin: anchored.
    let mut direct =
        World::with(&invite(OFFER, ""), |trunk, _| trunk.settings.media.mode = MediaMode::Direct);
    let asked = egress_invite(&mut direct);
    assert!(asked.body().contains("c=IN IP4 192.0.2.1") && asked.body().contains("m=audio 4000"));
    assert!(direct.relay.is_empty());
    let mut anchored =
        World::with(&invite(OFFER, ""), |trunk, _| trunk.settings.media.mode = MediaMode::Anchored);
    let asked = egress_invite(&mut anchored);
    assert!(asked.body().contains("c=IN IP4 203.0.113.1") && asked.body().contains("m=audio 20000"));
    assert!(!anchored.relay.is_empty());
}

#[test]
fn fr12_the_caller_id_comes_from_pai_then_rpid_then_from() {
    let extra = "P-Asserted-Identity: <sip:+31201234568@192.0.2.1>\r\n\
        Remote-Party-ID: <sip:+31201234569@192.0.2.1>;party=calling\r\n";
    let own = |trunk: &mut trunk::Trunk| {
        trunk.caller_ids = ["+31201234567", "+31201234568", "+31201234569"].map(str::to_owned).to_vec();
    };
    let shown = |accept: Vec<IdentityHeader>| {
        let mut w = World::with(&invite(OFFER, extra), |trunk, _| {
            own(trunk);
            trunk.settings.identity.accept = accept.clone();
        });
        egress_invite(&mut w).get("From")
    };
    let all = vec![IdentityHeader::Pai, IdentityHeader::Rpid, IdentityHeader::From];
    assert!(shown(all.clone()).contains("+31201234568"));
    assert!(shown(all[1..].to_vec()).contains("+31201234569"));
    assert!(shown(all[2..].to_vec()).contains("+31201234567"));
}

#[test]
fn ex4_a_dropped_header_stays_here_and_an_added_one_is_ours() {
    let extra = "X-Exotel-CallSid: forged\r\nX-Kept: yes\r\n";
    let with = |drop: bool| {
        let mut w = World::with(&invite(OFFER, extra), |_, gateway| {
            if drop {
                gateway.settings.headers.drop = vec!["X-Exotel-CallSid".into()];
                gateway.settings.headers.add.insert("X-Exotel-CallSid".into(), "{call.id}".into());
            }
        });
        egress_invite(&mut w)
    };
    assert_eq!(with(true).get("X-Exotel-CallSid"), "0000010000000001");
    assert_eq!(with(true).get("X-Kept"), "yes");
    assert_eq!(with(false).get("X-Exotel-CallSid"), "forged");
}

#[test]
fn the_answer_to_one_call_too_many_is_what_the_limits_owner_wants_said() {
    // Contract, `[trunk.answers]`. Twin: the table's 486 without Retry-After.
    let refused = |own: bool| {
        let mut w = World::with(&invite(OFFER, ""), |_, gateway| {
            if own {
                gateway.settings.answers.concurrent = Some(503);
                gateway.settings.answers.retry_after = true;
            }
        });
        w.free = vec![false; 8];
        w.commit();
        let refusal = w.expect(CALLER, "SIP/2.0");
        assert_eq!(refusal.start()[8..11].parse(), Ok(w.cdrs[0].sip_status), "the record says the same");
        (w.cdrs[0].sip_status, !refusal.get("Retry-After").is_empty())
    };
    assert_eq!(refused(true), (503, true));
    assert_eq!(refused(false), (486, false));
}

#[test]
fn a_further_target_that_is_full_answers_as_its_owner_wants_too() {
    let refused = |own: bool| {
        let mut w = World::with(&invite(OFFER, ""), |_, gateway| {
            gateway.settings.answers.concurrent = own.then_some(480);
        });
        let asked = egress_invite(&mut w);
        w.free = vec![false; 8];
        w.receive(CALLEE, &response(&asked, "503 Service Unavailable", "b1", "", ""));
        w.commit_all();
        w.take("ACK");
        (w.sent.pop_front().map(|sent| sent.start()[8..11].to_owned()), w.cdrs[0].sip_status)
    };
    assert_eq!(refused(true), (Some("480".to_owned()), 480));
    assert_eq!(refused(false), (Some("486".to_owned()), 486));
}

//! Digest and REGISTER with devices that others wrote: SIPp proves itself call by call, two telephones register and
//! call each other.

use std::time::Duration;

use tests::baresip::Telephone;
use tests::linphone::Linphone;
use tests::node::Node;
use tests::resources::{FAR_NUMBER, callee, caller, office_and_carrier};
use tests::sipp::{Sipp, Transport};
use tests::wait;

use crate::t30_audio::assert_heard;

const ALICE_HERTZ: f64 = 440.0;
const BOB_HERTZ: f64 = 1_100.0;
const CALLS: u32 = 20;
const PATIENCE: Duration = Duration::from_secs(30);

/// The office proves itself by digest, and by nothing else.
fn office_by_digest(node: &Node) -> String {
    office_and_carrier(node, Transport::Udp, 100)
        .replace("auth = [\"address\"]", "auth = [\"digest\"]")
        .replace(
            "[trunk.access]",
            "account = [{ username = \"office-1\", password = \"canary-4711\" }]\n[trunk.access]",
        )
}

/// FR4 with SIPp: each call is challenged once and let in; with a wrong password none is.
#[test]
fn fr4_sipp_calls_with_its_password_and_not_with_another() {
    let node = Node::with_resources(office_by_digest);
    let dir = node.dir().to_owned();
    let mut carrier = Sipp::callee(&dir, "uas", callee(&node), Transport::Udp).start();
    let call = |password: &str| {
        let mut office = Sipp::caller(&dir, "digest_caller", caller(&node), node.sip(), Transport::Udp)
            .load(10, CALLS, Duration::from_millis(200), FAR_NUMBER)
            .options(&["-au", "office-1", "-ap", password])
            .start();
        let counts = office.finish(PATIENCE);
        (counts, office.errors())
    };
    let (counts, errors) = call("canary-4711");
    assert_eq!((counts.successful, counts.failed), (u64::from(CALLS), 0), "{errors}");
    let records = node.settle(CALLS as usize);
    assert!(records.iter().all(|record| record.answered() && record.0["account"] == 1), "{records:?}");
    assert_eq!(node.metric("banyan_challenges_total"), Some(f64::from(CALLS)));

    // The second 407 ends each of these calls: no call begins, and none is recorded.
    let (counts, errors) = call("another");
    assert_eq!((counts.created, counts.failed), (u64::from(CALLS), 0), "{errors}");
    assert_eq!(node.metric("banyan_wrong_credentials_total"), Some(f64::from(CALLS)));
    assert_eq!(node.metric("banyan_invites_total"), Some(f64::from(CALLS)));
    assert_eq!(node.settle(CALLS as usize).len(), CALLS as usize);
    // I-39: whatever the node wrote, it wrote no password.
    assert!(!node.log().contains("canary-4711"), "{}", node.log_tail());
    let printed = node.banyan(["get", "trunk", "office", "-o", "toml"]).stdout;
    let printed = String::from_utf8_lossy(&printed).into_owned();
    assert!(printed.contains("password_stored = true") && !printed.contains("canary"), "{printed}");
    node.apply(&printed);
    call("canary-4711");
    assert_eq!(
        node.settle(2 * CALLS as usize).len(),
        2 * CALLS as usize,
        "what was printed keeps the password"
    );
    carrier.stop();
}

/// Issue 5, "Shows" 1, over UDP: both register with the accounts of one trunk, and hear each other both ways.
#[test]
fn t30_two_telephones_register_and_call_each_other() {
    for (caller, callee) in [("alice", "bob"), ("bob", "alice")] {
        let mut node = Node::at_localhost();
        let dir = node.dir().to_owned();
        node.start();
        node.apply(&house());
        let registrar = node.sip().to_string();
        let telephone = |name: &str, port, rtp, hertz| {
            let telephone = Telephone::new(&dir, name, port, rtp, Transport::Udp, hertz);
            telephone.registers(&registrar, &format!("canary-{name}"), 60);
            telephone
        };
        let mut alice = telephone("alice", 5072, 30_200, ALICE_HERTZ);
        let mut bob = telephone("bob", 5076, 30_300, BOB_HERTZ);
        let number = if callee == "alice" { "+31201110001" } else { "+31201110002" };
        let (calls, takes) = if caller == "alice" { (&mut alice, &mut bob) } else { (&mut bob, &mut alice) };
        takes.start();
        wait::until("the callee is registered", PATIENCE, || {
            node.get("registrations", &[]).iter().any(|it| it["name"] == callee)
        });
        let registered = node.get("registrations", &[]);
        assert_eq!(registered[0]["trunk"], "office");
        assert_eq!(registered[0]["node"], 1);
        assert!(
            registered[0]["expires_s"].as_u64().is_some_and(|left| (1..=60).contains(&left)),
            "{registered:?}"
        );
        let described = node.banyan(["describe", "trunk", "office"]).stdout;
        let described = String::from_utf8_lossy(&described).into_owned();
        assert!(described.contains("alice") && described.contains("bob"), "{described}");

        calls.call(number, &registrar, 5);
        calls.finish(Duration::from_secs(20));
        let records = node.settle(1);
        takes.stop();
        let ladder = format!("alice:\n{}\nbob:\n{}", alice.words(), bob.words());
        assert_eq!(records.len(), 1, "{ladder}");
        assert!(records[0].answered(), "{}\n{ladder}", records[0].0);
        let account = if caller == "alice" { 1 } else { 2 };
        assert_eq!(records[0].0["account"], account, "{}", records[0].0);
        assert_heard("alice", &alice.heard(), BOB_HERTZ, ALICE_HERTZ, &ladder);
        assert_heard("bob", &bob.heard(), ALICE_HERTZ, BOB_HERTZ, &ladder);
        // The one who called has registered, too, and both have taken leave (Expires 0).
        wait::until("both have taken leave", PATIENCE, || node.get("registrations", &[]).is_empty());
        assert!(!node.log().contains("canary"), "{}", node.log_tail());
    }
}

/// Issue 5, "Shows" 1: linphone's command-line client does the same.
#[test]
fn t30_two_linphones_register_and_call_each_other() {
    let mut node = Node::at_localhost();
    let dir = node.dir().to_owned();
    node.start();
    node.apply(&house());
    let telephone = |name: &str, port, rtp, hertz| {
        let mut telephone = Linphone::start(&dir, name, port, rtp, hertz);
        telephone.register(name, node.sip(), &format!("canary-{name}"));
        telephone
    };
    let mut alice = telephone("alice", 5072, 30_200, ALICE_HERTZ);
    let mut bob = telephone("bob", 5076, 30_300, BOB_HERTZ);
    wait::until("both are registered", PATIENCE, || node.get("registrations", &[]).len() == 2);

    alice.order(&format!("call sip:+31201110002@{}", node.sip()));
    alice.hears_of("Media streams established");
    wait::pass(Duration::from_secs(4));
    alice.order("terminate");
    let records = node.settle(1);
    let ladder = format!("alice:\n{}\nbob:\n{}", alice.words(), bob.words());
    assert!(records.len() == 1 && records[0].answered(), "{ladder}");
    assert_eq!(
        (&records[0].0["account"], records[0].text("hangup_by")),
        (&1.into(), "caller"),
        "{}",
        records[0].0
    );
    assert_heard("alice", &alice.heard(), BOB_HERTZ, ALICE_HERTZ, &ladder);
    assert_heard("bob", &bob.heard(), ALICE_HERTZ, BOB_HERTZ, &ladder);
    alice.order("unregister");
    bob.order("unregister");
    wait::until("both have taken leave", PATIENCE, || node.get("registrations", &[]).is_empty());
    assert!(!node.log().contains("canary"), "{}", node.log_tail());
}

/// One trunk, its two accounts, and a number for each.
fn house() -> String {
    "[[tenant]]\nname = \"house\"\n\n\
     [[trunk]]\nname = \"office\"\ntenant = \"house\"\n\
     caller_ids = [\"+31201110001\", \"+31201110002\"]\ndefault_caller_id = \"+31201110001\"\n\
     account = [{ username = \"alice\", password = \"canary-alice\" }, { username = \"bob\", password = \"canary-bob\" }]\n\n\
     [trunk.access]\nauth = [\"digest\"]\n\n[trunk.limits]\nconcurrent = 4\n\n\
     [[number]]\ne164 = \"+31201110001\"\ntrunk = \"office\"\ndelivery = [\"account:1\"]\n\n\
     [[number]]\ne164 = \"+31201110002\"\ntrunk = \"office\"\ndelivery = [\"account:2\"]\n"
        .to_owned()
}

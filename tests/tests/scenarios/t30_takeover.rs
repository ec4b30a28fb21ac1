//! Two telephones with accounts of one trunk talk through a floating home, whose node is killed: over UDP, TCP, and TLS
//! with SRTP. They hear each other afterwards, nobody registers again for it, and there is one record.

use std::time::Duration;

use tempfile::TempDir;
use tests::baresip::Telephone;
use tests::certificate::Authority;
use tests::http;
use tests::node::Node;
use tests::sipp::Transport;
use tests::trio::{Setup, Trio};
use tests::wait;

use crate::t30_tls::section;

const ALICE_HERTZ: f64 = 440.0;
const BOB_HERTZ: f64 = 1_100.0;
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn t30_a_call_between_accounts_over_udp_outlives_its_node() {
    outlives(Transport::Udp);
}

#[test]
fn t30_a_call_between_accounts_over_tcp_outlives_its_node() {
    outlives(Transport::Tcp);
}

/// The keys of SRTP are in the record: whoever takes the call over goes on under them.
#[test]
fn t30_a_call_between_accounts_over_tls_with_srtp_outlives_its_node() {
    outlives(Transport::Tls);
}

fn outlives(transport: Transport) {
    let place = TempDir::new().expect("a directory");
    let authority = Authority::new(place.path());
    let setup = Setup { homes: 1, ..Setup::default() };
    let alter = |trio: &Trio, file: String| {
        if transport != Transport::Tls {
            return file;
        }
        let own = authority.issue("home", &[&trio.home(1).ip().to_string()]);
        file.replace("\"tcp:5060\"]", "\"tls:5061\"]") + &section(&own, &authority.file())
    };
    let mut trio = Trio::start_with(&setup, alter, |_| house(transport));
    let port = if transport == Transport::Tls { 5061 } else { 5060 };
    let home = format!("{}:{port}", trio.home(1).ip());
    let dir = trio.node(1).dir().to_owned();
    let telephone = |name: &str, port, rtp, hertz| {
        let mut telephone = Telephone::new(&dir, name, port, rtp, transport, hertz);
        telephone.registers(&home, &format!("canary-{name}"), 60);
        if transport == Transport::Tls {
            telephone.believes(&authority.file());
            telephone.shows(&authority.issue("phone", &["127.0.0.1"]));
            telephone.secures("srtp-mand");
        }
        telephone
    };
    let mut alice = telephone("alice", 5072, 30_200, ALICE_HERTZ);
    let mut bob = telephone("bob", 5076, 30_300, BOB_HERTZ);
    if transport == Transport::Tls {
        trio.running().for_each(await_version);
    }
    bob.start();
    let registered = |trio: &Trio, name: &str| {
        trio.running().all(|node| node.get("registrations", &[]).iter().any(|it| it["name"] == name))
    };
    wait::until("every node knows where Bob is", PATIENCE, || registered(&trio, "bob"));

    let begun = wait::now();
    alice.call("+31201110002", &home, 10);
    let answered = |trio: &Trio| {
        trio.running().filter_map(|node| node.metric("banyan_calls_answered_total")).sum::<f64>()
    };
    wait::until("the call is up", PATIENCE, || answered(&trio) >= 1.0);
    let holder = trio.holder(trio.node(1), 1).expect("somebody holds the home");
    trio.node_mut(holder).kill();
    // More than this nobody can have heard by now.
    let before = usize::try_from(begun.elapsed().as_millis() / 100).unwrap_or(usize::MAX);
    assert!(registered(&trio, "bob"), "the others know where Bob is");
    alice.finish(Duration::from_secs(30));
    let records = trio.settle(1);
    bob.stop();
    let ladder = format!("alice:\n{}\nbob:\n{}", alice.words(), bob.words());
    assert_eq!(records.len(), 1, "{ladder}");
    assert!(records[0].answered() && records[0].text("reason") == "BYE", "{}\n{ladder}", records[0].0);
    assert_eq!(records[0].0["account"], 1, "{}", records[0].0);
    assert_ne!(records[0].0["node_start"], records[0].0["node_end"], "{}", records[0].0);
    for (telephone, hertz) in [(&alice, BOB_HERTZ), (&bob, ALICE_HERTZ)] {
        let heard = telephone.tenths_heard(hertz);
        assert!(heard >= before + 10, "{heard} tenths, {before} at most before\n{ladder}");
    }
    assert!(trio.running().all(|node| !node.log().contains("canary") && !node.log().contains("inline:")));
    trio.assert_no_panic();
}

/// Nothing is secured before commands can record how far packets have come.
pub fn await_version(node: &Node) {
    wait::until("commands are of version 3", PATIENCE, || {
        let status = http::get(node.http(), "/v1/status").map(|answer| answer.body).unwrap_or_default();
        let status: serde_json::Value = serde_json::from_str(&status).unwrap_or_default();
        status["apply_version"].as_u64() >= Some(3)
    });
}

/// One trunk, its two accounts, and a number for each; nothing but this transport is let in.
fn house(transport: Transport) -> String {
    let (over, srtp) = match transport {
        Transport::Udp => ("udp", "off"),
        Transport::Tcp => ("tcp", "off"),
        Transport::Tls => ("tls", "required"),
    };
    format!(
        "[[tenant]]\nname = \"house\"\n\n\
         [[trunk]]\nname = \"office\"\ntenant = \"house\"\n\
         caller_ids = [\"+31201110001\", \"+31201110002\"]\ndefault_caller_id = \"+31201110001\"\n\
         account = [{{ username = \"alice\", password = \"canary-alice\" }}, {{ username = \"bob\", password = \"canary-bob\" }}]\n\n\
         [trunk.access]\nauth = [\"digest\"]\ntransports = [\"{over}\"]\n\n\
         [trunk.media]\nsrtp = \"{srtp}\"\n\n[trunk.limits]\nconcurrent = 4\n\n\
         [[number]]\ne164 = \"+31201110001\"\ntrunk = \"office\"\ndelivery = [\"account:1\"]\n\n\
         [[number]]\ne164 = \"+31201110002\"\ntrunk = \"office\"\ndelivery = [\"account:2\"]\n"
    )
}

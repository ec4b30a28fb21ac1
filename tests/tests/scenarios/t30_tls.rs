//! Telephones that others wrote speak TLS with the node: they register, call, hear each other, and notice no new
//! certificate.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;
use tests::baresip::Telephone;
use tests::certificate::Authority;
use tests::node::Node;
use tests::resources::{FAR_NUMBER, callee, caller, office_and_carrier};
use tests::sipp::Transport;
use tests::wait;

use crate::t30_audio::assert_heard;

const ALICE_HERTZ: f64 = 440.0;
const BOB_HERTZ: f64 = 1_100.0;
const PATIENCE: Duration = Duration::from_secs(30);

/// Two accounts of one trunk register over TLS, which is all that it admits, and call each other; amid the call the node
/// gets another certificate.
#[test]
fn t30_two_telephones_register_and_call_over_tls_while_the_certificate_is_replaced() {
    let mut node = Node::at_localhost();
    let dir = node.dir().to_owned();
    let authority = Authority::new(&dir);
    let [first, second] = ["first", "second"].map(|name| authority.issue(name, &["127.0.0.1"]));
    let own = dir.join("node.pem");
    fs::copy(&first, &own).expect("the first certificate");
    listen_under_tls(&node, "127.0.0.1:5061", &section(&own, &authority.file()));
    node.start();
    node.apply(&house());
    let telephone = |name: &str, port, rtp, hertz| {
        let telephone = Telephone::new(&dir, name, port, rtp, Transport::Tls, hertz);
        telephone.believes(&authority.file());
        telephone.registers("127.0.0.1:5061", &format!("canary-{name}"), 60);
        telephone
    };
    let mut alice = telephone("alice", 5072, 30_200, ALICE_HERTZ);
    let mut bob = telephone("bob", 5076, 30_300, BOB_HERTZ);
    bob.start();
    wait::until("bob is registered", PATIENCE, || {
        node.get("registrations", &[]).iter().any(|it| it["name"] == "bob" && it["transport"] == "tls")
    });
    let registered = node.get("registrations", &[]);
    // At most 60 s over TLS.
    assert!(registered[0]["expires_s"].as_u64().is_some_and(|left| left <= 60), "{registered:?}");
    assert!(shown(&authority, "127.0.0.1:5061").contains("CN = first"));

    alice.call("+31201110002", "127.0.0.1:5061", 7);
    wait::until("the call is up", PATIENCE, || node.metric("banyan_calls_answered_total") == Some(1.0));
    reload(&node, &second, &own, "were read again");
    let now = shown(&authority, "127.0.0.1:5061");
    assert!(now.contains("CN = second") && now.contains("Verify return code: 0"), "{now}");
    let check = || node.banyan(["check", "node.toml"]);
    assert!(check().status.success());
    // What can't be used is refused, and the one before stays.
    reload(&node, &authority.file(), &own, "holds no private key");
    assert!(shown(&authority, "127.0.0.1:5061").contains("CN = second"));
    let said = String::from_utf8_lossy(&check().stderr).into_owned();
    assert!(said.starts_with("node.toml:") && said.contains("sip.tls.key holds no private key"), "{said}");

    alice.finish(Duration::from_secs(20));
    let records = node.settle(1);
    bob.stop();
    let ladder = format!("alice:\n{}\nbob:\n{}", alice.words(), bob.words());
    assert!(records.len() == 1 && records[0].answered(), "{records:?}\n{ladder}");
    assert_heard("alice", &alice.heard(), BOB_HERTZ, ALICE_HERTZ, &ladder);
    assert_heard("bob", &bob.heard(), ALICE_HERTZ, BOB_HERTZ, &ladder);
    // I-39: whatever the node wrote, it wrote no key.
    assert!(!node.log().contains("PRIVATE") && !node.log().contains("canary"), "{}", node.log_tail());
}

/// A carrier that proves its name is called; one that can't is not, and the log says what to do about it.
#[test]
fn t30_a_carrier_is_called_over_tls_if_it_proves_who_it_is() {
    let mut node = Node::new();
    let dir = node.dir().to_owned();
    let (authority, other) =
        (Authority::new(&dir), Authority::new(&TempDir::new().expect("a directory").keep()));
    let sip = format!("{}:5061", node.sip().ip());
    let own = authority.issue("node", &[&node.sip().ip().to_string()]);
    listen_under_tls(&node, &sip, &section(&own, &authority.file()));
    node.start();
    node.apply(&office_and_carrier(&node, Transport::Tls, 100));
    let (office, carrier) = (caller(&node).to_string(), callee(&node).to_string());
    let load = |node: &Node, certificate: &Path| {
        let (certificate, ca) = (certificate.to_string_lossy(), authority.file());
        let mut words = vec!["load", "--target", &sip, "--listen", &office, "--callee", &carrier, "--media"];
        words.extend(["--transport", "tls", "--certificate", &certificate, "--key", &certificate]);
        words.extend(["--rate", "20", "--calls", "20", "--hold", "0.5", "--to", FAR_NUMBER, "-o", "json"]);
        let ca = ca.to_string_lossy().into_owned();
        words.extend(["--ca", &ca]);
        let output = node.banyan(words);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let names = [&callee(&node).ip().to_string()];
    let report = load(&node, &authority.issue("carrier", &names.map(String::as_str)));
    assert!(report.contains("\"answered\": 20"), "{report}\n{}", node.log_tail());
    // The twin: the same names, by somebody whom the node does not believe. What it has open, it may use.
    node.stop();
    node.start();
    let report = load(&node, &other.issue("impostor", &names.map(String::as_str)));
    assert!(report.contains("\"answered\": 0"), "{report}\n{}", node.log_tail());
    let says = format!("no TLS with {carrier}");
    assert!(node.log().contains(&says) && node.log().contains("sip.tls.ca"), "{}", node.log_tail());
    let records = node.settle(40);
    assert!(records.iter().skip(20).all(|record| record.0["sip_status"] == 480), "{:?}", records.last());
}

/// Its node file with this listener and no other.
fn listen_under_tls(node: &Node, at: &str, section: &str) {
    let file = node.default_node_file();
    let (before, rest) = file.split_once("listen = [").expect("[sip] stands before [http]");
    let (_, after) = rest.split_once("]\n").expect("a list");
    node.write_node_file(&format!("{before}listen = [\"tls://{at}\"]\n{after}{section}"));
}

/// Another file takes the place of the node's certificate, and the node is told.
fn reload(node: &Node, file: &Path, own: &Path, says: &str) {
    let next = own.with_extension("next");
    fs::copy(file, &next).expect("a copy");
    fs::rename(&next, own).expect("the other file");
    node.process().expect("the node runs").signal(Signal::HUP);
    wait::until(says, PATIENCE, || node.log().contains(says));
}

/// What OpenSSL says of a connection to a server.
fn shown(authority: &Authority, at: &str) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", at, "-CAfile"]).arg(authority.file()).stdin(Stdio::null());
    let output = command.output().expect("openssl runs; install it with `apt-get install openssl`");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a node's file says of TLS.
pub fn section(own: &Path, ca: &Path) -> String {
    let (own, ca) = (own.display(), ca.display());
    format!("\n[sip.tls]\ncertificate = \"{own}\"\nkey = \"{own}\"\nca = \"{ca}\"\n")
}

/// One trunk, its two accounts, and a number for each; nothing but TLS is let in.
fn house() -> String {
    "[[tenant]]\nname = \"house\"\n\n\
     [[trunk]]\nname = \"office\"\ntenant = \"house\"\n\
     caller_ids = [\"+31201110001\", \"+31201110002\"]\ndefault_caller_id = \"+31201110001\"\n\
     account = [{ username = \"alice\", password = \"canary-alice\" }, { username = \"bob\", password = \"canary-bob\" }]\n\n\
     [trunk.access]\nauth = [\"digest\"]\ntransports = [\"tls\"]\n\n[trunk.limits]\nconcurrent = 4\n\n\
     [[number]]\ne164 = \"+31201110001\"\ntrunk = \"office\"\ndelivery = [\"account:1\"]\n\n\
     [[number]]\ne164 = \"+31201110002\"\ntrunk = \"office\"\ndelivery = [\"account:2\"]\n"
        .to_owned()
}

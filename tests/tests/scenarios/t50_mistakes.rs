//! What people get wrong: a port that is taken, a key that does not exist, a resource that can't be.

use std::fs;
use std::net::UdpSocket;
use std::time::Duration;

use tests::node::Node;
use tests::resources::office_and_carrier;
use tests::sipp::Transport;

#[test]
fn t50_a_taken_port_is_one_sentence_and_exit_1() {
    let mut node = Node::new();
    let taken = UdpSocket::bind(node.sip()).expect("the address is free");
    node.spawn();
    let status = node.wait_end(Duration::from_secs(30));
    let log = node.log();
    assert_eq!(status.and_then(|status| status.code()), Some(1), "{log}");
    assert!(log.contains(&node.sip().to_string()), "the sentence names the address: {log}");
    assert!(!log.contains("panicked"), "{log}");
    // The twin: with the port free again, the same file starts.
    drop(taken);
    node.start();
    assert!(node.stop().success());
}

#[test]
fn t50_a_wrong_key_in_the_node_file_is_named_with_its_place_and_exit_2() {
    let mut node = Node::new();
    let wrong = node.default_node_file().replace("domain = ", "domian = ");
    node.write_node_file(&wrong);
    let line = 1 + wrong.lines().position(|line| line.starts_with("domian")).unwrap_or_default();
    node.spawn();
    let status = node.wait_end(Duration::from_secs(30));
    let log = node.log();
    assert_eq!(status.and_then(|status| status.code()), Some(2), "{log}");
    assert!(log.contains(&format!("node.toml:{line}:1: ")), "file:line:column: {log}");
    assert!(log.contains("domain"), "the nearest known key: {log}");
}

#[test]
fn t50_a_wrong_resource_file_applies_nothing_and_exits_2() {
    let node = Node::with_resources(|node| office_and_carrier(node, Transport::Udp, 10));
    let path = node.dir().join("wrong.toml");
    let good = "[[gateway]]\nname = \"second\"\ntargets = [\"sip:127.0.0.1:5099\"]\n\n";
    fs::write(&path, format!("{good}[[trunk]]\nname = \"third\"\n[trunk.limits]\nconcurent = 3\n"))
        .expect("the file is written");
    let file = path.to_string_lossy().into_owned();
    for command in [vec!["check", &file], vec!["apply", "-f", &file]] {
        let output = node.banyan(&command);
        let words =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(2), "{command:?}: {words}");
        assert!(words.contains("wrong.toml:8:1: "), "{command:?}: file:line:column: {words}");
        assert!(words.contains("concurrent"), "{command:?}: the nearest known key: {words}");
    }
    let names: Vec<_> = node.get("gateways", &[]).iter().map(|gateway| gateway["name"].clone()).collect();
    assert_eq!(names, ["carrier"], "all or nothing");
    // The twin: the same file without its mistake is applied whole.
    fs::write(&path, good).expect("the file is written");
    assert_eq!(node.banyan(["apply", "-f", &file]).status.code(), Some(0));
    assert_eq!(node.get("gateways", &[]).len(), 2);
}

#[test]
fn t50_an_unreachable_cluster_is_exit_3_and_a_bad_command_line_exit_2() {
    let node = Node::new();
    assert_eq!(node.banyan(["get", "calls"]).status.code(), Some(3));
    assert_eq!(node.banyan(["get"]).status.code(), Some(2));
    assert_eq!(node.banyan(["no-such-command"]).status.code(), Some(2));
}

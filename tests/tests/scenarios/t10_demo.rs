//! `banyan demo`, as a stranger runs it.

use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tests::process::Process;
use tests::{node, wait};

#[test]
fn t10_the_demo_kills_the_holder_of_live_calls_and_loses_none() {
    let figures = demo(&["--calls", "20", "--rate", "10", "--seconds", "8"]);
    assert_eq!(figures.get("nodes").and_then(Value::as_u64), Some(3), "{figures}");
    assert_eq!(figures.pointer("/killed/calls").and_then(Value::as_u64), Some(20), "{figures}");
    // The kill was felt: nobody spoke for the home until its holder was held dead.
    let gap = figures.get("longest_gap_ms").and_then(Value::as_f64);
    assert!(gap.is_some_and(|gap| gap > 100.0), "{figures}");
}

/// The twin of the above: nobody is killed where one node is all there is.
#[test]
fn t10_the_demo_of_one_node_places_calls_with_audio_both_ways_and_exits_0() {
    let figures = demo(&["--nodes", "1", "--calls", "20", "--rate", "10", "--seconds", "3"]);
    assert_eq!(figures.get("killed"), Some(&Value::Null), "{figures}");
}

/// Whoever ends the demo ends its nodes, by SIGTERM and by SIGKILL.
#[test]
fn t10_the_demo_takes_its_nodes_with_it() {
    for signal in [Signal::TERM, Signal::KILL] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut demo = Command::new(node::binary());
        demo.args(["demo", "--nodes", "1", "--calls", "1", "--seconds", "60"]).env("TMPDIR", dir.path());
        let log = dir.path().join("demo.log");
        let mut demo = Process::start(&mut demo, &log).expect("the binary starts");
        let children = format!("/proc/{0}/task/{0}/children", demo.id());
        let child =
            || std::fs::read_to_string(&children).ok()?.split_whitespace().next()?.parse::<u32>().ok();
        let server = wait::for_some(PATIENCE, child).expect("the demo has a node");
        wait::until("the node is up", PATIENCE, || demo.output().contains("A node is up"));
        demo.signal(signal);
        assert!(demo.wait(PATIENCE).is_some(), "{}", demo.tail(20));
        wait::until("its node is gone", PATIENCE, || {
            // Its new parent may not have buried it yet.
            let state = std::fs::read_to_string(format!("/proc/{server}/stat")).unwrap_or_default();
            state.is_empty() || state.contains(") Z ")
        });
        let left = dir.path().read_dir().expect("the directory is readable").count();
        assert!(signal == Signal::KILL || left == 1, "{left} files are left");
    }
}

/// Twenty calls: every one answered, heard both ways and recorded, and nothing left behind.
fn demo(arguments: &[&str]) -> Value {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let output = Command::new(node::binary())
        .arg("demo")
        .args(arguments)
        .args(["-o", "json"])
        .current_dir(dir.path())
        .output()
        .expect("the binary starts; build it with `cargo build -p banyan`");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{words}");
    let figures: Value = serde_json::from_slice(&output.stdout).expect("-o json prints JSON");
    for figure in ["placed", "answered", "audio_both_ways", "cdrs"] {
        assert_eq!(figures.get(figure).and_then(Value::as_u64), Some(20), "{figure} in {figures}");
    }
    assert_eq!(figures.get("lost").and_then(Value::as_u64), Some(0), "{figures}");
    // It promises to leave nothing behind in the directory in which it was started.
    assert_eq!(dir.path().read_dir().expect("the directory is readable").count(), 0);
    figures
}

const PATIENCE: Duration = Duration::from_secs(30);

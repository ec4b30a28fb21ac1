//! `banyan demo`, as a stranger runs it.

use std::process::Command;

use serde_json::Value;
use tests::node;

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

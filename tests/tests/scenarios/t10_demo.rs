//! `banyan demo`, as a stranger runs it.

use std::process::Command;

use serde_json::Value;
use tests::node;

#[test]
fn t10_the_demo_places_calls_with_audio_both_ways_and_exits_0() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let output = Command::new(node::binary())
        .args(["demo", "--calls", "20", "--rate", "10", "--seconds", "3", "-o", "json"])
        .current_dir(dir.path())
        .output()
        .expect("the binary starts; build it with `cargo build -p banyan`");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{words}");
    let figures: Value = serde_json::from_slice(&output.stdout).expect("-o json prints JSON");
    for figure in ["placed", "answered", "cdrs"] {
        assert_eq!(figures.get(figure).and_then(Value::as_u64), Some(20), "{figure} in {figures}");
    }
    assert_eq!(figures.get("lost").and_then(Value::as_u64), Some(0), "{figures}");
    // It promises to leave nothing behind in the directory in which it was started.
    assert_eq!(dir.path().read_dir().expect("the directory is readable").count(), 0);
}

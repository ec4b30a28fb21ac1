//! The windows of hours and days, exact over deaths, restarts and another cluster that is restored from a backup.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use tests::http;
use tests::node::Node;
use tests::orders::{Load, NUMBER, office};
use tests::trio::{Setup, Trio};
use tests::wait;

const PATIENCE: Duration = Duration::from_secs(30);

/// Places calls at a node's own address; gives how many were answered, and how often each refusal was heard.
fn calls(trio: &Trio, of: u8, count: u32) -> (u64, Value) {
    let figures = Load::start(trio.node(of).sip(), trio.pbx(), (count, 20), 0.1).figures();
    (figures["answered"].as_u64().unwrap_or_default(), figures["failed"].clone())
}

fn resources(trio: &Trio, window: &str, limit: u32) -> String {
    office(trio).replace(&format!("{window} = 1000000"), &format!("{window} = {limit}"))
}

/// What a window of the office has in use.
fn in_use(node: &Node, window: &str) -> Option<u64> {
    let answer = http::get(node.http(), "/v1/trunks/office?describe=true").expect("the node answers");
    let described: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    described["in_use"][window].as_u64()
}

/// Contract, "Limits" and "SIP answers": over the hour's window is 403, and refused calls count never. Twenty calls, a
/// dead leader, four calls, a power cut, and of ten more the six that are left of thirty.
#[test]
fn t60_an_hour_and_a_day_are_exact_over_a_dead_leader_a_power_cut_and_a_restore() {
    for (window, key) in [("per_hour", "hour"), ("per_day", "day")] {
        let mut trio = Trio::start(&Setup::default(), |trio| resources(trio, window, 30));
        let leader = trio.await_leader();
        let other = 1 + leader % 3;
        assert_eq!(calls(&trio, other, 20), (20, json!({})), "{window}");
        trio.node_mut(leader).kill();
        wait::until("another leads", PATIENCE, || trio.leader().is_some_and(|found| found != leader));
        assert_eq!(calls(&trio, other, 4), (4, json!({})), "{window}, without its leader");
        trio.node_mut(leader).start();
        (1..=3).for_each(|id| trio.node_mut(id).kill());
        (1..=3).for_each(|id| trio.node_mut(id).spawn());
        (1..=3).for_each(|id| trio.node_mut(id).wait_ready());
        assert_eq!(calls(&trio, other, 10), (6, json!({"403": 4})), "{window}, after a power cut");
        assert_eq!(in_use(trio.node(other), key), Some(30), "{window}");
        // The twin: a wider window lets them in.
        trio.node(other).apply(&resources(&trio, window, 33));
        assert_eq!(calls(&trio, other, 4), (3, json!({"403": 1})), "{window}, wider");
        if window == "per_day" {
            restored(&trio, other, key);
        }
    }
}

/// A backup goes into an empty cluster, whole, and into no other.
fn restored(trio: &Trio, of: u8, key: &str) {
    let output = trio.node(of).banyan(["backup", "all.backup"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let path = trio.node(of).dir().join("all.backup");
    let file = path.to_string_lossy().into_owned();
    let mut fresh = Node::new();
    fresh.start();
    let said = |path: &str| {
        let output = fresh.banyan(["restore", path]);
        let words = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.code().unwrap_or(-1), words)
    };
    let bytes = fs::read(&path).expect("the backup is there");
    let other = path.with_extension("other");
    let with = |at: usize, byte: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = byte;
        fs::write(&other, bytes).expect("it is written");
        said(&other.to_string_lossy())
    };
    // The byte behind the eight that say what it is.
    let (code, words) = with(8, 99);
    assert!(code == 2 && words.contains("version 99 is not known"), "{code}: {words}");
    let (code, words) = with(bytes.len() / 2, !bytes[bytes.len() / 2]);
    assert!(code == 2 && words.contains("damaged"), "{code}: {words}");
    let (code, words) = said(&file);
    assert_eq!((code, words.trim()), (0, "3 resource(s), 0 registration(s)"));
    let listed = |node: &Node| node.banyan(["get", "trunks", "-o", "toml"]).stdout;
    assert_eq!(String::from_utf8_lossy(&listed(&fresh)), String::from_utf8_lossy(&listed(trio.node(of))));
    assert_eq!(in_use(&fresh, key), Some(33));
    let (code, words) = said(&file);
    assert!(code == 1 && words.contains("an empty one"), "{code}: {words}");
    assert!(listed(&fresh).windows(NUMBER.len()).any(|it| it == NUMBER.as_bytes()));
}

//! The members of a cluster as an operator changes them, with real processes: join, drain, restart, remove.

use std::time::Duration;

use serde_json::Value;
use tests::orders::office;
use tests::trio::{Setup, Trio};
use tests::wait;

/// Nothing here asserts a time: a busy machine is no dead node.
const DETECT: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn t20_a_node_joins_takes_its_share_and_goes_without_a_trace() {
    let mut cluster = Trio::start(&Setup { homes: 6, detect: DETECT, ..Setup::default() }, office);
    let (code, words) = cluster.order(1, &["join", "4@127.0.0.1"]);
    assert_eq!(code, 2, "{words}");

    // Any node takes the order.
    let follower = cluster.await_leader() % 3 + 1;
    cluster.add(4, false).spawn();
    let at = cluster.link(4);
    let words = cluster.ordered(follower, &["join", &format!("4@{at}")]);
    assert!(words.contains("node 4 joined and votes"), "{words}");
    cluster.node_mut(4).wait_ready();
    cluster.spread();
    assert!(cluster.floating(4, 4) >= 1);
    assert_eq!(cluster.row(4, 4)["role"], "voter");

    // Not drained, it stays; drained, it goes and nothing of it is left.
    let (code, words) = cluster.order(2, &["remove", "4"]);
    assert_eq!(code, 1, "{words}");
    assert!(words.contains("banyan node drain 4"), "{words}");
    cluster.ordered(2, &["drain", "4"]);
    assert_eq!(cluster.row(1, 4)["state"], "drained");
    assert!(!cluster.node(4).ready());
    cluster.ordered(3, &["remove", "4"]);
    let status = cluster.node_mut(4).wait_end(PATIENCE);
    assert_eq!(status.and_then(|status| status.code()), Some(0), "{}", cluster.node(4).log_tail());
    for id in 1..=3 {
        wait::until("every node has forgotten it", PATIENCE, || cluster.row(id, 4) == Value::Null);
        let homes = cluster.node(id).get("homes", &[]);
        assert_eq!(homes.len(), 6 + 3, "{homes:?}");
        assert!(homes.iter().all(|home| home["holder"] != 4), "{homes:?}");
    }
    let (code, words) = cluster.order(1, &["remove", "4"]);
    assert_eq!(code, 1, "{words}");
    assert!(words.contains("no node has the id 4"), "{words}");
}

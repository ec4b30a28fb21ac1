//! The members of a cluster as an operator changes them, with real processes: join, drain, restart, remove.

use std::time::Duration;

use serde_json::Value;
use tests::length;
use tests::orders::{Load, office};
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

/// Show 7: each node in turn is drained, stopped, started and resumed under load. Nobody on the telephone notices.
#[test]
fn t20_a_rolling_restart_under_load_loses_nothing() {
    let mut cluster = Trio::start(&Setup { detect: DETECT, ..Setup::default() }, office);
    let rate = length(30, 100);
    let load = Load::start(cluster.home(1), cluster.pbx(), (1_000_000, rate), 1.5);
    let mut left = vec![1, 2, 3];
    let mut holders = Vec::new();
    while !left.is_empty() {
        // Whoever holds the calls first, so that they move from node to node.
        let holder = cluster.holder(cluster.node(1), 1).expect("somebody holds the calls");
        holders.push(holder);
        let at = left.iter().position(|id| *id == holder).unwrap_or(0);
        let id = left.remove(at);
        let other = id % 3 + 1;
        wait::until("calls are up", PATIENCE, || cluster.node(other).calls().is_some_and(|it| it.len() > 20));
        cluster.ordered(other, &["drain", &id.to_string()]);
        assert_eq!(cluster.row(other, id)["calls"], 0);
        assert!(cluster.node_mut(id).stop().success(), "{}", cluster.node(id).log_tail());
        // It said that it stops: nobody had to find out.
        let row = cluster.row(other, id);
        assert_eq!((&row["alive"], &row["state"]), (&Value::Bool(false), &Value::from("stopped")), "{row}");
        cluster.node_mut(id).spawn();
        wait::until("it is back", PATIENCE, || cluster.row(other, id)["state"] == "drained");
        cluster.ordered(other, &["resume", &id.to_string()]);
        cluster.node_mut(id).wait_ready();
    }
    load.no_more();
    let figures = load.figures();
    let placed = figures["placed"].as_u64().unwrap_or(0);
    assert!(placed > 60, "calls were up before each drain: {figures}");
    for figure in ["answered", "completed", "received_answered"] {
        assert_eq!(figures[figure].as_u64(), Some(placed), "{figure} in {figures}");
    }
    assert_eq!(figures["failed"], serde_json::json!({}), "{figures}");
    assert!(holders[0] != holders[1] && holders[1] != holders[2], "the calls moved: {holders:?}");
    let records = cluster.settle(usize::try_from(placed).unwrap_or(0));
    assert_eq!(records.len() as u64, placed, "one record a call");
    assert!(records.iter().all(|record| record.answered() && record.status() == 200));
    cluster.assert_no_panic();
}

//! An actor panics: its call is rebuilt from its record, once; no other call notices.

use call::{CallCommand, CallId, Change, Epoch, HomeId, Incarnation, NodeId};
use cluster::{Applied, Batch, CdrFilter, Command, Outcome};
use std::sync::atomic::Ordering;

use super::Bench;
use crate::actor::call::Msg;
use crate::replica::Ear;

#[tokio::test]
async fn a_call_whose_actor_panics_is_rebuilt_and_answers_a_bye() {
    let bench = Bench::start().await;
    let (failing, other) = (bench.answered("failing").await, bench.answered("other").await);
    let shared = bench.node.shared.clone();
    let before = shared.actor(failing.call).expect("live").get_id();
    let neighbour = shared.actor(other.call).expect("live").get_id();

    assert!(shared.tell(failing.call, Msg::Panic));
    bench
        .until("the call has another actor", || {
            shared.actor(failing.call).is_some_and(|actor| actor.get_id() != before)
        })
        .await;
    bench.hang_up(&failing).await;
    assert_eq!(shared.actor(other.call).expect("live").get_id(), neighbour);
    bench.hang_up(&other).await;

    bench.until("no call is left", || bench.node.calls() == 0).await;
    let metrics = bench.node.counters();
    assert_eq!(metrics.failed.load(Ordering::Relaxed), 1);
    assert_eq!(metrics.restored.load(Ordering::Relaxed), 1);
    let records = bench.node.cluster().cdrs(&CdrFilter::default()).expect("readable");
    let statuses: Vec<_> = records.iter().map(|cdr| cdr["sip_status"].as_u64()).collect();
    assert_eq!(statuses, [Some(200), Some(200)]);
}

#[tokio::test]
async fn a_call_whose_actor_panics_twice_is_released_with_a_record() {
    let bench = Bench::start().await;
    let dialog = bench.answered("failing").await;
    let shared = bench.node.shared.clone();
    let first = shared.actor(dialog.call).expect("live").get_id();
    assert!(shared.tell(dialog.call, Msg::Panic));
    bench
        .until("the call has another actor", || {
            shared.actor(dialog.call).is_some_and(|actor| actor.get_id() != first)
        })
        .await;
    assert!(shared.tell(dialog.call, Msg::Panic));
    bench.until("the call is released", || bench.node.calls() == 0).await;
    bench
        .until("its slots are free", || {
            bench.node.cluster().read(|state| state.slots().count() == 0 && state.calls().len() == 0)
        })
        .await;
    let records = bench.node.cluster().cdrs(&CdrFilter::default()).expect("readable");
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["hangup_by"], "system");
}

#[tokio::test]
async fn a_draining_node_takes_no_call_and_ends_those_that_stay() {
    let bench = Bench::start().await;
    let dialog = bench.answered("staying").await;
    let drain = bench.node.drain(std::time::Duration::ZERO);
    let callee = async {
        // The node says goodbye to both; each hears it.
        bench.callee.expect("BYE ").await;
        bench.caller.expect("BYE ").await;
    };
    tokio::join!(drain, callee);
    assert!(!bench.node.is_ready());
    assert!(bench.node.shared.full().is_some());
    let _ = dialog;
}

/// A batch of this node's came to it in a snapshot: its calls go on from their records, one that has none is gone,
/// and no other call notices.
#[tokio::test]
async fn a_call_whose_outcome_is_lost_goes_on_from_its_record() {
    let bench = Bench::start().await;
    let (unsure, other) = (bench.answered("unsure").await, bench.answered("other").await);
    let shared = bench.node.shared.clone();
    let actor = |call| shared.actor(call).map(|actor| actor.get_id());
    let (before, neighbour) = (actor(unsure.call), actor(other.call));
    let mut ear = Ear::default();
    ear.attach(&shared);

    let command = |call| Command::Call {
        call,
        home: HomeId(1),
        epoch: Epoch(1),
        command: CallCommand::Change(Change::Acked(None)),
    };
    let commands = vec![command(unsure.call), command(CallId(99)), Command::Tick];
    let batch = Batch { node: NodeId(1), incarnation: Incarnation(1), seq: 9, shard: 0, commands };
    // The twin: told what came of it, a call keeps its actor.
    ear.outcomes(&batch, vec![Outcome::Call(call::Outcome::Done), Outcome::Done, Outcome::Done]);
    assert_eq!(actor(unsure.call), before);

    ear.unknown(&batch);
    bench
        .until("the call has another actor", || actor(unsure.call).is_some_and(|it| Some(it) != before))
        .await;
    assert_eq!((bench.node.calls(), actor(other.call)), (2, neighbour));
    bench.hang_up(&unsure).await;
    bench.hang_up(&other).await;
    bench.until("no call is left", || bench.node.calls() == 0).await;
}

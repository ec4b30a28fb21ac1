//! A trunk limited to 30 under 200 calls a second, with everything that makes counters drift: BYE glare, CANCEL races,
//! lost ACKs, late 200s. Never 31, never a refusal while one is free, 0 after.
//!
//! OpenSIPS/opensips#1937 (a shared counter below zero), jambonz/sbc-inbound#177 (simultaneous BYEs count twice).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use peer::Mix;
use peer::load::{LoadArgs, Progress, Report, run, run_with};
use serde_json::Value;
use tests::length;
use tests::node::Node;
use tests::record::Record;
use tests::resources::{FAR_NUMBER, callee, caller, office_and_carrier};
use tests::sipp::Transport;

const LIMIT: usize = 30;
const RATE: f64 = 200.0;

#[test]
fn t50_a_limit_of_thirty_is_never_thirty_one_and_leaks_nothing() {
    let node = Node::with_resources(|node| office_and_carrier(node, Transport::Udp, 30));
    let calls = length(2_000, 12_000);
    let progress = Arc::new(Progress::default());
    let watched = Arc::clone(&progress);
    let arguments = LoadArgs { calls, rate: RATE, mix: drifting(), ..to_carrier(&node) };
    let load = thread::spawn(move || {
        let report = run_with(&arguments, &watched);
        watched.stop.store(true, Ordering::Relaxed);
        report
    });
    let mut up_max = 0;
    while !progress.stop.load(Ordering::Relaxed) {
        up_max = up_max.max(node.calls().map_or(0, |calls| slots_of_office(&calls)));
        thread::sleep(Duration::from_millis(5));
    }
    let report = load.join().expect("the load ends").expect("the load can be made");
    println!("{report:?}\nat most {up_max} slots seen at once");
    assert_eq!(report.placed, calls);
    assert!(up_max <= LIMIT, "{up_max} slots at once");
    assert!(up_max >= LIMIT - 2, "the load reached the limit: {up_max}");
    assert_only_refusals_failed(&report);

    let calls = usize::try_from(calls).expect("a small number");
    let records = node.settle(calls);
    let slack_ms = SLACK_MS + node.slowest_sync_ms() as i64;
    assert_records(&records, calls, slack_ms);
    exactly_the_limit_is_free(&node);
    assert!(!node.log().contains("panicked"), "{}", node.log_tail());
}

/// Everything at once: a third of the calls goes another way than INVITE, 200, ACK, BYE.
fn drifting() -> Mix {
    Mix {
        ring: Duration::from_millis(20),
        answer: Duration::from_millis(80),
        hold: Duration::from_millis(300),
        cancel: 0.15,
        answer_late: 0.3,
        lose_ack: 0.05,
        glare: 0.1,
        ..Mix::default()
    }
}

fn to_carrier(node: &Node) -> LoadArgs {
    let (caller, callee) = (caller(node), callee(node));
    LoadArgs { callee_listen: Some(callee), to: FAR_NUMBER.to_owned(), ..LoadArgs::new(node.sip(), caller) }
}

/// A refusal by the limit is 503 and nothing else (contract); whatever else failed is a defect.
fn assert_only_refusals_failed(report: &Report) {
    let other: Vec<_> = report.failed.iter().filter(|(reason, _)| *reason != "503").collect();
    assert!(other.is_empty(), "{other:?}");
    let refused = report.failed.get("503").copied().unwrap_or(0);
    assert!(
        refused > report.placed / 20,
        "the load is above the limit: {refused} refused of {}",
        report.placed
    );
    assert!(
        report.answered > report.placed / 4,
        "the limit is used: {} of {}",
        report.answered,
        report.placed
    );
}

fn assert_records(records: &[Record], calls: usize, slack_ms: i64) {
    assert_eq!(records.len(), calls, "one record a call, refused ones too");
    let ids: BTreeSet<_> = records.iter().map(|record| record.text("id")).collect();
    assert_eq!(ids.len(), calls, "no record twice");
    let (refused, admitted): (Vec<_>, Vec<_>) = records.iter().partition(|record| record.status() == 503);
    for refusal in &refused {
        let at = refusal.time_ms("started_at").expect("a record has its times");
        let up = admitted.iter().filter(|record| record.covers(at, slack_ms)).count();
        assert!(up >= LIMIT, "refused at {} with {up} calls up: {}", refusal.text("started_at"), refusal.0);
    }
}

/// The proof that nothing leaked: thirty at once are let in, and a thirty-first is not.
fn exactly_the_limit_is_free(node: &Node) {
    let hold = Mix { hold: Duration::from_secs(2), ..Mix::default() };
    let thirty_one = LoadArgs { calls: 31, rate: 100.0, mix: hold, ..to_carrier(node) };
    let report = run(&thirty_one).expect("the load can be made");
    assert_eq!((report.answered, report.failed.get("503")), (30, Some(&1)), "{report:?}");
    node.settle(0);
}

fn slots_of_office(calls: &[Value]) -> usize {
    let slots = calls.iter().filter_map(|call| call.get("slots")?.as_array());
    slots.flatten().filter(|slot| slot["scope"] == "trunk" && slot["name"] == "office").count()
}

/// A lazy end is committed at most 20 ms after its BYE, and times are rounded; how slow the disk was comes on top.
const SLACK_MS: i64 = 60;

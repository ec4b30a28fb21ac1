//! Limits over a whole cluster while its nodes die: a trunk used on three nodes at once is never over its limit, hardly
//! ever below it, and empty in the end; its minute admits exactly what it may.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use peer::Mix;
use peer::load::{LoadArgs, Progress, Report, run, run_with};
use serde_json::Value;
use tests::length;
use tests::record::{Record, overlap_max};
use tests::trio::{Setup, Trio, items};
use tests::wait;

/// What the trunk `office` may carry at once.
const LIMIT: usize = 50;
/// Calls a second that are offered to it on each node.
const RATE: f64 = 100.0;
/// What the trunk `shop` may begin in a minute, of so many that are offered.
const PER_MINUTE: usize = 200;
const OFFERED: u64 = 1_000;
/// A node dies so often, and is away for so long.
const KILL_EVERY: Duration = Duration::from_secs(20);
const AWAY: Duration = Duration::from_secs(5);

/// OpenSIPS/opensips#1937: a shared counter that drifted below zero.
#[test]
fn t60_a_limit_holds_over_three_nodes_that_die_in_turn() {
    let mut trio = Trio::start(&Setup::default(), resources);
    let seconds = length(60, 180);
    let loads: Vec<Load> = (1..=3).map(|home| office(&trio, home, seconds)).collect();
    let shops: Vec<Load> = (1..=3).map(|home| shop(&trio, home)).collect();

    let begun = wait::now();
    let mut uses = Vec::new();
    let mut dead: Option<u8> = None;
    let mut due = KILL_EVERY;
    let mut victim = 1;
    while begun.elapsed() < Duration::from_secs(seconds) {
        let passed = begun.elapsed();
        match dead {
            None if passed >= due => {
                trio.node_mut(victim).kill();
                println!("{} s: node {victim} is killed", passed.as_secs());
                (dead, due) = (Some(victim), passed + AWAY);
            }
            Some(node) if passed >= due => {
                trio.node_mut(node).spawn();
                (dead, due, victim) = (None, passed + KILL_EVERY - AWAY, node % 3 + 1);
            }
            _ => {}
        }
        // Two of three are a majority, and one of those that run knows the use of all.
        let asked = trio.nodes.iter().find(|node| node.process().is_some() && node.ready());
        let used = asked.map_or(0, |node| slots_of(&items(node, "calls"), "office"));
        if passed > RAMP && used > 0 {
            uses.push(used);
        }
        wait::pass(Duration::from_millis(50));
    }
    trio.nodes.iter_mut().for_each(tests::node::Node::wait_ready);
    let (reports, shop_reports) = (finish(loads), finish(shops));
    println!("{reports:?}\n{shop_reports:?}");

    let most = uses.iter().max().copied().unwrap_or(0);
    assert!(most <= LIMIT, "{most} slots at once");
    let used = uses.iter().sum::<usize>() as f64 / (uses.len() * LIMIT) as f64;
    println!("{} looks, {:.2} % of the limit used", uses.len(), used * 100.0);
    assert!(used >= 0.99, "{used} of the limit was used while a majority lived");
    assert_refusals_only(&reports);

    let placed: u64 = reports.iter().chain(&shop_reports).map(|report| report.placed).sum();
    let placed = usize::try_from(placed).expect("a small number");
    let records = trio.settle(placed);
    let calls: BTreeSet<&str> = records.iter().map(|record| record.text("call_id_a")).collect();
    assert_eq!((records.len(), calls.len()), (placed, placed), "one record a call, refused ones too");
    let of = |trunk: &'static str| records.iter().filter(move |record| record.text("trunk") == trunk);
    let up = overlap_max(of("office").filter_map(talking).collect::<Vec<_>>().iter());
    assert!(up <= LIMIT as i64, "{up} calls of the trunk talked at once");
    assert_minute(of("shop"));
    assert_exactly_free(&trio);
    trio.assert_no_panic();
}

/// A trunk of fifty calls and one of two hundred a minute, each calling from one address a node.
fn resources(trio: &Trio) -> String {
    let networks = |first: u8| {
        let all = (1..=3).map(|home| format!("\"{}/32\"", trio.peer(first + home).ip()));
        all.collect::<Vec<_>>().join(", ")
    };
    let mut toml = String::new();
    for home in 1..=3 {
        for (kind, first) in [("office", CALLEES), ("shop", SHOP_CALLEES)] {
            let at = trio.peer(first + home);
            toml += &format!(
                "[[gateway]]\nname = \"{kind}-{home}\"\ntargets = [\"sip:{at}\"]\nnetworks = [\"{}/32\"]\n\
                 prefixes = [\"{}\"]\nconcurrent = 100000\n\n",
                at.ip(),
                prefix(kind, home)
            );
        }
    }
    toml + &format!(
        "[[trunk]]\nname = \"office\"\ncaller_ids = [\"+31201234567\"]\n\
         [trunk.access]\nnetworks = [{}]\nauth = [\"address\"]\n\
         [trunk.limits]\nconcurrent = {LIMIT}\nper_minute = 1000000\nper_hour = 10000000\n\n\
         [[trunk]]\nname = \"shop\"\ncaller_ids = [\"+31207654321\"]\n\
         [trunk.access]\nnetworks = [{}]\nauth = [\"address\"]\n\
         [trunk.limits]\nconcurrent = 100000\nper_minute = {PER_MINUTE}\nper_hour = 10000000\n",
        networks(CALLERS),
        networks(SHOP_CALLERS)
    )
}

fn prefix(kind: &str, home: u8) -> String {
    format!("+49{}{home}", if kind == "office" { 30 } else { 40 })
}

const CALLERS: u8 = 20;
const CALLEES: u8 = 30;
const SHOP_CALLERS: u8 = 40;
const SHOP_CALLEES: u8 = 50;

type Load = JoinHandle<Report>;

/// Far more than the trunk may carry, at one home.
fn office(trio: &Trio, home: u8, seconds: u64) -> Load {
    let args = LoadArgs {
        callee_listen: Some(trio.peer(CALLEES + home)),
        to: format!("{}555", prefix("office", home)),
        calls: seconds * RATE as u64,
        rate: RATE,
        mix: Mix { answer: Duration::from_millis(50), hold: Duration::from_secs(3), ..Mix::default() },
        ..LoadArgs::new(trio.home(home), trio.peer(CALLERS + home))
    };
    start(args)
}

/// A third of the minute's calls, and those of six seconds more.
fn shop(trio: &Trio, home: u8) -> Load {
    let rate = OFFERED as f64 / 60.0 / 3.0;
    let args = LoadArgs {
        callee_listen: Some(trio.peer(SHOP_CALLEES + home)),
        to: format!("{}555", prefix("shop", home)),
        calls: (rate * SHOP_SECONDS) as u64,
        rate,
        mix: Mix { answer: Duration::from_millis(50), hold: Duration::from_secs(1), ..Mix::default() },
        ..LoadArgs::new(trio.home(home), trio.peer(SHOP_CALLERS + home))
    };
    start(args)
}

fn start(args: LoadArgs) -> Load {
    thread::spawn(move || {
        let progress = Arc::new(Progress::default());
        let report = run_with(&args, &progress).expect("the load can be made");
        assert_eq!(progress.placed.load(Ordering::Relaxed), args.calls);
        report
    })
}

fn finish(loads: Vec<Load>) -> Vec<Report> {
    loads.into_iter().map(|load| load.join().expect("the load ends")).collect()
}

/// A full trunk is told so by 503 (contract), and nothing else went wrong.
fn assert_refusals_only(reports: &[Report]) {
    let mut failed: BTreeMap<&str, u64> = BTreeMap::new();
    for (reason, count) in reports.iter().flat_map(|report| &report.failed) {
        *failed.entry(reason.as_str()).or_default() += count;
    }
    let refused = failed.remove("503").unwrap_or(0);
    // A BYE whose end was committed, but whose 200 died with its node, hears 481 when it comes again: its sender knows
    // that the dialog is over (RFC 3261 §15.1.1; t50_crash says why no state is kept for a nicer answer).
    let over = failed.remove("unexpected 481 to BYE").unwrap_or(0);
    assert!(over <= OVER_MAX, "{over} calls were over before their BYE");
    assert!(failed.is_empty(), "{failed:?}");
    let placed: u64 = reports.iter().map(|report| report.placed).sum();
    assert!(refused > placed / 2, "the load is far above the limit: {refused} of {placed} refused");
}

/// No minute admits more than it may, and the first one, in which so many more were offered, admits as many.
fn assert_minute<'a>(records: impl Iterator<Item = &'a Record>) {
    let begun = |record: &Record| record.time_ms("started_at").expect("a record has its times");
    let (refused, admitted): (Vec<_>, Vec<_>) = records.partition(|record| record.status() == 503);
    let mut times: Vec<i64> = admitted.iter().map(|record| begun(record)).collect();
    times.sort_unstable();
    let first = times.first().copied().expect("calls were admitted");
    let within = times.iter().filter(|time| **time < first + 60_000 - EDGE_MS).count();
    assert_eq!(within, PER_MINUTE, "of the first minute; {} in all, {} refused", times.len(), refused.len());
    for (index, time) in times.iter().enumerate() {
        let from = times.get(index + PER_MINUTE).copied().unwrap_or(i64::MAX);
        assert!(from - time >= 60_000 - EDGE_MS, "{} calls within {} ms", PER_MINUTE + 1, from - time);
    }
    assert!(times.len() > PER_MINUTE, "the minute slides: {} admitted", times.len());
}

/// Nothing leaked: fifty at once are let in, and a fifty-first is not.
fn assert_exactly_free(trio: &Trio) {
    let args = LoadArgs {
        callee_listen: Some(trio.peer(CALLEES + 1)),
        to: format!("{}555", prefix("office", 1)),
        calls: LIMIT as u64 + 1,
        rate: 50.0,
        mix: Mix { hold: Duration::from_secs(4), ..Mix::default() },
        ..LoadArgs::new(trio.home(1), trio.peer(CALLERS + 1))
    };
    let report = run(&args).expect("the load can be made");
    assert_eq!((report.answered, report.failed.get("503")), (LIMIT as u64, Some(&1)), "{report:?}");
    trio.settle(0);
}

/// The part of a call in which it talked: by then it was admitted, and its slot is freed after it.
fn talking(record: &Record) -> Option<Record> {
    let mut talk = record.0.clone();
    *talk.get_mut("started_at")? = record.0.get("answered_at")?.clone();
    record.answered().then_some(Record(talk))
}

fn slots_of(calls: &[Value], trunk: &str) -> usize {
    let slots = calls.iter().filter_map(|call| call.get("slots")?.as_array());
    slots.flatten().filter(|slot| slot["scope"] == "trunk" && slot["name"] == trunk).count()
}

/// A kill can hit the few milliseconds between an end and its 200 in a call or two.
const OVER_MAX: u64 = 6;
/// Until the first calls talk, the limit is not reached.
const RAMP: Duration = Duration::from_secs(3);
/// Calls to the shop go on so long that the minute slides by a tenth.
const SHOP_SECONDS: f64 = 66.0;
/// An admission is counted when it is committed, a record says when its INVITE came: at most an election earlier.
const EDGE_MS: i64 = 3_000;

//! Thousands of calls are up when the node that leads, and holds a third of them, dies: none is lost, every slot stays
//! taken, and in the end every slot is free.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use peer::Mix;
use peer::load::{LoadArgs, Progress, run_with};
use tests::trio::{Setup, Trio, items};
use tests::{length, wait};

const HOMES: u8 = 4;
/// Calls a second at each home.
const RATE: f64 = 75.0;

#[test]
fn t60_the_leader_dies_with_thousands_of_calls_up() {
    let setup = Setup { homes: HOMES, ..Setup::default() };
    let mut trio = Trio::start(&setup, resources);
    let (each, hold) = length((250, 20), (2_500, 70));
    let calls = usize::from(HOMES) * each;
    let loads: Vec<_> = (1..=HOMES)
        .map(|home| {
            let args = LoadArgs {
                callee_listen: Some(trio.peer(CALLEES + home)),
                to: format!("{}555", prefix(home)),
                calls: each as u64,
                rate: RATE,
                mix: Mix { hold: Duration::from_secs(hold), ..Mix::default() },
                ..LoadArgs::new(trio.home(home), trio.peer(CALLERS + home))
            };
            let progress = Arc::new(Progress::default());
            let watched = progress.clone();
            (thread::spawn(move || run_with(&args, &progress)), watched)
        })
        .collect();
    wait::until("every call is answered", Duration::from_secs(60), || {
        let answered = loads.iter().map(|(_, progress)| progress.answered.load(Ordering::Relaxed));
        answered.sum::<u64>() == calls as u64
    });
    let leader = trio.await_leader();
    let held = held_by(&trio, leader);
    println!("{calls} calls are up; node {leader} leads and holds {held} of them");
    assert!(held >= each, "the leader holds a home's calls at least");
    trio.node_mut(leader).kill();

    let survivor = trio.running().next().expect("two run").id();
    wait::until("the survivors hold every home", Duration::from_secs(30), || {
        let node = trio.node(survivor);
        (1..=HOMES).all(|home| trio.holder(node, home).is_some_and(|holder| holder != leader))
    });
    for node in trio.running() {
        let up = items(node, "calls");
        let slots = up.iter().filter_map(|call| call["slots"].as_array()).map(Vec::len).sum::<usize>();
        // A call has a slot of its trunk and one of its gateway.
        assert_eq!((up.len(), slots), (calls, 2 * calls), "as node {} knows", node.id());
    }
    for (load, _) in loads {
        let report = load.join().expect("the load ends").expect("the load can be made");
        println!("{report:?}");
        assert_eq!((report.answered, report.completed), (each as u64, each as u64), "{:?}", report.failed);
        assert!(report.failed.is_empty(), "{:?}", report.failed);
    }
    let records = trio.settle(calls);
    assert_eq!(records.len(), calls, "one record a call");
    assert!(records.iter().all(|record| record.status() == 200 && record.answered()));
    trio.assert_no_panic();
}

fn held_by(trio: &Trio, node: u8) -> usize {
    let calls = items(trio.node(node), "calls");
    calls.iter().filter(|call| call["node"].as_u64() == Some(node.into())).count()
}

/// Direct media, so that the calls cost no ports: one trunk that calls from an address a home, and a gateway for each.
fn resources(trio: &Trio) -> String {
    let gateways = (1..=HOMES).map(|home| {
        let at = trio.peer(CALLEES + home);
        let (ip, prefix) = (at.ip(), prefix(home));
        format!(
            "[[gateway]]\nname = \"carrier-{home}\"\ntargets = [\"sip:{at}\"]\nnetworks = [\"{ip}/32\"]\n\
             prefixes = [\"{prefix}\"]\nconcurrent = 100000\n[gateway.media]\nmode = \"direct\"\n\n"
        )
    });
    let networks = (1..=HOMES).map(|home| format!("\"{}/32\"", trio.peer(CALLERS + home).ip()));
    let networks = networks.collect::<Vec<_>>().join(", ");
    gateways.collect::<String>()
        + &format!(
            "[[trunk]]\nname = \"office\"\ncaller_ids = [\"+31201234567\"]\n\
             [trunk.access]\nnetworks = [{networks}]\nauth = [\"address\"]\n\
             [trunk.limits]\nconcurrent = 100000\nper_minute = 1000000\nper_hour = 10000000\n\
             [trunk.media]\nmode = \"direct\"\n"
        )
}

fn prefix(home: u8) -> String {
    format!("+4930{home}")
}

const CALLERS: u8 = 20;
const CALLEES: u8 = 30;

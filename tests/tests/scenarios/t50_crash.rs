//! SIGKILL at random moments under load: every promise kept, every call ended with one record, none counted twice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use machine::Rng;
use tests::node::Node;
use tests::record::Record;
use tests::resources::{FAR_NUMBER, callee, caller, office_and_carrier};
use tests::sipp::{Running, Sipp, Transport};
use tests::{length, wait};

#[test]
fn t50_a_node_killed_under_load_keeps_every_promise() {
    let kills = length(10, 200);
    let seed = seed();
    println!("BANYAN_SEED={seed} replays these moments");
    let mut rng = Rng::from_u64(seed);
    let mut node = Node::with_resources(|node| office_and_carrier(node, Transport::Udp, 5_000));
    let mut callees = Sipp::callee(node.dir(), "callee", callee(&node), Transport::Udp).start();
    // More calls than the kills can take; it is told to stop when the last restart is done.
    let mut callers = Sipp::caller(node.dir(), "caller", caller(&node), node.sip(), Transport::Udp)
        .load(100, 1_000_000, Duration::from_millis(1_500), FAR_NUMBER)
        .start();

    for kill in 1..=kills {
        wait::pass(Duration::from_millis(200 + rng.below(1_000)));
        node.kill();
        node.start();
        println!("kill {kill} of {kills}: ready again, {:?} calls", node.calls().map(|calls| calls.len()));
    }
    wait::pass(Duration::from_secs(2));
    let counts = callers.stop();
    println!("{counts:?}");
    let records = node.settle(0);
    callees.stop();
    assert_kept(&callers, &records);
    assert!(!node.log().contains("panicked"), "{}", node.log_tail());

    // The slots are free again: the same trunk carries a call as if nothing had been.
    let again = std::path::Path::new("again");
    std::fs::create_dir_all(node.dir().join(again)).expect("a directory for the second load");
    let dir = node.dir().join(again);
    let mut callees = Sipp::callee(&dir, "callee", callee(&node), Transport::Udp).start();
    let mut callers = Sipp::caller(&dir, "caller", caller(&node), node.sip(), Transport::Udp)
        .load(20, 40, Duration::from_millis(200), FAR_NUMBER)
        .start();
    let counts = callers.finish(Duration::from_secs(40));
    callees.stop();
    assert_eq!((counts.successful, counts.failed), (40, 0), "{}", callers.errors());
    assert_eq!(callers.logged().iter().filter(|line| line.contains("answered ")).count(), 40);
}

/// A 200 that a caller saw, and a BYE that was answered, were committed before they were spoken.
fn assert_kept(callers: &Running, records: &[Record]) {
    let mut by_call: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
    for record in records {
        by_call.entry(record.text("call_id_a")).or_default().push(record);
    }
    let ids: BTreeSet<_> = records.iter().map(|record| record.text("id")).collect();
    assert_eq!(ids.len(), records.len(), "ids of records are distinct");
    let twice: Vec<_> =
        by_call.iter().filter(|(_, records)| records.len() > 1).map(|(call, _)| *call).collect();
    assert!(
        twice.is_empty(),
        "{} calls have more than one record, the first: {:?}",
        twice.len(),
        twice.first()
    );

    let logged = callers.logged();
    let answered: Vec<_> = calls_logged(&logged, "answered").collect();
    assert!(answered.len() > 100, "the load was carried: {} answers", answered.len());
    let lost: Vec<_> = answered.iter().filter(|call| !by_call.contains_key(**call)).collect();
    assert!(lost.is_empty(), "{} answered calls have no record, the first: {:?}", lost.len(), lost.first());
    for call in answered {
        for record in by_call.get(call).into_iter().flatten() {
            assert!(record.answered(), "the caller heard 200, the record did not: {}", record.0);
        }
    }
    // A BYE whose end was committed, but whose 200 died with the process, is answered 481 when it comes again (RFC 3261
    // §15.1.2), and by 481 or 200 alike its sender knows that the dialog is over (§15.1.1). A 200 would be nicer, but it
    // would cost every ended call a place in the state for the 32 s of timer F; the answer is not worth that. Any other
    // 481 would mean that a live call was forgotten.
    for call in calls_logged(&logged, "gone") {
        let records = by_call.get(call).map(Vec::as_slice).unwrap_or_default();
        let by_its_bye = records.iter().all(|record| record.text("hangup_by") == "caller");
        assert!(!records.is_empty() && by_its_bye, "{call} was up and then unknown (481): {records:?}");
    }
    for record in records {
        assert!(record.time_ms("ended_at").is_some(), "every record has an end: {}", record.0);
    }
}

fn calls_logged<'a>(lines: &'a [String], word: &'a str) -> impl Iterator<Item = &'a str> {
    lines.iter().filter_map(move |line| line.trim().strip_prefix(word)).map(str::trim)
}

/// The given seed, or one that differs from run to run: a moment that was never tried may be the one that breaks.
fn seed() -> u64 {
    let given = std::env::var("BANYAN_SEED").ok().and_then(|text| text.parse().ok());
    given.unwrap_or_else(|| u64::from(std::process::id()))
}

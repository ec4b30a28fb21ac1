//! The disk: full, torn, damaged. One clear sentence and a non-zero exit, or readiness off while calls go on.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use machine::Rng;
use tests::node::Node;
use tests::record::Record;
use tests::resources::{FAR_NUMBER, callee, caller, office_and_carrier};
use tests::sipp::{Sipp, Transport};
use tests::small_disk;
use tests::wait;

#[test]
fn t50_a_disk_that_is_full_at_the_start_is_one_sentence_and_exit_1() {
    let mut node = Node::new();
    small_disk::start(&mut node, "64k");
    let status = node.wait_end(Duration::from_secs(30));
    let log = node.log();
    assert_eq!(status.and_then(|status| status.code()), Some(1), "{log}");
    assert!(log.to_lowercase().contains("space"), "the sentence says what is missing: {log}");
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn t50_a_disk_that_fills_up_ends_readiness_or_the_process_but_no_promise() {
    let mut node = Node::new();
    small_disk::start(&mut node, "400m");
    node.wait_ready();
    node.apply(&office_and_carrier(&node, Transport::Udp, 1_000));
    load(&node, "before", 50, 100);
    small_disk::fill(&node);
    // Segments are allocated ahead, so it takes some load until the disk is missed.
    let mut noticed = false;
    for round in 0..40 {
        load(&node, &format!("full-{round}"), 200, 1_000);
        noticed = !node.ready() || node.wait_end(Duration::ZERO).is_some();
        if noticed {
            break;
        }
    }
    let log = node.log();
    assert!(noticed, "40,000 calls on a full disk and still ready; the log ends:\n{}", node.log_tail());
    assert!(!log.contains("panicked"), "{log}");
    if let Some(status) = node.wait_end(Duration::ZERO) {
        assert_ne!(status.code(), Some(0), "{log}");
        assert!(log.to_lowercase().contains("space"), "the sentence says what is missing: {log}");
    }
}

#[test]
fn t50_a_log_torn_at_any_byte_of_its_end_is_cut_and_carried_on() {
    let mut node = Node::with_resources(|node| office_and_carrier(node, Transport::Udp, 1_000));
    load(&node, "whole", 100, 200);
    let before = records(&mut node);
    node.kill();
    let (path, bytes) = last_segment(&node.data_dir());
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    let mut rng = Rng::from_u64(7);
    for _ in 0..tests::length(8, 100) {
        // Anywhere in the last pages: in a header, in an entry, between two.
        let cut = end.saturating_sub(usize::try_from(rng.below(16_384)).unwrap_or(0));
        let mut torn = bytes.clone();
        torn.get_mut(cut..).unwrap_or_default().fill(0);
        fs::write(&path, &torn).expect("the segment is writable");
        node.start();
        let after = records(&mut node);
        assert!(after.len() <= before.len(), "cut at {cut}: {} records of {}", after.len(), before.len());
        assert_distinct(&after);
        node.kill();
    }
}

#[test]
fn t50_a_log_damaged_in_its_middle_is_never_a_panic() {
    let mut node = Node::with_resources(|node| office_and_carrier(node, Transport::Udp, 1_000));
    load(&node, "whole", 100, 200);
    node.kill();
    let (path, bytes) = last_segment(&node.data_dir());
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    let mut rng = Rng::from_u64(11);
    for _ in 0..tests::length(8, 100) {
        let at = usize::try_from(rng.below(end as u64)).unwrap_or(0);
        let mut damaged = bytes.clone();
        if let Some(byte) = damaged.get_mut(at) {
            *byte ^= 0x40;
        }
        fs::write(&path, &damaged).expect("the segment is writable");
        node.spawn();
        let ended = wait::for_some(Duration::from_secs(30), || match node.wait_end(Duration::ZERO) {
            Some(status) => Some(Some(status)),
            None => node.ready().then_some(None),
        });
        let log = node.log();
        assert!(!log.contains("panicked"), "byte {at}: {}", node.log_tail());
        match ended {
            Some(Some(status)) => assert_eq!(status.code(), Some(1), "byte {at}: {log}"),
            Some(None) => {}
            None => assert!(ended.is_some(), "byte {at}: neither ready nor ended; {}", node.log_tail()),
        }
        node.kill();
    }
}

/// Calls that complete where they can; a refusal is an answer too.
fn load(node: &Node, name: &str, rate: u32, calls: u32) {
    let dir = node.dir().join(name);
    fs::create_dir_all(&dir).expect("a directory for the load");
    let mut callees = Sipp::callee(&dir, "callee", callee(node), Transport::Udp).start();
    let mut callers = Sipp::caller(&dir, "caller", caller(node), node.sip(), Transport::Udp)
        .load(rate, calls, Duration::from_millis(100), FAR_NUMBER)
        // What cannot be committed is not answered: a caller that rings then has to lose patience itself.
        .options(&["-timeout", "20", "-recv_timeout", "20000"])
        .start();
    callers.finish(Duration::from_secs(150));
    callees.stop();
}

fn records(node: &mut Node) -> Vec<Record> {
    let records = node.cdrs();
    assert_distinct(&records);
    records
}

fn assert_distinct(records: &[Record]) {
    let ids: std::collections::BTreeSet<_> = records.iter().map(|record| record.text("id")).collect();
    assert_eq!(ids.len(), records.len(), "ids of records are distinct");
}

/// The newest segment of the log: its path and its bytes.
fn last_segment(data: &Path) -> (PathBuf, Vec<u8>) {
    let segments = walk(data).into_iter().filter(|path| path.extension().is_some_and(|kind| kind == "seg"));
    let written = segments.filter_map(|path| {
        let bytes = fs::read(&path).ok()?;
        bytes.iter().any(|byte| *byte != 0).then_some((path, bytes))
    });
    written.max_by(|a, b| a.0.cmp(&b.0)).expect("the data directory holds a segment")
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| if entry.path().is_dir() { walk(&entry.path()) } else { vec![entry.path()] })
        .collect()
}

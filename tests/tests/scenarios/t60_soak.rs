//! A cluster under a load that goes on and on: afterwards memory, descriptors, threads, timers and ports are where they
//! were.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tests::length;
use tests::node::Node;
use tests::orders::{Load, office};
use tests::process::Process;
use tests::trio::{Setup, Trio};
use tests::wait;

/// What a node has taken of its machine.
#[derive(Debug, Clone, Copy)]
struct Taken {
    resident_kib: u64,
    /// Beside the files of its data_dir: of the log it keeps as many as its snapshot does not cover yet.
    descriptors: usize,
    threads: usize,
    timers: u64,
    pairs: u64,
}

impl Taken {
    fn by(node: &Node) -> Taken {
        let id = node.process().map_or(0, Process::id);
        let count = |what: &str| {
            let entries = fs::read_dir(format!("/proc/{id}/{what}")).into_iter().flatten().flatten();
            let is_data = |at: &Path| fs::read_link(at).is_ok_and(|to| to.starts_with(node.data_dir()));
            entries.filter(|entry| !is_data(&entry.path())).count()
        };
        let metric = |name: &str| node.metric(name).unwrap_or_default() as u64;
        Taken {
            resident_kib: node.resident_kib(),
            descriptors: count("fd"),
            threads: count("task"),
            timers: metric("banyan_timers"),
            pairs: metric("banyan_media_port_pairs") - metric("banyan_media_port_pairs_free"),
        }
    }
}

/// A while first, in which pools fill. At full length a hundred calls a second for thirty minutes.
#[test]
fn t60_after_a_long_load_everything_is_where_it_was() {
    let trio = Trio::start(&Setup::default(), office);
    let (rate, seconds) = length((50, 5), (100, 1_800));
    let load = |seconds: u32| {
        let figures = Load::start(trio.home(1), trio.pbx(), (rate * seconds, rate), 1.0).figures();
        assert_eq!(
            (figures["completed"].as_u64(), figures["failed"].as_object().map(serde_json::Map::len)),
            (Some(u64::from(rate * seconds)), Some(0)),
            "{figures}"
        );
    };
    load(WARM);
    let nodes = || trio.running().map(Taken::by);
    let rests = || nodes().all(|taken| taken.timers == 0 && taken.pairs == 0);
    wait::until("the nodes rest", PATIENCE, rests);
    let before: Vec<Taken> = nodes().collect();
    load(seconds);
    wait::until("the nodes rest again", PATIENCE, rests);
    let after: Vec<Taken> = nodes().collect();
    println!("before {before:#?}\nafter {after:#?}");
    for (before, after) in before.iter().zip(&after) {
        // A connection may stand that did not.
        assert!(after.descriptors <= before.descriptors + 4, "{before:?} {after:?}");
        assert!(after.threads <= before.threads + 2, "{before:?} {after:?}");
        // The allocator keeps pages; what leaks for each call would be more than this by far.
        let more = after.resident_kib.saturating_sub(before.resident_kib);
        assert!(more < length(32 << 10, 64 << 10), "{before:?} {after:?}");
    }
    let placed = (rate * (WARM + seconds)) as usize;
    assert_eq!(trio.node(1).cdrs().len(), placed);
    trio.assert_no_panic();
}

/// What a late packet of a call may still reach rests for a while.
const PATIENCE: Duration = Duration::from_secs(120);

/// In seconds.
const WARM: u32 = 5;

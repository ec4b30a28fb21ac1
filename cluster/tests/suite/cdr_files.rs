//! CDR files: every number once, whatever crashes when.

use std::sync::Arc;

use cluster::{CdrFilter, Projection, to_json};
use env::{Disk, Lane};
use machine::{Rng, WallTime};

use crate::support::{Bench, MemDisk, admit, confirm, end, gateway, trunk};

fn made(n: u64) -> Bench {
    let mut bench = Bench::new();
    bench.put(vec![trunk("t", |_| ()), trunk("u", |_| ()), gateway("g", None)]);
    for call in 1..=n {
        bench.admit(admit(call, if call % 4 == 0 { "u" } else { "t" }, &["g"]));
        bench.call(call, confirm(1_800_000_001_000));
        bench.call(call, end(200, 1_800_000_002_000 + call as i64));
    }
    bench
}

/// Opens the files while the disk is driven by hand.
fn open(disk: &MemDisk) -> Arc<Projection> {
    let opening = Projection::open(Arc::new(disk.clone()), 3000);
    let mut opening = std::pin::pin!(opening);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        match opening.as_mut().poll(&mut cx) {
            std::task::Poll::Ready(projection) => return projection.unwrap(),
            std::task::Poll::Pending => disk.settle(),
        }
    }
}

fn lines(disk: &MemDisk) -> Vec<u64> {
    let mut seqs = Vec::new();
    for file in disk.list().unwrap() {
        let text = String::from_utf8(disk.file(&file.name).unwrap()).unwrap();
        seqs.extend(
            text.lines().map(|line| {
                serde_json::from_str::<serde_json::Value>(line).unwrap()["seq"].as_u64().unwrap()
            }),
        );
    }
    seqs
}

#[test]
fn every_cdr_is_in_the_files_exactly_once_wherever_a_crash_comes() {
    let bench = made(24);
    let (mut torn, mut files) = (0, 0);
    for seed in 0..200 {
        let mut rng = Rng::from_u64(seed);
        let mut disk = MemDisk::default();
        let mut projection = open(&disk);
        for life in 0..4 {
            // The state hands over all that is not known to be durable: here, everything, each time.
            for (number, cdr) in bench.state.cdrs() {
                projection.add(number, cdr);
                if rng.below(3) == 0 {
                    projection.flush();
                }
                if rng.below(3) == 0 {
                    disk.step(Lane::Bulk);
                }
                if life < 3 && rng.below(20) == 0 {
                    break;
                }
            }
            if life < 3 {
                let before = projection.durable();
                disk = disk.crash(&mut rng);
                projection = open(&disk);
                assert!(projection.durable() >= before, "seed {seed}: a durable CDR is gone");
            }
        }
        while projection.durable() < 24 {
            projection.flush();
            disk.settle();
        }
        assert_eq!(lines(&disk), (1..=24).collect::<Vec<_>>(), "seed {seed}");
        files = files.max(disk.list().unwrap().len());
        torn += disk.counts().torn;
    }
    assert!(torn > 100 && files > 2, "{torn} writes were torn, {files} files at most");
}

#[test]
fn a_full_disk_delays_cdrs_and_loses_none() {
    let bench = made(6);
    let disk = MemDisk::default();
    let projection = open(&disk);
    disk.limit(1000);
    bench.state.cdrs().for_each(|(number, cdr)| projection.add(number, cdr));
    for _ in 0..3 {
        projection.flush();
        disk.settle();
    }
    assert_eq!((projection.durable(), disk.counts().refused), (0, 3));
    disk.limit(u64::MAX);
    projection.flush();
    disk.settle();
    assert_eq!((projection.durable(), lines(&disk)), (6, (1..=6).collect()));
}

#[test]
fn cdrs_are_found_by_trunk_call_id_time_and_number() {
    let bench = made(20);
    let disk = MemDisk::default();
    let projection = open(&disk);
    for (number, cdr) in bench.state.cdrs() {
        projection.add(number, cdr);
        projection.flush();
        disk.settle();
    }
    let find = |filter: CdrFilter| {
        let found = projection.find(&filter).unwrap();
        found.iter().map(|cdr| cdr["seq"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(find(CdrFilter::default()).len(), 20);
    assert_eq!(find(CdrFilter { limit: Some(3), ..CdrFilter::default() }), [18, 19, 20]);
    assert_eq!(find(CdrFilter { trunk: text("u"), ..CdrFilter::default() }), [4, 8, 12, 16, 20]);
    assert_eq!(find(CdrFilter { call_id: text("call-7@example.com"), ..CdrFilter::default() }), [7]);
    let id = bench.id(9).to_string();
    assert_eq!(find(CdrFilter { call_id: Some(id), ..CdrFilter::default() }), [9]);
    let call_id = text("egress-call-id@example.net");
    assert_eq!(find(CdrFilter { call_id, limit: Some(1), ..CdrFilter::default() }), [20]);
    let since = Some(WallTime(1_800_000_000_001));
    assert_eq!(find(CdrFilter { since, ..CdrFilter::default() }), [] as [u64; 0]);
}

#[test]
fn a_line_has_the_contracts_fields_in_its_order() {
    let bench = made(1);
    let (number, cdr) = bench.state.cdrs().next().unwrap();
    let line = to_json(number, cdr);
    let fields: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
    let contract = "seq id linked_id call_id_a call_id_b tenant trunk account direction from to asserted \
        presented_caller_id cnam diversion charge_number isup_oli jip attestation verstat tag tag_answer \
        node_start node_end started_at ringing_at answered_at ended_at duration_ms sip_status reason hangup_by \
        gateway attempts redirect_server redirected_to redirect_verdict redirect_rule codec_a codec_b mos \
        packets_lost events warnings tariff amount currency";
    assert_eq!(fields, contract.split_whitespace().collect::<Vec<_>>());
    assert_eq!(line["answered_at"], "2027-01-15T08:00:01.000Z");
    assert_eq!(
        (&line["duration_ms"], &line["hangup_by"], &line["linked_id"]),
        (&1001.into(), &"caller".into(), &serde_json::Value::Null)
    );
    assert_eq!(line["direction"], "out");
}

//! The log on a disk that tears, fills and crashes.

use std::io;
use std::sync::{Arc, Mutex};

use cluster::log::{Log, LogError, LogHealth, Position, Vote};
use env::{Clock, Lane};
use machine::{Instant, Rng, WallTime};

use crate::support::MemDisk;

struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Instant {
        Instant::ZERO
    }

    fn wall(&self) -> WallTime {
        WallTime(0)
    }
}

/// Opens a log while the disk is driven by hand.
fn open(disk: &MemDisk) -> Result<Log, LogError> {
    let opening = Log::open(Arc::new(disk.clone()), Arc::new(Stopped), 32 << 10, 7);
    let mut opening = std::pin::pin!(opening);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        match opening.as_mut().poll(&mut cx) {
            std::task::Poll::Ready(log) => return log,
            std::task::Poll::Pending => disk.settle(),
        }
    }
}

fn position(index: u64) -> Position {
    Position { term: 1, node: 1, index }
}

fn payload(index: u64) -> Vec<u8> {
    vec![index as u8 | 0x80; 100 + (index as usize * 37) % 3000]
}

type Told = Arc<Mutex<Vec<io::Result<u64>>>>;

fn append(log: &Log, index: u64, told: &Told) {
    let told = told.clone();
    let done = Box::new(move |result: io::Result<()>| told.lock().unwrap().push(result.map(|()| index)));
    log.append(|a| a.push(position(index), |out| out.extend_from_slice(&payload(index))), done);
}

fn told(told: &Told) -> Vec<u64> {
    told.lock().unwrap().iter().map(|result| *result.as_ref().unwrap()).collect()
}

/// Every entry of a log, checked against what was written.
fn entries(log: &Log) -> Vec<u64> {
    let read = log.read(0, u64::MAX).unwrap();
    for (at, bytes) in &read {
        assert_eq!((at, bytes), (&position(at.index), &payload(at.index)));
    }
    read.iter().map(|(at, _)| at.index).collect()
}

#[test]
fn what_was_acknowledged_is_read_back_from_one_segment_or_many() {
    let disk = MemDisk::default();
    let (log, heard) = (open(&disk).unwrap(), Told::default());
    for index in 0..100 {
        append(&log, index, &heard);
        if index % 3 == 0 {
            disk.settle();
        }
    }
    disk.settle();
    assert_eq!(told(&heard), (0..100).collect::<Vec<_>>());
    assert_eq!(entries(&log), (0..100).collect::<Vec<_>>());
    let segments = env::Disk::list(&disk).unwrap().len();
    assert!(segments > 4, "{segments} segments");
    let again = open(&disk).unwrap();
    assert_eq!(entries(&again), (0..100).collect::<Vec<_>>());
    assert_eq!(again.last(), Some(position(99)));
}

#[test]
fn one_write_is_under_way_and_the_next_carries_all_that_came_meanwhile() {
    let disk = MemDisk::default();
    let (log, heard) = (open(&disk).unwrap(), Told::default());
    (0..50).for_each(|index| append(&log, index, &heard));
    assert_eq!(disk.waiting(Lane::Log), 1);
    // The segment's header, then the first entry.
    disk.step(Lane::Log);
    assert_eq!((told(&heard).len(), disk.waiting(Lane::Log)), (0, 1));
    // What is being written can't be read yet.
    assert_eq!((entries(&log), log.durable()), (vec![], 0));
    disk.step(Lane::Log);
    assert_eq!(told(&heard), [0]);
    assert_eq!((entries(&log), log.durable()), (vec![0], 1));
    disk.step(Lane::Log);
    assert_eq!(told(&heard).len(), 50);
    assert_eq!(log.syncs().sample().count, 2);
}

#[test]
fn vote_committed_index_truncation_and_purge_survive_in_the_same_stream() {
    let disk = MemDisk::default();
    let (log, heard) = (open(&disk).unwrap(), Told::default());
    let vote = Vote { term: 3, node: 2, committed: true };
    log.save_vote(vote, Box::new(|result| result.unwrap()));
    (0..60).for_each(|index| {
        append(&log, index, &heard);
        disk.settle();
    });
    log.truncate(50, Box::new(|result| result.unwrap()));
    log.save_committed(position(45));
    append(&log, 50, &heard);
    disk.settle();
    let before = env::Disk::list(&disk).unwrap().len();
    log.purge(position(30), Box::new(|result| result.unwrap()));
    disk.settle();
    assert!(env::Disk::list(&disk).unwrap().len() < before, "whole segments are removed");
    let again = open(&disk).unwrap();
    assert_eq!((again.vote(), again.committed()), (Some(vote), Some(position(45))));
    assert_eq!((again.purged(), again.last()), (Some(position(30)), Some(position(50))));
    assert_eq!(entries(&again), (31..=50).collect::<Vec<_>>());
    // And it goes on.
    append(&again, 51, &heard);
    disk.settle();
    assert_eq!(entries(&open(&disk).unwrap()), (31..=51).collect::<Vec<_>>());
}

#[test]
fn a_log_cut_at_any_byte_opens_with_every_whole_group_and_goes_on() {
    let disk = MemDisk::default();
    let (log, heard) = (open(&disk).unwrap(), Told::default());
    for index in 0..4 {
        append(&log, index, &heard);
        disk.settle();
    }
    let name = "log-0000000001.seg";
    let whole = disk.file(name).unwrap();
    let end = whole.iter().rposition(|b| *b != 0).unwrap() + 1;
    let mut seen = 0;
    for cut in 0..=end {
        // Cut short, and cut with the zeros of the prepared file behind it.
        for zeros in [false, true] {
            if zeros && cut % 7 != 0 {
                continue;
            }
            let torn = disk.copy();
            let mut bytes = whole[..cut].to_vec();
            if zeros {
                bytes.resize(whole.len(), 0);
            }
            torn.set_file(name, Some(bytes));
            let log = open(&torn).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
            let left = entries(&log);
            assert_eq!(left, (0..left.len() as u64).collect::<Vec<_>>());
            assert!(left.len() >= seen, "cut at {cut}");
            seen = left.len();
            append(&log, left.len() as u64, &Told::default());
            torn.settle();
            assert_eq!(entries(&open(&torn).unwrap()).len(), left.len() + 1, "cut at {cut}");
        }
    }
    assert_eq!(seen, 4);
}

#[test]
fn damage_in_the_middle_is_one_clear_error() {
    let disk = MemDisk::default();
    let (log, heard) = (open(&disk).unwrap(), Told::default());
    for index in 0..40 {
        append(&log, index, &heard);
        disk.settle();
    }
    let damaged = disk.copy();
    let mut bytes = damaged.file("log-0000000002.seg").unwrap();
    bytes[4096 + 30] ^= 1;
    damaged.set_file("log-0000000002.seg", Some(bytes));
    let error = open(&damaged).err().expect("it is damaged").to_string();
    assert!(error.starts_with("the log is damaged: log-0000000002.seg: damaged at byte "), "{error}");
    let missing = disk.copy();
    missing.set_file("log-0000000002.seg", None);
    let error = open(&missing).err().expect("it is damaged").to_string();
    assert!(error.starts_with("the log is damaged: log-0000000003.seg does not follow"), "{error}");
}

#[test]
fn a_crash_at_any_moment_loses_nothing_acknowledged_and_invents_nothing() {
    let mut torn = 0;
    for seed in 0..300 {
        let mut rng = Rng::from_u64(seed);
        let (mut disk, heard) = (MemDisk::default(), Told::default());
        let mut log = open(&disk).unwrap();
        let mut next = 0;
        for _ in 0..6 {
            for _ in 0..rng.below(12) {
                append(&log, next, &heard);
                next += 1;
                for _ in 0..rng.below(4) {
                    disk.step(if rng.below(3) == 0 { Lane::Bulk } else { Lane::Log });
                }
            }
            disk = disk.crash(&mut rng);
            log = open(&disk).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            let left = entries(&log).len() as u64;
            let acknowledged = told(&heard).last().map_or(0, |last| last + 1);
            assert!((acknowledged..=next).contains(&left), "seed {seed}: {acknowledged} {left} {next}");
            // What was not acknowledged and yet is there counts from now on.
            next = left;
            heard.lock().unwrap().clear();
            (0..next).for_each(|index| heard.lock().unwrap().push(Ok(index)));
        }
        torn += disk.counts().torn;
    }
    assert!(torn > 300, "{torn} writes were torn");
}

#[test]
fn a_full_disk_delays_and_does_not_fail() {
    let disk = MemDisk::default();
    let (log, heard) = (open(&disk).unwrap(), Told::default());
    disk.limit(80 << 10);
    let mut index = 0;
    while log.health() == LogHealth::Writing {
        append(&log, index, &heard);
        disk.settle();
        index += 1;
    }
    assert_eq!(log.health(), LogHealth::Full);
    assert_eq!(told(&heard).len() as u64, index - 1);
    append(&log, index, &heard);
    log.retry();
    disk.settle();
    assert_eq!(log.health(), LogHealth::Full);
    assert!(disk.counts().refused >= 2);
    disk.limit(u64::MAX);
    log.retry();
    disk.settle();
    assert_eq!(log.health(), LogHealth::Writing);
    assert_eq!(told(&heard), (0..=index).collect::<Vec<_>>());
    assert_eq!(entries(&open(&disk).unwrap()), (0..=index).collect::<Vec<_>>());
}

//! What each node tells the others of itself every second, so that any of them can say how all are.
//!
//! A frame is `REPORT count(1) number(8)… lights(1) [node(8) light(1)]… version`. Further numbers may be added
//! at the end: a node takes those that it knows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use call::{CallId, NodeId};
use cluster::detector::Light;
use cluster::log::{SYNC_BOUNDS_US, SyncSample};
use machine::Instant;

use crate::lock;
use crate::shared::Shared;

/// What a node says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The release of its program.
    pub version: String,
    /// How long its process has run, in seconds.
    pub up_s: u64,
    /// Whether it takes new calls.
    pub ready: bool,
    /// Whether it may speak for its homes.
    pub lease: bool,
    /// The index of the last batch that it has applied.
    pub applied: u64,
    /// Within how many microseconds half of its batches were committed lately; 0: there were none.
    pub commit_p50_us: u64,
    /// Within how many 99 of 100 were.
    pub commit_p99_us: u64,
    /// Commands that wait for their commit.
    pub waiting: u64,
    /// How the other nodes seem to it. Only a leader hears them all.
    pub lights: Vec<(NodeId, Light)>,
}

/// The newest reports, and how long ago each came.
pub type Reports = BTreeMap<NodeId, (Report, Duration)>;

/// What a node keeps of reports.
#[derive(Default)]
pub(crate) struct Desk {
    heard: BTreeMap<NodeId, (Report, Instant)>,
    /// The commits up to the present span of time, up to the one before, and when the present one began.
    commits: (SyncSample, SyncSample, Instant),
}

/// The kinds of frames that nodes ask each other with.
const REPORT: u8 = 0;
const HANG_UP: u8 = 1;
const DEPART: u8 = 2;
/// How often a node speaks of itself.
const EVERY: Duration = Duration::from_secs(1);
/// Over how long commits are looked at: from one to two of these.
const SPAN: Duration = Duration::from_secs(10);

impl Shared {
    /// Speaks of itself for as long as it is polled.
    pub(crate) async fn report(self: Arc<Shared>) {
        let began = self.world.clock.now();
        loop {
            let now = self.world.clock.now();
            let report = self.own_report(now.since(began));
            let frame = write(&report);
            let own = self.cluster.cluster().node();
            lock(&self.reports).heard.insert(own, (report, now));
            let others =
                self.cluster.cluster().read(|state| state.nodes().map(|(id, _)| id).collect::<Vec<_>>());
            for node in others.into_iter().filter(|node| *node != own) {
                self.cluster.ask(node, frame.clone());
            }
            self.world.spawn.sleep_until(now + EVERY).await;
        }
    }

    fn own_report(&self, up: Duration) -> Report {
        let status = self.cluster.cluster().status();
        let now = self.world.clock.now();
        let recent = lock(&self.reports).recent(status.commits, now);
        Report {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            up_s: up.as_secs(),
            ready: self.is_ready(),
            lease: self.cluster.cluster().may_speak(),
            applied: status.applied,
            commit_p50_us: within(&recent, 500),
            commit_p99_us: within(&recent, 990),
            waiting: status.backlog.commands as u64,
            lights: self.cluster.cluster().standing().lights,
        }
    }

    /// The newest reports of all nodes.
    pub(crate) fn reports(&self) -> Reports {
        let now = self.world.clock.now();
        let desk = lock(&self.reports);
        desk.heard.iter().map(|(node, (report, at))| (*node, (report.clone(), now.since(*at)))).collect()
    }

    /// Ends a call, wherever it is; false if no node carries it.
    pub(crate) fn hang_up_anywhere(&self, call: CallId) -> bool {
        if self.hang_up(call) {
            return true;
        }
        let Some(holder) = self.cluster.holder_of(call) else { return false };
        let mut frame = vec![HANG_UP];
        frame.extend(call.0.to_be_bytes());
        self.cluster.ask(holder, frame)
    }

    /// Tells a node, which may be this one, that it is being removed.
    pub(crate) fn tell_to_depart(self: &Arc<Shared>, node: NodeId) {
        if node == self.cluster.cluster().node() {
            self.depart();
        } else {
            // Lost, whoever removes the node sees that it stays.
            self.cluster.ask(node, vec![DEPART]);
        }
    }

    /// A frame came from another node.
    pub(crate) fn asked(self: &Arc<Shared>, from: NodeId, bytes: &[u8]) {
        match bytes.split_first() {
            Some((&REPORT, rest)) => {
                if let Some(report) = read(rest) {
                    lock(&self.reports).heard.insert(from, (report, self.world.clock.now()));
                }
            }
            Some((&HANG_UP, rest)) => {
                if let Some(call) = rest.first_chunk().map(|id| CallId(u64::from_be_bytes(*id))) {
                    self.hang_up(call);
                }
            }
            Some((&DEPART, _)) => self.depart(),
            // A newer release asks for what this one does not know.
            _ => {}
        }
    }
}

impl Desk {
    /// A node is gone: so is what it said.
    pub(crate) fn forget(&mut self, node: NodeId) {
        self.heard.remove(&node);
    }

    /// What was committed lately.
    fn recent(&mut self, sample: SyncSample, now: Instant) -> SyncSample {
        if now.since(self.commits.2) >= SPAN {
            self.commits = (sample, self.commits.0, now);
        }
        let mut recent = sample;
        for (bucket, before) in recent.buckets.iter_mut().zip(self.commits.1.buckets) {
            *bucket = bucket.saturating_sub(before);
        }
        recent.count = recent.buckets.iter().sum();
        recent
    }
}

/// Within how many microseconds so many of a thousand were done: the bound of a bucket.
fn within(sample: &SyncSample, permille: u64) -> u64 {
    let wanted = (sample.count * permille).div_ceil(1000);
    let mut seen = 0;
    for (index, count) in sample.buckets.iter().enumerate() {
        seen += count;
        if seen >= wanted && wanted > 0 {
            return SYNC_BOUNDS_US.get(index).or(SYNC_BOUNDS_US.last()).copied().unwrap_or(0);
        }
    }
    0
}

fn write(report: &Report) -> Vec<u8> {
    let numbers = [
        report.up_s,
        u64::from(report.ready),
        u64::from(report.lease),
        report.applied,
        report.commit_p50_us,
        report.commit_p99_us,
        report.waiting,
    ];
    let mut out = vec![REPORT, numbers.len() as u8];
    numbers.iter().for_each(|number| out.extend(number.to_be_bytes()));
    let lights = &report.lights[..report.lights.len().min(usize::from(u8::MAX))];
    out.push(lights.len() as u8);
    for (node, light) in lights {
        out.extend(node.0.to_be_bytes());
        out.push(*light as u8);
    }
    out.extend(report.version.as_bytes());
    out
}

fn read(bytes: &[u8]) -> Option<Report> {
    let (count, rest) = bytes.split_first()?;
    let (numbers, rest) = rest.split_at_checked(usize::from(*count) * 8)?;
    let mut numbers = numbers.chunks_exact(8).filter_map(|it| Some(u64::from_be_bytes(it.try_into().ok()?)));
    let mut number = || numbers.next().unwrap_or(0);
    let (count, rest) = rest.split_first()?;
    let (lights, version) = rest.split_at_checked(usize::from(*count) * 9)?;
    let light = |it: &[u8]| {
        let (node, light) = it.split_first_chunk::<8>()?;
        let light = match light {
            [0] => Light::Green,
            [1] => Light::Yellow,
            _ => Light::Red,
        };
        Some((NodeId(u64::from_be_bytes(*node)), light))
    };
    Some(Report {
        up_s: number(),
        ready: number() != 0,
        lease: number() != 0,
        applied: number(),
        commit_p50_us: number(),
        commit_p99_us: number(),
        waiting: number(),
        lights: lights.chunks_exact(9).filter_map(light).collect(),
        version: String::from_utf8(version.to_vec()).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            version: "1.2.3".to_owned(),
            up_s: 7,
            ready: true,
            lease: false,
            applied: 1 << 40,
            commit_p50_us: 300,
            commit_p99_us: 4_000,
            waiting: 3,
            lights: vec![(NodeId(1), Light::Green), (NodeId(3), Light::Red)],
        }
    }

    #[test]
    fn a_report_reads_back_and_a_torn_one_is_nothing() {
        let bytes = write(&report());
        assert_eq!(bytes.first(), Some(&REPORT));
        assert_eq!(read(&bytes[1..]), Some(report()));
        let fixed = bytes.len() - "1.2.3".len();
        assert!((1..fixed).all(|len| read(&bytes[1..len]).is_none()));
    }

    #[test]
    fn a_newer_release_may_say_more() {
        let mut bytes = write(&report());
        bytes[1] += 1;
        let after_numbers = 2 + 7 * 8;
        bytes.splice(after_numbers..after_numbers, [9; 8]);
        assert_eq!(read(&bytes[1..]), Some(report()));
    }

    #[test]
    fn percentiles_are_the_bounds_of_their_buckets_over_the_last_spans() {
        let at = |s| Instant::ZERO + Duration::from_secs(s);
        let mut sample = SyncSample::default();
        // 98 commits within 200 us, two within 8 ms: by hand, the 50th of 100 is in the fourth bucket, the 99th
        // in the eleventh.
        (sample.buckets[3], sample.buckets[10], sample.count) = (98, 2, 100);
        let mut desk = Desk::default();
        let recent = desk.recent(sample, at(1));
        assert_eq!((within(&recent, 500), within(&recent, 990)), (200, 8_000));
        // What is older than two spans does not count any more.
        desk.recent(sample, at(11));
        desk.recent(sample, at(22));
        assert_eq!(within(&desk.recent(sample, at(33)), 500), 0);
    }
}

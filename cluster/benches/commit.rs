//! What a commit costs: calls are proposed at a rate, as a node would, on a real directory. Prints processor
//! time per call and per batch, batches per call, and how long an admission waits.
//!
//! `cargo bench -p cluster --bench commit -- DIRECTORY [CALLS_PER_S …] [three]`. With `three`, two further voters
//! run in the same process, linked in memory; what they cost is counted too.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::panic, missing_docs)]

#[path = "../../crates/node/src/disk.rs"]
#[allow(dead_code)]
mod disk;
#[path = "../tests/suite/support.rs"]
#[allow(dead_code)]
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use call::{CallCommand, CallId};
use cluster::{Applied, Batch, Cluster, Command, Config, Outcome, Seams, Urgency};
use env::{BoxFuture, Clock, Entropy, Frames, LinkEvent, Peer, Purpose, Spawn, Task};
use support::{admit, confirm, end, gateway, trunk};

struct Real(Instant);

impl Clock for Real {
    fn now(&self) -> machine::Instant {
        machine::Instant::ZERO + Duration::from_secs(1) + self.0.elapsed()
    }

    fn wall(&self) -> machine::WallTime {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        machine::WallTime(since.as_millis() as i64)
    }
}

struct Fixed;

impl Entropy for Fixed {
    fn fill(&self, out: &mut [u8]) {
        machine::Rng::from_u64(u64::from(std::process::id())).fill(out);
    }
}

struct Tokio(Arc<Real>);

struct Running(tokio::task::AbortHandle);

impl Task for Running {
    fn abort(&self) {
        self.0.abort();
    }
}

impl Spawn for Tokio {
    fn spawn(&self, _: &'static str, task: BoxFuture<'static, ()>) -> Box<dyn Task> {
        Box::new(Running(tokio::spawn(task).abort_handle()))
    }

    fn sleep_until(&self, at: machine::Instant) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(at.since(self.0.now())))
    }
}

#[derive(Default)]
struct Seen {
    asked: BTreeMap<CallId, Instant>,
    waits_us: Vec<u64>,
    batches: u64,
    answered: Vec<CallId>,
}

struct Sink(Arc<Mutex<Seen>>);

impl Applied for Sink {
    fn outcomes(&mut self, batch: &Batch, _: Vec<Outcome>) {
        let mut seen = self.0.lock().unwrap();
        seen.batches += 1;
        for command in &batch.commands {
            if let Command::Call { call, command: CallCommand::Admit(_), .. } = command {
                let Some(asked) = seen.asked.remove(call) else { continue };
                seen.waits_us.push(asked.elapsed().as_micros() as u64);
                seen.answered.push(*call);
            }
        }
    }
}

/// Nanoseconds of processor time of each thread.
fn processor_ns() -> BTreeMap<String, u64> {
    let mut threads = BTreeMap::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let path = task.unwrap().path();
        let name = std::fs::read_to_string(path.join("comm")).unwrap().trim().to_owned();
        let stat = std::fs::read_to_string(path.join("schedstat")).unwrap();
        *threads.entry(name).or_default() += stat.split(' ').next().unwrap().parse::<u64>().unwrap();
    }
    threads
}

/// Links in memory between the nodes of this process.
#[derive(Clone, Default)]
struct Wires(Arc<Mutex<BTreeMap<u64, End>>>);

#[derive(Default)]
struct End {
    arrived: Vec<LinkEvent>,
    waker: Option<Waker>,
}

struct Wired(u64, Wires);

impl Frames for Wired {
    fn send(&self, to: u64, purpose: Purpose, bytes: Vec<u8>) -> bool {
        let mut ends = self.1.0.lock().unwrap();
        let end = ends.entry(to).or_default();
        end.arrived.push(LinkEvent::Frame { from: self.0, purpose, bytes });
        if let Some(waker) = end.waker.take() {
            waker.wake();
        }
        true
    }

    fn poll_events(&self, cx: &mut Context<'_>, events: &mut Vec<LinkEvent>) -> Poll<()> {
        let mut ends = self.1.0.lock().unwrap();
        let end = ends.entry(self.0).or_default();
        if end.arrived.is_empty() {
            end.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        events.append(&mut end.arrived);
        Poll::Ready(())
    }

    fn set_peers(&self, _: &[Peer]) {}

    fn is_up(&self, _: u64) -> bool {
        true
    }
}

async fn open(directory: PathBuf, wires: Option<Wires>, node: u64, seen: Arc<Mutex<Seen>>) -> Cluster {
    let clock = Arc::new(Real(Instant::now()));
    let seams = Seams {
        clock: clock.clone(),
        entropy: Arc::new(Fixed),
        spawn: Arc::new(Tokio(clock)),
        disk: Arc::new(disk::FileDisk::open(&directory).unwrap()),
        frames: wires.clone().map(|wires| Arc::new(Wired(node, wires)) as Arc<dyn Frames>),
    };
    let mut config = Config::alone(call::NodeId(node), support::name(&format!("n{node}")));
    if wires.is_some() {
        let at = std::net::SocketAddr::from(([127, 0, 0, 1], 7000));
        config.peers = (1..=3).map(|node| Peer { node, at }).collect();
    }
    Cluster::open(config, seams, Box::new(Sink(seen)), Arc::new(())).await.unwrap()
}

/// Until the next arrival: Poisson, as the wire would bring them.
fn gap(rng: &mut machine::Rng, rate: u64) -> Duration {
    let unit = (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
    Duration::from_secs_f64(-(1.0 - unit).ln() / rate as f64)
}

async fn run(directory: &Path, rate: u64, seconds: u64, three: bool) {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let wires = three.then(Wires::default);
    let opening = |node: u64, seen| open(directory.join(node.to_string()), wires.clone(), node, seen);
    let others: Vec<_> =
        (2..=3).filter(|_| three).map(|node| tokio::spawn(opening(node, Arc::default()))).collect();
    let cluster = opening(1, seen.clone()).await;
    let others = futures::future::join_all(others).await;
    let role = if cluster.status().leads { "leads" } else { "follows" };
    println!("{} nodes; the one that proposes {role}", others.len() + 1);
    cluster.put(vec![trunk("t", |_| ()), gateway("g", None)]).await.unwrap().unwrap();
    let held = cluster.booted().homes[0].clone();
    let propose = |id: CallId, command: CallCommand| {
        let urgency = if command.is_urgent() { Urgency::Urgent } else { Urgency::Lazy };
        cluster.proposer().propose(held.home, held.epoch, id, command, urgency);
    };
    let invite: bytes::Bytes = vec![b'i'; 1000].into();
    let (before, syncs, began) = (processor_ns(), cluster.status().syncs, Instant::now());
    let (mut next, mut live) = (0u64, std::collections::VecDeque::new());
    let total = rate * seconds;
    let mut rng = machine::Rng::from_u64(7);
    let mut due = began;
    while next < total {
        while next < total && due <= Instant::now() {
            next += 1;
            let id = CallId::new(cluster.booted().incarnation, next);
            let mut admit = admit(id.0, "t", &["g"]);
            admit.invite = invite.clone();
            seen.lock().unwrap().asked.insert(id, Instant::now());
            propose(id, CallCommand::Admit(admit.into()));
            due += gap(&mut rng, rate);
        }
        let answered: Vec<_> = seen.lock().unwrap().answered.drain(..).collect();
        for id in answered {
            live.push_back((Instant::now() + Duration::from_millis(20 + id.0 % 10), id, false));
        }
        while live.front().is_some_and(|(at, _, _)| *at <= Instant::now()) {
            let (_, id, up) = live.pop_front().unwrap();
            if up {
                propose(id, end(200, 1_800_000_001_000));
            } else {
                propose(id, confirm(1_800_000_000_500));
                live.push_back((Instant::now() + Duration::from_millis(30), id, true));
            }
        }
        tokio::time::sleep(Duration::from_micros(100)).await;
    }
    let took = began.elapsed();
    let (after, status) = (processor_ns(), cluster.status());
    let mut seen = std::mem::take(&mut *seen.lock().unwrap());
    seen.waits_us.sort_unstable();
    let at =
        |permille: usize| seen.waits_us[(seen.waits_us.len() * permille / 1000).min(seen.waits_us.len() - 1)];
    let used: BTreeMap<_, _> =
        after.iter().map(|(name, ns)| (name, ns - before.get(name).copied().unwrap_or(0))).collect();
    let all: u64 = used.values().sum();
    let writes = status.syncs.count - syncs.count;
    println!(
        "{rate} calls/s for {:.1} s: {:.1} us/call, {:.1} us/batch, {:.2} batches/call; admission p50 {} us, \
         p99 {} us; {writes} writes of {} us and {} bytes on average",
        took.as_secs_f64(),
        all as f64 / 1e3 / total as f64,
        all as f64 / 1e3 / seen.batches as f64,
        seen.batches as f64 / total as f64,
        at(500),
        at(990),
        (status.syncs.sum_ns - syncs.sum_ns) / 1000 / writes.max(1),
        (status.syncs.bytes - syncs.bytes) / writes.max(1),
    );
    for (name, ns) in used {
        println!("    {name}: {:.1} us/call", ns as f64 / 1e3 / total as f64);
    }
    cluster.close().await;
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let (three, words): (Vec<String>, _) = words.into_iter().partition(|word| word == "three");
    let root = PathBuf::from(words.first().map_or("target/commit-bench", String::as_str));
    let rates: Vec<u64> = words.iter().skip(1).map(|word| word.parse().unwrap()).collect();
    for rate in if rates.is_empty() { vec![500, 2000] } else { rates } {
        let directory = root.join(format!("{rate}"));
        let _ = std::fs::remove_dir_all(&directory);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(&directory, rate, 4, !three.is_empty()));
        let _ = std::fs::remove_dir_all(&directory);
    }
}

//! What a link costs: a small frame there and its answer back between two nodes of this process, over
//! loopback. Prints the processor time of both sides together, and how long an answer takes.
//!
//! `cargo bench -p cluster --bench link`
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::panic, missing_docs)]

use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster::link::{ClusterKey, Identity, LinkConfig, Quic};
use env::{Frames, LinkEvent, Peer, Purpose};
use machine::Rng;
use rustix::time::{ClockId, clock_gettime};

fn start(node: u64) -> Arc<Quic> {
    let identity = Identity::Key(ClusterKey::parse(b"for a bench").unwrap());
    let listen = "127.0.0.1:0".parse().unwrap();
    let config = LinkConfig { node, listen, identity, detect: Duration::from_millis(500), waits: false };
    Quic::start(config, Rng::from_u64(node)).unwrap()
}

fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

async fn events(quic: &Quic, into: &mut Vec<LinkEvent>) {
    into.clear();
    poll_fn(|cx| quic.poll_events(cx, into)).await;
}

/// `window` requests are under way at once.
async fn run(one: &Quic, two: Arc<Quic>, window: usize, total: usize, len: usize) {
    let echo = tokio::spawn(async move {
        let mut seen = Vec::new();
        loop {
            events(&two, &mut seen).await;
            for event in seen.drain(..) {
                if let LinkEvent::Frame { from, purpose, bytes } = event {
                    assert!(two.send(from, purpose, bytes));
                }
            }
        }
    });
    let (began, cpu_before) = (Instant::now(), cpu());
    let (mut sent, mut back, mut seen) = (0, 0, Vec::new());
    while back < total {
        while sent < total && sent - back < window {
            assert!(one.send(2, Purpose::Raft, vec![7; len]));
            sent += 1;
        }
        events(one, &mut seen).await;
        back += seen.iter().filter(|event| matches!(event, LinkEvent::Frame { .. })).count();
    }
    let (took, cpu) = (began.elapsed(), cpu() - cpu_before);
    let each = |all: Duration| all.as_secs_f64() * 1e6 / total as f64;
    println!(
        "{len:>6} bytes, {window:>4} at once: {:>6.1} us CPU, {:>6.1} us wall, each there and back",
        each(cpu),
        each(took)
    );
    echo.abort();
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (one, two) = (start(1), start(2));
        let peers = [Peer { node: 1, at: one.local().unwrap() }, Peer { node: 2, at: two.local().unwrap() }];
        one.set_peers(&peers);
        two.set_peers(&peers);
        let mut seen = Vec::new();
        events(&one, &mut seen).await;
        events(&two, &mut seen).await;
        for (window, len) in [(1, 64), (1, 1000), (16, 64), (256, 64), (16, 16_000)] {
            run(&one, two.clone(), window, 20_000, len).await;
        }
    });
}

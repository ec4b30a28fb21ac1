//! Links in virtual time: what holds for every seed, under cuts, deaths and returns.

use std::future::poll_fn;

use super::*;
use crate::guards::Guards;

const DETECT: Duration = Duration::from_millis(500);
const IDLE: Duration = Duration::from_secs(1);

struct Net {
    links: Arc<Links>,
    clock: Arc<VirtualClock>,
    trace: Arc<Trace>,
}

fn at(node: u64) -> Peer {
    Peer { node, at: SocketAddr::from(([10, 0, 0, node as u8], 7000)) }
}

impl Net {
    fn new(seed: u64) -> Net {
        let mut rng = Rng::from_u64(seed);
        let clock = Arc::new(VirtualClock::start());
        let trace = Arc::new(Trace::default());
        let latency = Latency { min: Duration::from_micros(200), max: Duration::from_millis(3) };
        let guards = Arc::new(Guards::new(clock.clone(), []));
        let wire = Wire::new(clock.clone(), trace.clone(), (latency, Arc::default(), guards), rng.fork());
        tokio::spawn(wire.clone().run());
        let links = Links::new(wire, clock.clone(), trace.clone(), DETECT, rng);
        Net { links, clock, trace }
    }

    fn open(&self, node: u64, peers: &[u64]) -> Arc<MemoryFrames> {
        let frames = self.links.open(at(node));
        frames.set_peers(&peers.iter().copied().map(at).collect::<Vec<_>>());
        frames
    }

    /// Nodes 1 to `count`, all linked, their first events read.
    async fn linked(&self, count: u64) -> Vec<Arc<MemoryFrames>> {
        let ids: Vec<u64> = (1..=count).collect();
        let nodes: Vec<_> = ids.iter().map(|node| self.open(*node, &ids)).collect();
        for node in &nodes {
            for _ in 1..count {
                assert!(matches!(next(node).await, LinkEvent::Up(_)));
            }
        }
        nodes
    }

    async fn pass(&self, time: Duration) {
        self.clock.sleep_until(self.clock.now() + time).await;
    }
}

/// Runs in virtual time, for several seeds.
fn worlds<F: Future<Output = ()>>(test: impl Fn(u64) -> F) {
    for seed in 1..=20 {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(test(seed));
    }
}

/// The next event alone; those after it stay.
async fn next(node: &MemoryFrames) -> LinkEvent {
    let come = poll_fn(|cx| {
        let mut events = Vec::new();
        std::task::ready!(node.poll_events(cx, &mut events));
        let mut events = events.into_iter();
        let first = events.next();
        // They count as read: of no connection.
        let mut state = node.links.lock();
        let inbox = &mut state.nodes.get_mut(&node.node).unwrap().inbox;
        events.rev().for_each(|event| inbox.push_front((event, 0)));
        Poll::Ready(first.unwrap())
    });
    tokio::time::timeout(Duration::from_secs(60), come).await.expect("nothing has come")
}

/// What has come up to now.
async fn all(node: &MemoryFrames) -> Vec<LinkEvent> {
    let mut events = Vec::new();
    poll_fn(|cx| {
        let _ = node.poll_events(cx, &mut events);
        Poll::Ready(())
    })
    .await;
    events
}

fn frame(from: u64, purpose: Purpose, byte: u8) -> LinkEvent {
    LinkEvent::Frame { from, purpose, bytes: vec![byte] }
}

#[test]
fn frames_of_a_purpose_keep_their_order() {
    worlds(|seed| async move {
        let net = Net::new(seed);
        let nodes = net.linked(2).await;
        for n in 0..50 {
            for purpose in Purpose::ALL {
                assert!(nodes[0].send(2, purpose, vec![n]));
            }
        }
        net.pass(IDLE).await;
        let seen = all(&nodes[1]).await;
        for purpose in Purpose::ALL {
            let mine =
                seen.iter().filter(|it| matches!(it, LinkEvent::Frame { purpose: p, .. } if *p == purpose));
            assert!(mine.eq((0..50).map(|n| frame(1, purpose, n)).collect::<Vec<_>>().iter()), "{purpose:?}");
        }
        assert_eq!(seen.len(), 200);
    });
}

/// The accepting side is up first, and may speak before the other knows that it is up.
#[test]
fn up_comes_before_the_first_frame() {
    worlds(|seed| async move {
        let net = Net::new(seed);
        let (one, two) = (net.open(1, &[2]), net.open(2, &[1]));
        assert_eq!(next(&two).await, LinkEvent::Up(1));
        assert!(two.send(1, Purpose::Raft, vec![7]));
        assert_eq!(next(&one).await, LinkEvent::Up(2));
        assert_eq!(next(&one).await, frame(2, Purpose::Raft, 7));
        assert!(one.is_up(2) && two.is_up(1));
    });
}

#[test]
fn a_short_cut_holds_frames_up_and_loses_none() {
    worlds(|seed| async move {
        let net = Net::new(seed);
        let nodes = net.linked(2).await;
        net.links.cut(1, 2);
        net.links.cut(2, 1);
        assert!(nodes[0].send(2, Purpose::Raft, vec![1]));
        net.pass(IDLE / 2).await;
        assert_eq!(all(&nodes[1]).await, []);
        net.links.heal_all();
        assert!(nodes[0].send(2, Purpose::Raft, vec![2]));
        assert_eq!(next(&nodes[1]).await, frame(1, Purpose::Raft, 1));
        assert_eq!(next(&nodes[1]).await, frame(1, Purpose::Raft, 2));
        net.pass(IDLE * 3).await;
        assert_eq!(all(&nodes[0]).await, []);
    });
}

#[test]
fn a_long_cut_ends_the_link_and_its_frames_and_a_heal_makes_a_new_one() {
    worlds(|seed| async move {
        let net = Net::new(seed);
        let nodes = net.linked(3).await;
        net.links.isolate(&[1]);
        assert!(nodes[0].send(2, Purpose::Raft, vec![1]), "nobody knows yet");
        net.pass(IDLE * 2).await;
        let mut down = all(&nodes[0]).await;
        down.sort_by_key(|event| format!("{event:?}"));
        assert_eq!(down, [LinkEvent::Down(2), LinkEvent::Down(3)]);
        assert_eq!(all(&nodes[1]).await, [LinkEvent::Down(1)]);
        assert!(nodes[1].is_up(3) && !nodes[0].is_up(2));
        assert!(!nodes[0].send(2, Purpose::Raft, vec![2]));
        net.links.heal_all();
        assert_eq!(next(&nodes[1]).await, LinkEvent::Up(1));
        net.pass(IDLE).await;
        assert!(nodes[0].send(2, Purpose::Raft, vec![3]));
        assert_eq!(next(&nodes[1]).await, frame(1, Purpose::Raft, 3));
    });
}

/// One way is cut: whoever hears nothing gives up first; the other, no longer answered, after it.
#[test]
fn a_cut_of_one_way_is_noticed_by_one_side_and_then_by_the_other() {
    worlds(|seed| async move {
        for (deaf, heard) in [(1, 2), (2, 1)] {
            let net = Net::new(seed);
            let nodes = net.linked(2).await;
            let node = |id: u64| &nodes[id as usize - 1];
            net.links.cut(heard, deaf);
            assert!(node(deaf).send(heard, Purpose::Raft, vec![1]));
            assert!(node(heard).send(deaf, Purpose::Raft, vec![2]));
            assert_eq!(next(node(heard)).await, frame(deaf, Purpose::Raft, 1));
            assert_eq!(next(node(deaf)).await, LinkEvent::Down(heard));
            assert!(node(heard).is_up(deaf));
            assert_eq!(next(node(heard)).await, LinkEvent::Down(deaf));
            net.pass(IDLE * 5).await;
            assert_eq!((all(node(1)).await, all(node(2)).await), (vec![], vec![]));
        }
    });
}

#[test]
fn a_node_that_dies_is_down_after_a_silence_and_its_handle_is_dead() {
    worlds(|seed| async move {
        let net = Net::new(seed);
        let nodes = net.linked(2).await;
        net.links.kill(1);
        assert!(nodes[1].is_up(1), "nobody has said anything");
        assert_eq!(next(&nodes[1]).await, LinkEvent::Down(1));
        assert!(!nodes[0].send(2, Purpose::Raft, vec![1]) && !nodes[0].is_up(2));
        nodes[0].set_peers(&[at(2)]);
        net.pass(IDLE * 5).await;
        assert_eq!((all(&nodes[0]).await, all(&nodes[1]).await), (vec![], vec![]));
    });
}

#[test]
fn a_node_that_returns_is_linked_anew_and_its_past_is_silent() {
    worlds(|seed| async move {
        for (mortal, other) in [(1, 2), (2, 1)] {
            let net = Net::new(seed);
            let nodes = net.linked(2).await;
            let (past, other_node) = (&nodes[mortal as usize - 1], &nodes[other as usize - 1]);
            assert!(other_node.send(mortal, Purpose::Raft, vec![1]), "never read");
            net.links.kill(mortal);
            let again = net.open(mortal, &[other]);
            assert_eq!(next(other_node).await, LinkEvent::Down(mortal));
            assert_eq!(next(other_node).await, LinkEvent::Up(mortal));
            assert_eq!(next(&again).await, LinkEvent::Up(other));
            assert!(!past.send(other, Purpose::Raft, vec![2]));
            assert!(again.send(other, Purpose::Raft, vec![3]));
            assert_eq!(next(other_node).await, frame(mortal, Purpose::Raft, 3));
            assert_eq!(all(&again).await, []);
            assert_eq!(all(past).await, []);
        }
    });
}

#[test]
fn a_node_that_stops_says_so() {
    worlds(|seed| async move {
        let net = Net::new(seed);
        let nodes = net.linked(2).await;
        net.links.stop(2);
        net.pass(IDLE / 2).await;
        assert_eq!(all(&nodes[0]).await, [LinkEvent::Down(2)]);
    });
}

#[test]
fn both_must_count_the_other_among_their_peers_at_its_address() {
    worlds(|seed| async move {
        let net = Net::new(seed);
        let (one, two) = (net.open(1, &[2]), net.open(2, &[]));
        net.pass(IDLE * 3).await;
        assert!(!one.is_up(2));
        two.set_peers(&[at(1)]);
        assert_eq!(next(&one).await, LinkEvent::Up(2));
        two.set_peers(&[]);
        net.pass(IDLE / 2).await;
        assert_eq!(all(&one).await, [LinkEvent::Down(2)], "it was told, and need not wait for a silence");
        two.set_peers(&[at(1)]);
        assert_eq!(next(&one).await, LinkEvent::Up(2));
        one.set_peers(&[Peer { at: at(9).at, ..at(2) }]);
        assert_eq!(next(&one).await, LinkEvent::Down(2));
        net.pass(IDLE * 3).await;
        assert_eq!(all(&one).await, []);
    });
}

#[test]
fn a_node_that_waits_or_is_open_is_linked_with_whoever_counts_it_among_its_peers() {
    worlds(|seed| async move {
        for (guest, host) in [(1, 2), (2, 1)] {
            let net = Net::new(seed);
            let (guest, host) = (net.open(guest, &[]), net.open(host, &[guest]));
            net.pass(IDLE * 3).await;
            assert!(!host.is_up(guest.node), "it neither waits nor is open");
            guest.set_open(true);
            host.set_peers(&[]);
            host.set_peers(&[at(guest.node)]);
            assert_eq!(next(&host).await, LinkEvent::Up(guest.node));
            // It may lead: that others are peers ends nothing as long as nobody knows better.
            guest.set_peers(&[at(7)]);
            net.pass(IDLE * 3).await;
            assert!(guest.is_up(host.node));
            guest.set_open(false);
            guest.set_peers(&[at(7)]);
            net.pass(IDLE * 3).await;
            assert!(!guest.is_up(host.node));
            net.links.wait(guest.node);
            assert_eq!(next(&host).await, LinkEvent::Down(guest.node));
            assert_eq!(next(&host).await, LinkEvent::Up(guest.node));
        }
    });
}

#[test]
fn what_nobody_reads_is_bounded() {
    worlds(|seed| async move {
        let net = Net::new(seed);
        let nodes = net.linked(2).await;
        let send = || nodes[0].send(2, Purpose::Snapshot, vec![0; FRAME_MAX / 4]);
        assert_eq!((0..).take_while(|_| send()).count(), 4);
        net.pass(IDLE * 3).await;
        assert!(!send(), "arrived, and still unread");
        assert!(nodes[0].send(2, Purpose::Raft, vec![1]), "another purpose has room");
        assert_eq!(all(&nodes[1]).await.len(), 4);
        assert!(send());
        assert!(!nodes[0].send(2, Purpose::Query, vec![0; FRAME_MAX + 1]));
    });
}

/// A tangle of cuts, deaths and frames: two runs of a seed write one trace, another seed another.
#[test]
fn a_seed_gives_one_trace() {
    let run = |seed| {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let net = Net::new(seed);
            let mut nodes = net.linked(3).await;
            let mut rng = Rng::from_u64(seed);
            for n in 0..200 {
                let (a, b) = (1 + rng.below(3), 1 + rng.below(3));
                match rng.below(12) {
                    0 => net.links.cut(a, b),
                    1 => net.links.heal_all(),
                    2 => nodes[a as usize - 1] = net.open(a, &[1, 2, 3]),
                    _ => drop(nodes[a as usize - 1].send(b, Purpose::Raft, vec![n])),
                }
                net.pass(Duration::from_millis(rng.below(100))).await;
            }
            net.trace.text()
        })
    };
    let first = run(7);
    assert!(first.lines().count() > 50 && first.contains(" down@"), "{first}");
    assert_eq!(first, run(7));
    assert_ne!(first, run(8));
}

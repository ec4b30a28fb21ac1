//! Links between the nodes of one test, in virtual time: late, cut and dead as the test wants.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use env::{Frames, LinkEvent, Peer, Purpose};
use machine::Rng;

/// The network. A clone is the same one.
#[derive(Clone)]
pub struct Net(Arc<Mutex<Inner>>);

struct Inner {
    rng: Rng,
    /// One-way, in microseconds.
    latency: (u64, u64),
    /// In a hundred.
    lost: u64,
    ports: BTreeMap<u64, Port>,
    cut: BTreeSet<(u64, u64)>,
    on_the_way: BTreeMap<(u64, u64, Purpose), VecDeque<LinkEvent>>,
    last: BTreeMap<(u64, u64, Purpose), tokio::time::Instant>,
    sent: BTreeMap<Purpose, u64>,
}

#[derive(Default)]
struct Port {
    life: u64,
    arrived: VecDeque<LinkEvent>,
    waker: Option<Waker>,
    peers: Vec<Peer>,
}

/// One node's links, for one life.
struct Link {
    net: Net,
    node: u64,
    life: u64,
}

impl Net {
    pub fn new(seed: u64) -> Net {
        Net(Arc::new(Mutex::new(Inner {
            rng: Rng::from_u64(seed),
            latency: (200, 900),
            lost: 0,
            ports: BTreeMap::new(),
            cut: BTreeSet::new(),
            on_the_way: BTreeMap::new(),
            last: BTreeMap::new(),
            sent: BTreeMap::new(),
        })))
    }

    /// A node begins a life: everybody hears of it.
    pub fn link(&self, node: u64) -> Arc<dyn Frames> {
        let mut inner = self.lock();
        let others: Vec<u64> = inner.ports.keys().copied().filter(|other| *other != node).collect();
        let port = inner.ports.entry(node).or_default();
        (port.life, port.arrived) = (port.life + 1, others.iter().map(|it| LinkEvent::Up(*it)).collect());
        let life = port.life;
        for other in others {
            inner.arrive(other, LinkEvent::Down(node));
            inner.arrive(other, LinkEvent::Up(node));
        }
        Arc::new(Link { net: self.clone(), node, life })
    }

    /// A node's process dies, without a word.
    pub fn kill(&self, node: u64) {
        if let Some(port) = self.lock().ports.get_mut(&node) {
            port.life += 1;
            port.arrived.clear();
        }
    }

    /// Nothing passes between `node` and the others any more; nobody is told.
    pub fn isolate(&self, node: u64) {
        let mut inner = self.lock();
        for other in 1..10 {
            inner.cut.extend([(node, other), (other, node)]);
        }
    }

    /// What others send to `node` is lost from now on; nobody is told.
    pub fn deafen(&self, node: u64) {
        self.lock().cut.extend((1..10).map(|other| (other, node)));
    }

    /// From now on so many frames in a hundred are lost.
    pub fn lose(&self, in_a_hundred: u64) {
        self.lock().lost = in_a_hundred;
    }

    /// Everything passes again.
    pub fn heal(&self) {
        self.lock().cut.clear();
    }

    /// How many frames of a purpose were sent.
    pub fn sent(&self, purpose: Purpose) -> u64 {
        self.lock().sent.get(&purpose).copied().unwrap_or(0)
    }

    /// Whom a node says it is linked with.
    pub fn peers(&self, node: u64) -> Vec<Peer> {
        self.lock().ports.get(&node).map(|port| port.peers.clone()).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }
}

impl Inner {
    fn arrive(&mut self, to: u64, event: LinkEvent) {
        let Some(port) = self.ports.get_mut(&to) else { return };
        port.arrived.push_back(event);
        if let Some(waker) = port.waker.take() {
            waker.wake();
        }
    }
}

impl Frames for Link {
    fn send(&self, to: u64, purpose: Purpose, bytes: Vec<u8>) -> bool {
        let mut inner = self.net.lock();
        let lives = (inner.ports.get(&self.node).map(|it| it.life), inner.ports.get(&to).map(|it| it.life));
        let (Some(own), Some(life)) = lives else { return false };
        if own != self.life {
            return false;
        }
        *inner.sent.entry(purpose).or_default() += 1;
        let lost = inner.lost;
        if inner.cut.contains(&(self.node, to)) || (lost > 0 && inner.rng.below(100) < lost) {
            return true;
        }
        let (low, high) = inner.latency;
        let late = Duration::from_micros(low + inner.rng.below(high - low));
        let way = (self.node, to, purpose);
        // One after the other: a purpose is one stream.
        let at = (tokio::time::Instant::now() + late)
            .max(inner.last.get(&way).copied().unwrap_or_else(tokio::time::Instant::now));
        inner.last.insert(way, at);
        let event = LinkEvent::Frame { from: self.node, purpose, bytes };
        inner.on_the_way.entry(way).or_default().push_back(event);
        let net = self.net.clone();
        tokio::spawn(async move {
            tokio::time::sleep_until(at).await;
            let mut inner = net.lock();
            let Some(event) = inner.on_the_way.get_mut(&way).and_then(VecDeque::pop_front) else { return };
            let is_same_life = inner.ports.get(&to).is_some_and(|port| port.life == life);
            if is_same_life && !inner.cut.contains(&(way.0, way.1)) {
                inner.arrive(to, event);
            }
        });
        true
    }

    fn poll_events(&self, cx: &mut Context<'_>, events: &mut Vec<LinkEvent>) -> Poll<()> {
        let mut inner = self.net.lock();
        let Some(port) = inner.ports.get_mut(&self.node).filter(|port| port.life == self.life) else {
            return Poll::Pending;
        };
        if port.arrived.is_empty() {
            port.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        events.extend(port.arrived.drain(..));
        Poll::Ready(())
    }

    fn set_peers(&self, peers: &[Peer]) {
        if let Some(port) = self.net.lock().ports.get_mut(&self.node) {
            port.peers = peers.to_vec();
        }
    }

    fn is_up(&self, node: u64) -> bool {
        let inner = self.net.lock();
        inner.ports.contains_key(&node) && !inner.cut.contains(&(self.node, node))
    }
}

/// Where a node of a test is found.
pub fn peer(node: u64) -> Peer {
    Peer { node, at: SocketAddr::from(([10, 0, 0, u8::try_from(node).unwrap()], 7000)) }
}

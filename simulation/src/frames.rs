//! The links between nodes, in memory: what `cluster::link` does over QUIC, with its delays and its failures
//! drawn from the seed.
//!
//! A pair of nodes has one connection at a time, dialled by the lower id. Each side has its own idea of
//! whether it stands: one that hears nothing gives up after a while, and the other, no longer answered, after
//! it. Frames are never lost singly: a cut holds them up, and they die with their connection.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use env::{Clock, FRAME_MAX, Frames, LinkEvent, Peer, Purpose};
use machine::{Instant, Rng};

use crate::network::{Latency, Wire};
use crate::time::VirtualClock;
use crate::trace::Trace;

#[cfg(test)]
mod tests;

/// All links of a world.
pub struct Links {
    state: Mutex<State>,
    wire: Arc<Wire>,
    clock: Arc<VirtualClock>,
    trace: Arc<Trace>,
    /// How long a side waits in silence.
    idle: Duration,
}

/// The links of one incarnation of a node. Dead once the node is killed or opened again.
pub struct MemoryFrames {
    links: Arc<Links>,
    node: u64,
    incarnation: u64,
}

struct State {
    rng: Rng,
    /// Counts connections, attempts and silences.
    serial: u64,
    nodes: BTreeMap<u64, Node>,
    pairs: BTreeMap<Key, Pair>,
    /// How many frames a cut has held up.
    held_up: u64,
    /// Pairs that were slowed down, and how many frames have taken longer so.
    slowed: BTreeMap<Key, u64>,
    /// From whom to whom nothing passes, and for how many reasons.
    cuts: BTreeMap<(u64, u64), u32>,
}

struct Node {
    at: SocketAddr,
    incarnation: u64,
    alive: bool,
    peers: BTreeMap<u64, SocketAddr>,
    /// Whether every node is taken for a peer that has this one among its own: nobody has said yet who is.
    waits: bool,
    /// The same, for those who are said to be peers may not be all, or not be any more.
    open: bool,
    /// What has come, each with its connection.
    inbox: VecDeque<(LinkEvent, u64)>,
    waker: Option<Waker>,
}

impl Node {
    fn takes_guests(&self) -> bool {
        self.waits || self.open
    }
}

/// A pair of nodes, the lower id first.
type Key = (u64, u64);

struct Pair {
    latency: Latency,
    /// The side of the lower id, which dials, and that of the higher.
    sides: [Side; 2],
    /// The attempt that counts; older ones are void.
    attempt: u64,
    rest: Duration,
    /// The connection that `lanes` are of.
    connection: u64,
    /// Before this, nothing of the accepting side arrives: the dialling side is not up yet.
    confirmed: Instant,
    lanes: BTreeMap<(u64, Purpose), Lane>,
}

#[derive(Clone, Copy, Default)]
struct Side {
    /// The connection that stands, as this side sees it.
    up: Option<u64>,
    /// Which silence this side is in.
    silence: Option<u64>,
}

/// What one node has sent another for one purpose.
#[derive(Default)]
struct Lane {
    /// Bytes that nobody has read yet, here or there.
    bytes: usize,
    /// When the last frame has left.
    free: Instant,
    /// When the last frame arrives.
    last: Instant,
    /// Frames that a cut holds up.
    held: VecDeque<Vec<u8>>,
}

/// What happens at its time.
enum Turn {
    Dial { pair: Key, attempt: u64 },
    Accept { pair: Key, attempt: u64, ends: [u64; 2] },
    Confirm { pair: Key, attempt: u64, ends: [u64; 2] },
    Arrive { from: u64, to: u64, connection: u64, purpose: Purpose, bytes: Vec<u8> },
    Release { from: u64, to: u64, connection: u64 },
    Expire { node: u64, peer: u64, silence: u64 },
    Reset { node: u64, peer: u64, connection: u64 },
}

const fn key(a: u64, b: u64) -> Key {
    if a < b { (a, b) } else { (b, a) }
}

/// Which side of a pair a node is.
const fn side(node: u64, peer: u64) -> usize {
    if node < peer { 0 } else { 1 }
}

impl State {
    fn pair(&mut self, key: Key) -> &mut Pair {
        let State { pairs, rng, .. } = self;
        pairs.entry(key).or_insert_with(|| {
            // Two racks, two sites, two continents: the range is the pair's, the delay each message's.
            let (min_us, spread_us) = match rng.below(3) {
                0 => (50, 500),
                1 => (500, 4_000),
                _ => (5_000, 20_000),
            };
            let min = Duration::from_micros(min_us + rng.below(min_us));
            let latency = Latency { min, max: min + Duration::from_micros(spread_us) };
            let sides = [Side::default(); 2];
            let (connection, confirmed) = (0, Instant::ZERO);
            Pair { latency, sides, attempt: 0, rest: REST_MIN, connection, confirmed, lanes: BTreeMap::new() }
        })
    }

    fn draw(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn delay(&mut self, key: Key) -> Duration {
        let Latency { min, max } = self.pair(key).latency;
        min + Duration::from_nanos(self.rng.below(max.saturating_sub(min).as_nanos() as u64 + 1))
    }

    fn is_open(&self, from: u64, to: u64) -> bool {
        !self.cuts.contains_key(&(from, to))
    }

    fn up(&self, node: u64, peer: u64) -> Option<u64> {
        self.pairs.get(&key(node, peer)).and_then(|pair| pair.sides[side(node, peer)].up)
    }

    /// Whether a node is alive, in this incarnation if one is given.
    fn is_alive(&self, node: u64, incarnation: Option<u64>) -> bool {
        self.nodes
            .get(&node)
            .is_some_and(|it| it.alive && incarnation.is_none_or(|given| given == it.incarnation))
    }

    /// Whether each counts the other among its peers, at the right address.
    fn are_peers(&self, (lower, higher): Key) -> bool {
        let (Some(low), Some(high)) = (self.nodes.get(&lower), self.nodes.get(&higher)) else {
            return false;
        };
        let (there, back) =
            (low.peers.get(&higher) == Some(&high.at), high.peers.get(&lower) == Some(&low.at));
        there && (high.peers.contains_key(&lower) || high.takes_guests()) || back && low.takes_guests()
    }

    /// Whether a node waits to be let in, and another counts it among its peers.
    fn is_guest(&self, node: u64, of: u64) -> bool {
        let waits = self.nodes.get(&node).is_some_and(|it| it.alive && it.takes_guests());
        waits && self.nodes.get(&of).is_some_and(|it| it.peers.contains_key(&node))
    }

    fn neighbours(&self, node: u64) -> Vec<u64> {
        self.nodes.keys().copied().filter(|peer| *peer != node).collect()
    }

    fn lane(&mut self, from: u64, to: u64, purpose: Purpose, connection: u64) -> Option<&mut Lane> {
        let pair = self.pairs.get_mut(&key(from, to)).filter(|pair| pair.connection == connection)?;
        Some(pair.lanes.entry((from, purpose)).or_default())
    }
}

impl Links {
    /// Links whose delays follow from `rng`; they give up after twice `detect`.
    pub fn new(
        wire: Arc<Wire>,
        clock: Arc<VirtualClock>,
        trace: Arc<Trace>,
        detect: Duration,
        rng: Rng,
    ) -> Arc<Links> {
        let state = State {
            rng,
            serial: 0,
            nodes: BTreeMap::new(),
            pairs: BTreeMap::new(),
            held_up: 0,
            slowed: BTreeMap::new(),
            cuts: BTreeMap::new(),
        };
        Arc::new(Links { state: Mutex::new(state), wire, clock, trace, idle: detect * 2 })
    }

    /// The links of a node's next incarnation. The one before is dead from now on.
    pub fn open(self: &Arc<Links>, node: Peer) -> Arc<MemoryFrames> {
        self.kill(node.node);
        let mut state = self.lock();
        let incarnation = state.nodes.get(&node.node).map_or(1, |before| before.incarnation + 1);
        let (peers, inbox) = (BTreeMap::new(), VecDeque::new());
        let new = Node {
            at: node.at,
            incarnation,
            alive: true,
            peers,
            waits: false,
            open: false,
            inbox,
            waker: None,
        };
        state.nodes.insert(node.node, new);
        // Whoever still thinks that it is linked hears from the new process that it is not.
        self.reset_others(&mut state, node.node);
        drop(state);
        Arc::new(MemoryFrames { links: self.clone(), node: node.node, incarnation })
    }

    /// A node has just been opened that waits to be let in: it has nobody among its peers, and takes whoever has it.
    pub fn wait(self: &Arc<Links>, node: u64) {
        let mut state = self.lock();
        if let Some(it) = state.nodes.get_mut(&node) {
            it.waits = true;
        }
        self.invite(&mut state, node);
    }

    /// A node dies without a word.
    pub fn kill(self: &Arc<Links>, node: u64) {
        let mut state = self.lock();
        let Some(it) = state.nodes.get_mut(&node) else { return };
        it.alive = false;
        it.inbox.clear();
        it.waker = None;
        for peer in state.neighbours(node) {
            state.pair(key(node, peer)).sides[side(node, peer)] = Side::default();
            self.listen(&mut state, key(node, peer));
        }
    }

    /// A node ends its links, and tells its peers.
    pub fn stop(self: &Arc<Links>, node: u64) {
        self.reset_others(&mut self.lock(), node);
        self.kill(node);
    }

    /// Nothing passes from one node to another any more; the other way is another matter.
    pub fn cut(self: &Arc<Links>, from: u64, to: u64) {
        let mut state = self.lock();
        *state.cuts.entry((from, to)).or_default() += 1;
        self.listen(&mut state, key(from, to));
    }

    /// Nothing passes between these nodes and all others any more.
    pub fn isolate(self: &Arc<Links>, nodes: &[u64]) {
        let others: Vec<u64> = self.lock().nodes.keys().copied().filter(|it| !nodes.contains(it)).collect();
        for (node, other) in nodes.iter().flat_map(|node| others.iter().map(move |other| (*node, *other))) {
            self.cut(node, other);
            self.cut(other, node);
        }
    }

    /// Ends a cut, if it was the last of its kind. What it has held up comes some time later.
    pub fn heal(self: &Arc<Links>, from: u64, to: u64) {
        let mut state = self.lock();
        let Some(reasons) = state.cuts.get_mut(&(from, to)) else { return };
        *reasons -= 1;
        if *reasons > 0 {
            return;
        }
        state.cuts.remove(&(from, to));
        self.listen(&mut state, key(from, to));
        let connection = state.pair(key(from, to)).connection;
        // A sender that hears nothing repeats itself at growing intervals.
        let probe = Duration::from_nanos(state.rng.below(PROBE_MAX.as_nanos() as u64));
        let after = probe + state.delay(key(from, to));
        self.later(after, Turn::Release { from, to, connection });
    }

    /// Ends all cuts.
    pub fn heal_all(self: &Arc<Links>) {
        let cuts: Vec<_> = self.lock().cuts.iter().map(|(way, reasons)| (*way, *reasons)).collect();
        cuts.into_iter().for_each(|((from, to), reasons)| (0..reasons).for_each(|_| self.heal(from, to)));
    }

    /// How many frames cuts have held up so far.
    pub fn held_up(&self) -> u64 {
        self.lock().held_up
    }

    /// Whether each of two nodes can hear the other.
    pub fn are_joined(&self, a: u64, b: u64) -> bool {
        let state = self.lock();
        state.is_open(a, b) && state.is_open(b, a)
    }

    /// Sets how long messages between two nodes are on their way.
    pub fn set_latency(&self, a: u64, b: u64, latency: Latency) {
        self.lock().pair(key(a, b)).latency = latency;
    }

    /// Slows two nodes' link down, until it is quick again.
    pub fn slow(&self, a: u64, b: u64, latency: Latency) {
        let mut state = self.lock();
        state.pair(key(a, b)).latency = latency;
        state.slowed.entry(key(a, b)).or_default();
    }

    /// A slow link is quick again; gives how many frames were slow.
    pub fn hasten(&self, a: u64, b: u64) -> u64 {
        let mut state = self.lock();
        state.pair(key(a, b)).latency = QUICK;
        state.slowed.remove(&key(a, b)).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    fn later(self: &Arc<Links>, after: Duration, turn: Turn) {
        self.at(self.clock.now() + after, turn);
    }

    fn at(self: &Arc<Links>, at: Instant, turn: Turn) {
        let links = self.clone();
        self.wire.schedule(at, Box::new(move || links.take(turn)));
    }

    fn take(self: &Arc<Links>, turn: Turn) {
        let state = &mut *self.lock();
        match turn {
            Turn::Dial { pair, attempt } => self.dial(state, pair, attempt),
            Turn::Accept { pair, attempt, ends } => self.accept(state, pair, attempt, ends),
            Turn::Confirm { pair, attempt, ends } => self.confirm(state, pair, attempt, ends),
            Turn::Arrive { from, to, connection, purpose, bytes } => {
                self.arrive(state, (from, to), connection, purpose, bytes);
            }
            Turn::Release { from, to, connection } => self.release(state, (from, to), connection),
            Turn::Expire { node, peer, silence } => {
                if state.pair(key(node, peer)).sides[side(node, peer)].silence == Some(silence) {
                    self.down(state, node, peer);
                }
            }
            Turn::Reset { node, peer, connection } => {
                if state.up(node, peer) == Some(connection) && state.is_open(peer, node) {
                    self.down(state, node, peer);
                }
            }
        }
    }

    /// Nodes with higher ids link with one that does not know of them yet.
    fn invite(self: &Arc<Links>, state: &mut State, guest: u64) {
        let higher = state.neighbours(guest).into_iter().filter(|it| guest < *it);
        for host in higher.filter(|it| state.is_guest(guest, *it)).collect::<Vec<_>>() {
            state.pair((guest, host)).rest = REST_MIN;
            self.dial_later(state, (guest, host));
        }
    }

    fn dial_later(self: &Arc<Links>, state: &mut State, pair: Key) {
        let attempt = state.draw();
        let it = state.pair(pair);
        it.attempt = attempt;
        let half = it.rest / 2;
        it.rest = (it.rest * 2).min(REST_MAX);
        let after = half + Duration::from_nanos(state.rng.below(half.as_nanos() as u64 + 1));
        self.later(after, Turn::Dial { pair, attempt });
    }

    /// Whether an attempt still counts, and may go on.
    fn may_dial(&self, state: &mut State, (lower, higher): Key, attempt: u64) -> bool {
        let counts = state.pair((lower, higher)).attempt == attempt && state.up(lower, higher).is_none();
        let wanted = state.nodes.get(&lower).is_some_and(|it| it.alive && it.peers.contains_key(&higher));
        counts && (wanted || state.is_guest(lower, higher))
    }

    fn dial(self: &Arc<Links>, state: &mut State, pair: Key, attempt: u64) {
        if !self.may_dial(state, pair, attempt) {
            return;
        }
        let (lower, higher) = pair;
        let incarnation = |node| state.nodes.get(&node).map_or(0, |it| it.incarnation);
        let ends = [incarnation(lower), incarnation(higher)];
        if self.passes(state, pair, ends) {
            // There, back and there again (RFC 9001 §4.1.2).
            let after = state.delay(pair) + state.delay(pair) + state.delay(pair);
            self.later(after, Turn::Accept { pair, attempt, ends });
        } else {
            self.dial_later(state, pair);
        }
    }

    fn passes(&self, state: &State, (lower, higher): Key, [near, far]: [u64; 2]) -> bool {
        state.is_alive(lower, Some(near))
            && state.is_alive(higher, Some(far))
            && state.is_open(lower, higher)
            && state.is_open(higher, lower)
            && state.are_peers((lower, higher))
    }

    fn accept(self: &Arc<Links>, state: &mut State, pair: Key, attempt: u64, ends: [u64; 2]) {
        if !self.may_dial(state, pair, attempt) {
            return;
        }
        if !self.passes(state, pair, ends) {
            return self.dial_later(state, pair);
        }
        let (lower, higher) = pair;
        self.down(state, higher, lower);
        let confirmed = self.clock.now() + state.delay(pair);
        let it = state.pair(pair);
        it.connection = attempt;
        it.confirmed = confirmed;
        it.lanes.clear();
        it.sides[1] = Side { up: Some(attempt), silence: None };
        self.tell(state, higher, LinkEvent::Up(lower), attempt);
        self.at(confirmed, Turn::Confirm { pair, attempt, ends });
        self.listen(state, pair);
    }

    fn confirm(self: &Arc<Links>, state: &mut State, pair: Key, attempt: u64, ends: [u64; 2]) {
        if !self.may_dial(state, pair, attempt) {
            return;
        }
        let (lower, higher) = pair;
        if !self.passes(state, pair, ends) || state.up(higher, lower) != Some(attempt) {
            return self.dial_later(state, pair);
        }
        let it = state.pair(pair);
        it.rest = REST_MIN;
        it.sides[0] = Side { up: Some(attempt), silence: None };
        self.tell(state, lower, LinkEvent::Up(higher), attempt);
        self.listen(state, pair);
    }

    /// Who of a pair hears the other: a silence begins, or ends.
    fn listen(self: &Arc<Links>, state: &mut State, pair: Key) {
        for (node, peer) in [pair, (pair.1, pair.0)] {
            let hears = state.up(node, peer) == state.up(peer, node) && state.is_open(peer, node);
            let silence = state.draw();
            let it = &mut state.pair(pair).sides[side(node, peer)];
            match (it.up, hears, it.silence) {
                (Some(_), false, None) => {
                    it.silence = Some(silence);
                    self.later(self.idle, Turn::Expire { node, peer, silence });
                }
                (_, true, Some(_)) => it.silence = None,
                (None, ..) | (Some(_), true, None) | (Some(_), false, Some(_)) => {}
            }
        }
    }

    /// One side gives a connection up.
    fn down(self: &Arc<Links>, state: &mut State, node: u64, peer: u64) {
        let pair = key(node, peer);
        let Some(connection) = state.up(node, peer) else { return };
        state.pair(pair).sides[side(node, peer)] = Side::default();
        self.tell(state, node, LinkEvent::Down(peer), connection);
        self.listen(state, pair);
        if node < peer {
            self.dial_later(state, pair);
        }
    }

    /// Whoever is linked with a node will hear that it is no longer.
    fn reset_others(self: &Arc<Links>, state: &mut State, node: u64) {
        for peer in state.neighbours(node) {
            self.reset_other(state, node, peer);
        }
    }

    fn reset_other(self: &Arc<Links>, state: &mut State, node: u64, peer: u64) {
        let Some(connection) = state.up(peer, node) else { return };
        let after = state.delay(key(node, peer));
        self.later(after, Turn::Reset { node: peer, peer: node, connection });
    }

    fn send(
        self: &Arc<Links>,
        state: &mut State,
        from: u64,
        to: u64,
        purpose: Purpose,
        bytes: Vec<u8>,
    ) -> bool {
        let Some(connection) = state.up(from, to) else { return false };
        if let Some(frames) = state.slowed.get_mut(&key(from, to)) {
            *frames += 1;
        }
        let (now, delay) = (self.clock.now(), state.delay(key(from, to)));
        let not_before = if from < to { Instant::ZERO } else { state.pair(key(from, to)).confirmed + TICK };
        let Some(lane) = state.lane(from, to, purpose, connection) else { return false };
        let cost = bytes.len() + OVERHEAD;
        if bytes.len() > FRAME_MAX || lane.bytes + cost > QUEUED_BYTES_MAX {
            return false;
        }
        lane.bytes += cost;
        lane.free = lane.free.max(now) + Duration::from_nanos(NS_PER_BYTE * bytes.len() as u64);
        lane.last = (lane.free + delay).max(lane.last + TICK).max(not_before);
        let at = lane.last;
        self.at(at, Turn::Arrive { from, to, connection, purpose, bytes });
        true
    }

    fn arrive(
        &self,
        state: &mut State,
        (from, to): (u64, u64),
        connection: u64,
        purpose: Purpose,
        bytes: Vec<u8>,
    ) {
        if state.up(to, from) != Some(connection) {
            return;
        }
        let is_open = state.is_open(from, to);
        let Some(lane) = state.lane(from, to, purpose, connection) else { return };
        // Behind a frame that is held up, all wait: a stream keeps its order.
        if is_open && lane.held.is_empty() {
            self.tell(state, to, LinkEvent::Frame { from, purpose, bytes }, connection);
        } else {
            lane.held.push_back(bytes);
            state.held_up += 1;
        }
    }

    fn release(&self, state: &mut State, (from, to): (u64, u64), connection: u64) {
        let both = state.up(to, from) == Some(connection) && state.up(from, to) == Some(connection);
        if !both || !state.is_open(from, to) {
            return;
        }
        for purpose in Purpose::ALL {
            let Some(lane) = state.lane(from, to, purpose, connection) else { return };
            for bytes in std::mem::take(&mut lane.held) {
                self.tell(state, to, LinkEvent::Frame { from, purpose, bytes }, connection);
            }
        }
    }

    fn tell(&self, state: &mut State, node: u64, event: LinkEvent, connection: u64) {
        let (peer, what, bytes) = match &event {
            LinkEvent::Up(peer) => (peer, "up", &[][..]),
            LinkEvent::Down(peer) => (peer, "down", &[][..]),
            LinkEvent::Frame { from, purpose, bytes } => (from, word(*purpose), &bytes[..]),
        };
        let Some(from) = state.nodes.get(peer).map(|it| it.at) else { return };
        let Some(it) = state.nodes.get_mut(&node).filter(|it| it.alive) else { return };
        self.trace.message(self.clock.now(), what, from, it.at, bytes);
        it.inbox.push_back((event, connection));
        if let Some(waker) = it.waker.take() {
            waker.wake();
        }
    }
}

impl Frames for MemoryFrames {
    fn send(&self, to: u64, purpose: Purpose, bytes: Vec<u8>) -> bool {
        let state = &mut *self.links.lock();
        state.is_alive(self.node, Some(self.incarnation))
            && self.links.send(state, self.node, to, purpose, bytes)
    }

    fn poll_events(&self, cx: &mut Context<'_>, events: &mut Vec<LinkEvent>) -> Poll<()> {
        let state = &mut *self.links.lock();
        let alive = state.is_alive(self.node, Some(self.incarnation));
        let Some(node) = state.nodes.get_mut(&self.node).filter(|_| alive) else { return Poll::Pending };
        if node.inbox.is_empty() {
            node.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        for (event, connection) in std::mem::take(&mut node.inbox) {
            if let LinkEvent::Frame { from, purpose, bytes } = &event
                && let Some(lane) = state.lane(*from, self.node, *purpose, connection)
            {
                lane.bytes = lane.bytes.saturating_sub(bytes.len() + OVERHEAD);
            }
            events.push(event);
        }
        Poll::Ready(())
    }

    fn set_open(&self, open: bool) {
        let state = &mut *self.links.lock();
        let alive = state.is_alive(self.node, Some(self.incarnation));
        let Some(node) = state.nodes.get_mut(&self.node).filter(|_| alive) else { return };
        node.open = open;
        if open {
            self.links.invite(state, self.node);
        }
    }

    fn set_peers(&self, peers: &[Peer]) {
        let state = &mut *self.links.lock();
        let alive = state.is_alive(self.node, Some(self.incarnation));
        let Some(node) = state.nodes.get_mut(&self.node).filter(|_| alive) else { return };
        let new: BTreeMap<u64, SocketAddr> =
            peers.iter().filter(|it| it.node != self.node).map(|it| (it.node, it.at)).collect();
        node.waits &= new.is_empty();
        let guests = node.takes_guests();
        let old: BTreeMap<u64, SocketAddr> = std::mem::replace(&mut node.peers, new);
        let new = node.peers.clone();
        let at = |state: &State, peer: &u64| state.nodes.get(peer).map(|it| it.at);
        for peer in state.neighbours(self.node) {
            let is_peer = new.get(&peer).is_some_and(|there| Some(*there) == at(state, &peer));
            let was_there =
                old.get(&peer).is_some_and(|there| new.get(&peer).is_some_and(|now| now != there));
            if was_there || !is_peer && (!guests || new.contains_key(&peer)) {
                self.links.reset_other(state, self.node, peer);
                self.links.down(state, self.node, peer);
            }
        }
        for peer in new.iter().filter(|(peer, at)| old.get(peer) != Some(at)).map(|(peer, _)| *peer) {
            if self.node < peer {
                state.pair((self.node, peer)).rest = REST_MIN;
                self.links.dial_later(state, (self.node, peer));
            } else {
                self.links.invite(state, peer);
            }
        }
    }

    fn is_up(&self, node: u64) -> bool {
        let state = self.links.lock();
        state.is_alive(self.node, Some(self.incarnation)) && state.up(self.node, node).is_some()
    }
}

const fn word(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Raft => "raft",
        Purpose::Forward => "forward",
        Purpose::Snapshot => "snapshot",
        Purpose::Query => "query",
    }
}

/// A pair in one rack.
pub(crate) const QUICK: Latency =
    Latency { min: Duration::from_micros(100), max: Duration::from_micros(600) };
const TICK: Duration = Duration::from_nanos(1);
/// A gigabit each second.
const NS_PER_BYTE: u64 = 8;
const REST_MIN: Duration = Duration::from_millis(20);
const REST_MAX: Duration = Duration::from_millis(640);
const PROBE_MAX: Duration = Duration::from_millis(400);
/// As in production: a longest frame and some more.
const QUEUED_BYTES_MAX: usize = FRAME_MAX + (4 << 20);
const OVERHEAD: usize = 64;

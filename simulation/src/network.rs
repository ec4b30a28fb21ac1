//! A network in memory: every datagram and every piece of a stream waits in one heap, ordered by its time of
//! arrival and a seeded tie-break, so that no order of tasks can show through.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use env::{Batch, BoxFuture, Clock, Datagrams, Listener, Network, Outgoing, Stream};
use machine::{Instant, Rng};
use tokio::sync::Notify;

use crate::fault::Effects;
use crate::guards::Guards;
use crate::life::Life;
use crate::streams::{Backlog, Line, Lines, MemoryListener};
use crate::time::VirtualClock;
use crate::trace::Trace;
use crate::weather::{Front, Weather};

/// How long a message is on its way, drawn between two bounds.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    /// At least.
    pub min: Duration,
    /// At most.
    pub max: Duration,
}

/// The network of a world.
pub struct Wire {
    state: Mutex<State>,
    changed: Notify,
    pub(crate) clock: Arc<VirtualClock>,
    trace: Arc<Trace>,
    latency: Latency,
    tap: Mutex<Option<Tap>>,
    weather: Mutex<Weather>,
    pub(crate) effects: Arc<Effects>,
    pub(crate) lines: Mutex<Lines>,
    pub(crate) guards: Arc<Guards>,
}

/// Sees each datagram, and each message on a stream, as it leaves: when, whose it is, from where to where, on which
/// connection, what it says.
pub type Tap = Arc<dyn Fn(Instant, &Life, Way, &[u8]) + Send + Sync>;

/// Which way something goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// From where.
    pub from: SocketAddr,
    /// To where.
    pub to: SocketAddr,
    /// On which connection, if on one.
    pub line: Option<u64>,
}

#[derive(Default)]
struct State {
    rng: Option<Rng>,
    sent: u64,
    bound: u64,
    sockets: Places<Receiver>,
    listeners: Places<Arc<Mutex<Backlog>>>,
    ports: u16,
    /// When the last datagram between two addresses arrives: on a quiet network none overtakes another.
    last: BTreeMap<(SocketAddr, SocketAddr), Instant>,
    heap: BinaryHeap<Reverse<Flight>>,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = lock(&self.state);
        write!(f, "{} sockets, {} on their way", state.sockets.len(), state.heap.len())
    }
}

/// Who listens at an address. Hosts may share one: whoever took it last has told the network so, and hears.
type Places<T> = BTreeMap<SocketAddr, Vec<Place<T>>>;

struct Place<T> {
    life: Arc<Life>,
    /// Tells apart what one life bound.
    number: u64,
    receiver: T,
}

/// Whoever hears at an address, and on which machine.
fn heard<T: Clone>(places: &Places<T>, at: SocketAddr, guards: &Guards) -> Option<(u64, T)> {
    let mut there = places.get(&at)?.iter().rev().filter(|place| !place.life.is_over());
    let alive = match guards.hears(at.ip()) {
        None => there.next(),
        Some(machine) => there.find(|place| Some(place.life.node()) == machine),
    }?;
    Some((alive.life.node(), alive.receiver.clone()))
}

/// Takes an address for a life.
fn take<T>(places: &mut Places<T>, at: SocketAddr, place: Place<T>) -> io::Result<()> {
    let there = places.entry(at).or_default();
    there.retain(|other| !other.life.is_over());
    if there.iter().any(|other| place.life.shares_host(&other.life)) {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    there.push(place);
    Ok(())
}

/// Lets go of an address.
fn let_go<T>(places: &mut Places<T>, at: SocketAddr, is_it: impl Fn(&Place<T>) -> bool) {
    let Some(there) = places.get_mut(&at) else { return };
    there.retain(|place| !is_it(place));
    if there.is_empty() {
        places.remove(&at);
    }
}

/// Takes what arrives at a socket.
pub type Handler = Arc<dyn Fn(SocketAddr, &[u8]) + Send + Sync>;

#[derive(Clone)]
enum Receiver {
    Queue(Arc<Mutex<Inbox>>),
    Handler(Handler),
}

#[derive(Default)]
struct Inbox {
    datagrams: VecDeque<(SocketAddr, Bytes)>,
    waker: Option<Waker>,
}

/// Something on its way.
struct Flight {
    at: Instant,
    tie: u64,
    number: u64,
    cargo: Cargo,
}

pub(crate) enum Cargo {
    Datagram { from: SocketAddr, to: SocketAddr, bytes: Bytes },
    Piece { line: Arc<Mutex<Line>>, side: usize, bytes: Bytes },
    End { line: Arc<Mutex<Line>>, side: usize },
    Turn(Turn),
}

/// Something that happens at its time, such as the arrival of a frame.
pub(crate) type Turn = Box<dyn FnOnce() + Send>;

impl PartialEq for Flight {
    fn eq(&self, other: &Flight) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Flight {}

impl PartialOrd for Flight {
    fn partial_cmp(&self, other: &Flight) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Flight {
    fn cmp(&self, other: &Flight) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl Flight {
    const fn key(&self) -> (Instant, u64, u64) {
        (self.at, self.tie, self.number)
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder of this lock panics")
}

pub(crate) fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

impl Wire {
    /// A network whose delays follow from `rng`.
    pub(crate) fn new(
        clock: Arc<VirtualClock>,
        trace: Arc<Trace>,
        (latency, effects, guards): (Latency, Arc<Effects>, Arc<Guards>),
        mut rng: Rng,
    ) -> Arc<Wire> {
        let weather = Mutex::new(Weather::new(rng.fork()));
        let state = State { rng: Some(rng), ports: 50_000, ..State::default() };
        let (changed, tap, lines) = (Notify::new(), Mutex::new(None), Mutex::default());
        let state = Mutex::new(state);
        Arc::new(Wire { state, changed, clock, trace, latency, tap, weather, effects, lines, guards })
    }

    /// Delivers what is due, for as long as the world lasts.
    pub async fn run(self: Arc<Wire>) {
        loop {
            let next = lock(&self.state).heap.peek().map(|Reverse(flight)| flight.at);
            let changed = self.changed.notified();
            match next {
                None => changed.await,
                Some(at) => {
                    tokio::select! {
                        biased;
                        () = changed => {}
                        () = self.clock.sleep_until(at) => self.deliver(),
                    }
                }
            }
        }
    }

    fn deliver(&self) {
        let now = self.clock.now();
        loop {
            let mut state = lock(&self.state);
            if state.heap.peek().is_none_or(|Reverse(flight)| flight.at > now) {
                return;
            }
            let Some(Reverse(flight)) = state.heap.pop() else { return };
            match flight.cargo {
                Cargo::Datagram { from, to, bytes } => {
                    let receiver = heard(&state.sockets, to, &self.guards);
                    drop(state);
                    // Nobody listens there: a real host would say so by ICMP.
                    let heard = receiver.as_ref().map_or(("void", 0), |(node, _)| ("got", *node));
                    self.trace.datagram(now, heard, from, to, &bytes);
                    match receiver {
                        Some((_, Receiver::Queue(inbox))) => {
                            let mut inbox = lock(&inbox);
                            inbox.datagrams.push_back((from, bytes));
                            wake(&mut inbox.waker);
                        }
                        Some((_, Receiver::Handler(handler))) => handler(from, &bytes),
                        None => {}
                    }
                }
                Cargo::Piece { line, side, bytes } => {
                    drop(state);
                    self.piece(&line, side, &bytes);
                }
                Cargo::End { line, side } => {
                    drop(state);
                    self.piece_end(&line, side);
                }
                Cargo::Turn(turn) => {
                    drop(state);
                    turn();
                }
            }
        }
    }

    fn delay(&self, state: &mut State) -> (Instant, u64) {
        let spread = self.latency.max.saturating_sub(self.latency.min).as_nanos() as u64;
        let (extra, tie) = match state.rng.as_mut() {
            Some(rng) => (rng.below(spread + 1), rng.next_u64()),
            None => (0, 0),
        };
        (self.clock.now() + self.latency.min + Duration::from_nanos(extra), tie)
    }

    /// Sends something on its way, to arrive no sooner than this; gives when it does.
    pub(crate) fn launch(&self, at_least: Instant, cargo: Cargo) -> Instant {
        let mut state = lock(&self.state);
        let (at, tie) = self.delay(&mut state);
        let at = at.max(at_least);
        self.push(state, at, tie, cargo);
        at
    }

    /// Sends a datagram on its way, behind those before it.
    fn launch_datagram(&self, from: SocketAddr, to: SocketAddr, bytes: Bytes) {
        let mut state = lock(&self.state);
        let (at, tie) = self.delay(&mut state);
        let before = state.last.get(&(from, to)).copied().unwrap_or_default();
        let at = at.max(before + Duration::from_nanos(1));
        state.last.insert((from, to), at);
        self.push(state, at, tie, Cargo::Datagram { from, to, bytes });
    }

    fn push(&self, mut state: MutexGuard<'_, State>, at: Instant, tie: u64, cargo: Cargo) {
        state.sent += 1;
        let number = state.sent;
        state.heap.push(Reverse(Flight { at, tie, number, cargo }));
        drop(state);
        self.changed.notify_one();
    }

    /// Lets something happen at a time, in one order with all that arrives.
    pub(crate) fn schedule(&self, at: Instant, turn: Turn) {
        let mut state = lock(&self.state);
        let tie = state.rng.as_mut().map_or(0, Rng::next_u64);
        self.push(state, at, tie, Cargo::Turn(turn));
    }

    /// Sends a datagram of a life; nothing, if it is over.
    pub fn send(&self, life: &Life, from: SocketAddr, to: SocketAddr, bytes: Bytes) {
        if life.is_over() {
            return;
        }
        let now = self.clock.now();
        if !self.guards.has(life.node(), from.ip()) {
            // ENETUNREACH: the address is on no interface of this machine.
            self.trace.datagram(now, ("unsent", life.node()), from, to, &bytes);
            self.effects.lost_to(&bytes);
            return;
        }
        self.trace.datagram(now, ("put", life.node()), from, to, &bytes);
        let tap = lock(&self.tap).clone();
        if let Some(tap) = tap {
            tap(now, life, Way { from, to, line: None }, &bytes);
        }
        let mut weather = lock(&self.weather);
        if weather.is_fair() {
            drop(weather);
            self.launch_datagram(from, to, bytes);
            return;
        }
        let copies = weather.meet(from.ip(), to.ip(), &bytes, &self.effects);
        drop(weather);
        if copies.is_empty() {
            self.trace.datagram(now, ("lost", life.node()), from, to, &bytes);
        }
        for (late, bytes) in copies {
            if late.is_zero() {
                self.launch_datagram(from, to, bytes);
            } else {
                let cargo = Cargo::Datagram { from, to, bytes };
                let mut state = lock(&self.state);
                let (at, tie) = self.delay(&mut state);
                self.push(state, at + late, tie, cargo);
            }
        }
    }

    /// A message leaves on a stream.
    pub(crate) fn says(&self, life: &Life, way: Way, bytes: &[u8]) {
        let now = self.clock.now();
        self.trace.datagram(now, ("put", life.node()), way.from, way.to, bytes);
        let tap = lock(&self.tap).clone();
        if let Some(tap) = tap {
            tap(now, life, way, bytes);
        }
    }

    /// When something that leaves now arrives.
    pub(crate) fn arrival(&self) -> Instant {
        self.delay(&mut lock(&self.state)).0
    }

    /// Who takes connections at an address.
    pub(crate) fn listener(&self, at: SocketAddr) -> Option<Arc<Mutex<Backlog>>> {
        heard(&lock(&self.state).listeners, at, &self.guards).map(|(_, backlog)| backlog)
    }

    /// Nobody takes connections there under this number any more.
    pub(crate) fn unlisten(&self, at: SocketAddr, number: u64) {
        let_go(&mut lock(&self.state).listeners, at, |place| place.number == number);
    }

    /// A front comes under this number, or with `None` goes.
    pub fn set_weather(&self, id: usize, front: Option<Front>) {
        lock(&self.weather).set(id, front);
    }

    /// Shows each datagram to `tap` as it leaves.
    pub fn watch(&self, tap: Tap) {
        *lock(&self.tap) = Some(tap);
    }

    /// Gives what arrives at an address to a handler.
    ///
    /// # Errors
    /// The address is taken, or the life over.
    pub fn attach(&self, life: &Arc<Life>, at: SocketAddr, handler: Handler) -> io::Result<()> {
        self.take_socket(life, at, Receiver::Handler(handler)).map(drop)
    }

    /// This life does not listen at this address any more.
    pub fn detach(&self, life: &Arc<Life>, at: SocketAddr) {
        let_go(&mut lock(&self.state).sockets, at, |place| Arc::ptr_eq(&place.life, life));
    }

    fn take_socket(&self, life: &Arc<Life>, at: SocketAddr, receiver: Receiver) -> io::Result<u64> {
        if life.is_over() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let mut state = lock(&self.state);
        state.bound += 1;
        let number = state.bound;
        take(&mut state.sockets, at, Place { life: life.clone(), number, receiver })?;
        Ok(number)
    }

    fn free_port(&self, at: SocketAddr) -> SocketAddr {
        if at.port() != 0 {
            return at;
        }
        let mut state = lock(&self.state);
        state.ports += 1;
        SocketAddr::new(at.ip(), state.ports)
    }
}

/// The network as a node or a peer sees it.
#[derive(Clone, Debug)]
pub struct MemoryNetwork {
    /// The wire.
    pub wire: Arc<Wire>,
    /// Whose network this is.
    pub life: Arc<Life>,
}

impl Network for MemoryNetwork {
    fn bind(&self, at: SocketAddr) -> io::Result<Arc<dyn Datagrams>> {
        let at = self.wire.free_port(at);
        let inbox = Arc::new(Mutex::new(Inbox::default()));
        let number = self.wire.take_socket(&self.life, at, Receiver::Queue(inbox.clone()))?;
        let (wire, life) = (self.wire.clone(), self.life.clone());
        Ok(Arc::new(MemorySocket { at, number, inbox, wire, life }))
    }

    fn listen(&self, at: SocketAddr) -> io::Result<Box<dyn Listener>> {
        let at = self.wire.free_port(at);
        let backlog = Arc::new(Mutex::new(Backlog::default()));
        let mut state = lock(&self.wire.state);
        state.bound += 1;
        let number = state.bound;
        let place = Place { life: self.life.clone(), number, receiver: backlog.clone() };
        take(&mut state.listeners, at, place)?;
        let (wire, life) = (self.wire.clone(), self.life.clone());
        Ok(Box::new(MemoryListener { at, number, backlog, wire, life }))
    }

    fn dial(&self, from: SocketAddr, to: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        // Any port: who listens at one and dials does so from another.
        let from = self.wire.free_port(SocketAddr::new(from.ip(), 0));
        self.wire.clone().dial_stream(self.life.clone(), from, to)
    }
}

struct MemorySocket {
    at: SocketAddr,
    number: u64,
    inbox: Arc<Mutex<Inbox>>,
    wire: Arc<Wire>,
    life: Arc<Life>,
}

impl Drop for MemorySocket {
    fn drop(&mut self) {
        let_go(&mut lock(&self.wire.state).sockets, self.at, |place| place.number == self.number);
    }
}

impl Datagrams for MemorySocket {
    fn local(&self) -> SocketAddr {
        self.at
    }

    fn poll_recv(&self, cx: &mut Context<'_>, batch: &mut Batch) -> Poll<io::Result<()>> {
        let mut inbox = lock(&self.inbox);
        if inbox.datagrams.is_empty() {
            inbox.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        for (from, bytes) in inbox.datagrams.drain(..) {
            batch.push(from, &bytes);
        }
        Poll::Ready(Ok(()))
    }

    fn send(&self, datagrams: &[Outgoing]) -> usize {
        for datagram in datagrams {
            self.wire.send(&self.life, self.at, datagram.to, datagram.bytes.clone());
        }
        datagrams.len()
    }
}

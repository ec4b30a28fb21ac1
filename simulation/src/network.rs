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
    clock: Arc<VirtualClock>,
    trace: Arc<Trace>,
    latency: Latency,
    tap: Mutex<Option<Tap>>,
    weather: Mutex<Weather>,
    effects: Arc<Effects>,
    guards: Arc<Guards>,
}

/// Sees each datagram as it leaves: when, whose it is, from where to where, what it says.
pub type Tap = Arc<dyn Fn(Instant, &Life, SocketAddr, SocketAddr, &[u8]) + Send + Sync>;

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

#[derive(Default)]
struct Backlog {
    streams: VecDeque<MemoryStream>,
    waker: Option<Waker>,
}

/// Something on its way.
struct Flight {
    at: Instant,
    tie: u64,
    number: u64,
    cargo: Cargo,
}

enum Cargo {
    Datagram { from: SocketAddr, to: SocketAddr, bytes: Bytes },
    Piece { pipe: Arc<Mutex<Pipe>>, bytes: Bytes },
    End { pipe: Arc<Mutex<Pipe>> },
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

/// One direction of a stream.
#[derive(Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    ended: bool,
    waker: Option<Waker>,
    /// When the last piece arrives: a stream keeps its order.
    last: Instant,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder of this lock panics")
}

fn wake(waker: &mut Option<Waker>) {
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
        let (changed, tap) = (Notify::new(), Mutex::new(None));
        Arc::new(Wire {
            state: Mutex::new(state),
            changed,
            clock,
            trace,
            latency,
            tap,
            weather,
            effects,
            guards,
        })
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
                Cargo::Piece { pipe, bytes } => {
                    let mut pipe = lock(&pipe);
                    pipe.bytes.extend(bytes);
                    wake(&mut pipe.waker);
                }
                Cargo::End { pipe } => {
                    let mut pipe = lock(&pipe);
                    pipe.ended = true;
                    wake(&mut pipe.waker);
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

    fn launch(&self, at_least: Instant, cargo: Cargo) -> Instant {
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
            tap(now, life, from, to, &bytes);
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
        Ok(Box::new(MemoryListener { at, number, backlog, wire: self.wire.clone() }))
    }

    fn dial(&self, from: SocketAddr, to: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let wire = self.wire.clone();
        let from = wire.free_port(from);
        Box::pin(async move {
            let (at, _) = wire.delay(&mut lock(&wire.state));
            wire.clock.sleep_until(at).await;
            let Some((_, backlog)) = heard(&lock(&wire.state).listeners, to, &wire.guards) else {
                return Err(io::ErrorKind::ConnectionRefused.into());
            };
            let (there, back) = (Arc::default(), Arc::default());
            let near = MemoryStream::new(from, to, &back, &there, &wire);
            let far = MemoryStream::new(to, from, &there, &back, &wire);
            let mut backlog = lock(&backlog);
            backlog.streams.push_back(far);
            wake(&mut backlog.waker);
            Ok(Box::new(near) as Box<dyn Stream>)
        })
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

struct MemoryListener {
    at: SocketAddr,
    number: u64,
    backlog: Arc<Mutex<Backlog>>,
    wire: Arc<Wire>,
}

impl Drop for MemoryListener {
    fn drop(&mut self) {
        let_go(&mut lock(&self.wire.state).listeners, self.at, |place| place.number == self.number);
    }
}

impl Listener for MemoryListener {
    fn local(&self) -> SocketAddr {
        self.at
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Box<dyn Stream>>> {
        let mut backlog = lock(&self.backlog);
        match backlog.streams.pop_front() {
            Some(stream) => Poll::Ready(Ok(Box::new(stream))),
            None => {
                backlog.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

struct MemoryStream {
    local: SocketAddr,
    remote: SocketAddr,
    incoming: Arc<Mutex<Pipe>>,
    outgoing: Arc<Mutex<Pipe>>,
    wire: Arc<Wire>,
}

impl MemoryStream {
    fn new(
        local: SocketAddr,
        remote: SocketAddr,
        incoming: &Arc<Mutex<Pipe>>,
        outgoing: &Arc<Mutex<Pipe>>,
        wire: &Arc<Wire>,
    ) -> MemoryStream {
        MemoryStream {
            local,
            remote,
            incoming: incoming.clone(),
            outgoing: outgoing.clone(),
            wire: wire.clone(),
        }
    }

    fn launch(&self, cargo: Cargo) {
        let last = lock(&self.outgoing).last;
        let at = self.wire.launch(last + Duration::from_nanos(1), cargo);
        lock(&self.outgoing).last = at;
    }
}

impl Drop for MemoryStream {
    fn drop(&mut self) {
        self.launch(Cargo::End { pipe: self.outgoing.clone() });
    }
}

impl Stream for MemoryStream {
    fn local(&self) -> SocketAddr {
        self.local
    }

    fn remote(&self) -> SocketAddr {
        self.remote
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut Vec<u8>, max: usize) -> Poll<io::Result<usize>> {
        let mut pipe = lock(&self.incoming);
        if pipe.bytes.is_empty() && !pipe.ended {
            pipe.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = pipe.bytes.len().min(max);
        into.extend(pipe.bytes.drain(..count));
        Poll::Ready(Ok(count))
    }

    fn poll_write(&mut self, _cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.wire.trace.message(self.wire.clock.now(), "tcp", self.local, self.remote, bytes);
        let bytes = Bytes::copy_from_slice(bytes);
        let count = bytes.len();
        self.launch(Cargo::Piece { pipe: self.outgoing.clone(), bytes });
        Poll::Ready(Ok(count))
    }
}

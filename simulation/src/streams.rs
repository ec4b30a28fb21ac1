//! Streams in memory. They keep their order and lose nothing while they last; but they break, or fall silent without
//! a word, and then what was under way is lost with whatever had been asked on them and not answered yet.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use env::{BoxFuture, Clock as _, Listener, Stream};
use machine::Instant;

use crate::fault::Kind;
use crate::letter::{Letter, Start, first_letter};
use crate::life::Life;
use crate::network::{Cargo, Way, Wire, lock, wake};
use crate::plan::{is_peer, node_at};

/// Connections that wait to be accepted.
#[derive(Default)]
pub(crate) struct Backlog {
    streams: VecDeque<(Arc<Mutex<Line>>, SocketAddr, SocketAddr)>,
    waker: Option<Waker>,
}

/// A connection: both its directions.
pub(crate) struct Line {
    serial: u64,
    /// Of whoever dialled, and of whoever accepted.
    ends: [SocketAddr; 2],
    /// Towards each of them.
    pipes: [Pipe; 2],
    /// How it goes wrong.
    state: State,
    /// Which of its ends know that it is over.
    broken: [bool; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Whole,
    /// Nothing arrives any more, and nobody is told. Since when bytes have gone nowhere.
    Silent(Option<Instant>),
    Broken,
}

/// One direction of a stream.
#[derive(Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    ended: bool,
    waker: Option<Waker>,
    /// When the last piece arrives: a stream keeps its order.
    last: Instant,
    /// What was written and is not a whole message yet.
    partial: Vec<u8>,
}

/// All connections of a world.
#[derive(Default)]
pub(crate) struct Lines {
    made: u64,
    all: Vec<Weak<Mutex<Line>>>,
    /// What was asked and has no answer yet, by Call-ID, CSeq and method: of which call, and on which connection.
    asked: BTreeMap<(String, u32, String), (u32, u64)>,
}

impl Line {
    /// It is over: whoever reads or writes hears so.
    fn breaks(&mut self, wire: &Wire) {
        wire.effects.broke(self.serial);
        (self.state, self.broken) = (State::Broken, [true; 2]);
        for pipe in &mut self.pipes {
            wake(&mut pipe.waker);
        }
    }

    /// One end has lost it, and the other is not told: what that one says goes nowhere.
    fn halves(&mut self, lost: usize) {
        self.state = State::Silent(None);
        self.broken[lost] = true;
        wake(&mut self.pipes[lost].waker);
    }

    /// Whatever was asked on it stays without an answer.
    fn harm(&self, wire: &Wire) {
        let lost = lock(&wire.lines).lost(self.serial);
        lost.into_iter().for_each(|number| wire.effects.lose(number));
    }

    fn touches(&self, peer: Option<IpAddr>) -> bool {
        peer.is_none_or(|peer| self.ends.iter().any(|end| end.ip() == peer))
    }
}

impl Wire {
    /// Dials from one address to another.
    pub(crate) fn dial_stream(
        self: Arc<Wire>,
        life: Arc<Life>,
        from: SocketAddr,
        to: SocketAddr,
    ) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            // A node's own address is its own, and a guarded one is its holder's.
            let another = node_at(from.ip()).is_some_and(|owner| owner != life.node());
            if another || !self.guards.has(life.node(), from.ip()) {
                return Err(io::ErrorKind::AddrNotAvailable.into());
            }
            let mut again = SYN_AGAIN;
            let backlog = loop {
                self.clock.sleep_until(self.arrival()).await;
                if let Some(backlog) = self.listener(to) {
                    break backlog;
                }
                // A node refuses at its own address. Where a floating one is nobody's, nobody says so: the kernel
                // asks again after 1, 2, 4, 8 and 16 s (RFC 6298 §2, §5.5).
                if node_at(to.ip()).is_some() || again > SYN_AGAIN * 16 {
                    return Err(io::ErrorKind::ConnectionRefused.into());
                }
                self.clock.sleep_until(self.clock.now() + again).await;
                again *= 2;
            };
            let line = lock(&self.lines).add(from, to);
            let near =
                MemoryStream { line: line.clone(), side: 0, local: from, remote: to, wire: self, life };
            let mut backlog = lock(&backlog);
            backlog.streams.push_back((line, to, from));
            wake(&mut backlog.waker);
            Ok(Box::new(near) as Box<dyn Stream>)
        })
    }

    /// Every stream of a peer, or all, breaks or falls silent; gives how many did.
    pub(crate) fn spoil_streams(&self, kind: Kind, peer: Option<IpAddr>) -> usize {
        let lines = lock(&self.lines).living();
        let hit = lines.iter().filter(|line| {
            let mut line = lock(line);
            if !line.touches(peer) || line.state != State::Whole {
                return false;
            }
            line.harm(self);
            if kind == Kind::TcpReset {
                line.breaks(self);
            } else {
                let peers = usize::from(!is_peer(line.ends[0].ip()));
                line.halves(peers);
            }
            true
        });
        hit.count()
    }

    /// A piece of a stream arrives.
    pub(crate) fn piece(&self, line: &Mutex<Line>, side: usize, bytes: &[u8]) {
        let mut line = lock(line);
        if line.state != State::Whole {
            if let Some(number) = Letter::read(bytes).and_then(|letter| letter.number) {
                self.effects.lose(number);
            }
            return;
        }
        if let Some(letter) = Letter::read(bytes) {
            lock(&self.lines).passes(&letter, line.serial);
        }
        let pipe = &mut line.pipes[side];
        pipe.bytes.extend(bytes);
        wake(&mut pipe.waker);
    }

    /// The other end of a stream says that it says no more.
    pub(crate) fn piece_end(&self, line: &Mutex<Line>, side: usize) {
        let mut line = lock(line);
        if line.state == State::Whole {
            line.harm(self);
            let pipe = &mut line.pipes[side];
            pipe.ended = true;
            wake(&mut pipe.waker);
        }
    }
}

impl Lines {
    fn add(&mut self, from: SocketAddr, to: SocketAddr) -> Arc<Mutex<Line>> {
        self.made += 1;
        let pipes = <[Pipe; 2]>::default();
        let (state, broken) = (State::Whole, [false; 2]);
        let line = Line { serial: self.made, ends: [from, to], pipes, state, broken };
        let line = Arc::new(Mutex::new(line));
        self.all.push(Arc::downgrade(&line));
        line
    }

    fn living(&mut self) -> Vec<Arc<Mutex<Line>>> {
        self.all.retain(|line| line.strong_count() > 0);
        self.all.iter().filter_map(Weak::upgrade).collect()
    }

    /// A message has arrived whole: what it asks is open until it is answered, an INVITE until its ACK.
    fn passes(&mut self, letter: &Letter<'_>, serial: u64) {
        let Some(number) = letter.number else { return };
        let (cseq, method) = letter.cseq;
        let key = |method: &str| (letter.call_id.to_owned(), cseq, method.to_owned());
        match letter.start {
            Start::Request("ACK") => drop(self.asked.remove(&key("INVITE"))),
            Start::Request(_) => drop(self.asked.insert(key(method), (number, serial))),
            Start::Response(200..) if method != "INVITE" => drop(self.asked.remove(&key(method))),
            Start::Response(_) => {}
        }
    }

    /// The calls that had asked something on a connection which is lost.
    fn lost(&mut self, serial: u64) -> Vec<u32> {
        let lost = self.asked.values().filter(|(_, on)| *on == serial).map(|(number, _)| *number).collect();
        self.asked.retain(|_, (_, on)| *on != serial);
        lost
    }
}

/// One end of a connection.
struct MemoryStream {
    line: Arc<Mutex<Line>>,
    /// Whether it dialled, 0, or accepted, 1.
    side: usize,
    local: SocketAddr,
    remote: SocketAddr,
    wire: Arc<Wire>,
    life: Arc<Life>,
}

impl MemoryStream {
    fn launch(&self, line: &mut Line, cargo: Cargo) {
        let pipe = &mut line.pipes[1 - self.side];
        pipe.last = self.wire.launch(pipe.last + Duration::from_nanos(1), cargo);
    }

    /// Whether this end knows that it is over.
    fn is_over(&self, line: &Line) -> bool {
        line.broken[self.side]
    }

    /// Takes note of bytes that go nowhere. A kernel gives up a connection on which nobody acknowledges them.
    fn swallow(&self, line: &mut Line, bytes: &[u8]) {
        self.wire.effects.count(Kind::TcpHalfOpen);
        if let Some(number) = Letter::read(bytes).and_then(|letter| letter.number) {
            self.wire.effects.lose(number);
            if self.life.node() != 0 {
                self.wire.effects.miss(number);
            }
        }
        if line.state == State::Silent(None) {
            let now = self.wire.clock.now();
            line.state = State::Silent(Some(now));
            let (line, wire) = (Arc::downgrade(&self.line), Arc::downgrade(&self.wire));
            let give_up = move || {
                if let (Some(line), Some(wire)) = (line.upgrade(), wire.upgrade()) {
                    let mut line = lock(&line);
                    line.harm(&wire);
                    line.breaks(&wire);
                }
            };
            self.wire.schedule(now + USER_TIMEOUT, Box::new(give_up));
        }
    }
}

impl Drop for MemoryStream {
    fn drop(&mut self) {
        let line = self.line.clone();
        let mut line = lock(&line);
        // What has come and nobody has read is lost with this end.
        line.harm(&self.wire);
        let cargo = Cargo::End { line: self.line.clone(), side: 1 - self.side };
        self.launch(&mut line, cargo);
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
        let mut line = lock(&self.line);
        if self.is_over(&line) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let pipe = &mut line.pipes[self.side];
        if pipe.bytes.is_empty() && !pipe.ended {
            pipe.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = pipe.bytes.len().min(max);
        into.extend(pipe.bytes.drain(..count));
        Poll::Ready(Ok(count))
    }

    fn poll_write(&mut self, _cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let line = self.line.clone();
        let mut line = lock(&line);
        if self.life.is_over() || self.is_over(&line) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if !self.wire.guards.has(self.life.node(), self.local.ip()) {
            return Poll::Ready(Err(io::ErrorKind::NetworkUnreachable.into()));
        }
        let mut written = std::mem::take(&mut line.pipes[1 - self.side].partial);
        written.extend_from_slice(bytes);
        let mut written = Bytes::from(written);
        while let Some(length) = first_letter(&written) {
            let piece = written.split_to(length);
            let serial = line.serial;
            let way = Way { from: self.local, to: self.remote, line: Some(serial) };
            self.wire.says(&self.life, way, &piece);
            if line.state == State::Whole {
                let cargo = Cargo::Piece { line: self.line.clone(), side: 1 - self.side, bytes: piece };
                self.launch(&mut line, cargo);
            } else {
                self.swallow(&mut line, &piece);
            }
        }
        line.pipes[1 - self.side].partial = written.to_vec();
        Poll::Ready(Ok(bytes.len()))
    }
}

/// A listening socket in memory.
pub(crate) struct MemoryListener {
    pub(crate) at: SocketAddr,
    pub(crate) number: u64,
    pub(crate) backlog: Arc<Mutex<Backlog>>,
    pub(crate) wire: Arc<Wire>,
    pub(crate) life: Arc<Life>,
}

impl Drop for MemoryListener {
    fn drop(&mut self) {
        self.wire.unlisten(self.at, self.number);
    }
}

impl Listener for MemoryListener {
    fn local(&self) -> SocketAddr {
        self.at
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Box<dyn Stream>>> {
        let mut backlog = lock(&self.backlog);
        match backlog.streams.pop_front() {
            Some((line, local, remote)) => {
                let (wire, life) = (self.wire.clone(), self.life.clone());
                Poll::Ready(Ok(Box::new(MemoryStream { line, side: 1, local, remote, wire, life })))
            }
            None => {
                backlog.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// How long a kernel waits for the answer to a SYN, the first time.
const SYN_AGAIN: Duration = Duration::from_secs(1);
/// As in production: bytes that nobody acknowledges end a connection after this long.
const USER_TIMEOUT: Duration = Duration::from_secs(20);

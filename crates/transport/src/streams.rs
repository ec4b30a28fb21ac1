//! SIP over streams (RFC 3261 §18): listening, dialling on demand, reuse of what is open (RFC 5923 in
//! spirit), and one sweep a second instead of a timer per connection. TCP and TLS differ in what a stream is made of,
//! and in whose message may go over it.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use env::{Clock, Listener, Network, Spawn, Stream, Task};
use futures::future::{Either, select};
use machine::Instant;
use sip::ParseError;

use crate::connection::{Connection, FarEnd};
use crate::table::Table;
use crate::tls::{Budget, Names, Tls, advice};
use crate::{Counters, StreamLimits, lock};

/// Both ends of a stream, and which stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Our listening address, also where we dialled from another port.
    pub local: SocketAddr,
    /// The peer's address.
    pub remote: SocketAddr,
    /// Which connection; 0 if any, or a new one, will do.
    pub connection: u64,
    /// Whether it is under TLS.
    pub secure: bool,
}

impl Peer {
    /// As a connection's number: whichever the peer has opened to us from its address. Nobody listens there, so none is
    /// dialled.
    pub const CAME: u64 = u64::MAX;
}

/// Whether the source of a message is somebody we deal with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A trunk or gateway admits it.
    Known,
    /// Nobody does.
    Stranger,
}

/// Who takes the messages.
pub trait Sink: Send + Sync + 'static {
    /// Whether whoever connects may make a handshake of TLS, and what it is then; `None`: it may not.
    fn welcome(&self, peer: Peer) -> Option<Standing> {
        let _ = peer;
        Some(Standing::Stranger)
    }
    /// A whole message came.
    fn message(&self, peer: Peer, message: Bytes) -> Standing;
    /// The message that comes next on this connection can't be framed, and what its header section says;
    /// the connection is closed once what is queued on it by then has left.
    fn unframeable(&self, peer: Peer, error: ParseError, head: Bytes);
    /// This message could not be sent.
    fn unreachable(&self, peer: Peer, message: Bytes);
}

/// All streams of a node.
#[derive(Clone)]
pub struct Streams(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    network: Arc<dyn Network>,
    pub(crate) clock: Arc<dyn Clock>,
    spawn: Arc<dyn Spawn>,
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) limits: StreamLimits,
    pub(crate) counters: Arc<Counters>,
    pub(crate) table: Mutex<Table>,
    dialling: Mutex<BTreeMap<Way, VecDeque<Bytes>>>,
    tls: Option<Tls>,
    handshakes: Mutex<Budget>,
    complaints: Mutex<BTreeMap<SocketAddr, Instant>>,
}

/// A connection that is being opened.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Way {
    local: SocketAddr,
    remote: SocketAddr,
    /// Under TLS: one of these its peer must prove to be.
    names: Option<Names>,
}

impl Way {
    fn peer(&self) -> Peer {
        Peer { local: self.local, remote: self.remote, connection: 0, secure: self.names.is_some() }
    }
}

/// How often slow connections are looked for.
const SWEEP: Duration = Duration::from_secs(1);
/// Pause after an accept that failed, for lack of descriptors most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Pause where peers connect faster than handshakes may be made; they wait in the listener's queue.
const HANDSHAKE_PAUSE: Duration = Duration::from_millis(5);
/// How often one peer's certificate is complained of.
const COMPLAINT: Duration = Duration::from_secs(60);
/// Of so many peers.
const COMPLAINTS_MAX: usize = 256;

impl Streams {
    /// No stream yet. Without `tls` there are plain ones only.
    pub fn new(
        network: Arc<dyn Network>,
        clock: Arc<dyn Clock>,
        spawn: Arc<dyn Spawn>,
        sink: Arc<dyn Sink>,
        limits: StreamLimits,
        counters: Arc<Counters>,
        tls: Option<Tls>,
    ) -> Streams {
        Streams(Arc::new(Shared {
            network,
            clock,
            spawn,
            sink,
            limits,
            counters,
            table: Mutex::default(),
            dialling: Mutex::default(),
            tls,
            handshakes: Mutex::default(),
            complaints: Mutex::default(),
        }))
    }

    /// Accepts connections, plain or under TLS, until the task is aborted.
    pub fn serve(&self, listener: Box<dyn Listener>, secure: bool) -> Box<dyn Task> {
        self.0.spawn.spawn("tcp accept", Box::pin(self.0.clone().accept(listener, secure)))
    }

    /// Looks for slow connections. Never ends.
    pub async fn sweep(&self) {
        self.0.clone().sweep().await;
    }

    /// Sends a message on the peer's connection if it is open, else on another one to the same address,
    /// else on a new one. What can't be sent comes back through [`Sink::unreachable`].
    pub fn send(&self, peer: Peer, message: Bytes) {
        let open = lock(&self.0.table).find(peer, &message).cloned();
        match open {
            Some(connection) => connection.push(&self.0, message),
            None if peer.connection == Peer::CAME => self.0.sink.unreachable(peer, message),
            None => self.dial(peer, message),
        }
    }

    /// As [`Streams::send`]; where no connection to the peer is open, to the address that `elsewhere` gives.
    pub fn send_or(&self, peer: Peer, message: Bytes, elsewhere: impl FnOnce(&[u8]) -> SocketAddr) {
        let open = lock(&self.0.table).find(peer, &message).cloned();
        match open {
            Some(connection) => connection.push(&self.0, message),
            None => self.send(Peer { remote: elsewhere(&message), ..peer }, message),
        }
    }

    /// Whether this connection is open.
    pub fn is_open(&self, connection: u64) -> bool {
        lock(&self.0.table).by_id(connection).is_some()
    }

    /// Whether this message for this peer needs no new connection.
    pub fn reaches(&self, peer: Peer, message: &[u8]) -> bool {
        lock(&self.0.table).find(peer, message).is_some()
    }

    /// How many connections are open, and how many of them are strangers'.
    pub fn open(&self) -> (usize, usize) {
        lock(&self.0.table).len()
    }

    /// Closes every connection.
    pub fn close(&self) {
        self.close_where(|_| true);
    }

    /// Closes the connections of these addresses of ours.
    pub fn close_where(&self, is_ours: impl Fn(SocketAddr) -> bool) {
        // What is being dialled would come up on an address that may be another node's by then.
        lock(&self.0.dialling).retain(|way, _| !is_ours(way.local));
        let all = lock(&self.0.table).all();
        all.iter().filter(|connection| is_ours(connection.local)).for_each(|connection| connection.close());
    }

    fn dial(&self, peer: Peer, message: Bytes) {
        let names = peer.secure.then(|| Names::of(&message));
        let way = Way { local: peer.local, remote: peer.remote, names };
        let mut dialling = lock(&self.0.dialling);
        if let Some(waiting) = dialling.get_mut(&way) {
            if waiting.len() < self.0.limits.dial_queue_max {
                waiting.push_back(message);
                return;
            }
            drop(dialling);
            self.0.sink.unreachable(Peer { connection: 0, ..peer }, message);
            return;
        }
        dialling.insert(way.clone(), VecDeque::from([message]));
        drop(dialling);
        self.0.spawn.spawn("tcp dial", Box::pin(self.0.clone().open(way)));
    }
}

impl Shared {
    async fn accept(self: Arc<Shared>, mut listener: Box<dyn Listener>, secure: bool) {
        let local = listener.local();
        loop {
            match std::future::poll_fn(|cx| listener.poll_accept(cx)).await {
                Ok(stream) => {
                    Counters::count(&self.counters.accepted);
                    let peer = Peer { local, remote: stream.remote(), connection: 0, secure };
                    if !secure {
                        self.admit(stream, peer, FarEnd::Address);
                    } else if let Some(stream) = self.secured(stream, peer).await {
                        self.admit(stream, peer, FarEnd::Came);
                    }
                }
                Err(error) => {
                    tracing::warn!(%local, %error, "cannot accept connections");
                    self.spawn.sleep_until(self.clock.now() + ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// An accepted connection under TLS, if its peer may have one; where there are too many, they come one by one.
    async fn secured(&self, stream: Box<dyn Stream>, peer: Peer) -> Option<Box<dyn Stream>> {
        let refused = || {
            Counters::count(&self.counters.evicted);
            None
        };
        let Some(standing) = self.sink.welcome(peer) else { return refused() };
        let per_second = self.limits.handshakes_per_second;
        while !lock(&self.handshakes).take(self.clock.now(), per_second, standing) {
            if standing == Standing::Stranger {
                return refused();
            }
            self.spawn.sleep_until(self.clock.now() + HANDSHAKE_PAUSE).await;
        }
        match self.tls.as_ref()?.accept(stream) {
            Ok(stream) => Some(Box::new(stream)),
            Err(error) => {
                tracing::warn!(%error, "cannot begin a handshake");
                refused()
            }
        }
    }

    /// Takes in an accepted connection, the oldest stranger making room where there is none.
    fn admit(self: &Arc<Shared>, stream: Box<dyn Stream>, peer: Peer, far: FarEnd) {
        let mut table = lock(&self.table);
        let Some(leaving) = table.make_room(&self.limits, peer.remote.ip()) else {
            Counters::count(&self.counters.evicted);
            return;
        };
        for connection in leaving {
            Counters::count(&self.counters.evicted);
            table.remove(&connection);
            connection.close();
        }
        let connection = self.enter(&mut table, peer, far, false);
        drop(table);
        self.spawn.spawn("tcp connection", Box::pin(connection.run(self.clone(), stream)));
    }

    /// A new connection in the table.
    fn enter(&self, table: &mut Table, peer: Peer, far: FarEnd, known: bool) -> Arc<Connection> {
        let id = table.draw();
        let (local, remote) = (peer.local, peer.remote);
        let connection = Arc::new(Connection::new(id, local, remote, far, self.clock.now(), known));
        table.insert(connection.clone(), known);
        connection
    }

    /// Opens a connection and sends what waits for it.
    async fn open(self: Arc<Shared>, way: Way) {
        let deadline = self.spawn.sleep_until(self.clock.now() + self.limits.dial);
        let opened = match select(Box::pin(self.reach(&way)), deadline).await {
            Either::Left((result, _)) => result,
            Either::Right(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        let Some(waiting) = lock(&self.dialling).remove(&way) else { return };
        match opened {
            Ok((stream, far)) => {
                Counters::count(&self.counters.dialled);
                let connection = self.enter(&mut lock(&self.table), way.peer(), far, true);
                for message in waiting {
                    connection.push(&self, message);
                }
                connection.run(self, stream).await;
            }
            Err(error) => {
                self.complain(&way, &error);
                for message in waiting {
                    self.sink.unreachable(way.peer(), message);
                }
            }
        }
    }

    /// Connects, and under TLS makes the handshake.
    async fn reach(&self, way: &Way) -> io::Result<(Box<dyn Stream>, FarEnd)> {
        let stream = self.network.dial(way.local, way.remote).await?;
        let Some(names) = &way.names else { return Ok((stream, FarEnd::Address)) };
        let tls = self.tls.as_ref().ok_or_else(|| io::Error::other("[sip.tls] is not set"))?;
        let (stream, proof) = tls.connect(stream, names).await?;
        Ok((Box::new(stream), FarEnd::Proved(proof)))
    }

    /// Says why a connection can't be opened; where it is for an operator to mend, aloud, now and then.
    fn complain(&self, way: &Way, error: &io::Error) {
        let remote = way.remote;
        let Some((names, advice)) = way.names.as_ref().zip(advice(error)) else {
            return tracing::debug!(%remote, %error, "cannot connect");
        };
        Counters::count(&self.counters.handshakes_failed);
        let now = self.clock.now();
        let mut complaints = lock(&self.complaints);
        complaints.retain(|_, said| now.since(*said) < COMPLAINT);
        if complaints.len() < COMPLAINTS_MAX && !complaints.contains_key(&remote) {
            complaints.insert(remote, now);
            let called = names.words();
            tracing::warn!(
                "no TLS with {remote}, called {called}: {error}; {advice}. It counts as unreachable"
            );
        }
    }

    async fn sweep(self: Arc<Shared>) {
        loop {
            self.spawn.sleep_until(self.clock.now() + SWEEP).await;
            let now = self.clock.now();
            let all = lock(&self.table).all();
            for connection in all {
                if connection.is_done(now, &self.limits) {
                    connection.close();
                } else if connection.is_overdue(now, &self.limits) {
                    Counters::count(&self.counters.timed_out);
                    connection.close();
                }
            }
        }
    }
}

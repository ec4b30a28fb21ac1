//! SIP over streams (RFC 3261 §18): listening, dialling on demand, reuse of what is open (RFC 5923 in
//! spirit), and one sweep a second instead of a timer per connection.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use env::{Clock, Listener, Network, Spawn, Stream, Task};
use futures::future::{Either, select};
use sip::ParseError;

use crate::connection::Connection;
use crate::table::Table;
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
    dialling: Mutex<BTreeMap<(SocketAddr, SocketAddr), VecDeque<Bytes>>>,
}

/// How often slow connections are looked for.
const SWEEP: Duration = Duration::from_secs(1);
/// Pause after an accept that failed, for lack of descriptors most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Streams {
    /// No stream yet.
    pub fn new(
        network: Arc<dyn Network>,
        clock: Arc<dyn Clock>,
        spawn: Arc<dyn Spawn>,
        sink: Arc<dyn Sink>,
        limits: StreamLimits,
        counters: Arc<Counters>,
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
        }))
    }

    /// Accepts connections until the task is aborted.
    pub fn serve(&self, listener: Box<dyn Listener>) -> Box<dyn Task> {
        self.0.spawn.spawn("tcp accept", Box::pin(self.0.clone().accept(listener)))
    }

    /// Looks for slow connections. Never ends.
    pub async fn sweep(&self) {
        self.0.clone().sweep().await;
    }

    /// Sends a message on the peer's connection if it is open, else on another one to the same address,
    /// else on a new one. What can't be sent comes back through [`Sink::unreachable`].
    pub fn send(&self, peer: Peer, message: Bytes) {
        let open = lock(&self.0.table).find(peer).cloned();
        match open {
            Some(connection) => connection.push(&self.0, message),
            None => self.dial(peer, message),
        }
    }

    /// Whether this connection is open.
    pub fn is_open(&self, connection: u64) -> bool {
        lock(&self.0.table).by_id(connection).is_some()
    }

    /// Whether a message for this peer needs no new connection.
    pub fn reaches(&self, peer: Peer) -> bool {
        lock(&self.0.table).find(peer).is_some()
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
        lock(&self.0.dialling).retain(|(local, _), _| !is_ours(*local));
        let all = lock(&self.0.table).all();
        all.iter().filter(|connection| is_ours(connection.local)).for_each(|connection| connection.close());
    }

    fn dial(&self, peer: Peer, message: Bytes) {
        let mut dialling = lock(&self.0.dialling);
        if let Some(waiting) = dialling.get_mut(&(peer.local, peer.remote)) {
            if waiting.len() < self.0.limits.dial_queue_max {
                waiting.push_back(message);
                return;
            }
            drop(dialling);
            self.0.sink.unreachable(Peer { connection: 0, ..peer }, message);
            return;
        }
        dialling.insert((peer.local, peer.remote), VecDeque::from([message]));
        drop(dialling);
        self.0.spawn.spawn("tcp dial", Box::pin(self.0.clone().open(peer.local, peer.remote)));
    }
}

impl Shared {
    async fn accept(self: Arc<Shared>, mut listener: Box<dyn Listener>) {
        let local = listener.local();
        loop {
            match std::future::poll_fn(|cx| listener.poll_accept(cx)).await {
                Ok(stream) => {
                    Counters::count(&self.counters.accepted);
                    self.admit(stream, local);
                }
                Err(error) => {
                    tracing::warn!(%local, %error, "cannot accept connections");
                    self.spawn.sleep_until(self.clock.now() + ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Takes in an accepted connection, the oldest stranger making room where there is none.
    fn admit(self: &Arc<Shared>, stream: Box<dyn Stream>, local: SocketAddr) {
        let remote = stream.remote();
        let mut table = lock(&self.table);
        let Some(leaving) = table.make_room(&self.limits, remote.ip()) else {
            Counters::count(&self.counters.evicted);
            return;
        };
        for connection in leaving {
            Counters::count(&self.counters.evicted);
            table.remove(&connection);
            connection.close();
        }
        let connection = self.enter(&mut table, local, remote, false);
        drop(table);
        self.spawn.spawn("tcp connection", Box::pin(connection.run(self.clone(), stream)));
    }

    /// A new connection in the table.
    fn enter(
        &self,
        table: &mut Table,
        local: SocketAddr,
        remote: SocketAddr,
        known: bool,
    ) -> Arc<Connection> {
        let id = table.draw();
        let connection = Arc::new(Connection::new(id, local, remote, self.clock.now(), known));
        table.insert(connection.clone(), known);
        connection
    }

    /// Opens a connection and sends what waits for it.
    async fn open(self: Arc<Shared>, local: SocketAddr, remote: SocketAddr) {
        let deadline = self.spawn.sleep_until(self.clock.now() + self.limits.dial);
        let stream = match select(self.network.dial(local, remote), deadline).await {
            Either::Left((result, _)) => result,
            Either::Right(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        let Some(waiting) = lock(&self.dialling).remove(&(local, remote)) else { return };
        match stream {
            Ok(stream) => {
                Counters::count(&self.counters.dialled);
                let connection = self.enter(&mut lock(&self.table), local, remote, true);
                for message in waiting {
                    connection.push(&self, message);
                }
                connection.run(self, stream).await;
            }
            Err(error) => {
                tracing::debug!(%remote, %error, "cannot connect");
                for message in waiting {
                    self.sink.unreachable(Peer { local, remote, connection: 0 }, message);
                }
            }
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

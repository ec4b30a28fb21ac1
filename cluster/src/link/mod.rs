//! The links between nodes, over QUIC (RFC 9000, RFC 9001): the only place that names quinn.
//!
//! Each pair of nodes has one connection, dialled by the node with the lower id (by the other where that does
//! not come about: the lower one may not know of it yet), in which both have proved who they are. Each purpose
//! has a standing stream in each direction, so that a snapshot delays no heartbeat. Whatever queues is bounded. A link
//! that ends is made again, after a rest that grows.
//!
//! Absent by design: what frames say, and any judgement about who is alive. `Down` is a hint and no more.

mod connection;
mod dialer;
mod frame;
mod identity;
mod lane;
mod obituary;
mod refusal;
mod table;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use env::{Frames, LinkEvent, Peer, Purpose};
use machine::Rng;
use quinn::{
    ClientConfig, ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig, IdleTimeout, ServerConfig,
    TokioRuntime, TransportConfig, VarInt,
};
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

pub use identity::{Certificates, ClusterKey, Identity, IdentityError, NodeName};
pub use obituary::Obituary;
pub use refusal::Refusal;

use dialer::Dialer;
use table::Table;

/// What links need.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// This node.
    pub node: u64,
    /// Where other nodes reach it.
    pub listen: SocketAddr,
    /// How it proves who it is.
    pub identity: Identity,
    /// After how much silence a node is held dead; a link gives up after twice that.
    pub detect: Duration,
    /// Whether, as long as it has no peers, every node of the cluster may dial it: it waits to be let in.
    pub waits: bool,
}

/// Why links can't begin.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The address.
    #[error(
        "[cluster] listen {at} can't be bound: {source}; is another process using it, is it an address of this host?"
    )]
    Bind {
        /// The address.
        at: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Who we are.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// The links of a node over QUIC. Dropping it ends them.
pub struct Quic {
    table: Arc<Table>,
    endpoint: Endpoint,
    dialer: Mutex<Dialer>,
    acceptor: AbortHandle,
}

impl Quic {
    /// Binds the address and waits for peers; whom to dial is said by [`Frames::set_peers`]. Only inside a
    /// tokio runtime, whose tasks it uses.
    ///
    /// # Errors
    /// The address can't be bound, or the identity can't be used.
    pub fn start(config: LinkConfig, mut rng: Rng) -> Result<Arc<Quic>, LinkError> {
        let LinkConfig { node, listen, identity, detect, waits } = config;
        let credentials = identity.credentials(node)?;
        let transport = Arc::new(transport(detect));
        let mut server = ServerConfig::with_crypto(Arc::new(credentials.server));
        server.transport_config(transport.clone()).migration(false);
        server.max_incoming(INCOMING_MAX).incoming_buffer_size_total(INCOMING_BYTES_MAX);
        let mut client = ClientConfig::new(Arc::new(credentials.client));
        client.transport_config(transport);
        let mut endpoint = EndpointConfig::new(Arc::new(credentials.reset));
        let ids = Mutex::new(rng.fork());
        endpoint.cid_generator(move || Box::new(ConnectionIds(lock(&ids).fork())));
        let endpoint = socket(listen)
            .and_then(|socket| Endpoint::new(endpoint, Some(server), socket, Arc::new(TokioRuntime)))
            .map_err(|source| LinkError::Bind { at: listen, source })?;
        let table = Arc::new(Table::new(node, waits));
        let accept = connection::accept(table.clone(), endpoint.clone());
        let runtime = Handle::current();
        let acceptor = runtime.spawn(accept).abort_handle();
        let dialer =
            Dialer { table: table.clone(), endpoint: endpoint.clone(), client, detect, rng, runtime };
        Ok(Arc::new(Quic { table, endpoint, dialer: Mutex::new(dialer), acceptor }))
    }

    /// The address that it is bound to, port filled in.
    ///
    /// # Errors
    /// The socket is gone.
    pub fn local(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Why there is no link to a peer, if it was ever tried and there is none.
    pub fn refusal(&self, node: u64) -> Option<Refusal> {
        self.table.refusal(node)
    }

    /// Ends all links and waits until the peers have been told.
    pub async fn close(&self) {
        self.end();
        self.endpoint.wait_idle().await;
    }

    fn end(&self) {
        self.acceptor.abort();
        self.table.abort();
        self.endpoint.close(Refusal::Stopped.code(), b"");
    }
}

impl Drop for Quic {
    fn drop(&mut self) {
        self.end();
    }
}

impl Frames for Quic {
    fn send(&self, to: u64, purpose: Purpose, bytes: Vec<u8>) -> bool {
        self.table.send(to, purpose, bytes)
    }

    fn poll_events(&self, cx: &mut Context<'_>, events: &mut Vec<LinkEvent>) -> Poll<()> {
        self.table.poll_events(cx, events)
    }

    fn set_open(&self, open: bool) {
        self.table.set_open(open);
    }

    fn set_peers(&self, peers: &[Peer]) {
        let mut dialer = lock(&self.dialer);
        self.table.set_peers(peers, |peer| dialer.dial(peer));
    }

    fn is_up(&self, node: u64) -> bool {
        self.table.is_up(node)
    }
}

/// Random connection ids. quinn's own can be told from nonsense, and packets with nonsense are dropped in
/// silence; but a predecessor's ids are nonsense to a restarted process, and their senders must hear that it
/// knows them no more.
struct ConnectionIds(Rng);

impl ConnectionIdGenerator for ConnectionIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; CONNECTION_ID_LEN];
        self.0.fill(&mut id);
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_LEN
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

fn transport(detect: Duration) -> TransportConfig {
    let mut transport = TransportConfig::default();
    let idle = (detect * 2).clamp(IDLE_MIN, IDLE_MAX);
    let idle = IdleTimeout::try_from(idle).expect("a minute fits into QUIC's milliseconds");
    transport
        .max_idle_timeout(Some(idle))
        // Heartbeats make these superfluous, where there are any.
        .keep_alive_interval(Some((detect / 2).clamp(IDLE_MIN / 4, IDLE_MAX / 4)))
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(Purpose::ALL.len() as u32))
        .stream_receive_window(VarInt::from_u32(STREAM_BYTES_MAX))
        .receive_window(VarInt::from_u32(STREAM_BYTES_MAX * 2))
        .send_window(u64::from(STREAM_BYTES_MAX) * 2)
        .datagram_receive_buffer_size(None)
        // Neighbours: a lost first packet is sent again soon.
        .initial_rtt(INITIAL_RTT);
    transport
}

fn socket(listen: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(listen), Type::DGRAM, Some(Protocol::UDP))?;
    // A system that gives less works all the same.
    let _ = socket.set_recv_buffer_size(SOCKET_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BYTES);
    socket.set_nonblocking(true)?;
    socket.bind(&listen.into())?;
    Ok(socket.into())
}

/// Locks, also after a panic elsewhere: every critical section here leaves its table whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const CONNECTION_ID_LEN: usize = 8;
const IDLE_MIN: Duration = Duration::from_millis(400);
const IDLE_MAX: Duration = Duration::from_secs(60);
const INITIAL_RTT: Duration = Duration::from_millis(50);
const STREAM_BYTES_MAX: u32 = 4 << 20;
const SOCKET_BYTES: usize = 4 << 20;
/// Strangers whose first packet waits to be looked at.
const INCOMING_MAX: usize = 64;
const INCOMING_BYTES_MAX: u64 = 1 << 20;

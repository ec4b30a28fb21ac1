//! A whole node: what starts in which order, and how it ends.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use call::{CallId, Context, HomeId, Input, Phase, Secret};
use cluster::Health;
use env::{Datagrams, Listener};
use machine::Rng;
use media::{PortPool, PortRangeError};
use ractor::{Actor, ActorRef};
use thiserror::Error;
use transport::{Counters, Outbox, Streams};
use trunk::Transport;

use crate::actor::call::{Begin, Msg};
use crate::actor::supervisor::Root;
use crate::replica::{Opened, Replica};
use crate::shared::{Parts, Shared};
use crate::switch::StreamSink;
use crate::{NodeConfig, World};

/// Starts nodes.
pub struct Node;

/// A running node. Clones are the same node; it ends with [`NodeHandle::stop`].
#[derive(Clone)]
pub struct NodeHandle {
    pub(crate) shared: Arc<Shared>,
    root: ActorRef<()>,
}

/// Why a node can't start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// A port is taken, or an address is not this machine's.
    #[error("cannot listen on {transport}://{at}: {error}; is another process using it?")]
    Listen {
        /// Which transport.
        transport: Transport,
        /// Where.
        at: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// No address to listen on for SIP over UDP or TCP.
    #[error("sip.listen names no udp:// or tcp:// address")]
    NothingToListenOn,
    /// SIP over TLS is not built yet.
    #[error("tls://{at}: SIP over TLS is not built yet; leave it out of sip.listen")]
    TlsNotBuilt {
        /// The address.
        at: SocketAddr,
    },
    /// The media ports hold no pair.
    #[error("media.ports: {0}")]
    MediaPorts(#[from] PortRangeError),
    /// The log can't be opened or written.
    #[error(transparent)]
    Cluster(#[from] cluster::OpenError),
    /// The node's name can't be a home's.
    #[error("node.name: {0}")]
    Name(trunk::NameError),
    /// The key of tags and branches can't be read or written.
    #[error("secret.key in node.data_dir: {0}")]
    Secret(io::Error),
    /// The cluster gave this node no home.
    #[error("the cluster gave this node no home; is another node of the same name running?")]
    NoHome,
    /// An actor could not be started.
    #[error("cannot start the root actor: {0}")]
    Actor(#[from] ractor::SpawnErr),
}

/// How often the relay is asked what it noticed, and how late that happens is measured.
const TICK: Duration = Duration::from_millis(50);
/// How often leftovers are cleared.
const HOUSEKEEPING: Duration = Duration::from_millis(250);
/// How many calls are rebuilt before others get their turn.
const RESTORE_BURST: usize = 32;
/// How often a draining node looks whether its calls have ended.
const DRAIN_POLL: Duration = Duration::from_millis(100);
/// How long calls get to say goodbye when they are hung up by a drain.
const GOODBYE: Duration = Duration::from_secs(4);

struct Sockets {
    datagrams: Vec<Arc<dyn Datagrams>>,
    listeners: Vec<Box<dyn Listener>>,
    addresses: Vec<(Transport, SocketAddr)>,
}

impl Node {
    /// Starts a node: takes its addresses, opens its log, announces itself, takes over from its former self,
    /// and only then listens to the world.
    ///
    /// # Errors
    /// An address is taken, the disk or the log is unusable.
    pub async fn start(world: World, config: NodeConfig) -> Result<NodeHandle, StartError> {
        let sockets = bind(&world, &config)?;
        let mut seed = [0; 32];
        world.entropy.fill(&mut seed);
        let mut rng = Rng::seeded(seed);
        let ports = PortPool::new(config.media_ports.clone(), config.media_rest, &mut rng)?;
        let opened = Replica::open(&world, &config, &mut rng).await?;
        let (ear, incarnation, home) = (opened.ear.clone(), opened.incarnation, opened.home);
        let context = context(&config, &sockets, &opened);
        let counters = Arc::new(Counters::default());
        let Sockets { datagrams, listeners, .. } = sockets;
        let outbox = Arc::new(Outbox::new(datagrams.clone(), counters.clone()));
        let shared = Arc::new_cyclic(|shared| {
            let streams = Streams::new(
                world.network.clone(),
                world.clock.clone(),
                world.spawn.clone(),
                Arc::new(StreamSink(shared.clone())),
                config.streams,
                counters.clone(),
            );
            let cluster = opened.replica;
            Shared::new(Parts { world, config, context, counters, outbox, streams, cluster, ports, rng })
        });
        let (root, _) = Actor::spawn(None, Root::new(shared.clone()), ()).await?;
        shared.begin_life(root.get_cell(), incarnation);
        ear.attach(&shared);
        let node = NodeHandle { shared, root };
        node.run_background();
        node.restore_calls(home).await;
        node.listen(datagrams, listeners);
        node.shared.ready.store(true, Ordering::Relaxed);
        Ok(node)
    }
}

impl NodeHandle {
    /// Whether new calls are taken.
    pub fn is_ready(&self) -> bool {
        let shared = &self.shared;
        shared.ready.load(Ordering::Relaxed)
            && !shared.draining.load(Ordering::Relaxed)
            && shared.writable.load(Ordering::Relaxed)
    }

    /// Why new calls are not taken.
    pub fn why_not_ready(&self) -> &'static str {
        let shared = &self.shared;
        if shared.draining.load(Ordering::Relaxed) {
            return "the node drains";
        }
        match shared.cluster.cluster().health() {
            Health::DiskFull => "the disk is full",
            Health::CdrsPile => "too many call detail records wait to be written",
            Health::Failed(_) => "the log has failed",
            Health::Ready => "the node starts",
        }
    }

    /// The replicated state's side of this node.
    pub fn cluster(&self) -> &cluster::Cluster {
        self.shared.cluster.cluster()
    }

    /// What the node was told about itself.
    pub fn config(&self) -> &NodeConfig {
        &self.shared.config
    }

    /// Where SIP is listened for, ports filled in.
    pub fn addresses(&self) -> Vec<(Transport, SocketAddr)> {
        self.shared.context().addresses.clone()
    }

    /// How many calls this node carries.
    pub fn calls(&self) -> usize {
        self.shared.calls()
    }

    /// Ends a call; false if this node does not carry it.
    pub fn hang_up(&self, call: CallId, reason: &'static str) -> bool {
        self.shared.tell(call, Msg::Input(Input::Hangup(reason)))
    }

    /// All figures, in Prometheus' text format.
    pub fn metrics(&self) -> String {
        self.shared.metrics_text()
    }

    /// Counters, for tests.
    pub fn counters(&self) -> &crate::Metrics {
        &self.shared.metrics
    }

    /// Takes no new calls, waits until those that go on have ended, at most `limit`, then ends the rest.
    pub async fn drain(&self, limit: Duration) {
        let shared = &self.shared;
        shared.draining.store(true, Ordering::Relaxed);
        if self.wait_for_calls(limit).await {
            return;
        }
        tracing::warn!(calls = shared.calls(), "drain: ending the calls that are left");
        for call in shared.call_ids() {
            self.hang_up(call, "node drains");
        }
        self.wait_for_calls(GOODBYE).await;
    }

    /// Ends the node: actors stop, the log is closed.
    pub async fn stop(&self) {
        self.shared.ready.store(false, Ordering::Relaxed);
        self.shared.outbox.flush();
        self.shared.cluster.cluster().close().await;
        self.shared.streams.close();
        self.root.stop(None);
    }

    async fn wait_for_calls(&self, limit: Duration) -> bool {
        let world = &self.shared.world;
        let deadline = world.clock.now() + limit;
        while self.shared.calls() > 0 {
            if world.clock.now() >= deadline {
                return false;
            }
            world.spawn.sleep_until(world.clock.now() + DRAIN_POLL).await;
        }
        true
    }

    /// Starts what serves all calls.
    fn run_background(&self) {
        let spawn = &self.shared.world.spawn;
        spawn.spawn("outbox", Box::pin(self.shared.outbox.clone().run()));
        let shared = self.shared.clone();
        let fire = move |call| {
            shared.tell(call, Msg::Due);
        };
        let (clock, sleeper) = (self.shared.world.clock.clone(), self.shared.world.spawn.clone());
        spawn.spawn("timers", Box::pin(self.shared.wheel.clone().run(clock, sleeper, fire)));
        spawn.spawn("tick", Box::pin(tick(self.shared.clone())));
        spawn.spawn("housekeeping", Box::pin(housekeeping(self.shared.clone())));
    }

    /// Rebuilds the calls that this node carried before, ringing ones first, paced.
    async fn restore_calls(&self, home: HomeId) {
        let shared = &self.shared;
        let mut records = shared.cluster.records(home);
        records.sort_by_key(|record| matches!(record.phase, Phase::Answered { .. }));
        let count = records.len();
        for (index, record) in records.into_iter().enumerate() {
            if index % RESTORE_BURST == RESTORE_BURST - 1 {
                tokio::task::yield_now().await;
            }
            let (id, key) = (record.id, record.admit.key);
            let party = record.admit.party.name().clone();
            crate::metrics::add(&shared.metrics.restored);
            shared.spawn_call(id, Some(key), party, shared.context(), Begin::Record(record));
        }
        if count > 0 {
            tracing::info!(calls = count, "calls taken over from before the restart");
        }
    }

    /// Listens to the world.
    fn listen(&self, datagrams: Vec<Arc<dyn Datagrams>>, listeners: Vec<Box<dyn Listener>>) {
        for socket in datagrams {
            let shared = self.shared.clone();
            let local = socket.local();
            let task = async move {
                let taker = shared.clone();
                let take = move |from: SocketAddr, bytes: &[u8]| taker.datagram(local, from, bytes);
                let gauge = shared.clone();
                let mut junk_before = 0;
                let done = move |count: usize| {
                    // Junk is cheap to drop: a flood of it is no reason to refuse calls.
                    let junk = gauge.metrics.junk();
                    let mostly_junk = (junk - junk_before) * 2 > count as u64;
                    junk_before = junk;
                    gauge.batch(count >= transport::BATCH_FULL && !mostly_junk);
                };
                if let Err(error) = transport::receive(socket, shared.counters.clone(), take, done).await {
                    tracing::error!(%local, %error, "a socket failed; the node is not ready any more");
                    shared.ready.store(false, Ordering::Relaxed);
                }
            };
            self.shared.world.spawn.spawn("udp", Box::pin(task));
        }
        self.shared.streams.serve(listeners);
    }
}

fn bind(world: &World, config: &NodeConfig) -> Result<Sockets, StartError> {
    let mut sockets = Sockets { datagrams: Vec::new(), listeners: Vec::new(), addresses: Vec::new() };
    for &(transport, at) in &config.listen {
        let failed = |error| StartError::Listen { transport, at, error };
        let local = match transport {
            Transport::Udp => {
                let socket = world.network.bind(at).map_err(failed)?;
                let local = socket.local();
                sockets.datagrams.push(socket);
                local
            }
            Transport::Tcp => {
                let listener = world.network.listen(at).map_err(failed)?;
                let local = listener.local();
                sockets.listeners.push(listener);
                local
            }
            Transport::Tls => return Err(StartError::TlsNotBuilt { at }),
        };
        sockets.addresses.push((transport, local));
    }
    if sockets.addresses.is_empty() { Err(StartError::NothingToListenOn) } else { Ok(sockets) }
}

fn context(config: &NodeConfig, sockets: &Sockets, opened: &Opened) -> Context {
    Context {
        home: opened.home,
        epoch: opened.epoch,
        resources: opened.replica.resources(),
        secret: Secret::new(opened.secret),
        domain: config.domain.as_str().into(),
        addresses: sockets.addresses.clone(),
        advertise: config.advertise.as_deref().map(Into::into),
        times: config.times,
        media: config.media_advertise.unwrap_or(config.media),
    }
}

async fn tick(shared: Arc<Shared>) {
    let mut events = Vec::new();
    loop {
        let due = shared.world.clock.now() + TICK;
        shared.world.spawn.sleep_until(due).await;
        shared.tick(due);
        if shared.has_media() {
            shared.world.relay.poll_events(&mut events);
            events.drain(..).for_each(|event| shared.noticed(event));
        }
    }
}

async fn housekeeping(shared: Arc<Shared>) {
    loop {
        shared.world.spawn.sleep_until(shared.world.clock.now() + HOUSEKEEPING).await;
        shared.expire_afterlife();
        let writable = shared.cluster.is_writable();
        if shared.writable.swap(writable, Ordering::Relaxed) != writable {
            tracing::warn!(writable, health = ?shared.cluster.cluster().health(), "readiness changes");
        }
    }
}

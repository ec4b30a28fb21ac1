//! A whole node: what starts in which order, and how it ends.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use call::{CallId, Input};
use cluster::Health;
use machine::Rng;
use media::PortRangeError;
use ractor::{Actor, ActorRef};
use thiserror::Error;
use transport::{Counters, Outbox, Streams};
use trunk::{Resource, Transport};

use crate::actor::call::Msg;
use crate::actor::supervisor::Root;
use crate::home::Sockets;
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
    /// No address to listen on for SIP.
    #[error("sip.listen names no address")]
    NothingToListenOn,
    /// TLS without a certificate.
    #[error("tls://{at}: there is no certificate; this node's file needs [sip.tls] with certificate and key")]
    NoCertificate {
        /// The address.
        at: SocketAddr,
    },
    /// A floating address can't be brought here.
    #[error("the floating address {at} can't be brought here: {error}")]
    Address {
        /// The address.
        at: IpAddr,
        /// What the system says.
        error: io::Error,
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
/// How often a draining node looks whether its calls have ended.
const DRAIN_POLL: Duration = Duration::from_millis(100);
/// How long homes may take to move.
const MOVE_MAX: Duration = Duration::from_secs(10);
/// How long calls get to say goodbye when they are hung up by a drain.
const GOODBYE: Duration = Duration::from_secs(4);

impl Node {
    /// Starts a node: takes its addresses, opens its log, announces itself, takes over from its former self,
    /// and only then listens to the world.
    ///
    /// # Errors
    /// An address is taken, the disk or the log is unusable.
    pub async fn start(world: World, config: NodeConfig) -> Result<NodeHandle, StartError> {
        let own = config.own_home().map_err(StartError::Name)?;
        let sockets = Sockets::bind(&world, &own, config.tls.is_some())?;
        let mut seed = [0; 32];
        world.entropy.fill(&mut seed);
        let mut rng = Rng::seeded(seed);
        let opened = Replica::open(&world, &config, &mut rng).await?;
        let Opened { replica: cluster, ear, incarnation, secret } = opened;
        let counters = Arc::new(Counters::default());
        let (speaker, told) = (cluster.cluster().clone(), config.clone());
        let may_speak = move |local: SocketAddr| speaker.may_speak() || told.keeps_at(local.ip());
        let outbox = Arc::new(Outbox::new(counters.clone(), Box::new(may_speak)));
        let shared = Arc::new_cyclic(|shared| {
            let streams = Streams::new(
                world.network.clone(),
                world.clock.clone(),
                world.spawn.clone(),
                Arc::new(StreamSink(shared.clone())),
                config.streams,
                counters.clone(),
                config.tls.clone(),
            );
            Shared::new(Parts { world, config, secret, counters, outbox, streams, cluster, rng })
        });
        let (root, _) = Actor::spawn(None, Root::new(shared.clone()), ()).await?;
        shared.begin_life(root.get_cell(), incarnation);
        ear.attach(&shared);
        let node = NodeHandle { shared, root };
        node.run_background();
        let held = node.shared.cluster.held();
        let fixed = held.iter().find(|(held, floating)| held.name == own.name && floating.is_none());
        let (held, _) = fixed.ok_or(StartError::NoHome)?;
        node.shared.enter(&own, held, sockets).await?;
        let keeper = node.shared.clone();
        node.shared.homes_moved.notify_one();
        node.shared.world.spawn.spawn("homes", Box::pin(async move { keeper.keep_homes(own).await }));
        node.shared.ready.store(true, Ordering::Relaxed);
        Ok(node)
    }
}

impl NodeHandle {
    /// Whether new calls are taken.
    pub fn is_ready(&self) -> bool {
        self.shared.is_ready()
    }

    /// Why new calls are not taken.
    pub fn why_not_ready(&self) -> &'static str {
        let shared = &self.shared;
        if shared.draining.load(Ordering::Relaxed) {
            return "the node drains";
        }
        if shared.drained.load(Ordering::Relaxed) {
            return "the node is drained: `banyan node resume` lets it take calls again";
        }
        match shared.cluster.cluster().health() {
            Health::DiskFull => "the disk is full",
            Health::CdrsPile => "too many call detail records wait to be written",
            Health::Failed(_) => "the log has failed",
            Health::Ready if !shared.cluster.cluster().may_speak() => {
                "no majority of the nodes can be reached"
            }
            Health::Ready => "the node starts",
        }
    }

    /// The replicated state's side of this node.
    pub fn cluster(&self) -> &cluster::Cluster {
        self.shared.cluster.cluster()
    }

    /// Resources as they are put into the cluster: of passwords no more is kept than is needed.
    pub fn with_passwords_kept(&self, set: Vec<Resource>) -> Vec<Resource> {
        let (realm, seal) = (&self.shared.config.domain, &self.shared.seal);
        set.into_iter().map(|resource| resource.with_passwords_kept(realm, seal)).collect()
    }

    /// The first gateway with a password that was encrypted under another cluster's secret.
    pub fn unreadable_gateway(&self, resources: &trunk::Resources) -> Option<trunk::Name> {
        let seal = &self.shared.seal;
        let is_closed = |gateway: &trunk::Gateway| {
            let mut accounts = gateway.accounts.iter();
            accounts.any(|it| it.password.open(&gateway.name, &it.username, seal).is_none())
        };
        resources.gateways.values().find(|gateway| is_closed(gateway)).map(|gateway| gateway.name.clone())
    }

    /// What the node was told about itself.
    pub fn config(&self) -> &NodeConfig {
        &self.shared.config
    }

    /// Where SIP is listened for, ports filled in.
    pub fn addresses(&self) -> Vec<(Transport, SocketAddr)> {
        self.shared.homes().iter().flat_map(|home| home.context().addresses.clone()).collect()
    }

    /// How many calls this node carries.
    pub fn calls(&self) -> usize {
        self.shared.calls()
    }

    /// What is left of calls here when there are none: deadlines, and pairs of media ports.
    pub fn leftovers(&self) -> (usize, usize) {
        let (free, size) = self.shared.free_ports();
        (self.shared.wheel.len(), size - free)
    }

    /// An operator ends a call, whichever node carries it; false if none does, or it can't be reached.
    pub fn hang_up(&self, call: CallId) -> bool {
        self.shared.hang_up_anywhere(call)
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
        // Homes first, with their calls: until each has moved, it takes new calls too.
        let moved = async {
            shared.cluster.drain().await;
            while shared.cluster.to_yield().is_some_and(|home| !home.is_own) && shared.share_homes().await {}
        };
        if self.within(MOVE_MAX, moved).await.is_none() {
            tracing::warn!("the homes could not be moved; is there a majority of the nodes?");
        }
        shared.draining.store(true, Ordering::Relaxed);
        if self.wait_for_calls(limit).await {
            return;
        }
        tracing::warn!(calls = shared.calls(), "drain: ending the calls that are left");
        for call in shared.call_ids() {
            shared.tell(call, Msg::input(Input::Hangup("node drains")));
        }
        self.wait_for_calls(GOODBYE).await;
    }

    /// Ends the node: actors stop, the log is closed.
    pub async fn stop(&self) {
        self.shared.ready.store(false, Ordering::Relaxed);
        self.shared.outbox.flush();
        self.shared.farewell().await;
        self.shared.cluster.cluster().close().await;
        self.shared.streams.close();
        self.root.stop(None);
    }

    async fn wait_for_calls(&self, limit: Duration) -> bool {
        let world = &self.shared.world;
        let deadline = world.clock.now() + limit;
        while self.shared.calls() > 0 {
            // There may have been no majority, or an operator has resumed this node since.
            if !self.shared.cluster.gives_up() {
                self.within(MOVE_MAX, self.shared.cluster.drain()).await;
            }
            // Its own address goes last, when none of its calls rings any more.
            if self.shared.cluster.to_yield().is_some() {
                self.within(MOVE_MAX, self.shared.share_homes()).await;
            }
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
        spawn.spawn("lease", Box::pin(self.shared.clone().heed()));
        spawn.spawn("tick", Box::pin(tick(self.shared.clone())));
        spawn.spawn("report", Box::pin(self.shared.clone().report()));
        spawn.spawn("housekeeping", Box::pin(housekeeping(self.shared.clone())));
        let streams = self.shared.streams.clone();
        spawn.spawn("tcp sweep", Box::pin(async move { streams.sweep().await }));
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
        shared.share_homes().await;
        shared.cluster.reclaim().await;
        shared.tend_registrations();
        shared.tend_watches();
        shared.tend_hosts();
        shared.drained.store(shared.cluster.is_drained(), Ordering::Relaxed);
        let writable = shared.cluster.is_writable();
        if shared.writable.swap(writable, Ordering::Relaxed) != writable {
            tracing::warn!(writable, health = ?shared.cluster.cluster().health(), "readiness changes");
        }
    }
}

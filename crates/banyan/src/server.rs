//! `banyan server`: one node in the foreground, from its file to its last goodbye.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cluster::FloatingHome;
use cluster::link::{ClusterKey, Identity, LinkConfig, Quic};
use config::NodeFile;
use config::node::{LogFormat, OnQuorumLoss, UnknownSources};
use node::disk::FileDisk;
use node::relay::SocketRelay;
use node::world::{SystemEntropy, SystemNetwork, SystemResolve, World, raise_open_files};
use node::{ClusterConfig, Node, NodeConfig, NodeHandle, SystemClock};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::ServerArgs;
use crate::failure::{Failure, Result};
use crate::guard::{self, Keeper, Place};
use crate::resources::read;
use crate::systemd;
use crate::tls::Certificates;

/// A port pair rests so long between two calls that the last packets of the first have died.
const MEDIA_REST: Duration = Duration::from_secs(2);
/// Descriptors beyond those of media and streams: log, HTTP, SIP.
const SPARE_FILES: u64 = 1_024;
/// How long the other nodes may take to hear that this one stops.
const GOODBYE: Duration = Duration::from_millis(500);
/// Fewer connections than this serve nobody.
const CONNECTIONS_MIN: usize = 256;
/// More relay threads than this have never paid.
const RELAY_THREADS_MAX: usize = 8;

/// Runs `banyan server`.
pub fn server(args: &ServerArgs) -> Result {
    if args.ends_with_parent {
        // Where the system has no such thing, the demo's own farewell must do.
        let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    }
    let file = load(&args.config)?;
    start_logging(&file);
    let token = token(&file)?;
    check_built(&file)?;
    // Made outside the runtime's world: the relay's and the disk's threads outlive any task.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::No(format!("cannot start: {error}")))?;
    runtime.block_on(run(&file, token, Duration::from_secs(args.drain)))
}

async fn run(file: &NodeFile, token: Option<String>, drain: Duration) -> Result {
    let clock = Arc::new(SystemClock::start());
    let certificates = Certificates::read(file, clock.clone())?;
    let mut config = settings(file);
    config.tls = certificates.as_ref().map(Certificates::tls);
    let mut signals = Signals::new(certificates)?;
    let key = cluster_key(file)?;
    config.cluster = cluster(file, key.as_ref())?;
    check_files(&mut config);
    let options = api::Options {
        listen: file.http.listen,
        token,
        per_minute: file.http.rate_per_minute,
        clock: clock.clone(),
    };
    // Every port first: a process that can't have them all leaves no trace in the log.
    let http = api::bind(options).map_err(|error| Failure::No(error.to_string()))?;
    let mut world = world(file, clock.clone())?;
    let links = links(file, key.clone())?;
    world.frames = links.clone().map(|links| links as Arc<dyn env::Frames>);
    let keeper = keeper(file, clock).await?;
    let guards = match (&file.cluster, &keeper) {
        (Some(cluster), Some(keeper)) if keeper.has_guard() => Some(guard::bind(cluster.listen).await?),
        _ => None,
    };
    world.addresses = keeper.clone().map(|keeper| keeper as Arc<dyn env::Addresses>);
    // Asked while the node waits for the others, it says so.
    let seat = Arc::new(OnceLock::new());
    let http = http.serve(seat.clone()).map_err(|error| Failure::No(error.to_string()))?;
    let node = tokio::select! {
        biased;
        () = signals.stop() => {
            tracing::info!("stopped before it was part of the cluster");
            return Ok(());
        }
        started = Node::start(world, config) => started.map_err(|error| Failure::No(error.to_string()))?,
    };
    let _ = seat.set(node.clone());
    if let (Some(keeper), Some(key)) = (keeper, key.as_ref()) {
        tokio::spawn(keeper.outlive(node.clone(), key.guards()));
        guards.map(|listener| tokio::spawn(guard::hear(listener, key.guards(), node.clone())));
    }
    for (transport, at) in node.addresses() {
        tracing::info!("SIP on {transport}://{at}");
    }
    tracing::info!("HTTP on http://{}; node {} is ready", http.local(), file.node.id);
    systemd::ready();
    let watchdog = tokio::spawn(systemd::live());
    let result = serve(&node, &mut signals, drain).await;
    // HTTP goes first: nobody should ask a node that is gone.
    drop(http);
    node.stop().await;
    watchdog.abort();
    if let Some(links) = links {
        // The others need not wonder; who does not hear it finds out.
        let _ = tokio::time::timeout(GOODBYE, links.close()).await;
    }
    result
}

/// Until a signal or a failure ends it.
async fn serve(node: &NodeHandle, signals: &mut Signals, drain: Duration) -> Result {
    tokio::select! {
        biased;
        () = signals.stop() => {}
        why = node.cluster().failed() => return Err(Failure::No(why)),
        () = node.removed() => {
            tracing::info!("removed from the cluster; its directory can be deleted");
            return Ok(());
        }
    }
    systemd::stopping();
    tracing::info!(calls = node.calls(), "draining: no new calls; a second signal stops at once");
    tokio::select! {
        biased;
        () = signals.stop() => tracing::warn!(calls = node.calls(), "stopped before its calls have ended"),
        () = node.drain(drain) => tracing::info!("drained"),
    }
    Ok(())
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    certificates: Option<Certificates>,
}

impl Signals {
    fn new(certificates: Option<Certificates>) -> Result<Signals> {
        let listen =
            |kind| signal(kind).map_err(|error| Failure::No(format!("cannot hear signals: {error}")));
        Ok(Signals {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
            certificates,
        })
    }

    /// Waits for a signal to stop.
    async fn stop(&mut self) {
        loop {
            tokio::select! {
                biased;
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => match &self.certificates {
                    Some(certificates) => certificates.reload(),
                    None => tracing::info!(
                        "SIGHUP: there is no [sip.tls], and nothing else is read again; resources come by `banyan apply`"
                    ),
                },
            }
        }
    }
}

fn load(path: &Path) -> Result<NodeFile> {
    match config::read_node(&read(path)?) {
        Ok((file, warnings)) => {
            warnings.iter().for_each(|warning| eprintln!("{warning}"));
            Ok(file)
        }
        Err(problems) => {
            problems.iter().for_each(|problem| eprintln!("{problem}"));
            Err(Failure::Said(2))
        }
    }
}

/// What the file may say and this release can't do yet.
fn check_built(file: &NodeFile) -> Result {
    let unbuilt = |what: &str| Err(Failure::Usage(format!("{what} is not built yet; leave it out")));
    if file.cluster.as_ref().is_some_and(|cluster| cluster.secret_file.is_none()) {
        return unbuilt("a [cluster] without secret_file");
    }
    Ok(())
}

fn start_logging(file: &NodeFile) {
    use tracing_subscriber::EnvFilter;
    // The libraries' own words are for their authors; an operator may ask for them by name.
    let quiet = format!("ractor=warn,openraft=error,{}", file.log.filter);
    let filter = EnvFilter::try_new(&quiet).unwrap_or_else(|error| {
        eprintln!("log.filter: {error}; \"info\" is used");
        EnvFilter::new("ractor=warn,openraft=error,info")
    });
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match file.log.format {
        LogFormat::Text => builder.with_target(false).with_ansi(false).init(),
        LogFormat::Json => builder.json().init(),
    }
}

fn token(file: &NodeFile) -> Result<Option<String>> {
    let Some(path) = &file.http.token_file else { return Ok(None) };
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::No(format!("http.token_file {}: {error}", path.display())))?;
    let token = text.trim().to_owned();
    if token.is_empty() {
        return Err(Failure::No(format!("http.token_file {}: it is empty", path.display())));
    }
    Ok(Some(token))
}

fn settings(file: &NodeFile) -> NodeConfig {
    let listen: Vec<(trunk::Transport, SocketAddr)> =
        file.sip.listen.iter().map(|it| (it.transport, it.address)).collect();
    let mut config = NodeConfig::new(call::NodeId(file.node.id), file.node.name.as_str(), listen);
    config.advertise = file.sip.advertise.as_ref().map(ToString::to_string);
    config.domain = file.sip.domain.clone();
    config.reject_unknown_sources = file.sip.unknown_sources == UnknownSources::Reject;
    config.media = file.media.address;
    config.media_advertise = file.media.advertise;
    config.media_ports = file.media.ports.first..=file.media.ports.last;
    config.media_rest = MEDIA_REST;
    config.floating = file.homes.iter().map(floating).collect();
    config
}

fn floating(home: &config::node::Home) -> FloatingHome {
    FloatingHome {
        name: home.name.clone(),
        address: home.address.addr(),
        sip: home.sip.iter().map(|port| (port.transport, port.port)).collect(),
        media_ports: home.media_ports,
        nodes: home.nodes.iter().copied().map(call::NodeId).collect(),
        region: home.region.clone(),
    }
}

/// How each home's address comes to this machine, if it has to.
fn places(file: &NodeFile) -> BTreeMap<IpAddr, Place> {
    let place = |home: &config::node::Home| match (&home.interface, &home.hook) {
        (Some(interface), _) => Some(Place::Interface(interface.clone())),
        (None, Some(hook)) => Some(Place::Hook(hook.clone())),
        (None, None) => None,
    };
    file.homes.iter().filter_map(|home| Some((home.address.addr(), place(home)?))).collect()
}

async fn keeper(file: &NodeFile, clock: Arc<SystemClock>) -> Result<Option<Arc<Keeper>>> {
    let places = places(file);
    if places.is_empty() {
        return Ok(None);
    }
    let keeper = Keeper::start(places, clock).await;
    keeper.map(Some).map_err(|error| Failure::No(format!("the homes' addresses can't be kept: {error}")))
}

/// The secret that the nodes of the cluster share.
fn cluster_key(file: &NodeFile) -> Result<Option<ClusterKey>> {
    let Some(path) = file.cluster.as_ref().and_then(|cluster| cluster.secret_file.as_ref()) else {
        return Ok(None);
    };
    let failed = |error: &dyn std::fmt::Display| {
        Failure::No(format!("cluster.secret_file {}: {error}", path.display()))
    };
    let bytes = std::fs::read(path).map_err(|error| failed(&error))?;
    let mode = std::fs::metadata(path).map(|meta| meta.permissions().mode()).unwrap_or_default();
    if mode & 0o077 != 0 {
        tracing::warn!(
            "cluster.secret_file {0} can be read by others (mode {1:o}): whoever has it can join; `chmod 600 {0}`",
            path.display(),
            mode & 0o777
        );
    }
    let key = ClusterKey::parse(&bytes).map_err(|error| failed(&error))?;
    if key.is_short() {
        tracing::warn!("cluster.secret_file is short: make one with `openssl rand -hex 32`");
    }
    Ok(Some(key))
}

fn cluster(file: &NodeFile, key: Option<&ClusterKey>) -> Result<Option<ClusterConfig>> {
    let (Some(cluster), Some(key)) = (&file.cluster, key) else { return Ok(None) };
    let find = |peer: &config::node::Peer| {
        let failed = |why: String| Failure::No(format!("cluster.peers {}: {why}", peer.address));
        let mut found = peer.address.to_socket_addrs().map_err(|error| failed(error.to_string()))?;
        let at = found.next().ok_or_else(|| failed("it has no address".to_owned()))?;
        Ok(env::Peer { node: peer.id, at })
    };
    let peers: Vec<env::Peer> = cluster.peers.iter().map(find).collect::<Result<_>>()?;
    if peers.is_empty() {
        let (node, at) = (file.node.id, cluster.listen);
        tracing::info!(
            "cluster.peers is empty: unless this node is a member already, it waits for \
             `banyan node join {node}@{at}`, asked of any member"
        );
    }
    let keeps = cluster.on_quorum_loss == OnQuorumLoss::Keep;
    let secret = call::Secret::new(key.tags());
    Ok(Some(ClusterConfig { peers, detect: cluster.detect, keeps, secret }))
}

/// The links to the other nodes.
fn links(file: &NodeFile, key: Option<ClusterKey>) -> Result<Option<Arc<Quic>>> {
    let (Some(cluster), Some(key)) = (&file.cluster, key) else { return Ok(None) };
    let config = LinkConfig {
        node: file.node.id,
        listen: cluster.listen,
        identity: Identity::Key(key),
        detect: cluster.detect,
        waits: cluster.peers.is_empty(),
    };
    let mut seed = [0; 32];
    env::Entropy::fill(&SystemEntropy, &mut seed);
    let links =
        Quic::start(config, machine::Rng::seeded(seed)).map_err(|error| Failure::No(error.to_string()))?;
    Ok(Some(links))
}

/// Raises the limit on open files to what the node may need; where that fails, fewer connections are taken.
fn check_files(config: &mut NodeConfig) {
    let ports = u64::from(config.media_ports.end().saturating_sub(*config.media_ports.start()));
    let wanted = ports + config.streams.connections_max as u64 + SPARE_FILES;
    match raise_open_files(wanted) {
        Ok(now) if now >= wanted => {}
        Ok(now) => {
            let left = usize::try_from(now.saturating_sub(ports + SPARE_FILES)).unwrap_or(usize::MAX);
            let streams = &mut config.streams;
            streams.connections_max = left.clamp(CONNECTIONS_MIN, streams.connections_max);
            streams.strangers_max = streams.strangers_max.min(streams.connections_max / 2);
            let connections = streams.connections_max;
            tracing::info!(now, wanted, connections, "open files are limited: `ulimit -n` or LimitNOFILE");
        }
        Err(error) => tracing::warn!(%error, "the limit on open files can't be read"),
    }
}

fn world(file: &NodeFile, clock: Arc<SystemClock>) -> Result<World> {
    let directory = &file.node.data_dir;
    let disk = FileDisk::open(directory)
        .map_err(|error| Failure::No(format!("node.data_dir {}: {error}", directory.display())))?;
    // One core is left to signalling.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.saturating_sub(1).clamp(1, RELAY_THREADS_MAX);
    let relay = SocketRelay::start(threads, clock.clone())
        .map_err(|error| Failure::No(format!("cannot start the media relay: {error}")))?;
    let floating: BTreeSet<IpAddr> = places(file).into_keys().collect();
    let relay = relay.with_floating(floating.clone());
    let mut world = World::system(clock, Arc::new(disk), Arc::new(relay));
    world.network = Arc::new(SystemNetwork::with_floating(floating));
    world.resolve = Arc::new(SystemResolve::by(file.sip.dns.clone()));
    Ok(world)
}

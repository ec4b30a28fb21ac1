//! A node's membership: opens what it had, takes part in consensus, proposes, and answers questions about the
//! state.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use call::{Incarnation, NodeId};
use env::{Clock, Disk, Entropy, Frames, Peer, Purpose, Spawn, Task};
use futures::future::Either;
use machine::{ClusterTime, Instant, Rng};
use thiserror::Error;
use tokio::sync::Notify;
use trunk::{Kind, Name, Resource};

use crate::command::{Boot, Booted, Command, FloatingHome, Outcome, Refused};
use crate::dispatch::{Dispatch, FrameSink};
use crate::log::{Log, LogHealth, SyncSample};
use crate::outbox::Outbox;
use crate::projection::{CdrFilter, Projection, ProjectionError, to_json};
use crate::proposer::{Backlog, Pace, Proposer, Urgency};
use crate::raft::{
    Beginning, Change, ChangeError, Leader, Member, Place, Raft, RaftError, Stopped, UnusableSnapshot,
    find_snapshot,
};
use crate::replica::{Applied, Replica};
use crate::rounds::Rounds;
use crate::state::{APPLY_VERSION, Restore, State};
use crate::time::LeaderTime;
use crate::vigil::{Standing, Vigil};

/// How a node takes part.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which node this is.
    pub node: NodeId,
    /// What it is called.
    pub name: String,
    /// The fixed homes that it brings, by name.
    pub homes: Vec<Name>,
    /// The floating homes that its node file names.
    pub floating: Vec<FloatingHome>,
    /// Where it stands.
    pub region: Option<Name>,
    /// The nodes that found the cluster, this one among them; none: it is a cluster of one. Counts at the first
    /// start only: later, members come from the log.
    pub peers: Vec<Peer>,
    /// Whether this node founds nothing: it waits until the members of `peers` let it in.
    pub joins: bool,
    /// After how long a silent node counts as dead. Heartbeats, elections and leases derive from it.
    pub detect: Duration,
    /// When batches are sent.
    pub pace: Pace,
    /// How long a log segment is made in advance.
    pub segment_len: u64,
    /// How much log is written before the next snapshot.
    pub snapshot_every: u64,
    /// A CDR file that has grown to this is followed by the next.
    pub cdr_file_len: u64,
    /// The newest meaning of commands that this process says it knows: this program's, or an older one's that it
    /// stands for in the simulation.
    pub supports: u32,
}

impl Config {
    /// The defaults for a node that has nothing but its own, fixed home, named like itself.
    pub fn alone(node: NodeId, name: Name) -> Config {
        Config {
            node,
            name: name.to_string(),
            homes: vec![name],
            floating: Vec::new(),
            region: None,
            peers: Vec::new(),
            joins: false,
            detect: Duration::from_millis(500),
            pace: Pace::default(),
            segment_len: 16 << 20,
            snapshot_every: 128 << 20,
            cdr_file_len: 32 << 20,
            supports: APPLY_VERSION,
        }
    }
}

/// The world of a node.
#[derive(Clone)]
pub struct Seams {
    /// Its clocks.
    pub clock: Arc<dyn Clock>,
    /// Its chance.
    pub entropy: Arc<dyn Entropy>,
    /// Its tasks.
    pub spawn: Arc<dyn Spawn>,
    /// Its data directory.
    pub disk: Arc<dyn Disk>,
    /// Its links to the other nodes; none: it stays alone.
    pub frames: Option<Arc<dyn Frames>>,
}

/// Why a node can't take part.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The log or consensus.
    #[error(transparent)]
    Raft(#[from] RaftError),
    /// The newest snapshot.
    #[error(transparent)]
    Snapshot(#[from] UnusableSnapshot),
    /// The CDR files.
    #[error(transparent)]
    Projection(#[from] ProjectionError),
    /// Another process with this node's id booted meanwhile.
    #[error("another process runs as node {0}")]
    Fenced(NodeId),
    /// The cluster does not take this process.
    #[error(transparent)]
    Refused(Refused),
}

/// How a node's membership is.
#[derive(Clone, Debug)]
pub enum Health {
    /// It takes proposals.
    Ready,
    /// The disk is full: nothing is committed until there is room. Calls go on; new ones are refused.
    DiskFull,
    /// A million CDRs wait to be written.
    CdrsPile,
    /// It has stopped for good: the process should end with this sentence.
    Failed(String),
}

/// What a membership is doing, for metrics.
#[derive(Clone, Debug)]
pub struct Status {
    /// How it is.
    pub health: Health,
    /// Whether this node leads.
    pub leads: bool,
    /// Who leads, if this node knows.
    pub leader: Option<NodeId>,
    /// In which term.
    pub term: u64,
    /// The members of the cluster.
    pub members: Vec<Member>,
    /// The index of the last batch that was applied.
    pub applied: u64,
    /// What waits to be committed.
    pub backlog: Backlog,
    /// How the log's writes went.
    pub syncs: SyncSample,
    /// How long this node's batches took from their first sending until they were applied here; where writes
    /// have bytes these have commands.
    pub commits: SyncSample,
    /// CDRs that too few nodes have on disk.
    pub cdrs_waiting: usize,
}

/// A node's membership. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    shared: Arc<Shared>,
}

struct Shared {
    node: NodeId,
    booted: Booted,
    seams: Seams,
    log: Log,
    raft: Raft,
    replica: Arc<Replica>,
    proposer: Proposer,
    projection: Arc<Projection>,
    vigil: Arc<Vigil>,
    tasks: Mutex<Vec<Box<dyn Task>>>,
    snapshot_every: u64,
    course: Course,
    failed: Mutex<Option<String>>,
    failing: Notify,
}

impl Cluster {
    /// Opens what the disk holds, becomes part of the cluster and boots. `sink` hears of everything that is
    /// applied from the boot on, `frames` of what other nodes send for the layers above.
    ///
    /// # Errors
    /// What the disk holds can't be used, or another process runs as this node.
    pub async fn open(
        config: Config,
        seams: Seams,
        sink: Box<dyn Applied>,
        frames: Arc<dyn FrameSink>,
    ) -> Result<Cluster, OpenError> {
        let mut chance = chance(&seams);
        let Recalled { log, place, proposer, projection, replica } =
            recall(&config, &seams, sink, &mut chance).await?;
        let nonce = chance.next_u64();
        // Nobody else looks after a full disk yet, and what waits for it would wait for ever.
        let _retries = Retries::begin(&log, &seams);
        let raft = Raft::start(Beginning {
            node: config.node,
            peers: config.peers,
            joins: config.joins,
            detect: config.detect,
            log: log.clone(),
            seams: seams.clone(),
            chance,
            replica: replica.clone(),
            place,
        })
        .await?;
        let outbox = Outbox {
            proposer: proposer.clone(),
            raft: raft.clone(),
            replica: replica.clone(),
            rounds: Rounds::new(),
            time: Arc::new(LeaderTime::new(seams.clock.clone())),
            seams: seams.clone(),
        };
        let vigil = Vigil::new(config.node, config.detect, &outbox);
        let tasks = begin(outbox, &vigil, frames);
        let Config { node, name, homes, floating, region, supports, .. } = config;
        let asked = proposer.ask(Command::Boot(Boot { nonce, name, homes, floating, region, supports }));
        let booted = match futures::future::select(pin!(asked), pin!(ended(&raft, &log, &seams))).await {
            Either::Left((Some(Outcome::Booted(booted)), _)) => booted,
            other => {
                tasks.iter().for_each(|task| task.abort());
                raft.stop().await;
                return Err(match other {
                    Either::Left((refused, _)) => why_not(node, refused),
                    Either::Right((stopped, _)) => RaftError::Stopped(stopped).into(),
                });
            }
        };
        vigil.begin(booted.incarnation);
        tracing::info!(%node, incarnation = booted.incarnation.0, "part of the cluster");
        let shared = Arc::new(Shared {
            node,
            booted,
            log,
            raft,
            replica,
            proposer,
            projection,
            vigil,
            tasks: Mutex::new(tasks),
            snapshot_every: config.snapshot_every,
            course: Course::default(),
            failed: Mutex::default(),
            failing: Notify::new(),
            seams,
        });
        let upkeep = keep_up(Arc::downgrade(&shared), shared.seams.clone());
        let upkeep = shared.seams.spawn.spawn("upkeep", Box::pin(upkeep));
        shared.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(upkeep);
        Ok(Cluster { shared })
    }

    /// Which node this is.
    pub fn node(&self) -> NodeId {
        self.shared.node
    }

    /// What this process learned from its boot: its incarnation, and the homes that it holds.
    pub fn booted(&self) -> &Booted {
        &self.shared.booted
    }

    /// Where this node proposes.
    pub fn proposer(&self) -> &Proposer {
        &self.shared.proposer
    }

    /// Looks at the state. Short: `apply` waits meanwhile. Long work goes on copies of its `Arc`s.
    pub fn read<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        self.shared.replica.read(look)
    }

    /// Whether this node may speak for its homes now: it holds a lease. Asked before each batch of sends. Alone,
    /// it always may.
    pub fn may_speak(&self) -> bool {
        self.shared.seams.frames.is_none() || self.shared.vigil.may_speak()
    }

    /// Until when this node may speak for its homes, as far as it knows now. Alone, it may for ever: that is said
    /// anew each time.
    pub fn speaks_until(&self) -> Option<Instant> {
        match self.shared.seams.frames {
            Some(_) => self.shared.vigil.speaks_until(),
            None => Some(self.shared.seams.clock.now() + ALONE_FOR),
        }
    }

    /// How long this node's lease still runs by its own clock, if it may speak now.
    pub fn lease_left(&self) -> Option<Duration> {
        self.shared.vigil.lease_left()
    }

    /// For how long this node, if it leads, counts on a lease of another, and does not evict it.
    pub fn lease_of(&self, node: NodeId) -> Option<Duration> {
        self.shared.vigil.lease_of(node)
    }

    /// Entries of the log below this index are on this node's disk.
    pub fn durable(&self) -> u64 {
        self.shared.log.durable()
    }

    /// A guard's word, which the caller has found to be authentic: this life of a node has ended, and its floating
    /// addresses are gone. The node may be evicted at once. Said again, or of an earlier life, it changes nothing.
    pub fn died(&self, node: NodeId, incarnation: Incarnation) {
        self.shared.vigil.died(node, incarnation);
    }

    /// Until when this node may speak for its homes, if it may; how the other nodes seem.
    pub fn standing(&self) -> Standing {
        self.shared.vigil.standing()
    }

    /// Sends a frame to another node's [`FrameSink`]. `false` if it is lost: that node can't be reached now.
    pub fn send(&self, to: NodeId, purpose: Purpose, bytes: Vec<u8>) -> bool {
        self.shared.seams.frames.as_ref().is_some_and(|frames| frames.send(to.0, purpose, bytes))
    }

    /// Whether a node can be reached now.
    pub fn is_linked(&self, node: NodeId) -> bool {
        self.shared.seams.frames.as_ref().is_some_and(|frames| frames.is_up(node.0))
    }

    /// The cluster's time as far as this node can tell: that of the last batch, and what has passed since.
    pub fn time(&self) -> ClusterTime {
        let (time, at) = self.shared.replica.heard();
        ClusterTime(time.0 + self.shared.seams.clock.now().since(at).as_millis() as u64)
    }

    /// Falls silent for good and says so, so that others take what this node held without waiting until it is
    /// held dead. False if that could not be said.
    pub async fn leave(&self) -> bool {
        self.shared.vigil.rest();
        let deadline = self.shared.seams.clock.now() + LEAVE_MAX;
        tokio::select! {
            biased;
            outcome = self.shared.proposer.ask(Command::Leave) => matches!(outcome, Some(Outcome::Done)),
            () = self.shared.seams.spawn.sleep_until(deadline) => {
                self.shared.course.unheard.store(true, Ordering::Relaxed);
                false
            }
        }
    }

    /// Lets a node into the cluster: it learns the log, then votes if fewer than five do. Its process must be
    /// running, with [`Config::joins`].
    ///
    /// # Errors
    /// The members can't change now.
    pub async fn join(&self, node: NodeId, at: SocketAddr) -> Result<(), ChangeError> {
        self.change(Change::Join(node, at)).await
    }

    /// Takes a node out of the members for good. Drain it first: what it holds is not asked for here.
    ///
    /// # Errors
    /// The members can't change now, or the node is none.
    pub async fn remove(&self, node: NodeId) -> Result<(), ChangeError> {
        self.change(Change::Remove(node)).await
    }

    async fn change(&self, change: Change) -> Result<(), ChangeError> {
        let (clock, spawn) = (&self.shared.seams.clock, &self.shared.seams.spawn);
        let deadline = clock.now() + CHANGE_MAX;
        loop {
            let result = match self.shared.raft.leader().0 {
                Leader::Me => self.shared.raft.change(change).await,
                Leader::Other(leader) => self.shared.raft.change_at(leader, change).await,
                Leader::Unknown => Err(ChangeError::NoLeader),
            };
            match result {
                // An election or another change takes a moment.
                Err(ChangeError::NoLeader | ChangeError::Busy) if clock.now() < deadline => {
                    spawn.sleep_until(clock.now() + CHANGE_AGAIN).await;
                }
                result => return result,
            }
        }
    }

    /// Puts resources in place, all or nothing. `None` if this process was fenced off meanwhile.
    pub async fn put(&self, set: Vec<Resource>) -> Option<Result<Vec<trunk::Applied>, trunk::ApplyError>> {
        match self.shared.proposer.ask(Command::PutResources(set)).await? {
            Outcome::Put(result) => Some(result),
            _ => None,
        }
    }

    /// Puts a backup into an empty cluster. `None` if this process was fenced off meanwhile.
    pub async fn restore(&self, backup: Restore) -> Option<Result<(), Refused>> {
        match self.shared.proposer.ask(Command::Restore(Box::new(backup))).await? {
            Outcome::Refused(why) => Some(Err(why)),
            _ => Some(Ok(())),
        }
    }

    /// What putting resources in place would do.
    ///
    /// # Errors
    /// They can't be applied.
    pub fn rehearse(&self, set: Vec<Resource>) -> Result<Vec<trunk::Applied>, trunk::ApplyError> {
        let resources = self.read(|state| state.resources().clone());
        Arc::unwrap_or_clone(resources).apply(set)
    }

    /// Removes a resource. `None` if this process was fenced off meanwhile.
    pub async fn delete(&self, kind: Kind, name: String) -> Option<Result<(), trunk::DeleteError>> {
        match self.shared.proposer.ask(Command::DeleteResource { kind, name }).await? {
            Outcome::Deleted(result) => Some(result),
            _ => None,
        }
    }

    /// CDRs in their JSON form, oldest first: from the files, then those not yet written. Blocks while it
    /// reads: for a thread that may.
    ///
    /// # Errors
    /// A file can't be read.
    pub fn cdrs(&self, filter: &CdrFilter) -> Result<Vec<serde_json::Value>, ProjectionError> {
        // The state first: what is written in between is found in both and told apart by its number.
        let waiting: Vec<_> =
            self.read(|state| state.cdrs().map(|(number, cdr)| (number, cdr.clone())).collect());
        let mut found = self.shared.projection.find(filter)?;
        let seq = |cdr: &serde_json::Value| cdr.get("seq").and_then(serde_json::Value::as_u64);
        let written = self.shared.projection.durable().min(waiting.first().map_or(u64::MAX, |(n, _)| n - 1));
        found.retain(|cdr| seq(cdr).is_some_and(|seq| seq <= written));
        let rest = waiting.iter().filter(|(number, _)| *number > written);
        found.extend(rest.map(|(number, cdr)| to_json(*number, cdr)).filter(|cdr| filter.matches(cdr)));
        if let Some(limit) = filter.limit {
            found.drain(..found.len().saturating_sub(limit));
        }
        Ok(found)
    }

    /// How the membership is.
    pub fn health(&self) -> Health {
        let failed = self.shared.failed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match (failed, self.shared.log.health()) {
            (Some(why), _) => Health::Failed(why),
            (None, LogHealth::Full) => Health::DiskFull,
            (None, LogHealth::Failed(kind)) => Health::Failed(format!("the log can't be written: {kind}")),
            (None, LogHealth::Writing) if self.read(|state| state.cdrs().len()) >= CDRS_MAX => {
                Health::CdrsPile
            }
            (None, LogHealth::Writing) => Health::Ready,
        }
    }

    /// What the membership is doing.
    pub fn status(&self) -> Status {
        let (leader, term) = self.shared.raft.leader();
        Status {
            health: self.health(),
            leads: leader == Leader::Me,
            leader: match leader {
                Leader::Me => Some(self.shared.node),
                Leader::Other(node) => Some(node),
                Leader::Unknown => None,
            },
            term,
            members: self.shared.raft.members(),
            applied: self.shared.replica.applied(),
            backlog: self.shared.proposer.backlog(),
            syncs: self.shared.log.syncs().sample(),
            commits: self.shared.proposer.commits(),
            cdrs_waiting: self.read(|state| state.cdrs().len()),
        }
    }

    /// Waits until the membership has failed for good; gives the sentence to end with.
    pub async fn failed(&self) -> String {
        loop {
            let failing = self.shared.failing.notified();
            if let Health::Failed(why) = self.health() {
                return why;
            }
            failing.await;
        }
    }

    /// Writes what is left to write and ends. Proposals that are under way are found again at the next start.
    pub async fn close(&self) {
        let deadline = self.shared.seams.clock.now() + CLOSE_MAX;
        while self.shared.seams.clock.now() < deadline {
            self.shared.projection.flush();
            let made = self.read(State::cdrs_made);
            // Nothing more is committed where not even a farewell was.
            let is_settled = self.shared.course.unheard.load(Ordering::Relaxed)
                || self.shared.proposer.backlog().commands == 0;
            if is_settled && self.shared.projection.durable() >= made {
                break;
            }
            self.shared.seams.spawn.sleep_until(self.shared.seams.clock.now() + CLOSE_STEP).await;
        }
        self.shared.raft.hand_over().await;
        self.shared.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..).for_each(|t| t.abort());
        // What waits for room on a full disk is answered by nobody any more: the process ends without it, as it
        // would by a crash.
        let end = self.shared.seams.spawn.sleep_until(self.shared.seams.clock.now() + CLOSE_MAX);
        futures::future::select(pin!(self.shared.raft.stop()), end).await;
    }
}

/// How far a membership has come.
#[derive(Default)]
struct Course {
    /// How many bytes of the log the newest snapshot had behind it.
    snapshot_at: AtomicU64,
    /// Whether this node's farewell was not committed.
    unheard: AtomicBool,
}

impl Shared {
    /// What only a leader does now and then.
    fn lead(&self) {
        if self.raft.leader().0 != Leader::Me || self.proposer.backlog().commands > 0 {
            return;
        }
        if let Some(version) = self.replica.read(State::version_to_raise) {
            tracing::info!(
                version,
                "every node supports the next version of commands: it counts from here on"
            );
            self.proposer.tell(Command::RaiseVersion(version), Urgency::Lazy);
        } else if self.seams.clock.now().since(self.replica.heard().1) >= IDLE {
            // What ends by time (windows, answers that are kept) ends in an idle cluster too.
            self.proposer.tell(Command::Tick, Urgency::Lazy);
        }
    }
}

fn chance(seams: &Seams) -> Rng {
    let mut seed = [0; 32];
    seams.entropy.fill(&mut seed);
    Rng::seeded(seed)
}

/// What a process knows before it is part of the cluster.
struct Recalled {
    log: Log,
    place: Place,
    proposer: Proposer,
    projection: Arc<Projection>,
    replica: Arc<Replica>,
}

/// Opens what the disk holds.
async fn recall(
    config: &Config,
    seams: &Seams,
    sink: Box<dyn Applied>,
    chance: &mut Rng,
) -> Result<Recalled, OpenError> {
    let (disk, clock) = (seams.disk.clone(), seams.clock.clone());
    let log = Log::open(disk.clone(), clock.clone(), config.segment_len, chance.next_u64())
        .await
        .map_err(RaftError::Log)?;
    let (state, place) = find_snapshot(&*disk)?.split();
    let projection = Projection::open(disk, config.cdr_file_len).await?;
    let proposer = Proposer::new(clock.clone(), config.pace, config.node);
    let (told, cdrs) = (proposer.clone(), projection.clone());
    let replica = Arc::new(Replica::new(config.node, clock, state, sink, told, cdrs));
    Ok(Recalled { log, place, proposer, projection, replica })
}

fn why_not(node: NodeId, refused: Option<Outcome>) -> OpenError {
    match refused {
        Some(Outcome::Refused(refused)) => OpenError::Refused(refused),
        _ => OpenError::Fenced(node),
    }
}

/// Waits until consensus ends, as it does where the disk fails: then nobody answers any more. Meanwhile what a full disk
/// has refused is tried again.
async fn ended(raft: &Raft, log: &Log, seams: &Seams) -> Stopped {
    loop {
        if let Some(stopped) = raft.stopped() {
            return stopped;
        }
        seams.spawn.sleep_until(seams.clock.now() + UPKEEP).await;
        log.retry();
    }
}

/// Starts what a node does all the time.
fn begin(outbox: Outbox, vigil: &Arc<Vigil>, frames: Arc<dyn FrameSink>) -> Vec<Box<dyn Task>> {
    let spawn = outbox.seams.spawn.clone();
    let rounds = outbox.rounds.clone().run(outbox.raft.clone(), outbox.seams.clone());
    let mut tasks = vec![
        spawn.spawn("proposer", Box::pin(outbox.clone().run())),
        spawn.spawn("rounds", Box::pin(rounds)),
    ];
    if let Some(links) = outbox.seams.frames.clone() {
        let dispatch = Dispatch::new(links, outbox.clone(), vigil.clone(), frames);
        tasks.push(spawn.spawn("links", Box::pin(dispatch.run())));
        tasks.push(spawn.spawn("vigil", Box::pin(vigil.clone().run())));
    }
    tasks.push(spawn.spawn("leader", Box::pin(outbox.follow())));
    tasks
}

/// Tries a full disk again for as long as it is kept.
struct Retries(Box<dyn Task>);

impl Retries {
    fn begin(log: &Log, seams: &Seams) -> Retries {
        let (log, spawn, clock) = (log.clone(), seams.spawn.clone(), seams.clock.clone());
        let retries = async move {
            loop {
                spawn.sleep_until(clock.now() + UPKEEP).await;
                log.retry();
            }
        };
        Retries(seams.spawn.spawn("retries", Box::pin(retries)))
    }
}

impl Drop for Retries {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What is done now and then: CDRs are written, a full disk is tried again, snapshots are asked for.
async fn keep_up(shared: std::sync::Weak<Shared>, seams: Seams) {
    let mut was_half = false;
    loop {
        seams.spawn.sleep_until(seams.clock.now() + UPKEEP).await;
        let Some(shared) = shared.upgrade() else { return };
        if let Some(stopped) = shared.raft.stopped() {
            let mut failed = shared.failed.lock().unwrap_or_else(PoisonError::into_inner);
            failed.get_or_insert_with(|| stopped.to_string());
        }
        let half = shared.raft.leader().0 == Leader::Me && shared.raft.is_half_changed();
        if half && was_half {
            shared.raft.end_change().await;
        }
        was_half = half;
        shared.lead();
        shared.projection.flush();
        let peers: Vec<u64> = shared.raft.peers().iter().map(|peer| peer.node).collect();
        if let Some((node, span)) = shared.projection.wants(seams.clock.now(), &peers) {
            shared.raft.ask_cdrs(NodeId(node), span);
        }
        shared.log.retry();
        let durable = shared.projection.durable();
        let known = shared.replica.read(|state| {
            state.nodes().find(|(id, _)| *id == shared.node).map_or(0, |(_, node)| node.cdrs_durable)
        });
        if durable > known && shared.proposer.backlog().commands < REPORT_MAX {
            shared.proposer.tell(Command::CdrsDurable(durable), Urgency::Lazy);
        }
        let written = shared.log.syncs().sample().bytes;
        if written.saturating_sub(shared.course.snapshot_at.load(Ordering::Relaxed)) >= shared.snapshot_every
        {
            shared.course.snapshot_at.store(written, Ordering::Relaxed);
            if let Err(error) = shared.raft.snapshot().await {
                tracing::warn!(%error, "no snapshot is made");
            }
        }
        let over = shared.failed.lock().unwrap_or_else(PoisonError::into_inner).is_some()
            || matches!(shared.log.health(), LogHealth::Failed(_));
        if over {
            shared.failing.notify_waiters();
        }
    }
}

/// For how long a node that is alone may speak without being asked again.
const ALONE_FOR: Duration = Duration::from_secs(2);
const UPKEEP: Duration = Duration::from_millis(250);
const CHANGE_MAX: Duration = Duration::from_secs(5);
const CHANGE_AGAIN: Duration = Duration::from_millis(50);
/// After so long without a batch the leader proposes the time.
const IDLE: Duration = Duration::from_secs(10);
const LEAVE_MAX: Duration = Duration::from_secs(1);
const CLOSE_MAX: Duration = Duration::from_secs(5);
const CLOSE_STEP: Duration = Duration::from_millis(10);
/// While the log is slow, reports of CDRs do not add to it.
const REPORT_MAX: usize = 1000;
/// So many CDRs may wait before readiness goes off.
const CDRS_MAX: usize = 1_000_000;

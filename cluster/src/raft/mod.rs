//! Consensus by openraft: the only place that names it.
//!
//! `enable_leader_restore` is off: a restarted leader that skips its election may have lost entries that it
//! had sent before its own write, and would write others at their indexes.

mod desk;
mod exchange;
mod frame;
mod machine;
mod members;
mod network;
mod parcel;
mod pipeline;
mod runtime;
mod store;
mod types;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use ::machine::Instant;
use ::machine::museum::planted;
use call::{Incarnation, NodeId};
use env::{Disk, Peer, Purpose};
use openraft::async_runtime::WatchReceiver;
use openraft::metrics::RaftServerMetrics;
use openraft::raft::{ClientWriteResult, TransferLeaderRequest};
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::WatchReceiverOf;
use openraft::{Config, ServerState, SnapshotPolicy};
use thiserror::Error;

use crate::cluster::Seams;
use crate::command::{Batch, Stamped};
use crate::lease;
use crate::log::{Log, LogError};
use crate::projection::{Lines, Span};
use crate::replica::Replica;
use crate::state::State;
use exchange::Exchange;
use frame::{Answer, Frame, Request};
use machine::{Machine, newest};
use network::Network;
use parcel::Inbox;
use runtime::Ambient;
use store::Store;
use types::{Entry, Told, TypeConfig};

pub(crate) use desk::Desk;
pub use machine::UnusableSnapshot;
pub(crate) use members::Change;
pub use members::{ChangeError, Member};

/// Why consensus can't begin.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RaftError {
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The newest snapshot.
    #[error(transparent)]
    Snapshot(#[from] UnusableSnapshot),
    /// openraft stopped at once.
    #[error("consensus can't begin: {0}")]
    Stopped(Stopped),
}

/// openraft has stopped, and says why.
#[derive(Clone, Debug, Error)]
#[error("{0}")]
pub struct Stopped(Arc<str>);

impl Stopped {
    fn new(why: &impl ToString) -> Stopped {
        Stopped(why.to_string().into())
    }
}

/// A snapshot that was found on disk, to begin with.
pub(crate) struct Found {
    pub(crate) state: State,
    place: Option<(machine::Label, machine::SnapshotFile)>,
}

/// Reads the newest snapshot.
pub(crate) fn find_snapshot(disk: &dyn Disk) -> Result<Found, UnusableSnapshot> {
    Ok(match newest(disk)? {
        Some((state, label, file)) => Found { state, place: Some((label, file)) },
        None => Found { state: State::default(), place: None },
    })
}

/// A node's part in consensus.
#[derive(Clone)]
pub(crate) struct Raft {
    raft: openraft::Raft<TypeConfig, Machine>,
    ambient: Arc<Ambient>,
    exchange: Arc<Exchange>,
    inbox: Inbox,
    server: ServerMetrics,
    node: NodeId,
    /// It was let in by others, and founded nothing.
    joins: bool,
}

type ServerMetrics = WatchReceiverOf<TypeConfig, RaftServerMetrics<TypeConfig>>;

/// What a node begins with.
pub(crate) struct Beginning {
    pub(crate) node: NodeId,
    pub(crate) peers: Vec<Peer>,
    pub(crate) joins: bool,
    pub(crate) detect: Duration,
    pub(crate) log: Log,
    pub(crate) seams: Seams,
    pub(crate) chance: ::machine::Rng,
    pub(crate) replica: Arc<Replica>,
    pub(crate) place: Place,
}

/// Who leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leader {
    /// This node.
    Me,
    /// Another.
    Other(NodeId),
    /// Nobody that this node knows of.
    Unknown,
}

/// A frame that is for others than Raft itself.
pub(crate) enum Received {
    /// Commands of another node.
    Proposed(Arc<Stamped>),
    /// This node's batch of that number did not reach the log.
    Refused(Incarnation, u64),
    /// Another node asks for its lease.
    Asked(lease::Ask),
    /// The leader's answer to this node.
    Leased(lease::Answer),
    /// Another node never applied these CDRs.
    Missing(Span),
    /// What another node has of the CDRs that this one never applied.
    Found(Lines),
}

impl Raft {
    /// Begins: what is committed is applied, then a sole voter stands for election; others wait for each
    /// other.
    pub(crate) async fn start(begin: Beginning) -> Result<Raft, RaftError> {
        let Beginning { node, peers, joins, detect, log, seams, mut chance, replica, place } = begin;
        if let Some(links) = &seams.frames {
            // Until the log says more.
            let others: Vec<_> = peers.iter().filter(|it| it.node != node.0).copied().collect();
            links.set_peers(&others);
        }
        let first_ticket = chance.next_u64();
        let ambient = Ambient::new(seams.spawn.clone(), chance);
        let detect = if seams.frames.is_some() { detect } else { ALONE };
        let config = config(detect).validate();
        let config = Arc::new(config.map_err(|error| RaftError::Stopped(Stopped::new(&error)))?);
        let (clock, spawn, linked) = (seams.clock.clone(), seams.spawn.clone(), seams.frames.is_some());
        let exchange = Exchange::new(seams.frames, clock, spawn, first_ticket);
        let disk = seams.disk.clone();
        let network = Network { exchange: exchange.clone(), disk: disk.clone(), patience: detect };
        let inbox = Inbox::new(disk);
        let machine = Machine::new(replica, seams.disk, place.0);
        let started = openraft::Raft::new(node.0, config, network, Store::new(log, linked), machine);
        let raft = ambient.scope(started).await.map_err(|error| RaftError::Stopped(Stopped::new(&error)))?;
        let server = raft.server_metrics();
        let raft = Raft { raft, ambient, exchange, inbox, server, node, joins };
        // Without links there are no others.
        let peers = if linked { peers } else { Vec::new() };
        raft.stand(&peers, joins).await.map_err(RaftError::Stopped)?;
        Ok(raft)
    }

    /// Founds the cluster, if that is this node's part. A sole voter need not wait for anybody: it stands for
    /// election at once.
    async fn stand(&self, peers: &[Peer], joins: bool) -> Result<(), Stopped> {
        let stopped = |error: &dyn std::fmt::Display| Stopped::new(&error.to_string());
        let own = Peer { node: self.node.0, at: std::net::SocketAddr::from(([0; 4], 0)) };
        let founder = peers.iter().min().unwrap_or(&own);
        let begin = async {
            let is_initialized = self.raft.is_initialized().await.map_err(|error| stopped(&error))?;
            let known = self.raft.with_raft_state(|state| {
                state.membership_state.effective().voter_ids().collect::<BTreeSet<_>>()
            });
            let mut voters = known.await.map_err(|error| stopped(&error))?;
            if !is_initialized && !joins && founder.node == self.node.0 {
                let mut members: BTreeMap<_, _> =
                    peers.iter().map(|peer| (peer.node, types::Place { at: Some(peer.at) })).collect();
                members.entry(self.node.0).or_insert(types::Place { at: None });
                voters = members.keys().copied().collect();
                self.raft.initialize(members).await.map_err(|error| stopped(&error))?;
            } else if is_initialized && voters == BTreeSet::from([self.node.0]) {
                self.raft.trigger().elect(false).await.map_err(|error| stopped(&error))?;
            }
            if voters != BTreeSet::from([self.node.0]) {
                tracing::info!(?voters, "waiting until a majority of the voters is there");
                return Ok(());
            }
            let wait = self.raft.wait(Some(ELECTION_MAX));
            let led = wait.state(ServerState::Leader, "the sole voter leads").await;
            led.map(drop).map_err(|error| stopped(&error))
        };
        self.ambient.scope(begin).await
    }

    /// Hands a batch to the log. `told` hears whether it was applied; it was not if this node does not lead.
    pub(crate) async fn submit(
        &self,
        stamped: Arc<Stamped>,
        told: impl FnOnce(bool) + Send + 'static,
    ) -> Result<(), Stopped> {
        let told = Told::new(|result: ClientWriteResult<TypeConfig>| told(result.is_ok()));
        let written = self.raft.client_write_ff(Entry(stamped), Some(told));
        self.ambient.scope(written).await.map_err(|error| Stopped::new(&error))
    }

    /// Sends a batch to the node that leads; `false` if it is lost.
    pub(crate) fn propose_to(&self, leader: NodeId, stamped: Arc<Stamped>) -> bool {
        self.exchange.send(leader.0, Purpose::Raft, &Frame::Propose(stamped))
    }

    /// Tells a node that its batch did not reach the log.
    pub(crate) fn refuse(&self, node: NodeId, batch: &Batch) {
        // Lost, the node finds out by waiting.
        self.exchange.send(node.0, Purpose::Raft, &Frame::Refused(batch.incarnation, batch.seq));
    }

    /// Asks the node that leads for a lease.
    pub(crate) fn ask_lease(&self, leader: NodeId, ask: lease::Ask) {
        self.exchange.send(leader.0, Purpose::Raft, &Frame::Lease(ask));
    }

    /// Answers a node that asked for a lease.
    pub(crate) fn answer_lease(&self, node: NodeId, answer: lease::Answer) {
        self.exchange.send(node.0, Purpose::Raft, &Frame::Leased(answer));
    }

    /// Asks a node for CDRs that this one never applied.
    pub(crate) fn ask_cdrs(&self, node: NodeId, span: Span) {
        self.exchange.send(node.0, Purpose::Snapshot, &Frame::Missing(span));
    }

    /// Answers a node that asked for CDRs.
    pub(crate) fn answer_cdrs(&self, node: NodeId, lines: Lines) {
        self.exchange.send(node.0, Purpose::Snapshot, &Frame::Found(lines));
    }

    /// When the newest entries or heartbeat of a term were sent that a majority has acknowledged, this node
    /// included: of both memberships, while they change.
    pub(crate) fn acknowledged(&self, term: u64, now: Instant) -> Option<Instant> {
        let server = self.server.borrow_watched();
        let by = |voter: &u64| match *voter == self.node.0 {
            true => Some(now),
            false => self.exchange.acknowledged(NodeId(*voter), term),
        };
        let of_majority = |voters: &BTreeSet<u64>| {
            let mut times: Vec<_> = voters.iter().map(by).collect();
            times.sort_unstable_by(|a, b| b.cmp(a));
            times.get(voters.len() / 2).copied().flatten()
        };
        let configs = server.membership_config.membership().get_joint_config();
        configs.iter().map(of_majority).min().flatten()
    }

    /// Who leads now, and in which term.
    pub(crate) fn leader(&self) -> (Leader, u64) {
        let server = self.server.borrow_watched();
        let leader = match server.current_leader {
            Some(leader) if leader != self.node.0 => Leader::Other(NodeId(leader)),
            Some(_) if server.state == ServerState::Leader => Leader::Me,
            _ => Leader::Unknown,
        };
        (leader, server.vote.leader_id.term)
    }

    /// Waits until another leads, or the members are others. `false` once Raft has ended.
    pub(crate) async fn changed(&mut self) -> bool {
        self.server.changed().await.is_ok()
    }

    /// Whom this node is to be linked with.
    pub(crate) fn peers(&self) -> Vec<Peer> {
        let server = self.server.borrow_watched();
        let nodes = server.membership_config.membership().nodes();
        let peer = |(id, place): (&u64, &types::Place)| Some(Peer { node: *id, at: place.at? });
        nodes.filter_map(peer).filter(|peer| peer.node != self.node.0).collect()
    }

    /// Where requests of other nodes are answered.
    pub(crate) fn desk(&self) -> Desk {
        Desk::new(self.exchange.clone())
    }

    /// Takes a frame that came for Raft.
    pub(crate) fn receive(
        &self,
        desk: &mut Desk,
        from: NodeId,
        bytes: &[u8],
        cx: &mut Context<'_>,
    ) -> Option<Received> {
        match Frame::decode(bytes) {
            Ok(Frame::Ask(ticket, request)) => desk.take(from.0, ticket, self.answer(from, request), cx),
            Ok(Frame::Answer(ticket, answer)) => self.exchange.answered(from.0, ticket, answer),
            Ok(Frame::Propose(stamped)) => return Some(Received::Proposed(stamped)),
            Ok(Frame::Refused(incarnation, seq)) => return Some(Received::Refused(incarnation, seq)),
            Ok(Frame::Lease(ask)) => return Some(Received::Asked(ask)),
            Ok(Frame::Leased(answer)) => return Some(Received::Leased(answer)),
            Ok(Frame::Missing(span)) => return Some(Received::Missing(span)),
            Ok(Frame::Found(lines)) => return Some(Received::Found(lines)),
            Err(error) => desk.complain(from.0, error),
        }
        None
    }

    /// Makes the answer to a request.
    fn answer(&self, from: NodeId, request: Request) -> desk::Making {
        let (raft, inbox, members) = (self.raft.clone(), self.inbox.clone(), self.clone());
        Box::pin(async move {
            if matches!(request, Request::Vote(_) | Request::PreVote(_)) && members.is_newcomer().await {
                return None;
            }
            // If Raft has stopped there is nothing to say.
            match request {
                Request::Append(request) => raft.append_entries(request).await.ok().map(Answer::Appended),
                Request::Mention(request) => {
                    let answer = raft.append_entries(request).await.ok();
                    answer.filter(|answer| !answer.is_success()).map(Answer::Appended)
                }
                Request::Vote(request) => raft.vote(request).await.ok().map(Answer::Voted),
                Request::PreVote(request) => raft.pre_vote(request).await.ok().map(Answer::Voted),
                Request::Transfer(request) => {
                    raft.handle_transfer_leader(request).await.ok().map(Answer::Transferred)
                }
                Request::Change(change) => Some(Answer::Changed(members.change(change).await)),
                Request::Chunk(chunk) => Some(inbox.take(from, chunk).await),
                Request::Delivered(delivered) => inbox.install(from, &raft, delivered).await,
            }
        })
    }

    /// Whether it knows of no member yet, and has founded nothing. Its vote would be that of an earlier node of the same
    /// id, which has promised what this one does not know of: a voter that has slept through the other's removal
    /// would be elected by it.
    async fn is_newcomer(&self) -> bool {
        self.joins && !self.raft.is_initialized().await.unwrap_or(false)
    }

    /// The link to a node is gone.
    pub(crate) fn lost(&self, node: NodeId) {
        self.exchange.lost(node.0);
    }

    /// Runs a task that may call into Raft.
    pub(crate) async fn scope<F: Future>(&self, task: F) -> F::Output {
        self.ambient.scope(task).await
    }

    /// Asks for a snapshot; the log before it goes once it is on disk.
    pub(crate) async fn snapshot(&self) -> Result<(), Stopped> {
        let asked = async { self.raft.trigger().snapshot().await };
        self.ambient.scope(asked).await.map_err(|error| Stopped::new(&error))
    }

    /// Why it has stopped, if it has.
    pub(crate) fn stopped(&self) -> Option<Stopped> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.running_state.as_ref().err().map(Stopped::new)
    }

    /// Hands the lead to the voter that is furthest, if this node leads and there is another.
    pub(crate) async fn hand_over(&self) {
        if self.leader().0 != Leader::Me || self.stopped().is_some() {
            return;
        }
        let members = self.members();
        let others = members.iter().filter(|it| it.is_voter && it.node != self.node && it.matched.is_some());
        let Some(heir) = others.max_by_key(|it| (it.matched, std::cmp::Reverse(it.node))) else { return };
        if self.scope(self.raft.trigger().transfer_leader(heir.node.0)).await.is_err() {
            return;
        }
        let mut raft = self.clone();
        let over = async { while raft.leader().0 == Leader::Me && raft.changed().await {} };
        if TypeConfig::timeout(HAND_OVER_WITHIN, over).await.is_err() {
            tracing::warn!(heir = %heir.node, "the lead could not be handed over");
        }
    }

    /// Stands for election in the place of a leader whose process has ended, as if it had handed over its lead:
    /// the others vote without waiting for its silence. Votes need no such wait to be safe.
    pub(crate) async fn succeed(&self) {
        let known = self.raft.with_raft_state(|state| *state.vote_ref());
        let stand = async {
            // How far the leader's log went, nobody can say: whoever has less than a voter is refused by it.
            let request = TransferLeaderRequest::new(known.await.ok()?, self.node.0, None);
            self.raft.handle_transfer_leader(request).await.ok()
        };
        // One that stops or has voted since need not stand.
        let _ = self.ambient.scope(stand).await;
    }

    /// Ends; what is not committed is found again at the next start.
    pub(crate) async fn stop(&self) {
        // openraft may panic when it is asked about a core that has failed, if somebody asked before and did not wait
        // for the answer: it is left alone then.
        if self.stopped().is_none() {
            // Whether it stops of itself meanwhile makes no difference.
            let _ = self.ambient.scope(self.raft.shutdown()).await;
        }
    }
}

/// Raft's settings: all times derive from how soon a silent node must count as dead.
fn config(detect: Duration) -> Config {
    let permille = |n: u64| (detect.as_millis() as u64 * n / 1000).max(n / 40);
    Config {
        cluster_name: "banyan".to_owned(),
        heartbeat_interval: permille(80),
        // A follower waits for the greater of these and then, in addition, for something between both: with the
        // default it stands for election after 130 to 160 ms of silence, before the leases that it was granted
        // have run out.
        election_timeout_min: permille(100),
        election_timeout_max: permille(160),
        enable_pre_vote: Some(true),
        enable_leader_restore: Some(planted("leader-restored")),
        // A member whose disk was wiped must not take the leader's process with it.
        allow_log_reversion: Some(true),
        max_payload_entries: PAYLOAD_ENTRIES_MAX,
        // Snapshots are asked for by the log's length in bytes.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: 1000,
        ..Config::default()
    }
}

/// Where the state that was found stands in the log.
pub(crate) struct Place(Option<(machine::Label, machine::SnapshotFile)>);

impl Found {
    pub(crate) fn split(self) -> (State, Place) {
        (self.state, Place(self.place))
    }
}

/// Those who are left elect one of them by themselves.
const HAND_OVER_WITHIN: Duration = Duration::from_millis(500);
const ELECTION_MAX: Duration = Duration::from_secs(30);
/// Without links there is nobody to detect: Raft's clock may tick slowly.
const ALONE: Duration = Duration::from_secs(7);
/// Entries in one request to a follower.
const PAYLOAD_ENTRIES_MAX: u64 = 128;

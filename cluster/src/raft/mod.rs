//! Consensus by openraft: the only place that names it.
//!
//! `enable_leader_restore` is off: a restarted leader that skips its election may have lost entries that it
//! had sent before its own write, and would write others at their indexes.

mod machine;
mod network;
mod runtime;
mod store;
mod types;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use call::NodeId;
use env::{Disk, Spawn};
use openraft::async_runtime::WatchReceiver;
use openraft::{Config, ServerState, SnapshotPolicy};
use thiserror::Error;

use crate::command::Stamped;
use crate::log::{Log, LogError};
use crate::replica::Replica;
use crate::state::State;
use machine::{Machine, newest};
use runtime::Ambient;
use store::Store;
use types::{Entry, TypeConfig};

pub use machine::UnusableSnapshot;

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
    node: u64,
}

impl Raft {
    /// Begins: what is committed is applied, then this node stands for election.
    pub(crate) async fn start(
        node: NodeId,
        log: Log,
        disk: Arc<dyn Disk>,
        spawn: Arc<dyn Spawn>,
        chance: ::machine::Rng,
        replica: Arc<Replica>,
        place: Place,
    ) -> Result<Raft, RaftError> {
        let ambient = Ambient::new(spawn, chance);
        let config = Config {
            cluster_name: "banyan".to_owned(),
            heartbeat_interval: 500,
            election_timeout_min: 1500,
            election_timeout_max: 3000,
            enable_pre_vote: Some(true),
            enable_leader_restore: Some(false),
            // Snapshots are asked for by the log's length in bytes.
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: 1000,
            ..Config::default()
        };
        let config = Arc::new(config.validate().map_err(|error| RaftError::Stopped(Stopped::new(&error)))?);
        let machine = Machine::new(replica, disk, place.0);
        let started = openraft::Raft::new(node.0, config, network::Alone, Store::new(log), machine);
        let raft = ambient.scope(started).await.map_err(|error| RaftError::Stopped(Stopped::new(&error)))?;
        let raft = Raft { raft, ambient, node: node.0 };
        raft.stand().await.map_err(RaftError::Stopped)?;
        Ok(raft)
    }

    /// A sole voter need not wait for anybody: it stands for election at once.
    async fn stand(&self) -> Result<(), Stopped> {
        let stopped = |error: &dyn std::fmt::Display| Stopped::new(&error.to_string());
        let begin = async {
            if self.raft.is_initialized().await.map_err(|error| stopped(&error))? {
                self.raft.trigger().elect(false).await.map_err(|error| stopped(&error))?;
            } else {
                let members = BTreeSet::from([self.node]);
                self.raft.initialize(members).await.map_err(|error| stopped(&error))?;
            }
            let wait = self.raft.wait(Some(ELECTION_MAX));
            wait.state(ServerState::Leader, "the sole voter leads").await.map_err(|error| stopped(&error))
        };
        self.ambient.scope(begin).await.map(|_| ())
    }

    /// Hands a batch to the leader. Nothing is said of its fate here: it is applied, or sent again.
    pub(crate) async fn submit(&self, stamped: Arc<Stamped>) -> Result<(), Stopped> {
        let written = self.raft.client_write_ff(Entry(stamped), None);
        self.ambient.scope(written).await.map_err(|error| Stopped::new(&error))
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

    /// Whether this node leads.
    pub(crate) fn leads(&self) -> bool {
        self.raft.metrics().borrow_watched().state == ServerState::Leader
    }

    /// Ends; what is not committed is found again at the next start.
    pub(crate) async fn stop(&self) {
        // Whether it had stopped already makes no difference.
        let _ = self.ambient.scope(self.raft.shutdown()).await;
    }
}

/// Where the state that was found stands in the log.
pub(crate) struct Place(Option<(machine::Label, machine::SnapshotFile)>);

impl Found {
    pub(crate) fn split(self) -> (State, Place) {
        (self.state, Place(self.place))
    }
}

const ELECTION_MAX: Duration = Duration::from_secs(30);

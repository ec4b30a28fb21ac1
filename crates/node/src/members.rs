//! The members of the cluster, as an operator changes them: nodes join, are drained, resumed and removed. Any
//! node takes the order.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use call::NodeId;
use cluster::{ChangeError, Command, DrainedUntil, Outcome, Refused};
use thiserror::Error;

use crate::NodeHandle;
use crate::report::Reports;
use crate::shared::Shared;

/// Why the members did not change.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MemberError {
    /// The members can't change now.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The cluster's state forbids it.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// No such node.
    #[error("no node has the id {0}; `banyan get nodes` lists them")]
    Unknown(NodeId),
    /// Nothing is committed.
    #[error(
        "no majority of the voters can be reached, so nothing is decided; the order stands and counts if one \
         comes back"
    )]
    NoQuorum,
    /// This node does not count any more.
    #[error("this node is no part of the cluster any more; ask another")]
    Fenced,
    /// The node that is to join does not answer.
    #[error(
        "node {node} does not answer at {at}: its process must run there, with [cluster] listen = \"{at}\", the \
         cluster's secret_file and no peers"
    )]
    Unreachable {
        /// Which node.
        node: NodeId,
        /// Where it should be.
        at: SocketAddr,
    },
    /// It has much to learn.
    #[error("node {0} is a member and still learns the log; `banyan node status` shows how far it is")]
    Learning(NodeId),
    /// Another process has that id.
    #[error("node {node} is a member already, at {at}; each node needs an id of its own")]
    Taken {
        /// Which node.
        node: NodeId,
        /// Where it is.
        at: SocketAddr,
    },
    /// It carries calls, and would take new ones.
    #[error("node {0} is not drained: run `banyan node drain {0}` first")]
    NotDrained(NodeId),
    /// It is being drained.
    #[error("node {node} still holds {homes} floating home(s) and {calls} call(s); wait until it holds none")]
    Holds {
        /// Which node.
        node: NodeId,
        /// How many homes.
        homes: usize,
        /// How many calls.
        calls: usize,
    },
    /// It is down, perhaps to come back.
    #[error("node {0} is down; if it never comes back, --force removes it")]
    Down(NodeId),
    /// It lives, though it is said to be dead.
    #[error("node {0} lives: drain it instead; --force is for nodes that are dead")]
    Lives(NodeId),
}

/// How much a node has in its hands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Floating homes.
    pub floating: usize,
    /// Homes in all.
    pub homes: usize,
    /// Calls of these.
    pub calls: usize,
}

impl NodeHandle {
    /// Lets a node in: it learns the log, boots, and votes if fewer than five do. Gives whether it votes.
    ///
    /// # Errors
    /// It does not answer, its id is taken, or the members can't change now.
    pub async fn join(&self, node: NodeId, at: SocketAddr) -> Result<bool, MemberError> {
        let before = self.cluster().status().members;
        let known = before.iter().find(|member| member.node == node);
        let lives = || self.cluster().read(|state| state.node(node).is_some_and(|node| node.alive));
        if let Some(there) = known.and_then(|member| member.at).filter(|there| *there != at)
            && lives()
        {
            return Err(MemberError::Taken { node, at: there });
        }
        match self.within(JOIN_MAX, self.cluster().join(node, at)).await.ok_or(MemberError::Learning(node))? {
            Err(ChangeError::Silent(_)) => return Err(MemberError::Unreachable { node, at }),
            joined => joined?,
        }
        // Whoever answered may lead no longer, and this node may lag: both may mean an earlier node of that id. Once this
        // is applied here, so is all that was decided before.
        self.order(Command::Tick).await.map_err(|_| MemberError::Learning(node))?;
        let is_member = || self.cluster().status().members.iter().any(|member| member.node == node);
        if !self.until(BOOT_MAX, || lives() && is_member()).await {
            return Err(MemberError::Learning(node));
        }
        Ok(self.cluster().status().members.iter().any(|member| member.node == node && member.is_voter))
    }

    /// Moves a node's homes to others, with their calls, and lets it take none until it is resumed.
    ///
    /// # Errors
    /// It is the last node that can hold homes, or nothing is committed.
    pub async fn drain_node(&self, node: NodeId) -> Result<(), MemberError> {
        self.order(Command::Drain { node, until: DrainedUntil::Resume }).await
    }

    /// Lets a drained node take homes again.
    ///
    /// # Errors
    /// It is none, or nothing is committed.
    pub async fn resume_node(&self, node: NodeId) -> Result<(), MemberError> {
        self.order(Command::Resume(node)).await
    }

    /// Takes a node out of the cluster for good; nothing of it is left. It must be drained, or, with `force`,
    /// dead. If it runs, its process ends.
    ///
    /// # Errors
    /// It is needed, or not as said.
    pub async fn remove(&self, node: NodeId, force: bool) -> Result<(), MemberError> {
        let members = self.cluster().status().members;
        let known =
            self.cluster().read(|state| Some((state.node(node)?.alive, state.node(node)?.drained.is_some())));
        if !members.iter().any(|member| member.is_voter && member.node != node) {
            return Err(ChangeError::LastVoter.into());
        }
        if let Some((lives, is_drained)) = known {
            self.retire(node, lives, is_drained, force).await?;
            self.order(Command::Remove(node)).await?;
        }
        // Who leads knows whether it is a member; what this node knows may be old.
        match self.within(JOIN_MAX, self.cluster().remove(node)).await.ok_or(MemberError::NoQuorum)? {
            Err(ChangeError::Unknown(_)) if known.is_none() => Err(MemberError::Unknown(node)),
            Err(ChangeError::Unknown(_)) => Ok(()),
            removed => Ok(removed?),
        }
    }

    /// Sees to it that a node does not count as alive any more.
    async fn retire(
        &self,
        node: NodeId,
        lives: bool,
        is_drained: bool,
        force: bool,
    ) -> Result<(), MemberError> {
        let load = self.load_of(node);
        match (lives, is_drained) {
            (false, false) if !force => return Err(MemberError::Down(node)),
            (false, _) => return Ok(()),
            (true, false) if !force => return Err(MemberError::NotDrained(node)),
            (true, true) if load.floating > 0 || load.calls > 0 => {
                return Err(MemberError::Holds { node, homes: load.floating, calls: load.calls });
            }
            (true, true) => self.shared.tell_to_depart(node),
            // Dead, it is evicted soon.
            (true, false) => {}
        }
        let is_gone = || self.cluster().read(|state| state.node(node).is_none_or(|node| !node.alive));
        if self.until(RETIRE_MAX, is_gone).await { Ok(()) } else { Err(MemberError::Lives(node)) }
    }

    /// How much a node has in its hands.
    pub fn load_of(&self, node: NodeId) -> Load {
        self.cluster().read(|state| {
            let mut load = Load::default();
            for (_, home) in state.homes().filter(|(_, home)| home.holder == Some(node)) {
                load.homes += 1;
                load.floating += usize::from(home.floating().is_some());
            }
            let is_held = |id| state.home(id).is_some_and(|home| home.holder == Some(node));
            load.calls = state.calls().filter(|record| is_held(record.home)).count();
            load
        })
    }

    /// What every node says of itself, as far as this one has heard.
    pub fn reports(&self) -> Reports {
        self.shared.reports()
    }

    /// Waits until an operator has removed this node from the cluster.
    pub async fn removed(&self) {
        self.shared.removed.notified().await;
        let own = self.cluster().node();
        // A vote of it may still be needed for its own removal; and whoever asked for it wants an answer.
        let is_out = || !self.cluster().status().members.iter().any(|member| member.node == own);
        self.until(RETIRE_MAX, is_out).await;
        self.until(FAREWELL, || false).await;
    }

    async fn order(&self, command: Command) -> Result<(), MemberError> {
        match self.within(ANSWER_MAX, self.cluster().proposer().ask(command)).await {
            None => Err(MemberError::NoQuorum),
            Some(None) => Err(MemberError::Fenced),
            Some(Some(Outcome::Refused(Refused::UnknownNode(node)))) => Err(MemberError::Unknown(node)),
            Some(Some(Outcome::Refused(refused))) => Err(refused.into()),
            Some(Some(_)) => Ok(()),
        }
    }

    /// What something gives, if it does so in time.
    pub(crate) async fn within<T>(&self, limit: Duration, task: impl Future<Output = T>) -> Option<T> {
        let world = &self.shared.world;
        tokio::select! {
            biased;
            given = task => Some(given),
            () = world.spawn.sleep_until(world.clock.now() + limit) => None,
        }
    }

    /// Waits until something is so; false if it is not in time.
    async fn until(&self, limit: Duration, mut is_so: impl FnMut() -> bool) -> bool {
        let world = &self.shared.world;
        let deadline = world.clock.now() + limit;
        while !is_so() {
            if world.clock.now() >= deadline {
                return false;
            }
            world.spawn.sleep_until(world.clock.now() + POLL).await;
        }
        true
    }
}

impl Shared {
    /// This node is being removed: it falls silent, and says that others may have what is its own.
    pub(crate) fn depart(self: &Arc<Shared>) {
        let shared = self.clone();
        let task = async move {
            tracing::info!("this node is being removed from the cluster: it takes no calls any more");
            shared.farewell().await;
        };
        self.world.spawn.spawn("depart", Box::pin(task));
    }

    /// Falls silent for all that it holds, and says so. Once.
    pub(crate) async fn farewell(self: &Arc<Shared>) {
        self.draining.store(true, Ordering::Relaxed);
        if self.departed.swap(true, Ordering::Relaxed) {
            return;
        }
        let has_others = self.cluster.cluster().read(|state| state.nodes().len() > 1);
        if !has_others {
            return;
        }
        for home in self.homes() {
            self.leave(home.id).await;
        }
        if !self.cluster.cluster().leave().await {
            tracing::info!("nobody heard that this node stops; the others find out by its silence");
        }
    }
}

const JOIN_MAX: Duration = Duration::from_secs(14);
const ANSWER_MAX: Duration = Duration::from_secs(5);
const BOOT_MAX: Duration = Duration::from_secs(5);
const RETIRE_MAX: Duration = Duration::from_secs(5);
const FAREWELL: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(20);

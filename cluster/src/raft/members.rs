//! Who is a member: nodes that join learn the log first, and then vote while few enough do.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use call::NodeId;
use env::Purpose;
use futures::channel::oneshot;
use openraft::async_runtime::WatchReceiver;
use openraft::error::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::type_config::TypeConfigExt;
use openraft::{ChangeMembers, RaftMetrics};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Raft;
use super::frame::{Answer, Request};
use super::types::{Place, TypeConfig};

type Metrics = RaftMetrics<TypeConfig>;

/// A member of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Which node.
    pub node: NodeId,
    /// Its cluster address; a cluster of one needs none.
    pub at: Option<SocketAddr>,
    /// Whether it votes; others learn only.
    pub is_voter: bool,
    /// Up to where its log is known to be the leader's; known to the leader only.
    pub matched: Option<u64>,
}

/// A change of the members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Change {
    /// A node comes.
    Join(NodeId, SocketAddr),
    /// A node goes.
    Remove(NodeId),
}

/// Why the members did not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ChangeError {
    /// Nobody leads, or nobody who can be reached.
    #[error("no leader can be reached: the members can't change without a majority of the voters")]
    NoLeader,
    /// Another change is under way.
    #[error("the members are changing already; try again when that is done")]
    Busy,
    /// The cluster would have no voter left.
    #[error("this is the last voter: a cluster can't be without one")]
    LastVoter,
    /// The node is no member.
    #[error("node {0} is no member")]
    Unknown(NodeId),
    /// Consensus has stopped on the node that leads.
    #[error("the leader has stopped; its log says why")]
    Stopped,
    /// The node that is to join can't be reached by the leader.
    #[error("node {0} does not answer")]
    Silent(NodeId),
}

impl Raft {
    /// The members, by id.
    pub(crate) fn members(&self) -> Vec<Member> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let matched = |id| metrics.replication.as_ref().and_then(|all| all.get(&id).copied().flatten());
        let member = |(id, place): (&u64, &Place)| Member {
            node: NodeId(*id),
            at: place.at,
            is_voter: voters.contains(id),
            matched: if *id == self.node.0 {
                metrics.last_log_index
            } else {
                matched(*id).map(|at| at.index)
            },
        };
        membership.nodes().map(member).collect()
    }

    /// Changes the members; this node leads. The change goes on even if nobody waits for it any more: one left
    /// half done needs both the old and the new majority.
    pub(crate) async fn change(&self, change: Change) -> Result<(), ChangeError> {
        let (tell, told) = oneshot::channel();
        let raft = self.clone();
        let task = async move {
            let result = raft.scope(raft.change_here(change)).await;
            // Whoever asked may have gone.
            let _ = tell.send(result);
        };
        self.ambient.spawn("members", Box::pin(task));
        told.await.unwrap_or(Err(ChangeError::Stopped))
    }

    /// Asks another node, which leads, to change the members.
    pub(crate) async fn change_at(&self, leader: NodeId, change: Change) -> Result<(), ChangeError> {
        match self.exchange.open(leader.0).once(Purpose::Raft, Request::Change(change)).await {
            Some(Answer::Changed(result)) => result,
            _ => Err(ChangeError::NoLeader),
        }
    }

    /// Whether a change was left half done: its leader lost the lead.
    pub(crate) fn is_half_changed(&self) -> bool {
        self.server.borrow_watched().membership_config.membership().get_joint_config().len() > 1
    }

    /// Ends a change that was left half done.
    pub(crate) async fn end_change(&self) {
        let none = ChangeMembers::AddVoterIds(BTreeSet::new());
        let ended = self.scope(self.raft.change_membership(none, true));
        match TypeConfig::timeout(END_WITHIN, ended).await {
            Ok(Ok(_)) => tracing::info!("a change of the members that was left half done is done"),
            // Tried again.
            Ok(Err(error)) => tracing::warn!(%error, "a change of the members stays half done"),
            Err(_) => tracing::warn!("a change of the members stays half done: no majority answers"),
        }
    }

    /// Waits until a node has the log: before, it would hold up the others as a voter. One that does not answer at
    /// all is forgotten again, if it is new.
    async fn await_learner(&self, node: NodeId, is_new: bool) -> Result<(), ChangeError> {
        let metrics = self.raft.metrics();
        let target = metrics.borrow_watched().last_log_index;
        let is_gone = |metrics: &Metrics| metrics.membership_config.membership().get_node(&node.0).is_none();
        let matched = |metrics: &Metrics| {
            metrics
                .replication
                .as_ref()
                .and_then(|all| all.get(&node.0).copied().flatten())
                .map(|at| at.index)
        };
        let heard = self.raft.wait(Some(FIRST_WORD_MAX));
        let heard = heard.metrics(|it| is_gone(it) || matched(it).is_some(), "the node answers").await;
        if heard.is_err() {
            if is_new {
                let gone = ChangeMembers::RemoveNodes(BTreeSet::from([node.0]));
                self.raft.change_membership(gone, false).await.map_err(error)?;
            }
            return Err(ChangeError::Silent(node));
        }
        let learnt = self.raft.wait(None);
        let learnt = learnt.metrics(|it| is_gone(it) || matched(it) >= target, "the node has the log").await;
        learnt.map(drop).map_err(|_| ChangeError::Stopped)
    }

    async fn change_here(&self, change: Change) -> Result<(), ChangeError> {
        let members = self.members();
        let known = |node| members.iter().find(|member| member.node == node);
        let voters = members.iter().filter(|member| member.is_voter).count();
        match change {
            Change::Join(node, at) => {
                let place = Place { at: Some(at) };
                if known(node).is_some_and(|member| member.at != Some(at)) {
                    let moved = ChangeMembers::SetNodes(BTreeMap::from([(node.0, place.clone())]));
                    self.raft.change_membership(moved, true).await.map_err(error)?;
                }
                if known(node).is_some_and(|member| member.is_voter) {
                    // It votes in the change that lets it in, and that is not done yet: until then both majorities count.
                    return if self.is_half_changed() { Err(ChangeError::Busy) } else { Ok(()) };
                }
                self.raft.add_learner(node.0, place, false).await.map_err(error)?;
                self.await_learner(node, known(node).is_none()).await?;
                if voters < VOTERS_MAX {
                    let voter = ChangeMembers::AddVoterIds(BTreeSet::from([node.0]));
                    self.raft.change_membership(voter, true).await.map_err(error)?;
                }
            }
            Change::Remove(node) => {
                let ids = BTreeSet::from([node.0]);
                let gone = match known(node).ok_or(ChangeError::Unknown(node))?.is_voter {
                    true => ChangeMembers::RemoveVoters(ids),
                    false => ChangeMembers::RemoveNodes(ids),
                };
                self.raft.change_membership(gone, false).await.map_err(error)?;
            }
        }
        Ok(())
    }
}

fn error(error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> ChangeError {
    let RaftError::APIError(error) = error else { return ChangeError::Stopped };
    match error {
        ClientWriteError::ForwardToLeader(_) | ClientWriteError::LogEntryDiscarded(_) => {
            ChangeError::NoLeader
        }
        ClientWriteError::PreconditionFailed(_) => ChangeError::Busy,
        ClientWriteError::ChangeMembershipError(error) => match error {
            ChangeMembershipError::EmptyMembership(_) => ChangeError::LastVoter,
            ChangeMembershipError::LearnerNotFound(missing) => ChangeError::Unknown(NodeId(missing.node_id)),
            _ => ChangeError::Busy,
        },
    }
}

/// More voters make each commit dearer and the cluster no safer: further nodes learn only.
const VOTERS_MAX: usize = 5;
/// How long a node that is to join may take to answer.
const FIRST_WORD_MAX: Duration = Duration::from_secs(8);
const END_WITHIN: Duration = Duration::from_secs(2);

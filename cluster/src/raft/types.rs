//! openraft's types, and their plain forms in the log.

use std::fmt;
use std::sync::Arc;

use openraft::impls::{EmptyNode, Vote as RaftVote};
use openraft::type_config::alias::{LeaderIdOf, LogIdOf, VoteOf};
use serde::{Deserialize, Serialize};

use super::runtime::Runtime;
use crate::command::Stamped;
use crate::log::{Position, Vote};

/// A batch in the log. Shared, so that neither the log nor `apply` copies it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry(pub Arc<Stamped>);

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let batch = &self.0.batch;
        write!(f, "batch {}.{}.{}", batch.node, batch.incarnation.0, batch.seq)
    }
}

openraft::declare_raft_types!(
    /// What Raft runs on here.
    pub TypeConfig: D = Entry, R = (), Node = EmptyNode, AsyncRuntime = Runtime
);

pub(super) fn to_position(at: &LogIdOf<TypeConfig>) -> Position {
    Position { term: at.leader_id.term, node: at.leader_id.node_id, index: at.index }
}

pub(super) fn from_position(at: Position) -> LogIdOf<TypeConfig> {
    openraft::LogId {
        leader_id: LeaderIdOf::<TypeConfig> { term: at.term, node_id: at.node },
        index: at.index,
    }
}

pub(super) fn to_vote(vote: &VoteOf<TypeConfig>) -> Vote {
    Vote { term: vote.leader_id.term, node: vote.leader_id.node_id, committed: vote.committed }
}

pub(super) fn from_vote(vote: Vote) -> VoteOf<TypeConfig> {
    RaftVote {
        leader_id: LeaderIdOf::<TypeConfig> { term: vote.term, node_id: vote.node },
        committed: vote.committed,
    }
}

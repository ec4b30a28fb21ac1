//! openraft's types, and their plain forms in the log.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use openraft::impls::leader_id_adv::LeaderId;
use openraft::impls::{BoxedErrorSource, InlineBatch, Vote as RaftVote};
use openraft::raft::responder::Responder;
use openraft::type_config::alias::{LeaderIdOf, LogIdOf, VoteOf};
use openraft::vote::RaftLeaderId;
use openraft::{EntryPayload, OptionalSend};
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

/// What the log says of a member besides its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Its cluster address; a cluster of one needs none.
    pub at: Option<SocketAddr>,
}

/// Told what became of something that was written to the log.
pub struct Told<T>(Box<dyn FnOnce(T) + Send>);

impl<T> Told<T> {
    pub(super) fn new(tell: impl FnOnce(T) + Send + 'static) -> Told<T> {
        Told(Box::new(tell))
    }
}

impl<T: OptionalSend + 'static> Responder<TypeConfig, T> for Told<T> {
    fn on_complete(self, result: T) {
        (self.0)(result);
    }
}

/// What Raft runs on here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TypeConfig;

impl openraft::RaftTypeConfig for TypeConfig {
    type D = Entry;
    type R = ();
    type NodeId = u64;
    type Node = Place;
    type Term = u64;
    type LeaderId = LeaderId<u64, u64>;
    type Vote = RaftVote<Self::LeaderId>;
    type Payload = EntryPayload<Entry, u64, Place>;
    type Entry = openraft::Entry<<Self::LeaderId as RaftLeaderId>::Committed, Self::Payload>;
    type AsyncRuntime = Runtime;
    type Responder<T>
        = Told<T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = BoxedErrorSource;
}

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

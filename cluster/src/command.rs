//! What nodes ask of the replicated state, and what it answers.
//!
//! Encoded by position behind a version byte: variants and fields are added at the end of a new version,
//! never reordered. `cluster/src/codec.rs` holds their golden bytes.

use call::{CallCommand, CallId, Epoch, HomeId, Incarnation, NodeId};
use machine::ClusterTime;
use serde::{Deserialize, Serialize};
use trunk::{Applied, ApplyError, DeleteError, Kind, Name, Resource};

/// Commands of one node, in their order. Applied whole or not at all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// Who proposes.
    pub node: NodeId,
    /// In which life; 0 for the batch that holds nothing but `Boot`.
    pub incarnation: Incarnation,
    /// Rises by one with each batch of an incarnation, from 1.
    pub seq: u64,
    /// Which part of the state it is for; 0, as yet.
    pub shard: u32,
    /// What to do.
    pub commands: Vec<Command>,
}

/// A batch as the leader put it into the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stamped {
    /// The leader's time.
    pub time: ClusterTime,
    /// The commands.
    pub batch: Batch,
}

/// One command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// A process has started: its first command.
    Boot(Boot),
    /// A call asks to be let in, changes or ends.
    Call {
        /// Which call.
        call: CallId,
        /// The home that its peers see.
        home: HomeId,
        /// The epoch in which the proposer holds that home.
        epoch: Epoch,
        /// What about it.
        command: CallCommand,
    },
    /// Puts resources in place, all or nothing.
    PutResources(Vec<Resource>),
    /// Removes a resource, unless others name it.
    DeleteResource {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// The proposer has the CDRs up to this number on its disk.
    CdrsDurable(u64),
    /// Nothing but the time.
    Tick,
}

/// A process has started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// Drawn by the process, so that a repeated `Boot` is known as such.
    pub nonce: u64,
    /// The node's name.
    pub name: String,
    /// The fixed homes that it brings, by name. A home that it had and no longer names keeps its calls and
    /// its holder.
    pub homes: Vec<Name>,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It was applied: an outcome per command.
    Applied(Vec<Outcome>),
    /// It was applied before.
    Repeated,
    /// A batch before it is missing; nothing was applied.
    Gap {
        /// The number that must come next.
        expected: u64,
    },
    /// The proposer's process has been succeeded by another; nothing was applied.
    Fenced,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Of a `Boot`.
    Booted(Booted),
    /// Of a call's command.
    Call(call::Outcome),
    /// Of `PutResources`.
    Put(Result<Vec<Applied>, ApplyError>),
    /// Of `DeleteResource`.
    Deleted(Result<(), DeleteError>),
    /// It was applied; there is nothing to say.
    Done,
}

/// What a process learns from its `Boot`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Booted {
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// The homes that it holds now.
    pub homes: Vec<Held>,
}

/// A home in a node's hands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Which home.
    pub home: HomeId,
    /// Its name.
    pub name: Name,
    /// The epoch that its commands must carry.
    pub epoch: Epoch,
}

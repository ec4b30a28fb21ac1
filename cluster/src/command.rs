//! What nodes ask of the replicated state, and what it answers.
//!
//! Encoded by position behind a version byte: variants and fields are added at the end of a new version,
//! never reordered. `cluster/src/codec.rs` holds their golden bytes.

use std::net::IpAddr;

use call::{CallCommand, CallId, Epoch, HomeId, Incarnation, NodeId};
use machine::ClusterTime;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use trunk::settings::PortRange;
use trunk::{Applied, ApplyError, DeleteError, Kind, Name, Resource, Transport};

use crate::enrolment::Enrol;
use crate::health::Turned;
use crate::registration::{Register, Registered};
use crate::state::{APPLY_VERSION, Restore};

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

/// One command. A node that does not know a command of the log stops: none is ever skipped.
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
    /// A node is held dead, and its lease has ended: its homes go to others.
    Evict {
        /// Which node.
        node: NodeId,
        /// In which life.
        incarnation: Incarnation,
        /// The term of the leader that decided it. In another term it is stale: that leader may have granted
        /// the node a lease since.
        term: u64,
    },
    /// The proposer is silent from now on: its homes go to others.
    Leave,
    /// The proposer was held dead and is not: it asks to count again.
    Return,
    /// The proposer has fallen silent for a home of its own, so that another can take it.
    Yield {
        /// Which home.
        home: HomeId,
        /// The epoch in which it held it.
        epoch: Epoch,
    },
    /// Moves a node's homes away and lets it take none.
    Drain {
        /// Which node.
        node: NodeId,
        /// For how long.
        until: DrainedUntil,
    },
    /// Lets a drained node take homes again.
    Resume(NodeId),
    /// Forgets a node for good.
    Remove(NodeId),
    /// Lets commands mean what they mean in this version.
    RaiseVersion(u32),
    /// An account of a trunk registers.
    Register(Box<Register>),
    /// A registration of ours with a carrier. Since version 2.
    Enrol(Box<Enrol>),
    /// An empty cluster becomes what a backup says. Since version 3.
    Restore(Box<Restore>),
    /// A target does not answer any more, or answers again. Since version 3.
    Health(Box<Turned>),
}

/// How long a node takes no homes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DrainedUntil {
    /// Until its process is the next one: it is about to end.
    Boot,
    /// Until an operator says so.
    Resume,
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
    /// The floating homes that its node file names: it may hold no others.
    pub floating: Vec<FloatingHome>,
    /// Where it stands.
    pub region: Option<Name>,
    /// The newest version of `apply` that its program knows.
    pub supports: u32,
}

impl Default for Boot {
    /// A nameless process of this program, without homes.
    fn default() -> Boot {
        Boot {
            nonce: 0,
            name: String::new(),
            homes: Vec::new(),
            floating: Vec::new(),
            region: None,
            supports: APPLY_VERSION,
        }
    }
}

/// A service address that moves between nodes: a `[[home]]` of the node file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FloatingHome {
    /// Its name.
    pub name: Name,
    /// Its address.
    pub address: IpAddr,
    /// Where it hears SIP.
    pub sip: Vec<(Transport, u16)>,
    /// Its RTP ports.
    pub media_ports: PortRange,
    /// Who may hold it; empty: all nodes.
    pub nodes: Vec<NodeId>,
    /// Where it is published.
    pub region: Option<Name>,
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
    /// Of a `Register`.
    Registered(Registered),
    /// It was applied; there is nothing to say.
    Done,
    /// A command about nodes, homes or the version was refused; nothing changed.
    Refused(Refused),
}

/// Why a command about nodes, homes or the version was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refused {
    /// No such node.
    #[error("no node has the id {0}")]
    UnknownNode(NodeId),
    /// It was decided about what is no more: another life of a node, an epoch, a leader's term.
    #[error("the cluster has changed since this was decided")]
    Stale,
    /// Homes must be somewhere.
    #[error("node {0} is the last that can hold homes; resume or start another first")]
    LastNode(NodeId),
    /// A node that holds homes can't be forgotten.
    #[error("node {0} still holds homes; drain it first")]
    HoldsHomes(NodeId),
    /// Its calls have nowhere to go.
    #[error("no other node can take what home {} has", .0.0)]
    NoTaker(HomeId),
    /// What is there would be lost.
    #[error(
        "the cluster holds resources or calls already; a backup goes into an empty one: start it with empty data_dirs"
    )]
    NotEmpty,
    /// Some node's program is too old for a version, or it is not above the present one.
    #[error("the cluster can't go from version {from} to {to}: its nodes support {supported}")]
    Version {
        /// The present one.
        from: u32,
        /// The one asked for.
        to: u32,
        /// The newest that every node supports.
        supported: u32,
    },
    /// The program of a booting node is too old for this cluster.
    #[error("this cluster needs a program that supports version {needed}; node {node} supports {supported}")]
    TooOld {
        /// Which node.
        node: NodeId,
        /// What the cluster is at.
        needed: u32,
        /// What the node's program knows.
        supported: u32,
    },
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

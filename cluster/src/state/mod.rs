//! The replicated state: the same on every node at the same index of the log.
//!
//! `apply` knows the batch, the leader's time on it, and nothing else: no clock, no chance, no I/O, no floats,
//! ordered maps only.

mod apply;
mod backup;
mod bindings;
mod cdrs;
mod digest;
mod enrolments;
mod health;
mod homes;
mod invites;
mod nodes;
mod placement;
mod proofs;
mod slots;
mod snapshot;
mod windows;

use std::collections::BTreeMap;
use std::sync::Arc;

use call::{CallId, CallRecord, Cdr, Epoch, HomeId, Incarnation, InviteKey, NodeId};
use machine::ClusterTime;
use trunk::{Name, Resources, Scope, Side};

pub use backup::Restore;
pub use homes::{Home, HomeKind};
pub use nodes::Node;
pub use snapshot::SnapshotError;

/// The newest meaning of commands that this program knows: what [`State::apply_version`] may become. A change
/// of what a command does branches on the state's version and raises this one.
pub const APPLY_VERSION: u32 = 3;

/// The first version with `Change::Mark`.
const SECURES_SINCE: u32 = 3;

/// Everything that a quorum holds.
#[derive(Clone, Debug, Default)]
pub struct State {
    time: ClusterTime,
    resources: Arc<Resources>,
    nodes: BTreeMap<NodeId, Node>,
    homes: BTreeMap<HomeId, Home>,
    /// Which node lived each incarnation; the last is the newest.
    incarnations: BTreeMap<Incarnation, NodeId>,
    calls: BTreeMap<CallId, Arc<CallRecord>>,
    slots: slots::Slots,
    windows: BTreeMap<Name, windows::Windows>,
    invites: invites::Invites,
    cdrs: cdrs::Cdrs,
    bindings: bindings::Bindings,
    proofs: proofs::Proofs,
    enrolments: enrolments::Enrolments,
    health: health::Healths,
    /// What commands mean. A cluster begins at 0 and rises when every node can follow.
    apply_version: u32,
    /// How many homes there ever were.
    homes_made: u32,
    /// The log's term of the entry that is being applied. Not part of what is agreed: the log is.
    term: u64,
    /// Calls, CDRs, resources and windows; slots keep their own.
    digest: u64,
    /// The digest of nodes and homes.
    roster: u64,
}

/// What a batch changed, for metrics, CDR files and the simulation's invariants.
#[derive(Clone, Debug)]
pub enum Delta {
    /// A call was admitted or changed.
    Call(Arc<CallRecord>),
    /// A call is over.
    CallEnded(CallId),
    /// A CDR was made, with its number.
    Cdr(u64, Arc<Cdr>),
    /// The resources changed.
    Resources(Arc<Resources>),
    /// A node booted; its homes have new epochs.
    Booted(NodeId),
    /// A node does not count any more: it was evicted or left. What it held has moved.
    Evicted(NodeId),
    /// A node was drained or resumed, or returned.
    Standing(NodeId),
    /// A node was forgotten.
    Removed(NodeId),
    /// A home changed hands, with all its calls.
    HomeMoved {
        /// Which home.
        home: HomeId,
        /// Who held it.
        from: Option<NodeId>,
        /// Who holds it now.
        to: Option<NodeId>,
        /// Since when, in epochs.
        epoch: Epoch,
    },
    /// A call whose home is lost belongs to another now, whose holder re-homes it.
    Adopted {
        /// The call, with its new home.
        record: Arc<CallRecord>,
        /// The home that it had.
        from: HomeId,
    },
}

/// How much of a trunk's or gateway's limits is in use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Slots held.
    pub concurrent: u32,
    /// Calls admitted in the minute, as far back as its limit makes us look.
    pub minute: u32,
    /// In the hour, by its buckets.
    pub hour: u32,
    /// In the day, by its buckets.
    pub day: u32,
    /// In the week, by its buckets.
    pub week: u32,
}

impl State {
    /// The leader's time on the last batch.
    pub fn time(&self) -> ClusterTime {
        self.time
    }

    /// What operators have put in place.
    pub fn resources(&self) -> &Arc<Resources> {
        &self.resources
    }

    /// A live call.
    pub fn call(&self, id: CallId) -> Option<&Arc<CallRecord>> {
        self.calls.get(&id)
    }

    /// The live calls, oldest first within an incarnation.
    pub fn calls(&self) -> impl ExactSizeIterator<Item = &Arc<CallRecord>> {
        self.calls.values()
    }

    /// The nodes.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = (NodeId, &Node)> {
        self.nodes.iter().map(|(id, node)| (*id, node))
    }

    /// The homes.
    pub fn homes(&self) -> impl ExactSizeIterator<Item = (HomeId, &Home)> {
        self.homes.iter().map(|(id, home)| (*id, home))
    }

    /// A home.
    pub fn home(&self, id: HomeId) -> Option<&Home> {
        self.homes.get(&id)
    }

    /// The node that admitted a call, or would have.
    pub fn node_of(&self, call: CallId) -> Option<NodeId> {
        self.incarnations.get(&call.incarnation()).copied()
    }

    /// CDRs that too few nodes have on disk, by number.
    pub fn cdrs(&self) -> impl ExactSizeIterator<Item = (u64, &Arc<Cdr>)> {
        self.cdrs.iter()
    }

    /// How many CDRs were ever made: the number of the last one.
    pub fn cdrs_made(&self) -> u64 {
        self.cdrs.made()
    }

    /// How much of a scope's limits is in use.
    pub fn usage(&self, scope: &Scope) -> Usage {
        let [minute, hour, day, week] = match scope {
            Scope::Trunk(name) => self.windows.get(name).map_or([0; 4], |w| w.counts(self.time)),
            Scope::Gateway(_) => [0; 4],
        };
        Usage { concurrent: self.slots.used(scope) as u32, minute, hour, day, week }
    }

    /// Every slot that is held.
    pub fn slots(&self) -> impl Iterator<Item = (&Scope, CallId, Side)> {
        self.slots.iter().flat_map(|(scope, held)| held.iter().map(move |(call, side)| (scope, *call, *side)))
    }

    /// The call that this INVITE, or the one that this CANCEL is for, began.
    pub fn call_of(&self, key: &InviteKey) -> Option<CallId> {
        match self.invites.known(key)? {
            call::Outcome::Duplicate(call) => Some(call),
            _ => None,
        }
    }

    /// Whether this version of commands can record how far secured packets have come.
    pub fn secures(&self) -> bool {
        self.apply_version >= SECURES_SINCE
    }

    /// How many INVITEs are remembered.
    pub fn invites(&self) -> usize {
        self.invites.len()
    }

    /// The digest of the state: equal on all replicas at the same index. Kept up to date change by change;
    /// [`State::full_digest`] looks at every byte.
    pub fn digest(&self) -> u64 {
        self.digest.wrapping_add(self.kept_apart())
    }

    /// The digests of what keeps its own.
    fn kept_apart(&self) -> u64 {
        let version = digest::of_version(self.apply_version, self.homes_made);
        let apart = [self.bindings.digest, self.enrolments.digest, self.health.digest];
        let own = self.slots.digest.wrapping_add(self.roster).wrapping_add(version);
        apart.into_iter().fold(own, u64::wrapping_add)
    }
}

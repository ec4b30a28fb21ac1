//! Our own registrations with carriers: who makes them, and what came of them (RFC 3261 §10.2).

use call::{Epoch, HomeId, NodeId};
use machine::{ClusterTime, WallTime};
use serde::{Deserialize, Serialize};
use trunk::Name;

/// A step of one registration of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrol {
    /// The gateway.
    pub gateway: Name,
    /// Which of its accounts, counted from one.
    pub account: u8,
    /// The home from which it is made.
    pub home: HomeId,
    /// The epoch in which the proposer holds that home.
    pub epoch: Epoch,
    /// What about it.
    pub step: EnrolStep,
}

/// What became of one registration of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EnrolStep {
    /// The proposer is going to make it, and nobody else: committed before anything is said.
    Claim {
        /// The account's name.
        username: String,
        /// The Contact that it will register.
        contact: String,
    },
    /// The registrar has it.
    Bound {
        /// The gateway's target that took it.
        target: String,
        /// For how long, in seconds.
        expires_s: u32,
        /// When, for people.
        at: WallTime,
    },
    /// The registrar does not take it.
    Failed {
        /// The gateway's target that was asked.
        target: String,
        /// What it said; 408 for silence.
        status: u16,
        /// When, for people.
        at: WallTime,
    },
    /// The proposer has fallen silent for it, so that another can make it.
    Release,
}

/// A registration of ours, as a quorum knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    /// The account's name.
    pub username: String,
    /// The home from which it is made.
    pub home: HomeId,
    /// The epoch of that home in which it was claimed: in another nobody makes it.
    pub epoch: Epoch,
    /// Who claimed it.
    pub node: NodeId,
    /// Whether that node has let go of it.
    pub released: bool,
    /// The Contact that the registrar has, or is about to get.
    pub contact: String,
    /// Contacts of homes before, which it may still have: the next REGISTER takes them away.
    pub former: Vec<String>,
    /// The gateway's target that was asked last.
    pub target: Option<String>,
    /// What it said; nothing yet.
    pub status: Option<u16>,
    /// Until when the registrar has it.
    pub expires: ClusterTime,
    /// When something was last heard of it, for people.
    pub at: Option<WallTime>,
}

impl Enrolment {
    /// Whether the registrar has it.
    pub fn is_bound(&self, now: ClusterTime) -> bool {
        self.expires > now
    }
}

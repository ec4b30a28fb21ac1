//! Which targets are down, as the nodes that ask them by OPTIONS say.

use call::{Epoch, HomeId, NodeId};
use machine::WallTime;
use serde::{Deserialize, Serialize};
use trunk::SipTarget;

/// A target has turned, as the node that asks it has found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turned {
    /// Which target, without a user.
    pub target: SipTarget,
    /// The home from which it is asked.
    pub home: HomeId,
    /// The epoch in which the proposer holds that home.
    pub epoch: Epoch,
    /// How it is now.
    pub turn: Turn,
}

/// How a target is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Turn {
    /// It answers again.
    Up,
    /// It does not answer, or says that it is ill.
    Down {
        /// What it said last; 408 for silence.
        status: u16,
        /// When, for people.
        at: WallTime,
    },
}

/// A target that is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Down {
    /// What it said last; 408 for silence.
    pub status: u16,
    /// Since when, for people.
    pub since: WallTime,
    /// Who found that.
    pub node: NodeId,
}

/// A target that is to be asked, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Which target, without a user.
    pub target: SipTarget,
    /// How often, and what counts.
    pub probe: trunk::settings::Probe,
    /// From which home.
    pub home: HomeId,
    /// The epoch in which that home is held.
    pub epoch: Epoch,
    /// Who holds it.
    pub node: NodeId,
}

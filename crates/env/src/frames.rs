//! Frames between the nodes of a cluster: one authenticated connection per pair, a standing stream per purpose.

use std::net::SocketAddr;
use std::task::{Context, Poll};

/// What a frame is for. Each purpose has a stream of its own, so that a snapshot delays no heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// Consensus, leases, proposals.
    Raft,
    /// SIP messages that reached another node than the one that holds their call.
    Forward,
    /// Chunks of snapshots.
    Snapshot,
    /// Questions of operators, and their answers.
    Query,
}

impl Purpose {
    /// All of them.
    pub const ALL: [Purpose; 4] = [Purpose::Raft, Purpose::Forward, Purpose::Snapshot, Purpose::Query];
}

/// Where a node of the cluster is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer {
    /// Its id.
    pub node: u64,
    /// Its cluster address.
    pub at: SocketAddr,
}

/// What comes over the links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// A node can be reached from now on.
    Up(u64),
    /// The link to a node is gone; what was sent and not yet received may be lost. It is made again by itself.
    Down(u64),
    /// A frame has come.
    Frame {
        /// From which node; the link has authenticated it.
        from: u64,
        /// For what.
        purpose: Purpose,
        /// Its bytes.
        bytes: Vec<u8>,
    },
}

/// The links from one node to the others. Frames of one purpose between two nodes arrive in their order, once,
/// or not at all; never damaged.
pub trait Frames: Send + Sync + 'static {
    /// Sends a frame. `false` if the node can't be reached now or too much waits for it: the frame is lost.
    fn send(&self, to: u64, purpose: Purpose, bytes: Vec<u8>) -> bool;

    /// Adds what has come to `events`. Ready when at least one was added.
    fn poll_events(&self, cx: &mut Context<'_>, events: &mut Vec<LinkEvent>) -> Poll<()>;

    /// Says whom to be linked with. Links to others end.
    fn set_peers(&self, peers: &[Peer]);

    /// Says whether any node of the cluster is linked with that counts this one among its peers: nobody here knows
    /// better. Said before [`Frames::set_peers`], which ends links with such guests where it is so no more.
    fn set_open(&self, open: bool) {
        let _ = open;
    }

    /// Whether a node can be reached now.
    fn is_up(&self, node: u64) -> bool;
}

/// The longest frame; a longer one is never sent, and ends the link of whoever sends it.
pub const FRAME_MAX: usize = 16 << 20;

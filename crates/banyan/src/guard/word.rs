//! What a server and its guard say to each other, a line of JSON each.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// What the server says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Order {
    /// Where each address belongs: first of all.
    Interfaces(BTreeMap<IpAddr, String>),
    /// Which life this is, and who is told of its end.
    Live(Life),
    /// Keep these addresses until then, and no others.
    Hold(Hold),
}

/// The life that a guard outlives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Life {
    /// Which node.
    pub(super) node: u64,
    /// Which of its lives.
    pub(super) incarnation: u32,
    /// Under which its end is told.
    pub(super) key: [u8; 32],
    /// To whom.
    pub(super) peers: BTreeSet<SocketAddr>,
}

/// Addresses and how long they are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hold {
    /// Counts up, for the answer.
    pub(super) number: u64,
    /// On the clock that both read (CLOCK_BOOTTIME), in nanoseconds; 0: they are not kept.
    pub(super) until_ns: u64,
    /// The addresses.
    pub(super) addresses: BTreeSet<IpAddr>,
}

/// What the guard answers to [`Order::Hold`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Report {
    /// To which one.
    pub(super) number: u64,
    /// What the system refused, and why.
    pub(super) refused: BTreeMap<IpAddr, String>,
}

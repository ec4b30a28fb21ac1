//! Who takes part in a call, and what is counted against whom.

use serde::{Deserialize, Serialize};

use crate::name::Name;
use crate::words::words;

words! {
    /// How a message travels.
    Transport {
        /// Datagrams.
        Udp = "udp",
        /// A plain stream.
        Tcp = "tcp",
        /// A stream under TLS.
        Tls = "tls",
    }
}

impl Transport {
    /// The port that a URI without one means (RFC 3261 §19.1.2).
    pub const fn default_port(self) -> u16 {
        match self {
            Transport::Udp | Transport::Tcp => 5060,
            Transport::Tls => 5061,
        }
    }
}

words! {
    /// The caller's or the callee's side of a call.
    Side {
        /// The caller's.
        Ingress = "ingress",
        /// The callee's.
        Egress = "egress",
    }
}

words! {
    /// A call's direction, as its detail record says it.
    Direction {
        /// From a gateway to one of our numbers.
        In = "in",
        /// From a trunk.
        Out = "out",
        /// Sent on by a redirect.
        Forward = "forward",
    }
}

/// A trunk or a gateway, as one end of a call.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Party {
    /// A customer's trunk.
    Trunk {
        /// Its name.
        name: Name,
        /// Which of its accounts, counted from one, where one is known.
        account: Option<u8>,
    },
    /// A carrier.
    Gateway {
        /// Its name.
        name: Name,
    },
}

impl Party {
    /// The name of the trunk or gateway.
    pub fn name(&self) -> &Name {
        match self {
            Party::Trunk { name, .. } | Party::Gateway { name } => name,
        }
    }

    /// What its calls are counted against.
    pub fn scope(&self) -> Scope {
        match self {
            Party::Trunk { name, .. } => Scope::Trunk(name.clone()),
            Party::Gateway { name } => Scope::Gateway(name.clone()),
        }
    }

    /// The trunk's name, if this is one.
    pub fn trunk(&self) -> Option<&Name> {
        match self {
            Party::Trunk { name, .. } => Some(name),
            Party::Gateway { .. } => None,
        }
    }
}

/// What a slot is counted against.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scope {
    /// A trunk's `limits.concurrent`.
    Trunk(Name),
    /// A gateway's `concurrent`.
    Gateway(Name),
}

impl Scope {
    /// The trunk's or gateway's name.
    pub fn name(&self) -> &Name {
        match self {
            Scope::Trunk(name) | Scope::Gateway(name) => name,
        }
    }

    /// `trunk` or `gateway`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Scope::Trunk(_) => "trunk",
            Scope::Gateway(_) => "gateway",
        }
    }
}

/// One unit of a concurrency limit. A call has at most one for each scope and side, so a slot's identity in
/// replicated state is (scope, call, side), and taking or releasing it twice changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Slot {
    /// What it is counted against.
    pub scope: Scope,
    /// For which side of the call.
    pub side: Side,
}

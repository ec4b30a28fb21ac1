//! Registrations of trunks' accounts: what a REGISTER asks for, and what is kept of it (RFC 3261 §10.3).

use std::sync::Arc;

use call::{Flow, HomeId, NodeId};
use machine::{ClusterTime, WallTime};
use serde::{Deserialize, Serialize};
use trunk::{Host, Name, SipTarget, Transport};

/// A REGISTER of an account, whose digest was right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    /// The trunk.
    pub trunk: Name,
    /// Which of its accounts, counted from one.
    pub account: u8,
    /// That account's name.
    pub username: String,
    /// The REGISTER's Call-ID.
    pub call_id: String,
    /// Its CSeq: with the same Call-ID it must rise.
    pub cseq: u32,
    /// The use of a nonce that it was.
    pub proof: auth::Use,
    /// What it asks for.
    pub change: Rebind,
}

/// What a REGISTER asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rebind {
    /// Nothing: it wants to know.
    Query,
    /// This is where the account is: the newest replaces the older.
    Put(Box<Place>),
    /// It is not there any more.
    Remove(String),
    /// It is nowhere any more (`Contact: *`).
    Clear,
}

/// Where an account says that it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The Contact's URI.
    pub contact: String,
    /// The Path (RFC 3327), next hop first.
    pub path: Vec<String>,
    /// Where requests to it are sent: its own host, that of its Path, or the flow's far end behind NAT.
    pub host: Host,
    /// To which port.
    pub port: Option<u16>,
    /// By which transport.
    pub transport: Transport,
    /// By which way the REGISTER came, and from where.
    pub flow: Flow,
    /// At which home.
    pub home: HomeId,
    /// Whether it is reached at the flow's far end rather than at its Contact.
    pub behind_nat: bool,
    /// For how long, in seconds.
    pub expires_s: u32,
    /// What it says of itself.
    pub user_agent: Option<String>,
    /// When the REGISTER came, for people.
    pub at: WallTime,
}

impl Place {
    /// Where OPTIONS to it go. Nowhere, where nothing but its own connection leads to it: that says by itself whether it
    /// is there.
    pub fn asked_at(&self) -> Option<SipTarget> {
        let leads = match self.transport {
            Transport::Udp => true,
            Transport::Tcp => !self.behind_nat,
            Transport::Tls => false,
        };
        leads.then(|| SipTarget::at(self.host.clone(), self.port, self.transport))
    }
}

/// Where an account is registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// The account's name.
    pub username: String,
    /// The Call-ID of the REGISTER that made it.
    pub call_id: String,
    /// Its CSeq.
    pub cseq: u32,
    /// Where.
    pub place: Place,
    /// The node that heard it.
    pub node: NodeId,
    /// Until when.
    pub expires: ClusterTime,
}

/// What became of a `Register`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registered {
    /// It was done; this is where the account is registered now.
    Bound(Option<Arc<Binding>>),
    /// Its digest was used before.
    Replayed,
    /// A later REGISTER of the same Call-ID was taken before; nothing was changed.
    OutOfOrder,
    /// The account is not there any more.
    Unknown,
}

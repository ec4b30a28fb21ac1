//! Who is calling: from the source's address, the Request-URI and a few header fields to a trunk or gateway.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::party::Transport;
use crate::reject::Reject;
use crate::resource::{Gateway, Trunk};
use crate::resources::Resources;

/// What a request shows of who sent it.
pub struct Asked<'a> {
    /// Where it came from.
    pub source: SocketAddr,
    /// How.
    pub transport: Transport,
    /// At which port of ours.
    pub local_port: u16,
    /// The Request-URI's user, as it was written, escapes included.
    pub request_user: &'a str,
    /// The Request-URI's host.
    pub request_host: &'a str,
    /// The From URI's host.
    pub from_host: &'a str,
    /// The user name of an Authorization or Proxy-Authorization with our realm.
    pub username: Option<&'a str>,
    /// Reads a header field by its name.
    pub header: &'a dyn Fn(&str) -> Option<&'a str>,
}

/// Who is calling.
#[derive(Debug, Clone, PartialEq)]
pub enum Identified {
    /// A trunk, proven.
    Trunk {
        /// The trunk.
        trunk: Arc<Trunk>,
        /// How many bytes of the Request-URI's user, as written, are its tech prefix.
        strip: usize,
    },
    /// A gateway.
    Gateway {
        /// The gateway.
        gateway: Arc<Gateway>,
    },
    /// A trunk's account, if its digest is right: that is still to be checked.
    Claimed {
        /// The trunk.
        trunk: Arc<Trunk>,
        /// Which account, counted from one.
        account: u8,
        /// Bytes of tech prefix.
        strip: usize,
    },
    /// 407, or 401 to a REGISTER: one of these may answer it.
    Challenge {
        /// Trunks that take digest from this source.
        candidates: Vec<Arc<Trunk>>,
    },
    /// No.
    Refuse(Reject),
    /// Nobody admits this source.
    Unknown,
}

impl Resources {
    /// Who is calling, by the seven rules of the contract.
    pub fn identify(&self, _asked: &Asked<'_>) -> Identified {
        Identified::Unknown
    }

    /// Every trunk and gateway that admits a source: for OPTIONS, and before anything is kept for a stranger.
    pub fn is_known(&self, _source: SocketAddr, _transport: Transport, _local_port: u16) -> bool {
        false
    }

    /// Whether this party admits the source: for requests inside a dialog.
    pub fn admits(
        &self,
        _party: &crate::party::Party,
        _source: SocketAddr,
        _transport: Transport,
        _local_port: u16,
    ) -> bool {
        false
    }
}

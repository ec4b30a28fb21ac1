//! What a 3xx may do (RFC 3261 §8.1.3.4).

use std::net::IpAddr;

use ipnet::IpNet;
use machine::museum::planted;
use serde::{Deserialize, Serialize};

use crate::name::Name;
use crate::settings::AfterProgress;
use crate::target::{Host, is_dns_name};
use crate::words::words;

/// `[trunk.redirect]`: what a 3xx may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redirect {
    /// Whether a 3xx is followed at all.
    pub follow: bool,
    /// Hosts to which it is followed without asking.
    pub trusted: Vec<HostPattern>,
    /// What happens with any other.
    pub untrusted: Untrusted,
    /// The trunk that the forwarded call is admitted and rated on; absent: itself.
    pub reauthorize_as: Option<Name>,
    /// Hosts to which it is never followed.
    pub deny: Vec<HostPattern>,
    /// Longest chain.
    pub max_hops: u8,
    /// What happens to header fields inside the Contact.
    pub embedded_headers: EmbeddedHeaders,
    /// What happens once ringing was relayed.
    pub after_progress: AfterProgress,
}

impl Default for Redirect {
    fn default() -> Self {
        Redirect {
            follow: false,
            trusted: Vec::new(),
            untrusted: Untrusted::Reject,
            reauthorize_as: None,
            deny: Vec::new(),
            max_hops: 1,
            embedded_headers: EmbeddedHeaders::Drop,
            after_progress: AfterProgress::Stop,
        }
    }
}

/// A host in a redirect list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum HostPattern {
    /// An address or a network.
    Network(IpNet),
    /// A domain.
    Domain(String),
}

impl HostPattern {
    /// Reads an address, a network or a domain.
    pub fn parse(text: &str) -> Option<HostPattern> {
        if let Some(network) = parse_network(text) {
            return Some(HostPattern::Network(network));
        }
        is_dns_name(text).then(|| HostPattern::Domain(text.to_ascii_lowercase()))
    }

    /// Whether a host is meant: an address by a network that holds it, a name by the same name.
    pub fn covers(&self, host: &Host) -> bool {
        match (self, host) {
            (HostPattern::Network(network), Host::Ip(ip)) => network.contains(ip),
            (HostPattern::Domain(domain), Host::Name(name)) => {
                let bare = |name: &str| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
                if planted("redirect-trusted-by-its-ending") {
                    return bare(name).ends_with(&bare(domain));
                }
                bare(domain) == bare(name)
            }
            _ => false,
        }
    }
}

impl std::fmt::Display for HostPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            HostPattern::Network(network) => write!(f, "{network}"),
            HostPattern::Domain(domain) => f.write_str(domain),
        }
    }
}

/// Reads `192.0.2.0/24`, or an address alone as a network of one. Host bits are cleared.
pub fn parse_network(text: &str) -> Option<IpNet> {
    if let Ok(network) = text.parse::<IpNet>() {
        return Some(network.trunc());
    }
    text.parse::<IpAddr>().ok().map(IpNet::from)
}

words! {
    /// What happens with a redirect to a host that is not trusted.
    Untrusted {
        /// The call is authorised again, as a new forwarded call.
        Reauthorize = "reauthorize",
        /// It is refused.
        Reject = "reject",
    }
}

words! {
    /// What happens to header fields inside a redirect's Contact.
    EmbeddedHeaders {
        /// They are dropped.
        Drop = "drop",
        /// They are put into the request.
        Honour = "honour",
    }
}

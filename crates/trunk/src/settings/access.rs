//! Which sources are a trunk's, and how they prove it.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::party::Transport;
use crate::words::words;

/// `[trunk.access]`: which sources are this trunk's, and what they must show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Sources; empty (and no `hosts`): any source that authenticates.
    pub networks: Vec<IpNet>,
    /// Sources by name, followed through DNS.
    pub hosts: Vec<String>,
    /// Ports of ours that serve it; empty: all.
    pub ports: Vec<u16>,
    /// Transports that serve it.
    pub transports: Vec<Transport>,
    /// Whether IPv6 sources and targets are served.
    pub ipv6: bool,
    /// Proofs of which any listed one suffices.
    pub auth: Vec<AuthMethod>,
    /// Digest algorithms, in the order in which they are offered.
    pub digest: Vec<DigestAlgorithm>,
    /// Eight digits before `*` or `#` in the called number.
    pub tech_prefix: Option<String>,
    /// What a missing or wrong prefix gets.
    pub on_bad_prefix: OnBadPrefix,
    /// The header field that names the tenant; it identifies, never authorises.
    pub account_header: Option<String>,
    /// The From host that must be seen; `{account_sid}` is the tenant's.
    pub from_domain: Option<String>,
    /// Whether REGISTER is served.
    pub register: bool,
    /// Methods served; ACK and CANCEL always are.
    pub methods: Vec<String>,
    /// What any other method gets.
    pub unsupported_method: UnsupportedMethod,
    /// Option tags understood.
    pub extensions: Vec<String>,
    /// Whether Max-Forwards and Contact are demanded too.
    pub strict_headers: bool,
    /// Shortest binding, in seconds.
    pub expires_min: u32,
    /// Longest binding, in seconds.
    pub expires_max: u32,
}

impl Default for Access {
    fn default() -> Self {
        let methods = ["INVITE", "ACK", "CANCEL", "BYE", "REGISTER", "OPTIONS", "PRACK", "UPDATE"];
        Access {
            networks: Vec::new(),
            hosts: Vec::new(),
            ports: Vec::new(),
            transports: vec![Transport::Udp, Transport::Tcp, Transport::Tls],
            ipv6: true,
            auth: vec![AuthMethod::Digest, AuthMethod::Address, AuthMethod::Prefix],
            digest: vec![DigestAlgorithm::Md5],
            tech_prefix: None,
            on_bad_prefix: OnBadPrefix::Challenge,
            account_header: None,
            from_domain: None,
            register: true,
            methods: methods.map(String::from).to_vec(),
            unsupported_method: UnsupportedMethod::Refuse,
            extensions: ["timer", "100rel"].map(String::from).to_vec(),
            strict_headers: false,
            expires_min: 30,
            expires_max: 3600,
        }
    }
}

impl Access {
    /// Whether requests of this method are served.
    pub fn serves(&self, method: &str) -> bool {
        matches!(method, "ACK" | "CANCEL") || self.methods.iter().any(|served| served == method)
    }

    /// Whether this proof is taken.
    pub fn takes(&self, method: AuthMethod) -> bool {
        self.auth.contains(&method)
    }
}

words! {
    /// How a source proves that it is the trunk.
    AuthMethod {
        /// RFC 8760 digest.
        Digest = "digest",
        /// Its address.
        Address = "address",
        /// Its tech prefix, from an address of its own.
        Prefix = "prefix",
    }
}

words! {
    /// A digest algorithm (RFC 8760).
    DigestAlgorithm {
        /// MD5.
        Md5 = "MD5",
        /// SHA-256.
        Sha256 = "SHA-256",
    }
}

impl DigestAlgorithm {
    /// As `auth` knows it.
    pub const fn algorithm(self) -> auth::Algorithm {
        match self {
            DigestAlgorithm::Md5 => auth::Algorithm::Md5,
            DigestAlgorithm::Sha256 => auth::Algorithm::Sha256,
        }
    }
}

words! {
    /// What a missing or wrong tech prefix gets.
    OnBadPrefix {
        /// 407, so that digest can be tried.
        Challenge = "challenge",
        /// 403.
        Reject = "reject",
    }
}

words! {
    /// What a method outside the profile gets.
    UnsupportedMethod {
        /// 405 with Allow.
        Refuse = "405",
        /// Silence.
        Ignore = "ignore",
    }
}

//! The node file: what one process needs to know before it can ask the cluster anything.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use trunk::settings::PortRange;
use trunk::{Host, Name, Transport, Word};

use crate::rules;
use crate::visit::Visit;

/// A node file, with its defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFile {
    /// `[node]`.
    pub node: NodeSection,
    /// `[sip]`.
    pub sip: SipSection,
    /// `[media]`.
    pub media: MediaSection,
    /// `[cluster]`; absent: a cluster of one.
    pub cluster: Option<ClusterSection>,
    /// `[[home]]`; empty: the node's own address is its only home.
    pub homes: Vec<Home>,
    /// `[http]`.
    pub http: HttpSection,
    /// `[log]`.
    pub log: LogSection,
}

/// `[node]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSection {
    /// Unique in the cluster.
    pub id: u64,
    /// Its name; `node-ID` unless written.
    pub name: Name,
    /// Where the log, CDRs and state are kept.
    pub data_dir: PathBuf,
    /// Where it stands.
    pub region: Option<Name>,
}

/// `[sip]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SipSection {
    /// Sockets.
    pub listen: Vec<Listen>,
    /// What Via and Contact say instead of the socket's address.
    pub advertise: Option<Host>,
    /// Digest realm and the domain of our URIs.
    pub domain: String,
    /// What sources get that nobody admits.
    pub unknown_sources: UnknownSources,
    /// Name servers; empty: the system's.
    pub dns: Vec<SocketAddr>,
    /// `[sip.tls]`.
    pub tls: Option<TlsSection>,
}

/// One `listen` of `[sip]`: `udp://127.0.0.1:5060`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listen {
    /// The transport.
    pub transport: Transport,
    /// The address and port.
    pub address: SocketAddr,
}

/// `[sip.tls]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsSection {
    /// The certificate chain's file.
    pub certificate: PathBuf,
    /// The key's file.
    pub key: PathBuf,
    /// Authorities that certificates of peers which connect to us must come from; absent: none is asked for.
    pub client_ca: Option<PathBuf>,
    /// Authorities of peers that we connect to; absent: the system's, and those of `client_ca`.
    pub ca: Option<PathBuf>,
}

/// `[media]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaSection {
    /// Where RTP sockets are bound.
    pub address: IpAddr,
    /// What SDP says instead.
    pub advertise: Option<IpAddr>,
    /// Their ports.
    pub ports: PortRange,
}

/// `[cluster]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterSection {
    /// Where other nodes reach this one.
    pub listen: SocketAddr,
    /// The first members.
    pub peers: Vec<Peer>,
    /// The shared secret's file.
    pub secret_file: Option<PathBuf>,
    /// Certificate instead of a secret.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// Its authority.
    pub ca: Option<PathBuf>,
    /// Silence before a node is held dead.
    pub detect: Duration,
    /// What fixed homes do without a quorum.
    pub on_quorum_loss: OnQuorumLoss,
}

/// One of `peers`: `1@127.0.0.1:7000`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The node.
    pub id: u64,
    /// Its address or name, with a port.
    pub address: String,
}

/// `[[home]]`: a service address that moves between nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// Its name.
    pub name: Name,
    /// The address.
    pub address: IpNet,
    /// The holder adds it here.
    pub interface: Option<String>,
    /// Or a program moves it.
    pub hook: Option<PathBuf>,
    /// Ports: `udp:5060`.
    pub sip: Vec<HomePort>,
    /// RTP ports.
    pub media_ports: PortRange,
    /// Who may hold it; empty: every node.
    pub nodes: Vec<u64>,
    /// Where it stands.
    pub region: Option<Name>,
}

/// One of a home's `sip` ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HomePort {
    /// The transport.
    pub transport: Transport,
    /// The port.
    pub port: u16,
}

/// `[http]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSection {
    /// Where the API listens.
    pub listen: SocketAddr,
    /// The token's file.
    pub token_file: Option<PathBuf>,
    /// Requests per token.
    pub rate_per_minute: u32,
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSection {
    /// As in `RUST_LOG`.
    pub filter: String,
    /// How lines look.
    pub format: LogFormat,
}

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$vmeta])* $variant),+ }

        impl Word for $name {
            const ALL: &'static [$name] = &[$($name::$variant),+];

            fn word(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
        }
    };
}

words! {
    /// What sources get that no trunk and no gateway admits.
    UnknownSources {
        /// Nothing.
        Drop = "drop",
        /// 403.
        Reject = "reject",
    }
}

words! {
    /// What fixed homes do without a quorum.
    OnQuorumLoss {
        /// They fall silent.
        Mute = "mute",
        /// They go on relaying media and BYE.
        Keep = "keep",
    }
}

words! {
    /// How log lines look.
    LogFormat {
        /// For people.
        Text = "text",
        /// For machines.
        Json = "json",
    }
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

impl NodeFile {
    /// The node with this id and a default for everything else.
    pub fn new(id: u64) -> NodeFile {
        let listen = |transport, port| Listen { transport, address: SocketAddr::new(LOOPBACK, port) };
        NodeFile {
            node: NodeSection {
                id,
                name: default_name(id),
                data_dir: PathBuf::from("./banyan-data"),
                region: None,
            },
            sip: SipSection {
                listen: vec![listen(Transport::Udp, 5060), listen(Transport::Tcp, 5060)],
                advertise: None,
                domain: "localhost".to_owned(),
                unknown_sources: UnknownSources::Drop,
                dns: Vec::new(),
                tls: None,
            },
            media: MediaSection {
                address: LOOPBACK,
                advertise: None,
                ports: PortRange { first: 10_000, last: 20_000 },
            },
            cluster: None,
            homes: Vec::new(),
            http: HttpSection {
                listen: SocketAddr::new(LOOPBACK, 8080),
                token_file: None,
                rate_per_minute: 200,
            },
            log: LogSection { filter: "info".to_owned(), format: LogFormat::Text },
        }
    }

    pub(crate) fn visit<V: Visit>(&mut self, v: &mut V) {
        v.table("node", |v| {
            v.needed("id", &mut self.node.id);
            self.node.name = default_name(self.node.id);
            v.field("name", &mut self.node.name);
            v.field("data_dir", &mut self.node.data_dir);
            v.field("region", &mut self.node.region);
        });
        v.table("sip", |v| {
            v.field("listen", &mut self.sip.listen);
            v.field("advertise", &mut self.sip.advertise);
            v.checked("domain", &mut self.sip.domain, rules::domain);
            v.field("unknown_sources", &mut self.sip.unknown_sources);
            v.field("dns", &mut self.sip.dns);
            v.maybe_table("tls", &mut self.sip.tls, TlsSection::default, |tls, v| {
                v.needed("certificate", &mut tls.certificate);
                v.needed("key", &mut tls.key);
                v.field("client_ca", &mut tls.client_ca);
                v.field("ca", &mut tls.ca);
            });
        });
        v.table("media", |v| {
            v.field("address", &mut self.media.address);
            v.field("advertise", &mut self.media.advertise);
            v.field("ports", &mut self.media.ports);
        });
        v.maybe_table("cluster", &mut self.cluster, ClusterSection::new, ClusterSection::visit);
        v.tables("home", &mut self.homes, Home::new, Home::visit);
        v.table("http", |v| {
            v.field("listen", &mut self.http.listen);
            v.field("token_file", &mut self.http.token_file);
            v.number("rate_per_minute", &mut self.http.rate_per_minute, 1..=1_000_000);
        });
        v.table("log", |v| {
            v.checked("filter", &mut self.log.filter, rules::something);
            v.field("format", &mut self.log.format);
        });
    }
}

impl ClusterSection {
    fn new() -> ClusterSection {
        ClusterSection {
            listen: SocketAddr::new(LOOPBACK, 7000),
            peers: Vec::new(),
            secret_file: None,
            certificate: None,
            key: None,
            ca: None,
            detect: Duration::from_millis(500),
            on_quorum_loss: OnQuorumLoss::Mute,
        }
    }

    fn visit<V: Visit>(&mut self, v: &mut V) {
        v.field("listen", &mut self.listen);
        v.field("peers", &mut self.peers);
        v.field("secret_file", &mut self.secret_file);
        v.field("certificate", &mut self.certificate);
        v.field("key", &mut self.key);
        v.field("ca", &mut self.ca);
        v.field("detect", &mut self.detect);
        v.field("on_quorum_loss", &mut self.on_quorum_loss);
    }
}

impl Home {
    fn new() -> Home {
        Home {
            name: default_name(0),
            address: IpNet::from(LOOPBACK),
            interface: None,
            hook: None,
            sip: vec![
                HomePort { transport: Transport::Udp, port: 5060 },
                HomePort { transport: Transport::Tcp, port: 5060 },
            ],
            media_ports: PortRange { first: 10_000, last: 20_000 },
            nodes: Vec::new(),
            region: None,
        }
    }

    fn visit<V: Visit>(&mut self, v: &mut V) {
        v.needed("name", &mut self.name);
        v.needed("address", &mut self.address);
        v.text("interface", &mut self.interface, rules::something);
        v.field("hook", &mut self.hook);
        v.field("sip", &mut self.sip);
        v.field("media_ports", &mut self.media_ports);
        v.field("nodes", &mut self.nodes);
        v.field("region", &mut self.region);
    }
}

fn default_name(id: u64) -> Name {
    Name::new(&format!("node-{id}")).expect("letters, a dash and digits make a name")
}

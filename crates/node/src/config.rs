//! What a node is told about itself.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use call::{NodeId, Secret};
use cluster::{APPLY_VERSION, FloatingHome, Pace};
use transaction::Times;
use transport::{StreamLimits, Tls};
use trunk::{Name, NameError, Transport};

/// What a node is told about itself: the node file, read.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Unique in the cluster.
    pub id: NodeId,
    /// For people; also the name of its own, fixed, home.
    pub name: String,
    /// Where it listens for SIP.
    pub listen: Vec<(Transport, SocketAddr)>,
    /// What Via and Contact say instead of the bound address.
    pub advertise: Option<String>,
    /// The domain of our URIs and of Warning; the digest realm.
    pub domain: String,
    /// Whether sources that nobody admits hear 403; otherwise nothing.
    pub reject_unknown_sources: bool,
    /// The address that RTP is bound to.
    pub media: IpAddr,
    /// The address that session descriptions say instead.
    pub media_advertise: Option<IpAddr>,
    /// The ports that RTP and RTCP use.
    pub media_ports: RangeInclusive<u16>,
    /// How long a port pair rests between calls.
    pub media_rest: Duration,
    /// SIP's timers.
    pub times: Times,
    /// When commands are committed.
    pub pace: Pace,
    /// What strangers may take of us over streams.
    pub streams: StreamLimits,
    /// Its certificate; absent: it speaks no TLS.
    pub tls: Option<Tls>,
    /// The floating homes of the cluster: the same list in every node's file.
    pub floating: Vec<FloatingHome>,
    /// The other nodes; none: a cluster of one.
    pub cluster: Option<ClusterConfig>,
    /// The newest meaning of commands that this process says it knows (`cluster::Config::supports`).
    pub supports: u32,
}

/// What a node of several is told.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// Those that found the cluster, this node among them; none: it waits until it is let into one.
    pub peers: Vec<env::Peer>,
    /// After how long a silent node counts as dead.
    pub detect: Duration,
    /// Whether calls of the node's own address go on without a majority (`on_quorum_loss = "keep"`).
    pub keeps: bool,
    /// The key of tags and branches, the same on all nodes.
    pub secret: Secret,
}

/// A home: a service address and the media that goes with it.
#[derive(Clone, Debug)]
pub struct HomeConfig {
    /// Its name in the cluster.
    pub name: Name,
    /// Where SIP is listened for.
    pub listen: Vec<(Transport, SocketAddr)>,
    /// What Via and Contact say instead of the bound address.
    pub advertise: Option<String>,
    /// The address that RTP is bound to.
    pub media: IpAddr,
    /// The address that session descriptions say instead.
    pub media_advertise: Option<IpAddr>,
    /// The ports that RTP and RTCP use.
    pub media_ports: RangeInclusive<u16>,
}

impl From<&FloatingHome> for HomeConfig {
    fn from(home: &FloatingHome) -> HomeConfig {
        HomeConfig {
            name: home.name.clone(),
            listen: home.sip.iter().map(|(t, port)| (*t, SocketAddr::new(home.address, *port))).collect(),
            advertise: None,
            media: home.address,
            media_advertise: None,
            media_ports: home.media_ports.first..=home.media_ports.last,
        }
    }
}

impl NodeConfig {
    /// A node that listens there, with the defaults of a node file for everything else.
    pub fn new(id: NodeId, name: &str, listen: Vec<(Transport, SocketAddr)>) -> NodeConfig {
        NodeConfig {
            id,
            name: name.to_owned(),
            listen,
            advertise: None,
            domain: "localhost".to_owned(),
            reject_unknown_sources: false,
            media: IpAddr::V4(Ipv4Addr::LOCALHOST),
            media_advertise: None,
            media_ports: 10_000..=20_000,
            media_rest: Duration::from_secs(2),
            times: Times::default(),
            pace: Pace::default(),
            streams: StreamLimits::default(),
            tls: None,
            floating: Vec::new(),
            cluster: None,
            supports: APPLY_VERSION,
        }
    }

    /// Whether calls of the node's own address go on without a majority.
    pub fn keeps(&self) -> bool {
        self.cluster.as_ref().is_some_and(|cluster| cluster.keeps)
    }

    /// Whether this address is the node's own, which no other node can hold.
    pub fn is_own(&self, ip: IpAddr) -> bool {
        !self.floating.iter().any(|home| home.address == ip)
    }

    /// Whether what leaves from this address may leave without a majority.
    pub fn keeps_at(&self, ip: IpAddr) -> bool {
        self.keeps() && self.is_own(ip)
    }

    /// The node's own, fixed, home.
    ///
    /// # Errors
    /// The node's name can't be a home's.
    pub fn own_home(&self) -> Result<HomeConfig, NameError> {
        Ok(HomeConfig {
            name: Name::new(&self.name)?,
            listen: self.listen.clone(),
            advertise: self.advertise.clone(),
            media: self.media,
            media_advertise: self.media_advertise,
            media_ports: self.media_ports.clone(),
        })
    }
}

//! What is measured: a node, or Kamailio, each as a process on its own core with its own addresses.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;
use tests::http;
use tests::node::{Node, binary};
use tests::place::Place;
use tests::process::Process;
use tests::trio::{Setup, Trio};
use tests::{resources, sipp, source, wait};

use crate::BenchError;
use crate::figures::Syncs;
use crate::system::{self, SUBJECT_CORE};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// This project's node, committing each call to disk.
    Banyan,
    /// Three of them, each call committed by a quorum; calls come to all three.
    Cluster,
    /// Debian's Kamailio, keeping all in memory.
    Kamailio,
}

impl Kind {
    /// Its name in the tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Banyan => "banyan",
            Self::Cluster => "cluster",
            Self::Kamailio => "kamailio",
        }
    }
}

/// A subject that runs.
pub enum Subject {
    /// A node.
    Banyan(Box<Node>),
    /// Three nodes, each with a home.
    Cluster(Box<Trio>),
    /// Kamailio: its addresses, its directory, its process.
    Kamailio {
        /// Its addresses.
        place: Place,
        /// Where its configuration is.
        _dir: TempDir,
        /// The parent of its processes.
        process: Process,
    },
}

impl Subject {
    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// When it does not, or when the node's data would be in memory.
    pub fn start(kind: Kind, real_time: bool) -> Result<Self, BenchError> {
        match kind {
            Kind::Banyan => start_banyan(real_time),
            Kind::Cluster => start_cluster(real_time),
            Kind::Kamailio => start_kamailio(real_time),
        }
    }

    /// Where calls go, and between whom.
    pub fn lanes(&self) -> Vec<Lane> {
        let one = |place: &Place| Lane {
            target: (place.address(1), 5060).into(),
            caller: (place.address(2), 5080).into(),
            callee: (place.address(3), 5070).into(),
            number: resources::FAR_NUMBER.to_owned(),
        };
        match self {
            Self::Banyan(node) => vec![one(node.place())],
            Self::Kamailio { place, .. } => vec![one(place)],
            Self::Cluster(trio) => (1..=HOMES).map(|home| lane(trio, home)).collect(),
        }
    }

    /// All its processes.
    pub fn processes(&self) -> Vec<u32> {
        let roots: Vec<u32> = match self {
            Self::Banyan(node) => node.process().map(Process::id).into_iter().collect(),
            Self::Cluster(trio) => trio.running().filter_map(Node::process).map(Process::id).collect(),
            Self::Kamailio { process, .. } => vec![process.id()],
        };
        roots.into_iter().flat_map(system::tree).collect()
    }

    /// How often and how slowly it made its log durable so far; nothing for a peer that has no log.
    pub fn syncs(&self) -> Syncs {
        let read = |node: &Node| {
            let metrics = http::get(node.http(), "/metrics").map(|answer| answer.body);
            Syncs::read(&metrics.unwrap_or_default())
        };
        match self {
            Self::Banyan(node) => read(node),
            Self::Cluster(trio) => Syncs::sum(trio.running().map(read)),
            Self::Kamailio { .. } => Syncs::default(),
        }
    }
}

/// Where calls go, where their callers and callees sit, and the number that leads there.
#[derive(Debug, Clone)]
pub struct Lane {
    /// Where calls go.
    pub target: SocketAddr,
    /// Where callers sit.
    pub caller: SocketAddr,
    /// Where callees sit.
    pub callee: SocketAddr,
    /// The number that leads to the callees.
    pub number: String,
}

/// One lane a home: three homes, so each node holds one.
const HOMES: u8 = 3;

fn lane(trio: &Trio, home: u8) -> Lane {
    Lane {
        target: trio.home(home),
        caller: trio.peer(20 + home),
        callee: trio.peer(30 + home),
        number: format!("{}1234567", prefix(home)),
    }
}

fn prefix(home: u8) -> String {
    format!("+4930{home}")
}

impl Drop for Subject {
    fn drop(&mut self) {
        match self {
            // What was measured is over; draining would wait for calls that the generator has left behind.
            Self::Banyan(node) => node.kill(),
            Self::Cluster(trio) => trio.nodes.iter_mut().for_each(Node::kill),
            Self::Kamailio { process, .. } => {
                // The parent ends its children on SIGTERM; killed, it would leave them.
                process.signal(Signal::TERM);
                if process.wait(Duration::from_secs(10)).is_none() {
                    process.kill();
                }
            }
        }
    }
}

/// The command line of Kamailio, as the bench prints it: its default allocator would cost it five times as much.
pub const KAMAILIO: &str = "kamailio -x fm -X fm -DD -m 1024 -M 16 -b 4194304 -f kamailio.cfg";

fn start_banyan(real_time: bool) -> Result<Subject, BenchError> {
    let mut node = Node::new();
    system::refuse_memory(node.dir())?;
    let quiet = format!("{}\n[log]\nfilter = \"warn\"\n", node.default_node_file());
    node.write_node_file(&quiet);
    let mut command = system::pinned(SUBJECT_CORE, real_time, &binary().to_string_lossy());
    let config = node.dir().join("node.toml");
    node.spawn_command(command.arg("server").arg("--config").arg(config));
    node.wait_ready();
    let direct = "\n[trunk.media]\nmode = \"direct\"\n";
    node.apply(&(resources::office_and_carrier(&node, sipp::Transport::Udp, 100_000) + direct));
    Ok(Subject::Banyan(Box::new(node)))
}

fn start_cluster(real_time: bool) -> Result<Subject, BenchError> {
    let setup = Setup {
        homes: HOMES,
        detect: Duration::from_millis(500),
        more: "\n[log]\nfilter = \"warn\"\n".to_owned(),
        launcher: system::pin(SUBJECT_CORE, real_time),
        ..Setup::default()
    };
    let trio = Trio::start(&setup, cluster_resources);
    trio.nodes.iter().try_for_each(|node| system::refuse_memory(node.dir()))?;
    Ok(Subject::Cluster(Box::new(trio)))
}

/// One trunk that calls at every home, and a gateway for each.
fn cluster_resources(trio: &Trio) -> String {
    let lanes: Vec<Lane> = (1..=HOMES).map(|home| lane(trio, home)).collect();
    let networks: Vec<String> = lanes.iter().map(|lane| format!("\"{}/32\"", lane.caller.ip())).collect();
    let mut toml = format!(
        "[[trunk]]\nname = \"office\"\ncaller_ids = [\"+31201234567\"]\ndefault_caller_id = \"+31201234567\"\n\n\
         [trunk.access]\nnetworks = [{}]\nauth = [\"address\"]\n\n[trunk.media]\nmode = \"direct\"\n\n\
         [trunk.limits]\nconcurrent = 100000\nper_minute = 1000000\nper_hour = 10000000\n\n",
        networks.join(", ")
    );
    for (home, lane) in (1..).zip(&lanes) {
        toml += &format!(
            "[[gateway]]\nname = \"carrier-{home}\"\ntargets = [\"sip:{}\"]\nnetworks = [\"{}/32\"]\n\
             prefixes = [\"{}\"]\nconcurrent = 100000\n\n",
            lane.callee,
            lane.callee.ip(),
            prefix(home)
        );
    }
    toml
}

fn start_kamailio(real_time: bool) -> Result<Subject, BenchError> {
    let system = |what| move |error| BenchError::System { what, error };
    let place = Place::take().map_err(system("a block of loopback addresses"))?;
    let dir = TempDir::with_prefix("banyan-bench-").map_err(system("a temporary directory"))?;
    let template = fs::read_to_string(source::root().join("tests/bench/kamailio.cfg"))
        .map_err(system("tests/bench/kamailio.cfg"))?;
    let config = template
        .replace("@LISTEN@", &format!("{}:5060", place.address(1)))
        .replace("@CALLEE@", &format!("{}:5070", place.address(3)));
    fs::write(dir.path().join("kamailio.cfg"), config).map_err(system("kamailio.cfg"))?;
    let mut words = KAMAILIO.split(' ');
    let program = words.next().unwrap_or_default();
    let mut command = system::pinned(SUBJECT_CORE, real_time, program);
    command.args(words).arg("-Y").arg(dir.path()).current_dir(dir.path());
    let mut process =
        Process::start(&mut command, &dir.path().join("log")).map_err(system("starting kamailio"))?;
    let target = SocketAddr::from((place.address(1), 5060));
    // It answers when its port is taken.
    let up = wait::for_some(Duration::from_secs(15), || {
        if process.ended().is_some() {
            return Some(false);
        }
        UdpSocket::bind(target).is_err().then_some(true)
    });
    if up != Some(true) {
        return Err(BenchError::NotStarted { name: "kamailio", words: process.tail(20) });
    }
    wait::pass(Duration::from_millis(500));
    Ok(Subject::Kamailio { place, _dir: dir, process })
}

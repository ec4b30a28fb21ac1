//! Three nodes on loopback as one cluster, with homes that float between them or with each node's own.
//!
//! Addresses of the block: `.1` to `.9` are nodes, `.11` to `.19` floating homes, the rest is for peers.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::node::Node;
use crate::place::Place;
use crate::record::Record;
use crate::wait;

/// How a cluster of three is set up.
#[derive(Debug, Clone)]
pub struct Setup {
    /// How many floating homes there are. None: each node's own address is its only, fixed, home.
    pub homes: u8,
    /// The silence after which a node is held dead.
    pub detect: Duration,
    /// Whether calls of a node's own address go on without a majority.
    pub keeps: bool,
    /// What else stands in each node's file.
    pub more: String,
    /// What stands before each node's command line: nothing, or a launcher with its words.
    pub launcher: Vec<String>,
}

impl Default for Setup {
    /// A home for each node, and a patience that a busy machine does not use up.
    fn default() -> Self {
        Self {
            homes: 3,
            detect: Duration::from_secs(1),
            keeps: false,
            more: String::new(),
            launcher: Vec::new(),
        }
    }
}

/// Three nodes, and those that join them later.
#[derive(Debug)]
pub struct Trio {
    place: Arc<Place>,
    setup: Setup,
    /// The nodes, by their ids less one.
    pub nodes: Vec<Node>,
}

impl Trio {
    /// Three nodes, running and ready, with the resources of `toml`.
    ///
    /// # Panics
    /// When they do not become ready or refuse the resources.
    pub fn start(setup: &Setup, toml: impl FnOnce(&Trio) -> String) -> Self {
        Self::start_with(setup, |_, file| file, toml)
    }

    /// As [`Trio::start`], with node files that the test has altered.
    ///
    /// # Panics
    /// As [`Trio::start`].
    pub fn start_with(
        setup: &Setup,
        alter: impl Fn(&Trio, String) -> String,
        toml: impl FnOnce(&Trio) -> String,
    ) -> Self {
        let place = Arc::new(Place::take().expect("a block of loopback addresses is free"));
        let mut trio = Self { place, setup: setup.clone(), nodes: Vec::new() };
        for id in 1..=NODES {
            trio.add(id, true);
            let node = trio.node(id);
            node.write_node_file(&alter(&trio, trio.node_file(node, true)));
        }
        trio.nodes.iter_mut().for_each(|node| node.spawn_by(&setup.launcher));
        trio.nodes.iter_mut().for_each(Node::wait_ready);
        let resources = toml(&trio);
        trio.node(1).apply(&resources);
        trio.spread();
        trio
    }

    /// Makes a further node; nothing of it runs yet. Without `founds` it waits to be let in.
    ///
    /// # Panics
    /// When its files can't be written.
    pub fn add(&mut self, id: u8, founds: bool) -> &mut Node {
        let node = Node::member(self.place.clone(), id);
        fs::write(node.dir().join("cluster.key"), SECRET).expect("the key is written");
        node.write_node_file(&self.node_file(&node, founds));
        self.nodes.push(node);
        self.nodes.last_mut().expect("one was just put there")
    }

    /// What [`Trio::add`] writes into the node's file, to be altered by a test.
    pub fn node_file(&self, node: &Node, founds: bool) -> String {
        let mut file = node.default_node_file();
        let listen = self.link(node.id());
        let detect = self.setup.detect.as_millis();
        let _ = write!(
            file,
            "\n[cluster]\nlisten = \"{listen}\"\nsecret_file = \"cluster.key\"\ndetect = \"{detect}ms\"\n"
        );
        if self.setup.keeps {
            file += "on_quorum_loss = \"keep\"\n";
        }
        if founds {
            let peers = (1..=NODES).map(|id| format!("\"{id}@{}\"", self.link(id)));
            let _ = writeln!(file, "peers = [{}]", peers.collect::<Vec<_>>().join(", "));
        }
        for home in 1..=self.setup.homes {
            let _ = write!(
                file,
                "\n[[home]]\nname = \"h{home}\"\naddress = \"{}/32\"\nsip = [\"udp:5060\", \"tcp:5060\"]\n\
                 media_ports = \"20000-29999\"\n",
                self.home(home).ip()
            );
        }
        file + &self.setup.more
    }

    /// A node by its id.
    ///
    /// # Panics
    /// When there is none.
    pub fn node(&self, id: u8) -> &Node {
        self.nodes.iter().find(|node| node.id() == id).expect("the node was made")
    }

    /// A node by its id.
    ///
    /// # Panics
    /// When there is none.
    pub fn node_mut(&mut self, id: u8) -> &mut Node {
        self.nodes.iter_mut().find(|node| node.id() == id).expect("the node was made")
    }

    /// The nodes whose processes run.
    pub fn running(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.process().is_some())
    }

    /// Where a floating home listens for SIP.
    pub fn home(&self, number: u8) -> SocketAddr {
        (self.place.address(10 + number), 5060).into()
    }

    /// Where a node listens for the others.
    pub fn link(&self, id: u8) -> SocketAddr {
        (self.place.address(id), 7000).into()
    }

    /// An address of the block for a peer: 20 and above.
    pub fn peer(&self, number: u8) -> SocketAddr {
        (self.place.address(number), 5080).into()
    }

    /// Who leads, as the nodes that run agree; `None` while they do not.
    pub fn leader(&self) -> Option<u8> {
        let mut leaders = self.running().map(|node| {
            let nodes = items(node, "nodes");
            let leader = nodes.iter().find(|node| node["leader"] == true)?;
            leader["id"].as_u64()
        });
        let first = leaders.next()??;
        leaders.all(|leader| leader == Some(first)).then(|| u8::try_from(first).ok())?
    }

    /// Who holds a floating home, as a node knows.
    pub fn holder(&self, asked: &Node, home: u8) -> Option<u8> {
        let name = format!("h{home}");
        let homes = items(asked, "homes");
        let home = homes.iter().find(|home| home["name"] == name.as_str())?;
        u8::try_from(home["holder"].as_u64()?).ok()
    }

    /// Waits until all running nodes agree on a leader.
    ///
    /// # Panics
    /// When they do not.
    pub fn await_leader(&self) -> u8 {
        wait::for_some(PATIENCE, || self.leader()).expect("the nodes agree on a leader")
    }

    /// Waits until the floating homes are shared out, so that each node holds as many as any other, or one less.
    ///
    /// # Panics
    /// When they are not.
    pub fn spread(&self) {
        let count = self.running().count();
        wait::until("the homes are shared out", PATIENCE, || {
            let Some(node) = self.running().next() else { return false };
            let holders: Vec<u8> =
                (1..=self.setup.homes).filter_map(|home| self.holder(node, home)).collect();
            let share = |id: u8| holders.iter().filter(|holder| **holder == id).count();
            let shares = self.running().map(|node| share(node.id()));
            let (least, most) =
                shares.fold((usize::MAX, 0), |(least, most), it| (least.min(it), most.max(it)));
            holders.len() == usize::from(self.setup.homes) && (count < 2 || most <= least + 1)
        });
    }

    /// Waits until no call is up on any node, then until every running node has the same records, at least so many.
    /// They are one node's.
    ///
    /// # Panics
    /// When calls remain, records are missing, or two nodes have different ones.
    pub fn settle(&self, at_least: usize) -> Vec<Record> {
        let all: Vec<Vec<Record>> = self.running().map(|node| node.settle(at_least)).collect();
        let ids = |records: &[Record]| {
            let mut ids: Vec<String> = records.iter().map(|record| record.text("id").to_owned()).collect();
            ids.sort_unstable();
            ids
        };
        let mut all = all.into_iter();
        let first = all.next().expect("a node runs");
        for other in all {
            assert!(ids(&other) == ids(&first), "{} records here, {} there", first.len(), other.len());
        }
        first
    }

    /// Fails if any node panicked.
    ///
    /// # Panics
    /// With its last words.
    pub fn assert_no_panic(&self) {
        for node in &self.nodes {
            assert!(!node.log().contains("panicked"), "node {}: {}", node.id(), node.log_tail());
        }
    }
}

/// What `GET /v1/KIND` lists; nothing where the node does not answer.
pub fn items(node: &Node, kind: &str) -> Vec<Value> {
    let answer = crate::http::get(node.http(), &format!("/v1/{kind}"));
    let body = answer.ok().and_then(|answer| serde_json::from_str::<Value>(&answer.body).ok());
    body.and_then(|body| body.get("items")?.as_array().cloned()).unwrap_or_default()
}

const NODES: u8 = 3;
/// Only the test's own processes ever see it.
const SECRET: &str = "6f1d0c2b9a8e7d6c5b4a39281706f5e4d3c2b1a09f8e7d6c5b4a392817060504\n";
const PATIENCE: Duration = Duration::from_secs(30);

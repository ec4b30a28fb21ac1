//! Three nodes, each on a host of its own, with a floating home for each on the hosts' interfaces; a carrier and
//! a PBX beside them.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::Net;
use crate::process::Process;
use crate::record::Record;
use crate::{http, node, wait};

/// Three hosts with a node each, a carrier and a PBX.
#[derive(Debug)]
pub struct Hosts {
    nodes: Vec<Option<Process>>,
    detect: Duration,
    dir: TempDir,
    /// The network. Dropped last: it kills what is left.
    pub net: Net,
}

impl Hosts {
    /// Three nodes, running, each with a home.
    ///
    /// # Panics
    /// When they do not become ready.
    pub fn start(detect: Duration) -> Hosts {
        let net = Net::build(&["host-1", "host-2", "host-3", "carrier", "pbx"]);
        let dir = TempDir::with_prefix("banyan-test-").expect("a temporary directory");
        let key = dir.path().join("cluster.key");
        fs::write(&key, SECRET).expect("the key is written");
        fs::set_permissions(key, fs::Permissions::from_mode(0o600)).expect("it is ours");
        let mut hosts = Hosts { nodes: vec![None, None, None], detect, dir, net };
        for node in NODES {
            fs::write(hosts.file(node), hosts.node_file(node)).expect("the node file is written");
        }
        NODES.into_iter().for_each(|node| hosts.run(node));
        NODES.into_iter().for_each(|node| hosts.wait_ready(node));
        hosts.wait_even();
        hosts
    }

    /// The host of a node.
    pub fn host(node: u8) -> &'static str {
        match node {
            1 => "host-1",
            2 => "host-2",
            _ => "host-3",
        }
    }

    /// Where a floating home listens for SIP.
    pub fn home(number: u8) -> SocketAddr {
        (Net::at(100 + number), 5060).into()
    }

    /// Starts a node.
    ///
    /// # Panics
    /// When the binary is missing.
    pub fn run(&mut self, node: u8) {
        let mut command = self.net.command(Self::host(node), node::binary());
        command.args(["server", "--config"]).arg(self.file(node)).current_dir(self.dir.path());
        let process = Process::start(&mut command, &self.log_file(node));
        let process = process.expect("`banyan server` starts; build it with `cargo build -p banyan`");
        *self.slot(node) = Some(process);
    }

    /// SIGKILL.
    pub fn kill(&mut self, node: u8) {
        if let Some(mut process) = self.slot(node).take() {
            process.kill();
        }
    }

    /// A signal to a node's process.
    pub fn signal(&self, node: u8, signal: Signal) {
        if let Some(process) = self.nodes.get(usize::from(node) - 1).and_then(Option::as_ref) {
            process.signal(signal);
        }
    }

    /// Kills a node's guard.
    ///
    /// # Panics
    /// When there is none.
    pub fn kill_guard(&self, node: u8) {
        let server = self.nodes.get(usize::from(node) - 1).and_then(Option::as_ref).map_or(0, Process::id);
        let children = fs::read_to_string(format!("/proc/{server}/task/{server}/children"));
        let children = children.expect("the node runs");
        let guard =
            children.split_whitespace().find_map(|pid| rustix::process::Pid::from_raw(pid.parse().ok()?));
        let guard = guard.expect("a server with homes on interfaces has a guard");
        rustix::process::kill_process(guard, Signal::KILL).expect("it runs");
    }

    /// Waits until a node is ready.
    ///
    /// # Panics
    /// With its last words when that does not come.
    pub fn wait_ready(&self, node: u8) {
        let is_ready = || self.ask(node, "/readyz").is_some().then_some(());
        let ready = wait::for_some(PATIENCE, is_ready);
        assert!(ready.is_some(), "node {node} is not ready; its log ends:\n{}", self.log_tail(node));
    }

    /// Waits until each node holds one floating home, where all three know it.
    ///
    /// # Panics
    /// When that does not come.
    pub fn wait_even(&self) {
        wait::until("each node holds a home", PATIENCE, || {
            NODES.into_iter().all(|asked| {
                let mut holders: Vec<_> =
                    NODES.into_iter().filter_map(|home| self.holder(asked, home)).collect();
                holders.sort_unstable();
                holders == NODES
            })
        });
    }

    /// Who holds a home, as `asked` knows.
    pub fn holder(&self, asked: u8, home: u8) -> Option<u8> {
        let homes = self.items(asked, "homes")?;
        let name = format!("home-{home}");
        let found = homes.iter().find(|it| it["name"] == name.as_str())?;
        u8::try_from(found["holder"].as_u64()?).ok()
    }

    /// The home that a node holds, as it knows itself.
    ///
    /// # Panics
    /// When it holds none.
    pub fn home_of(&self, node: u8) -> u8 {
        NODES.into_iter().find(|home| self.holder(node, *home) == Some(node)).expect("each node holds a home")
    }

    /// Who leads, as a node knows.
    ///
    /// # Panics
    /// When it does not know.
    pub fn leader(&self, asked: u8) -> u8 {
        let leader = wait::for_some(PATIENCE, || {
            let nodes = self.items(asked, "nodes")?;
            nodes.iter().find(|it| it["leader"] == true)?["id"].as_u64()
        });
        leader.and_then(|leader| u8::try_from(leader).ok()).expect("somebody leads")
    }

    /// The items of an answer of a node's API.
    pub fn items(&self, node: u8, kind: &str) -> Option<Vec<Value>> {
        let body: Value = serde_json::from_str(&self.ask(node, &format!("/v1/{kind}"))?).ok()?;
        body.get("items")?.as_array().cloned()
    }

    /// All call detail records, as a node knows them.
    pub fn records(&self, node: u8) -> Vec<Record> {
        let items = self.items(node, "cdrs?limit=1000000").unwrap_or_default();
        items.into_iter().map(Record).collect()
    }

    /// A line of a node's metrics, without the name.
    pub fn metric(&self, node: u8, name: &str) -> Option<String> {
        let metrics = self.ask(node, "/metrics")?;
        let mut values = metrics.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        values.next().map(str::to_owned)
    }

    /// A node's answer to a question, if it says yes.
    pub fn ask(&self, node: u8, path: &str) -> Option<String> {
        let answer = self.net.on(Self::host(node), || http::get(HTTP, path)).ok()?;
        (answer.status == 200).then_some(answer.body)
    }

    /// Puts resources into the cluster.
    ///
    /// # Panics
    /// When they are refused.
    pub fn apply(&self, toml: &str) {
        let answer = self.net.on(Self::host(1), || http::request(HTTP, "POST", "/v1/apply", toml));
        let answer = answer.expect("the node answers");
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    /// The last lines of a node's log.
    pub fn log_tail(&self, node: u8) -> String {
        let log = fs::read(self.log_file(node)).unwrap_or_default();
        crate::process::tail(&String::from_utf8_lossy(&log), 40)
    }

    fn slot(&mut self, node: u8) -> &mut Option<Process> {
        self.nodes.get_mut(usize::from(node) - 1).expect("there are three")
    }

    fn file(&self, node: u8) -> PathBuf {
        self.dir.path().join(format!("node-{node}.toml"))
    }

    fn log_file(&self, node: u8) -> PathBuf {
        self.dir.path().join(format!("node-{node}.log"))
    }

    fn node_file(&self, node: u8) -> String {
        let (own, detect) = (self.net.address(Self::host(node)), self.detect.as_millis());
        let peers = NODES.map(|it| format!("\"{it}@{}:7000\"", self.net.address(Self::host(it))));
        let peers = peers.join(", ");
        let mut file = format!(
            "[node]\nid = {node}\nname = \"node-{node}\"\ndata_dir = \"data-{node}\"\n\n\
             [sip]\nlisten = [\"udp://{own}:5060\"]\ndomain = \"banyan.test\"\n\n\
             [media]\naddress = \"{own}\"\nports = \"{PORTS}\"\n\n[http]\nlisten = \"{HTTP}\"\n\n\
             [cluster]\nlisten = \"{own}:7000\"\npeers = [{peers}]\nsecret_file = \"cluster.key\"\n\
             detect = \"{detect}ms\"\n"
        );
        for home in NODES {
            let _ = write!(
                file,
                "\n[[home]]\nname = \"home-{home}\"\naddress = \"{}/32\"\ninterface = \"eth0\"\n\
                 sip = [\"udp:5060\", \"tcp:5060\"]\nmedia_ports = \"{PORTS}\"\n",
                Self::home(home).ip()
            );
        }
        file
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        if std::thread::panicking() {
            NODES
                .into_iter()
                .for_each(|node| println!("the log of node {node} ends:\n{}", self.log_tail(node)));
        }
    }
}

const NODES: [u8; 3] = [1, 2, 3];
const PORTS: &str = "20000-29999";
const HTTP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);
const SECRET: &str = "c2d7f6c4a1f24f0f9b7f6f1a2f3a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c\n";
const PATIENCE: Duration = Duration::from_secs(30);

//! One node as a process: started, asked, stopped and killed as an operator or a power cut would.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::place::Place;
use crate::process::{self, Process};
use crate::record::Record;
use crate::{http, wait};

/// A node, its addresses, its directory, and its process while it runs.
#[derive(Debug)]
pub struct Node {
    place: Arc<Place>,
    id: u8,
    dir: TempDir,
    media_ports: String,
    sip_address: Ipv4Addr,
    process: Option<Process>,
}

impl Node {
    /// Takes addresses and a directory, and writes the node file; nothing runs yet.
    ///
    /// # Panics
    /// When the machine has neither to give.
    pub fn new() -> Self {
        Self::member(Arc::new(taken()), 1)
    }

    /// As [`Node::new`], in a block that several nodes share: the node with this id, at the address with this number.
    ///
    /// # Panics
    /// When the machine has no directory to give.
    pub fn member(place: Arc<Place>, id: u8) -> Self {
        let sip_address = place.address(id);
        Self::at(place, id, sip_address)
    }

    /// A node at 127.0.0.1, for peers that can't send from any other address of the loopback network.
    ///
    /// # Panics
    /// As [`Node::new`].
    pub fn at_localhost() -> Self {
        Self::at(Arc::new(taken()), 1, Ipv4Addr::LOCALHOST)
    }

    fn at(place: Arc<Place>, id: u8, sip_address: Ipv4Addr) -> Self {
        let dir = TempDir::with_prefix("banyan-test-").expect("a temporary directory");
        let node = Self { place, id, dir, media_ports: "20000-29999".to_owned(), sip_address, process: None };
        node.write_node_file(&node.default_node_file());
        node
    }

    /// A running node with the resources of `toml`.
    ///
    /// # Panics
    /// When it does not become ready or refuses the resources.
    pub fn with_resources(toml: impl FnOnce(&Node) -> String) -> Self {
        let mut node = Self::new();
        let resources = toml(&node);
        node.start();
        node.apply(&resources);
        node
    }

    /// The node file that [`Node::new`] writes, to be altered by a test.
    pub fn default_node_file(&self) -> String {
        let (sip, http) = (self.sip(), self.http());
        let (data, ports, address) = (self.data_dir(), &self.media_ports, self.sip_address);
        let (id, name) = (self.id, char::from(b'a' + self.id.saturating_sub(1) % 26));
        format!(
            "[node]\nid = {id}\nname = \"{name}\"\ndata_dir = \"{}\"\n\n\
             [sip]\nlisten = [\"udp://{sip}\", \"tcp://{sip}\"]\ndomain = \"banyan.test\"\n\n\
             [media]\naddress = \"{address}\"\nports = \"{ports}\"\n\n\
             [http]\nlisten = \"{http}\"\n",
            data.display()
        )
    }

    /// Replaces the node file; counts from the next start.
    ///
    /// # Panics
    /// When the file can't be written.
    pub fn write_node_file(&self, toml: &str) {
        fs::write(self.node_file(), toml).expect("the node file is written");
    }

    /// Starts the process and waits until it is ready.
    ///
    /// # Panics
    /// With its last words when it does not become ready.
    pub fn start(&mut self) {
        self.spawn();
        self.wait_ready();
    }

    /// Starts the process without waiting for anything.
    ///
    /// # Panics
    /// When the binary is missing: then it has to be built first.
    pub fn spawn(&mut self) {
        self.spawn_by(&[]);
    }

    /// As [`Node::spawn`], with a launcher and its words before the command line.
    ///
    /// # Panics
    /// As [`Node::spawn`].
    pub fn spawn_by(&mut self, launcher: &[String]) {
        let config = self.node_file();
        let mut command = match launcher.split_first() {
            None => Command::new(binary()),
            Some((program, words)) => {
                let mut command = Command::new(program);
                command.args(words).arg(binary());
                command
            }
        };
        self.spawn_command(command.args(["server", "--config"]).arg(config));
    }

    /// Starts the process through a command of the test's own (limits around it, for instance).
    ///
    /// # Panics
    /// When it can't be started.
    pub fn spawn_command(&mut self, command: &mut Command) {
        let process = Process::start(command.current_dir(self.dir.path()), &self.log_file());
        self.process = Some(process.expect("`banyan server` starts; build it with `cargo build -p banyan`"));
    }

    /// Waits until `/readyz` says so.
    ///
    /// # Panics
    /// With its last words when that does not come.
    pub fn wait_ready(&mut self) {
        let ready = wait::for_some(PATIENCE, || {
            if self.process.as_mut().is_none_or(|process| process.ended().is_some()) {
                return Some(false);
            }
            self.ready().then_some(true)
        });
        assert!(ready == Some(true), "the node is not ready; its log ends:\n{}", self.log_tail());
    }

    /// Whether `/readyz` says yes.
    pub fn ready(&self) -> bool {
        http::get(self.http(), "/readyz").is_ok_and(|answer| answer.status == 200)
    }

    /// SIGTERM, then its exit status.
    ///
    /// # Panics
    /// When it does not end.
    pub fn stop(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("the node runs");
        process.signal(Signal::TERM);
        let status = process.wait(PATIENCE);
        status.unwrap_or_else(|| {
            process.kill();
            let tail = process.tail(30);
            assert!(tail.is_empty(), "the node did not end after SIGTERM; its log ends:\n{tail}");
            ExitStatus::default()
        })
    }

    /// SIGKILL, as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Waits for the process to end by itself.
    pub fn wait_end(&mut self, patience: Duration) -> Option<ExitStatus> {
        self.process.as_mut().and_then(|process| process.wait(patience))
    }

    /// The process, while it runs.
    pub fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    /// Resident memory in KiB, from `/proc`.
    pub fn resident_kib(&self) -> u64 {
        let id = self.process.as_ref().map_or(0, Process::id);
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or_default()
    }

    /// Runs a subcommand of the binary against this node.
    ///
    /// # Panics
    /// When the binary can't be started.
    pub fn banyan<S: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Output {
        Command::new(binary())
            .args(arguments)
            .env("BANYAN_ENDPOINT", format!("http://{}", self.http()))
            .current_dir(self.dir.path())
            .output()
            .expect("the binary starts; build it with `cargo build -p banyan`")
    }

    /// Puts resources into the node.
    ///
    /// # Panics
    /// With the answer when it refuses them.
    pub fn apply(&self, toml: &str) {
        let path = self.dir.path().join("resources.toml");
        fs::write(&path, toml).expect("the resource file is written");
        let path = path.to_string_lossy().into_owned();
        let output = self.banyan(["apply", "-f", &path]);
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "apply: {}\n{words}", String::from_utf8_lossy(&output.stdout));
    }

    /// The items of `banyan get KIND -o json`.
    ///
    /// # Panics
    /// When the answer is no JSON array.
    pub fn get(&self, kind: &str, more: &[&str]) -> Vec<Value> {
        let arguments = ["get", kind, "-o", "json"].into_iter().chain(more.iter().copied());
        let output = self.banyan(arguments.collect::<Vec<_>>());
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "get {kind}: {words}");
        serde_json::from_slice(&output.stdout).expect("get prints a JSON array")
    }

    /// Every call detail record.
    pub fn cdrs(&self) -> Vec<Record> {
        self.get("cdrs", &["--limit", "10000000"]).into_iter().map(Record).collect()
    }

    /// The live calls, over HTTP; `None` when the node does not answer.
    pub fn calls(&self) -> Option<Vec<Value>> {
        let answer = http::get(self.http(), "/v1/calls").ok()?;
        let body: Value = serde_json::from_str(&answer.body).ok()?;
        body.get("items")?.as_array().cloned()
    }

    /// Waits until no call is up, then until every one of `at_least` records can be read.
    ///
    /// # Panics
    /// When calls remain or records are missing.
    pub fn settle(&self, at_least: usize) -> Vec<Record> {
        wait::until("no call is up", CALLS_PATIENCE, || self.calls().is_some_and(|calls| calls.is_empty()));
        let mut records = Vec::new();
        let complete = wait::for_some(PATIENCE, || {
            records = self.cdrs();
            (records.len() >= at_least).then_some(())
        });
        assert!(complete.is_some(), "{} records, expected at least {at_least}", records.len());
        records
    }

    /// The sum of a metric over its labels; `None` when it is not exported.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let body = http::get(self.http(), "/metrics").ok()?.body;
        let values = body.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let rest = rest.starts_with(['{', ' ']).then_some(rest)?;
            rest.rsplit(' ').next()?.parse::<f64>().ok()
        });
        values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
    }

    /// An upper bound of its slowest fdatasync, in milliseconds: what a busy disk adds to every commit.
    pub fn slowest_sync_ms(&self) -> f64 {
        let body = http::get(self.http(), "/metrics").map(|answer| answer.body).unwrap_or_default();
        let buckets: Vec<(f64, f64)> = body
            .lines()
            .filter_map(|line| {
                let (labels, count) =
                    line.strip_prefix("banyan_log_sync_seconds_bucket")?.rsplit_once(' ')?;
                let bound = labels.split_once("le=\"")?.1.split_once('"')?.0;
                Some((bound.parse().ok()?, count.parse().ok()?))
            })
            .collect();
        let total = buckets.iter().map(|(_, count)| *count).fold(0.0, f64::max);
        let bounds = buckets.iter().filter(|(_, count)| *count >= total).map(|(bound, _)| *bound);
        // Beyond the last bucket: a second.
        1_000.0 * bounds.fold(f64::INFINITY, f64::min).min(1.0)
    }

    /// Its number in the cluster.
    pub fn id(&self) -> u8 {
        self.id
    }

    /// Its addresses.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Where it listens for SIP.
    pub fn sip(&self) -> SocketAddr {
        (self.sip_address, 5060).into()
    }

    /// Where it listens for HTTP: always in its own block, so that two nodes at 127.0.0.1 would not meet there.
    pub fn http(&self) -> SocketAddr {
        (self.place.address(self.id), 8080).into()
    }

    /// The test's directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where its log and its records are.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        process::tail(&self.log(), 30)
    }

    /// Its log, over all its lives.
    pub fn log(&self) -> String {
        fs::read(self.log_file())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    fn node_file(&self) -> PathBuf {
        self.dir.path().join("node.toml")
    }

    fn log_file(&self) -> PathBuf {
        self.dir.path().join("server.log")
    }
}

impl Default for Node {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("the node's log ends:\n{}", self.log_tail());
        }
    }
}

fn taken() -> Place {
    Place::take().expect("a block of loopback addresses is free")
}

/// The binary under test: `BANYAN_BIN`, or the one that was built with this test's profile.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("BANYAN_BIN") {
        return path.into();
    }
    // target/PROFILE/deps/test-hash: the binary is two folders up.
    let test = std::env::current_exe().unwrap_or_default();
    test.ancestors().nth(2).map_or_else(|| "banyan".into(), |dir| dir.join("banyan"))
}

const PATIENCE: Duration = Duration::from_secs(30);
/// A call whose far side has vanished ends when its transactions give up: 64·T1 (RFC 3261 §17), and some.
const CALLS_PATIENCE: Duration = Duration::from_secs(75);

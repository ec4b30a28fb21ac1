//! Hosts of their own on one bridge: network namespaces that a test makes, and that go with it.
//!
//! Only root can make them. Whatever runs in a namespace is killed with it; what a test that was itself killed has
//! left behind, the next one clears away.

mod capture;
mod hosts;

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

pub use capture::{Capture, Frame};
pub use hosts::Hosts;

/// A bridge and the hosts on it.
#[derive(Debug)]
pub struct Net {
    prefix: String,
    hosts: Vec<String>,
}

impl Net {
    /// Makes the hosts, numbered from 1.
    ///
    /// # Panics
    /// Where this process may not.
    pub fn build(hosts: &[&str]) -> Net {
        assert!(rustix::process::geteuid().is_root(), "network namespaces need root");
        clear_leftovers();
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("{MARK}{}-{number}", std::process::id());
        let net = Net { prefix, hosts: hosts.iter().map(|host| (*host).to_owned()).collect() };
        let bridge = net.namespace(BRIDGE);
        ip(&["netns", "add", &bridge]);
        ip(&["-n", &bridge, "link", "add", "br0", "type", "bridge"]);
        ip(&["-n", &bridge, "link", "set", "br0", "up"]);
        for host in hosts {
            let (space, port) = (net.namespace(host), port(host));
            let address = format!("{}/24", net.address(host));
            ip(&["netns", "add", &space]);
            ip(&["link", "add", "eth0", "netns", &space, "type", "veth", "peer", &port, "netns", &bridge]);
            ip(&["-n", &bridge, "link", "set", &port, "master", "br0", "up"]);
            ip(&["-n", &space, "link", "set", "eth0", "address", &text(net.hardware(host)), "up"]);
            ip(&["-n", &space, "link", "set", "lo", "up"]);
            ip(&["-n", &space, "addr", "add", &address, "dev", "eth0"]);
        }
        net
    }

    /// A host's own address.
    pub fn address(&self, host: &str) -> Ipv4Addr {
        Self::at(self.number(host))
    }

    /// An address of the bridge's network.
    pub fn at(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, last)
    }

    /// A host's hardware address.
    pub fn hardware(&self, host: &str) -> [u8; 6] {
        [2, 0x42, 0, 0, 0, self.number(host)]
    }

    /// Gives a host a further address.
    pub fn add_address(&self, host: &str, address: Ipv4Addr) {
        ip(&["-n", &self.namespace(host), "addr", "add", &format!("{address}/24"), "dev", "eth0"]);
    }

    /// A command that will run on a host.
    pub fn command(&self, host: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(host)]).arg(program);
        command
    }

    /// Does something on a host, in a thread that is there; so are the threads that it starts.
    ///
    /// # Panics
    /// As `act` does.
    pub fn on<R: Send>(&self, host: &str, act: impl FnOnce() -> R + Send) -> R {
        let space = self.namespace(host);
        let run = move || {
            enter(&space);
            act()
        };
        thread::scope(|scope| scope.spawn(run).join()).unwrap_or_else(|why| std::panic::resume_unwind(why))
    }

    /// Does something on a host while the test goes on.
    pub fn spawn<R: Send + 'static>(
        &self,
        host: &str,
        act: impl FnOnce() -> R + Send + 'static,
    ) -> JoinHandle<R> {
        let space = self.namespace(host);
        thread::spawn(move || {
            enter(&space);
            act()
        })
    }

    /// Pulls a host's cable, or plugs it in again.
    pub fn plug(&self, host: &str, plugged: bool) {
        let word = if plugged { "up" } else { "down" };
        ip(&["-n", &self.namespace(BRIDGE), "link", "set", &port(host), word]);
    }

    /// The bridge drops every frame between a host and those others, in both directions.
    ///
    /// # Panics
    /// When the bridge can't be told.
    pub fn part(&self, host: &str, others: &[&str]) {
        let others = others.iter().map(|other| format!("\"{}\"", port(other))).collect::<Vec<_>>().join(", ");
        let host = port(host);
        let rules = format!(
            "table bridge part {{ chain cut {{ type filter hook forward priority 0; policy accept;\n\
             iifname \"{host}\" oifname {{ {others} }} drop\niifname {{ {others} }} oifname \"{host}\" drop\n}}\n}}"
        );
        self.nft(&[&rules]);
    }

    /// The bridge drops nothing.
    pub fn heal(&self) {
        self.nft(&["delete", "table", "bridge", "part"]);
    }

    fn nft(&self, words: &[&str]) {
        let output = self.command(BRIDGE, "nft").args(words).output().expect("nft is installed");
        assert!(output.status.success(), "nft {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn namespace(&self, host: &str) -> String {
        format!("{}-{host}", self.prefix)
    }

    fn number(&self, host: &str) -> u8 {
        let at = self.hosts.iter().position(|it| it == host).expect("the host was made");
        u8::try_from(at + 1).expect("a handful of hosts")
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        self.hosts.iter().map(String::as_str).chain([BRIDGE]).for_each(|host| remove(&self.namespace(host)));
    }
}

/// Moves this thread onto a host.
fn enter(space: &str) {
    let file = File::open(format!("{SPACES}/{space}")).expect("the namespace was made");
    move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network))
        .expect("root may enter it");
}

/// Kills what runs in a namespace, and removes it.
fn remove(space: &str) {
    let pids = Command::new("ip").args(["netns", "pids", space]).output();
    let pids = pids.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    for pid in pids.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)) {
        // It may have ended since.
        let _ = kill_process(pid, Signal::KILL);
    }
    // Nothing is left to do about one that can't be removed.
    let _ = Command::new("ip").args(["netns", "del", space]).output();
}

/// Removes the namespaces of tests that are no more.
fn clear_leftovers() {
    let spaces = fs::read_dir(SPACES).into_iter().flatten().flatten();
    for space in spaces.filter_map(|entry| entry.file_name().into_string().ok()) {
        let owner = space.strip_prefix(MARK).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !fs::exists(format!("/proc/{pid}")).unwrap_or(true)) {
            remove(&space);
        }
    }
}

fn ip(words: &[&str]) {
    let output = Command::new("ip").args(words).output().expect("iproute2 is installed");
    assert!(output.status.success(), "ip {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A host's port at the bridge.
fn port(host: &str) -> String {
    format!("p-{host}")
}

fn text(hardware: [u8; 6]) -> String {
    hardware.map(|byte| format!("{byte:02x}")).join(":")
}

static MADE: AtomicU32 = AtomicU32::new(0);
const MARK: &str = "banyan-test-";
const SPACES: &str = "/run/netns";
const BRIDGE: &str = "bridge";

//! Debian's knot: a name server that tells a scenario's node where its peers are.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::process::Process;
use crate::wait;

/// A name server with one zone, that runs until it is dropped.
#[derive(Debug)]
pub struct NameServer {
    dir: TempDir,
    zone: &'static str,
    serial: u32,
    process: Process,
}

impl NameServer {
    /// A server of `zone` at an address; `records` are the lines of its file after the SOA.
    ///
    /// # Panics
    /// When it does not start (`cargo xtask test` installs it).
    pub fn start(at: SocketAddr, zone: &'static str, records: &str) -> Self {
        let dir = TempDir::with_prefix("banyan-dns-").expect("a temporary directory");
        let place = dir.path().display();
        let config = format!(
            "server:\n  rundir: \"{place}\"\n  listen: {}@{}\n\
             control:\n  listen: \"{place}/knot.sock\"\n\
             database:\n  storage: \"{place}/db\"\n\
             log:\n  - target: stderr\n    any: info\n\
             zone:\n  - domain: {zone}\n    storage: \"{place}\"\n    file: zone\n",
            at.ip(),
            at.port()
        );
        fs::write(dir.path().join("knot.conf"), config).expect("the configuration is written");
        write_zone(&dir, 1, records);
        let mut command = Command::new("knotd");
        command.arg("-c").arg(dir.path().join("knot.conf"));
        let process = Process::start(&mut command, &dir.path().join("log"));
        let process = process.expect("knotd starts; install it with `apt-get install knot`");
        let server = Self { dir, zone, serial: 1, process };
        wait::until("the name server has its port", Duration::from_secs(10), || UdpSocket::bind(at).is_err());
        server.until_loaded();
        server
    }

    /// From now on it says this.
    ///
    /// # Panics
    /// When it does not take it.
    pub fn say(&mut self, records: &str) {
        self.serial += 1;
        write_zone(&self.dir, self.serial, records);
        self.process.signal(Signal::HUP);
        self.until_loaded();
    }

    /// It is gone.
    pub fn stop(&mut self) {
        self.process.kill();
    }

    fn until_loaded(&self) {
        let word = format!("[{}.] loaded, serial", self.zone);
        let wanted = self.serial.to_string();
        let is_there = || {
            let log = fs::read(self.dir.path().join("log")).unwrap_or_default();
            let log = String::from_utf8_lossy(&log).into_owned();
            log.lines().any(|line| line.contains(&word) && line.split([' ', ',']).any(|it| it == wanted))
        };
        wait::until("the name server has its zone", Duration::from_secs(10), is_there);
    }
}

fn write_zone(dir: &TempDir, serial: u32, records: &str) {
    // What is not there is not there for a second.
    let soa = format!("@ 1 SOA ns admin {serial} 1 1 1 1\n@ 1 NS ns\nns 1 A 127.0.0.1\n");
    fs::write(dir.path().join("zone"), soa + records).expect("the zone is written");
}

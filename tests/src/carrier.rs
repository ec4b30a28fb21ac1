//! Debian's Kamailio as a carrier: registrar and proxy with digest (`tests/scenarios/carrier.cfg`).

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::process::Process;
use crate::{source, wait};

/// A carrier that runs, or is down for a moment.
#[derive(Debug)]
pub struct Carrier {
    at: SocketAddr,
    dir: TempDir,
    process: Option<Process>,
}

/// A binding that the carrier took: for which account, from where, and how many that account has then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// The account.
    pub account: String,
    /// The address that the REGISTER came from.
    pub from: String,
    /// The account's bindings.
    pub count: u32,
}

impl Carrier {
    /// A carrier at an address, with calls to its customer from `pstn`, and those of its customer to `far`.
    ///
    /// # Panics
    /// When it does not start (`cargo xtask test` installs it).
    pub fn start(at: SocketAddr, pstn: SocketAddr, far: SocketAddr) -> Self {
        let dir = TempDir::with_prefix("banyan-carrier-").expect("a temporary directory");
        let template = source::root().join("tests/scenarios/carrier.cfg");
        let config = fs::read_to_string(template)
            .expect("the configuration is there")
            .replace("@LISTEN@", &at.to_string())
            .replace("@PSTN@", &pstn.ip().to_string())
            .replace("@FAR@", &far.to_string());
        fs::write(dir.path().join("carrier.cfg"), config).expect("the configuration is written");
        let mut carrier = Self { at, dir, process: None };
        carrier.up();
        carrier
    }

    /// Starts it again, with nothing in its memory.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn up(&mut self) {
        let mut command = Command::new("kamailio");
        command.args(["-DD", "-m", "64", "-M", "8", "-f", "carrier.cfg", "-Y"]).arg(self.dir.path());
        command.current_dir(self.dir.path());
        let process = Process::start(&mut command, &self.dir.path().join("log"));
        self.process = Some(process.expect("kamailio starts; install it with `apt-get install kamailio`"));
        wait::until("the carrier has its port", Duration::from_secs(15), || {
            UdpSocket::bind(self.at).is_err()
        });
    }

    /// Stops it. It forgets who was registered.
    pub fn down(&mut self) {
        if let Some(mut process) = self.process.take() {
            // The parent ends its children on SIGTERM; killed, it would leave them.
            process.signal(Signal::TERM);
            if process.wait(Duration::from_secs(10)).is_none() {
                process.kill();
            }
        }
    }

    /// How many REGISTERs came so far, those that were challenged among them.
    pub fn asked(&self) -> usize {
        self.lines("ASKED ").len()
    }

    /// The bindings that it took so far, in order.
    pub fn bound(&self) -> Vec<Bound> {
        let read = |line: String| {
            let mut words = line.split_whitespace().map(str::to_owned);
            let (account, from) = (words.next()?, words.next()?);
            Some(Bound { account, from, count: words.next()?.parse().ok()? })
        };
        self.lines("BOUND ").into_iter().filter_map(read).collect()
    }

    /// What it logged last.
    pub fn tail(&self) -> String {
        crate::process::tail(&self.log(), 30)
    }

    fn lines(&self, word: &str) -> Vec<String> {
        let log = self.log();
        log.lines().filter_map(|line| Some(line.split_once(word)?.1.to_owned())).collect()
    }

    fn log(&self) -> String {
        fs::read(self.dir.path().join("log"))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        self.down();
    }
}

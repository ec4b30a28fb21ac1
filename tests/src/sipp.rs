//! SIPp, the load generator that everybody knows: one process is one caller or one callee.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process::Process;
use crate::source;

/// A SIPp process about to start.
#[derive(Debug)]
pub struct Sipp {
    name: String,
    command: Command,
    dir: PathBuf,
}

/// UDP, or TCP or TLS with one connection for all calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// `-t u1`
    Udp,
    /// `-t t1`
    Tcp,
    /// `-t l1`
    Tls,
}

impl Sipp {
    /// A callee at `local`; `scenario` is `uas` (built in) or a file of `tests/scenarios`.
    pub fn callee(dir: &Path, scenario: &str, local: SocketAddr, transport: Transport) -> Self {
        Self::new(dir, scenario, local, transport)
    }

    /// A caller at `local` whose calls go to `target`; `scenario` is `uac` (built in) or a file of `tests/scenarios`.
    pub fn caller(
        dir: &Path,
        scenario: &str,
        local: SocketAddr,
        target: SocketAddr,
        transport: Transport,
    ) -> Self {
        let mut sipp = Self::new(dir, scenario, local, transport);
        sipp.command.arg(target.to_string());
        sipp
    }

    fn new(dir: &Path, scenario: &str, local: SocketAddr, transport: Transport) -> Self {
        let name = format!("{scenario}-{}", local.ip());
        let mut command = Command::new("sipp");
        if ["uac", "uas"].contains(&scenario) {
            command.args(["-sn", scenario]);
        } else {
            command.arg("-sf").arg(source::root().join(format!("tests/scenarios/{scenario}.xml")));
        }
        command.args(["-i", &local.ip().to_string(), "-p", &local.port().to_string()]);
        let word = match transport {
            Transport::Udp => "u1",
            Transport::Tcp => "t1",
            Transport::Tls => "l1",
        };
        command.args(["-t", word]);
        command.args(["-nostdin", "-buff_size", "4000000", "-l", "1000000", "-max_recv_loops", "10000"]);
        command.args(["-trace_stat", "-fd", "1", "-stf"]).arg(dir.join(format!("{name}.csv")));
        command.args(["-trace_err", "-error_file"]).arg(dir.join(format!("{name}.err")));
        command.args(["-trace_logs", "-log_file"]).arg(dir.join(format!("{name}.log")));
        command.current_dir(dir);
        Self { name, command, dir: dir.to_owned() }
    }

    /// So many calls a second, so many calls in all, each held so long, to this number.
    #[must_use]
    pub fn load(mut self, rate: u32, calls: u32, hold: Duration, to: &str) -> Self {
        self.command.args(["-r", &rate.to_string(), "-m", &calls.to_string()]);
        self.command.args(["-d", &hold.as_millis().to_string(), "-s", to]);
        self
    }

    /// Further options, as SIPp spells them.
    #[must_use]
    pub fn options(mut self, options: &[&str]) -> Self {
        self.command.args(options);
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// When SIPp is not installed (`cargo xtask test` installs it).
    pub fn start(mut self) -> Running {
        let log = self.dir.join(format!("{}.out", self.name));
        let process = Process::start(&mut self.command, &log);
        let process = process.expect("sipp starts; install it with `apt-get install sip-tester`");
        Running { name: self.name, dir: self.dir, process }
    }
}

/// A SIPp process that runs, or has ended.
#[derive(Debug)]
pub struct Running {
    name: String,
    dir: PathBuf,
    process: Process,
}

impl Running {
    /// Waits for its end and returns its counts.
    ///
    /// # Panics
    /// With its errors when it does not end.
    pub fn finish(&mut self, patience: Duration) -> Counts {
        let ended = self.process.wait(patience);
        assert!(
            ended.is_some(),
            "{} did not end within {} s:\n{}",
            self.name,
            patience.as_secs(),
            self.errors()
        );
        self.counts()
    }

    /// Whether it has ended.
    pub fn ended(&mut self) -> bool {
        self.process.ended().is_some()
    }

    /// Ends it as `q` would, and returns its last counts.
    pub fn stop(&mut self) -> Counts {
        self.process.signal(rustix::process::Signal::USR1);
        if self.process.wait(Duration::from_secs(10)).is_none() {
            self.process.kill();
        }
        self.counts()
    }

    /// The last line of its statistics.
    pub fn counts(&self) -> Counts {
        Counts::parse(&self.read("csv")).unwrap_or_default()
    }

    /// What its scenario logged: one line a `<log>`.
    pub fn logged(&self) -> Vec<String> {
        self.read("log").lines().map(str::to_owned).collect()
    }

    /// The first lines of what it held against us.
    pub fn errors(&self) -> String {
        let errors = self.read("err");
        let head: Vec<_> = errors.lines().take(60).collect();
        format!("{}\n{}", head.join("\n"), self.process.tail(15))
    }

    fn read(&self, kind: &str) -> String {
        let path = self.dir.join(format!("{}.{kind}", self.name));
        fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }
}

/// What SIPp counted, from its statistics file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls it began.
    pub created: u64,
    /// Calls that went through their scenario.
    pub successful: u64,
    /// Calls that did not.
    pub failed: u64,
    /// Messages it had to send again.
    pub retransmissions: u64,
    /// Calls up at the end.
    pub current: u64,
}

impl Counts {
    fn parse(csv: &str) -> Option<Self> {
        let mut lines = csv.lines().filter(|line| !line.trim().is_empty());
        let names: Vec<_> = lines.next()?.split(';').collect();
        let values: Vec<_> = lines.next_back()?.split(';').collect();
        let of = |name: &str| {
            let at = names.iter().position(|candidate| *candidate == name)?;
            values.get(at)?.trim().parse::<u64>().ok()
        };
        Some(Self {
            created: of("TotalCallCreated")?,
            successful: of("SuccessfulCall(C)")?,
            failed: of("FailedCall(C)")?,
            retransmissions: of("Retransmissions(C)")?,
            current: of("CurrentCall")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_counts() {
        let csv = "TotalCallCreated;CurrentCall;SuccessfulCall(C);FailedCall(C);Retransmissions(C);\n\
                   5;5;0;0;0;\n10;0;9;1;2;\n";
        let expected = Counts { created: 10, successful: 9, failed: 1, retransmissions: 2, current: 0 };
        assert_eq!(Counts::parse(csv), Some(expected));
        assert_eq!(Counts::parse(""), None);
    }
}

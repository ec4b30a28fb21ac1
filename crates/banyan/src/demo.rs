//! `banyan demo`: a real node in a process of its own, real calls with audio through it, and the figures.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use comfy_table::{Table, presets};
use peer::Mix;
use peer::load::{LoadArgs, Progress, Report};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use tempfile::TempDir;

use crate::cli::ClusterArgs;
use crate::client::Client;
use crate::failure::{Failure, Result};
use crate::load::{LoadFormat, with_bar};
use crate::output::say;

/// What `banyan demo` is asked to do.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Example:\n  banyan demo\n  banyan demo --calls 500 --rate 50 --seconds 30 -o json\n\n\
    Exit 0 only if every call that was placed was answered, has its call detail record, and had audio both ways."
)]
pub struct DemoCommand {
    /// How many calls
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub calls: u64,
    /// Calls per second
    #[arg(long, value_name = "CPS", default_value_t = 20.0)]
    pub rate: f64,
    /// How long the whole run takes, in seconds: calls are held as long as that allows
    #[arg(long, value_name = "S", default_value_t = 20.0)]
    pub seconds: f64,
    /// Leave the node running after the table, until Ctrl-C
    #[arg(long)]
    pub keep: bool,
    /// Output format
    #[arg(short, long, value_enum, default_value_t = LoadFormat::Table)]
    pub output: LoadFormat,
    /// Only 1 is built yet.
    #[arg(long, hide = true, default_value_t = 1)]
    pub nodes: u32,
    /// Not built yet.
    #[arg(long, hide = true)]
    pub kill_node: bool,
}

/// The figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// INVITEs sent.
    pub placed: u64,
    /// Calls answered.
    pub answered: u64,
    /// Answered calls that did not last as long as planned.
    pub lost: u64,
    /// Calls in which both ends heard each other.
    pub audio_both_ways: u64,
    /// The longest time without audio in any call.
    pub longest_gap_ms: f64,
    /// RTP packets that never came.
    pub packets_lost: u64,
    /// Call detail records.
    pub cdrs: u64,
    /// INVITE to ringing: half of the calls within.
    pub pdd_ms_p50: f64,
    /// INVITE to ringing: 99 % of the calls within.
    pub pdd_ms_p99: f64,
    /// Failed ends of calls by reason.
    pub failed: std::collections::BTreeMap<String, u64>,
    /// Whether the node ended with exit code 0 after SIGTERM.
    pub node_ended_well: Option<bool>,
}

impl Figures {
    fn new(report: &Report, cdrs: u64) -> Figures {
        Figures {
            placed: report.placed,
            answered: report.answered,
            lost: report.answered.saturating_sub(report.completed),
            audio_both_ways: report.rtp.both_ways,
            longest_gap_ms: report.rtp.longest_gap_ms,
            packets_lost: report.rtp.lost,
            cdrs,
            pdd_ms_p50: report.pdd_ms.p50,
            pdd_ms_p99: report.pdd_ms.p99,
            failed: report.failed.clone(),
            node_ended_well: None,
        }
    }

    /// The contract's condition for exit 0.
    fn is_good(&self) -> bool {
        let same = |count| count == self.placed;
        same(self.answered)
            && same(self.cdrs)
            && same(self.audio_both_ways)
            && self.lost == 0
            && self.node_ended_well != Some(false)
    }
}

/// Runs `banyan demo`.
///
/// # Errors
/// Bad usage, a node that does not start, or figures that do not add up.
pub fn run(command: &DemoCommand) -> Result {
    check(command)?;
    let stage = Stage::build(command)?;
    let mut node = Node::start(&stage)?;
    let client = stage.client();
    let outcome = node.await_ready(&client).and_then(|()| act(command, &stage, &client));
    let mut figures = match outcome {
        Ok(figures) => figures,
        Err(failure) => {
            let tail = stage.log_tail();
            let _ = node.stop();
            return Err(Failure::No(format!("{failure}\nThe node's log ends:\n{tail}")));
        }
    };
    if command.keep {
        say(&table(&figures));
        say(&format!("The node goes on until Ctrl-C. {}", stage.hints()));
        await_interrupt();
    }
    figures.node_ended_well = Some(node.stop().is_some_and(|status| status.success()));
    match command.output {
        LoadFormat::Json => say(&serde_json::to_string_pretty(&figures).unwrap_or_default()),
        LoadFormat::Table if command.keep => {}
        LoadFormat::Table => {
            say(&table(&figures));
            say(NEXT_STEPS);
        }
    }
    if figures.is_good() {
        return Ok(());
    }
    let kept = stage.keep();
    Err(Failure::No(format!("The figures do not add up; the node's files and log are in {}", kept.display())))
}

fn check(command: &DemoCommand) -> Result {
    if command.nodes != 1 || command.kill_node {
        return Err(Failure::Usage(
            "demo with more than one node, and --kill-node, are not built yet".to_owned(),
        ));
    }
    if command.calls == 0 || command.calls > CALLS_MAX {
        return Err(Failure::Usage(format!("--calls must be 1 to {CALLS_MAX}")));
    }
    if !(command.rate > 0.0 && command.rate.is_finite() && (1.0..=86_400.0).contains(&command.seconds)) {
        return Err(Failure::Usage("--rate must be above 0, --seconds at least 1".to_owned()));
    }
    Ok(())
}

/// Applies the sample file, places the calls, counts the records.
fn act(command: &DemoCommand, stage: &Stage, client: &Client) -> Result<Figures> {
    client.post("/v1/apply", "application/toml", stage.resources().as_bytes())?;
    eprintln!("A node is up at {}. {}", stage.http, stage.hints());
    let args = stage.load(command);
    let report = with_bar(&args, &Arc::new(Progress::default()))?;
    let cdrs = count_cdrs(client, report.placed)?;
    Ok(Figures::new(&report, cdrs))
}

/// A record is written when its call's end is committed: waits until there are as many as calls.
fn count_cdrs(client: &Client, expected: u64) -> Result<u64> {
    let path = format!("/v1/cdrs?limit={}", expected.saturating_mul(2).max(100));
    let mut count = 0;
    for _ in 0..CDR_POLLS {
        let answer = client.get(&path)?;
        count = answer.get("items").and_then(|items| items.as_array()).map_or(0, |items| items.len() as u64);
        if count >= expected {
            break;
        }
        std::thread::sleep(POLL);
    }
    Ok(count)
}

/// Where everything is: a directory and free addresses.
struct Stage {
    directory: TempDir,
    sip: SocketAddr,
    http: SocketAddr,
    /// The caller plays a carrier, the callee a customer's PBX; each at a loopback address of its own.
    carrier: SocketAddr,
    pbx: SocketAddr,
    calls: u64,
}

impl Stage {
    fn build(command: &DemoCommand) -> Result<Stage> {
        let refused = |error: std::io::Error| Failure::No(format!("cannot prepare the demo: {error}"));
        let stage = Stage {
            directory: tempfile::Builder::new().prefix("banyan-demo-").tempdir().map_err(refused)?,
            sip: free("127.0.0.1").map_err(refused)?,
            http: free("127.0.0.1").map_err(refused)?,
            carrier: free("127.0.0.2").map_err(refused)?,
            pbx: free("127.0.0.3").map_err(refused)?,
            calls: command.calls,
        };
        fs::write(stage.path("node.toml"), stage.node_file()).map_err(refused)?;
        fs::write(stage.path("resources.toml"), stage.resources()).map_err(refused)?;
        Ok(stage)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn media_ports(&self) -> String {
        // Two pairs of ports a call, and some to spare: an ended call's ports rest for a while.
        let last = MEDIA_FIRST + self.calls.saturating_mul(8).clamp(2_000, 25_000);
        format!("{MEDIA_FIRST}-{last}")
    }

    fn node_file(&self) -> String {
        let (sip, http, ports) = (self.sip, self.http, self.media_ports());
        let data = toml::Value::String(self.path("data").display().to_string());
        format!(
            "[node]\nid = 1\nname = \"demo\"\ndata_dir = {data}\n\n[sip]\nlisten = [\"udp://{sip}\", \"tcp://{sip}\"]\n\
             domain = \"demo.example\"\n\n[media]\naddress = \"127.0.0.1\"\nports = \"{ports}\"\n\n[http]\nlisten = \
             \"{http}\"\n"
        )
    }

    /// The sample: a carrier hands us calls to a number, whose trunk delivers them to a PBX.
    fn resources(&self) -> String {
        let (carrier, pbx, ports) = (self.carrier, self.pbx, self.media_ports());
        let (carrier_ip, pbx_ip, concurrent) = (carrier.ip(), pbx.ip(), self.calls.saturating_mul(2));
        format!(
            "[[tenant]]\nname = \"demo\"\n\n[[gateway]]\nname = \"demo-carrier\"\ntargets = [\"sip:{carrier}\"]\nnetworks = \
             [\"{carrier_ip}/32\"]\nconcurrent = {concurrent}\n\n[[trunk]]\nname = \"demo-pbx\"\ntenant = \"demo\"\nprofile = \
             \"generic\"\n\n[trunk.access]\nnetworks = [\"{pbx_ip}/32\"]\nauth = [\"address\"]\n\n[trunk.limits]\nconcurrent = \
             {concurrent}\nper_minute = 1000000\nper_hour = 1000000\nper_day = 1000000\nper_week = \
             1000000\n\n[trunk.media]\nports = \"{ports}\"\n\n[trunk.delivery]\ntargets = [\"sip:{pbx}\"]\n\n[[number]]\ne164 = \
             \"{NUMBER}\"\ntrunk = \"demo-pbx\"\n"
        )
    }

    fn load(&self, command: &DemoCommand) -> LoadArgs {
        #[allow(clippy::cast_precision_loss)] // at most CALLS_MAX
        let placing = command.calls as f64 / command.rate;
        let hold = Duration::from_secs_f64((command.seconds - placing).max(1.0));
        LoadArgs {
            callee_listen: Some(self.pbx),
            rate: command.rate,
            calls: command.calls,
            to: NUMBER.to_owned(),
            media: true,
            mix: Mix { answer: Duration::from_millis(100), hold, ..Mix::default() },
            ..LoadArgs::new(self.sip, self.carrier)
        }
    }

    fn client(&self) -> Client {
        Client::new(&ClusterArgs { endpoint: format!("http://{}", self.http), token: None })
    }

    fn hints(&self) -> String {
        let http = self.http;
        format!(
            "Look at it from another terminal:\n  banyan calls --watch --endpoint http://{http}\n  banyan get cdrs \
             --endpoint http://{http}\n  banyan describe trunk demo-pbx --endpoint http://{http}\n  dashboard: http://{http}/"
        )
    }

    fn log_tail(&self) -> String {
        let text = fs::read_to_string(self.path("node.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default().join("\n")
    }

    /// Leaves the directory for whoever wants to know why.
    fn keep(self) -> PathBuf {
        self.directory.keep()
    }
}

/// The node's process; killed if it is dropped while running.
struct Node {
    child: Option<Child>,
}

impl Node {
    fn start(stage: &Stage) -> Result<Node> {
        let refused = |error: std::io::Error| Failure::No(format!("cannot start the node: {error}"));
        let binary = std::env::current_exe().map_err(refused)?;
        let log = File::create(stage.path("node.log")).map_err(refused)?;
        let child = server(&binary, &stage.path("node.toml"), log).map_err(refused)?;
        Ok(Node { child: Some(child) })
    }

    fn await_ready(&mut self, client: &Client) -> Result {
        for _ in 0..READY_POLLS {
            if let Some(Ok(Some(status))) = self.child.as_mut().map(Child::try_wait) {
                return Err(Failure::No(format!("the node ended before it was ready ({status})")));
            }
            if client.get("/readyz").is_ok() {
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
        Err(Failure::No("the node was not ready within 20 seconds".to_owned()))
    }

    /// SIGTERM, and the exit status; SIGKILL, and none, where it does not end.
    fn stop(&mut self) -> Option<ExitStatus> {
        let mut child = self.child.take()?;
        if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        for _ in 0..STOP_POLLS {
            if let Ok(Some(status)) = child.try_wait() {
                return Some(status);
            }
            std::thread::sleep(POLL);
        }
        let _ = child.kill();
        let _ = child.wait();
        None
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn server(binary: &Path, config: &Path, log: File) -> std::io::Result<Child> {
    let out = log.try_clone()?;
    let mut command = Command::new(binary);
    command.arg("server").arg("--config").arg(config);
    // Nothing of the caller's environment may point the node elsewhere.
    command.env_remove("BANYAN_ENDPOINT").env_remove("BANYAN_TOKEN");
    command.stdin(Stdio::null()).stdout(out).stderr(log).spawn()
}

/// A port that is free for UDP and TCP at this address.
fn free(ip: &str) -> std::io::Result<SocketAddr> {
    for _ in 0..64 {
        let listener = TcpListener::bind((ip, 0))?;
        let address = listener.local_addr()?;
        if UdpSocket::bind(address).is_ok() {
            return Ok(address);
        }
    }
    Err(std::io::ErrorKind::AddrInUse.into())
}

fn await_interrupt() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    if let Ok(runtime) = runtime {
        // A failure to listen ends the wait, as Ctrl-C does.
        let _ = runtime.block_on(tokio::signal::ctrl_c());
    }
}

fn table(figures: &Figures) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    let mut row = |name: &str, value: String| {
        table.add_row([name.to_owned(), value]);
    };
    row("placed", figures.placed.to_string());
    row("answered", figures.answered.to_string());
    row("lost", figures.lost.to_string());
    row("audio both ways", figures.audio_both_ways.to_string());
    row("longest audio gap", format!("{:.0} ms", figures.longest_gap_ms));
    row("RTP packets lost", figures.packets_lost.to_string());
    row("CDRs", figures.cdrs.to_string());
    row("post-dial delay", format!("p50 {:.1} ms, p99 {:.1} ms", figures.pdd_ms_p50, figures.pdd_ms_p99));
    for (reason, count) in &figures.failed {
        row(&format!("failed: {reason}"), count.to_string());
    }
    table.lines().map(|line| line.trim().to_owned() + "\n").collect()
}

const NUMBER: &str = "+31201234567";
const MEDIA_FIRST: u64 = 34_000;
const CALLS_MAX: u64 = 10_000;
const POLL: Duration = Duration::from_millis(50);
const READY_POLLS: u32 = 400;
const STOP_POLLS: u32 = 400;
const CDR_POLLS: u32 = 200;
const LOG_LINES: usize = 20;
const NEXT_STEPS: &str = "\nThe node of this demo is gone. To look around in one:\n  banyan demo --keep\nTo run your own:\n  \
    banyan config init > node.toml\n  banyan server --config node.toml\n  banyan apply -f resources.toml";

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report { placed: 10, answered: 10, completed: 10, ..Report::default() };
        report.rtp.both_ways = 10;
        report
    }

    #[test]
    fn good_means_placed_answered_recorded_and_heard() {
        assert!(Figures::new(&report(), 10).is_good());
        assert!(!Figures::new(&report(), 9).is_good());
        assert!(!Figures::new(&report(), 11).is_good());
        for break_it in [
            |report: &mut Report| report.answered = 9,
            |report: &mut Report| report.completed = 9,
            |report: &mut Report| report.rtp.both_ways = 9,
        ] {
            let mut report = report();
            break_it(&mut report);
            assert!(!Figures::new(&report, 10).is_good());
        }
    }

    #[test]
    fn more_nodes_are_not_built_yet() {
        let command = DemoCommand {
            calls: 100,
            rate: 20.0,
            seconds: 20.0,
            keep: false,
            output: LoadFormat::Table,
            nodes: 1,
            kill_node: false,
        };
        assert!(check(&command).is_ok());
        for wrong in [
            DemoCommand { nodes: 3, ..command.clone() },
            DemoCommand { kill_node: true, ..command.clone() },
            DemoCommand { calls: 0, ..command.clone() },
            DemoCommand { rate: 0.0, ..command },
        ] {
            assert_eq!(check(&wrong).expect_err("not allowed").code(), 2);
        }
    }
}

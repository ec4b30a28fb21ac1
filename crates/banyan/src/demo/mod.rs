//! `banyan demo`: real nodes in processes of their own, real calls with audio through them, and the figures.

mod figures;
mod kill;
mod nodes;
mod stage;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use peer::load::Progress;
use tokio::signal::unix::{SignalKind, signal};

use crate::client::Client;
use crate::failure::{Failure, Result};
use crate::load::{LoadFormat, with_bar};
use crate::output::say;
use figures::{Figures, NEXT_STEPS, table};
use kill::Killed;
use nodes::Nodes;
use stage::Stage;

/// What `banyan demo` is asked to do.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Example:\n  banyan demo\n  banyan demo --nodes 1\n  banyan demo --calls 500 --rate 50 --seconds 30 -o json\n\n\
    Exit 0 only if every call that was placed was answered, lasted, has its call detail record, and had audio both ways."
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
    /// Leave the nodes running after the table, until Ctrl-C
    #[arg(long)]
    pub keep: bool,
    /// Output format
    #[arg(short, long, value_enum, default_value_t = LoadFormat::Table)]
    pub output: LoadFormat,
    /// How many nodes make the cluster, each a process of its own [default: 3, with --kill-node]
    #[arg(long, value_name = "N")]
    pub nodes: Option<u32>,
    /// In the middle of the run, kill the node that holds the calls (SIGKILL)
    #[arg(long)]
    pub kill_node: bool,
}

impl DemoCommand {
    fn nodes(&self) -> u32 {
        self.nodes.unwrap_or(NODES_DEFAULT)
    }

    /// Whoever says nothing sees what the cluster is for.
    fn kills(&self) -> bool {
        self.kill_node || self.nodes.is_none()
    }
}

/// Runs `banyan demo`.
///
/// # Errors
/// Bad usage, a node that does not start, or figures that do not add up.
pub fn run(command: &DemoCommand) -> Result {
    check(command)?;
    let stage = Stage::build(command)?;
    let nodes = Arc::new(Nodes::start(&stage)?);
    end_when_told(nodes.clone(), stage.path(""));
    let mut figures = match act(command, &stage, &nodes) {
        Ok(figures) => figures,
        Err(failure) => {
            let tails = stage.log_tails();
            nodes.stop();
            return Err(Failure::No(format!("{failure}\n{tails}")));
        }
    };
    if command.keep {
        say(&table(&figures));
        say(&format!("Everything goes on until Ctrl-C. {}", stage.hints(figures.killed.as_ref())));
        await_interrupt();
    }
    figures.node_ended_well = Some(nodes.stop());
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
    Err(Failure::No(format!(
        "The figures do not add up; the nodes' files and logs are in {}",
        kept.display()
    )))
}

fn check(command: &DemoCommand) -> Result {
    let usage = |text: &str| Err(Failure::Usage(text.to_owned()));
    if !(1..=NODES_MAX).contains(&command.nodes()) {
        return Err(Failure::Usage(format!("--nodes must be 1 to {NODES_MAX}")));
    }
    if command.kills() && command.nodes() < 3 {
        return usage("--kill-node needs --nodes 3 or more: two of three can still decide, one of two can't");
    }
    if command.calls == 0 || command.calls > CALLS_MAX {
        return Err(Failure::Usage(format!("--calls must be 1 to {CALLS_MAX}")));
    }
    if !(command.rate > 0.0 && command.rate.is_finite() && (1.0..=86_400.0).contains(&command.seconds)) {
        return usage("--rate must be above 0, --seconds at least 1");
    }
    Ok(())
}

/// Waits for the nodes, applies the sample file, places the calls, kills a node if asked, counts the records.
fn act(command: &DemoCommand, stage: &Stage, nodes: &Nodes) -> Result<Figures> {
    nodes.await_ready(stage)?;
    let seat = stage.first();
    seat.client().post("/v1/apply", "application/toml", stage.resources().as_bytes())?;
    stage.await_target()?;
    match stage.seats().len() {
        1 => eprintln!("A node is up at {}. {}", seat.http, stage.hints(None)),
        count => eprintln!("{count} nodes are up. {}", stage.hints(None)),
    }
    let args = stage.load(command);
    let progress = Arc::new(Progress::default());
    let over = AtomicBool::new(false);
    let (report, killed) = std::thread::scope(|scope| {
        let killer = command.kills().then(|| {
            let middle = Duration::from_secs_f64(command.seconds / 2.0);
            let (progress, over) = (&progress, &over);
            scope.spawn(move || kill::in_the_middle(stage, nodes, middle, progress, over))
        });
        let report = with_bar(&args, &progress);
        over.store(true, Ordering::Relaxed);
        (report, killed_by(killer))
    });
    let (report, killed) = (report?, killed?);
    let survivor = stage.survivor(killed.as_ref()).client();
    let cdrs = count_cdrs(&survivor, report.placed)?;
    Ok(Figures::new(command, &report, cdrs, killed))
}

type Killer<'scope> = std::thread::ScopedJoinHandle<'scope, Result<Option<Killed>>>;

fn killed_by(killer: Option<Killer<'_>>) -> Result<Option<Killed>> {
    let Some(killer) = killer else { return Ok(None) };
    killer.join().unwrap_or_else(|_| Err(Failure::No("nobody was there to kill a node".to_owned())))
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

/// SIGTERM and SIGHUP end the nodes too, and leave no files behind.
fn end_when_told(nodes: Arc<Nodes>, directory: PathBuf) {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let Ok(runtime) = runtime else { return };
        let told = runtime.block_on(async {
            let (mut term, mut hup) = (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
            tokio::select! {
                _ = term.recv() => {}
                _ = hup.recv() => {}
            }
            std::io::Result::Ok(())
        });
        if told.is_ok() {
            nodes.kill_all();
            // What can't be removed is in the system's temporary directory.
            let _ = std::fs::remove_dir_all(directory);
            std::process::exit(ENDED_BY_SIGTERM);
        }
    });
}

fn await_interrupt() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    if let Ok(runtime) = runtime {
        // A failure to listen ends the wait, as Ctrl-C does.
        let _ = runtime.block_on(tokio::signal::ctrl_c());
    }
}

/// What a shell reports of a process that SIGTERM ended.
const ENDED_BY_SIGTERM: i32 = 128 + 15;
const CALLS_MAX: u64 = 10_000;
const NODES_DEFAULT: u32 = 3;
const NODES_MAX: u32 = 5;
const POLL: Duration = Duration::from_millis(50);
const CDR_POLLS: u32 = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_killed_only_where_two_are_left() {
        let command = command(1, false);
        assert!(check(&command).is_ok());
        assert!(check(&DemoCommand { nodes: Some(3), kill_node: true, ..command.clone() }).is_ok());
        for wrong in [
            DemoCommand { nodes: Some(0), ..command.clone() },
            DemoCommand { nodes: Some(6), ..command.clone() },
            DemoCommand { nodes: Some(2), kill_node: true, ..command.clone() },
            DemoCommand { kill_node: true, ..command.clone() },
            DemoCommand { calls: 0, ..command.clone() },
            DemoCommand { rate: 0.0, ..command },
        ] {
            assert_eq!(check(&wrong).expect_err("not allowed").code(), 2);
        }
    }

    #[test]
    fn without_a_word_one_of_three_nodes_is_killed() {
        let silent = DemoCommand { nodes: None, ..command(1, false) };
        assert_eq!((silent.nodes(), silent.kills()), (3, true));
        let told = command(3, false);
        assert_eq!((told.nodes(), told.kills()), (3, false));
    }

    pub(super) fn command(nodes: u32, kill_node: bool) -> DemoCommand {
        DemoCommand {
            calls: 10,
            rate: 20.0,
            seconds: 20.0,
            keep: false,
            output: LoadFormat::Table,
            nodes: Some(nodes),
            kill_node,
        }
    }
}

//! Many seeds, each in a process of its own: what libraries draw from the process's chance follows from the seed
//! only so.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Read as _};
use std::ops::Range;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};

use super::arguments::{Arguments, cut_words};
use super::report;
use crate::Cut;
use crate::branches::WANTED;
use crate::fault::Kind;

/// A process that runs a seed.
pub(super) struct Running {
    seed: u64,
    child: Child,
}

/// What came of a seed: what it said, and whether it was good.
pub(super) struct Ran {
    pub(super) seed: u64,
    pub(super) said: String,
    pub(super) good: bool,
}

/// What a sweep has seen.
#[derive(Default)]
struct Seen {
    seeds: u64,
    bad: Vec<u64>,
    calls: u64,
    simulated_ms: u64,
    effects: BTreeMap<Kind, (u64, u64)>,
    branches: BTreeMap<String, u64>,
}

impl Seen {
    fn add(&mut self, ran: &Ran) {
        self.seeds += 1;
        self.calls += report::figure(&ran.said, "placed");
        self.simulated_ms += report::figure(&ran.said, "lasted_ms");
        for (kind, times) in report::effects(&ran.said) {
            let (all, seeds) = self.effects.entry(kind).or_default();
            *all += times;
            *seeds += 1;
        }
        for (branch, times) in report::branches(&ran.said) {
            *self.branches.entry(branch).or_default() += times;
        }
        if !ran.good {
            self.bad.push(ran.seed);
        }
    }

    fn line(&self) -> String {
        let cpu = cpu_seconds().max(0.001);
        let simulated = self.simulated_ms as f64 / 1_000.0;
        format!(
            "{} seeds, {} calls, {simulated:.0} simulated seconds, {cpu:.0} s of CPU ({:.1} to 1), {} bad",
            self.seeds,
            self.calls,
            simulated / cpu,
            self.bad.len()
        )
    }

    fn table(&self) -> String {
        let mut lines = vec![format!("{:16} {:>9} {:>6}", "fault", "effects", "seeds")];
        for kind in Kind::ALL {
            let (times, seeds) = self.effects.get(&kind).copied().unwrap_or_default();
            lines.push(format!("{:16} {times:>9} {seeds:>6}", kind.name()));
        }
        lines.push(format!("\n{:24} {:>9}", "branch of the state", "taken"));
        let wanted = WANTED.iter().map(|branch| (*branch, self.branches.get(*branch).copied()));
        let others = self.branches.iter().map(|(branch, times)| (branch.as_str(), Some(*times)));
        let others = others.filter(|(branch, _)| !WANTED.contains(branch) && !branch.starts_with("then"));
        for (branch, times) in wanted.chain(others) {
            let times = times.map_or("never".to_owned(), |times| times.to_string());
            lines.push(format!("{branch:24} {times:>9}"));
        }
        lines.join("\n")
    }
}

/// Runs seeds. With `stops` at the first bad one; else all, with a table of what took effect.
pub fn sweep(seeds: Range<u64>, arguments: &Arguments, stops: bool) -> ExitCode {
    // A budget of real time is this program's, not the simulated world's.
    #[expect(clippy::disallowed_methods, reason = "the runner stands outside the simulated world")]
    let began = std::time::Instant::now();
    let over = || arguments.minutes.is_some_and(|minutes| began.elapsed().as_secs_f64() > minutes * 60.0);
    let (mut seen, mut running) = (Seen::default(), Vec::new());
    let mut left = seeds.clone().peekable();
    let shows = std::io::stderr().is_terminal();
    loop {
        let full = running.len() >= arguments.jobs;
        let ends = over() || left.peek().is_none() || (stops && !seen.bad.is_empty());
        match (full, ends, running.is_empty()) {
            (_, true, true) => break,
            (false, false, _) => {
                let Some(seed) = left.next() else { break };
                match start(seed, &cut_words(&arguments.cut)) {
                    Ok(started) => running.push(started),
                    Err(code) => return code,
                }
            }
            _ => {
                let ran = finish(running.remove(0));
                seen.add(&ran);
                if shows {
                    eprint!("\r{}   ", seen.line());
                }
            }
        }
    }
    if shows {
        eprintln!();
    }
    println!("seeds {}..{}: {}", seeds.start, seeds.end, seen.line());
    if !stops {
        println!("{}", seen.table());
        println!("bad: {:?}", seen.bad);
    }
    match seen.bad.first() {
        None => ExitCode::SUCCESS,
        Some(seed) => {
            if stops {
                println!("{}", again(*seed, &arguments.cut));
            }
            ExitCode::FAILURE
        }
    }
}

/// Starts a seed in a process of its own, with these words on its command line.
pub(super) fn start(seed: u64, words: &str) -> Result<Running, ExitCode> {
    let program = program();
    let mut command = Command::new(&program);
    command.args(["run", "--digest", "--seed", &seed.to_string()]).args(words.split_whitespace());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    child.map(|child| Running { seed, child }).map_err(|error| {
        eprintln!("cannot run {}: {error}", program.display());
        ExitCode::from(2)
    })
}

/// Ends one whose outcome nobody wants any more.
pub(super) fn end(mut running: Running) {
    // It may have ended by itself.
    let _ = running.child.kill();
    let _ = running.child.wait();
}

/// Waits for its end.
pub(super) fn finish(mut running: Running) -> Ran {
    let mut said = String::new();
    let read = running.child.stdout.take().map(|mut out| out.read_to_string(&mut said));
    let good =
        running.child.wait().is_ok_and(|status| status.success()) && read.is_some_and(|read| read.is_ok());
    Ran { seed: running.seed, said, good }
}

/// A seed in a process of its own, to its end.
pub(super) fn ran(seed: u64, cut: &Cut) -> Option<Ran> {
    start(seed, &cut_words(cut)).ok().map(finish)
}

/// A bad seed once more, with all that it has to say.
fn again(seed: u64, cut: &Cut) -> String {
    let mut command = Command::new(program());
    command.args(["run", "--seed", &seed.to_string()]).args(cut_words(cut).split_whitespace());
    match command.output() {
        Ok(output) => {
            let (said, cried) = (output.stdout, output.stderr);
            format!("{}{}", String::from_utf8_lossy(&said), String::from_utf8_lossy(&cried))
        }
        Err(error) => format!("seed {seed} can't be run again: {error}"),
    }
}

fn program() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| "banyan-sim".into())
}

/// The CPU time of this process and of its children that have ended, in seconds (proc(5), stat).
pub(super) fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field, a name in brackets, may hold spaces; of the rest the 12th to 15th are the times.
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 =
        rest.split_whitespace().skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum();
    ticks as f64 / TICKS_PER_SECOND
}

const TICKS_PER_SECOND: f64 = 100.0;

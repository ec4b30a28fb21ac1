//! One measured load: the generator as a process of its own on its own core, and what the subject spent meanwhile.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::BenchError;
use crate::figures::Syncs;
use crate::subject::Subject;
use crate::system::{self, GENERATOR_CORE};

/// A load to place.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Calls a second.
    pub rate: f64,
    /// Calls in all.
    pub calls: u64,
    /// How long each is held.
    pub hold: Duration,
}

impl Load {
    /// So many calls a second for so long, each held for 200 ms.
    pub fn of(rate: f64, seconds: f64) -> Self {
        Self { rate, calls: (rate * seconds) as u64, hold: Duration::from_millis(200) }
    }
}

/// What a load came to.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Calls placed.
    pub placed: u64,
    /// Calls that went through every step without anything lost.
    pub completed: u64,
    /// Calls that were refused.
    pub refused: u64,
    /// The most calls that were up at once.
    pub up_max: u64,
    /// How late the generator was at most, in milliseconds: above a few it measures itself.
    pub late_ms_max: f64,
    /// Post-dial delay in milliseconds: median and 99th percentile.
    pub pdd_ms: (f64, f64),
    /// CPU seconds of the subject.
    pub cpu_s: f64,
    /// CPU seconds of the generator.
    pub generator_cpu_s: f64,
    /// What the subject's log did.
    pub syncs: Syncs,
}

impl Outcome {
    /// CPU seconds of the subject per thousand completed calls.
    pub fn cpu_s_per_thousand(&self) -> f64 {
        if self.completed == 0 { f64::NAN } else { 1_000.0 * self.cpu_s / self.completed as f64 }
    }

    /// Whether nothing was lost.
    pub fn is_loss_free(&self) -> bool {
        self.completed == self.placed && self.placed > 0
    }
}

/// A load that runs: a generator for each lane.
pub struct Running {
    children: Vec<std::process::Child>,
}

/// Starts a load on the subject, the same share of it on each lane.
///
/// # Errors
/// When a generator can't be started.
pub fn start(subject: &Subject, load: Load, real_time: bool) -> Result<Running, BenchError> {
    let this = std::env::current_exe()
        .map_err(|error| BenchError::System { what: "the bench's own path", error })?;
    let lanes = subject.lanes();
    let count = lanes.len().max(1);
    let (rate, calls) = (load.rate / count as f64, load.calls / count as u64);
    let mut running = Running { children: Vec::new() };
    for lane in lanes {
        let mut command = system::pinned(GENERATOR_CORE, real_time, &this.to_string_lossy());
        command.arg("generate");
        command.args([lane.target, lane.caller, lane.callee].map(|address| address.to_string()));
        command.args([lane.number, rate.to_string(), calls.to_string(), load.hold.as_millis().to_string()]);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| BenchError::System { what: "starting the generator", error })?;
        running.children.push(child);
    }
    Ok(running)
}

impl Running {
    /// Waits for its end. Counts add up; of delays, the worst lane's count.
    ///
    /// # Errors
    /// When a generator printed nothing that can be read.
    pub fn finish(self) -> Result<Outcome, BenchError> {
        let mut sum = Outcome::default();
        for child in self.children {
            let one = read(child)?;
            sum = Outcome {
                placed: sum.placed + one.placed,
                completed: sum.completed + one.completed,
                refused: sum.refused + one.refused,
                up_max: sum.up_max + one.up_max,
                late_ms_max: sum.late_ms_max.max(one.late_ms_max),
                pdd_ms: (sum.pdd_ms.0.max(one.pdd_ms.0), sum.pdd_ms.1.max(one.pdd_ms.1)),
                generator_cpu_s: sum.generator_cpu_s + one.generator_cpu_s,
                ..sum
            };
        }
        Ok(sum)
    }
}

fn read(child: std::process::Child) -> Result<Outcome, BenchError> {
    let output = child
        .wait_with_output()
        .map_err(|error| BenchError::System { what: "waiting for the generator", error })?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().next_back().unwrap_or_default();
    let report: Value =
        serde_json::from_str(line).map_err(|error| BenchError::Generator(format!("{error}: {text}")))?;
    let number = |name: &str| report.get(name).and_then(Value::as_f64).unwrap_or_default();
    Ok(Outcome {
        placed: number("placed") as u64,
        completed: number("completed") as u64,
        refused: number("refused") as u64,
        up_max: number("up_max") as u64,
        late_ms_max: number("late_ms_max"),
        pdd_ms: (number("pdd_p50_ms"), number("pdd_p99_ms")),
        generator_cpu_s: number("cpu_s"),
        ..Outcome::default()
    })
}

/// Places a load and measures what it cost the subject, from the first INVITE to the last BYE and a little beyond.
///
/// # Errors
/// When the generator fails.
pub fn measure(subject: &Subject, load: Load, real_time: bool) -> Result<Outcome, BenchError> {
    let processes = subject.processes();
    let (cpu_before, syncs_before) = (system::cpu_s(&processes), subject.syncs());
    let outcome = start(subject, load, real_time)?.finish()?;
    // The last lazy ends are committed a little later, and belong to these calls.
    tests::wait::pass(Duration::from_millis(300));
    Ok(Outcome {
        cpu_s: system::cpu_s(&processes) - cpu_before,
        syncs: subject.syncs().since(&syncs_before),
        ..outcome
    })
}

//! Signalling: what a call costs, how fast it is, how many fit, what one held takes, what is left after a flood.

use std::collections::BTreeMap;
use std::time::Duration;

use tests::wait;

use crate::BenchError;
use crate::figures::median;
use crate::load::{self, Load, Outcome};
use crate::overload;
use crate::report::{self, Column};
use crate::subject::{KAMAILIO, Kind, Subject};
use crate::system;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Settings {
    rates: Vec<f64>,
    seconds: f64,
    rounds: usize,
    parts: Vec<String>,
    kinds: Vec<Kind>,
}

impl Settings {
    /// Reads the command line.
    ///
    /// # Errors
    /// With the usage when it makes no sense.
    pub fn parse(words: &[&str]) -> Result<Self, BenchError> {
        Self::of(words, Kind::Banyan, &["cost", "maximum", "memory", "overload"])
    }

    /// Reads the command line of `bench cluster`: three nodes beside the same peer.
    ///
    /// # Errors
    /// With the usage when it makes no sense.
    pub fn cluster(words: &[&str]) -> Result<Self, BenchError> {
        Self::of(words, Kind::Cluster, &["cost"])
    }

    fn of(words: &[&str], kind: Kind, parts: &[&str]) -> Result<Self, BenchError> {
        let mut settings = Self {
            rates: vec![500.0, 2_000.0],
            seconds: 8.0,
            rounds: 3,
            parts: parts.iter().map(|part| (*part).to_owned()).collect(),
            kinds: vec![Kind::Kamailio, kind],
        };
        let wrong = || BenchError::Usage(format!("what does `{}` mean?", words.join(" ")));
        let mut words = words.iter();
        while let Some(option) = words.next() {
            let value = words.next().ok_or_else(wrong)?;
            match *option {
                "--rates" => {
                    let rates = value.split(',').map(|rate| rate.parse::<f64>().map_err(|_| wrong()));
                    settings.rates = rates.collect::<Result<_, _>>()?;
                }
                "--seconds" => settings.seconds = value.parse().map_err(|_| wrong())?,
                "--rounds" => settings.rounds = value.parse().map_err(|_| wrong())?,
                "--parts" => settings.parts = value.split(',').map(str::to_owned).collect(),
                "--only" => settings.kinds.retain(|kind| kind.name() == *value),
                _ => return Err(wrong()),
            }
        }
        Ok(settings)
    }

    fn wants(&self, part: &str) -> bool {
        self.parts.iter().any(|wanted| wanted == part)
    }
}

/// Measures and prints.
///
/// # Errors
/// When a subject does not start, the data directory is in memory, or the generator fails.
pub fn run(settings: &Settings) -> Result<(), BenchError> {
    let real_time = system::real_time_permitted();
    report::conditions(real_time, KAMAILIO, settings.kinds.contains(&Kind::Cluster));
    let mut columns: BTreeMap<Kind, Column> = BTreeMap::new();
    if settings.wants("cost") {
        cost(settings, real_time, &mut columns)?;
    }
    for kind in &settings.kinds {
        let column = columns.entry(*kind).or_default();
        if settings.wants("maximum") {
            column.maximum = Some(maximum(*kind, real_time)?);
        }
        if settings.wants("memory") {
            column.memory = Some(memory(*kind, real_time)?);
        }
        if settings.wants("overload") {
            column.overload = Some(overload::measure(*kind, real_time)?);
        }
    }
    report::print(&columns);
    Ok(())
}

/// Cost and delay at fixed rates; the subjects take turns, so that both meet the same neighbours.
fn cost(
    settings: &Settings,
    real_time: bool,
    columns: &mut BTreeMap<Kind, Column>,
) -> Result<(), BenchError> {
    for rate in &settings.rates {
        let mut rounds: BTreeMap<Kind, Vec<Outcome>> = BTreeMap::new();
        for round in 1..=settings.rounds {
            for kind in &settings.kinds {
                let subject = Subject::start(*kind, real_time)?;
                // The first calls fill allocators and caches.
                load::measure(&subject, Load::of(*rate / 2.0, 1.0), real_time)?;
                let outcome = load::measure(&subject, Load::of(*rate, settings.seconds), real_time)?;
                println!("{:>8} {rate}/s round {round}: {}", kind.name(), report::line(&outcome));
                rounds.entry(*kind).or_default().push(outcome);
            }
        }
        for (kind, outcomes) in rounds {
            let of = |figure: fn(&Outcome) -> f64| median(outcomes.iter().map(figure).collect());
            let at = report::AtRate {
                rate: *rate,
                cpu_s_per_thousand: of(Outcome::cpu_s_per_thousand),
                pdd_p50_ms: of(|outcome| outcome.pdd_ms.0),
                pdd_p99_ms: of(|outcome| outcome.pdd_ms.1),
                lost: outcomes.iter().map(|outcome| outcome.placed - outcome.completed).sum(),
                syncs_per_call: of(|outcome| outcome.syncs.count / (outcome.placed.max(1) as f64)),
                syncs: of(|outcome| outcome.syncs.count),
                sync_p50_ms: of(|outcome| outcome.syncs.quantile_ms(0.5)),
                sync_p99_ms: of(|outcome| outcome.syncs.quantile_ms(0.99)),
            };
            columns.entry(kind).or_default().rates.push(at);
        }
    }
    Ok(())
}

/// The highest rate without a single lost call, found by halving; confirmed three times.
fn maximum(kind: Kind, real_time: bool) -> Result<f64, BenchError> {
    let loss_free = |rate: f64| -> Result<bool, BenchError> {
        // A subject that was overloaded once is not asked again: it gets a fresh start.
        let subject = Subject::start(kind, real_time)?;
        let outcome = load::measure(&subject, Load::of(rate, 4.0), real_time)?;
        println!("{:>8} {rate}/s: {}", kind.name(), report::line(&outcome));
        Ok(outcome.is_loss_free())
    };
    let (mut good, mut bad) = (500.0, 9_000.0);
    while bad - good > 250.0 {
        let middle = ((good + bad) / 2.0_f64).round();
        if loss_free(middle)? {
            good = middle;
        } else {
            bad = middle;
        }
    }
    while good > 500.0 {
        if loss_free(good)? && loss_free(good)? && loss_free(good)? {
            break;
        }
        good = (good * 0.93).round();
    }
    Ok(good)
}

/// KiB for each of 5,000 held calls, and what is left of them afterwards.
fn memory(kind: Kind, real_time: bool) -> Result<(f64, f64), BenchError> {
    const HELD: u64 = 5_000;
    let subject = Subject::start(kind, real_time)?;
    load::measure(&subject, Load::of(100.0, 1.0), real_time)?;
    let processes = subject.processes();
    let idle = system::memory_kib(&processes);
    let hold = Duration::from_secs(9);
    let running = load::start(&subject, Load { rate: 1_000.0, calls: HELD, hold }, real_time)?;
    // All are up after five seconds, the first ends after nine.
    wait::pass(Duration::from_secs(7));
    let held = system::memory_kib(&processes);
    let outcome = running.finish()?;
    wait::pass(Duration::from_secs(40));
    let after = system::memory_kib(&processes);
    let per_call = |kib: u64| (kib.saturating_sub(idle)) as f64 / outcome.up_max.max(1) as f64;
    println!(
        "{:>8} memory: idle {idle} KiB, {} calls held {held} KiB, 40 s later {after} KiB; {}",
        kind.name(),
        outcome.up_max,
        report::line(&outcome)
    );
    Ok((per_call(held), per_call(after)))
}

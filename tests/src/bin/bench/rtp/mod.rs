//! The RTP bench (`cargo xtask bench rtp`): our relay and Debian's rtpengine (userspace) under the same load, by
//! turns, one core for the relay and one for the generator.
//!
//! Each party is a process of its own (this program again, in another role), so that CPU time is the kernel's
//! account of that process alone: to the nanosecond, over all its threads.
//!
//! With `--srtp` each packet passes the relay twice: one entry secures it (AES in counter mode, 80 bits of tag), the next
//! opens it. So the generator needs no keys, and a packet that comes back in clear proves the keys right.

pub mod generator;
mod ng;
mod party;
pub mod relay;

use std::fmt;
use std::io;
use std::time::Duration;

use crate::BenchError;
use crate::system;
use generator::Report;
use party::Party;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many calls at a time; one table line each.
    pub calls: Vec<usize>,
    /// How often each relay is measured; the median counts.
    pub rounds: usize,
    /// How long each measurement lasts.
    pub duration: Duration,
    /// Whether packets are secured and opened on their way.
    pub srtp: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { calls: vec![200, 500], rounds: 3, duration: Duration::from_secs(5), srtp: false }
    }
}

/// The median figures of one relay under one load.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// How many calls.
    pub calls: usize,
    /// CPU seconds of the relay per million packets that it forwarded.
    pub cpu_s_per_million: f64,
    /// Packets lost, per cent.
    pub loss_percent: f64,
    /// Median latency through the relay, in microseconds.
    pub p50_us: u32,
    /// Its 99th percentile.
    pub p99_us: u32,
}

/// Both relays under one load.
#[derive(Clone, Copy, Debug)]
pub struct Comparison {
    /// rtpengine, userspace.
    pub rtpengine: Figures,
    /// Ours.
    pub banyan: Figures,
}

impl Comparison {
    /// Our CPU time as a part of rtpengine's.
    pub fn ratio(&self) -> f64 {
        self.banyan.cpu_s_per_million / self.rtpengine.cpu_s_per_million
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, it) in [("rtpengine", &self.rtpengine), ("banyan", &self.banyan)] {
            writeln!(
                f,
                "{name:<10} {:>5} calls {:>7.2} CPU s per million packets  loss {:.4} %  latency p50 {} us  p99 {} us",
                it.calls, it.cpu_s_per_million, it.loss_percent, it.p50_us, it.p99_us
            )?;
        }
        write!(f, "ratio {:.2}", self.ratio())
    }
}

impl Options {
    /// Reads a command line.
    pub fn parse(words: &[&str]) -> Result<Options, BenchError> {
        let mut options = Options::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if *word == "--srtp" {
                options.srtp = true;
                continue;
            }
            let value = words.next().copied().unwrap_or_default();
            let numbers: Vec<usize> = value.split(',').filter_map(|number| number.parse().ok()).collect();
            match (*word, numbers.as_slice()) {
                ("--calls", [_, ..]) => options.calls = numbers,
                ("--rounds", [rounds]) => options.rounds = (*rounds).max(1),
                ("--seconds", [seconds]) => options.duration = Duration::from_secs(*seconds as u64),
                _ => return Err(BenchError::Usage(format!("rtp: what is {word} {value}?"))),
            }
        }
        Ok(options)
    }
}

/// Measures, and prints a comparison for each number of calls.
pub fn run(options: &Options) -> Result<(), BenchError> {
    for calls in &options.calls {
        let comparison =
            compare(*calls, options).map_err(|error| BenchError::System { what: "rtp", error })?;
        println!("{comparison}");
    }
    Ok(())
}

/// What the two roles of this program have in common: they fail with a sentence.
pub fn role(result: io::Result<()>) -> Result<(), BenchError> {
    result.map_err(|error| BenchError::System { what: "rtp", error })
}

fn compare(calls: usize, options: &Options) -> io::Result<Comparison> {
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds.max(1) {
        let (engine, ports) = ng::start(calls, options.srtp)?;
        theirs.push(measure(&engine, calls, &ports, options)?);
        engine.stop();
        let (relay, ports) = relay::start(calls, options.srtp)?;
        ours.push(measure(&relay, calls, &ports, options)?);
        relay.stop();
    }
    Ok(Comparison { rtpengine: median(theirs)?, banyan: median(ours)? })
}

/// Drives one relay and takes its CPU time meanwhile.
fn measure(sut: &Party, calls: usize, ports: &str, options: &Options) -> io::Result<Figures> {
    let before = sut.cpu()?;
    let words = ["rtp-generate", &options.duration.as_millis().to_string()];
    let mut generator = Party::this(&words, system::GENERATOR_CORE)?;
    generator.say(ports)?;
    let report = Report::read(&generator.hear_all()?)?;
    let cpu = sut.cpu()?.saturating_sub(before);
    let forwards = report.sent_in_all * if options.srtp { 2 } else { 1 };
    Ok(Figures {
        calls,
        cpu_s_per_million: cpu.as_secs_f64() / forwards as f64 * 1e6,
        loss_percent: 100.0 * report.sent.saturating_sub(report.received) as f64 / report.sent.max(1) as f64,
        p50_us: report.p50_us,
        p99_us: report.p99_us,
    })
}

/// The round with the median CPU time; loss is that of the worst round.
fn median(mut rounds: Vec<Figures>) -> io::Result<Figures> {
    rounds.sort_by(|a, b| a.cpu_s_per_million.total_cmp(&b.cpu_s_per_million));
    let mut p99: Vec<u32> = rounds.iter().map(|round| round.p99_us).collect();
    p99.sort_unstable();
    let loss_percent = rounds.iter().map(|round| round.loss_percent).fold(0.0, f64::max);
    let middle = *rounds.get(rounds.len() / 2).ok_or_else(|| io::Error::other("no round"))?;
    let p99_us = p99.get(p99.len() / 2).copied().unwrap_or(middle.p99_us);
    Ok(Figures { loss_percent, p99_us, ..middle })
}

//! The command line of `banyan-sim`.

use std::fmt::Write as _;
use std::ops::Range;

use crate::Cut;
use crate::fault::Kind;

/// What the command line says, after the command.
#[derive(Clone, Debug)]
pub struct Arguments {
    /// One seed.
    pub seed: Option<u64>,
    /// Many of them.
    pub seeds: Option<Range<u64>>,
    /// For how long a sweep goes on at most.
    pub minutes: Option<f64>,
    /// How many processes at once.
    pub jobs: usize,
    /// Where the trace goes.
    pub trace: Option<String>,
    /// Where the picture goes.
    pub svg: Option<String>,
    /// Of which call.
    pub call: Option<u32>,
    /// Whether the trace's digest is enough.
    pub digest: bool,
    /// What is left out of the run.
    pub cut: Cut,
    /// Calls a second, for measurements.
    pub rate: u32,
    /// For how long they are placed.
    pub seconds: u64,
    /// The bug to plant.
    pub plant: Option<String>,
    /// The bugs to hunt.
    pub names: Vec<String>,
    /// How many seeds each of them may need.
    pub seeds_max: u64,
    /// Whether the seeds that are known to catch them are left out.
    pub anew: bool,
}

impl Arguments {
    /// Reads what follows the command; `None` if it is no good.
    pub fn parse(words: &[String]) -> Option<Arguments> {
        let mut read = Arguments {
            seed: None,
            seeds: None,
            minutes: None,
            jobs: 1,
            trace: None,
            svg: None,
            call: None,
            digest: false,
            cut: Cut::default(),
            rate: 20,
            seconds: 30,
            plant: None,
            names: Vec::new(),
            seeds_max: 1_000,
            anew: false,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if word == "--digest" {
                read.digest = true;
                continue;
            }
            if word == "--anew" {
                read.anew = true;
                continue;
            }
            if !word.starts_with("--") {
                read.names.push(word.clone());
                continue;
            }
            let value = words.next()?;
            match word.as_str() {
                "--seed" => read.seed = Some(value.parse().ok()?),
                "--seeds" => {
                    let (from, to) = value.split_once("..")?;
                    read.seeds = Some(from.parse().ok()?..to.parse().ok()?);
                }
                "--minutes" => read.minutes = Some(value.parse().ok().filter(|minutes| *minutes > 0.0)?),
                "--jobs" => read.jobs = value.parse().ok().filter(|jobs| *jobs > 0)?,
                "--trace" => read.trace = Some(value.clone()),
                "--svg" => read.svg = Some(value.clone()),
                "--call" => read.call = Some(value.parse().ok()?),
                "--faults" if value == "none" => read.cut.faults = Some([].into()),
                "--faults" => {
                    read.cut.faults = Some(value.split(',').map(str::parse).collect::<Result<_, _>>().ok()?);
                }
                "--only" => read.cut.only = Some(Kind::named(value)?),
                "--calls" => read.cut.calls = Some(value.parse().ok()?),
                "--rate" => read.rate = value.parse().ok().filter(|rate| *rate > 0)?,
                "--plant" => read.plant = Some(value.clone()),
                "--seeds-max" => read.seeds_max = value.parse().ok().filter(|max| *max > 0)?,
                "--seconds" => read.seconds = value.parse().ok()?,
                _ => return None,
            }
        }
        Some(read)
    }
}

/// What is left out of a run, and what is planted, as the command line says it.
pub fn cut_words(cut: &Cut) -> String {
    let mut words = String::new();
    // Writing into a String can't fail.
    if let Some(kind) = cut.only {
        let _ = write!(words, " --only {kind}");
    }
    if let Some(faults) = &cut.faults {
        let list: Vec<String> = faults.iter().map(usize::to_string).collect();
        let _ =
            write!(words, " --faults {}", if list.is_empty() { "none".to_owned() } else { list.join(",") });
    }
    if let Some(calls) = cut.calls {
        let _ = write!(words, " --calls {calls}");
    }
    if let Some(name) = machine::museum::chosen() {
        let _ = write!(words, " --plant {name}");
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Option<Arguments> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Arguments::parse(&words)
    }

    #[test]
    fn a_cut_is_read_as_it_is_written() {
        for line in ["--faults 0,3 --calls 7", "--only crash --faults none", "--calls 1", ""] {
            let read = parse(line).expect("it is good");
            assert_eq!(cut_words(&read.cut).trim(), line);
        }
    }

    #[test]
    fn bad_words_are_refused() {
        for line in ["--seed", "--seed x", "--seeds 4", "--jobs 0", "--minutes -1", "--faults a", "--only x"]
        {
            assert!(parse(line).is_none(), "{line}");
        }
    }
}

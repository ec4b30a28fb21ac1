//! The museum: each planted bug is let loose on seed after seed until one of them catches it; the table says which,
//! by what, and at what price.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use machine::museum::{self, PLANTS, Plant};

use super::arguments::Arguments;
use super::sweep::{self, Ran};

/// How a plant was caught.
struct Catch {
    seed: u64,
    clause: String,
}

/// What came of the hunt for a plant.
struct Hunt {
    caught: Option<Catch>,
    seeds: u64,
    cpu_s: f64,
}

/// Plants the bug of the command line, if it names one.
///
/// # Errors
/// What to do instead, and the exit code: this build has no museum, or no bug has this name.
pub fn plant(name: Option<&str>) -> Result<(), ExitCode> {
    let Some(name) = name else { return Ok(()) };
    is_open()?;
    if !museum::plant(name) {
        eprintln!("no bug is called {name}; `banyan-sim plants` lists them");
        return Err(ExitCode::from(2));
    }
    watch_over();
    Ok(())
}

/// A planted bug may let a run go on for ever: one that takes too much of the processor is ended, and is a failure.
fn watch_over() {
    std::thread::spawn(|| {
        while sweep::cpu_seconds() < RUN_CPU_S_MAX {
            std::thread::sleep(std::time::Duration::from_millis(500));
        }
        println!("VIOLATION 0.000 ms: {ENDS}: it takes more than {RUN_CPU_S_MAX} s of CPU\nbad");
        std::process::exit(1);
    });
}

fn is_open() -> Result<(), ExitCode> {
    if museum::IS_OPEN {
        return Ok(());
    }
    eprintln!("this build holds no planted bugs; `cargo xtask museum` builds one that does, and runs it");
    Err(ExitCode::from(2))
}

/// Lists what can be planted.
pub fn list() -> ExitCode {
    for Plant { name, what, lesson, seed } in PLANTS {
        println!("{name:29} {what} ({lesson}; seed {seed})");
    }
    ExitCode::SUCCESS
}

/// Hunts the plants that are named, or all.
pub fn hunt(arguments: &Arguments) -> ExitCode {
    if let Err(code) = is_open() {
        return code;
    }
    let known: Option<Vec<&Plant>> = arguments.names.iter().map(|name| museum::named(name)).collect();
    let Some(named) = known else {
        eprintln!("there is no such bug; `banyan-sim plants` lists them");
        return ExitCode::from(2);
    };
    let plants = if named.is_empty() { PLANTS.iter().collect() } else { named };
    println!("{:29} {:>6} {:>6} {:>7}  caught by", "bug", "seed", "seeds", "CPU s");
    let (mut seeds, mut cpu_s, mut caught) = (0, 0.0, 0);
    for plant in &plants {
        let hunt = match one(plant, arguments) {
            Ok(hunt) => hunt,
            Err(code) => return code,
        };
        println!("{}", line(plant, &hunt));
        (seeds, cpu_s) = (seeds + hunt.seeds, cpu_s + hunt.cpu_s);
        caught += usize::from(hunt.caught.is_some());
    }
    println!("{caught} of {} planted bugs are caught, by {seeds} seeds in {cpu_s:.0} s of CPU", plants.len());
    if caught == plants.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn line(plant: &Plant, hunt: &Hunt) -> String {
    let (seed, clause) = match &hunt.caught {
        Some(Catch { seed, clause }) => (seed.to_string(), clause.as_str()),
        None => ("-".to_owned(), "NOTHING"),
    };
    format!("{:29} {seed:>6} {:>6} {:>7.1}  {clause}", plant.name, hunt.seeds, hunt.cpu_s)
}

/// Hunts one: with the seed that is known to catch it, then, or with `--anew` at once, from 1 on.
fn one(plant: &Plant, arguments: &Arguments) -> Result<Hunt, ExitCode> {
    let first = if arguments.anew { None } else { Some(plant.seed) };
    let others = (1..=arguments.seeds_max).filter(|seed| Some(*seed) != first);
    let mut left = first.into_iter().chain(others).take(arguments.seeds_max as usize).peekable();
    let words = format!(" --plant {}", plant.name);
    let (before, mut running) = (sweep::cpu_seconds(), Vec::new());
    let (mut seeds, mut caught): (u64, Option<Catch>) = (0, None);
    while caught.is_none() && (left.peek().is_some() || !running.is_empty()) {
        while let Some(seed) = left.next_if(|_| running.len() < arguments.jobs) {
            running.push(sweep::start(seed, &words)?);
        }
        // In the order of seeds, so that the answer does not depend on how many run at once.
        let ran = sweep::finish(running.remove(0));
        seeds += 1;
        caught =
            (!ran.good && is_innocent_without(&ran)?).then(|| Catch { seed: ran.seed, clause: clause(&ran) });
        if std::io::stderr().is_terminal() {
            eprint!("\r{}: {seeds} seeds \r", plant.name);
        }
    }
    running.into_iter().for_each(sweep::end);
    Ok(Hunt { caught, seeds, cpu_s: sweep::cpu_seconds() - before })
}

/// Whether the world of a bad seed is a good one where nothing is planted: else it has caught something else.
fn is_innocent_without(ran: &Ran) -> Result<bool, ExitCode> {
    let good = sweep::finish(sweep::start(ran.seed, "")?).good;
    if !good {
        eprintln!("seed {} is bad without any planted bug", ran.seed);
    }
    Ok(good)
}

/// The invariant of the first violation.
fn clause(ran: &Ran) -> String {
    let first = ran.said.lines().find_map(|line| line.strip_prefix("VIOLATION "));
    let mut words = first.unwrap_or_default().split(": ").skip(1);
    match words.next() {
        // A clause with a colon of its own.
        Some("liveness") => format!("liveness: {}", words.next().unwrap_or_default()),
        Some(clause) => clause.to_owned(),
        None => ENDS.to_owned(),
    }
}

const ENDS: &str = "a run comes to its end";
/// A run takes half a second; a world that spins takes all that there is.
const RUN_CPU_S_MAX: f64 = 60.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(said: &str) -> Ran {
        Ran { seed: 3, said: said.to_owned(), good: false }
    }

    #[test]
    fn a_catch_is_named_by_the_invariant_that_saw_it_first() {
        let said = "seed 3 trace 00 placed 4\nVIOLATION 4000.000 ms: I-9 nothing early: node 1: #3\nVIOLATION 5.0 ms: I-1 x: y\nbad\n";
        assert_eq!(clause(&ran(said)), "I-9 nothing early");
        assert_eq!(clause(&ran("")), ENDS);
    }

    #[test]
    fn what_nobody_catches_stands_out() {
        let plant = Plant { name: "bug", what: "w", lesson: "l", seed: 1 };
        let hunt = Hunt { caught: None, seeds: 1_000, cpu_s: 421.25 };
        assert_eq!(line(&plant, &hunt), "bug                                -   1000   421.2  NOTHING");
    }
}

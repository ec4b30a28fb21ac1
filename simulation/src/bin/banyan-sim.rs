//! Replays worlds: `run --seed N [--trace FILE]`, `sweep --seeds A..B`.

use std::process::ExitCode;

use simulation::{Run, interpose};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["run", "--seed", seed] => with(seed, |seed| run(seed, None)),
        ["run", "--seed", seed, "--trace", file] => with(seed, |seed| run(seed, Some(file))),
        ["sweep", "--seeds", range] => match range.split_once("..").map(|(a, b)| (a.parse(), b.parse())) {
            Some((Ok(from), Ok(to))) => sweep(from, to),
            _ => usage(),
        },
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: banyan-sim run --seed N [--trace FILE] | banyan-sim sweep --seeds A..B");
    ExitCode::from(2)
}

fn with(seed: &str, then: impl FnOnce(u64) -> ExitCode) -> ExitCode {
    seed.parse().map_or_else(|_| usage(), then)
}

fn run(seed: u64, file: Option<&str>) -> ExitCode {
    interpose(seed);
    let run = Run::of(seed);
    println!("seed {seed} trace {:016x} lines {}", run.hash, run.trace.lines().count());
    println!("{:?}", run.figures);
    for violation in &run.violations {
        println!("VIOLATION {violation}");
    }
    if let Some(file) = file
        && let Err(error) = std::fs::write(file, &run.trace)
    {
        eprintln!("cannot write {file}: {error}");
        return ExitCode::from(2);
    }
    println!("{}", if run.is_good() { "good" } else { "bad" });
    if run.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Each seed in a process of its own, for the interposed chance is the process's.
fn sweep(from: u64, to: u64) -> ExitCode {
    let Ok(program) = std::env::current_exe() else { return ExitCode::from(2) };
    for seed in from..to {
        let run = std::process::Command::new(&program).args(["run", "--seed", &seed.to_string()]).output();
        match run {
            Ok(run) if run.status.success() => {}
            Ok(run) => {
                println!("{}", String::from_utf8_lossy(&run.stdout));
                println!("replay: banyan-sim run --seed {seed} --trace FILE");
                return ExitCode::FAILURE;
            }
            Err(error) => {
                eprintln!("cannot run {}: {error}", program.display());
                return ExitCode::from(2);
            }
        }
    }
    println!("seeds {from}..{to}: all good");
    ExitCode::SUCCESS
}

//! `banyan-sim`: one seed per process; sweeps fan out, stop at the first failure, and print the line that replays
//! it. Exit codes as everywhere: 0 good, 1 the result is bad, 2 bad usage.

mod arguments;
mod failure;
mod ladder;
mod museum;
mod picture;
mod report;
mod shrink;
mod sweep;

use std::process::ExitCode;

use crate::fault::Kind;
use crate::{Plan, Run, interpose};

use arguments::Arguments;
pub use ladder::Ladder;

const USAGE: &str = "\
usage: banyan-sim run --seed N [--only KIND] [--faults 0,2] [--calls N] [--trace FILE] [--digest]
                      [--svg FILE [--call N]]
                                       one world; says what was wrong, and shows the call that it befell
       banyan-sim replay --seed N …    the same
       banyan-sim plan --seed N        what a seed sets out to do
       banyan-sim sweep --seeds A..B [--minutes M] [--jobs N]
                                       many worlds, each in a process of its own, until one is bad
       banyan-sim coverage --seeds A..B [--jobs N]
                                       the same, bad ones or not, and how often each kind of fault took effect
       banyan-sim shrink --seed N      fewer faults and fewer calls with the same failure
       banyan-sim faults               the catalogue
       banyan-sim plants               the bugs that a build with a museum can plant: --plant NAME, with any seed
       banyan-sim museum [--jobs N] [--seeds-max N] [--anew] [NAME …]
                                       which seed catches each of them, and by what
       banyan-sim speed [--rate N] [--seconds N]
                                       simulated seconds per second of CPU, without faults";

/// Does what the command line says.
pub fn main(words: &[String]) -> ExitCode {
    let Some((command, rest)) = words.split_first() else { return usage() };
    let Some(arguments) = Arguments::parse(rest) else { return usage() };
    if let Err(code) = museum::plant(arguments.plant.as_deref()) {
        return code;
    }
    if !arguments.names.is_empty() && command != "museum" {
        return usage();
    }
    match (command.as_str(), arguments.seed, &arguments.seeds) {
        ("run" | "replay", Some(seed), None) => run(seed, &arguments),
        ("plan", Some(seed), None) => {
            let plan = Plan::of(seed, &arguments.cut);
            println!("{}", report::of_plan(&plan));
            ExitCode::SUCCESS
        }
        ("sweep", None, Some(seeds)) => sweep::sweep(seeds.clone(), &arguments, true),
        ("coverage", None, Some(seeds)) => sweep::sweep(seeds.clone(), &arguments, false),
        ("shrink", Some(seed), None) => shrink::shrink(seed, &arguments.cut),
        ("faults", None, None) => {
            for kind in Kind::ALL {
                let (name, words) = kind.words();
                println!("{name:16} {words}");
            }
            ExitCode::SUCCESS
        }
        ("plants", None, None) => museum::list(),
        ("museum", None, None) => museum::hunt(&arguments),
        ("speed", None, None) => speed(&arguments),
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

fn run(seed: u64, arguments: &Arguments) -> ExitCode {
    interpose(seed);
    let plan = Plan::of(seed, &arguments.cut);
    let run = Run::of(&plan, !arguments.digest);
    print!("{}", report::of_run(seed, &run));
    let traced = arguments.trace.as_ref().map(|file| (file, run.trace.clone()));
    let drawn = arguments.svg.as_ref().map(|file| (file, picture(seed, arguments, &run)));
    for (file, text) in traced.into_iter().chain(drawn) {
        if let Err(error) = std::fs::write(file, text) {
            eprintln!("cannot write {file}: {error}");
            return ExitCode::from(2);
        }
    }
    if run.is_good() {
        return ExitCode::SUCCESS;
    }
    if !arguments.digest {
        print!("{}", failure::of(&plan, &run, &arguments.cut));
    }
    ExitCode::FAILURE
}

/// The ladder of a call, as a picture: of the one asked for, else of one that was taken over.
fn picture(seed: u64, arguments: &Arguments, run: &Run) -> String {
    let ladder = match arguments.call {
        Some(call) => Ladder::of_call(&run.trace, Some(&format!("#{call}"))),
        None => Ladder::of_takeover(&run.trace),
    };
    let cut = arguments::cut_words(&arguments.cut);
    picture::draw(&ladder, &format!("banyan-sim run --seed {seed}{cut}"))
}

fn speed(arguments: &Arguments) -> ExitCode {
    interpose(1);
    let lasting = std::time::Duration::from_secs(arguments.seconds);
    let plan = Plan::steady(1, arguments.rate, lasting);
    let run = Run::of(&plan, false);
    let cpu = sweep::cpu_seconds();
    let lasted = run.figures.lasted_ms as f64 / 1_000.0;
    println!(
        "{} calls, {lasted:.1} simulated seconds, {cpu:.2} s of CPU: {:.1}",
        run.figures.placed,
        lasted / cpu
    );
    print!("{}", report::of_run(1, &run));
    if run.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

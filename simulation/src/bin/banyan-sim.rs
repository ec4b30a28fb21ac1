//! The world in a seed, on the command line: `banyan-sim` without words says what it can do.

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    simulation::runner::main(&words)
}

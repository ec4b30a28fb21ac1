//! `cargo xtask`: every command that works on the project rather than on calls.
//!
//! It builds in seconds (clap and the standard library) and does nothing itself: each stage is a
//! command that a person could type, printed before it runs, with its time after it. What needs
//! crates lives elsewhere: scenarios and the bench in `tests/`, the callers in `crates/peer`.

mod bench;
mod corpus;
mod demo;
mod deny;
mod fuzz;
mod lint;
mod museum;
mod packages;
mod shell;
mod stages;
mod suite;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::shell::Failure;
use crate::stages::Stages;

/// The commands of the project: build, try, test, prove, measure.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Builds the node, starts it on loopback and places calls through it.
    ///
    /// Example: cargo xtask demo --calls 200 --rate 50
    #[command(disable_help_flag = true)]
    Demo {
        /// Handed to `banyan demo` unchanged.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// What continuous integration runs: every stage, at its short length.
    ///
    /// Example: cargo xtask test --only scenarios
    Test(Selection),
    /// Every stage at the full length that the shows ask for (hours are possible; nothing is timed).
    ///
    /// Example: cargo xtask prove --only fuzz
    Prove {
        #[command(flatten)]
        selection: Selection,
        /// Adds stage `corpus`: explain-corpus on this directory.
        #[arg(long, value_name = "DIR")]
        corpus: Option<PathBuf>,
    },
    /// Compares `banyan explain` with the hand-written verdicts for the messages of RFC 4475 and 5118.
    ///
    /// Example: cargo xtask explain-corpus ../corpora
    ExplainCorpus {
        /// Has rfc4475/*.dat and rfc5118/*.dat, which the repository does not hold.
        #[arg(value_name = "DIR")]
        corpus: PathBuf,
    },
    /// Measures a node beside Debian's Kamailio in one run and prints both columns.
    ///
    /// Example: cargo xtask bench signalling
    #[command(disable_help_flag = true)]
    Bench {
        /// Handed to the bench binary unchanged.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Runs fuzz targets, each for some seconds.
    ///
    /// Example: cargo xtask fuzz --seconds 300 message framer
    Fuzz {
        /// Seconds for each target.
        #[arg(long, default_value_t = 20)]
        seconds: u32,
        /// The targets; left out: all of them.
        targets: Vec<String>,
    },
    /// Plants one bug after the other and lets the simulation find each; prints which seed did, by what.
    ///
    /// Example: cargo xtask museum --jobs 2 cseq-reused
    #[command(disable_help_flag = true)]
    Museum {
        /// Handed to `banyan-sim museum` unchanged.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Format, clippy, documentation and dependency policy: the stages that only read.
    ///
    /// Example: cargo xtask lint
    Lint,
}

/// Which stages of a suite to run.
#[derive(Debug, clap::Args)]
struct Selection {
    /// Only these stages (repeatable).
    #[arg(long, value_name = "STAGE")]
    only: Vec<String>,
    /// All but these stages (repeatable).
    #[arg(long, value_name = "STAGE")]
    skip: Vec<String>,
    /// Prints the names of the stages and ends.
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Demo { arguments } => demo::run(&arguments),
        Command::Test(selection) => run_suite(suite::stages(suite::Length::Test, None), selection),
        Command::Prove { selection, corpus } => {
            run_suite(suite::stages(suite::Length::Prove, corpus), selection)
        }
        Command::ExplainCorpus { corpus } => corpus::run(&corpus),
        Command::Bench { arguments } => bench::run(&arguments),
        Command::Fuzz { seconds, targets } => fuzz::run(seconds, &targets),
        Command::Museum { arguments } => museum::run(&arguments),
        Command::Lint => lint::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // The command has already said why, and its code means something to scripts (contract: 1, 2, 3).
        Err(Failure::Ended { code: Some(code), quiet: true, .. }) => {
            ExitCode::from(u8::try_from(code).unwrap_or(1))
        }
        Err(failure) => {
            eprintln!("\ncargo xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run_suite(stages: Stages, selection: Selection) -> Result<(), Failure> {
    if selection.list {
        stages.print_names();
        return Ok(());
    }
    stages.select(&selection.only, &selection.skip)?.run()
}

//! The bench (`cargo xtask bench`): one node beside Debian's Kamailio, in one run, on the same two cores.
//!
//! What is measured is pinned to core 0, what measures to core 1, both under `chrt -f 10` where that is permitted. Every
//! figure is the median of its rounds; the rounds of the two take turns, so that a noisy neighbour disturbs both.
//! Nothing here is a test: no figure fails a build.

mod figures;
mod generator;
mod load;
mod overload;
mod report;
mod rtp;
mod signalling;
mod subject;
mod system;

use std::io;
use std::process::ExitCode;

use thiserror::Error;

/// Why the bench could not measure.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BenchError {
    /// Something of the system did not work.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// How it failed.
        error: io::Error,
    },
    /// The data directory is in memory, where fdatasync costs nothing.
    #[error(
        "{0} is on tmpfs, where fdatasync is free and no figure is true; set TMPDIR to a directory on a disk"
    )]
    Memory(String),
    /// The subject did not come up.
    #[error("{name} did not start: {words}")]
    NotStarted {
        /// Which.
        name: &'static str,
        /// Its last words.
        words: String,
    },
    /// The generator printed nothing that can be read.
    #[error("the generator failed: {0}")]
    Generator(String),
    /// A command line that makes no sense.
    #[error("{0}\n{USAGE}")]
    Usage(String),
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["generate", rest @ ..] => generator::main(rest),
        ["flood", rest @ ..] => overload::main(rest),
        ["rtp", rest @ ..] => rtp::Options::parse(rest).and_then(|options| rtp::run(&options)),
        ["rtp-generate", rest @ ..] => rtp::role(rtp::generator::main(rest)),
        ["rtp-relay", rest @ ..] => rtp::role(rtp::relay::main(rest)),
        ["--help" | "-h"] => {
            println!("{USAGE}");
            Ok(())
        }
        ["cluster", rest @ ..] => signalling::Settings::cluster(rest).and_then(|s| signalling::run(&s)),
        ["signalling", rest @ ..] | rest => {
            signalling::Settings::parse(rest).and_then(|s| signalling::run(&s))
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

const USAGE: &str = "usage: cargo xtask bench                measures everything
       cargo xtask bench signalling [--rates 500,2000] [--seconds 8] [--rounds 3]
                                    [--parts cost,maximum,memory,overload] [--only banyan|kamailio]
       cargo xtask bench cluster [--rates 500,2000] [--seconds 8] [--rounds 3] [--only cluster|kamailio]
       cargo xtask bench rtp [--srtp] [--calls 200,500] [--rounds 3] [--seconds 5]
example: cargo xtask bench signalling --parts cost --rounds 5";

//! The `banyan` binary: the command line, the production world, signals.
//!
//! Exit codes: 0 done; 1 the cluster said no, the result is negative, or the environment refused; 2 bad usage
//! or a bad file; 3 the cluster can't be reached.

mod backup;
mod calls;
mod cli;
mod client;
mod demo;
mod explain;
mod failure;
mod guard;
mod load;
mod members;
mod output;
mod resources;
mod server;
mod systemd;
mod tls;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use cli::{Cli, Command, ConfigCommand};
use client::Client;
use failure::{Failure, Result};

/// A call makes and drops some hundred small blocks; the C library's allocator spends a fifth of the node's time on them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let text = failure.to_string();
            if !text.is_empty() {
                eprintln!("banyan: {text}");
            }
            ExitCode::from(failure.code())
        }
    }
}

fn run(cli: Cli) -> Result {
    let client = || Client::new(&cli.cluster);
    match cli.command {
        Command::Server(args) => server::server(&args),
        Command::Guard => guard::guard(),
        Command::Check { files } => resources::check(&files),
        Command::Apply(args) => resources::apply(&client(), &args),
        Command::Get(args) => resources::get(&client(), &args),
        Command::Describe { kind, name } => resources::describe(&client(), &kind, &name),
        Command::Delete { kind, name } => resources::delete(&client(), &kind, &name),
        Command::Calls { watch, output } => calls::calls(&client(), watch, output),
        Command::Call(command) => calls::call(&client(), &command),
        Command::Node(command) => members::run(&client(), &command),
        Command::Explain(args) => explain::explain(&args),
        Command::Load(command) => load::run(&command),
        Command::Demo(command) => demo::run(&command),
        Command::Backup { file } => backup::backup(&client(), &file),
        Command::Restore { file } => backup::restore(&client(), &file),
        Command::Config(ConfigCommand::Init) => {
            output::say(config::NODE_TEMPLATE);
            Ok(())
        }
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "banyan", &mut std::io::stdout());
            Ok(())
        }
        Command::Trace(_) => unbuilt("trace"),
        Command::Doctor(_) => unbuilt("doctor"),
        Command::Plan(_) => unbuilt("plan"),
    }
}

fn unbuilt(name: &str) -> Result {
    Err(Failure::Usage(format!("`banyan {name}` is not built yet; `banyan --help` lists what is")))
}

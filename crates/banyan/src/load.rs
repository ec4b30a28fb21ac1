//! `banyan load`: a caller and a callee at once, which speak through another parser than the node's.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::{Args, ValueEnum};
use comfy_table::{Table, presets};
use config::node::TlsSection;
use env::Network;
use indicatif::{ProgressBar, ProgressStyle};
use node::SystemClock;
use peer::load::{LoadArgs, LoadError, Progress, Report, run_over};
use peer::{Mix, Transport};
use transport::{Tls, TlsNetwork};

use crate::failure::{Failure, Result};

/// What `banyan load` is asked to do.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLE)]
pub struct LoadCommand {
    /// Where calls are placed
    #[arg(long, value_name = "HOST:PORT")]
    pub target: String,
    /// Our address: calls leave from it, and those that come back to it are answered
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: String,
    /// Answer at this address instead, where the node tells callers from callees by address
    #[arg(long, value_name = "HOST:PORT")]
    pub callee: Option<String>,
    /// Calls per second
    #[arg(long, value_name = "CPS", default_value_t = 10.0)]
    pub rate: f64,
    /// How many calls
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub calls: u64,
    /// How long each call is held, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    pub hold: f64,
    /// The number that is called
    #[arg(long, value_name = "NUMBER", default_value = "+31201234567")]
    pub to: String,
    /// The number that calls
    #[arg(long, value_name = "NUMBER", default_value = "+31209876543")]
    pub from: String,
    /// What SIP runs over
    #[arg(long, value_enum, default_value_t = LoadTransport::Udp)]
    pub transport: LoadTransport,
    /// With --transport tls: our certificate in PEM form, which the node has to believe when it calls back
    #[arg(long, value_name = "FILE", requires = "key")]
    pub certificate: Option<PathBuf>,
    /// Its private key
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub key: Option<PathBuf>,
    /// The authority of the node's certificate; left out: those that the system trusts
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Send and check G.711 both ways in every call
    #[arg(long)]
    pub media: bool,
    /// Output format
    #[arg(short, long, value_enum, default_value_t = LoadFormat::Table)]
    pub output: LoadFormat,
    /// Not built yet.
    #[arg(long, hide = true)]
    pub register: bool,
    /// Not built yet.
    #[arg(long, hide = true)]
    pub username: Option<String>,
    /// Not built yet.
    #[arg(long, hide = true)]
    pub password: Option<String>,
}

/// What SIP can run over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LoadTransport {
    /// Datagrams
    Udp,
    /// A stream
    Tcp,
    /// A stream under TLS
    Tls,
}

/// How figures are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LoadFormat {
    /// For people; may change
    Table,
    /// One object
    Json,
}

const EXAMPLE: &str = "Example:\n  banyan load --target 127.0.0.1:5060 --listen 127.0.0.1:5080 --rate 50 --calls 500 --media\n\n\
    The node has to admit the listening address as a trunk or gateway, and to deliver the number to it. \
    Exit 0 if every call went as it should, 1 if any failed.";

/// Runs `banyan load`.
///
/// # Errors
/// Bad usage, a socket that the system refuses, or a run in which a call failed.
pub fn run(command: &LoadCommand) -> Result {
    let args = arguments(command)?;
    let progress = Arc::new(Progress::default());
    let report = match command.transport {
        LoadTransport::Tls => {
            let (tls, host) = (tls(command)?, host(&command.target));
            with_bar_over(&args, &progress, &|network| Arc::new(TlsNetwork::new(network, tls.clone(), host)))?
        }
        LoadTransport::Udp | LoadTransport::Tcp => with_bar(&args, &progress)?,
    };
    match command.output {
        LoadFormat::Json => crate::output::say(&serde_json::to_string_pretty(&report).unwrap_or_default()),
        LoadFormat::Table => crate::output::say(&table(&report)),
    }
    if report.is_good() { Ok(()) } else { Err(Failure::Said(1)) }
}

/// Makes a run behind a progress bar. Ctrl-C places no more calls and lets the others end; a second one stops.
///
/// # Errors
/// Bad usage, or a socket that the system refuses.
pub fn with_bar(args: &LoadArgs, progress: &Arc<Progress>) -> Result<Report> {
    with_bar_over(args, progress, &|network| network)
}

fn with_bar_over(
    args: &LoadArgs,
    progress: &Arc<Progress>,
    under: &dyn Fn(Arc<dyn Network>) -> Arc<dyn Network>,
) -> Result<Report> {
    stop_on_interrupt(progress);
    let bar = ProgressBar::new(args.calls);
    let style = "{bar:30} {pos}/{len} calls over, {msg} [{elapsed}]";
    bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
    let watched = (progress.clone(), bar.clone());
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let finished = done.clone();
    let watcher = std::thread::spawn(move || {
        let (progress, bar) = watched;
        while !finished.load(Ordering::Relaxed) {
            bar.set_position(progress.ended.load(Ordering::Relaxed));
            let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
            let (placed, answered) = (count(&progress.placed), count(&progress.answered));
            bar.set_message(format!(
                "{placed} placed, {answered} answered, {} failed",
                count(&progress.failed)
            ));
            std::thread::sleep(Duration::from_millis(100));
        }
        bar.finish_and_clear();
    });
    let result = run_over(args, progress, under);
    done.store(true, Ordering::Relaxed);
    let _ = watcher.join();
    result.map_err(|error| match error {
        LoadError::Socket(error) => {
            Failure::No(format!("cannot use {} ({error}); is another process there?", listening(args)))
        }
        other => Failure::Usage(other.to_string()),
    })
}

fn listening(args: &LoadArgs) -> String {
    match args.callee_listen {
        Some(callee) => format!("{} and {callee}", args.listen),
        None => args.listen.to_string(),
    }
}

fn arguments(command: &LoadCommand) -> Result<LoadArgs> {
    if command.register || command.username.is_some() || command.password.is_some() {
        return Err(Failure::Usage("--register, --username and --password are not built yet".to_owned()));
    }
    let transport = match command.transport {
        LoadTransport::Udp => Transport::Udp,
        LoadTransport::Tcp => Transport::Tcp,
        LoadTransport::Tls => Transport::Tls,
    };
    let hold = Duration::try_from_secs_f64(command.hold)
        .map_err(|_| Failure::Usage("--hold must be a number of seconds".to_owned()))?;
    let callee = command.callee.as_deref().map(|text| resolve("--callee", text)).transpose()?;
    Ok(LoadArgs {
        callee_listen: callee,
        rate: command.rate,
        calls: command.calls,
        to: command.to.clone(),
        from: command.from.clone(),
        transport,
        media: command.media,
        mix: Mix { hold, ..Mix::default() },
        ..LoadArgs::new(resolve("--target", &command.target)?, resolve("--listen", &command.listen)?)
    })
}

/// What a run over TLS proves to be, and believes.
fn tls(command: &LoadCommand) -> Result<Tls> {
    let (Some(certificate), Some(key)) = (&command.certificate, &command.key) else {
        let why = "--transport tls needs --certificate and --key: the node calls back";
        return Err(Failure::Usage(why.to_owned()));
    };
    let (certificate, key, ca) = (certificate.clone(), key.clone(), command.ca.clone());
    let files = crate::tls::load(&TlsSection { certificate, key, client_ca: None, ca });
    let tls = files.and_then(|files| Ok(Tls::new(&files, Arc::new(SystemClock::start()))?));
    // The files are no node's here.
    tls.map_err(|mistake| Failure::Usage(mistake.words.replace("sip.tls.", "--")))
}

/// The host of `host:port`.
fn host(text: &str) -> &str {
    text.rsplit_once(':').map_or(text, |(host, _)| host)
}

/// The IPv4 address of `host:port`.
fn resolve(flag: &str, text: &str) -> Result<SocketAddr> {
    let found = text.to_socket_addrs().map_err(|error| {
        Failure::Usage(format!("{flag} {text}: {error} (expected HOST:PORT, such as 127.0.0.1:5060)"))
    })?;
    let mut found = found.filter(SocketAddr::is_ipv4);
    found.next().ok_or_else(|| Failure::Usage(format!("{flag} {text}: no IPv4 address")))
}

fn stop_on_interrupt(progress: &Arc<Progress>) {
    let progress = progress.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let Ok(runtime) = runtime else { return };
        runtime.block_on(async {
            if tokio::signal::ctrl_c().await.is_ok() {
                progress.stop.store(true, Ordering::Relaxed);
            }
            if tokio::signal::ctrl_c().await.is_ok() {
                std::process::exit(130);
            }
        });
    });
}

fn table(report: &Report) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    let mut row = |name: &str, value: String| {
        table.add_row([name.to_owned(), value]);
    };
    row("placed", report.placed.to_string());
    row("answered", report.answered.to_string());
    row("completed", report.completed.to_string());
    row("failed", report.failures().to_string());
    for (reason, count) in &report.failed {
        row(&format!("  {reason}"), count.to_string());
    }
    row("post-dial delay p50", format!("{:.1} ms", report.pdd_ms.p50));
    row("post-dial delay p99", format!("{:.1} ms", report.pdd_ms.p99));
    if report.rtp.sent > 0 {
        row("RTP sent", report.rtp.sent.to_string());
        row("RTP lost", report.rtp.lost.to_string());
        row("longest audio gap", format!("{:.0} ms", report.rtp.longest_gap_ms));
        row("calls with audio both ways", report.rtp.both_ways.to_string());
    }
    row("retransmissions", report.retransmissions.to_string());
    row("generator CPU", format!("{:.2} s", report.cpu_s));
    table.lines().map(|line| line.trim().to_owned() + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        load: LoadCommand,
    }

    fn parse(words: &str) -> LoadCommand {
        let line = format!("load --target 127.0.0.1:5060 --listen 127.0.0.1:5080 {words}");
        <Line as clap::Parser>::try_parse_from(line.split_whitespace()).expect("known flags").load
    }

    #[test]
    fn flags_become_a_run_with_the_contracts_defaults() {
        let args = arguments(&parse("")).expect("valid");
        assert_eq!((args.to.as_str(), args.calls, args.media), ("+31201234567", 100, false));
        let args = arguments(&parse("--rate 20 --hold 2.5 --transport tcp --media")).expect("valid");
        assert_eq!((args.mix.hold, args.transport), (Duration::from_millis(2500), Transport::Tcp));
    }

    #[test]
    fn what_is_not_built_says_so_and_is_bad_usage() {
        for words in ["--register", "--username a --password b"] {
            let failure = arguments(&parse(words)).expect_err(words);
            assert_eq!(failure.code(), 2, "{words}");
            assert!(failure.to_string().contains("not built yet"), "{failure}");
        }
        assert_eq!(arguments(&parse("--hold=-1")).map(|_| ()).map_err(|failure| failure.code()), Err(2));
    }

    #[test]
    fn json_has_the_contracts_keys() {
        let value = serde_json::to_value(Report::default()).expect("plain data");
        for path in ["/placed", "/answered", "/failed", "/pdd_ms/p50", "/pdd_ms/p99", "/rtp/sent", "/cpu_s"] {
            assert!(value.pointer(path).is_some(), "{path}");
        }
        for path in ["/rtp/received", "/rtp/lost", "/rtp/longest_gap_ms"] {
            assert!(value.pointer(path).is_some(), "{path}");
        }
    }
}

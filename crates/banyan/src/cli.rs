//! The command line: what users type. Names and flags are the contract's.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::demo::DemoCommand;
use crate::load::LoadCommand;
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Banyan: a SIP trunk cluster whose calls survive.
#[derive(Debug, Parser)]
#[command(name = "banyan", version, about, max_term_width = 110, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Which cluster to talk to.
#[derive(Debug, Clone, Args)]
pub struct ClusterArgs {
    /// The cluster's HTTP address
    #[arg(
        long,
        global = true,
        env = "BANYAN_ENDPOINT",
        default_value = "http://127.0.0.1:8080",
        value_name = "URL"
    )]
    pub endpoint: String,
    /// The token that the cluster demands
    #[arg(long, global = true, env = "BANYAN_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub token: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run one node in the foreground
    #[command(
        after_help = "Example:\n  banyan config init > node.toml\n  banyan server --config node.toml\n\n\
        SIGTERM drains: no new calls, the others go on until they end (at most --drain), then exit 0. A second \
        SIGTERM stops at once."
    )]
    Server(ServerArgs),
    /// Keeps a server's floating addresses, and outlives it; the server starts it.
    #[command(hide = true)]
    Guard,
    /// Validate node and resource files, without a cluster
    #[command(after_help = "Example:\n  banyan check node.toml resources.toml\n\n\
        Every mistake is printed as file:line:column: message (hint); exit 2 if there is any.")]
    Check {
        /// Files that form one set; order is free
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Put resources into the cluster, all or nothing
    #[command(
        after_help = "Example:\n  banyan apply -f resources.toml --dry-run\n  banyan apply -f resources.toml"
    )]
    Apply(ApplyArgs),
    /// Print resources, nodes, calls or call detail records
    #[command(after_help = "Examples:\n  banyan get trunks\n  banyan get trunk easycall-ams -o toml\n  \
        banyan get cdrs --trunk easycall-ams --limit 10 -o json\n\nKinds: tenants, trunks, numbers, gateways, \
        flows, tariffs, regions, profiles, nodes, homes, calls, cdrs")]
    Get(GetArgs),
    /// Print a trunk, gateway or number with its defaults, and how it is doing
    #[command(after_help = "Example:\n  banyan describe trunk easycall-ams")]
    Describe {
        /// trunk, gateway or number
        kind: String,
        /// Its name
        name: String,
    },
    /// Remove a resource; refused while others name it
    #[command(after_help = "Example:\n  banyan delete number +31201234567")]
    Delete {
        /// trunk, number, gateway, tenant, flow, tariff or region
        kind: String,
        /// Its name
        name: String,
    },
    /// Print the live calls of the whole cluster
    #[command(after_help = "Examples:\n  banyan calls\n  banyan calls --watch")]
    Calls {
        /// Print them again every second, until interrupted
        #[arg(long)]
        watch: bool,
        /// Output format
        #[arg(short, long, value_enum, default_value_t = Format::Table)]
        output: Format,
    },
    /// Show or end one call
    #[command(
        subcommand,
        after_help = "Example:\n  banyan call show 0000010000000001\n  banyan call hangup 0000010000000001"
    )]
    Call(CallCommand),
    /// Say how a SIP message is understood, and what would be answered
    #[command(after_help = "Example:\n  banyan explain invite.sip\n  banyan explain invite.sip --from \
        192.0.2.7:5060 --config node.toml --resources resources.toml\n\nExit 0 accept, 1 reject or drop, 2 \
        unreadable file.")]
    Explain(ExplainArgs),
    /// Place calls and answer those that come back
    Load(LoadCommand),
    /// Start a node here, place calls with audio through it, and print what came of them
    Demo(DemoCommand),
    /// The cluster's members: how they are, who comes, rests and goes
    #[command(
        subcommand,
        after_help = "Examples:\n  banyan node status\n  banyan node join 4@192.0.2.4:7000\n  banyan node drain 2\n  \
        banyan node resume 2\n  banyan node remove 2\n\nAny node takes the order (--endpoint). Exit codes: 0 done, \
        1 no, 2 bad usage, 3 not reachable or no quorum."
    )]
    Node(NodeCommand),
    /// Write what outlives a cluster into a file: resources, counts of rate limits, registrations
    #[command(
        after_help = "Example:\n  banyan backup banyan-2026-11-30.backup\n\nThe file holds what passwords are \
        checked against: keep it as you keep cluster.secret_file, and keep that too."
    )]
    Backup {
        /// Where to
        file: PathBuf,
    },
    /// Put a backup into an empty cluster
    #[command(
        after_help = "Example:\n  banyan restore banyan-2026-11-30.backup\n\nThe cluster must be started with \
        empty data_dirs and with the secret_file and the sip.domain that it had."
    )]
    Restore {
        /// Which
        file: PathBuf,
    },
    /// Node files
    #[command(subcommand, after_help = "Example:\n  banyan config init > node.toml")]
    Config(ConfigCommand),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  banyan completions bash > /etc/bash_completion.d/banyan")]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    #[command(hide = true)]
    Trace(Unbuilt),
    #[command(hide = true)]
    Doctor(Unbuilt),
    #[command(hide = true)]
    Plan(Unbuilt),
}

/// A command that the contract names and that does not work yet: it takes anything and says so.
#[derive(Debug, Args)]
pub struct Unbuilt {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub arguments: Vec<String>,
}

#[derive(Debug, Args)]
pub struct ServerArgs {
    /// The node file
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// How long calls may go on after SIGTERM, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    pub drain: u64,
    /// Die when whoever started it does, as the nodes of a demo.
    #[arg(long, hide = true)]
    pub ends_with_parent: bool,
}

#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// A resource file, or a directory of them
    #[arg(short = 'f', long = "file", required = true, value_name = "FILE|DIR")]
    pub files: Vec<PathBuf>,
    /// Say what would change, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

#[derive(Debug, Args)]
pub struct GetArgs {
    /// What to print
    pub kind: String,
    /// Which one; all if left out
    pub name: Option<String>,
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub output: Format,
    /// CDRs that ended at or after this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// At most so many, the newest
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// CDRs of this trunk
    #[arg(long, value_name = "NAME")]
    pub trunk: Option<String>,
    /// CDRs of this call
    #[arg(long, value_name = "ID")]
    pub call_id: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum CallCommand {
    /// Print one call
    #[command(after_help = "Example:\n  banyan call show 0000010000000001")]
    Show {
        /// The call's id
        id: String,
        /// Output format
        #[arg(short, long, value_enum, default_value_t = Format::Table)]
        output: Format,
    },
    /// End one call
    #[command(after_help = "Example:\n  banyan call hangup 0000010000000001")]
    Hangup {
        /// The call's id
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Print whether the cluster decides, who leads, and how each node is
    #[command(after_help = "Examples:\n  banyan node status\n  banyan node status 2 -o json\n\n\
        Exit 1 where no majority of the voters can be reached. LAG is in log entries, COMMIT in milliseconds.")]
    Status {
        /// A node's id or name; all if left out
        #[arg(value_name = "NODE")]
        node: Option<String>,
        /// Output format
        #[arg(short, long, value_enum, default_value_t = Format::Table)]
        output: Format,
    },
    /// Let a node in: its process must run, with the cluster's secret_file and no peers
    #[command(
        after_help = "Example:\n  banyan server --config node-4.toml &   # [cluster] listen, secret_file, no peers\n  \
        banyan node join 4@192.0.2.4:7000\n\nIt learns the log, then votes if fewer than five nodes do, and takes its \
        share of the homes."
    )]
    Join {
        /// Its id and its [cluster] listen address
        #[arg(value_name = "ID@ADDR:PORT")]
        node: String,
    },
    /// Move a node's homes and calls to others, and let it take none until `resume`
    #[command(
        after_help = "Example:\n  banyan node drain 2 && systemctl restart banyan && banyan node resume 2\n\n\
        Nobody on the telephone notices. Waits until the node holds no floating home and no call."
    )]
    Drain {
        /// Its id or name
        #[arg(value_name = "NODE")]
        node: String,
        /// How long to wait, in seconds; 0: not at all
        #[arg(long, value_name = "SECONDS", default_value_t = 60)]
        timeout: u64,
    },
    /// Let a drained node take homes and calls again
    #[command(after_help = "Example:\n  banyan node resume 2")]
    Resume {
        /// Its id or name
        #[arg(value_name = "NODE")]
        node: String,
    },
    /// Take a node out of the cluster for good: drained, or dead with --force
    #[command(
        after_help = "Examples:\n  banyan node drain 2 && banyan node remove 2\n  banyan node remove 3 --force   \
        # its machine burnt down\n\nIts process ends, if it runs. Nothing of it is left behind."
    )]
    Remove {
        /// Its id or name
        #[arg(value_name = "NODE")]
        node: String,
        /// The node is dead and never comes back
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// A file with one SIP message, read as one datagram
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Where it came from
    #[arg(long, value_name = "ADDR:PORT")]
    pub from: Option<SocketAddr>,
    /// How it came
    #[arg(long, value_enum, default_value_t = Transport::Udp)]
    pub transport: Transport,
    /// A node file, for what this node would do
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A resource file, for who is calling and where the call would go
    #[arg(long, value_name = "FILE")]
    pub resources: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print a commented node file
    #[command(after_help = "Example:\n  banyan config init > node.toml")]
    Init,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people; may change
    Table,
    /// An array, or an object with a NAME
    Json,
    /// A header row, formulas escaped
    Csv,
    /// Can be applied again
    Toml,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Transport {
    /// Datagrams
    Udp,
    /// A plain stream
    Tcp,
    /// A stream under TLS
    Tls,
}

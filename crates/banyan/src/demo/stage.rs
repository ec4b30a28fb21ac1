//! Where a demo plays: a directory, free addresses, the nodes' files and the sample that is applied.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use node::world::SystemEntropy;
use peer::Mix;
use peer::load::LoadArgs;
use tempfile::TempDir;

use super::kill::Killed;
use super::{DemoCommand, POLL};
use crate::cli::ClusterArgs;
use crate::client::Client;
use crate::failure::{Failure, Result};

/// The silence after which the demo's nodes hold one of them dead: what a busy machine of two cores, on which
/// callers, callees and all nodes run at once, does not mistake for death.
pub(super) const DETECT: Duration = Duration::from_secs(1);

/// The directory, the addresses and the files.
pub(super) struct Stage {
    directory: TempDir,
    seats: Vec<Seat>,
    /// The floating homes; a node alone has none.
    homes: Vec<SocketAddr>,
    /// The caller plays a carrier, the callee a customer's PBX; each at a loopback address of its own.
    carrier: SocketAddr,
    pbx: SocketAddr,
    calls: u64,
}

/// One node's place.
pub(super) struct Seat {
    /// Its number.
    pub(super) node: u64,
    /// Where its HTTP interface is.
    pub(super) http: SocketAddr,
    /// Its node file.
    pub(super) file: PathBuf,
    /// What it logs.
    pub(super) log: PathBuf,
    sip: SocketAddr,
    cluster: SocketAddr,
}

impl Seat {
    /// Talks to it.
    pub(super) fn client(&self) -> Client {
        Client::new(&ClusterArgs { endpoint: format!("http://{}", self.http), token: None })
    }
}

impl Stage {
    /// Finds free addresses and writes the files.
    ///
    /// # Errors
    /// The system has no room or no ports.
    pub(super) fn build(command: &DemoCommand) -> Result<Stage> {
        Stage::lay_out(command).map_err(|error| Failure::No(format!("cannot prepare the demo: {error}")))
    }

    fn lay_out(command: &DemoCommand) -> io::Result<Stage> {
        let directory = tempfile::Builder::new().prefix("banyan-demo-").tempdir()?;
        let count = u8::try_from(command.nodes()).unwrap_or(1);
        let last_port = media_last(command.calls);
        let free = |ip: IpAddr| free(ip, last_port);
        let local = IpAddr::from(Ipv4Addr::LOCALHOST);
        let mut seats = Vec::new();
        for number in 1..=count {
            let ip = if count == 1 { local } else { loopback(number) };
            seats.push(Seat {
                node: number.into(),
                http: free(local)?,
                file: directory.path().join(format!("node-{number}.toml")),
                log: directory.path().join(format!("node-{number}.log")),
                sip: free(ip)?,
                cluster: free(ip)?,
            });
        }
        let floating = if count == 1 { 0 } else { count };
        let homes = (1..=floating).map(|number| free(loopback(FLOATING + number)));
        let stage = Stage {
            homes: homes.collect::<io::Result<_>>()?,
            directory,
            seats,
            carrier: free(loopback(CARRIER))?,
            pbx: free(loopback(PBX))?,
            calls: command.calls,
        };
        for seat in &stage.seats {
            fs::write(&seat.file, stage.node_file(seat))?;
        }
        fs::write(stage.path("resources.toml"), stage.resources())?;
        if !stage.homes.is_empty() {
            fs::write(stage.path("cluster.key"), secret())?;
        }
        Ok(stage)
    }

    /// The nodes' places.
    pub(super) fn seats(&self) -> &[Seat] {
        &self.seats
    }

    /// The first node's place.
    pub(super) fn first(&self) -> &Seat {
        self.seats.first().expect("a stage has one seat at least")
    }

    /// A node that lives.
    pub(super) fn survivor(&self, killed: Option<&Killed>) -> &Seat {
        let dead = killed.map(|killed| killed.node);
        self.seats.iter().find(|seat| Some(seat.node) != dead).unwrap_or_else(|| self.first())
    }

    /// A file in the directory.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn media_ports(&self) -> String {
        format!("{MEDIA_FIRST}-{}", media_last(self.calls))
    }

    fn node_file(&self, seat: &Seat) -> String {
        let Seat { node, http, sip, .. } = seat;
        let (ip, ports) = (sip.ip(), self.media_ports());
        let data = toml::Value::String(self.path(&format!("data-{node}")).display().to_string());
        let mut text = format!(
            "[node]\nid = {node}\nname = \"demo-{node}\"\ndata_dir = {data}\n\n[sip]\nlisten = [\"udp://{sip}\", \
             \"tcp://{sip}\"]\ndomain = \"demo.example\"\n\n[media]\naddress = \"{ip}\"\nports = \
             \"{ports}\"\n\n[http]\nlisten = \"{http}\"\n"
        );
        if self.homes.is_empty() {
            return text;
        }
        let peers = self.seats.iter().map(|seat| format!("\"{}@{}\"", seat.node, seat.cluster));
        let (peers, detect) = (peers.collect::<Vec<_>>().join(", "), DETECT.as_millis());
        let key = toml::Value::String(self.path("cluster.key").display().to_string());
        text += &format!(
            "\n[cluster]\nlisten = \"{}\"\npeers = [{peers}]\nsecret_file = {key}\ndetect = \"{detect}ms\"\n",
            seat.cluster
        );
        for (index, home) in self.homes.iter().enumerate() {
            let (name, ip, port) = (home_name(index), home.ip(), home.port());
            text += &format!(
                "\n[[home]]\nname = \"{name}\"\naddress = \"{ip}/32\"\nsip = [\"udp:{port}\", \
                 \"tcp:{port}\"]\nmedia_ports = \"{ports}\"\n"
            );
        }
        text
    }

    /// The sample: a carrier hands us calls to a number, whose trunk delivers them to a PBX.
    pub(super) fn resources(&self) -> String {
        let (carrier, pbx, ports) = (self.carrier, self.pbx, self.media_ports());
        let (carrier_ip, pbx_ip, concurrent) = (carrier.ip(), pbx.ip(), self.calls.saturating_mul(2));
        format!(
            "[[tenant]]\nname = \"demo\"\n\n[[gateway]]\nname = \"demo-carrier\"\ntargets = [\"sip:{carrier}\"]\nnetworks = \
             [\"{carrier_ip}/32\"]\nconcurrent = {concurrent}\n\n[[trunk]]\nname = \"demo-pbx\"\ntenant = \"demo\"\nprofile = \
             \"generic\"\n\n[trunk.access]\nnetworks = [\"{pbx_ip}/32\"]\nauth = [\"address\"]\n\n[trunk.limits]\nconcurrent = \
             {concurrent}\nper_minute = 1000000\nper_hour = 1000000\nper_day = 1000000\nper_week = \
             1000000\n\n[trunk.media]\nports = \"{ports}\"\n\n[trunk.delivery]\ntargets = [\"sip:{pbx}\"]\n\n[[number]]\ne164 = \
             \"{NUMBER}\"\ntrunk = \"demo-pbx\"\n"
        )
    }

    /// Where callers send their INVITEs: a floating home, where there is one.
    fn target(&self) -> SocketAddr {
        self.homes.first().copied().unwrap_or_else(|| self.first().sip)
    }

    /// Waits until somebody listens where the calls go.
    ///
    /// # Errors
    /// Nobody does.
    pub(super) fn await_target(&self) -> Result {
        let wanted = format!("udp://{}", self.target());
        for _ in 0..TARGET_POLLS {
            for seat in &self.seats {
                let homes = seat.client().get("/v1/homes")?;
                let homes = homes.get("items").and_then(|items| items.as_array()).into_iter().flatten();
                let mut addresses = homes.filter_map(|home| home.get("addresses")?.as_array()).flatten();
                if addresses.any(|address| address.as_str() == Some(wanted.as_str())) {
                    return Ok(());
                }
            }
            std::thread::sleep(POLL);
        }
        Err(Failure::No(format!("no node listens at {wanted}")))
    }

    /// The calls.
    pub(super) fn load(&self, command: &DemoCommand) -> LoadArgs {
        #[allow(clippy::cast_precision_loss)] // at most CALLS_MAX
        let placing = command.calls as f64 / command.rate;
        let hold = Duration::from_secs_f64((command.seconds - placing).max(1.0));
        LoadArgs {
            callee_listen: Some(self.pbx),
            rate: command.rate,
            calls: command.calls,
            to: NUMBER.to_owned(),
            media: true,
            mix: Mix { answer: Duration::from_millis(100), hold, ..Mix::default() },
            ..LoadArgs::new(self.target(), self.carrier)
        }
    }

    /// How to look further, at a node that lives.
    pub(super) fn hints(&self, killed: Option<&Killed>) -> String {
        let http = self.survivor(killed).http;
        let mut text = format!(
            "Look at it from another terminal:\n  banyan calls --watch --endpoint http://{http}\n  banyan get cdrs \
             --endpoint http://{http}\n  banyan describe trunk demo-pbx --endpoint http://{http}\n  dashboard: http://{http}/"
        );
        if self.seats.len() > 1 {
            text += &format!("\n  banyan get homes --endpoint http://{http}\nThe nodes:");
            for seat in &self.seats {
                text += &format!("\n  node {}: http://{} sip:{}", seat.node, seat.http, seat.sip);
            }
            text += &format!("\nCalls go to the floating home sip:{}", self.target());
        }
        text
    }

    /// How every node's log ends.
    pub(super) fn log_tails(&self) -> String {
        let tail = |seat: &Seat| {
            let text = fs::read_to_string(&seat.log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let last = lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default().join("\n");
            format!("The log of node {} ends:\n{last}", seat.node)
        };
        self.seats.iter().map(tail).collect::<Vec<_>>().join("\n")
    }

    /// Leaves the directory for whoever wants to know why.
    pub(super) fn keep(self) -> PathBuf {
        self.directory.keep()
    }
}

fn home_name(index: usize) -> String {
    format!("line-{}", index + 1)
}

/// An address of this process's own /24 in 127.0.0.0/8: two demos on one machine do not meet.
fn loopback(last: u8) -> IpAddr {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 | (high & 63), low, last).into()
}

fn media_last(calls: u64) -> u16 {
    // Two pairs of ports a call, and some to spare: an ended call's ports rest for a while.
    let ports = calls.saturating_mul(8).clamp(2_000, 25_000);
    MEDIA_FIRST.saturating_add(u16::try_from(ports).unwrap_or(u16::MAX))
}

/// A port that is free for UDP and TCP at this address, and no media port.
fn free(ip: IpAddr, media_last: u16) -> io::Result<SocketAddr> {
    for _ in 0..256 {
        let listener = TcpListener::bind((ip, 0))?;
        let address = listener.local_addr()?;
        let is_media = (MEDIA_FIRST..=media_last).contains(&address.port());
        if !is_media && UdpSocket::bind(address).is_ok() {
            return Ok(address);
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

/// What the nodes know each other by.
fn secret() -> String {
    let mut bytes = [0; 32];
    env::Entropy::fill(&SystemEntropy, &mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const NUMBER: &str = "+31201234567";
const MEDIA_FIRST: u16 = 34_000;
/// Floating homes, carrier and PBX stand beyond the nodes' own addresses.
const FLOATING: u8 = 100;
const CARRIER: u8 = 201;
const PBX: u8 = 202;
const TARGET_POLLS: u32 = 400;
const LOG_LINES: usize = 20;

#[cfg(test)]
mod tests {
    use super::super::tests::command;
    use super::*;

    #[test]
    fn every_nodes_file_is_valid_and_says_who_is_who() {
        let stage = Stage::build(&command(3, true)).expect("loopback has room");
        for (seat, node) in stage.seats.iter().zip(1..) {
            let text = fs::read_to_string(&seat.file).expect("just written");
            let source = config::Source { path: "node.toml".to_owned(), text };
            let (file, _) = config::read_node(&source).expect("valid");
            assert_eq!((file.node.id, file.homes.len()), (node, 3));
            let cluster = file.cluster.expect("three nodes are a cluster");
            assert_eq!((cluster.peers.len(), cluster.detect), (3, DETECT));
            assert!(!stage.homes.iter().any(|home| home.ip() == file.media.address), "fixed homes are apart");
        }
        assert_eq!(stage.target(), *stage.homes.first().expect("three homes"), "calls go to a floating home");
    }

    #[test]
    fn a_node_alone_has_its_own_address_only() {
        let stage = Stage::build(&command(1, false)).expect("loopback has room");
        let text = stage.node_file(stage.first());
        assert!(!text.contains("[cluster]") && !text.contains("[[home]]"), "{text}");
        assert_eq!(stage.target(), stage.first().sip);
    }
}

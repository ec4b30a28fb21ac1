//! Our relay as a party: one thread, N entries, nothing else in the process.

use std::fmt::Write as _;
use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use env::{Clock, Relay as _, RelayEntry, RelayId, RelayKind, RelayRemote, SideConfig};
use machine::{Instant, WallTime};
use node::relay::SocketRelay;

use super::generator::{EGRESS, INGRESS};
use super::party::Party;
use crate::system::SUBJECT_CORE;

const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 50, 0, 6));
const FIRST_PORT: usize = 10_000;

/// Starts the relay with `calls` entries; gives the generator's targets.
pub fn start(calls: usize) -> io::Result<(Party, String)> {
    let mut party = Party::this(&["rtp-relay", &calls.to_string()], SUBJECT_CORE)?;
    let ports = party.hear_block()?;
    Ok((party, ports))
}

/// The relay's own process.
pub fn main(words: &[&str]) -> io::Result<()> {
    let calls: usize = words.first().and_then(|n| n.parse().ok()).unwrap_or(1);
    syscall::raise_open_files(calls as u64 * 4 + 100)?;
    let relay = SocketRelay::start(1, Arc::new(Monotonic))?;
    let mut targets = String::new();
    for call in 0..calls {
        let port =
            |n: usize| u16::try_from(FIRST_PORT + call * 4 + n).map_err(|_| io::ErrorKind::InvalidInput);
        let (ingress, egress) = (SocketAddr::new(ADDRESS, port(0)?), SocketAddr::new(ADDRESS, port(2)?));
        let side = |local, remote: SocketAddr| SideConfig {
            local,
            remote: Some(RelayRemote { rtp: remote, rtcp: SocketAddr::new(remote.ip(), remote.port() + 1) }),
            latch: None,
            sends: true,
            receives: true,
            keys: None,
        };
        let entry = RelayEntry {
            kind: RelayKind::Rtp { clock_rate: 8000 },
            ingress: side(ingress, INGRESS),
            egress: side(egress, EGRESS),
            unleased: false,
            resumed: None,
            silence: Some(std::time::Duration::from_secs(10)),
        };
        relay.install(RelayId(call as u64), entry)?;
        // Writing into a string does not fail.
        let _ = writeln!(targets, "{ingress} {egress}");
    }
    println!("{targets}");
    // Until the other side closes our input or kills us.
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// The system's monotonic clock.
struct Monotonic;

impl Clock for Monotonic {
    fn now(&self) -> Instant {
        Instant::from_nanos(super::generator::now_ns())
    }

    fn wall(&self) -> WallTime {
        WallTime(0)
    }
}

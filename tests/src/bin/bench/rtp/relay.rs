//! Our relay as a party: one thread, N entries, nothing else in the process.

use std::fmt::Write as _;
use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use env::{
    Clock, Relay as _, RelayEntry, RelayId, RelayKind, RelayRemote, SideConfig, SideKeys, SrtpKey, SrtpSuite,
};
use machine::{Instant, WallTime};
use node::relay::SocketRelay;

use super::generator::{EGRESS, INGRESS};
use super::party::Party;
use crate::system::SUBJECT_CORE;

const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 50, 0, 6));
const FIRST_PORT: usize = 10_000;

/// Starts the relay with `calls` entries, with `srtp` two in a row for each; gives the generator's targets.
pub fn start(calls: usize, srtp: bool) -> io::Result<(Party, String)> {
    let mut party =
        Party::this(&["rtp-relay", &calls.to_string(), if srtp { "srtp" } else { "rtp" }], SUBJECT_CORE)?;
    let ports = party.hear_block()?;
    Ok((party, ports))
}

/// The relay's own process.
pub fn main(words: &[&str]) -> io::Result<()> {
    let calls: usize = words.first().and_then(|n| n.parse().ok()).unwrap_or(1);
    let srtp = words.get(1) == Some(&"srtp");
    syscall::raise_open_files(calls as u64 * 8 + 100)?;
    let relay = SocketRelay::start(1, Arc::new(Monotonic))?;
    let mut targets = String::new();
    for call in 0..calls {
        let port =
            |n: usize| u16::try_from(FIRST_PORT + call * 8 + n).map_err(|_| io::ErrorKind::InvalidInput);
        let at = |n| Ok::<_, io::Error>(SocketAddr::new(ADDRESS, port(n)?));
        let (ingress, egress) = (at(0)?, at(2)?);
        let id = call as u64 * 2;
        if srtp {
            let (secured, opened) = (at(4)?, at(6)?);
            let keys = |receive, send| Some(SideKeys { receive: Some(receive), send: Some(send) });
            let (there, back) = (key(id)?, key(id + 1)?);
            let first = [side(ingress, INGRESS, None), side(secured, opened, keys(back, there))];
            let second = [side(opened, secured, keys(there, back)), side(egress, EGRESS, None)];
            relay.install(RelayId(id), entry(first))?;
            relay.install(RelayId(id + 1), entry(second))?;
        } else {
            relay.install(RelayId(id), entry([side(ingress, INGRESS, None), side(egress, EGRESS, None)]))?;
        }
        // Writing into a string does not fail.
        let _ = writeln!(targets, "{ingress} {egress}");
    }
    println!("{targets}");
    // Until the other side closes our input or kills us.
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn side(local: SocketAddr, remote: SocketAddr, keys: Option<SideKeys>) -> SideConfig {
    let remote = RelayRemote { rtp: remote, rtcp: SocketAddr::new(remote.ip(), remote.port() + 1) };
    SideConfig { local, remote: Some(remote), latch: None, sends: true, receives: true, keys }
}

fn entry([ingress, egress]: [SideConfig; 2]) -> RelayEntry {
    RelayEntry {
        kind: RelayKind::Rtp { clock_rate: 8000 },
        ingress,
        egress,
        unleased: false,
        resumed: None,
        silence: Some(std::time::Duration::from_secs(10)),
    }
}

/// A key of its own for each direction of each call.
fn key(number: u64) -> io::Result<SrtpKey> {
    let mut bytes = [0x5A; 30];
    for (slot, byte) in bytes.iter_mut().zip(number.to_be_bytes()) {
        *slot = byte;
    }
    SrtpKey::new(SrtpSuite::AesCm80, &bytes).ok_or_else(|| io::Error::other("a key of the wrong length"))
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

//! `banyan guard`: a small process that owns the floating addresses of a server and outlives it.
//!
//! The server says through a pipe which addresses to keep and until when; that is never longer than it may speak.
//! At the deadline they go, whatever the server does: what a server that stood still sends later fails. When the
//! pipe ends, the server has ended: the addresses go, and the other nodes are told, so that they need not wait.
//! Where the guard is killed too, the kernel drops the addresses by itself.

mod announce;
mod farewell;
mod fence;
mod hook;
mod keeper;
mod netlink;
mod word;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::IpAddr;
use std::time::Duration;

use machine::Instant;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{ClockId, clock_gettime};
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::{Failure, Result};
use fence::{Act, Fence};
use netlink::{Interface, Netlink};
use word::{Life, Order, Report};

pub(crate) use farewell::{bind, hear};
pub(crate) use keeper::{Keeper, Place};

/// Runs `banyan guard`, until the server ends.
///
/// # Errors
/// The system refuses what every process gets.
pub fn guard() -> Result {
    let refused = |error: io::Error| Failure::No(format!("guard: {error}"));
    // A signal to the whole group is for the server; its end is told by the pipe.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(refused)?;
    let inside = runtime.enter();
    let deaf = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
    drop(inside);
    let mut guard = Guard::new().map_err(refused)?;
    let result = guard.serve();
    guard.perform(|fence, now| fence.hold(now, Default::default(), now));
    if let Some(life) = &guard.life {
        farewell::tell(life);
    }
    drop(deaf);
    result.map_err(refused)
}

struct Guard {
    fence: Fence,
    netlink: Netlink,
    interfaces: BTreeMap<IpAddr, String>,
    life: Option<Life>,
}

impl Guard {
    fn new() -> io::Result<Guard> {
        let netlink = Netlink::open()?;
        Ok(Guard { fence: Fence::default(), netlink, interfaces: BTreeMap::new(), life: None })
    }

    /// Follows orders until the pipe ends.
    fn serve(&mut self) -> io::Result<()> {
        let stdin = io::stdin();
        let (mut line, mut buffer) = (Vec::new(), vec![0; 16 << 10]);
        loop {
            let left = self.fence.timeout().map(|at| timespec(at.since(now())));
            let mut polled = [PollFd::new(&stdin, PollFlags::IN)];
            match poll(&mut polled, left.as_ref()) {
                Ok(0) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
                Ok(_) => match rustix::io::read(&stdin, &mut buffer)? {
                    0 => return Ok(()),
                    length => {
                        line.extend_from_slice(buffer.get(..length).unwrap_or_default());
                        self.take_lines(&mut line)?;
                    }
                },
            }
            self.perform(|fence, now| fence.handle_timeout(now));
        }
    }

    fn take_lines(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let rest = bytes.split_off(end + 1);
            let line = std::mem::replace(bytes, rest);
            // The server is the same program; what can't be read was not written by it.
            let order = serde_json::from_slice(&line)?;
            if let Some(report) = self.take(order) {
                let mut answer = serde_json::to_vec(&report)?;
                answer.push(b'\n');
                io::stdout().write_all(&answer)?;
                io::stdout().flush()?;
            }
        }
        Ok(())
    }

    fn take(&mut self, order: Order) -> Option<Report> {
        match order {
            Order::Interfaces(interfaces) => {
                self.interfaces = interfaces;
                let addresses: Vec<IpAddr> = self.interfaces.keys().copied().collect();
                let tried = addresses.into_iter().map(|address| (address, self.probe(address)));
                let refused = tried.filter_map(|(address, tried)| Some((address, tried.err()?.to_string())));
                Some(Report { number: 0, refused: refused.collect() })
            }
            Order::Live(life) => {
                self.life = Some(life);
                None
            }
            Order::Hold(hold) => {
                let until = Instant::from_nanos(hold.until_ns);
                let refused = self.perform(|fence, now| fence.hold(now, hold.addresses, until));
                Some(Report { number: hold.number, refused })
            }
        }
    }

    /// Whether an address could be put onto its interface: takes off one that is not there.
    fn probe(&mut self, address: IpAddr) -> io::Result<()> {
        let none = match address {
            IpAddr::V4(_) => IpAddr::from([0; 4]),
            IpAddr::V6(_) => IpAddr::from([0; 16]),
        };
        let interface = self.interface(address)?;
        self.netlink.take(interface, none)
    }

    fn interface(&mut self, address: IpAddr) -> io::Result<Interface> {
        let name = self.interfaces.get(&address).ok_or(io::ErrorKind::NotFound)?;
        self.netlink.interface(name)
    }

    /// Does what the fence says; gives what the system refused.
    fn perform(&mut self, ask: impl FnOnce(&mut Fence, Instant) -> Vec<Act>) -> BTreeMap<IpAddr, String> {
        let mut refused = BTreeMap::new();
        for act in ask(&mut self.fence, now()) {
            let (Act::Put(address) | Act::Take(address) | Act::Announce(address)) = act;
            let done = self.interface(address).and_then(|interface| match act {
                Act::Put(_) => self.netlink.put(interface, address),
                Act::Take(_) => self.netlink.take(interface, address),
                // Neighbours that were not told find out when they ask; an address that was refused is not here.
                Act::Announce(_) if refused.contains_key(&address) => Ok(()),
                Act::Announce(_) => announce::announce(interface, address),
            });
            let Err(error) = done else { continue };
            eprintln!("banyan guard: {address}: {error}");
            if matches!(act, Act::Put(_)) {
                self.fence.refused(address);
                refused.insert(address, error.to_string());
            }
        }
        refused
    }
}

/// The clock that the server and its guard share; it goes on while the machine sleeps.
fn now() -> Instant {
    let now = clock_gettime(ClockId::Boottime);
    let (seconds, nanos) = (now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs());
    Instant::from_nanos(seconds.saturating_mul(NANOS).saturating_add(nanos))
}

fn timespec(left: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(left.subsec_nanos()),
    }
}

const NANOS: u64 = 1_000_000_000;

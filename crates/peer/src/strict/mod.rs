//! A caller and a callee that cost next to nothing, for measurements: templates instead of rsip, one thread, and
//! never a retransmission, so that a lost datagram is a failed call.
//!
//! It trusts what it reads; [`crate::load`] is the one that checks. A call is good only if INVITE, 200, ACK, hold,
//! BYE and 200 all came through. Delays are measured from when the INVITE was due, so a late generator does not
//! flatter the node; how late it was is in the report. UDP only.
//!
//! ```no_run
//! use peer::strict::{Phase, StrictArgs, run};
//!
//! let args = StrictArgs::new("127.0.0.1:5060".parse()?, "127.0.0.2:5080".parse()?, "127.0.0.3:5070".parse()?);
//! let report = run(&StrictArgs { phases: vec![Phase { rate: 2000.0, seconds: 10.0 }], ..args })?;
//! assert_eq!(report.good, report.placed);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod callee;
mod caller;
mod outbox;
mod report;
mod scan;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use env::Clock as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use syscall::{RecvBatch, recv_batch, set_receive_buffer};

pub use report::{Quantiles, StrictReport};

use crate::shell::{SystemClock, cpu_seconds};
use callee::Callee;
use caller::Caller;

/// A stretch of a run at one rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Phase {
    /// Calls per second.
    pub rate: f64,
    /// How long.
    pub seconds: f64,
}

/// What a run is asked to do.
#[derive(Clone, Debug)]
pub struct StrictArgs {
    /// The node.
    pub target: SocketAddr,
    /// Where the caller is.
    pub caller: SocketAddr,
    /// Where the callee is.
    pub callee: SocketAddr,
    /// The number that is called.
    pub to: String,
    /// The number that calls.
    pub from: String,
    /// One rate after the other.
    pub phases: Vec<Phase>,
    /// How long each call is held.
    pub hold: Duration,
    /// How long after its planned end the last call may take.
    pub patience: Duration,
    /// Never sleep: less lateness, a whole core.
    pub busy: bool,
    /// Counts the calls that are up, for whoever watches while the run goes on.
    pub up: Arc<AtomicU64>,
}

impl StrictArgs {
    /// A second of 100 calls.
    pub fn new(target: SocketAddr, caller: SocketAddr, callee: SocketAddr) -> StrictArgs {
        StrictArgs {
            target,
            caller,
            callee,
            to: "+31201234567".into(),
            from: "+31209876543".into(),
            phases: vec![Phase { rate: 100.0, seconds: 1.0 }],
            hold: Duration::from_millis(200),
            patience: Duration::from_secs(5),
            busy: false,
            up: Arc::default(),
        }
    }
}

/// Makes a run: blocks until every call is over or patience ends.
///
/// # Errors
/// A socket that the system refuses.
pub fn run(args: &StrictArgs) -> io::Result<StrictReport> {
    let cpu_before = cpu_seconds();
    let clock = SystemClock::start();
    let caller_socket = bind(args.caller)?;
    let callee_socket = bind(args.callee)?;
    let name = u32::try_from(clock.wall().0.unsigned_abs() & u64::from(u32::MAX)).unwrap_or(1);
    let mut caller = Caller::new(args, name);
    let mut callee = Callee::new(args.callee);
    let mut batch = RecvBatch::new(BATCH, DATAGRAM_MAX);
    let now = || clock.now().as_nanos();
    let (mut end, mut last) = (None, 0);
    loop {
        let busy = caller.place(now()) | caller.hang_up(now());
        caller.outbox.flush(&caller_socket);
        let busy = busy
            | drain(&callee_socket, &mut batch, |from, bytes| callee.receive(from, bytes))
            | drain_timed(&caller_socket, &mut batch, &now, |now, bytes| caller.receive(now, bytes));
        callee.outbox.flush(&callee_socket);
        caller.outbox.flush(&caller_socket);
        args.up.store(caller.up, Ordering::Relaxed);
        last = now().max(last);
        if caller.is_over() {
            break;
        }
        if caller.is_placed() {
            let end = end.get_or_insert(last + nanos(args.hold) + nanos(args.patience));
            if last > *end {
                break;
            }
        }
        if !busy && !args.busy {
            wait(&caller_socket, &callee_socket, caller.next().saturating_sub(last));
        }
    }
    let mut report = caller.report(now());
    callee.add_to(&mut report);
    report.cpu_s = cpu_seconds() - cpu_before;
    Ok(report)
}

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    // As much as the system gives.
    let _ = set_receive_buffer(socket.as_fd(), 16 << 20);
    Ok(socket)
}

/// Takes what waits, but never more than a few batches, so that neither side starves the other.
fn drain(socket: &UdpSocket, batch: &mut RecvBatch, mut take: impl FnMut(SocketAddr, &[u8])) -> bool {
    let mut any = false;
    for _ in 0..BATCHES {
        match recv_batch(socket.as_fd(), batch) {
            Ok(count) => {
                any = true;
                batch.iter().for_each(|(from, bytes)| take(from, bytes));
                if count < BATCH {
                    break;
                }
            }
            // Nothing there, or an ICMP error of an earlier datagram: the call will be missing its answer.
            Err(_) => break,
        }
    }
    any
}

/// As `drain`, with the time at which each batch came.
fn drain_timed(
    socket: &UdpSocket,
    batch: &mut RecvBatch,
    now: &impl Fn() -> u64,
    mut take: impl FnMut(u64, &[u8]),
) -> bool {
    let (mut at, mut left) = (0, 0_usize);
    drain(socket, batch, |_, bytes| {
        // Asking the clock once for a handful is as exact as the batch is short.
        if left == 0 {
            (at, left) = (now(), 8);
        }
        left -= 1;
        take(at, bytes);
    })
}

fn wait(caller: &UdpSocket, callee: &UdpSocket, ns: u64) {
    let ns = ns.clamp(20_000, 10_000_000);
    let timeout = Timespec { tv_sec: 0, tv_nsec: i64::try_from(ns).unwrap_or(0) };
    let mut sockets = [PollFd::new(caller, PollFlags::IN), PollFd::new(callee, PollFlags::IN)];
    // An interrupted wait is a short one.
    let _ = poll(&mut sockets, Some(&timeout));
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

const BATCH: usize = 64;
const BATCHES: usize = 4;
const DATAGRAM_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn free() -> SocketAddr {
        UdpSocket::bind("127.0.0.1:0").expect("bind").local_addr().expect("bound")
    }

    #[test]
    fn calls_back_to_back_are_all_good_and_nobody_there_is_all_lost() {
        let callee = free();
        let phases = vec![Phase { rate: 500.0, seconds: 0.2 }, Phase { rate: 1000.0, seconds: 0.1 }];
        let args =
            StrictArgs { phases, hold: Duration::from_millis(50), ..StrictArgs::new(callee, free(), callee) };
        let report = run(&args).expect("a run");
        assert_eq!((report.placed, report.good, report.duplicates), (200, 200, 0), "{report:?}");
        assert_eq!((report.callee_invites, report.callee_acks, report.callee_byes), (200, 200, 200));
        assert_eq!(report.good_by_second.iter().sum::<u64>(), 200);
        assert!(report.pdd_us.p50 > 0 && report.pdd_us.p50 <= report.pdd_us.p999);

        let nobody = StrictArgs { target: free(), patience: Duration::from_millis(20), ..args };
        let report = run(&nobody).expect("a run");
        assert_eq!((report.placed, report.good, report.unanswered), (200, 0, 200), "{report:?}");
    }
}

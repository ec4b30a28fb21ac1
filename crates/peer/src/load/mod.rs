//! A run of calls: placed on a fixed schedule whatever the node does (open loop), answered where they come back,
//! and counted.
//!
//! ```no_run
//! use peer::load::{LoadArgs, run};
//!
//! let args = LoadArgs::new("127.0.0.1:5060".parse()?, "127.0.0.1:5070".parse()?);
//! let report = run(&LoadArgs { calls: 200, rate: 50.0, ..args })?;
//! assert!(report.is_good(), "{:?}", report.failed);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod args;
mod report;
mod tally;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use env::{Clock as _, Network};
use machine::{Instant, Rng};
use thiserror::Error;

pub use args::LoadArgs;
pub use report::{PostDialDelay, Report, RtpReport};

use crate::agent::{Agent, MediaPorts, NoMedia};
use crate::caller::Destination;
use crate::endpoint::{Endpoint, World, drive};
use crate::local::{Flow, Local, Output, Transport};
use crate::shell::{Rtp, SystemClock, cpu_seconds, world};
use tally::Tally;

/// Why a run could not be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// rsip cannot read IPv6 addresses.
    #[error("only IPv4 addresses can be used")]
    Ipv6,
    /// A rate must be above zero.
    #[error("the rate must be above zero")]
    Rate,
    /// A socket could not be bound, or is gone.
    #[error("{0}")]
    Socket(#[from] io::Error),
}

/// How far a run is, for whoever watches; and a way to stop it.
#[derive(Debug, Default)]
pub struct Progress {
    /// INVITEs sent.
    pub placed: AtomicU64,
    /// Calls answered.
    pub answered: AtomicU64,
    /// Callers whose call is over, well or not.
    pub ended: AtomicU64,
    /// Ends of calls that failed.
    pub failed: AtomicU64,
    /// Set this, and no further call is placed; the run ends when the placed ones have.
    pub stop: AtomicBool,
}

/// Makes a run: blocks until every call is over.
///
/// # Errors
/// What makes the run impossible; failed calls are in the report.
pub fn run(args: &LoadArgs) -> Result<Report, LoadError> {
    run_with(args, &Arc::new(Progress::default()))
}

/// Makes a run that can be watched and stopped.
///
/// # Errors
/// What makes the run impossible; failed calls are in the report.
pub fn run_with(args: &LoadArgs, progress: &Arc<Progress>) -> Result<Report, LoadError> {
    run_over(args, progress, &|network| network)
}

/// As [`run_with`], over another network made of the system's.
///
/// # Errors
/// As [`run_with`].
pub fn run_over(
    args: &LoadArgs,
    progress: &Arc<Progress>,
    under: &dyn Fn(Arc<dyn Network>) -> Arc<dyn Network>,
) -> Result<Report, LoadError> {
    if !(args.rate > 0.0 && args.rate.is_finite()) {
        return Err(LoadError::Rate);
    }
    let callee = args.callee_listen.unwrap_or(args.listen);
    if !(args.target.is_ipv4() && args.listen.is_ipv4() && callee.is_ipv4()) {
        return Err(LoadError::Ipv6);
    }
    let cpu_before = cpu_seconds();
    let clock = Arc::new(SystemClock::start());
    let run = args.run.unwrap_or_else(|| run_name(&clock));
    // A held call with media has two sockets.
    let _ = syscall::raise_open_files(65_536);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut report = runtime.block_on(async {
        let mut world = world(clock.clone())?;
        world.network = under(world.network);
        let (mut listens, mut media) = (vec![args.listen], Vec::new());
        listens.extend(args.callee_listen.filter(|address| *address != args.listen));
        let mut endpoints = Vec::new();
        for (seed, address) in listens.into_iter().enumerate() {
            let ports: Box<dyn MediaPorts> = if args.media {
                let (ports, handle) = Rtp::start(address.ip(), run, clock.clone())?;
                media.push(handle);
                Box::new(ports)
            } else {
                Box::new(NoMedia((address.ip(), UNUSED_PORT).into()))
            };
            let local = Local::new(args.transport, address, run, args.retransmit);
            let rng = Rng::from_u64(args.seed.wrapping_add(seed as u64));
            let agent = Agent::new(local, args.mix.clone(), rng, ports);
            endpoints.push(Endpoint::open(&world, args.transport, address, agent)?);
        }
        let tally = Tally::new(progress.clone(), media);
        schedule(args, &world, &mut endpoints, tally, progress).await
    })?;
    report.cpu_s = ((cpu_seconds() - cpu_before) * 1000.0).round() / 1000.0;
    Ok(report)
}

/// Places calls when they are due, until all of them are over.
async fn schedule(
    args: &LoadArgs,
    world: &World,
    endpoints: &mut [Endpoint],
    mut tally: Tally,
    progress: &Progress,
) -> Result<Report, LoadError> {
    let destination = Destination {
        flow: match args.transport {
            Transport::Udp => Flow::Datagram(args.target),
            Transport::Tcp | Transport::Tls => Flow::Dialled(args.target),
        },
        uri: format!("sip:{}@{}", args.to, args.target),
        user: args.from.clone(),
    };
    let start = world.clock.now() + Duration::from_millis(10);
    let due = |call: u64| start + Duration::from_secs_f64(precise(call) / args.rate);
    let mut placed = 0;
    while placed < args.calls && !progress.stop.load(Ordering::Relaxed) {
        let scheduled = due(placed);
        drive(world, endpoints, scheduled, &mut |now, output| tally.take(now, output)).await?;
        // Overdue calls go out together, but messages are read in between, so that a burst starves nobody.
        let now = world.clock.now();
        for _ in 0..BURST {
            if placed >= args.calls || due(placed) > now {
                break;
            }
            if let Some(endpoint) = endpoints.first_mut() {
                endpoint.agent().place(now, due(placed), destination.clone());
            }
            placed += 1;
        }
        progress.placed.store(placed, Ordering::Relaxed);
    }
    let deadline = world.clock.now() + args.mix.hold + args.mix.ring + args.mix.answer + args.patience;
    while world.clock.now() < deadline && !tally.is_settled(placed, args.awaits) {
        step(world, endpoints, &mut tally).await?;
    }
    let now = world.clock.now();
    for endpoint in &mut *endpoints {
        endpoint.agent().abandon(now);
    }
    // What the last calls left on the way: retransmissions find their answers, late media its ears.
    step(world, endpoints, &mut tally).await?;
    Ok(tally.finish(placed, elapsed(world, start)))
}

async fn step(world: &World, endpoints: &mut [Endpoint], tally: &mut Tally) -> Result<(), LoadError> {
    let until = world.clock.now() + Duration::from_millis(20);
    drive(world, endpoints, until, &mut |now, output: Output| tally.take(now, output)).await?;
    Ok(())
}

fn elapsed(world: &World, start: Instant) -> Duration {
    world.clock.now().since(start)
}

/// A number of calls as a float; exact up to 2^53.
#[allow(clippy::cast_precision_loss)]
fn precise(number: u64) -> f64 {
    number as f64
}

/// A name for the run, so that late messages of an earlier run are not taken for this one's.
fn run_name(clock: &SystemClock) -> u32 {
    let ms = clock.wall().0.unsigned_abs();
    u32::try_from((ms ^ (u64::from(std::process::id()) << 16)) & u64::from(u32::MAX)).unwrap_or(1)
}

/// Calls that are placed before messages are read again.
const BURST: usize = 32;
/// What SDP names where no media is sent.
const UNUSED_PORT: u16 = 6000;

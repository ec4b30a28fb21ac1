//! The real world for peers: clock, timer, UDP and TCP sockets, and the thread that carries media. The only
//! module of this crate that touches the system; the simulation brings its own world instead.

mod clock;
mod network;
mod rtp;
mod tasks;

use std::io;
use std::sync::Arc;

pub use clock::SystemClock;
pub use network::Sockets;
pub use rtp::{Rtp, RtpHandle};
pub use tasks::Tasks;

use crate::endpoint::World;

/// The real world, for one tokio runtime: call it from within.
///
/// # Errors
/// The system has no timer left.
pub fn world(clock: Arc<SystemClock>) -> io::Result<World> {
    Ok(World { spawn: Arc::new(Tasks::new(clock.clone())?), clock, network: Arc::new(Sockets) })
}

/// CPU seconds that this process used so far.
pub fn cpu_seconds() -> f64 {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    std::time::Duration::new(
        u64::try_from(used.tv_sec).unwrap_or(0),
        u32::try_from(used.tv_nsec).unwrap_or(0),
    )
    .as_secs_f64()
}

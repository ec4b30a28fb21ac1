//! The production world: the operating system behind the seams of `env`.

mod network;
mod resolve;
mod runtime;

use std::io;
use std::sync::Arc;

use env::{Addresses, Clock, Disk, Entropy, Frames, Network, Relay, Spawn};

use crate::{Resolve, SystemClock};

pub use network::SystemNetwork;
pub(crate) use network::bind_early;
pub use resolve::SystemResolve;
pub use runtime::{SystemEntropy, TokioSpawn};

/// Everything outside a node.
#[derive(Clone)]
pub struct World {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
    /// Tasks.
    pub spawn: Arc<dyn Spawn>,
    /// Sockets.
    pub network: Arc<dyn Network>,
    /// Files.
    pub disk: Arc<dyn Disk>,
    /// Media.
    pub relay: Arc<dyn Relay>,
    /// Names.
    pub resolve: Arc<dyn Resolve>,
    /// The links to other nodes, if there are any.
    pub frames: Option<Arc<dyn Frames>>,
    /// The floating addresses; none: every address of every home can be bound and used at any time.
    pub addresses: Option<Arc<dyn Addresses>>,
}

impl World {
    /// The operating system, with this clock, disk and relay. Used inside a tokio runtime.
    pub fn system(clock: Arc<SystemClock>, disk: Arc<dyn Disk>, relay: Arc<dyn Relay>) -> World {
        World {
            spawn: Arc::new(TokioSpawn::new(clock.clone())),
            clock,
            entropy: Arc::new(SystemEntropy),
            network: Arc::new(SystemNetwork::default()),
            disk,
            relay,
            resolve: Arc::new(SystemResolve::default()),
            frames: None,
            addresses: None,
        }
    }
}

/// Raises the limit on open files to at least `wanted`, as far as the system allows; gives what holds then.
///
/// # Errors
/// The system refuses to say or to set.
pub fn raise_open_files(wanted: u64) -> io::Result<u64> {
    syscall::raise_open_files(wanted).map(|limit| limit.now)
}

//! The production world: the operating system behind the seams of `env`.

mod network;
mod resolve;
mod runtime;

use std::sync::Arc;

use env::{Clock, Disk, Entropy, Network, Relay, Spawn};

use crate::{Resolve, SystemClock};

pub use network::SystemNetwork;
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
}

impl World {
    /// The operating system, with this disk and relay. Used inside a tokio runtime.
    pub fn system(disk: Arc<dyn Disk>, relay: Arc<dyn Relay>) -> World {
        let clock = Arc::new(SystemClock::start());
        World {
            spawn: Arc::new(TokioSpawn::new(clock.clone())),
            clock,
            entropy: Arc::new(SystemEntropy),
            network: Arc::new(SystemNetwork),
            disk,
            relay,
            resolve: Arc::new(SystemResolve),
        }
    }
}

//! A whole node in any world: actors around the pure machines, supervision, the switch, the timer wheel,
//! admission, drain and restart.
//!
//! One current-thread runtime carries signalling, actors and consensus; a SIP datagram crosses no thread.
//! Everything outside comes through the seams of `env` and [`Resolve`], gathered in [`World`]; the folder
//! `world` holds the production ones. So the simulation runs this very code.
//!
//! Absent by design: SIP policy (`trunk`), call logic (`call`), replication (`cluster`). Nothing here
//! decides what a call does; it carries inputs to machines and their outputs to the world.

mod actor;
mod adopt;
mod alone;
mod bans;
mod bindings;
mod caller;
mod calls;
mod clock;
mod config;
pub mod disk;
mod enrol;
mod errand;
mod exposition;
mod forward;
mod gate;
mod home;
mod hosts;
mod invite;
mod locate;
mod members;
mod metrics;
mod node;
mod ports;
mod probe;
mod refused;
mod register;
pub mod relay;
mod remains;
mod replica;
mod report;
mod shared;
mod solo;
mod stateless;
mod switch;
#[cfg(test)]
mod tests;
mod unsaid;
mod wheel;
pub mod world;

pub use clock::SystemClock;
pub use config::{ClusterConfig, HomeConfig, NodeConfig};
pub use members::{Load, MemberError};
pub use metrics::{Drop, Metrics};
pub use node::{Node, NodeHandle, StartError};
pub use report::{Report, Reports};
pub use world::World;

use std::sync::{Mutex, MutexGuard, PoisonError};

use env::BoxFuture;
use trunk::{Answer, Question};

/// DNS.
pub trait Resolve: Send + Sync + 'static {
    /// Asks for the records of a name.
    fn look_up(&self, question: Question) -> BoxFuture<'static, Answer>;
}

/// Locks, also after a panic elsewhere: every critical section here leaves its table whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! The seams between a node and its world, as traits: the production binary, the tests and the simulation
//! each bring their own world, and the node cannot tell.
//!
//! Absent by design: any implementation. Nothing here touches the system.

mod addresses;
mod clock;
mod disk;
mod frames;
mod net;
mod relay;
mod spawn;
mod srtp;

pub use addresses::Addresses;
pub use clock::{Clock, Entropy};
pub use disk::*;
pub use frames::*;
pub use net::*;
pub use relay::*;
pub use spawn::{BoxFuture, Spawn, Task};
pub use srtp::*;

//! The world in a seed: whole production nodes, callers and callees in one thread and in virtual time, over a
//! network, a disk and a relay in memory. One seed fixes everything; one seed per process.
//!
//! Nothing but tests and xtask uses this crate.

pub mod accounts;
mod branches;
mod disk;
mod entropy;
pub mod fault;
mod frames;
mod guards;
mod healing;
pub mod invariants;
pub mod letter;
mod life;
mod members;
mod names;
mod network;
pub mod peers;
pub mod plan;
pub mod redirects;
mod relay;
pub mod runner;
mod scenario;
mod streams;
pub mod talk;
mod time;
mod trace;
pub mod variety;
mod ways;
mod weather;
mod world;

pub use disk::{DiskCounts, MemDisk};
pub use entropy::{SeededEntropy, interpose};
pub use frames::{Links, MemoryFrames};
pub use guards::Guards;
pub use life::Life;
pub use members::Members;
pub use names::Names;
pub use network::{Handler, Latency, MemoryNetwork, Tap, Way, Wire};
pub use plan::{Cut, Plan};
pub use relay::MemoryRelay;
pub use scenario::{Figures, Run};
pub use time::{NodeClock, VirtualClock, VirtualSpawn};
pub use trace::Trace;
pub use weather::Front;
pub use world::World;

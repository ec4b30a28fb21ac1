//! A whole node on loopback sockets, with a caller and a callee that are plain sockets.

mod bench;
mod digest;
mod failure;
mod size;
mod switch;

pub(crate) use bench::{Bench, Peer};

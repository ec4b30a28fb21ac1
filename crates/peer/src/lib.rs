//! Callers and callees over rsip: an independent voice that checks every message of the node.
//!
//! The node reads SIP with its own parser; these peers read it with rsip, so that one parser's mistake cannot
//! hide itself. This is the only crate that names rsip. [`Agent`] is pure: it takes `now` and messages and gives
//! outputs, so the simulation runs the same peers in virtual time as `banyan load`, `banyan demo` and the tests
//! run in real time. A rule that the far side breaks is a failed call with its reason ([`Violation`]).
//!
//! * [`Agent`], [`Caller`], [`Callee`]: the machines. [`drive`]: an agent over the seams of `env`.
//! * [`media`]: RTP in which every packet names its call, direction and sequence.
//! * [`load`]: a run of calls and its report. [`strict`]: the cheap generator for measurements, without rsip.
//! * [`shell`]: sockets and clocks of the real world, the only module here that touches the system.
//!
//! Absent by design: registration and digest (not built yet), TLS (the network brings it), the node's own
//! parser, IPv6 (rsip cannot read it).
//!
//! ```
//! use machine::{Instant, Rng};
//! use peer::{Agent, Destination, Flow, Local, Mix, NoMedia, Output, Transport};
//!
//! let (us, node) = ("127.0.0.1:5070".parse()?, "127.0.0.1:5060".parse()?);
//! let local = Local::new(Transport::Udp, us, 1, true);
//! let mut agent = Agent::new(local, Mix::default(), Rng::from_u64(1), Box::new(NoMedia(us)));
//! let destination =
//!     Destination { flow: Flow::Datagram(node), uri: "sip:+31201234567@127.0.0.1:5060".into(), user: "alice".into() };
//! agent.place(Instant::ZERO, Instant::ZERO, destination);
//! assert!(matches!(agent.poll_output(), Some(Output::Send { flow: Flow::Datagram(to), .. }) if to == node));
//! # Ok::<(), std::net::AddrParseError>(())
//! ```

mod agent;
mod callee;
mod caller;
mod endpoint;
mod framer;
pub mod load;
mod local;
pub mod media;
mod message;
mod outcome;
mod pending;
mod plan;
mod sdp;
mod session;
pub mod shell;
pub mod strict;
mod violation;
mod writer;

pub use agent::{Agent, MediaPorts, NoMedia};
pub use callee::Callee;
pub use caller::{Caller, Destination, Input};
pub use endpoint::{Endpoint, World, drive};
pub use local::{CallRef, Event, Flow, Local, Output, Side, Transport};
pub use message::{Message, Method, Start};
pub use outcome::Outcome;
pub use plan::{CalleePlan, CallerPlan, Mix};
pub use sdp::{Audio, Direction};
pub use violation::Violation;

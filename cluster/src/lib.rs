//! What the nodes agree on: the replicated [`State`], the log that carries it, and the stream in which each
//! node proposes.
//!
//! A cluster of one runs the path of a cluster of three: a proposal becomes an entry of the log, the log makes
//! it durable, a quorum (here: itself) commits it, `apply` changes the state, and the outcome returns to
//! whoever proposed. There is no fast path beside it.
//!
//! Absent by design: SIP. openraft is named only in `raft/`, bincode only in `codec.rs`.

mod cluster;
pub mod codec;
pub mod command;
pub mod detector;
mod dispatch;
mod enrolment;
mod health;
pub mod lease;
pub mod link;
pub mod log;
mod outbox;
mod projection;
mod proposer;
mod raft;
mod registration;
mod replica;
mod rounds;
pub mod state;
mod time;
mod vigil;

pub use cluster::{Cluster, Config, Health, OpenError, Seams, Status};
pub use command::{
    Batch, Boot, Booted, Command, DrainedUntil, FloatingHome, Held, Outcome, Refused, Stamped, Verdict,
};
pub use dispatch::FrameSink;
pub use enrolment::{Enrol, EnrolStep, Enrolment};
pub use health::{Down, Turn, Turned, Watched};
pub use projection::{CdrFilter, Projection, ProjectionError, to_json};
pub use proposer::{Backlog, Pace, Proposer, Urgency};
pub use raft::{ChangeError, Member, RaftError, Stopped, UnusableSnapshot};
pub use registration::{Binding, Place, Rebind, Register, Registered};
pub use replica::Applied;
pub use state::{APPLY_VERSION, Delta, Restore, SnapshotError, State, Usage};
pub use vigil::Standing;

//! One call: two dialogs, bridged (RFC 7092). The machine between a caller and a callee.
//!
//! It asks `trunk` what may be done, proposes what must be remembered, and speaks only when a quorum
//! remembers it: no caller hears 200 and no callee gets its ACK before the commit that records the answer.
//!
//! Absent by design: sockets, clocks, chance, and the knowledge that proposals are replicated.

mod admission;
mod answered;
mod asked;
mod attempt;
mod bridge;
mod call;
mod cdr;
mod challenge;
mod context;
mod early;
mod ending;
pub mod errand;
mod exchange;
mod fading;
mod hunt;
mod id;
mod inbound;
mod io;
mod leg;
mod live;
mod media;
mod message;
mod overdue;
mod presence;
mod record;
mod redirect;
mod refresh;
mod rehome;
mod reinvite;
pub mod reject;
mod restore;
pub mod route;
mod security;
mod setup;
mod stranded;

pub use admission::called_user;
pub use call::Call;
pub use cdr::{Cdr, CdrAttempt, CdrRedirect, Facts, HangupBy, LegQuality};
pub use context::{Context, Secret};
pub use id::{CallId, Epoch, HomeId, Incarnation, NodeId};
pub use io::{Arrival, Event, Input, Output, Proof, RelayChange, Remains, TakePorts};
pub use live::{CallRecord, Moments, Phase, Tried, slots_for};
pub use record::*;

//! One call: two dialogs, bridged (RFC 7092). The machine between a caller and a callee.
//!
//! It asks `trunk` what may be done, proposes what must be remembered, and speaks only when a quorum
//! remembers it: no caller hears 200 and no callee gets its ACK before the commit that records the answer.
//!
//! Absent by design: sockets, clocks, chance, and the knowledge that proposals are replicated.

mod admission;
mod answered;
mod attempt;
mod call;
mod cdr;
mod context;
mod ending;
mod exchange;
mod fading;
mod id;
mod io;
mod leg;
mod media;
mod message;
mod record;
pub mod reject;
mod relay;
mod restore;
pub mod route;
mod setup;

pub use call::Call;
pub use cdr::{Cdr, CdrAttempt, Facts, HangupBy, LegQuality};
pub use context::{Context, Secret};
pub use id::{CallId, Epoch, HomeId, Incarnation, NodeId};
pub use io::{Arrival, Event, Input, Output, RelayChange, Remains, TakePorts};
pub use record::*;

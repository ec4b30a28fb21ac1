//! SIP over sockets: datagrams in batches (RFC 3261 §18), streams framed by Content-Length (§18.3),
//! TLS (RFC 5922), connection reuse, keep-alives (RFC 5626 §4.4.1), and bounds on everything that a stranger can fill.
//!
//! It moves whole messages between the network of `env::Network` and a [`Sink`]; what they mean is decided
//! above. Nothing here opens a socket by itself, so the simulation runs this code over its own network.
//!
//! Absent by design: transactions, dialogs, calls. A transport holds no reference to any of them, and a
//! connection that ends takes nothing with it (RFC 3261 §18: a transaction owns no socket).
//!
//! ```
//! use transport::StreamLimits;
//!
//! let limits = StreamLimits::default();
//! assert!(limits.strangers_max < limits.connections_max);
//! ```

mod connection;
mod counters;
mod datagram;
mod limits;
mod outbox;
mod streams;
mod table;
mod tls;

pub use counters::Counters;
pub use datagram::{BATCH_FULL, receive};
pub use limits::StreamLimits;
pub use outbox::{MaySpeak, Outbox};
pub use streams::{Peer, Sink, Standing, Streams};
pub use tls::{Authorities, Tls, TlsError, TlsFiles, TlsNetwork};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, also after a panic elsewhere: every critical section here leaves its table whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

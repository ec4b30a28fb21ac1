//! What the transports counted, for `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of all transports of a node.
#[derive(Debug, Default)]
pub struct Counters {
    /// Datagrams received.
    pub datagrams_in: AtomicU64,
    /// Datagrams handed to the network.
    pub datagrams_out: AtomicU64,
    /// Datagrams that a full send buffer dropped.
    pub datagrams_dropped: AtomicU64,
    /// Batches handed to the network.
    pub sends: AtomicU64,
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Connections opened by us.
    pub dialled: AtomicU64,
    /// Connections closed to make room for newer ones, or refused.
    pub evicted: AtomicU64,
    /// Connections closed because the peer was too slow or silent.
    pub timed_out: AtomicU64,
    /// Connections closed because what came on them can't be framed.
    pub unframeable: AtomicU64,
    /// Handshakes of TLS that failed, whoever had begun them.
    pub handshakes_failed: AtomicU64,
    /// Connections closed because the peer does not read.
    pub congested: AtomicU64,
    /// Messages that came over streams.
    pub stream_messages_in: AtomicU64,
    /// Messages that left over streams.
    pub stream_messages_out: AtomicU64,
    /// Connections open now.
    pub open: AtomicU64,
}

impl Counters {
    /// Adds one.
    pub(crate) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds `n`.
    pub(crate) fn add(counter: &AtomicU64, n: usize) {
        counter.fetch_add(n as u64, Ordering::Relaxed);
    }
}

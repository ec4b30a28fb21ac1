//! What a stranger may take of us over streams.

use std::time::Duration;

/// Bounds on connections. A *stranger* is a connection on which no message of a known source has come yet.
#[derive(Clone, Copy, Debug)]
pub struct StreamLimits {
    /// Open connections in all.
    pub connections_max: usize,
    /// Strangers' connections in all; the oldest makes room for the newest.
    pub strangers_max: usize,
    /// Strangers' connections from one address; the oldest makes room for the newest.
    pub strangers_per_address_max: usize,
    /// Handshakes of TLS that are made in a second with peers that connect to us.
    pub handshakes_per_second: u32,
    /// From accepting a connection to its first byte; under TLS, to the first byte after the handshake.
    pub first_byte: Duration,
    /// From the first byte of a message to its last.
    pub message: Duration,
    /// Without any byte, for a stranger that has sent whole messages.
    pub stranger_idle: Duration,
    /// Without any byte, for a known source.
    pub idle: Duration,
    /// After the peer's end of stream, to write what is queued.
    pub linger: Duration,
    /// Opening a connection, its handshake included.
    pub dial: Duration,
    /// Bytes that may wait for a peer that does not read.
    pub write_queue_bytes_max: usize,
    /// Messages that may wait for a connection that is being opened.
    pub dial_queue_max: usize,
    /// Bytes read at once from one connection before others get their turn.
    pub read_bytes_max: usize,
}

impl Default for StreamLimits {
    fn default() -> StreamLimits {
        StreamLimits {
            connections_max: 16_384,
            strangers_max: 1_024,
            strangers_per_address_max: 256,
            handshakes_per_second: 200,
            first_byte: Duration::from_secs(10),
            message: Duration::from_secs(10),
            stranger_idle: Duration::from_secs(32),
            idle: Duration::from_secs(3_600),
            linger: Duration::from_secs(2),
            dial: Duration::from_secs(4),
            write_queue_bytes_max: 1 << 20,
            dial_queue_max: 1_024,
            read_bytes_max: 64 << 10,
        }
    }
}

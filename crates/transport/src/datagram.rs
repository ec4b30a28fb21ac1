//! Datagrams in: whole batches, so that one wake-up serves many messages.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use env::{Batch, Datagrams};

use crate::Counters;

/// A batch of this size may have left more behind.
pub const BATCH_FULL: usize = 64;

/// Receives until the socket is gone, giving every datagram to `take` with its source, after telling `batch`
/// how many there are. After each batch the task yields, so that what the datagrams set off runs before the
/// next batch is read.
///
/// # Errors
/// The socket is gone for good.
pub async fn receive(
    socket: Arc<dyn Datagrams>,
    counters: Arc<Counters>,
    batch_of: impl Fn(usize) + Send,
    take: impl Fn(SocketAddr, &[u8]) + Send,
) -> io::Result<()> {
    let mut batch = Batch::default();
    loop {
        batch.clear();
        poll_fn(|cx| socket.poll_recv(cx, &mut batch)).await?;
        Counters::add(&counters.datagrams_in, batch.len());
        batch_of(batch.len());
        for (from, bytes) in batch.iter() {
            take(from, bytes);
        }
        tokio::task::yield_now().await;
    }
}

//! Datagrams in: whole batches, so that one wake-up serves many messages.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use env::{Batch, Datagrams};

use crate::Counters;

/// A batch of this size may have left more behind.
pub const BATCH_FULL: usize = 64;

/// Receives until the socket is gone, giving every datagram to `take` with its source, and telling `done` after
/// each batch how many there were. Then the task yields, so that what the datagrams set off runs before the next
/// batch is read.
///
/// # Errors
/// The socket is gone for good.
pub async fn receive(
    socket: Arc<dyn Datagrams>,
    counters: Arc<Counters>,
    take: impl Fn(SocketAddr, &[u8]) + Send,
    mut done: impl FnMut(usize) + Send,
) -> io::Result<()> {
    let mut batch = Batch::default();
    loop {
        batch.clear();
        poll_fn(|cx| socket.poll_recv(cx, &mut batch)).await?;
        Counters::add(&counters.datagrams_in, batch.len());
        for (from, bytes) in batch.iter() {
            take(from, bytes);
        }
        done(batch.len());
        tokio::task::yield_now().await;
    }
}

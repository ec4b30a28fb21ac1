//! Datagrams and streams, as a node sees them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::BoxFuture;

/// One datagram to send.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Where it goes.
    pub to: SocketAddr,
    /// What it says.
    pub bytes: Bytes,
}

/// Datagrams that arrived together. Reused between calls: `clear` keeps the memory.
#[derive(Debug, Default)]
pub struct Batch {
    buffer: Vec<u8>,
    spans: Vec<(SocketAddr, usize, usize)>,
}

impl Batch {
    /// Forgets what was received.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.spans.clear();
    }

    /// Adds a datagram.
    pub fn push(&mut self, from: SocketAddr, bytes: &[u8]) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(bytes);
        self.spans.push((from, start, self.buffer.len()));
    }

    /// How many datagrams there are.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The datagrams in the order of their arrival.
    pub fn iter(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        self.spans.iter().map(|&(from, start, end)| (from, self.buffer.get(start..end).unwrap_or_default()))
    }
}

/// A bound datagram socket.
pub trait Datagrams: Send + Sync + 'static {
    /// The address that it is bound to, port filled in.
    fn local(&self) -> SocketAddr;
    /// Receives what is there, up to an implementation's batch, appending to `batch`.
    ///
    /// # Errors
    /// The socket is gone for good; passing errors (ICMP) are swallowed and counted.
    fn poll_recv(&self, cx: &mut Context<'_>, batch: &mut Batch) -> Poll<io::Result<()>>;
    /// Hands datagrams to the network, in order. A full send buffer drops the rest, as a network would;
    /// gives how many were taken.
    fn send(&self, datagrams: &[Outgoing]) -> usize;
}

/// One end of a byte stream.
pub trait Stream: Send + 'static {
    /// Our address.
    fn local(&self) -> SocketAddr;
    /// The peer's address.
    fn remote(&self) -> SocketAddr;
    /// Reads what is there, appending at most `max` bytes to `into`; `Ok(0)` is the end.
    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut Vec<u8>, max: usize) -> Poll<io::Result<usize>>;
    /// Writes some of `bytes`.
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;
    /// Lets what was written leave, where the stream keeps some of it.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let _ = cx;
        Poll::Ready(Ok(()))
    }
}

/// A listening stream socket.
pub trait Listener: Send + 'static {
    /// The address that it is bound to.
    fn local(&self) -> SocketAddr;
    /// The next connection.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Box<dyn Stream>>>;
}

/// A node's network.
pub trait Network: Send + Sync + 'static {
    /// Binds a datagram socket.
    ///
    /// # Errors
    /// The address is taken or not ours.
    fn bind(&self, at: SocketAddr) -> io::Result<Arc<dyn Datagrams>>;
    /// Listens for streams.
    ///
    /// # Errors
    /// The address is taken or not ours.
    fn listen(&self, at: SocketAddr) -> io::Result<Box<dyn Listener>>;
    /// Opens a stream from `from`'s address (any port) to `to`.
    fn dial(&self, from: SocketAddr, to: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Stream>>>;
}

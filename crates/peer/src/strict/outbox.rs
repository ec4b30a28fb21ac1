//! Datagrams that are written one behind the other and sent with one system call.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;

use syscall::send_batch;

/// Datagrams on their way out.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    ends: Vec<(SocketAddr, usize)>,
    /// How many the kernel did not take.
    pub(super) refused: u64,
}

impl Outbox {
    /// Where the next datagram is written; `finish` ends it.
    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Ends the datagram that was being written.
    pub(super) fn finish(&mut self, to: SocketAddr) {
        self.ends.push((to, self.bytes.len()));
    }

    /// Sends everything.
    pub(super) fn flush(&mut self, socket: &UdpSocket) {
        if self.ends.is_empty() {
            return;
        }
        let mut start = 0;
        let datagrams = self.ends.iter().map(|(to, end)| {
            let bytes = self.bytes.get(start..*end).unwrap_or_default();
            start = *end;
            (*to, bytes)
        });
        let sent = send_batch(socket.as_fd(), datagrams).unwrap_or(0);
        self.refused += (self.ends.len() - sent) as u64;
        self.bytes.clear();
        self.ends.clear();
    }
}

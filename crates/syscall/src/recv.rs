//! Datagrams in, many with one system call: recvmmsg(2).

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use crate::address::RawAddress;

/// Memory for one batch of datagrams, made once and used again and again.
///
/// The memory is only claimed from the system when a datagram of that size arrives, so generous sizes
/// cost address space, not memory.
pub struct RecvBatch {
    buffer: Vec<u8>,
    size: usize,
    received: Vec<Received>,
    addresses: Vec<RawAddress>,
    iovecs: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

#[derive(Clone, Copy)]
struct Received {
    from: SocketAddr,
    length: usize,
    truncated: bool,
}

// SAFETY: the raw pointers in `iovecs` and `headers` are written anew by every `recv_batch` before the
// kernel reads them, and are never followed otherwise; everything else is plain owned memory.
unsafe impl Send for RecvBatch {}
// SAFETY: as above; shared access only reads `buffer` and `received`.
unsafe impl Sync for RecvBatch {}

impl RecvBatch {
    /// Room for `slots` datagrams of at most `size` bytes each.
    pub fn new(slots: usize, size: usize) -> RecvBatch {
        let slots = slots.clamp(1, 1024);
        let empty_iovec = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        // SAFETY: `mmsghdr` is integers and pointers, for which all-zero bytes are a valid value.
        let empty_header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        RecvBatch {
            buffer: vec![0; slots * size],
            size,
            received: Vec::with_capacity(slots),
            addresses: vec![RawAddress::unspecified(); slots],
            iovecs: vec![empty_iovec; slots],
            headers: vec![empty_header; slots],
        }
    }

    /// How many datagrams the last receive brought.
    pub fn len(&self) -> usize {
        self.received.len()
    }

    /// Whether the last receive brought none.
    pub fn is_empty(&self) -> bool {
        self.received.is_empty()
    }

    /// The datagrams of the last receive, in the order of arrival. Those that did not fit are left out.
    pub fn iter(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        self.received.iter().zip(self.buffer.chunks(self.size.max(1))).filter_map(|(received, slot)| {
            if received.truncated {
                None
            } else {
                slot.get(..received.length).map(|bytes| (received.from, bytes))
            }
        })
    }

    /// How many datagrams of the last receive were too large for their slot.
    pub fn truncated(&self) -> usize {
        self.received.iter().filter(|received| received.truncated).count()
    }

    /// Points the kernel's structures at our memory.
    fn prepare(&mut self) {
        let mut base = self.buffer.as_mut_ptr();
        for ((iovec, address), header) in
            self.iovecs.iter_mut().zip(&mut self.addresses).zip(&mut self.headers)
        {
            iovec.iov_base = base.cast();
            iovec.iov_len = self.size;
            header.msg_hdr.msg_name = ptr::from_mut(address).cast();
            header.msg_hdr.msg_namelen = RawAddress::ROOM;
            header.msg_hdr.msg_iov = iovec;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = ptr::null_mut();
            header.msg_hdr.msg_controllen = 0;
            header.msg_hdr.msg_flags = 0;
            base = base.wrapping_add(self.size);
        }
    }
}

/// Receives what waits on the socket, at most one batch, without waiting; gives how many came.
///
/// # Errors
/// `WouldBlock` when nothing waits; else the socket's own error.
pub fn recv_batch(socket: BorrowedFd<'_>, batch: &mut RecvBatch) -> io::Result<usize> {
    batch.received.clear();
    batch.prepare();
    let slots = libc::c_uint::try_from(batch.headers.len()).unwrap_or(1);
    let count = loop {
        // SAFETY: `headers` has `slots` entries, each pointing at one iovec and one address of our own
        // vectors; slot i's iovec covers `size` bytes at i·size of a buffer of slots·size bytes. None of
        // the vectors moves during the call, and the kernel keeps no pointer after it.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                batch.headers.as_mut_ptr(),
                slots,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        if count >= 0 {
            break count.unsigned_abs() as usize;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    };
    for (header, address) in batch.headers.iter().zip(&batch.addresses).take(count) {
        batch.received.push(Received {
            from: address.to_rust(header.msg_hdr.msg_namelen),
            length: header.msg_len as usize,
            truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
        });
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    fn pair(address: &str) -> (UdpSocket, UdpSocket) {
        (UdpSocket::bind(address).expect("bind"), UdpSocket::bind(address).expect("bind"))
    }

    #[test]
    fn a_batch_gives_datagrams_in_order_with_their_sources() {
        let (a, b) = pair("127.0.0.1:0");
        let to = b.local_addr().expect("bound");
        for i in 0..5_u8 {
            a.send_to(&[i; 3], to).expect("send");
        }
        let mut batch = RecvBatch::new(3, 100);
        assert_eq!(recv_batch(b.as_fd(), &mut batch).expect("receive"), 3);
        let from = a.local_addr().expect("bound");
        let expected: Vec<(SocketAddr, &[u8])> = vec![(from, &[0; 3]), (from, &[1; 3]), (from, &[2; 3])];
        assert_eq!(batch.iter().collect::<Vec<_>>(), expected);
        assert_eq!(recv_batch(b.as_fd(), &mut batch).expect("receive"), 2);
        assert_eq!(batch.len(), 2);
        let error = recv_batch(b.as_fd(), &mut batch).expect_err("nothing left");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(batch.is_empty());
    }

    #[test]
    fn a_datagram_larger_than_its_slot_is_counted_and_left_out() {
        let (a, b) = pair("127.0.0.1:0");
        let to = b.local_addr().expect("bound");
        a.send_to(&[1; 101], to).expect("send");
        a.send_to(&[2; 100], to).expect("send");
        let mut batch = RecvBatch::new(4, 100);
        assert_eq!(recv_batch(b.as_fd(), &mut batch).expect("receive"), 2);
        assert_eq!(batch.truncated(), 1);
        assert_eq!(batch.iter().map(|(_, bytes)| bytes.to_vec()).collect::<Vec<_>>(), vec![vec![2; 100]]);
    }

    #[test]
    fn sources_over_ipv6_are_ipv6() {
        let (a, b) = pair("[::1]:0");
        a.send_to(b"x", b.local_addr().expect("bound")).expect("send");
        let mut batch = RecvBatch::new(4, 100);
        recv_batch(b.as_fd(), &mut batch).expect("receive");
        assert_eq!(batch.iter().next(), Some((a.local_addr().expect("bound"), &b"x"[..])));
    }
}

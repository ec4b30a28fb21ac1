//! Datagrams out, many with one system call: sendmmsg(2).

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use crate::address::RawAddress;

/// How many datagrams go into one system call.
const CHUNK: usize = 64;

/// Collects datagrams for one socket and hands them to the kernel a chunk at a time.
///
/// Datagrams that the kernel refuses one by one (too large, no route) are skipped and counted; a full send
/// buffer drops the rest, as a network would.
pub struct Sender<'a> {
    socket: BorrowedFd<'a>,
    addresses: [MaybeUninit<RawAddress>; CHUNK],
    iovecs: [MaybeUninit<libc::iovec>; CHUNK],
    lengths: [libc::socklen_t; CHUNK],
    filled: usize,
    taken: usize,
    full: bool,
    error: Option<io::Error>,
}

impl<'a> Sender<'a> {
    /// A sender over `socket`.
    pub fn new(socket: BorrowedFd<'a>) -> Sender<'a> {
        Sender {
            socket,
            addresses: [MaybeUninit::uninit(); CHUNK],
            iovecs: [MaybeUninit::uninit(); CHUNK],
            lengths: [0; CHUNK],
            filled: 0,
            taken: 0,
            full: false,
            error: None,
        }
    }

    /// Sends the datagrams in order; gives how many the kernel took.
    ///
    /// # Errors
    /// None was taken, and the reason is not a full buffer.
    pub fn send<'b>(
        mut self,
        datagrams: impl IntoIterator<Item = (SocketAddr, &'b [u8])>,
    ) -> io::Result<usize> {
        for (to, bytes) in datagrams {
            let (address, length) = RawAddress::from_rust(to);
            if let (Some(a), Some(i), Some(l)) = (
                self.addresses.get_mut(self.filled),
                self.iovecs.get_mut(self.filled),
                self.lengths.get_mut(self.filled),
            ) {
                a.write(address);
                i.write(libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() });
                *l = length;
                self.filled += 1;
            }
            // The bytes live for 'b, which outlasts this call, so a chunk may be sent later in the loop.
            if self.filled == CHUNK {
                self.flush();
            }
            if self.full {
                break;
            }
        }
        self.flush();
        match self.error {
            Some(error) if self.taken == 0 && !self.full => Err(error),
            _ => Ok(self.taken),
        }
    }

    /// Hands the collected chunk to the kernel.
    fn flush(&mut self) {
        let count = std::mem::take(&mut self.filled);
        let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; CHUNK];
        for (i, header) in headers.iter_mut().enumerate().take(count) {
            let (Some(address), Some(iovec), Some(length)) =
                (self.addresses.get_mut(i), self.iovecs.get_mut(i), self.lengths.get(i))
            else {
                return;
            };
            // SAFETY: `mmsghdr` is integers and pointers, for which all-zero bytes are a valid value.
            let header = header.write(unsafe { std::mem::zeroed() });
            header.msg_hdr.msg_name = address.as_mut_ptr().cast();
            header.msg_hdr.msg_namelen = *length;
            header.msg_hdr.msg_iov = iovec.as_mut_ptr();
            header.msg_hdr.msg_iovlen = 1;
        }
        let mut next = 0;
        while next < count && !self.full {
            let left = libc::c_uint::try_from(count - next).unwrap_or(0);
            // SAFETY: headers[next..count] were written above; each points at an address and an iovec that
            // `send` wrote in this chunk, and the iovec at bytes that the caller lends for the whole send.
            // The kernel only reads through them, and keeps no pointer after the call.
            let sent = unsafe {
                libc::sendmmsg(
                    self.socket.as_raw_fd(),
                    headers.as_mut_ptr().cast::<libc::mmsghdr>().add(next),
                    left,
                    libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
                )
            };
            if sent > 0 {
                self.taken += sent.unsigned_abs() as usize;
                next += sent.unsigned_abs() as usize;
                continue;
            }
            let error = io::Error::last_os_error();
            match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock => self.full = true,
                // This datagram is refused; the next one may go elsewhere.
                _ => {
                    self.error = Some(error);
                    next += 1;
                }
            }
        }
    }
}

/// Sends datagrams over one socket, in order, without waiting; gives how many the kernel took.
///
/// # Errors
/// None was taken, and the reason is not a full buffer.
pub fn send_batch<'b>(
    socket: BorrowedFd<'_>,
    datagrams: impl IntoIterator<Item = (SocketAddr, &'b [u8])>,
) -> io::Result<usize> {
    let mut datagrams = datagrams.into_iter();
    let Some(first) = datagrams.next() else { return Ok(0) };
    let Some(second) = datagrams.next() else { return send_one(socket, first.0, first.1) };
    Sender::new(socket).send([first, second].into_iter().chain(datagrams))
}

/// One datagram: sendto(2), which is cheaper than a batch of one.
fn send_one(socket: BorrowedFd<'_>, to: SocketAddr, bytes: &[u8]) -> io::Result<usize> {
    let (address, length) = RawAddress::from_rust(to);
    loop {
        // SAFETY: pointer and length of `bytes` belong together; `address` is ours, and `length` is at most
        // its size. The kernel only reads both.
        let sent = unsafe {
            libc::sendto(
                socket.as_raw_fd(),
                bytes.as_ptr().cast(),
                bytes.len(),
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
                ptr::from_ref(&address).cast(),
                length,
            )
        };
        if sent >= 0 {
            return Ok(1);
        }
        let error = io::Error::last_os_error();
        match error.kind() {
            io::ErrorKind::Interrupted => {}
            io::ErrorKind::WouldBlock => return Ok(0),
            _ => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    fn sockets() -> (UdpSocket, UdpSocket, SocketAddr) {
        let (a, b) =
            (UdpSocket::bind("127.0.0.1:0").expect("bind"), UdpSocket::bind("127.0.0.1:0").expect("bind"));
        let to = b.local_addr().expect("bound");
        (a, b, to)
    }

    #[test]
    fn more_than_one_chunk_arrives_in_order() {
        let (a, b, to) = sockets();
        let bodies: Vec<[u8; 1]> = (0..150).map(|i| [i]).collect();
        let taken = send_batch(a.as_fd(), bodies.iter().map(|body| (to, &body[..]))).expect("send");
        assert_eq!(taken, 150);
        let mut buffer = [0; 10];
        for i in 0..150 {
            assert_eq!(b.recv_from(&mut buffer).expect("receive"), (1, a.local_addr().expect("bound")));
            assert_eq!(buffer[0], i);
        }
    }

    #[test]
    fn a_refused_datagram_does_not_hold_back_its_neighbours() {
        let (a, b, to) = sockets();
        let large = vec![0; 70_000]; // above the 65,507 bytes that UDP over IPv4 can carry
        let taken =
            send_batch(a.as_fd(), [(to, &b"1"[..]), (to, &large[..]), (to, &b"3"[..])]).expect("send");
        assert_eq!(taken, 2);
        let mut buffer = [0; 10];
        for expected in [b'1', b'3'] {
            b.recv_from(&mut buffer).expect("receive");
            assert_eq!(buffer[0], expected);
        }
        assert!(send_batch(a.as_fd(), [(to, &large[..])]).is_err());
    }

    #[test]
    fn nothing_to_send_is_no_error() {
        let (a, _, _) = sockets();
        assert_eq!(send_batch(a.as_fd(), []).expect("send"), 0);
    }
}

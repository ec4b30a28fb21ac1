//! A socket's receive buffer: socket(7).

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// Asks for a receive buffer of `bytes`; gives the size that the kernel granted.
///
/// The privileged option comes first, since the ordinary one stops at `net.core.rmem_max`.
///
/// # Errors
/// Not a socket.
pub fn set_receive_buffer(socket: BorrowedFd<'_>, bytes: usize) -> io::Result<usize> {
    let value = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    if set_int(socket, libc::SO_RCVBUFFORCE, value).is_err() {
        set_int(socket, libc::SO_RCVBUF, value)?;
    }
    receive_buffer(socket)
}

/// The socket's receive buffer in bytes. The kernel doubles what is asked for, for its own bookkeeping;
/// this gives the half that was asked for.
///
/// # Errors
/// Not a socket.
pub fn receive_buffer(socket: BorrowedFd<'_>) -> io::Result<usize> {
    let mut value: libc::c_int = 0;
    let mut length = mem::size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: `value` is an int and `length` says so; the kernel writes at most that.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUF,
            ptr::from_mut(&mut value).cast(),
            &mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(value.unsigned_abs() as usize / 2)
}

fn set_int(socket: BorrowedFd<'_>, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the option takes an int; pointer and length name one.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            ptr::from_ref(&value).cast(),
            mem::size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    #[test]
    fn a_larger_receive_buffer_is_granted_as_far_as_the_system_allows() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
        let granted = set_receive_buffer(socket.as_fd(), 64 * 1024).expect("set");
        assert_eq!(granted, 64 * 1024);
        let more = set_receive_buffer(socket.as_fd(), 4 * 1024 * 1024).expect("set");
        assert!(more >= granted);
        assert_eq!(receive_buffer(socket.as_fd()).expect("get"), more);
    }
}

//! Whole frames of one interface: packet(7).

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

/// Which frames a packet socket hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hears {
    /// None: it is for sending.
    Nothing,
    /// All, those that leave included.
    Everything,
}

/// A socket that sends and receives whole frames, link header included, on the interface of this index.
///
/// # Errors
/// The process lacks CAP_NET_RAW, or there is no such interface.
pub fn packet_socket(interface: u32, hears: Hears) -> io::Result<OwnedFd> {
    // Protocol 0 hears nothing before the socket is bound to its interface.
    // SAFETY: the call takes no pointers.
    let raw = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is fresh and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    // SAFETY: `sockaddr_ll` is integers, for which all-zero bytes are a valid value.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as libc::sa_family_t;
    address.sll_ifindex = i32::try_from(interface).map_err(|_| io::ErrorKind::InvalidInput)?;
    if hears == Hears::Everything {
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    }
    // SAFETY: pointer and length name `address`, which the kernel only reads.
    let result = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            ptr::from_ref(&address).cast(),
            mem::size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(socket) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_socket_is_bound_to_an_interface_that_is_not_there() {
        let error = packet_socket(0x7fff_fff0, Hears::Nothing).expect_err("nobody has as many interfaces");
        // Without the privilege it does not get as far as looking.
        assert!([libc::ENODEV, libc::EPERM].contains(&error.raw_os_error().unwrap_or(0)), "{error}");
    }
}

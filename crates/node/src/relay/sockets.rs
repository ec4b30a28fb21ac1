//! The four sockets of a relayed stream: RTP and RTCP towards the caller, RTP and RTCP towards the callee.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use env::{RelayEntry, RelaySide};
use media::Component;
use socket2::{Domain, Protocol, Socket, Type};

/// Two packets' worth per millisecond for a while: a burst of a few dozen packets is not lost.
const RECEIVE_BUFFER: usize = 256 * 1024;

/// One of a stream's sockets, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u8);

impl Place {
    /// All of them, in the order in which [`Sockets`] keeps them.
    pub(super) const ALL: [Place; 4] = [Place(0), Place(1), Place(2), Place(3)];

    pub(super) fn from_bits(bits: u64) -> Place {
        Place((bits & 3) as u8)
    }

    pub(super) fn bits(self) -> u64 {
        u64::from(self.0)
    }

    pub(super) fn side(self) -> RelaySide {
        if self.0 < 2 { RelaySide::Ingress } else { RelaySide::Egress }
    }

    pub(super) fn component(self) -> Component {
        if self.0 & 1 == 0 { Component::Rtp } else { Component::Rtcp }
    }

    /// The same component on the other side.
    pub(super) fn across(self) -> Place {
        Place(self.0 ^ 2)
    }
}

/// The bound sockets of one stream.
pub(super) struct Sockets {
    ingress: SocketAddr,
    egress: SocketAddr,
    fds: [OwnedFd; 4],
}

impl Sockets {
    /// Binds the four ports of an entry.
    pub(super) fn bind(entry: &RelayEntry) -> io::Result<Sockets> {
        let (ingress, egress) = (entry.ingress.local, entry.egress.local);
        let fds = [bind(ingress)?, bind(next(ingress)?)?, bind(egress)?, bind(next(egress)?)?];
        Ok(Sockets { ingress, egress, fds })
    }

    /// Whether these are the sockets that an entry needs.
    pub(super) fn serve(&self, entry: &RelayEntry) -> bool {
        (self.ingress, self.egress) == (entry.ingress.local, entry.egress.local)
    }

    /// One of them.
    pub(super) fn at(&self, place: Place) -> BorrowedFd<'_> {
        let [a, b, c, d] = &self.fds;
        match place.0 {
            0 => a.as_fd(),
            1 => b.as_fd(),
            2 => c.as_fd(),
            _ => d.as_fd(),
        }
    }
}

/// The odd port after an RTP port.
fn next(rtp: SocketAddr) -> io::Result<SocketAddr> {
    let port = rtp.port().checked_add(1).ok_or(io::ErrorKind::AddrNotAvailable)?;
    Ok(SocketAddr::new(rtp.ip(), port))
}

fn bind(at: SocketAddr) -> io::Result<OwnedFd> {
    let socket =
        Socket::new(Domain::for_address(at), Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
    if at.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A home may be bound before its address arrives (takeover).
    let freebind = if at.is_ipv6() { socket.set_freebind_v6(true) } else { socket.set_freebind_v4(true) };
    // A system without the option binds what it has.
    freebind.or_else(|error| if error.raw_os_error().is_some() { Ok(()) } else { Err(error) })?;
    syscall::set_receive_buffer(socket.as_fd(), RECEIVE_BUFFER)?;
    socket.bind(&at.into())?;
    Ok(socket.into())
}

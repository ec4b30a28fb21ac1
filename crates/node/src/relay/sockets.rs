//! The four sockets of a relayed stream: RTP and RTCP towards the caller, RTP and RTCP towards the callee.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use env::{RelayEntry, RelaySide};
use media::Component;
use socket2::{Domain, Protocol, Socket, Type};

use crate::world::bind_early;

/// Two packets' worth per millisecond for a while: a burst of a few dozen packets is not lost.
const RECEIVE_BUFFER: usize = 256 * 1024;

/// One of a stream's sockets, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u8);

impl Place {
    /// RTP towards the caller.
    pub(super) const INGRESS_RTP: Place = Place(0);
    /// RTP towards the callee.
    pub(super) const EGRESS_RTP: Place = Place(2);
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

/// The bound sockets of one stream: a pair towards each side.
pub(super) struct Sockets {
    ingress: Arc<Pair>,
    egress: Arc<Pair>,
}

/// An RTP socket and its RTCP neighbour.
struct Pair {
    local: SocketAddr,
    rtp: OwnedFd,
    rtcp: OwnedFd,
}

impl Sockets {
    /// Binds the four ports of an entry, or keeps those of `old` that serve it already.
    /// Addresses of `floating` need not be the machine's yet.
    pub(super) fn bind(
        entry: &RelayEntry,
        old: Option<&Sockets>,
        floating: &BTreeSet<IpAddr>,
    ) -> io::Result<Sockets> {
        let pair = |local: SocketAddr, old: Option<&Arc<Pair>>| match old {
            Some(old) if old.local == local => Ok(Arc::clone(old)),
            _ => Pair::bind(local, floating.contains(&local.ip())).map(Arc::new),
        };
        Ok(Sockets {
            ingress: pair(entry.ingress.local, old.map(|old| &old.ingress))?,
            egress: pair(entry.egress.local, old.map(|old| &old.egress))?,
        })
    }

    /// Whether these are the sockets that an entry needs.
    pub(super) fn serve(&self, entry: &RelayEntry) -> bool {
        (self.ingress.local, self.egress.local) == (entry.ingress.local, entry.egress.local)
    }

    /// The address that they are bound to: both sides' are the home's.
    pub(super) fn ip(&self) -> IpAddr {
        self.ingress.local.ip()
    }

    /// One of them.
    pub(super) fn at(&self, place: Place) -> BorrowedFd<'_> {
        let pair = match place.side() {
            RelaySide::Ingress => &self.ingress,
            RelaySide::Egress => &self.egress,
        };
        match place.component() {
            Component::Rtp => pair.rtp.as_fd(),
            Component::Rtcp => pair.rtcp.as_fd(),
        }
    }
}

impl Pair {
    fn bind(local: SocketAddr, early: bool) -> io::Result<Pair> {
        Ok(Pair { local, rtp: bind(local, early)?, rtcp: bind(next(local)?, early)? })
    }
}

/// The odd port after an RTP port.
fn next(rtp: SocketAddr) -> io::Result<SocketAddr> {
    let port = rtp.port().checked_add(1).ok_or(io::ErrorKind::AddrNotAvailable)?;
    Ok(SocketAddr::new(rtp.ip(), port))
}

fn bind(at: SocketAddr, early: bool) -> io::Result<OwnedFd> {
    let socket =
        Socket::new(Domain::for_address(at), Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
    if at.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if early {
        bind_early(&socket, at.ip())?;
    }
    syscall::set_receive_buffer(socket.as_fd(), RECEIVE_BUFFER)?;
    socket.bind(&at.into())?;
    Ok(socket.into())
}

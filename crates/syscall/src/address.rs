//! Socket addresses between Rust's types and the kernel's.

use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Room for an IPv4 or IPv6 address as the kernel writes it.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) union RawAddress {
    family: libc::sa_family_t,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl RawAddress {
    /// How many bytes the kernel may write.
    pub(crate) const ROOM: libc::socklen_t = mem::size_of::<RawAddress>() as libc::socklen_t;

    /// An address that names nobody.
    pub(crate) fn unspecified() -> RawAddress {
        // SAFETY: both C structures are plain numbers, for which all-zero bytes are a valid value.
        unsafe { mem::zeroed() }
    }

    /// The kernel's form of `address`, and its length.
    pub(crate) fn from_rust(address: SocketAddr) -> (RawAddress, libc::socklen_t) {
        let mut raw = RawAddress::unspecified();
        match address {
            SocketAddr::V4(v4) => {
                raw.v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                    sin_zero: [0; 8],
                };
                (raw, mem::size_of::<libc::sockaddr_in>() as libc::socklen_t)
            }
            SocketAddr::V6(v6) => {
                raw.v6 = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                    sin6_scope_id: v6.scope_id(),
                };
                (raw, mem::size_of::<libc::sockaddr_in6>() as libc::socklen_t)
            }
        }
    }

    /// Rust's form of what the kernel wrote; the unspecified address, port 0, for any other family.
    pub(crate) fn to_rust(self, length: libc::socklen_t) -> SocketAddr {
        // SAFETY: every byte of the union is initialised (`unspecified` or `from_rust` made it, and the
        // kernel only overwrites), and any bytes are a valid `sa_family_t`, `sockaddr_in` and `sockaddr_in6`.
        unsafe {
            match i32::from(self.family) {
                libc::AF_INET if length as usize >= mem::size_of::<libc::sockaddr_in>() => {
                    let ip = Ipv4Addr::from(self.v4.sin_addr.s_addr.to_ne_bytes());
                    SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(self.v4.sin_port)))
                }
                libc::AF_INET6 if length as usize >= mem::size_of::<libc::sockaddr_in6>() => {
                    let raw = self.v6;
                    let ip = Ipv6Addr::from(raw.sin6_addr.s6_addr);
                    let port = u16::from_be(raw.sin6_port);
                    SocketAddr::V6(SocketAddrV6::new(ip, port, raw.sin6_flowinfo, raw.sin6_scope_id))
                }
                _ => SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_families_survive_the_round_trip() {
        for text in ["192.0.2.1:5060", "[2001:db8::1]:5061", "127.0.0.1:65535", "[fe80::1%3]:9"] {
            let address: SocketAddr = text.parse().expect("literal");
            let (raw, length) = RawAddress::from_rust(address);
            assert_eq!(raw.to_rust(length), address);
        }
    }

    #[test]
    fn an_unknown_family_or_a_short_address_names_nobody() {
        let nobody: SocketAddr = "0.0.0.0:0".parse().expect("literal");
        assert_eq!(RawAddress::unspecified().to_rust(RawAddress::ROOM), nobody);
        let (raw, _) = RawAddress::from_rust("192.0.2.1:5060".parse().expect("literal"));
        assert_eq!(raw.to_rust(4), nobody);
    }
}

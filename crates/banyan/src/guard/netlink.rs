//! Addresses onto interfaces and off them: rtnetlink(7).

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

/// A conversation with the kernel about addresses.
pub(super) struct Netlink {
    socket: Socket,
    sequence: u32,
}

/// An interface, as frames need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    /// Its index.
    pub(super) index: u32,
    /// Its hardware address; none: it has no neighbours to tell (a tunnel).
    pub(super) hardware: Option<[u8; 6]>,
}

impl Netlink {
    /// Opens it.
    pub(super) fn open() -> io::Result<Netlink> {
        let socket =
            Socket::new(Domain::from(AF_NETLINK), Type::RAW.cloexec(), Some(Protocol::from(NETLINK_ROUTE)))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Netlink { socket, sequence: 0 })
    }

    /// Looks an interface up by name.
    pub(super) fn interface(&mut self, name: &str) -> io::Result<Interface> {
        let mut body = vec![0; LINK_HEAD];
        let mut text = name.as_bytes().to_vec();
        text.push(0);
        attribute(&mut body, IFLA_IFNAME, &text);
        let answer = self.ask(RTM_GETLINK, 0, &body)?;
        let answer = answer.ok_or(io::ErrorKind::NotFound)?;
        let index = answer.get(4..8).and_then(|it| <[u8; 4]>::try_from(it).ok()).map(u32::from_ne_bytes);
        let hardware = attributes(answer.get(LINK_HEAD..).unwrap_or_default())
            .find(|(kind, _)| *kind == IFLA_ADDRESS)
            .and_then(|(_, value)| <[u8; 6]>::try_from(value).ok())
            .filter(|hardware| *hardware != [0; 6]);
        Ok(Interface { index: index.ok_or(io::ErrorKind::InvalidData)?, hardware })
    }

    /// Puts an address onto an interface for a while; one that is there already gets that while anew.
    pub(super) fn put(&mut self, interface: Interface, address: IpAddr) -> io::Result<()> {
        let mut body = address_body(interface, address);
        let mut lifetime = Vec::with_capacity(16);
        // ifa_prefered, ifa_valid; then two stamps that the kernel fills in.
        for number in [LIFETIME_S, LIFETIME_S, 0, 0] {
            lifetime.extend_from_slice(&number.to_ne_bytes());
        }
        attribute(&mut body, IFA_CACHEINFO, &lifetime);
        self.ask(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &body).map(drop)
    }

    /// Takes an address off an interface; one that is not there counts as taken off.
    pub(super) fn take(&mut self, interface: Interface, address: IpAddr) -> io::Result<()> {
        match self.ask(RTM_DELADDR, 0, &address_body(interface, address)) {
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => Ok(()),
            result => result.map(drop),
        }
    }

    /// Sends a request; gives the body of the answer if it is more than an acknowledgement.
    fn ask(&mut self, kind: u16, flags: u16, body: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.sequence += 1;
        let length = u32::try_from(HEAD + body.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut request = length.to_ne_bytes().to_vec();
        request.extend_from_slice(&kind.to_ne_bytes());
        request.extend_from_slice(&(NLM_F_REQUEST | NLM_F_ACK | flags).to_ne_bytes());
        request.extend_from_slice(&self.sequence.to_ne_bytes());
        request.extend_from_slice(&[0; 4]);
        request.extend_from_slice(body);
        self.socket.send(&request)?;
        let (mut found, mut buffer) = (None, vec![0; 32 << 10]);
        loop {
            let length = io::Read::read(&mut &self.socket, &mut buffer)?;
            let mut rest = buffer.get(..length).unwrap_or_default();
            while let Some((kind, sequence, body, next)) = message(rest) {
                rest = next;
                if sequence != self.sequence {
                    continue;
                }
                if kind != NLMSG_ERROR {
                    found = Some(body.to_vec());
                    continue;
                }
                let code = body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                return if code == 0 { Ok(found) } else { Err(io::Error::from_raw_os_error(-code)) };
            }
        }
    }
}

/// The first message of some bytes (nlmsghdr): its kind, sequence and body, and what follows it.
fn message(bytes: &[u8]) -> Option<(u16, u32, &[u8], &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let sequence = u32::from_ne_bytes(bytes.get(8..12)?.try_into().ok()?);
    Some((kind, sequence, bytes.get(HEAD..length)?, bytes.get(aligned(length)..).unwrap_or_default()))
}

/// ifaddrmsg, and the address itself.
fn address_body(interface: Interface, address: IpAddr) -> Vec<u8> {
    let (family, bits, octets) = match address {
        IpAddr::V4(address) => (AF_INET, 32, address.octets().to_vec()),
        IpAddr::V6(address) => (AF_INET6, 128, address.octets().to_vec()),
    };
    // Whether anybody else has it is not asked: nobody may, and asking takes seconds.
    let mut body = vec![family, bits, IFA_F_NODAD, RT_SCOPE_UNIVERSE];
    body.extend_from_slice(&interface.index.to_ne_bytes());
    attribute(&mut body, IFA_LOCAL, &octets);
    attribute(&mut body, IFA_ADDRESS, &octets);
    body
}

/// Appends an attribute (rtattr).
fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(ATTRIBUTE_HEAD + value.len()).unwrap_or(u16::MAX);
    body.extend_from_slice(&length.to_ne_bytes());
    body.extend_from_slice(&kind.to_ne_bytes());
    body.extend_from_slice(value);
    body.resize(aligned(body.len()), 0);
}

/// The attributes of a body.
fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*rest.first_chunk()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?);
        let value = rest.get(ATTRIBUTE_HEAD..length)?;
        rest = rest.get(aligned(length)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

/// What the kernel keeps an address for if nobody renews it: where a guard is killed too, its addresses go by themselves.
const LIFETIME_S: u32 = 3;
const PATIENCE: Duration = Duration::from_secs(1);

const HEAD: usize = 16;
const LINK_HEAD: usize = 16;
const ATTRIBUTE_HEAD: usize = 4;
const AF_NETLINK: i32 = 16;
const NETLINK_ROUTE: i32 = 0;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_CREATE: u16 = 0x400;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_CACHEINFO: u16 = 6;
const IFA_F_NODAD: u8 = 0x02;
const RT_SCOPE_UNIVERSE: u8 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_found_by_name() {
        let mut netlink = Netlink::open().expect("the kernel talks");
        let loopback = netlink.interface("lo").expect("every machine has one");
        assert_eq!(loopback, Interface { index: 1, hardware: None });
        let missing = netlink.interface("no-such-one").expect_err("nobody has it");
        assert_eq!(missing.raw_os_error(), Some(19)); // ENODEV
    }

    #[test]
    fn a_request_has_its_attributes_aligned() {
        let interface = Interface { index: 2, hardware: None };
        let body = address_body(interface, IpAddr::from([192, 0, 2, 1]));
        let two = 2_u32.to_ne_bytes();
        assert_eq!(body.get(..8), Some(&[2, 32, 2, 0, two[0], two[1], two[2], two[3]][..]));
        let found: Vec<_> = attributes(&body[8..]).collect();
        assert_eq!(found, [(IFA_LOCAL, &[192, 0, 2, 1][..]), (IFA_ADDRESS, &[192, 0, 2, 1][..])]);
        let mut odd = Vec::new();
        attribute(&mut odd, IFLA_IFNAME, b"lo\0");
        assert_eq!((odd.len(), attributes(&odd).next()), (8, Some((IFLA_IFNAME, &b"lo\0"[..]))));
    }
}

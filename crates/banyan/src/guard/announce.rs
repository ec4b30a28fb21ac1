//! Telling the neighbours where an address is now: ARP announcements (RFC 5227 §3), unsolicited neighbour
//! advertisements (RFC 4861 §7.2.6).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV6};

use socket2::{Domain, Protocol, Socket, Type};
use syscall::{Hears, packet_socket};

use super::netlink::Interface;

/// Tells all neighbours of an interface that an address is here. An interface without a hardware address has none.
pub(super) fn announce(interface: Interface, address: IpAddr) -> io::Result<()> {
    let Some(hardware) = interface.hardware else { return Ok(()) };
    match address {
        IpAddr::V4(address) => {
            let socket = packet_socket(interface.index, Hears::Nothing)?;
            rustix::io::write(&socket, &arp(hardware, address))?;
        }
        IpAddr::V6(address) => {
            let socket = Socket::new(Domain::IPV6, Type::RAW.cloexec(), Some(Protocol::ICMPV6))?;
            socket.set_multicast_if_v6(interface.index)?;
            // Others are taken for forgeries from beyond the link (§7.1.2).
            socket.set_multicast_hops_v6(255)?;
            socket.bind(&SocketAddrV6::new(address, 0, 0, 0).into())?;
            let everybody = SocketAddrV6::new(ALL_NODES, 0, 0, interface.index);
            socket.send_to(&advertisement(hardware, address), &everybody.into())?;
        }
    }
    Ok(())
}

/// An ARP request (RFC 826) for the address by itself, to everybody.
fn arp(hardware: [u8; 6], address: Ipv4Addr) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend_from_slice(&hardware);
    // ARP over Ethernet (1) for IPv4 (0x0800), lengths 6 and 4, request (1).
    frame.extend_from_slice(&[0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
    frame.extend_from_slice(&hardware);
    frame.extend_from_slice(&address.octets());
    frame.extend_from_slice(&[0; 6]);
    frame.extend_from_slice(&address.octets());
    // Ethernet's shortest frame.
    frame.resize(60, 0);
    frame
}

/// A neighbour advertisement; the kernel fills its checksum in.
fn advertisement(hardware: [u8; 6], address: Ipv6Addr) -> Vec<u8> {
    // Type 136, code 0, checksum; override, and not solicited.
    let mut message = vec![136, 0, 0, 0, 0x20, 0, 0, 0];
    message.extend_from_slice(&address.octets());
    // Target link-layer address, one unit of eight bytes.
    message.extend_from_slice(&[2, 1]);
    message.extend_from_slice(&hardware);
    message
}

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

#[cfg(test)]
mod tests {
    use super::*;

    const HARDWARE: [u8; 6] = [2, 0, 0, 0, 0, 7];

    #[test]
    fn an_arp_announcement_names_the_address_as_sender_and_target() {
        let frame = arp(HARDWARE, Ipv4Addr::new(192, 0, 2, 9));
        assert_eq!(frame.len(), 60);
        assert_eq!(frame[..14], [255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 7, 8, 6]);
        assert_eq!(frame[14..22], [0, 1, 8, 0, 6, 4, 0, 1]);
        assert_eq!(frame[22..32], [2, 0, 0, 0, 0, 7, 192, 0, 2, 9]);
        assert_eq!(frame[32..42], [0, 0, 0, 0, 0, 0, 192, 0, 2, 9]);
    }

    #[test]
    fn an_advertisement_overrides_what_neighbours_knew() {
        let message = advertisement(HARDWARE, Ipv6Addr::LOCALHOST);
        assert_eq!((message.len(), message[0], message[4]), (32, 136, 0x20));
        assert_eq!(message[24..], [2, 1, 2, 0, 0, 0, 0, 7]);
    }
}

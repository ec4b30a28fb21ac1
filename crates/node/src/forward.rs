//! Any node takes any message: what belongs to a call of another node goes there, and what that node has to
//! say from an address of this one comes back.
//!
//! A frame is a kind, the flow and the message:
//! `kind(1) transport(1) local(19) remote(19) message`, an address being `family(1) ip(16) port(2)`.
//! What is lost on the way is repeated by the peer that wrote it, so nothing here waits or retries.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use call::{CallId, Flow, Input, InviteKey, NodeId};
use sip::{Framing, OwnedMessage};
use trunk::Transport;

use crate::actor::call::Msg;
use crate::lock;
use crate::metrics::add;
use crate::shared::Shared;
use crate::switch::Incoming;

/// A message came to the sender's address: it is for a call of the receiver's.
const CAME: u8 = 0;
/// A message is to leave from an address of the receiver's.
const LEAVES: u8 = 1;
const ADDRESS: usize = 19;
const HEAD: usize = 2 + 2 * ADDRESS;

impl Shared {
    /// Hands a message to the node that holds its call; false if no other node does.
    pub(crate) fn pass_on(&self, call: CallId, incoming: &Incoming<'_>) -> bool {
        let Some(holder) = self.cluster.holder_of(call) else { return false };
        let passed = self.cluster.forward(holder, frame(CAME, &incoming.flow, incoming.message.bytes()));
        if passed {
            add(&self.metrics.forwarded);
        }
        passed
    }

    /// Hands a copy of an INVITE, or the CANCEL of one, to the node that holds its call.
    pub(crate) fn pass_on_copy(&self, key: Option<InviteKey>, incoming: &Incoming<'_>) -> bool {
        let call = key.and_then(|key| self.cluster.call_of(&key));
        call.is_some_and(|call| self.pass_on(call, incoming))
    }

    /// A message leaves from an address of another node's home.
    pub(crate) fn send_elsewhere(&self, flow: &Flow, bytes: &Bytes) -> bool {
        // A floating home's address is its holder's; any other is that of the node by which a message came.
        let way = || lock(&self.ways).get(&flow.local).copied();
        let Some(holder) = self.cluster.holder_at(flow.local).or_else(way) else { return false };
        self.cluster.forward(holder, frame(LEAVES, flow, bytes))
    }

    /// A frame came from another node.
    pub(crate) fn forwarded(self: &Arc<Shared>, from: NodeId, bytes: &[u8]) {
        let Some((kind, flow, message)) = read(bytes) else {
            tracing::warn!(%from, "a forwarded message can't be read; do both nodes run the same release?");
            return;
        };
        let message = Bytes::copy_from_slice(message);
        match kind {
            LEAVES => self.send(flow, message),
            _ => {
                lock(&self.ways).insert(flow.local, from);
                self.take_passed(flow, message);
            }
        }
    }

    fn take_passed(self: &Arc<Shared>, flow: Flow, message: Bytes) {
        let framing = if flow.transport == Transport::Udp { Framing::Datagram } else { Framing::Stream };
        let Ok(message) = OwnedMessage::parse(message, framing) else { return };
        let view = message.view();
        let named =
            if view.is_request() { call::route::request(&view) } else { call::route::response(&view) };
        let call = named.or_else(|| {
            let key = call::route::invite_key(&self.secret, &view)?;
            self.by_key(&key).map(|(call, _)| call)
        });
        if let Some(call) = call {
            self.tell(call, Msg::input(Input::Received { message, flow }));
        }
    }
}

fn frame(kind: u8, flow: &Flow, message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD + message.len());
    let transport = match flow.transport {
        Transport::Udp => 0,
        Transport::Tcp => 1,
        Transport::Tls => 2,
    };
    out.extend([kind, transport]);
    push_address(&mut out, flow.local);
    push_address(&mut out, flow.remote);
    out.extend_from_slice(message);
    out
}

fn push_address(out: &mut Vec<u8>, at: SocketAddr) {
    let (family, ip) = match at.ip() {
        IpAddr::V4(ip) => (4, ip.to_ipv6_mapped().octets()),
        IpAddr::V6(ip) => (6, ip.octets()),
    };
    out.push(family);
    out.extend(ip);
    out.extend(at.port().to_be_bytes());
}

fn read(bytes: &[u8]) -> Option<(u8, Flow, &[u8])> {
    let (head, message) = bytes.split_at_checked(HEAD)?;
    let ([kind, transport], addresses) = head.split_first_chunk::<2>()?;
    let transport = match transport {
        0 => Transport::Udp,
        1 => Transport::Tcp,
        2 => Transport::Tls,
        _ => return None,
    };
    let (local, remote) = addresses.split_at_checked(ADDRESS)?;
    let flow = Flow { transport, local: address(local)?, remote: address(remote)?, connection: 0 };
    (*kind <= LEAVES).then_some((*kind, flow, message))
}

fn address(bytes: &[u8]) -> Option<SocketAddr> {
    let (family, rest) = bytes.split_first()?;
    let (ip, port) = rest.split_first_chunk::<16>()?;
    let v6 = Ipv6Addr::from(*ip);
    let ip = match family {
        4 => IpAddr::V4(v6.to_ipv4_mapped().unwrap_or(Ipv4Addr::UNSPECIFIED)),
        6 => IpAddr::V6(v6),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes(port.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_carries_its_flow_and_its_message() {
        for (transport, local, remote) in [
            (Transport::Udp, "192.0.2.1:5060", "198.51.100.7:65535"),
            (Transport::Tcp, "[2001:db8::1]:5060", "[2001:db8::2]:5061"),
        ] {
            let parse = |text: &str| text.parse().expect("an address");
            let flow = Flow { transport, local: parse(local), remote: parse(remote), connection: 0 };
            let bytes = frame(LEAVES, &flow, b"SIP/2.0 200 OK\r\n\r\n");
            assert_eq!(read(&bytes), Some((LEAVES, flow, &b"SIP/2.0 200 OK\r\n\r\n"[..])));
        }
    }

    #[test]
    fn a_torn_or_foreign_frame_is_nothing() {
        let at = "192.0.2.1:5060".parse().expect("an address");
        let flow = Flow { transport: Transport::Udp, local: at, remote: at, connection: 0 };
        let whole = frame(CAME, &flow, b"");
        assert!((0..whole.len()).all(|len| read(&whole[..len]).is_none()));
        for (index, value) in [(0, 2), (1, 3), (2, 5)] {
            let mut foreign = whole.clone();
            foreign[index] = value;
            assert!(read(&foreign).is_none());
        }
    }
}

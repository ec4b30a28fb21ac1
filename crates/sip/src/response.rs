//! A response to a request: what is copied, and what the top Via gains (RFC 3261 §8.2.6.2, §18.2.1,
//! RFC 3581 §4).

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

use crate::address::NameAddr;
use crate::grammar::{rest, trim};
use crate::message::after_first_value;
use crate::via::{Rport, Via};
use crate::writer::{Writer, push_number};
use crate::{Message, Name};

/// Begins the response to a request: status line, Vias in order, From, To, Call-ID, CSeq.
///
/// The top Via gets `received` where its host is not the source's address or where it asked for rport,
/// and the source's port as `rport` where it asked. To gets the tag where it has none; pass `None` for
/// a 100. The caller goes on with its own headers and ends the message.
pub fn response_to<'o>(
    out: &'o mut Vec<u8>,
    request: &Message<'_>,
    status: u16,
    reason: &[u8],
    to_tag: Option<&[u8]>,
    source: SocketAddr,
) -> Writer<'o> {
    let mut writer = Writer::response(out, status, reason);
    let mut top = request.top_via().ok();
    for line in request.lines(Name::Via) {
        let value = header_value(line);
        match top.take_if(|_| !value.is_empty()) {
            Some(via) => push_via(writer.buffer(), &via, after_first_value(value), source),
            None => _ = writer.line(line),
        }
    }
    writer.copy(request, Name::From);
    for line in request.lines(Name::To) {
        let untagged = NameAddr::parse(header_value(line)).is_some_and(|to| !to.params.has(b"tag"));
        match to_tag.filter(|_| untagged) {
            None => _ = writer.line(line),
            Some(tag) => _ = writer.line(line.trim_ascii_end()).tag(tag),
        }
    }
    writer.copy(request, Name::CallId).copy(request, Name::CSeq);
    if status == 100 {
        // §8.2.6.1: the sender measures the round trip with it.
        writer.copy(request, Name::Timestamp);
    }
    writer
}

/// What stands after the colon of a header line.
fn header_value(line: &[u8]) -> &[u8] {
    let colon = memchr::memchr(b':', line).unwrap_or(line.len());
    trim(rest(line, colon + 1))
}

impl Writer<'_> {
    /// Adds a tag to the line just written.
    fn tag(&mut self, tag: &[u8]) -> &mut Self {
        let out = self.buffer();
        out.truncate(out.len().saturating_sub(2));
        out.extend_from_slice(b";tag=");
        out.extend_from_slice(tag);
        out.extend_from_slice(b"\r\n");
        self
    }
}

/// The top Via as the server returns it. Values that the client made up for `received` and `rport` are
/// replaced; everything else stays as it stands, the Vias after it in the same line included.
fn push_via(out: &mut Vec<u8>, via: &Via<'_>, others: &[u8], source: SocketAddr) {
    let source_ip = source.ip().to_canonical();
    let asked = via.rport != Rport::Absent;
    let differs = via.host_address().map(|ip| ip.to_canonical()) != Some(source_ip);
    out.extend_from_slice(b"Via: ");
    let params = via.params.as_bytes();
    if via.received.is_none() && !asked {
        out.extend_from_slice(via.raw);
    } else {
        let head = via.raw.len().saturating_sub(params.len());
        out.extend_from_slice(via.raw.get(..head).unwrap_or_default().trim_ascii_end());
        for param in via.params.iter() {
            if param.name.eq_ignore_ascii_case(b"received") || param.name.eq_ignore_ascii_case(b"rport") {
                continue;
            }
            out.push(b';');
            out.extend_from_slice(param.name);
            if let Some(value) = param.value {
                out.push(b'=');
                out.extend_from_slice(value);
            }
        }
    }
    if asked {
        out.extend_from_slice(b";rport=");
        push_number(out, u32::from(source.port()));
    }
    if asked || differs {
        out.extend_from_slice(b";received=");
        push_ip(out, source_ip);
    }
    if !others.is_empty() {
        out.push(b',');
        out.extend_from_slice(others);
    }
    out.extend_from_slice(b"\r\n");
}

/// Pushes an address; an IPv6 address without brackets, as `received` has it (RFC 3261 §25.1).
pub fn push_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            push_number(out, u32::from(a));
            for octet in [b, c, d] {
                out.push(b'.');
                push_number(out, u32::from(octet));
            }
        }
        // Writing into a Vec cannot fail.
        IpAddr::V6(v6) => _ = write!(out, "{v6}"),
    }
}

/// Pushes `host:port`, an IPv6 address in brackets.
pub fn push_host_port(out: &mut Vec<u8>, address: SocketAddr) {
    if address.is_ipv6() {
        out.push(b'[');
    }
    push_ip(out, address.ip());
    if address.is_ipv6() {
        out.push(b']');
    }
    out.push(b':');
    push_number(out, u32::from(address.port()));
}

//! A response to a request: what is copied, and what the top Via gains (RFC 3261 §8.2.6.2, §18.2.1,
//! RFC 3581 §4).

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

use crate::address::NameAddr;
use crate::grammar::{cut, rest, trim, trim_end};
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
            Some(tag) => _ = writer.line(trim_end(line)).tag(tag),
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
        out.extend_from_slice(trim_end(cut(via.raw, 0, head)));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Framing;

    fn respond(via: &str, to: &str, status: u16, tag: Option<&[u8]>) -> String {
        let request = format!(
            "INVITE sip:b@c SIP/2.0\r\n{via}From: <sip:a@c>;tag=1\r\nt: {to}\r\ni: x\r\nTimestamp: 54\r\n\
             CSeq: 7 INVITE\r\nSubject: no\r\nl: 0\r\n\r\n"
        );
        let request = Message::parse(request.as_bytes(), Framing::Datagram).expect("well formed");
        let source = "192.0.2.1:9988".parse().expect("an address");
        let mut out = Vec::new();
        response_to(&mut out, &request, status, b"", tag, source).end();
        String::from_utf8(out).expect("text")
    }

    fn via_of(via: &str) -> String {
        let text = respond(&format!("Via: {via}\r\n"), "<sip:b@c>", 200, None);
        text.lines().nth(1).expect("a second line").to_owned()
    }

    /// RFC 3261 §8.2.6.2.
    #[test]
    fn a_response_repeats_vias_from_to_call_id_and_cseq() {
        let vias = "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1, SIP/2.0/TCP two \r\nv:SIP/2.0/TCP  three\r\n";
        assert_eq!(
            respond(vias, "<sip:b@c>", 180, Some(b"t9")),
            "SIP/2.0 180 Ringing\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1, SIP/2.0/TCP two\r\n\
             v:SIP/2.0/TCP  three\r\nFrom: <sip:a@c>;tag=1\r\nt: <sip:b@c>;tag=t9\r\ni: x\r\nCSeq: 7 INVITE\r\n\
             Content-Length: 0\r\n\r\n"
        );
    }

    /// RFC 3261 §18.2.1 (received) and RFC 3581 §4 (rport).
    #[test]
    fn the_top_via_learns_where_the_request_came_from() {
        assert_eq!(
            via_of("SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1"),
            "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1"
        );
        assert_eq!(
            via_of("SIP/2.0/UDP host:5061;branch=z9hG4bK1"),
            "Via: SIP/2.0/UDP host:5061;branch=z9hG4bK1;received=192.0.2.1"
        );
        assert_eq!(
            via_of("SIP/2.0/UDP 192.0.2.1 ; rport ; branch=z9hG4bK1;x"),
            "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1;x;rport=9988;received=192.0.2.1"
        );
        assert_eq!(
            via_of("SIP/2.0/UDP 10.0.0.1;received=6.6.6.6;rport=6;branch=z9hG4bK1"),
            "Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1;rport=9988;received=192.0.2.1"
        );
    }

    /// RFC 3261 §8.2.6.2: a tag is added where there is none; §8.2.6.1: 100 repeats Timestamp.
    #[test]
    fn to_gets_a_tag_once_and_a_100_gets_the_timestamp() {
        let via = "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n";
        assert!(respond(via, "sip:b@c;tag=old", 200, Some(b"new")).contains("t: sip:b@c;tag=old\r\n"));
        assert!(respond(via, "sip:b@c", 200, Some(b"new")).contains("t: sip:b@c;tag=new\r\n"));
        assert!(respond(via, "\"open <sip:b@c>", 400, Some(b"new")).contains("t: \"open <sip:b@c>\r\n"));
        assert!(respond(via, "sip:b@c", 100, None).contains("t: sip:b@c\r\n"));
        assert!(respond(via, "sip:b@c", 100, None).contains("Timestamp: 54\r\n"));
        assert!(!respond(via, "sip:b@c", 180, None).contains("Timestamp"));
    }

    #[test]
    fn addresses_are_written_as_via_wants_them() {
        let mut out = Vec::new();
        push_host_port(&mut out, "192.0.2.1:5060".parse().expect("an address"));
        push_host_port(&mut out, "[2001:db8::1]:5061".parse().expect("an address"));
        push_ip(&mut out, "2001:db8::2".parse().expect("an address"));
        assert_eq!(out, b"192.0.2.1:5060[2001:db8::1]:50612001:db8::2");
    }
}

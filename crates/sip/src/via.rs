//! Via: where a response goes back to (RFC 3261 §18.2.2, §20.42, RFC 3581).

use std::net::{IpAddr, SocketAddr};

use crate::grammar::{at, cut, is_host_byte, port, rest, skip_space, skip_token, skip_while, trim};
use crate::params::Params;
use crate::uri::{ip_address, is_host};

/// One Via value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Via<'a> {
    /// The whole value as it stands.
    pub raw: &'a [u8],
    /// UDP, TCP, TLS or any other token.
    pub transport: &'a [u8],
    /// The host of sent-by, an IPv6 reference with its brackets.
    pub host: &'a [u8],
    /// The port of sent-by, where it says one.
    pub port: Option<u16>,
    /// The transaction's identifier; absent in RFC 2543.
    pub branch: Option<&'a [u8]>,
    /// The source address that the next hop saw.
    pub received: Option<&'a [u8]>,
    /// RFC 3581.
    pub rport: Rport,
    /// All parameters.
    pub params: Params<'a>,
}

/// The `rport` parameter (RFC 3581 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rport {
    /// Not there.
    Absent,
    /// There without a value: the client asks for it.
    Asked,
    /// Filled in by a server.
    Port(u16),
}

impl<'a> Via<'a> {
    /// Reads one Via value; `None` where it breaks the grammar.
    pub fn parse(value: &'a [u8]) -> Option<Via<'a>> {
        let (mut via, left) = Via::parse_sent_by(value)?;
        let (mut branch, mut received, mut rport) = (None, None, Rport::Absent);
        via.params = Params::parse_each(left, |param| {
            match param.name.len() {
                6 if param.name.eq_ignore_ascii_case(b"branch") => branch = param.value,
                8 if param.name.eq_ignore_ascii_case(b"received") => received = param.value,
                5 if param.name.eq_ignore_ascii_case(b"rport") => {
                    rport = match param.value {
                        None => Rport::Asked,
                        Some(value) => Rport::Port(port(value)?),
                    };
                }
                _ => {}
            }
            Some(())
        })?;
        (via.branch, via.received, via.rport) = (branch, received, rport);
        Some(via)
    }

    /// Reads only sent-protocol and sent-by, so that a request whose parameters are broken can be
    /// answered; gives what follows them too.
    pub fn parse_sent_by(value: &'a [u8]) -> Option<(Via<'a>, &'a [u8])> {
        let raw = trim(value);
        let (transport, end) = match raw.get(..12) {
            // How nearly all write it; the rest of the grammar allows white space around each slash.
            Some(b"SIP/2.0/UDP " | b"SIP/2.0/TCP " | b"SIP/2.0/TLS ") => (cut(raw, 8, 11), 11),
            _ => sent_protocol(raw)?,
        };
        let (host, port, left) = sent_by(rest(raw, skip_space(raw, end)))?;
        let via = Via {
            raw,
            transport,
            host,
            port,
            branch: None,
            received: None,
            rport: Rport::Absent,
            params: Params::default(),
        };
        Some((via, left))
    }

    /// Whether the branch is one of RFC 3261: it begins with the magic cookie and says more (§8.1.1.7).
    pub fn has_rfc3261_branch(&self) -> bool {
        self.branch.is_some_and(|b| b.len() > MAGIC_COOKIE.len() && starts_with_cookie(b))
    }

    /// Whether the branch is the magic cookie and nothing else, which identifies nothing.
    pub fn has_empty_branch(&self) -> bool {
        self.branch.is_some_and(|b| b.len() == MAGIC_COOKIE.len() && starts_with_cookie(b))
    }

    /// The port of sent-by, or the transport's own (RFC 3261 §18.2.2).
    pub fn port_or_default(&self) -> u16 {
        self.port.unwrap_or(if self.transport.eq_ignore_ascii_case(b"TLS") { 5061 } else { 5060 })
    }

    /// The host of sent-by, if it is an address.
    pub fn host_address(&self) -> Option<IpAddr> {
        ip_address(self.host)
    }
}

/// What a branch of RFC 3261 begins with (§8.1.1.7).
pub const MAGIC_COOKIE: &[u8] = b"z9hG4bK";

fn starts_with_cookie(branch: &[u8]) -> bool {
    branch.get(..MAGIC_COOKIE.len()).is_some_and(|head| head.eq_ignore_ascii_case(MAGIC_COOKIE))
}

/// `sent-protocol = protocol-name SLASH protocol-version SLASH transport`, then white space.
fn sent_protocol(raw: &[u8]) -> Option<(&[u8], usize)> {
    let name = skip_token(raw, 0);
    let slash = skip_space(raw, name);
    let from = skip_space(raw, slash + 1);
    let version = skip_token(raw, from);
    let second = skip_space(raw, version);
    let transport = skip_space(raw, second + 1);
    let end = skip_token(raw, transport);
    let sip = cut(raw, 0, name).eq_ignore_ascii_case(b"SIP");
    let slashes = at(raw, slash) == b'/' && at(raw, second) == b'/';
    let spaced = skip_space(raw, end) > end;
    (sip && slashes && version > from && end > transport && spaced).then(|| (cut(raw, transport, end), end))
}

/// `sent-by = host [ COLON port ]`, and what follows.
fn sent_by(bytes: &[u8]) -> Option<(&[u8], Option<u16>, &[u8])> {
    let host_end = if at(bytes, 0) == b'[' {
        memchr::memchr(b']', bytes)? + 1
    } else {
        skip_while(bytes, 0, is_host_byte)
    };
    let host = cut(bytes, 0, host_end);
    if !is_host(host) {
        return None;
    }
    let colon = skip_space(bytes, host_end);
    if at(bytes, colon) != b':' {
        return Some((host, None, rest(bytes, host_end)));
    }
    let from = skip_space(bytes, colon + 1);
    let to = skip_while(bytes, from, |b| b.is_ascii_digit());
    Some((host, Some(port(cut(bytes, from, to))?), rest(bytes, to)))
}

/// Where a response goes over UDP: to the source of the request, at its source port if rport asked for
/// it, else at the port of sent-by (RFC 3261 §18.2.2, RFC 3581 §4).
///
/// `maddr` is not followed: it would let a stranger aim our answers at a third party.
pub fn response_target(via: &Via<'_>, source: SocketAddr) -> SocketAddr {
    let port = match via.rport {
        Rport::Absent => via.port_or_default(),
        Rport::Asked | Rport::Port(_) => source.port(),
    };
    SocketAddr::new(source.ip(), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn via(value: &str) -> Via<'_> {
        Via::parse(value.as_bytes()).expect("well formed")
    }

    /// RFC 3261 §20.42: white space, folds, IPv6, any transport.
    #[test]
    fn via_is_read_with_all_the_white_space_that_the_grammar_allows() {
        let plain = via("SIP/2.0/UDP pc33.atlanta.com:5066;branch=z9hG4bK776;rport");
        assert_eq!(
            (plain.transport, plain.host, plain.port),
            (&b"UDP"[..], &b"pc33.atlanta.com"[..], Some(5066))
        );
        assert_eq!((plain.branch, plain.rport), (Some(&b"z9hG4bK776"[..]), Rport::Asked));
        assert!(plain.has_rfc3261_branch() && !plain.has_empty_branch());

        let spaced = via("SIP  /   2.0\r\n /UDP\r\n    192.0.2.2 : 5070 ; branch =\r\n z9hG4bK3");
        assert_eq!(
            (spaced.transport, spaced.host, spaced.port),
            (&b"UDP"[..], &b"192.0.2.2"[..], Some(5070))
        );
        assert_eq!(spaced.branch, Some(&b"z9hG4bK3"[..]));

        let six = via("SIP/2.0/TLS [2001:db8::9:1];received=2001:db8::9:255; branch=z9hG4bKas3");
        assert_eq!((six.host, six.port), (&b"[2001:db8::9:1]"[..], None));
        assert_eq!(six.received, Some(&b"2001:db8::9:255"[..]));
        assert_eq!(six.port_or_default(), 5061);
        // RFC 5118 §4.5: received with brackets is taken too.
        let six = via("SIP/2.0/UDP [2001:db8::9:1];received=[2001:db8::9:255];branch=z9hG4bK");
        assert_eq!(six.received, Some(&b"[2001:db8::9:255]"[..]));
        assert!(six.has_empty_branch() && !six.has_rfc3261_branch());
    }

    #[test]
    fn via_that_breaks_the_grammar_is_refused() {
        for bad in [
            "",
            "SIP/2.0/UDP",
            "SIP/2.0/UDP ;branch=z9hG4bK1",
            "SIP/2.0 UDP host",
            "HTTP/2.0/UDP host",
            "SIP/2.0/UDPhost",
            "SIP/2.0/UDP host;;,;,,",
            "SIP/2.0/UDP host:0;branch=1",
            "SIP/2.0/UDP host:99999",
            "SIP/2.0/UDP [2001:db8::9:1;branch=1",
            "SIP/2.0/UDP host;rport=x",
        ] {
            assert_eq!(Via::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    /// RFC 3261 §18.2.2 and RFC 3581 §4.
    #[test]
    fn a_response_goes_to_the_source_at_the_port_that_was_asked_for() {
        let source: SocketAddr = "192.0.2.1:9988".parse().expect("an address");
        let at = |value: &str| response_target(&via(value), source).to_string();
        assert_eq!(at("SIP/2.0/UDP 10.1.1.1:4540;rport;branch=z9hG4bK1"), "192.0.2.1:9988");
        assert_eq!(at("SIP/2.0/UDP 10.1.1.1:4540;branch=z9hG4bK1"), "192.0.2.1:4540");
        assert_eq!(at("SIP/2.0/UDP 10.1.1.1;branch=z9hG4bK1"), "192.0.2.1:5060");
        assert_eq!(at("SIP/2.0/UDP 10.1.1.1;maddr=203.0.113.9;branch=z9hG4bK1"), "192.0.2.1:5060");
    }
}

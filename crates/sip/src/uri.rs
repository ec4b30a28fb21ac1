//! URIs: sip and sips (RFC 3261 §19.1), tel (RFC 3966), urn (RFC 5031) and any other scheme, unread.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use memchr::memchr;

use crate::ParseError;
use crate::grammar::{
    at, cut, is_host_byte, is_password_byte, is_uri_byte, is_user_byte, port, rest, skip_while,
};

/// The scheme of a URI, which is case-insensitive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme<'a> {
    /// `sip`.
    Sip,
    /// `sips`.
    Sips,
    /// `tel`.
    Tel,
    /// `urn`, for services such as `urn:service:sos`.
    Urn,
    /// Any other.
    Other(&'a [u8]),
}

/// The host of a SIP URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host<'a> {
    /// A name, to be resolved.
    Name(&'a [u8]),
    /// An address; the three colons that RFC 5118 §4.10 asks us to tolerate read as two.
    Address(IpAddr),
}

/// A URI, read. What is empty in the schemes that lack it is said at each field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uri<'a> {
    /// The whole URI as it stands.
    pub raw: &'a [u8],
    /// The scheme.
    pub scheme: Scheme<'a>,
    /// The user of a SIP URI, still escaped; the number of a tel URI; `None` elsewhere.
    pub user: Option<&'a [u8]>,
    /// The password of a SIP URI.
    pub password: Option<&'a [u8]>,
    /// The host of a SIP URI as it stands, an IPv6 reference with its brackets; empty elsewhere.
    pub host: &'a [u8],
    /// The port of a SIP URI.
    pub port: Option<u16>,
    /// `;name=value…` of a SIP or tel URI, from the first semicolon on.
    pub params: &'a [u8],
    /// `name=value&…` of a SIP URI, after the question mark.
    pub headers: Option<&'a [u8]>,
    /// What follows the scheme's colon.
    pub opaque: &'a [u8],
}

impl<'a> Uri<'a> {
    /// Reads a URI, without angle brackets.
    pub fn parse(bytes: &'a [u8]) -> Result<Uri<'a>, ParseError> {
        parse(bytes).ok_or(ParseError::Uri)
    }

    /// Whether this is a sip or a sips URI.
    pub fn is_sip(&self) -> bool {
        matches!(self.scheme, Scheme::Sip | Scheme::Sips)
    }

    /// The value of a URI parameter, by name in any case; empty for a flag, `None` where it is absent.
    pub fn param(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.params.split(|b| *b == b';').skip(1).find_map(|param| {
            let equal = memchr(b'=', param).unwrap_or(param.len());
            cut(param, 0, equal).eq_ignore_ascii_case(name).then(|| rest(param, equal + 1))
        })
    }

    /// The user with its escapes undone (RFC 3261 §19.1.2). `%00` becomes a NUL byte.
    pub fn user_decoded(&self) -> Option<Cow<'a, [u8]>> {
        self.user.map(decode)
    }

    /// The password with its escapes undone.
    pub fn password_decoded(&self) -> Option<Cow<'a, [u8]>> {
        self.password.map(decode)
    }

    /// The host as a name or an address; `None` where the scheme has none.
    pub fn host(&self) -> Option<Host<'a>> {
        if self.host.is_empty() {
            return None;
        }
        Some(ip_address(self.host).map_or(Host::Name(self.host), Host::Address))
    }

    /// Where it leads, if its host is written as an address.
    pub fn socket_address(&self, default_port: u16) -> Option<SocketAddr> {
        Some(SocketAddr::new(ip_address(self.host)?, self.port.unwrap_or(default_port)))
    }

    /// Host and port as they stand, `host[:port]`; empty where the scheme has none.
    pub fn host_port(&self) -> &'a [u8] {
        if self.host.is_empty() {
            return b"";
        }
        let from = self.raw.len() - self.after_user_len();
        cut(self.raw, from, self.raw.len() - self.params.len() - self.headers_len())
    }

    /// What follows `userinfo@` or the scheme.
    fn after_user_len(&self) -> usize {
        match memchr(b'@', self.opaque) {
            Some(at) if self.user.is_some() => self.opaque.len() - at - 1,
            _ => self.opaque.len(),
        }
    }

    fn headers_len(&self) -> usize {
        self.headers.map_or(0, |headers| headers.len() + 1)
    }
}

fn parse(raw: &[u8]) -> Option<Uri<'_>> {
    let colon = memchr(b':', raw)?;
    let scheme = scheme(cut(raw, 0, colon))?;
    let opaque = rest(raw, colon + 1);
    let mut uri = Uri {
        raw,
        scheme,
        user: None,
        password: None,
        host: b"",
        port: None,
        params: b"",
        headers: None,
        opaque,
    };
    match scheme {
        Scheme::Sip | Scheme::Sips => parse_sip(&mut uri)?,
        Scheme::Tel => parse_tel(&mut uri)?,
        Scheme::Urn | Scheme::Other(_) => {
            let plain = |b: &u8| b.is_ascii_graphic() && !matches!(b, b'<' | b'>' | b'"');
            if opaque.is_empty() || !opaque.iter().all(plain) {
                return None;
            }
        }
    }
    Some(uri)
}

/// `scheme = ALPHA *( ALPHA / DIGIT / "+" / "-" / "." )`
fn scheme(bytes: &[u8]) -> Option<Scheme<'_>> {
    let known = match bytes.len() {
        3 if bytes.eq_ignore_ascii_case(b"sip") => Scheme::Sip,
        4 if bytes.eq_ignore_ascii_case(b"sips") => Scheme::Sips,
        3 if bytes.eq_ignore_ascii_case(b"tel") => Scheme::Tel,
        3 if bytes.eq_ignore_ascii_case(b"urn") => Scheme::Urn,
        _ => Scheme::Other(bytes),
    };
    let inner = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
    (at(bytes, 0).is_ascii_alphabetic() && bytes.iter().all(inner)).then_some(known)
}

/// `[ userinfo ] hostport uri-parameters [ headers ]` (§19.1.1).
fn parse_sip<'a>(uri: &mut Uri<'a>) -> Option<()> {
    let opaque = uri.opaque;
    // An unescaped `@` can only end the userinfo, whose user may hold `;`, `?` and `,` (§25.1).
    let hostport = match memchr(b'@', opaque) {
        Some(at) => {
            let userinfo = cut(opaque, 0, at);
            let colon = memchr(b':', userinfo);
            let user = cut(userinfo, 0, colon.unwrap_or(at));
            let password = colon.map(|c| rest(userinfo, c + 1));
            if user.is_empty() || !escaped(user, is_user_byte) {
                return None;
            }
            if !password.is_none_or(|p| escaped(p, is_password_byte)) {
                return None;
            }
            (uri.user, uri.password) = (Some(user), password);
            rest(opaque, at + 1)
        }
        None => opaque,
    };
    let (before, headers) = match memchr(b'?', hostport) {
        Some(mark) => (cut(hostport, 0, mark), Some(rest(hostport, mark + 1))),
        None => (hostport, None),
    };
    let end = memchr(b';', before).unwrap_or(before.len());
    (uri.headers, uri.params) = (headers, rest(before, end));
    if !headers.is_none_or(|h| escaped(h, is_uri_byte)) || !valid_params(uri.params) {
        return None;
    }
    let hostport = cut(before, 0, end);
    let host_end = if at(hostport, 0) == b'[' {
        memchr(b']', hostport)? + 1
    } else {
        memchr(b':', hostport).unwrap_or(hostport.len())
    };
    uri.host = cut(hostport, 0, host_end);
    uri.port = match rest(hostport, host_end) {
        [] => None,
        [b':', digits @ ..] => Some(port(digits)?),
        _ => return None,
    };
    is_host(uri.host).then_some(())
}

/// `telephone-subscriber` (RFC 3966 §3): a global or a local number, visual separators included.
fn parse_tel<'a>(uri: &mut Uri<'a>) -> Option<()> {
    let end = memchr(b';', uri.opaque).unwrap_or(uri.opaque.len());
    let number = cut(uri.opaque, 0, end);
    uri.params = rest(uri.opaque, end);
    let digits = number.strip_prefix(b"+").unwrap_or(number);
    let digit = |b: &u8| b.is_ascii_hexdigit() || matches!(b, b'*' | b'#');
    let separator = |b: &u8| matches!(b, b'-' | b'.' | b'(' | b')');
    let valid = digits.iter().any(digit) && digits.iter().all(|b| digit(b) || separator(b));
    uri.user = Some(number);
    (valid && valid_params(uri.params)).then_some(())
}

/// `*( ";" pname [ "=" pvalue ] )`, each name at least one byte. Peers put more bytes into values than
/// the grammar has; those that end a URI elsewhere are refused, the rest is let through.
fn valid_params(params: &[u8]) -> bool {
    if params.is_empty() {
        return true;
    }
    params.split(|b| *b == b';').skip(1).all(|param| {
        let equal = memchr(b'=', param).unwrap_or(param.len());
        equal > 0 && escaped(param, is_uri_byte)
    })
}

/// `%` only before two hexadecimal digits, every other byte allowed by `allow`.
#[inline]
fn escaped(bytes: &[u8], allow: impl Fn(u8) -> bool) -> bool {
    let mut i = 0;
    loop {
        i = skip_while(bytes, i, |b| b != b'%' && allow(b));
        match rest(bytes, i) {
            [] => return true,
            [b'%', a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => i += 3,
            _ => return false,
        }
    }
}

/// A name, an IPv4 address or a bracketed IPv6 address.
pub(crate) fn is_host(bytes: &[u8]) -> bool {
    match bytes {
        [] => false,
        [b'[', ..] => ip_address(bytes).is_some(),
        _ => skip_while(bytes, 0, is_host_byte) == bytes.len(),
    }
}

/// An IPv4 address, or an IPv6 address in brackets or without.
pub fn ip_address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes {
        [b'[', inner @ .., b']'] => ipv6(inner).map(IpAddr::V6),
        [first, ..] if first.is_ascii_digit() && !bytes.contains(&b':') => parse_text(bytes).map(IpAddr::V4),
        _ => ipv6(bytes).map(IpAddr::V6),
    }
}

/// RFC 4291 §2.2, and the three colons before an embedded IPv4 address that the grammar of RFC 3261
/// makes: RFC 5118 §4.10 has us tolerate them there and nowhere else.
fn ipv6(bytes: &[u8]) -> Option<Ipv6Addr> {
    if let Some(address) = parse_text(bytes) {
        return Some(address);
    }
    let three = bytes.windows(3).position(|w| w == b":::")?;
    let (head, tail) = (cut(bytes, 0, three + 2), rest(bytes, three + 3));
    parse_text::<Ipv4Addr>(tail)?;
    let mut fixed = [0u8; 45];
    let length = head.len() + tail.len();
    fixed.get_mut(..head.len())?.copy_from_slice(head);
    fixed.get_mut(head.len()..length)?.copy_from_slice(tail);
    parse_text(cut(&fixed, 0, length))
}

/// The standard library reads addresses from text only.
fn parse_text<T: std::str::FromStr>(bytes: &[u8]) -> Option<T> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// Undoes `%HH` (RFC 3261 §19.1.2); what is no escape stays as it is.
pub fn decode(bytes: &[u8]) -> Cow<'_, [u8]> {
    if memchr(b'%', bytes).is_none() {
        return Cow::Borrowed(bytes);
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut left = bytes;
    loop {
        left = match left {
            [] => return Cow::Owned(out),
            [b'%', a, b, tail @ ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => {
                out.push(hex(*a) << 4 | hex(*b));
                tail
            }
            [byte, tail @ ..] => {
                out.push(*byte);
                tail
            }
        };
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' => digit - b'A' + 10,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri<'_> {
        Uri::parse(text.as_bytes()).expect("well formed")
    }

    /// RFC 3261 §19.1.1, §19.1.3.
    #[test]
    fn sip_uris_fall_into_their_parts() {
        let full = uri("sip:alice:secret%20w@atlanta.com:5070;transport=TCP;lr?subject=x&priority=urgent");
        assert_eq!((full.user, full.password), (Some(&b"alice"[..]), Some(&b"secret%20w"[..])));
        assert_eq!(full.password_decoded().as_deref(), Some(&b"secret w"[..]));
        assert_eq!((full.host, full.port), (&b"atlanta.com"[..], Some(5070)));
        assert_eq!(full.host_port(), b"atlanta.com:5070");
        assert_eq!(full.param(b"Transport"), Some(&b"TCP"[..]));
        assert_eq!((full.param(b"lr"), full.param(b"user")), (Some(&b""[..]), None));
        assert_eq!(full.headers, Some(&b"subject=x&priority=urgent"[..]));

        let bare = uri("SIPS:atlanta.com");
        assert_eq!((bare.scheme, bare.user, bare.port), (Scheme::Sips, None, None));
        assert_eq!(bare.host(), Some(Host::Name(b"atlanta.com")));
        assert_eq!(bare.host_port(), b"atlanta.com");
    }

    /// RFC 3261 §25.1: a user may hold what separates elsewhere (RFC 4475 §3.1.1.2, §3.1.1.9).
    #[test]
    fn a_user_may_hold_separators() {
        let odd = uri("sip:1_u~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1@example.com");
        assert_eq!(odd.user, Some(&b"1_u~(to-be!sure)&isn't+it$/crazy?,/;;*"[..]));
        assert_eq!((odd.host, odd.params, odd.headers), (&b"example.com"[..], &b""[..], None));
        let semicolon = uri("sip:user;par=u%40example.net@example.com");
        assert_eq!(semicolon.user_decoded().as_deref(), Some(&b"user;par=u@example.net"[..]));
        assert_eq!(uri("sip:12345678#49301@h").user, Some(&b"12345678#49301"[..]));
        assert_eq!(uri("sip:12345678%2349301@h").user_decoded().as_deref(), Some(&b"12345678#49301"[..]));
        assert_eq!(uri("sip:nul%00@h").user_decoded().as_deref(), Some(&b"nul\0"[..]));
    }

    /// RFC 3261 §25.1, RFC 5118 §4.
    #[test]
    fn hosts_are_names_or_addresses() {
        let address = |text: &str| match uri(text).host() {
            Some(Host::Address(ip)) => ip.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(address("sip:u@192.0.2.1:5060"), "192.0.2.1");
        assert_eq!(address("sip:[2001:db8::10]:5070"), "2001:db8::10");
        assert_eq!(uri("sip:[2001:db8::10]:5070").port, Some(5070));
        assert_eq!(
            (address("sip:[2001:db8::10:5070]"), uri("sip:[2001:db8::10:5070]").port),
            ("2001:db8::10:5070".into(), None)
        );
        assert_eq!(address("sip:[2001:db8:::192.0.2.1]"), "2001:db8::c000:201");
        assert_eq!(address("sip:[::ffff:192.0.2.1]"), "::ffff:192.0.2.1");
        assert_eq!(uri("sip:u@300.1.1.1").host(), Some(Host::Name(b"300.1.1.1")));
    }

    #[test]
    fn uris_that_break_the_grammar_are_refused() {
        for bad in [
            "",
            "sip",
            "sip:",
            ":x",
            "1sip:a",
            "sip:@h",
            "sip:u@",
            "sip:u@h:",
            "sip:u@h:0",
            "sip:u@h:65536",
            "sip:u@h:5a",
            "sip:u%4@h",
            "sip:u%zz@h",
            "sip:a b@h",
            "sip:u@h;",
            "sip:u@h;=x",
            "sip:u@h;;lr",
            "sip:u@h;a=%1",
            "sip:2001:db8::10",
            "sip:[2001:db8::10",
            "sip:[2001:db8:::10]",
            "sip:[1.2.3.4]",
            "sip:[2001:db8::10]x",
            "<sip:u@h>",
            "sip:u@h?x=<",
            "sip:a@b@c",
            "sip:\u{e9}@h",
            "tel:",
            "tel:+",
            "tel:abcxyz",
            "tel:+31 20",
            "urn:",
            "soap.beep:",
            "http://a b",
        ] {
            assert_eq!(Uri::parse(bad.as_bytes()), Err(ParseError::Uri), "{bad}");
        }
    }

    /// RFC 3966 §3, RFC 5031.
    #[test]
    fn tel_and_urn_have_a_number_and_a_service() {
        let tel = uri("tel:+1-201-555-0123;phone-context=example.com");
        assert_eq!((tel.scheme, tel.user), (Scheme::Tel, Some(&b"+1-201-555-0123"[..])));
        assert_eq!(tel.param(b"phone-context"), Some(&b"example.com"[..]));
        assert_eq!((tel.host(), tel.host_port()), (None, &b""[..]));
        let sos = uri("urn:service:sos.police");
        assert_eq!((sos.scheme, sos.opaque, sos.user), (Scheme::Urn, &b"service:sos.police"[..], None));
        assert_eq!(uri("nobodyKnows:opaque").scheme, Scheme::Other(b"nobodyKnows"));
    }
}

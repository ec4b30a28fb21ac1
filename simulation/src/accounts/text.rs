//! The few lines of SIP that registrars and registrants read and write, by searches of their own and not by the node's
//! parser.

use std::fmt::Write as _;

use crate::letter::{header, headers};

/// A field of a challenge or of its answer, without quotes.
pub fn field<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    let fields = value.strip_prefix("Digest ").unwrap_or(value).split(',');
    let found = fields.filter_map(|it| it.trim().split_once('=')).find(|(it, _)| *it == name);
    found.map(|(_, value)| value.trim_matches('"'))
}

/// An answer to a request: its Via, From, To with a tag, Call-ID and CSeq (RFC 3261 §8.2.6.2), and further lines.
pub(super) fn answer(request: &[u8], status: &str, lines: &str) -> Option<String> {
    let mut out = format!("SIP/2.0 {status}\r\n");
    for via in headers(request, "Via") {
        // Writing into a String can't fail.
        let _ = write!(out, "Via: {via}\r\n");
    }
    for name in ["From", "To", "Call-ID", "CSeq"] {
        let tag = if name == "To" { ";tag=registrar" } else { "" };
        let _ = write!(out, "{name}: {}{tag}\r\n", header(request, name)?);
    }
    let _ = write!(out, "{lines}Content-Length: 0\r\n\r\n");
    Some(out)
}

/// What answers a challenge: `response=` by RFC 7616 §3.4.1 with `qop=auth`, for MD5.
pub(super) fn response(
    (username, realm, password): (&str, &str, &str),
    (method, uri): (&str, &str),
    (nonce, nc, cnonce): (&str, &str, &str),
) -> String {
    let md5 = |parts: &[&str]| {
        let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
        String::from_utf8(auth::Algorithm::Md5.hash(&parts)).unwrap_or_default()
    };
    let (ha1, ha2) = (md5(&[username, realm, password]), md5(&[method, uri]));
    md5(&[&ha1, nonce, nc, cnonce, "auth", &ha2])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7616 §3.9.1.
    #[test]
    fn a_response_is_that_of_the_rfc() {
        let who = ("Mufasa", "http-auth@example.org", "Circle of Life");
        let once = (
            "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
            "00000001",
            "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
        );
        let said = response(who, ("GET", "/dir/index.html"), once);
        assert_eq!(said, "8ca523f5e9506fed4657c9700eebdbec");
    }

    #[test]
    fn lines_and_fields_are_found_and_a_request_is_answered() {
        let request = b"REGISTER sip:r SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=b\r\nFrom: <sip:u@r>;tag=f\r\nTo: <sip:u@r>\r\n\
            Call-ID: c\r\nCSeq: 1 REGISTER\r\nAuthorization: Digest username=\"u\", nc=00000001\r\n\r\nTo: body";
        let claim = header(request, "authorization").expect("it is there");
        assert_eq!((field(claim, "username"), field(claim, "nc")), (Some("u"), Some("00000001")));
        assert_eq!(field(claim, "realm"), None);
        assert_eq!(headers(request, "To").count(), 1, "a body has no headers");
        let said = answer(request, "200 OK", "Expires: 5\r\n").expect("it can be answered");
        assert!(said.starts_with("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a;branch=b\r\n"), "{said}");
        assert!(
            said.contains("To: <sip:u@r>;tag=registrar\r\n") && said.contains("Expires: 5\r\n"),
            "{said}"
        );
        assert_eq!(answer(b"junk", "200 OK", ""), None);
    }
}

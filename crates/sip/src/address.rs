//! Addresses in headers: `name-addr` and `addr-spec` with parameters (RFC 3261 §20.10, §25.1).
//! From, To, Contact, Route, Record-Route, P-Asserted-Identity (RFC 3325), Remote-Party-ID, Diversion
//! (RFC 5806) and Refer-To (RFC 3515) are all of this shape.

use std::borrow::Cow;

use memchr::{memchr, memchr3};

use crate::grammar::{at, cut, is_space, is_token_byte, rest, skip_quoted, skip_space, trim};
use crate::params::{Params, unquote};
use crate::{ParseError, Uri};

/// A display name, a URI and header parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameAddr<'a> {
    /// The display name as it stands, quotes included; empty where there is none.
    pub display: &'a [u8],
    /// The URI, without angle brackets.
    pub uri: &'a [u8],
    /// The parameters of the header, not of the URI.
    pub params: Params<'a>,
    /// Whether the URI stood in angle brackets.
    pub bracketed: bool,
}

impl<'a> NameAddr<'a> {
    /// Reads one value. `None` where quotes or brackets do not close, a display name is no sequence of
    /// tokens, the URI holds white space, or a URI without brackets holds `,` or `?`, which §20.10 forbids.
    pub fn parse(value: &'a [u8]) -> Option<NameAddr<'a>> {
        let value = trim(value);
        let open = match at(value, 0) {
            b'"' => skip_space(value, skip_quoted(value, 0)?),
            b'<' => 0,
            _ => match memchr(b'<', value) {
                // A bracket after a semicolon belongs to a parameter, which then is malformed.
                Some(open) if is_display(cut(value, 0, open)) => open,
                _ => return parse_bare(value),
            },
        };
        if at(value, open) != b'<' {
            return None;
        }
        let close = open + memchr(b'>', rest(value, open))?;
        let uri = cut(value, open + 1, close);
        // A fold is a CRLF and white space, so looking for the latter finds it.
        if uri.is_empty() || memchr3(b' ', b'\t', b'<', uri).is_some() {
            return None;
        }
        let params = Params::parse(rest(value, close + 1))?;
        Some(NameAddr { display: trim(cut(value, 0, open)), uri, params, bracketed: true })
    }

    /// The tag (RFC 3261 §19.3).
    pub fn tag(&self) -> Option<&'a [u8]> {
        self.params.get(b"tag").filter(|tag| !tag.is_empty())
    }

    /// The display name without quotes and escapes.
    pub fn display_text(&self) -> Cow<'a, [u8]> {
        unquote(self.display)
    }

    /// The URI, read.
    pub fn parse_uri(&self) -> Result<Uri<'a>, ParseError> {
        Uri::parse(self.uri)
    }
}

/// `*(token LWS)`. Bytes above ASCII are let through: many devices forget the quotes around UTF-8.
fn is_display(bytes: &[u8]) -> bool {
    bytes.iter().all(|b| is_token_byte(*b) || is_space(*b) || *b >= 0x80)
}

/// `addr-spec *(SEMI param)`: every parameter belongs to the header (§20.10).
fn parse_bare(value: &[u8]) -> Option<NameAddr<'_>> {
    let end = value
        .iter()
        .position(|b| is_space(*b) || matches!(b, b';' | b',' | b'?' | b'<' | b'>' | b'"'))
        .unwrap_or(value.len());
    let uri = cut(value, 0, end);
    if uri.is_empty() {
        return None;
    }
    let params = Params::parse(rest(value, end))?;
    Some(NameAddr { display: b"", uri, params, bracketed: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &str, display: &str, uri: &str, tag: Option<&str>) {
        let read = NameAddr::parse(value.as_bytes()).expect("well formed");
        assert_eq!(read.display, display.as_bytes());
        assert_eq!(read.uri, uri.as_bytes());
        assert_eq!(read.tag(), tag.map(str::as_bytes));
    }

    /// RFC 3261 §20.10, §20.20: the forms of an address.
    #[test]
    fn addresses_are_read_in_each_of_their_forms() {
        check("sip:a@b;tag=1", "", "sip:a@b", Some("1"));
        check("<sip:a@b;tag=no>;x;tag=1", "", "sip:a@b;tag=no", Some("1"));
        check("\"A. G. Bell\" <sip:a@b> ;tag=a48s", "\"A. G. Bell\"", "sip:a@b", Some("a48s"));
        check("caller<sip:c@d>;tag=323", "caller", "sip:c@d", Some("323"));
        check("t1~` t2'+_ t3*%!.- <sip:m@e>", "t1~` t2'+_ t3*%!.-", "sip:m@e", None);
        check("\"<not> \\\" it\" <sip:a@b>", "\"<not> \\\" it\"", "sip:a@b", None);
        check("\r\n sip:v@c ;   tag    = 19n", "", "sip:v@c", Some("19n"));
        check("Jürgen <tel:+31201234567>", "Jürgen", "tel:+31201234567", None);
        check("<sip:a,b?c=d@e>", "", "sip:a,b?c=d@e", None);
    }

    /// RFC 3261 §20.10 and the grammar of §25.1.
    #[test]
    fn addresses_that_break_the_grammar_are_refused() {
        for bad in [
            "",
            ";tag=1",
            "\"open <sip:a@b>",
            "\"a\" sip:a@b",
            "Bell, A <sip:a@b>",
            "\"a\" < sip:a@b >",
            "<sip:a@b",
            "<>",
            "sip:a@b?Route=x",
            "sip:a@b, sip:c@d",
            "<sip:a@b>;;",
            "<sip:a@b> x",
            "<<sip:a@b>>",
        ] {
            assert_eq!(NameAddr::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}

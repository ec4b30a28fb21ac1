//! The values of single headers, read on demand: CSeq (RFC 3261 §20.16), Session-Expires (RFC 4028),
//! RAck (RFC 3262 §7.2), Reason (RFC 3326), Retry-After (RFC 3261 §20.33) and credentials (§20.7).

use std::borrow::Cow;

use crate::grammar::{
    at, cut, is_space, is_token, number, rest, seconds, skip_quoted, skip_space, skip_token,
};
use crate::grammar::{split_value, trim};
use crate::params::{Params, unquote};
use crate::{Method, NameAddr};

/// Who refreshes a session (RFC 4028 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresher {
    /// The side that sent the request.
    Uac,
    /// The side that answered it.
    Uas,
}

/// Session-Expires (RFC 4028 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionExpires {
    /// The interval in seconds.
    pub interval: u32,
    /// The refresher, where it is settled or wished.
    pub refresher: Option<Refresher>,
}

/// RAck (RFC 3262 §7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RAck<'a> {
    /// The RSeq of the response that is acknowledged.
    pub rseq: u32,
    /// The CSeq number of the request that was answered.
    pub cseq: u32,
    /// Its method.
    pub method: Method<'a>,
}

/// One Reason value (RFC 3326).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason<'a> {
    /// `SIP`, `Q.850` or another protocol.
    pub protocol: &'a [u8],
    /// The cause within that protocol.
    pub cause: Option<u16>,
    /// The text as it stands, quotes included.
    pub text: Option<&'a [u8]>,
}

/// One Contact value, or the star that stands for all (RFC 3261 §10.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contact<'a> {
    /// `*`.
    All,
    /// An address.
    Address(NameAddr<'a>),
}

/// An Authorization or Proxy-Authorization line, or a challenge, which has the same shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials<'a> {
    /// `Digest`, or a scheme that nobody knows.
    pub scheme: &'a [u8],
    fields: &'a [u8],
}

/// `CSeq: 1*DIGIT LWS Method`; the number is below 2³¹ (§8.1.1.5).
pub(crate) fn cseq(value: &[u8]) -> Option<(u32, Method<'_>)> {
    let end = value.iter().position(|b| is_space(*b))?;
    let number = number(cut(value, 0, end)).filter(|n| *n < 1 << 31)?;
    let method = rest(value, skip_space(value, end));
    is_token(method).then(|| (number, Method::from_bytes(method)))
}

/// `delta-seconds *(SEMI param)`.
pub(crate) fn session_expires(value: &[u8]) -> Option<SessionExpires> {
    let (interval, params) = delta(value)?;
    let refresher = match params.get(b"refresher") {
        None => None,
        Some(side) if side.eq_ignore_ascii_case(b"uac") => Some(Refresher::Uac),
        Some(side) if side.eq_ignore_ascii_case(b"uas") => Some(Refresher::Uas),
        Some(_) => return None,
    };
    Some(SessionExpires { interval, refresher })
}

/// A number of seconds with parameters after it.
pub(crate) fn delta(value: &[u8]) -> Option<(u32, Params<'_>)> {
    let end = value.iter().position(|b| !b.is_ascii_digit()).unwrap_or(value.len());
    Some((seconds(cut(value, 0, end))?, Params::parse(rest(value, end))?))
}

/// `delta-seconds [ comment ] *( SEMI retry-param )`.
pub(crate) fn retry_after(value: &[u8]) -> Option<u32> {
    let end = value.iter().position(|b| !b.is_ascii_digit()).unwrap_or(value.len());
    let follows = at(value, skip_space(value, end));
    if !matches!(follows, 0 | b'(' | b';') {
        return None;
    }
    seconds(cut(value, 0, end))
}

/// `response-num LWS CSeq-num LWS Method`.
pub(crate) fn rack(value: &[u8]) -> Option<RAck<'_>> {
    let end = value.iter().position(|b| is_space(*b))?;
    let rseq = number(cut(value, 0, end))?;
    let (cseq, method) = cseq(rest(value, skip_space(value, end)))?;
    Some(RAck { rseq, cseq, method })
}

/// `protocol *(SEMI reason-params)`.
pub(crate) fn reason(value: &[u8]) -> Option<Reason<'_>> {
    let end = skip_token(value, 0);
    let protocol = cut(value, 0, end);
    let params = Params::parse(rest(value, end))?;
    let cause = match params.get(b"cause") {
        None => None,
        Some(digits) => Some(u16::try_from(number(digits)?).ok()?),
    };
    is_token(protocol).then(|| Reason { protocol, cause, text: params.get(b"text") })
}

/// `*`, or an address.
pub(crate) fn contact(value: &[u8]) -> Option<Contact<'_>> {
    if value == b"*" {
        return Some(Contact::All);
    }
    NameAddr::parse(value).map(Contact::Address)
}

/// `callid = word [ "@" word ]`. Beyond the grammar, any visible byte is let through: the identifier is
/// only ever compared and copied.
pub(crate) fn is_call_id(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().all(|b| *b > b' ' && *b != 0x7f)
}

/// `m-type SLASH m-subtype *(SEMI m-parameter)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaType<'a> {
    /// `application`, `multipart`…
    pub kind: &'a [u8],
    /// `sdp`, `mixed`…
    pub subtype: &'a [u8],
    /// Boundary, charset…
    pub params: Params<'a>,
}

/// The `handling` of a Content-Disposition (§20.11).
pub(crate) fn disposition_handling(value: &[u8]) -> Option<&[u8]> {
    let end = skip_token(value, 0);
    Params::parse(rest(value, end))?.get(b"handling")
}

impl<'a> MediaType<'a> {
    /// Reads a Content-Type, or one value of an Accept.
    pub fn parse(value: &'a [u8]) -> Option<MediaType<'a>> {
        let end = skip_token(value, 0);
        let slash = skip_space(value, end);
        let from = skip_space(value, slash + 1);
        let to = skip_token(value, from);
        let (kind, subtype) = (cut(value, 0, end), cut(value, from, to));
        if at(value, slash) != b'/' || !is_token(kind) || !is_token(subtype) {
            return None;
        }
        Some(MediaType { kind, subtype, params: Params::parse(rest(value, to))? })
    }

    /// Whether this is that type, in any case.
    pub fn is(&self, kind: &[u8], subtype: &[u8]) -> bool {
        self.kind.eq_ignore_ascii_case(kind) && self.subtype.eq_ignore_ascii_case(subtype)
    }
}

impl<'a> Credentials<'a> {
    /// Reads `scheme LWS name=value, name=value…`. Fields are looked for when asked, so an unknown
    /// scheme with a shape of its own still has a name.
    pub fn parse(value: &'a [u8]) -> Option<Credentials<'a>> {
        let value = trim(value);
        let end = skip_token(value, 0);
        let scheme = cut(value, 0, end);
        let spaced = end == value.len() || is_space(at(value, end));
        (is_token(scheme) && spaced).then(|| Credentials { scheme, fields: trim(rest(value, end)) })
    }

    /// Whether this is the Digest scheme (RFC 7616).
    pub fn is_digest(&self) -> bool {
        self.scheme.eq_ignore_ascii_case(b"Digest")
    }

    /// A field by name in any case, without quotes and escapes.
    pub fn get(&self, name: &[u8]) -> Option<Cow<'a, [u8]>> {
        self.raw(name).map(unquote)
    }

    /// A field by name in any case, as it stands.
    pub fn raw(&self, name: &[u8]) -> Option<&'a [u8]> {
        let mut left = Some(self.fields);
        while let Some(bytes) = left {
            let (field, tail) = split_value(bytes);
            let end = skip_token(field, 0);
            let equal = skip_space(field, end);
            if at(field, equal) == b'=' && cut(field, 0, end).eq_ignore_ascii_case(name) {
                let from = skip_space(field, equal + 1);
                let value = rest(field, from);
                // A quote that never closes would hide the fields after it.
                let closed = at(value, 0) != b'"' || skip_quoted(value, 0) == Some(value.len());
                return closed.then_some(value);
            }
            left = tail;
        }
        None
    }

    /// The user that claims to be calling.
    pub fn username(&self) -> Option<Cow<'a, [u8]>> {
        self.get(b"username")
    }

    /// The realm that the credentials are for.
    pub fn realm(&self) -> Option<Cow<'a, [u8]>> {
        self.get(b"realm")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3261 §20.16, §8.1.1.5.
    #[test]
    fn cseq_is_a_number_below_two_to_the_31_and_a_method() {
        assert_eq!(cseq(b"0009\r\n  INVITE"), Some((9, Method::Invite)));
        assert_eq!(cseq(b"2147483647 BYE"), Some((2_147_483_647, Method::Bye)));
        for bad in
            ["2147483648 BYE", "36893488147419103232 REGISTER", "-1 BYE", "1", "1 ", "BYE", "1 B YE", ""]
        {
            assert_eq!(cseq(bad.as_bytes()), None, "{bad}");
        }
    }

    /// RFC 4028 §4.
    #[test]
    fn session_expires_has_an_interval_and_perhaps_a_refresher() {
        let uas = Some(SessionExpires { interval: 1800, refresher: Some(Refresher::Uas) });
        assert_eq!(session_expires(b"1800 ; refresher=UAS"), uas);
        assert_eq!(session_expires(b"90"), Some(SessionExpires { interval: 90, refresher: None }));
        assert_eq!(session_expires(b"90;refresher=me"), None);
        assert_eq!(session_expires(b"soon"), None);
    }

    /// RFC 3262 §7.2; RFC 3326 §2; RFC 3261 §20.33.
    #[test]
    fn rack_reason_and_retry_after_are_read() {
        assert_eq!(rack(b"776656 1 INVITE"), Some(RAck { rseq: 776_656, cseq: 1, method: Method::Invite }));
        assert_eq!(rack(b"776656 INVITE"), None);
        let busy = reason(b"Q.850 ;cause=17 ;text=\"User busy\"").expect("well formed");
        assert_eq!((busy.protocol, busy.cause), (&b"Q.850"[..], Some(17)));
        assert_eq!(busy.text, Some(&b"\"User busy\""[..]));
        assert_eq!(reason(b"SIP;cause=x"), None);
        assert_eq!(retry_after(b"18000;duration=3600"), Some(18_000));
        assert_eq!(retry_after(b"120 (I'm in a meeting)"), Some(120));
        assert_eq!(retry_after(b"949302838503028349304023988"), Some(u32::MAX));
        assert_eq!(retry_after(b"1 2"), None);
    }

    /// RFC 3261 §20.7.
    #[test]
    fn credentials_name_the_user_and_the_realm() {
        let line = br#"Digest username="Alice \"A\", Ltd", realm = "atlanta.com", nc=00000001"#;
        let read = Credentials::parse(line).expect("well formed");
        assert!(read.is_digest());
        assert_eq!(read.username().as_deref(), Some(&b"Alice \"A\", Ltd"[..]));
        assert_eq!(read.realm().as_deref(), Some(&b"atlanta.com"[..]));
        assert_eq!(read.raw(b"NC"), Some(&b"00000001"[..]));
        assert_eq!(read.get(b"nonce"), None);
        let strange = Credentials::parse(b"NoOneKnowsThisScheme opaque-data=here").expect("well formed");
        assert!(!strange.is_digest() && strange.username().is_none());
        assert_eq!(Credentials::parse(b"Digest username=\"open").and_then(|c| c.username()), None);
    }

    /// RFC 3261 §20.15.
    #[test]
    fn media_types_compare_in_any_case() {
        let mixed = MediaType::parse(b"Multipart / Mixed;boundary=\"a b\"").expect("well formed");
        assert!(mixed.is(b"multipart", b"mixed"));
        assert_eq!(mixed.params.get(b"boundary"), Some(&b"\"a b\""[..]));
        assert_eq!(MediaType::parse(b"sdp"), None);
        assert_eq!(MediaType::parse(b"application/"), None);
    }
}

//! Parameters after a header value: `;name=value` (RFC 3261 §25.1, `generic-param`).

use std::borrow::Cow;

use crate::grammar::{
    at, cut, is_token, is_value_byte, rest, skip_quoted, skip_space, skip_token, skip_while,
};

/// The parameters of one header value, checked when the value was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Params<'a> {
    bytes: &'a [u8],
}

/// One parameter. A flag has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Param<'a> {
    /// The name as it stands.
    pub name: &'a [u8],
    /// The value as it stands, quotes included.
    pub value: Option<&'a [u8]>,
}

impl<'a> Params<'a> {
    /// Reads `*(SEMI generic-param)` to the end of the bytes; `None` where that is not what they hold.
    #[inline]
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Params<'a>> {
        Params::parse_each(bytes, |_| Some(()))
    }

    /// As [`Params::parse`], showing each parameter on the way; what `each` refuses is malformed.
    #[inline]
    pub(crate) fn parse_each(
        bytes: &'a [u8],
        mut each: impl FnMut(Param<'a>) -> Option<()>,
    ) -> Option<Params<'a>> {
        let mut left = bytes;
        while let Some((param, next)) = parse_one(left)? {
            each(param)?;
            left = next;
        }
        Some(Params { bytes })
    }

    /// The parameters, in order.
    pub fn iter(&self) -> ParamsIter<'a> {
        ParamsIter { left: self.bytes }
    }

    /// The value of a parameter, by name in any case; empty for a flag, `None` where it is absent.
    pub fn get(&self, name: &[u8]) -> Option<&'a [u8]> {
        let found = self.iter().find(|p| p.name.eq_ignore_ascii_case(name))?;
        Some(found.value.unwrap_or_default())
    }

    /// Whether the parameter is there, with a value or without.
    pub fn has(&self, name: &[u8]) -> bool {
        self.get(name).is_some()
    }

    /// The parameters as they stand, from the first semicolon on.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// The parameters of one value, in order.
#[derive(Debug, Clone)]
pub struct ParamsIter<'a> {
    left: &'a [u8],
}

impl<'a> Iterator for ParamsIter<'a> {
    type Item = Param<'a>;

    #[inline]
    fn next(&mut self) -> Option<Param<'a>> {
        let (param, left) = parse_one(self.left)??;
        self.left = left;
        Some(param)
    }
}

/// One `;name[=value]`: `None` for an error, `Some(None)` for the end.
#[inline]
#[expect(clippy::option_option, reason = "an error and the end are different answers")]
pub(crate) fn parse_one(bytes: &[u8]) -> Option<Option<(Param<'_>, &[u8])>> {
    let semicolon = skip_space(bytes, 0);
    if semicolon >= bytes.len() {
        return Some(None);
    }
    if at(bytes, semicolon) != b';' {
        return None;
    }
    let from = skip_space(bytes, semicolon + 1);
    let to = skip_token(bytes, from);
    let name = cut(bytes, from, to);
    if name.is_empty() {
        return None;
    }
    let equal = skip_space(bytes, to);
    if at(bytes, equal) != b'=' {
        return Some(Some((Param { name, value: None }, rest(bytes, equal))));
    }
    let from = skip_space(bytes, equal + 1);
    let to = if at(bytes, from) == b'"' {
        skip_quoted(bytes, from)?
    } else {
        skip_while(bytes, from, is_value_byte)
    };
    let value = cut(bytes, from, to);
    if value.is_empty() {
        return None;
    }
    Some(Some((Param { name, value: Some(value) }, rest(bytes, to))))
}

/// The text of a quoted string without its quotes and escapes; anything else as it stands
/// (RFC 3261 §25.1, `quoted-string`).
pub fn unquote(bytes: &[u8]) -> Cow<'_, [u8]> {
    let inner = match bytes {
        [b'"', inner @ .., b'"'] => inner,
        _ => return Cow::Borrowed(bytes),
    };
    if !inner.contains(&b'\\') {
        return Cow::Borrowed(inner);
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut left = inner.iter();
    while let Some(byte) = left.next() {
        match byte {
            b'\\' => out.extend(left.next()),
            other => out.push(*other),
        }
    }
    Cow::Owned(out)
}

/// Whether these bytes may stand unquoted as a parameter's value.
pub fn is_plain_value(bytes: &[u8]) -> bool {
    is_token(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3261 §7.3.1: white space may surround `;` and `=`; a fold is white space.
    #[test]
    fn parameters_are_found_in_any_case_and_through_folds() {
        let params = Params::parse(b" ; Tag \r\n = 98asjd8 ; lr;q=0.33 ; x=\"a;b,c\"").expect("well formed");
        assert_eq!(params.get(b"tag"), Some(b"98asjd8".as_slice()));
        assert_eq!(params.get(b"LR"), Some(b"".as_slice()));
        assert!(params.has(b"lr"));
        assert_eq!(params.get(b"q"), Some(b"0.33".as_slice()));
        assert_eq!(params.get(b"x"), Some(b"\"a;b,c\"".as_slice()));
        assert_eq!(params.get(b"y"), None);
        assert_eq!(params.iter().count(), 4);
    }

    #[test]
    fn empty_and_broken_parameters_are_refused() {
        for bad in [";", ";;a=b", ";a=", ";=b", ";a b", "a=b", ";a=\"open", ";a;,", ";a=b<c>"] {
            assert_eq!(Params::parse(bad.as_bytes()), None, "{bad}");
        }
        for good in ["", "  ", ";a", "; a ", ";a=b;c", ";received=2001:db8::9:255; branch=z9hG4bKas3"] {
            assert!(Params::parse(good.as_bytes()).is_some(), "{good}");
        }
    }

    /// RFC 3261 §25.1: quoted-pair.
    #[test]
    fn unquote_takes_quotes_and_escapes_away() {
        assert_eq!(unquote(br#""J \\\"""#).as_ref(), br#"J \""#);
        assert_eq!(unquote(b"\"plain\"").as_ref(), b"plain");
        assert_eq!(unquote(b"token").as_ref(), b"token");
        assert_eq!(unquote(b"\"").as_ref(), b"\"");
    }
}

//! The small pieces of the grammar (RFC 3261 §25.1): tokens, white space, quoted strings, lists, numbers.
//!
//! Every function here is total: it takes any bytes and any offsets and never panics.

use memchr::memchr;

const TOKEN: u8 = 1;
const SPACE: u8 = 2;
const VALUE: u8 = 4;
const HOST: u8 = 8;
const URI: u8 = 16;
const USER: u8 = 32;
const PASSWORD: u8 = 64;
/// What a list is split at, and what hides a comma.
const LIST: u8 = 128;

static CLASS: [u8; 256] = {
    let mut table = [0u8; 256];
    let mut i = 0;
    while i < 256 {
        let c = i as u8;
        if c.is_ascii_alphanumeric()
            || matches!(c, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~')
        {
            table[i] |= TOKEN;
        }
        if matches!(c, b' ' | b'\t' | b'\r' | b'\n') {
            table[i] |= SPACE;
        }
        if c.is_ascii_alphanumeric()
            || matches!(c, b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')')
        {
            table[i] |= USER | PASSWORD;
        }
        if c > b' ' && c != 0x7f && !matches!(c, b';' | b',' | b'"' | b'<' | b'>') {
            table[i] |= VALUE;
        }
        if matches!(c, b',' | b'"' | b'<') {
            table[i] |= LIST;
        }
        if c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.' | b'_') {
            table[i] |= HOST;
        }
        if c.is_ascii_graphic() && !matches!(c, b'<' | b'>' | b'"' | b'%') {
            table[i] |= URI;
        }
        if matches!(c, b'&' | b'=' | b'+' | b'$' | b',') {
            table[i] |= USER | PASSWORD;
        }
        if matches!(c, b';' | b'?' | b'/' | b'#') {
            table[i] |= USER;
        }
        i += 1;
    }
    table
};

/// One byte of `token`.
#[inline]
pub(crate) fn is_token_byte(byte: u8) -> bool {
    CLASS[usize::from(byte)] & TOKEN != 0
}

/// One byte of linear white space. A value keeps its folds, so CR and LF count (RFC 3261 §7.3.1).
#[inline]
pub(crate) fn is_space(byte: u8) -> bool {
    CLASS[usize::from(byte)] & SPACE != 0
}

/// One byte of an unquoted parameter value. `gen-value` is a token or a host; what peers send besides
/// (`@`, `/`, `=`, an IPv6 address without brackets, RFC 5118 §4.5) does no harm as long as it is no
/// separator of ours.
#[inline]
pub(crate) fn is_value_byte(byte: u8) -> bool {
    CLASS[usize::from(byte)] & VALUE != 0
}

/// One byte of a host name. An underscore is none, but containers are named with it.
#[inline]
pub(crate) fn is_host_byte(byte: u8) -> bool {
    CLASS[usize::from(byte)] & HOST != 0
}

/// One visible byte of a URI that neither ends it nor escapes.
#[inline]
pub(crate) fn is_uri_byte(byte: u8) -> bool {
    CLASS[usize::from(byte)] & URI != 0
}

/// One byte of `user`, and the `#` that our numbers carry unescaped (tech prefixes; a digit of RFC 3966).
#[inline]
pub(crate) fn is_user_byte(byte: u8) -> bool {
    CLASS[usize::from(byte)] & USER != 0
}

/// One byte of `password`.
#[inline]
pub(crate) fn is_password_byte(byte: u8) -> bool {
    CLASS[usize::from(byte)] & PASSWORD != 0
}

/// The first offset at or after `i` whose byte is not of this kind.
#[inline]
pub(crate) fn skip_while(bytes: &[u8], i: usize, kind: impl Fn(u8) -> bool) -> usize {
    let left = rest(bytes, i);
    i + left.iter().position(|b| !kind(*b)).unwrap_or(left.len())
}

/// A whole `token`: at least one byte, nothing else.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|b| is_token_byte(*b))
}

/// The byte at `i`, NUL beyond the end. No grammar rule wants a NUL, so that reads as "something else".
#[inline]
pub(crate) fn at(bytes: &[u8], i: usize) -> u8 {
    bytes.get(i).copied().unwrap_or(0)
}

/// `bytes[from..to]`, empty where that does not exist.
#[inline]
pub(crate) fn cut(bytes: &[u8], from: usize, to: usize) -> &[u8] {
    bytes.get(from..to).unwrap_or_default()
}

/// `bytes[from..]`, empty where that does not exist.
#[inline]
pub(crate) fn rest(bytes: &[u8], from: usize) -> &[u8] {
    bytes.get(from..).unwrap_or_default()
}

/// Without white space at both ends.
#[inline]
pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    let mut out = bytes;
    while let [first, tail @ ..] = out {
        if !is_space(*first) {
            break;
        }
        out = tail;
    }
    trim_end(out)
}

/// Without white space at the end.
#[inline]
pub(crate) fn trim_end(bytes: &[u8]) -> &[u8] {
    let mut out = bytes;
    while let [head @ .., last] = out {
        if !is_space(*last) {
            break;
        }
        out = head;
    }
    out
}

/// The first offset at or after `i` that is no white space.
#[inline]
pub(crate) fn skip_space(bytes: &[u8], i: usize) -> usize {
    skip_while(bytes, i, is_space)
}

/// The first offset at or after `i` that is no byte of a token.
#[inline]
pub(crate) fn skip_token(bytes: &[u8], i: usize) -> usize {
    skip_while(bytes, i, is_token_byte)
}

/// The offset after the quoted string that opens at `i`; `None` where it never closes.
pub(crate) fn skip_quoted(bytes: &[u8], i: usize) -> Option<usize> {
    let mut next = i + 1;
    while let Some(byte) = bytes.get(next) {
        match byte {
            b'\\' => next += 2,
            b'"' => return Some(next + 1),
            _ => next += 1,
        }
    }
    None
}

/// Digits only, as a number; `None` for anything else and for what 32 bits cannot hold.
pub(crate) fn number(bytes: &[u8]) -> Option<u32> {
    if bytes.is_empty() {
        return None;
    }
    bytes.iter().try_fold(0u32, |sum, byte| {
        let digit = byte.checked_sub(b'0').filter(|d| *d <= 9)?;
        sum.checked_mul(10)?.checked_add(u32::from(digit))
    })
}

/// Digits only, as a number of seconds; more than 32 bits can hold counts as the largest
/// (RFC 3261 §20.19 bounds the value; an absurd one still means "long").
pub(crate) fn seconds(bytes: &[u8]) -> Option<u32> {
    if bytes.is_empty() || !bytes.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(number(bytes).unwrap_or(u32::MAX))
}

/// A port: 1 to 65535, at most five digits but for leading zeros.
pub(crate) fn port(bytes: &[u8]) -> Option<u16> {
    let value = u16::try_from(number(bytes)?).ok()?;
    (value != 0).then_some(value)
}

/// The next value of a comma-separated list and what follows it; commas in quotes and in `<>` do not
/// count (RFC 3261 §7.3.1). An unclosed quote or bracket makes the rest one value.
pub(crate) fn split_value(bytes: &[u8]) -> (&[u8], Option<&[u8]>) {
    if memchr(b',', bytes).is_none() {
        return (trim(bytes), None);
    }
    let mut i = 0;
    loop {
        i = skip_while(bytes, i, |b| CLASS[usize::from(b)] & LIST == 0);
        match at(bytes, i) {
            b',' => return (trim(cut(bytes, 0, i)), Some(rest(bytes, i + 1))),
            b'"' => match skip_quoted(bytes, i) {
                Some(next) => i = next,
                None => break,
            },
            b'<' => match memchr(b'>', rest(bytes, i)) {
                Some(length) => i += length + 1,
                None => break,
            },
            _ => break,
        }
    }
    (trim(bytes), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(list: &str) -> Vec<String> {
        let mut out = Vec::new();
        let mut left = Some(list.as_bytes());
        while let Some(bytes) = left {
            let (value, next) = split_value(bytes);
            out.push(String::from_utf8_lossy(value).into_owned());
            left = next;
        }
        out
    }

    /// RFC 3261 §7.3.1, §20: commas separate values, except in quotes and in a bracketed URI.
    #[test]
    fn commas_in_quotes_and_brackets_do_not_split_a_list() {
        assert_eq!(split("a , b"), ["a", "b"]);
        assert_eq!(
            split("\"Smith, J\" <sip:j@x>;q=1, <sip:a,b@y>"),
            ["\"Smith, J\" <sip:j@x>;q=1", "<sip:a,b@y>"]
        );
        assert_eq!(split(r#""a\",b" <sip:c>,d"#), [r#""a\",b" <sip:c>"#, "d"]);
        assert_eq!(split("\"open, a"), ["\"open, a"]);
        assert_eq!(split("<open, a"), ["<open, a"]);
        assert_eq!(split("a,,b"), ["a", "", "b"]);
    }

    #[test]
    fn numbers_are_digits_within_their_range() {
        assert_eq!(number(b"0009"), Some(9));
        assert_eq!(number(b"4294967295"), Some(u32::MAX));
        assert_eq!(number(b"4294967296"), None);
        assert_eq!(number(b""), None);
        assert_eq!(number(b"+1"), None);
        assert_eq!(number(b"1 "), None);
        assert_eq!(seconds(b"99999999999999"), Some(u32::MAX));
        assert_eq!(seconds(b"-1"), None);
        assert_eq!(port(b"65535"), Some(65535));
        assert_eq!(port(b"65536"), None);
        assert_eq!(port(b"0"), None);
    }

    #[test]
    fn white_space_includes_folds() {
        assert_eq!(trim(b"\r\n  a b \t\r\n "), b"a b");
        assert_eq!(trim(b" \t "), b"");
        assert_eq!(skip_quoted(br#""a\"b"c"#, 0), Some(6));
        assert_eq!(skip_quoted(br#""a\"#, 0), None);
    }
}

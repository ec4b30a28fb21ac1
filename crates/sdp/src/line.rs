//! Lines of a session description (RFC 4566 §5): `<type>=<value>`, ended by CRLF or, as parsers should
//! tolerate, by a bare LF.

use crate::session::ParseError;

/// The longest body that is read, in bytes.
pub const BODY_MAX: usize = 16 * 1024;
/// The longest line, in bytes.
pub const LINE_MAX: usize = 2048;
/// How many lines a body may have.
pub const LINES_MAX: usize = 512;

/// One line and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// Its type letter.
    pub kind: u8,
    /// What follows the `=`, without the line's end.
    pub value: &'a [u8],
    /// The whole line with its end, as it stands in the body.
    pub raw: &'a [u8],
    /// Its number, from 1.
    pub number: u16,
}

impl<'a> Line<'a> {
    /// The attribute's name and, after a colon, its value; `None` for any other type of line.
    pub(crate) fn attribute(&self) -> Option<(&'a [u8], Option<&'a [u8]>)> {
        if self.kind != b'a' {
            return None;
        }
        match memchr::memchr(b':', self.value) {
            Some(colon) => Some((self.value.get(..colon)?, self.value.get(colon + 1..))),
            None => Some((self.value, None)),
        }
    }

    /// The line's end: CRLF, LF or nothing.
    pub(crate) fn end(&self) -> &'a [u8] {
        self.raw.get(2 + self.value.len()..).unwrap_or_default()
    }
}

/// The lines of a body, each checked for its shape.
pub(crate) struct Lines<'a> {
    rest: &'a [u8],
    number: u16,
}

impl<'a> Lines<'a> {
    pub(crate) fn of(body: &'a [u8]) -> Lines<'a> {
        Lines { rest: body, number: 0 }
    }

    fn check(&mut self) -> Option<Result<Line<'a>, ParseError>> {
        if self.rest.is_empty() {
            return None;
        }
        let end = memchr::memchr(b'\n', self.rest).map_or(self.rest.len(), |lf| lf + 1);
        let (raw, rest) = self.rest.split_at(end);
        self.number += 1;
        let number = self.number;
        let text = raw.strip_suffix(b"\n").unwrap_or(raw);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if text.is_empty() && rest.iter().all(|b| matches!(b, b'\r' | b'\n')) {
            // Empty lines at the very end are a common slip that hides nothing.
            return None;
        }
        self.rest = rest;
        if usize::from(number) > LINES_MAX {
            return Some(Err(ParseError::TooManyLines));
        }
        if raw.len() > LINE_MAX {
            return Some(Err(ParseError::LineTooLong { line: number }));
        }
        // NUL and CR may not stand in a value (byte-string, RFC 4566 §9).
        if memchr::memchr2(0, b'\r', text).is_some() {
            return Some(Err(ParseError::ForbiddenByte { line: number }));
        }
        let [kind @ b'a'..=b'z', b'=', value @ ..] = text else {
            return Some(Err(ParseError::NotALine { line: number }));
        };
        Some(Ok(Line { kind: *kind, value, raw, number }))
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Result<Line<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.check();
        if !matches!(item, Some(Ok(_))) {
            self.rest = &[];
        }
        item
    }
}

/// The words of a value. RFC 4566 separates them by one space; more are tolerated.
pub(crate) fn words(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b' ').filter(|word| !word.is_empty())
}

/// A decimal number that fits `T`; signs, spaces and overflow are refused.
pub(crate) fn number<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &[u8]) -> Result<Vec<(u8, &[u8])>, ParseError> {
        Lines::of(body).map(|line| line.map(|line| (line.kind, line.value))).collect()
    }

    #[test]
    fn lines_end_with_crlf_or_lf_or_the_body() {
        assert_eq!(read(b"v=0\r\ns=a b\nt=0 0"), Ok(vec![(b'v', &b"0"[..]), (b's', b"a b"), (b't', b"0 0")]));
    }

    #[test]
    fn empty_lines_are_tolerated_only_at_the_end() {
        assert_eq!(read(b"v=0\r\n\r\n\r\n"), Ok(vec![(b'v', &b"0"[..])]));
        assert_eq!(read(b"v=0\r\n\r\ns=-\r\n"), Err(ParseError::NotALine { line: 2 }));
    }

    #[test]
    fn what_is_no_line_is_refused() {
        for bad in [&b"v"[..], b"v 0", b"=0", b"V=0", b"v= \0", b"v=0\rs=-\r\n", b" v=0"] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn lines_are_bounded_in_length_and_number() {
        let long = |n| [&b"s="[..], &vec![b'x'; n - 4], b"\r\n"].concat();
        assert!(read(&long(LINE_MAX)).is_ok());
        assert_eq!(read(&long(LINE_MAX + 1)), Err(ParseError::LineTooLong { line: 1 }));
        assert!(read(&b"a=x\n".repeat(LINES_MAX)).is_ok());
        assert_eq!(read(&b"a=x\n".repeat(LINES_MAX + 1)), Err(ParseError::TooManyLines));
    }

    #[test]
    fn numbers_are_digits_that_fit() {
        assert_eq!(number::<u16>(b"65535"), Some(65535));
        for bad in [&b"65536"[..], b"", b"+1", b"-1", b" 1", b"1 ", b"0x1"] {
            assert_eq!(number::<u16>(bad), None, "{bad:?}");
        }
    }
}

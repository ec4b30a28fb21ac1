//! Bodies of several parts (RFC 2046 §5.1, RFC 5621): finding the session description among them.

use memchr::memmem;

use crate::fields::MediaType;
use crate::grammar::{at, cut, rest, trim};
use crate::limits::{PARTS_MAX, PARTS_NESTED_MAX};
use crate::{Message, Name};

/// One part of a multipart body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part<'a> {
    /// The part's header lines as they stand, without the empty line.
    pub head: &'a [u8],
    /// What the part says that it is; `text/plain` is meant where it says nothing.
    pub content_type: Option<MediaType<'a>>,
    /// The bytes of the part.
    pub body: &'a [u8],
}

/// The parts of a multipart body, in order. What cannot be divided has none.
#[derive(Debug, Clone)]
pub struct Parts<'a> {
    boundary: &'a [u8],
    /// Begins after a boundary; `None` at the end.
    left: Option<&'a [u8]>,
    count: usize,
}

impl<'a> Message<'a> {
    /// The session description: the body itself, or the first such part of a multipart body, parts of
    /// parts included to a small depth. `None` where there is none.
    pub fn session_description(&self) -> Option<&'a [u8]> {
        let body = self.body();
        if body.is_empty() {
            return None;
        }
        match self.get(Name::ContentType) {
            // §20.15 demands the header; who leaves it out in a request that carries a body means this.
            None => Some(body),
            Some(value) => find(&MediaType::parse(value)?, body, PARTS_NESTED_MAX),
        }
    }

    /// The parts of a multipart body.
    pub fn parts(&self) -> Parts<'a> {
        match self.get(Name::ContentType).and_then(MediaType::parse) {
            Some(content_type) => Parts::new(&content_type, self.body()),
            None => Parts::none(),
        }
    }
}

fn find<'a>(content_type: &MediaType<'a>, body: &'a [u8], depth: usize) -> Option<&'a [u8]> {
    if content_type.is(b"application", b"sdp") {
        return Some(body);
    }
    let depth = depth.checked_sub(1)?;
    Parts::new(content_type, body).find_map(|part| find(&part.content_type?, part.body, depth))
}

impl<'a> Parts<'a> {
    /// Divides a body at the boundary that its type names.
    pub fn new(content_type: &MediaType<'a>, body: &'a [u8]) -> Parts<'a> {
        let Some(boundary) = content_type.params.get(b"boundary").and_then(plain) else {
            return Parts::none();
        };
        if !content_type.kind.eq_ignore_ascii_case(b"multipart") {
            return Parts::none();
        }
        // What stands before the first boundary is for readers who know no multipart.
        let left = delimiter(body, boundary).and_then(|(_, after)| after);
        Parts { boundary, left, count: 0 }
    }

    fn none() -> Parts<'a> {
        Parts { boundary: b"", left: None, count: 0 }
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        let left = self.left.take()?;
        self.count += 1;
        if self.count > PARTS_MAX {
            return None;
        }
        let (end, after) = delimiter(left, self.boundary)?;
        self.left = after;
        Some(part(cut(left, 0, end)))
    }
}

/// Header lines, an empty line, the body. A part without headers begins with the empty line.
fn part(bytes: &[u8]) -> Part<'_> {
    if let Some(body) = bytes.strip_prefix(b"\r\n") {
        return Part { head: b"", content_type: None, body };
    }
    let end = memmem::find(bytes, b"\r\n\r\n").unwrap_or(bytes.len());
    let head = cut(bytes, 0, end);
    let is_type = |line: &&[u8]| {
        let name = cut(line, 0, memchr::memchr(b':', line).unwrap_or(0));
        Name::from_bytes(name.trim_ascii_end()) == Name::ContentType
    };
    let line = head.split(|b| *b == b'\n').find(is_type);
    let value = line.map(|line| trim(rest(line, memchr::memchr(b':', line).map_or(0, |colon| colon + 1))));
    Part { head, content_type: value.and_then(MediaType::parse), body: rest(bytes, end + 4) }
}

/// The next `CRLF "--" boundary` line: where what precedes it ends, and what follows it, if it is not the
/// last.
fn delimiter<'a>(bytes: &'a [u8], boundary: &[u8]) -> Option<(usize, Option<&'a [u8]>)> {
    let mut from = 0;
    loop {
        let found = from + memmem::find(rest(bytes, from), boundary)?;
        from = found + 1;
        let Some(line) = found.checked_sub(2) else { continue };
        let starts = line == 0 || (line >= 2 && cut(bytes, line - 2, line) == b"\r\n");
        if cut(bytes, line, found) != b"--" || !starts {
            continue;
        }
        let mut next = found + boundary.len();
        let end = line.saturating_sub(2);
        if cut(bytes, next, next + 2) == b"--" {
            return Some((end, None));
        }
        while matches!(at(bytes, next), b' ' | b'\t') {
            next += 1;
        }
        if cut(bytes, next, next + 2) == b"\r\n" {
            return Some((end, Some(rest(bytes, next + 2))));
        }
    }
}

/// A boundary without its quotes. One with escapes does not occur, since no boundary needs them.
fn plain(value: &[u8]) -> Option<&[u8]> {
    let inner = match value {
        [b'"', inner @ .., b'"'] => inner,
        other => other,
    };
    (!inner.is_empty() && inner.len() <= 70 && !inner.contains(&b'\\')).then_some(inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Framing;

    fn message(content_type: &str, body: &str) -> Vec<u8> {
        format!("INVITE sip:a@b SIP/2.0\r\n{content_type}Content-Length: {}\r\n\r\n{body}", body.len())
            .into_bytes()
    }

    #[track_caller]
    fn check(content_type: &str, body: &str, expected: Option<&str>) {
        let bytes = message(content_type, body);
        let message = Message::parse(&bytes, Framing::Datagram).expect("well formed");
        assert_eq!(message.session_description(), expected.map(str::as_bytes));
    }

    /// RFC 3261 §20.15; RFC 5621 §3.
    #[test]
    fn the_session_description_is_found_alone_and_among_parts() {
        let mixed = "Content-Type: multipart/mixed; boundary=\"e d\"\r\n";
        check("c: Application/SDP\r\n", "v=0\r\n", Some("v=0\r\n"));
        check("", "v=0\r\n", Some("v=0\r\n"));
        check("c: application/sdp\r\n", "", None);
        check("c: text/plain\r\n", "v=0\r\n", None);
        check(
            mixed,
            "preamble\r\n--e d\r\nContent-Type: text/plain\r\n\r\n--e dx\r\n--e d \r\ncontent-type : application/sdp\r\n\r\n\
             v=0\r\n\r\n--e d--\r\nepilogue",
            Some("v=0\r\n"),
        );
        check(mixed, "--e d\r\n\r\nv=0\r\n--e d--", None);
        check(mixed, "--e d\r\nc: application/sdp\r\n\r\nv=0", None);
        check("c: multipart/mixed\r\n", "--e d\r\nc: application/sdp\r\n\r\nv=0\r\n--e d--", None);
    }

    #[test]
    fn parts_of_parts_are_followed_only_so_far() {
        let nest = |levels: usize| {
            (0..levels).fold(("application/sdp".to_owned(), "v=0\r\n".to_owned()), |(kind, body), level| {
                let body = format!("--b{level}\r\nContent-Type: {kind}\r\n\r\n{body}\r\n--b{level}--\r\n");
                (format!("multipart/mixed;boundary=b{level}"), body)
            })
        };
        let (kind, body) = nest(PARTS_NESTED_MAX);
        check(&format!("c: {kind}\r\n"), &body, Some("v=0\r\n"));
        let (kind, body) = nest(PARTS_NESTED_MAX + 1);
        check(&format!("c: {kind}\r\n"), &body, None);
    }

    #[test]
    fn a_body_has_only_so_many_parts() {
        let body = "--b\r\n\r\nx\r\n".repeat(PARTS_MAX + 5) + "--b--";
        let bytes = message("c: multipart/mixed;boundary=b\r\n", &body);
        let message = Message::parse(&bytes, Framing::Datagram).expect("well formed");
        assert_eq!(message.parts().count(), PARTS_MAX);
        assert_eq!(message.parts().next().map(|p| p.body), Some(&b"x"[..]));
    }
}

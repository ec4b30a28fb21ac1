//! One pass over the bytes: start line, header lines, length of the body (RFC 3261 §7, §18.3).
//!
//! The framer and the message both stand on this pass, so they cannot disagree about a length.
//! What it finds is an [`Index`] of 16-bit offsets; nothing is copied, nothing is allocated for a
//! message of up to 48 header lines.

use memchr::memchr2;
use smallvec::SmallVec;

use crate::grammar::{at, cut, is_space, is_token, number, rest, skip_token, trim};
use crate::limits::{
    HEADER_BYTES_MAX, HEADERS_INLINE, HEADERS_MAX, MESSAGE_BYTES_MAX, NAME_BYTES_MAX, START_LINE_BYTES_MAX,
};
use crate::{Name, ParseError};

/// How the transport delimits messages (RFC 3261 §18.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// One message per datagram; Content-Length may be absent, bytes after the body are ignored.
    Datagram,
    /// Messages follow one another; Content-Length is mandatory.
    Stream,
}

/// One header line, as offsets into the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Entry {
    pub(crate) line: u16,
    pub(crate) value: u16,
    /// Where the line ends, before its CRLF.
    pub(crate) end: u16,
    pub(crate) name_len: u8,
    pub(crate) id: Name,
}

/// Where everything is in a message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Index {
    pub(crate) headers: SmallVec<[Entry; HEADERS_INLINE]>,
    /// Where the start line begins; CRLFs may stand before it.
    pub(crate) start: u16,
    /// End of the method; in a response, where the reason begins.
    pub(crate) split: u16,
    /// End of the Request-URI; in a response, of the reason.
    pub(crate) line_end: u16,
    /// The status code; 0 in a request.
    pub(crate) status: u16,
    pub(crate) body: u16,
    /// Where the message ends.
    pub(crate) end: u16,
}

/// The default of a name is the one that says nothing.
impl Default for Name {
    fn default() -> Name {
        Name::Other
    }
}

/// What [`scan`] has found: the index, and how many bytes the whole message takes.
pub(crate) struct Scanned {
    pub(crate) index: Index,
    /// Larger than the bytes at hand where a stream has not delivered the body yet.
    pub(crate) length: usize,
}

/// Reads start line and header lines. The body may be incomplete in a stream; never in a datagram.
pub(crate) fn scan(bytes: &[u8], framing: Framing) -> Result<Scanned, ParseError> {
    if framing == Framing::Datagram && bytes.len() > MESSAGE_BYTES_MAX {
        return Err(ParseError::TooLarge);
    }
    // All offsets below stay within MESSAGE_BYTES_MAX, so that 16 bits hold them.
    let bytes = bytes.get(..MESSAGE_BYTES_MAX).unwrap_or(bytes);
    let start = skip_line_ends(bytes)?;
    let mut index = start_line(bytes, start)?;
    let mut next = usize::from(index.line_end);
    next = crlf_at(bytes, next)?;
    let mut length = None;
    loop {
        if at(bytes, next) == b'\r' && at(bytes, next + 1) == b'\n' {
            next += 2;
            break;
        }
        if next >= bytes.len() {
            // RFC 3261 §7 wants an empty line. A datagram that ends here and says that it has no body
            // has lost nothing but that line, so it is taken; any other may have been cut.
            if framing == Framing::Datagram && length == Some(0) {
                break;
            }
            return Err(ParseError::Unfinished);
        }
        let (entry, after) = header_line(bytes, next, framing)?;
        if entry.id == Name::ContentLength {
            if length.is_some() {
                return Err(ParseError::ContentLengthRepeated);
            }
            length = Some(content_length(cut(bytes, entry.value.into(), entry.end.into()))?);
        }
        if index.headers.len() == HEADERS_MAX {
            return Err(ParseError::TooManyHeaders);
        }
        index.headers.push(entry);
        next = after;
    }
    finish(bytes, index, next, length, framing)
}

/// Settles where the body ends (RFC 3261 §18.3).
fn finish(
    bytes: &[u8],
    mut index: Index,
    body: usize,
    length: Option<usize>,
    framing: Framing,
) -> Result<Scanned, ParseError> {
    let end = match (framing, length) {
        (Framing::Datagram, None) => bytes.len(),
        (Framing::Datagram, Some(length)) if length > bytes.len() - body => {
            return Err(ParseError::BodyShort);
        }
        (Framing::Stream, None) => return Err(ParseError::ContentLengthMissing),
        (_, Some(length)) => body.saturating_add(length),
    };
    if end > MESSAGE_BYTES_MAX {
        return Err(ParseError::TooLarge);
    }
    index.body = offset(body);
    index.end = offset(end);
    Ok(Scanned { index, length: end })
}

/// RFC 3261 §7.5: "implementations SHOULD ignore any CRLF appearing before the start-line".
fn skip_line_ends(bytes: &[u8]) -> Result<usize, ParseError> {
    let mut start = 0;
    while at(bytes, start) == b'\r' && at(bytes, start + 1) == b'\n' {
        start += 2;
    }
    if start >= bytes.len() { Err(ParseError::Empty) } else { Ok(start) }
}

/// The request line (§7.1) or the status line (§7.2).
fn start_line(bytes: &[u8], start: usize) -> Result<Index, ParseError> {
    let end = line_end(bytes, start)?.ok_or(ParseError::Unfinished)?;
    let line = cut(bytes, start, end);
    if line.len() > START_LINE_BYTES_MAX {
        return Err(ParseError::HeaderTooLong);
    }
    let mut index = Index { start: offset(start), ..Index::default() };
    if let Some(tail) = strip_version(line) {
        // Status-Line = SIP-Version SP Status-Code SP Reason-Phrase. The reason may be empty, and
        // many leave out the space before an empty one.
        let digits = cut(tail, 1, 4);
        let status = number(digits).filter(|s| (100..=699).contains(s) && digits.len() == 3);
        let status = status.ok_or(ParseError::Status)?;
        if at(tail, 0) != b' ' || !matches!(tail.get(4), None | Some(b' ')) {
            return Err(ParseError::Status);
        }
        index.status = u16::try_from(status).unwrap_or_default();
        index.split = offset((end - tail.len() + 5).min(end));
        index.line_end = offset(end);
        return Ok(index);
    }
    let method = skip_token(line, 0);
    let last = match line.strip_suffix(b" SIP/2.0") {
        Some(head) => head.len(),
        None => memchr::memrchr(b' ', line).ok_or(ParseError::StartLine)?,
    };
    let uri = cut(line, method + 1, last);
    let version = rest(line, last + 1);
    // Exactly one space on each side of the URI, none within, none at the end (§7.1).
    if method == 0 || at(line, method) != b' ' || uri.is_empty() || memchr2(b' ', b'\t', uri).is_some() {
        return Err(ParseError::StartLine);
    }
    if !is_sip_version(version) {
        return Err(if is_version(version) { ParseError::Version } else { ParseError::StartLine });
    }
    index.split = offset(start + method);
    index.line_end = offset(start + last);
    Ok(index)
}

/// What follows `SIP/2.0` in a status line. The version is case-insensitive (§7.1).
fn strip_version(line: &[u8]) -> Option<&[u8]> {
    let (version, tail) = line.split_at_checked(7)?;
    is_sip_version(version).then_some(tail)
}

fn is_sip_version(bytes: &[u8]) -> bool {
    bytes == b"SIP/2.0" || bytes.eq_ignore_ascii_case(b"SIP/2.0")
}

/// Any `SIP/x.y`, ours or not.
pub(crate) fn is_version(bytes: &[u8]) -> bool {
    let Some((name, digits)) = bytes.split_at_checked(4) else { return false };
    let mut parts = digits.split(|b| *b == b'.');
    let number =
        |part: Option<&[u8]>| part.is_some_and(|p| !p.is_empty() && p.iter().all(u8::is_ascii_digit));
    name.eq_ignore_ascii_case(b"SIP/")
        && number(parts.next())
        && number(parts.next())
        && parts.next().is_none()
}

/// After the rest of the start line, which `start_line` has already measured.
fn crlf_at(bytes: &[u8], from: usize) -> Result<usize, ParseError> {
    let end = line_end(bytes, from)?.ok_or(ParseError::Unfinished)?;
    Ok(end + 2)
}

/// One header line with its folds, and where the next begins (§7.3.1).
fn header_line(bytes: &[u8], line: usize, framing: Framing) -> Result<(Entry, usize), ParseError> {
    let colon = skip_token(bytes, line);
    let name = cut(bytes, line, colon);
    let mut value = colon;
    while matches!(at(bytes, value), b' ' | b'\t') {
        value += 1;
    }
    if name.is_empty() || at(bytes, value) != b':' {
        return Err(if name.len() > HEADER_BYTES_MAX {
            ParseError::HeaderTooLong
        } else {
            ParseError::HeaderLine
        });
    }
    value += 1;
    let (mut end, mut after);
    let mut from = value;
    loop {
        match line_end(bytes, from)? {
            Some(found) => (end, after) = (found, found + 2),
            None if framing == Framing::Datagram => (end, after) = (bytes.len(), bytes.len()),
            None => return Err(ParseError::Unfinished),
        }
        if !matches!(at(bytes, after), b' ' | b'\t') {
            break;
        }
        from = after;
    }
    if end - line > HEADER_BYTES_MAX || name.len() > NAME_BYTES_MAX {
        return Err(ParseError::HeaderTooLong);
    }
    while value < end && is_space(at(bytes, value)) {
        value += 1;
    }
    let entry = Entry {
        line: offset(line),
        value: offset(value),
        end: offset(end),
        name_len: u8::try_from(name.len()).unwrap_or(u8::MAX),
        id: Name::from_bytes(name),
    };
    Ok((entry, after))
}

/// The offset of the CRLF that ends the line; `None` where the bytes end first.
/// A lone CR or LF is refused: two parsers that read it differently can be played against each other.
fn line_end(bytes: &[u8], from: usize) -> Result<Option<usize>, ParseError> {
    let Some(found) = memchr2(b'\r', b'\n', rest(bytes, from)) else { return Ok(None) };
    let end = from + found;
    match (at(bytes, end), bytes.get(end + 1)) {
        (b'\r', Some(b'\n')) => Ok(Some(end)),
        (b'\r', None) => Err(ParseError::Unfinished),
        _ => Err(ParseError::LineEnd),
    }
}

/// Digits and nothing else; what exceeds every limit is a length nevertheless.
fn content_length(value: &[u8]) -> Result<usize, ParseError> {
    let value = trim(value);
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(ParseError::ContentLength);
    }
    Ok(number(value).map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX)))
}

/// Offsets are at most `MESSAGE_BYTES_MAX`, which 16 bits hold.
#[inline]
pub(crate) fn offset(value: usize) -> u16 {
    debug_assert!(value <= MESSAGE_BYTES_MAX);
    value as u16
}

/// Reads what can still be read of a message that [`scan`] refused: enough to answer 400.
/// Broken lines are left out, a body is not looked for. `None` where there is no request at all.
pub(crate) fn salvage(bytes: &[u8]) -> Option<Index> {
    let bytes = bytes.get(..MESSAGE_BYTES_MAX).unwrap_or(bytes);
    let start = skip_line_ends(bytes).ok()?;
    let mut lines = Lines { bytes, next: start };
    let (from, to) = lines.next()?;
    let line = trim(cut(bytes, from, to));
    let method = skip_token(line, 0);
    let last = memchr::memrchr(b' ', line)?;
    let version = rest(line, last + 1);
    let sip = version.split_at_checked(4).is_some_and(|(name, _)| name.eq_ignore_ascii_case(b"SIP/"));
    if !is_token(cut(line, 0, method)) || at(line, method) != b' ' || last <= method || !sip {
        return None;
    }
    let mut index = Index { start: offset(from), ..Index::default() };
    index.split = offset(from + method);
    index.line_end = offset(from + last);
    for (from, to) in lines {
        if from == to || index.headers.len() == HEADERS_MAX {
            break;
        }
        if let Ok((entry, _)) = header_line(cut(bytes, 0, to), from, Framing::Datagram) {
            index.headers.push(entry);
        }
    }
    index.body = offset(bytes.len());
    index.end = index.body;
    Some(index)
}

/// Lines that end in CRLF or LF, folds joined.
struct Lines<'a> {
    bytes: &'a [u8],
    next: usize,
}

impl Iterator for Lines<'_> {
    type Item = (usize, usize);

    fn next(&mut self) -> Option<(usize, usize)> {
        if self.next >= self.bytes.len() {
            return None;
        }
        let from = self.next;
        let mut to = from;
        loop {
            let left = rest(self.bytes, to);
            to += memchr::memchr(b'\n', left).unwrap_or(left.len());
            self.next = to + 1;
            if !matches!(at(self.bytes, self.next), b' ' | b'\t') {
                break;
            }
            to = self.next;
        }
        if to > from && at(self.bytes, to - 1) == b'\r' {
            to -= 1;
        }
        Some((from, to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(head: &str) -> String {
        format!("OPTIONS sip:a@b SIP/2.0\r\n{head}\r\n")
    }

    fn error(head: &str, framing: Framing) -> Option<ParseError> {
        scan(message(head).as_bytes(), framing).err()
    }

    /// RFC 3261 §18.3: what delimits a body in each transport.
    #[test]
    fn content_length_rules_differ_between_datagrams_and_streams() {
        let bytes = b"OPTIONS sip:a@b SIP/2.0\r\nl: 3\r\n\r\nabcdef";
        let head = bytes.len() - 6;
        for framing in [Framing::Datagram, Framing::Stream] {
            assert_eq!(scan(bytes, framing).map(|s| s.length).ok(), Some(head + 3));
        }
        let bytes = b"OPTIONS sip:a@b SIP/2.0\r\nl: 7\r\n\r\nabcdef";
        assert_eq!(scan(bytes, Framing::Datagram).err(), Some(ParseError::BodyShort));
        assert_eq!(scan(bytes, Framing::Stream).map(|s| s.length).ok(), Some(head + 7));
        let bytes = b"OPTIONS sip:a@b SIP/2.0\r\nX: y\r\n\r\nabcdef";
        assert_eq!(scan(bytes, Framing::Datagram).map(|s| s.length).ok(), Some(bytes.len()));
        assert_eq!(scan(bytes, Framing::Stream).err(), Some(ParseError::ContentLengthMissing));
    }

    /// RFC 3261 §20.14; RFC 4475 §3.1.2.3, §3.3.9.
    #[test]
    fn a_length_that_is_no_plain_number_or_comes_twice_is_refused() {
        for bad in ["-1", "+1", "", "1 1", "0x1", "1,1", "١"] {
            let head = format!("Content-Length: {bad}\r\n");
            assert_eq!(error(&head, Framing::Stream), Some(ParseError::ContentLength), "{bad}");
        }
        assert_eq!(
            error("l: 0\r\nContent-Length: 0\r\n", Framing::Stream),
            Some(ParseError::ContentLengthRepeated)
        );
        assert_eq!(error("l: 4294967296\r\n", Framing::Stream), Some(ParseError::TooLarge));
        assert_eq!(error("l: 99999999999999999999999\r\n", Framing::Stream), Some(ParseError::TooLarge));
        assert_eq!(error("l: 4294967296\r\n", Framing::Datagram), Some(ParseError::BodyShort));
        assert_eq!(error("l: 000000000000\r\n", Framing::Stream), None);
        assert_eq!(error("l :\r\n 0\r\n", Framing::Stream), None);
    }

    #[test]
    fn limits_hold_at_their_edges() {
        let lines = |n: usize| "X: y\r\n".repeat(n);
        assert_eq!(error(&lines(HEADERS_MAX), Framing::Datagram), None);
        assert_eq!(error(&lines(HEADERS_MAX + 1), Framing::Datagram), Some(ParseError::TooManyHeaders));
        let line = |n: usize| format!("X: {}\r\n", "y".repeat(n - 3));
        assert_eq!(error(&line(HEADER_BYTES_MAX), Framing::Datagram), None);
        assert_eq!(error(&line(HEADER_BYTES_MAX + 1), Framing::Datagram), Some(ParseError::HeaderTooLong));
        let name = |n: usize| format!("{}: y\r\n", "X".repeat(n));
        assert_eq!(error(&name(NAME_BYTES_MAX), Framing::Datagram), None);
        assert_eq!(error(&name(NAME_BYTES_MAX + 1), Framing::Datagram), Some(ParseError::HeaderTooLong));

        let mut bytes = message("").into_bytes();
        bytes.resize(MESSAGE_BYTES_MAX, b'z');
        assert!(scan(&bytes, Framing::Datagram).is_ok());
        bytes.push(b'z');
        assert_eq!(scan(&bytes, Framing::Datagram).err(), Some(ParseError::TooLarge));
    }

    /// RFC 3261 §7.1, §7.2.
    #[test]
    fn start_lines_follow_their_grammar_to_the_byte() {
        let start = |line: &str| scan(format!("{line}\r\n\r\n").as_bytes(), Framing::Datagram).err();
        for good in ["BYE sip:a SIP/2.0", "BYE x sip/2.0", "SIP/2.0 200 OK", "SIP/2.0 699 ", "SIP/2.0 100"] {
            assert_eq!(start(good), None, "{good}");
        }
        for bad in
            ["BYE", "BYE sip:a", " BYE sip:a SIP/2.0", "BYE  SIP/2.0", "BYE\tsip:a SIP/2.0", "B(E x SIP/2.0"]
        {
            assert_eq!(start(bad), Some(ParseError::StartLine), "{bad}");
        }
        for bad in
            ["SIP/2.0 99 x", "SIP/2.0 1000 x", "SIP/2.0", "SIP/2.0 2x0 OK", "SIP/2.0  200", "SIP/2.0 200OK"]
        {
            assert_eq!(start(bad), Some(ParseError::Status), "{bad}");
        }
        assert_eq!(start("BYE sip:a SIP/2.1"), Some(ParseError::Version));
        assert_eq!(start("BYE sip:a SIP/2"), Some(ParseError::StartLine));
    }

    /// RFC 3261 §7: the empty line, and what a datagram may leave out.
    #[test]
    fn a_datagram_without_its_empty_line_must_say_that_it_has_no_body() {
        let start = "OPTIONS sip:a@b SIP/2.0\r\n";
        for (head, expected) in [
            ("l: 0\r\n", None),
            ("l: 0 ", None),
            ("l: 0", None),
            ("X: y\r\n", Some(ParseError::Unfinished)),
            ("X: y", Some(ParseError::Unfinished)),
            ("l: 5\r\n", Some(ParseError::Unfinished)),
            ("l: 0\r", Some(ParseError::Unfinished)),
        ] {
            let bytes = format!("{start}{head}");
            assert_eq!(scan(bytes.as_bytes(), Framing::Datagram).err(), expected, "{head:?}");
            assert_eq!(
                scan(bytes.as_bytes(), Framing::Stream).err(),
                Some(ParseError::Unfinished),
                "{head:?}"
            );
        }
    }
}

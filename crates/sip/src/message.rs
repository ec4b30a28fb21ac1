//! The message: a view of bytes through an index of offsets (RFC 3261 §7).
//!
//! Nothing is copied and nothing is interpreted before it is asked for. [`Message`] borrows its bytes;
//! [`OwnedMessage`] holds them, reference-counted, so that it can travel to a call's actor.

use bytes::Bytes;

use crate::grammar::{cut, rest, split_value, trim, trim_end};
use crate::scan::{Entry, Framing, Index, salvage, scan};
use crate::{Method, Name, ParseError};

/// The first line of a message (RFC 3261 §7.1, §7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartLine<'a> {
    /// A request line.
    Request {
        /// What is asked for.
        method: Method<'a>,
        /// The Request-URI as it stands.
        uri: &'a [u8],
    },
    /// A status line.
    Response {
        /// 100 to 699.
        status: u16,
        /// The reason phrase, often empty, in any language.
        reason: &'a [u8],
    },
}

/// One header line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// The name, if the node knows it.
    pub id: Name,
    /// The name as it is spelled here, perhaps compact, without white space.
    pub name: &'a [u8],
    /// The value without white space at its ends; folds within it stay.
    pub value: &'a [u8],
    /// The whole line, folds included, without the final CRLF.
    pub line: &'a [u8],
}

/// A lazy, zero-copy view of one message.
#[derive(Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    index: Held<'a>,
}

/// An index of our own, or one that an [`OwnedMessage`] keeps.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "an index on the heap would cost an allocation per message")]
enum Held<'a> {
    Own(Index),
    Lent(&'a Index),
}

impl<'a> Message<'a> {
    /// Reads start line, header lines and body length. A stream's message must be whole; bytes after it
    /// are left alone ([`Message::length`] says where it ends).
    pub fn parse(bytes: &'a [u8], framing: Framing) -> Result<Message<'a>, ParseError> {
        let scanned = scan(bytes, framing)?;
        if scanned.length > bytes.len() {
            return Err(ParseError::Unfinished);
        }
        Ok(Message { bytes, index: Held::Own(scanned.index) })
    }

    /// What is left of a request that [`Message::parse`] refused: enough to answer it with a 400.
    /// Broken lines are left out and the body is empty. `None` where there is no request line.
    pub fn salvage(bytes: &'a [u8]) -> Option<Message<'a>> {
        Some(Message { bytes, index: Held::Own(salvage(bytes)?) })
    }

    #[inline]
    fn index(&self) -> &Index {
        match &self.index {
            Held::Own(index) => index,
            Held::Lent(index) => index,
        }
    }

    #[inline]
    fn slice(&self, from: u16, to: u16) -> &'a [u8] {
        cut(self.bytes, usize::from(from), usize::from(to))
    }

    /// The first line.
    pub fn start(&self) -> StartLine<'a> {
        match self.status() {
            Some(status) => StartLine::Response { status, reason: self.reason_phrase() },
            None => StartLine::Request { method: self.line_method(), uri: self.line_uri() },
        }
    }

    /// Whether this is a request.
    #[inline]
    pub fn is_request(&self) -> bool {
        self.index().status == 0
    }

    /// The method of a request.
    pub fn method(&self) -> Option<Method<'a>> {
        self.is_request().then(|| self.line_method())
    }

    /// The Request-URI of a request, as it stands.
    pub fn uri(&self) -> Option<&'a [u8]> {
        self.is_request().then(|| self.line_uri())
    }

    /// The status code of a response.
    pub fn status(&self) -> Option<u16> {
        let status = self.index().status;
        (status != 0).then_some(status)
    }

    fn line_method(&self) -> Method<'a> {
        Method::from_bytes(self.slice(self.index().start, self.index().split))
    }

    fn line_uri(&self) -> &'a [u8] {
        trim(self.slice(self.index().split.saturating_add(1), self.index().line_end))
    }

    /// The reason phrase of a response, empty in a request.
    pub fn reason_phrase(&self) -> &'a [u8] {
        if self.is_request() { b"" } else { self.slice(self.index().split, self.index().line_end) }
    }

    /// The bytes of this message, from its start line to the end of its body.
    pub fn bytes(&self) -> &'a [u8] {
        self.slice(self.index().start, self.index().end)
    }

    /// How many bytes of the input this message takes, CRLFs before its start line included.
    pub fn length(&self) -> usize {
        usize::from(self.index().end)
    }

    /// The body; empty where there is none.
    pub fn body(&self) -> &'a [u8] {
        self.slice(self.index().body, self.index().end)
    }

    /// All header lines, in order.
    pub fn headers(&self) -> Headers<'_, 'a> {
        Headers { bytes: self.bytes, entries: self.index().headers.iter() }
    }

    /// The first value line of a header, without white space at its ends.
    #[inline]
    pub fn get(&self, name: Name) -> Option<&'a [u8]> {
        let entry = self.index().headers.iter().find(|e| e.id == name)?;
        Some(trim_end(self.slice(entry.value, entry.end)))
    }

    /// The value lines of a header, in order, each as it stands.
    pub fn all(&self, name: Name) -> All<'_, 'a> {
        All { name, headers: self.headers() }
    }

    /// The lines of a header as they stand, without their CRLF.
    pub(crate) fn lines(&self, name: Name) -> impl Iterator<Item = &'a [u8]> {
        self.index().headers.iter().filter(move |e| e.id == name).map(|e| self.slice(e.line, e.end))
    }

    /// How many lines a header has.
    pub fn count(&self, name: Name) -> usize {
        self.index().headers.iter().filter(|e| e.id == name).count()
    }

    /// The values of a list header over all its lines, split at commas (RFC 3261 §7.3.1).
    /// Not for headers whose single value may hold a comma; see [`Name::is_list`].
    pub fn values(&self, name: Name) -> Values<'_, 'a> {
        Values { lines: self.all(name), left: None }
    }

    /// The first value line of a header by any name, in any case or form.
    pub fn find(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.find_all(name).next()
    }

    /// The value lines of a header by any name, in any case or form.
    pub fn find_all<'m>(&'m self, name: &'m [u8]) -> impl Iterator<Item = &'a [u8]> + 'm {
        let id = Name::from_bytes(name);
        self.headers()
            .filter(move |h| h.id == id && (id != Name::Other || h.name.eq_ignore_ascii_case(name)))
            .map(|h| h.value)
    }

    /// Whether a list of tokens names this one, in any case (Require, Supported, Allow, Privacy…).
    pub fn has_token(&self, name: Name, token: &[u8]) -> bool {
        self.values(name).any(|value| value.eq_ignore_ascii_case(token))
    }

    /// A copy of this message that owns its bytes.
    pub fn to_owned(&self) -> OwnedMessage {
        OwnedMessage { bytes: Bytes::copy_from_slice(self.bytes), index: self.index().clone() }
    }
}

/// A message that owns its bytes and can be sent to an actor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedMessage {
    bytes: Bytes,
    index: Index,
}

impl OwnedMessage {
    /// As [`Message::parse`], keeping the bytes.
    pub fn parse(bytes: Bytes, framing: Framing) -> Result<OwnedMessage, ParseError> {
        let scanned = scan(&bytes, framing)?;
        if scanned.length > bytes.len() {
            return Err(ParseError::Unfinished);
        }
        Ok(OwnedMessage { bytes, index: scanned.index })
    }

    /// The view through which everything is read.
    #[inline]
    pub fn view(&self) -> Message<'_> {
        Message { bytes: &self.bytes, index: Held::Lent(&self.index) }
    }

    /// The bytes that were parsed.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// The header lines of a message, in order.
#[derive(Debug, Clone)]
pub struct Headers<'m, 'a> {
    bytes: &'a [u8],
    entries: std::slice::Iter<'m, Entry>,
}

impl<'a> Iterator for Headers<'_, 'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        self.entries.next().map(|entry| header(self.bytes, entry))
    }
}

fn header<'a>(bytes: &'a [u8], entry: &Entry) -> Header<'a> {
    let line = cut(bytes, entry.line.into(), entry.end.into());
    let value = cut(bytes, entry.value.into(), entry.end.into());
    Header { id: entry.id, name: cut(line, 0, entry.name_len.into()), value: trim_end(value), line }
}

/// The value lines of one header.
#[derive(Debug, Clone)]
pub struct All<'m, 'a> {
    name: Name,
    headers: Headers<'m, 'a>,
}

impl<'a> Iterator for All<'_, 'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (name, bytes) = (self.name, self.headers.bytes);
        let entry = self.headers.entries.find(|e| e.id == name)?;
        Some(trim_end(cut(bytes, entry.value.into(), entry.end.into())))
    }
}

/// The values of one list header, over all its lines. A line that is empty has none.
#[derive(Debug, Clone)]
pub struct Values<'m, 'a> {
    lines: All<'m, 'a>,
    left: Option<&'a [u8]>,
}

impl<'a> Iterator for Values<'_, 'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let bytes = match self.left.take() {
            Some(bytes) => bytes,
            None => self.lines.by_ref().find(|line| !line.is_empty())?,
        };
        let (value, left) = split_value(bytes);
        self.left = left;
        Some(value)
    }
}

/// The tail of the first line of a list header after its first value; used to rewrite that value alone.
pub(crate) fn after_first_value(line: &[u8]) -> &[u8] {
    match split_value(line) {
        (_, Some(left)) => rest(line, line.len() - left.len()),
        (_, None) => b"",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPREAD: &[u8] = b"\r\nINVITE sip:bob@example.net SIP/2.0\r\n\
        V : SIP/2.0/UDP a;branch=1 , SIP/2.0/TCP b\r\n\
        X-Tag\t:  first \r\n\
        via:\r\n SIP/2.0/TLS c\r\n\
        k:\r\n\
        Supported: timer,\r\n\t100REL , \"a,b\"\r\n\
        x-TAG: second\r\n\
        l: 2\r\n\r\nhi, and more";

    fn spread() -> Message<'static> {
        Message::parse(SPREAD, Framing::Datagram).expect("well formed")
    }

    /// RFC 3261 §7.3.1: a list may be spread over lines, in any form of its name.
    #[test]
    fn values_of_a_list_are_found_over_all_its_lines() {
        let message = spread();
        let vias: Vec<_> = message.values(Name::Via).collect();
        assert_eq!(vias, [&b"SIP/2.0/UDP a;branch=1"[..], b"SIP/2.0/TCP b", b"SIP/2.0/TLS c"]);
        assert_eq!(message.get(Name::Via), Some(&b"SIP/2.0/UDP a;branch=1 , SIP/2.0/TCP b"[..]));
        assert_eq!(message.count(Name::Via), 2);
        assert!(message.has_token(Name::Supported, b"100rel"));
        assert!(!message.has_token(Name::Supported, b"100"));
        assert_eq!(message.values(Name::Supported).count(), 3);
        assert_eq!(message.values(Name::Require).count(), 0);
    }

    /// RFC 3261 §7.3.1: names are case-insensitive and white space may stand before the colon.
    #[test]
    fn unknown_headers_are_found_in_any_case_and_kept_as_they_stand() {
        let message = spread();
        assert_eq!(message.find(b"X-Tag"), Some(&b"first"[..]));
        assert_eq!(message.find_all(b"x-tag").collect::<Vec<_>>(), [&b"first"[..], b"second"]);
        assert_eq!(message.find(b"VIA"), message.get(Name::Via));
        assert_eq!(message.find(b"X-Tags"), None);
        let lines: Vec<_> = message.headers().map(|h| h.line).collect();
        assert_eq!(lines.get(1), Some(&&b"X-Tag\t:  first "[..]));
        assert_eq!(lines.get(2), Some(&&b"via:\r\n SIP/2.0/TLS c"[..]));
        assert_eq!(message.headers().map(|h| h.name).nth(5), Some(&b"x-TAG"[..]));
    }

    #[test]
    fn start_line_body_and_length_are_those_of_the_bytes() {
        let message = spread();
        let uri = &b"sip:bob@example.net"[..];
        assert_eq!(message.start(), StartLine::Request { method: Method::Invite, uri });
        assert_eq!(message.body(), b"hi");
        assert_eq!(message.length(), SPREAD.len() - ", and more".len());
        assert_eq!(message.bytes(), &SPREAD[2..message.length()]);

        let bytes = b"SIP/2.0 404 Not  here \r\nl:0\r\n\r\n";
        let message = Message::parse(bytes, Framing::Stream).expect("well formed");
        assert_eq!(message.start(), StartLine::Response { status: 404, reason: b"Not  here " });
        assert_eq!((message.method(), message.uri(), message.is_request()), (None, None, false));
    }

    #[test]
    fn an_owned_message_is_small_and_shows_the_same_view() {
        assert!(size_of::<OwnedMessage>() <= 600, "{}", size_of::<OwnedMessage>());
        let bytes = Bytes::from_static(SPREAD);
        let owned = OwnedMessage::parse(bytes.clone(), Framing::Datagram).expect("well formed");
        assert_eq!(owned.bytes().as_ptr(), bytes.as_ptr(), "the bytes are shared, not copied");
        assert_eq!(owned, spread().to_owned());
        assert_eq!(owned.view().find(b"x-tag"), spread().find(b"x-tag"));
    }

    /// What a 400 needs survives a broken line, a broken length and a broken end.
    #[test]
    fn a_broken_request_is_salvaged_for_its_answer() {
        let bytes =
            b"BYE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h\r\nnonsense\r\nCall-ID: 1\r\n two\r\nl: -1\r\n\r\nx";
        assert_eq!(Message::parse(bytes, Framing::Datagram).err(), Some(ParseError::HeaderLine));
        let message = Message::salvage(bytes).expect("there is a request line");
        assert_eq!(message.method(), Some(Method::Bye));
        assert_eq!(message.get(Name::Via), Some(&b"SIP/2.0/UDP h"[..]));
        assert_eq!(message.get(Name::CallId), Some(&b"1\r\n two"[..]));
        assert_eq!(message.body(), b"");
        for none in [
            &b""[..],
            b"\r\n\r\n",
            b"SIP/2.0 200 OK\r\n\r\n",
            b"BYE sip:a@b\r\nVia: x\r\n\r\n",
            b"\0\x01 \0 SIP/",
        ] {
            assert!(Message::salvage(none).is_none());
        }
    }
}

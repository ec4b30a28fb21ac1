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

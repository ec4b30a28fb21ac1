//! Cutting a stream into messages (RFC 3261 §18.3, §20.14) and keep-alives (RFC 5626 §3.5.1).
//!
//! The framer looks only for the end of the header section; the length is what the message's own pass
//! says, so the two cannot disagree. After an error nothing in the stream can be trusted: close it.

use bytes::{Bytes, BytesMut};
use memchr::memmem;

use crate::ParseError;
use crate::limits::MESSAGE_BYTES_MAX;
use crate::scan::{Framing, scan};

/// What a stream delivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// One whole message.
    Message(Bytes),
    /// A double CRLF between messages: answer with one CRLF.
    Ping,
}

/// Why the stream must be closed, and the bytes that a 400 can be made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameError {
    /// What is wrong.
    pub error: ParseError,
    /// The header section as it came, for [`Message::salvage`](crate::Message::salvage).
    pub head: Bytes,
}

/// The receive side of one stream. It holds at most one unfinished message and what was pushed with it.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: BytesMut,
    /// How far the end of the header section has been looked for.
    searched: usize,
    /// The whole length of the message at the front, once its header section is there.
    length: Option<usize>,
    failed: bool,
}

impl Framer {
    /// A framer at the start of a stream.
    pub fn new() -> Framer {
        Framer::default()
    }

    /// Takes bytes from the stream. Call [`Framer::next`] until it gives `None` before pushing more.
    pub fn push(&mut self, bytes: &[u8]) {
        if !self.failed {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// How many bytes wait for the rest of their message.
    pub fn pending(&self) -> usize {
        self.buffer.len()
    }

    /// The next frame; `None` until more bytes come, and for ever after an error.
    #[expect(
        clippy::should_implement_trait,
        reason = "more may follow a None, which iterators do not promise"
    )]
    pub fn next(&mut self) -> Option<Result<Frame, FrameError>> {
        if self.failed {
            return None;
        }
        if let Some(ping) = self.skip_line_ends() {
            return Some(Ok(ping));
        }
        let length = match self.length {
            Some(length) => length,
            None => match self.measure()? {
                Ok(length) => length,
                Err(error) => return Some(Err(self.fail(error))),
            },
        };
        if self.buffer.len() < length {
            self.length = Some(length);
            return None;
        }
        self.length = None;
        self.searched = 0;
        Some(Ok(Frame::Message(self.buffer.split_to(length).freeze())))
    }

    /// CRLFs before a message: two are a ping, one is skipped (RFC 3261 §7.5, RFC 5626 §3.5.1).
    fn skip_line_ends(&mut self) -> Option<Frame> {
        while self.searched == 0 && self.length.is_none() {
            match self.buffer.as_ref() {
                [b'\r', b'\n', b'\r', b'\n', ..] => {
                    _ = self.buffer.split_to(4);
                    return Some(Frame::Ping);
                }
                [b'\r', b'\n', b'\r'] | [b'\r', b'\n'] => return None,
                [b'\r', b'\n', ..] => _ = self.buffer.split_to(2),
                _ => return None,
            }
        }
        None
    }

    /// The length of the message at the front; `None` while its header section is unfinished.
    fn measure(&mut self) -> Option<Result<usize, ParseError>> {
        if matches!(self.buffer.as_ref(), [] | [b'\r'] | [b'\r', b'\n'] | [b'\r', b'\n', b'\r']) {
            return None;
        }
        let unseen = self.buffer.get(self.searched..).unwrap_or_default();
        if memmem::find(unseen, b"\r\n\r\n").is_none() {
            // The end may straddle what is here and what comes.
            self.searched = self.buffer.len().saturating_sub(3);
            return (self.buffer.len() >= MESSAGE_BYTES_MAX).then_some(Err(ParseError::TooLarge));
        }
        Some(scan(&self.buffer, Framing::Stream).map(|scanned| scanned.length))
    }

    fn fail(&mut self, error: ParseError) -> FrameError {
        self.failed = true;
        let buffer = std::mem::take(&mut self.buffer).freeze();
        let end = memmem::find(&buffer, b"\r\n\r\n").map_or(buffer.len(), |at| at + 4);
        FrameError { error, head: buffer.slice(..end) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Message, Method};

    const ONE: &[u8] = b"OPTIONS sip:a@b SIP/2.0\r\nX: y\r\nContent-Length: 3\r\n\r\nabc";
    const TWO: &[u8] = b"SIP/2.0 200 OK\r\nl: 0\r\n\r\n";

    fn all(framer: &mut Framer) -> Vec<Result<Frame, FrameError>> {
        std::iter::from_fn(|| framer.next()).collect()
    }

    fn message(bytes: &'static [u8]) -> Result<Frame, FrameError> {
        Ok(Frame::Message(Bytes::from_static(bytes)))
    }

    /// RFC 3261 §18.3: however the stream is cut, the messages are the same.
    #[test]
    fn messages_come_out_whole_however_the_stream_is_cut() {
        let stream = [b"\r\n".as_slice(), ONE, b"\r\n\r\n", TWO, b"\r\n", ONE].concat();
        let expected = [message(ONE), Ok(Frame::Ping), message(TWO), message(ONE)];
        for chunk in 1..=stream.len() {
            let mut framer = Framer::new();
            let mut frames = Vec::new();
            for part in stream.chunks(chunk) {
                framer.push(part);
                frames.extend(all(&mut framer));
            }
            assert_eq!(frames, expected, "in chunks of {chunk}");
            assert_eq!(framer.pending(), 0);
        }
    }

    /// RFC 5626 §3.5.1: CRLFCRLF is a ping; a single CRLF, also a pong, is nothing.
    #[test]
    fn a_double_crlf_is_a_ping_and_a_single_one_is_nothing() {
        let mut framer = Framer::new();
        framer.push(b"\r\n\r");
        assert_eq!(framer.next(), None);
        framer.push(b"\n\r\n\r\n\r\n");
        assert_eq!(all(&mut framer), [Ok(Frame::Ping), Ok(Frame::Ping)]);
        framer.push(TWO);
        assert_eq!(all(&mut framer), [message(TWO)]);
    }

    /// RFC 3261 §18.3, §20.14: a length that cannot be trusted ends the stream.
    #[test]
    fn an_unclear_length_fails_the_stream_for_good() {
        for (head, error) in [
            ("X: y\r\n", ParseError::ContentLengthMissing),
            ("l: 3\r\nContent-Length: 3\r\n", ParseError::ContentLengthRepeated),
            ("l: -1\r\n", ParseError::ContentLength),
            ("l: 99999999999999999999\r\n", ParseError::TooLarge),
            ("l: 70000\r\n", ParseError::TooLarge),
            ("l: 3\nX: y\r\n", ParseError::LineEnd),
        ] {
            let mut framer = Framer::new();
            framer.push(format!("BYE sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP h\r\n{head}\r\nabc").as_bytes());
            let Some(Err(failed)) = framer.next() else { panic!("{head:?} was taken") };
            assert_eq!(failed.error, error, "{head:?}");
            // What is left is enough for a 400.
            assert_eq!(Message::salvage(&failed.head).and_then(|m| m.method()), Some(Method::Bye));
            framer.push(ONE);
            assert_eq!((framer.next(), framer.pending()), (None, 0));
        }
    }

    #[test]
    fn a_header_section_without_end_is_bounded() {
        let mut framer = Framer::new();
        framer.push(b"BYE sip:a@b SIP/2.0\r\n");
        let mut pushed = 0;
        let error = loop {
            framer.push(b"X-Flood: 0123456789\r\n");
            pushed += 1;
            match framer.next() {
                None => assert!(pushed < 4000, "no bound"),
                Some(result) => break result.expect_err("it never ends").error,
            }
        };
        assert_eq!(error, ParseError::TooLarge);
        assert_eq!(framer.pending(), 0);
    }

    #[test]
    fn the_largest_message_passes_and_one_byte_more_does_not() {
        let head = |n: usize| format!("MESSAGE sip:a@b SIP/2.0\r\nl: {n}\r\n\r\n").into_bytes();
        let body = MESSAGE_BYTES_MAX - head(60_000).len();
        let mut bytes = head(body);
        bytes.resize(MESSAGE_BYTES_MAX, b'z');
        let mut framer = Framer::new();
        for part in bytes.chunks(1448) {
            framer.push(part);
        }
        assert_eq!(all(&mut framer), [Ok(Frame::Message(Bytes::from(bytes)))]);
        let mut framer = Framer::new();
        framer.push(&head(body + 1));
        assert!(matches!(framer.next(), Some(Err(FrameError { error: ParseError::TooLarge, .. }))));
    }
}

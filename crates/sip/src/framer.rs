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

//! Writing a message into a buffer that is used again: no allocation, no formatting, Content-Length last.
//!
//! What the node does not own it copies line by line as it stands ([`Writer::copy`]). What it writes
//! itself cannot break out of its line: a CR or LF in a part becomes a space.

use memchr::memchr2;

use crate::{Header, Message, Method, Name, reason_of};

/// A message in the making, appended to a buffer.
#[derive(Debug)]
#[must_use = "a message is whole only after `body` or `end`"]
pub struct Writer<'o> {
    out: &'o mut Vec<u8>,
}

impl<'o> Writer<'o> {
    /// Begins a request.
    pub fn request(out: &'o mut Vec<u8>, method: Method<'_>, uri: &[u8]) -> Writer<'o> {
        push_line(out, method.as_bytes());
        out.push(b' ');
        push_line(out, uri);
        out.extend_from_slice(b" SIP/2.0\r\n");
        Writer { out }
    }

    /// Begins a response. An empty reason becomes the registry's phrase.
    pub fn response(out: &'o mut Vec<u8>, status: u16, reason: &[u8]) -> Writer<'o> {
        out.extend_from_slice(b"SIP/2.0 ");
        push_number(out, u32::from(status));
        out.push(b' ');
        push_line(out, if reason.is_empty() { reason_of(status).as_bytes() } else { reason });
        out.extend_from_slice(b"\r\n");
        Writer { out }
    }

    /// Begins header lines that become part of a message later.
    pub fn lines(out: &'o mut Vec<u8>) -> Writer<'o> {
        Writer { out }
    }

    /// A header whose value is the parts one after another.
    pub fn header(&mut self, name: Name, parts: &[&[u8]]) -> &mut Self {
        self.named(name.as_str().as_bytes(), parts)
    }

    /// A header of any name.
    pub fn named(&mut self, name: &[u8], parts: &[&[u8]]) -> &mut Self {
        let from = self.out.len();
        let length = parts.iter().fold(name.len() + 4, |sum, part| sum + part.len());
        self.out.reserve(length);
        self.out.extend_from_slice(name);
        self.out.extend_from_slice(b": ");
        for part in parts {
            self.out.extend_from_slice(part);
        }
        keep_line(self.out, from);
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// A header whose value is a number.
    pub fn number(&mut self, name: Name, value: u32) -> &mut Self {
        self.out.extend_from_slice(name.as_str().as_bytes());
        self.out.extend_from_slice(b": ");
        push_number(self.out, value);
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// `CSeq: number method`.
    pub fn cseq(&mut self, number: u32, method: Method<'_>) -> &mut Self {
        self.out.extend_from_slice(b"CSeq: ");
        push_number(self.out, number);
        self.out.push(b' ');
        push_line(self.out, method.as_bytes());
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// All lines of a header as they stand, in order, folds and compact names included.
    pub fn copy(&mut self, message: &Message<'_>, name: Name) -> &mut Self {
        if name != Name::ContentLength {
            for line in message.lines(name) {
                self.line(line);
            }
        }
        self
    }

    /// All lines for which the rule holds, as they stand, in order. Content-Length is never copied.
    pub fn copy_where(
        &mut self,
        message: &Message<'_>,
        mut rule: impl FnMut(&Header<'_>) -> bool,
    ) -> &mut Self {
        for header in message.headers().filter(|h| h.id != Name::ContentLength) {
            if rule(&header) {
                self.line(header.line);
            }
        }
        self
    }

    /// One whole header line that another message had, without its CRLF, as it stands.
    pub fn line(&mut self, line: &[u8]) -> &mut Self {
        self.out.extend_from_slice(line);
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// The buffer, for a header that is pushed piece by piece. The caller ends the line.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        self.out
    }

    /// Ends the message with a body: Content-Type, Content-Length, the bytes.
    pub fn body(&mut self, content_type: &[u8], body: &[u8]) {
        self.header(Name::ContentType, &[content_type]);
        self.body_only(body);
    }

    /// Ends the message with a body whose Content-Type and other body headers were copied before.
    pub fn body_only(&mut self, body: &[u8]) {
        self.number(Name::ContentLength, u32::try_from(body.len()).unwrap_or(u32::MAX));
        self.out.extend_from_slice(b"\r\n");
        self.out.extend_from_slice(body);
    }

    /// Ends the message without a body.
    pub fn end(&mut self) {
        self.out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
    }
}

/// Pushes bytes that must stay within their line.
fn push_line(out: &mut Vec<u8>, bytes: &[u8]) {
    let from = out.len();
    out.extend_from_slice(bytes);
    keep_line(out, from);
}

/// What was pushed since `from` must stay within its line: a CR or LF becomes a space.
#[inline]
fn keep_line(out: &mut [u8], from: usize) {
    let Some(pushed) = out.get_mut(from..) else { return };
    if memchr2(b'\r', b'\n', pushed).is_some() {
        pushed.iter_mut().filter(|b| matches!(b, b'\r' | b'\n')).for_each(|b| *b = b' ');
    }
}

/// Pushes a number in decimal.
pub fn push_number(out: &mut Vec<u8>, value: u32) {
    let mut digits = [0u8; 10];
    let (mut left, mut count) = (value, 0);
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (left % 10) as u8;
        left /= 10;
        count += 1;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - count..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Framing;

    #[test]
    fn what_is_not_ours_is_copied_to_the_byte() {
        let bytes = b"BYE sip:a@b SIP/2.0\r\nm : <sip:x@y>\r\nX-A:1\r\ncontact:\r\n\t<sip:z@y> ;q=1 \r\n\
            x-a :  2\r\nl: 1\r\n\r\n.";
        let message = Message::parse(bytes, Framing::Datagram).expect("well formed");
        let mut out = Vec::new();
        let mut writer = Writer::request(&mut out, Method::Bye, b"sip:a@b");
        writer.copy(&message, Name::Contact).copy_where(&message, |h| h.name.eq_ignore_ascii_case(b"X-A"));
        writer.copy(&message, Name::ContentLength).body_only(message.body());
        let expected = "BYE sip:a@b SIP/2.0\r\nm : <sip:x@y>\r\ncontact:\r\n\t<sip:z@y> ;q=1 \r\nX-A:1\r\n\
            x-a :  2\r\nContent-Length: 1\r\n\r\n.";
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn headers_numbers_and_bodies_are_written_in_order() {
        let mut out = b"kept".to_vec();
        let mut writer = Writer::response(&mut out, 486, b"");
        writer.number(Name::RetryAfter, 0).number(Name::Expires, u32::MAX).cseq(4711, Method::Invite);
        writer.named(b"X-Tag", &[b"a", b"", b"b"]).body(b"text/plain", b"hi");
        let expected = "keptSIP/2.0 486 Busy Here\r\nRetry-After: 0\r\nExpires: 4294967295\r\nCSeq: 4711 INVITE\r\n\
            X-Tag: ab\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi";
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn no_part_can_break_out_of_its_line() {
        let mut out = Vec::new();
        Writer::request(&mut out, Method::Other(b"A\r\nB: c"), b"sip:x\r\n\r\n")
            .header(Name::Subject, &[b"a\r\nEvil: yes", b"\n"])
            .end();
        let text = String::from_utf8_lossy(&out).into_owned();
        assert_eq!(text, "A  B: c sip:x     SIP/2.0\r\nSubject: a  Evil: yes \r\nContent-Length: 0\r\n\r\n");
    }
}

//! What the simulation reads of a SIP message: a few fields, found by searching. Not the node's parser, so that
//! a mistake of that one can't hide from the invariants.

/// A request, or the status of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start<'a> {
    /// A request with this method.
    Request(&'a str),
    /// A response with this status.
    Response(u16),
}

/// A SIP message, as far as invariants ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Letter<'a> {
    /// What it is.
    pub start: Start<'a>,
    /// Its Call-ID.
    pub call_id: &'a str,
    /// Its CSeq.
    pub cseq: (u32, &'a str),
    /// The tag in From.
    pub from_tag: &'a str,
    /// The tag in To; empty if there is none.
    pub to_tag: &'a str,
    /// The topmost branch.
    pub branch: &'a str,
    /// Which call of the run it belongs to.
    pub number: Option<u32>,
}

/// Numbers of calls in a run begin with this, and have seven digits.
pub const PREFIX: &str = "+3130";
const DIGITS: usize = 7;

/// Which call a message belongs to: its callee's number is in each of them.
pub fn number_in(bytes: &[u8]) -> Option<u32> {
    let prefix = PREFIX.as_bytes();
    let at = bytes.windows(prefix.len()).position(|window| window == prefix)?;
    let digits = bytes.get(at + prefix.len()..at + prefix.len() + DIGITS)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

impl Letter<'_> {
    /// Reads a message; `None` if it is none.
    pub fn read(bytes: &[u8]) -> Option<Letter<'_>> {
        let head =
            bytes.windows(4).position(|window| window == b"\r\n\r\n").map_or(bytes, |end| &bytes[..end]);
        let text = std::str::from_utf8(head).ok()?;
        let mut lines = text.split("\r\n");
        let first = lines.next()?;
        let start = match first.strip_prefix("SIP/2.0 ") {
            Some(rest) => Start::Response(rest.get(..3)?.parse().ok()?),
            None => Start::Request(first.strip_suffix(" SIP/2.0")?.split(' ').next()?),
        };
        let (mut call_id, mut cseq, mut from_tag, mut to_tag, mut branch) = (None, None, "", "", "");
        for line in lines {
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            match name {
                "Call-ID" => call_id = Some(value),
                "CSeq" => cseq = value.split_once(' '),
                "From" => from_tag = parameter(value, ";tag="),
                "To" => to_tag = parameter(value, ";tag="),
                "Via" if branch.is_empty() => branch = parameter(value, ";branch="),
                _ => {}
            }
        }
        let (number, method) = cseq?;
        let cseq = (number.parse().ok()?, method);
        Some(Letter { start, call_id: call_id?, cseq, from_tag, to_tag, branch, number: number_in(head) })
    }

    /// Whether it is a final answer to an INVITE.
    pub fn is_final_to_invite(&self) -> Option<u16> {
        match self.start {
            Start::Response(status) if status >= 200 && self.cseq.1 == "INVITE" => Some(status),
            _ => None,
        }
    }
}

/// A message's lines up to its body.
pub fn head(bytes: &[u8]) -> &str {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(bytes.len());
    std::str::from_utf8(bytes.get(..end).unwrap_or_default()).unwrap_or_default()
}

/// The values of all lines of a name, in order.
pub fn headers<'a>(bytes: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = head(bytes).split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    lines.filter(move |(it, _)| it.trim_end().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// The value of the first line of a name.
pub fn header<'a>(bytes: &'a [u8], name: &'a str) -> Option<&'a str> {
    headers(bytes, name).next()
}

/// The length of the first message in what a stream brings, if it is whole: its Content-Length says where it ends
/// (RFC 3261 §18.3). What comes before a message, or is none, is a piece of its own.
pub fn first_letter(bytes: &[u8]) -> Option<usize> {
    let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    if blank > 0 {
        return Some(blank);
    }
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(bytes.get(..head)?).ok()?;
    let length = text.split("\r\n").find_map(|line| line.strip_prefix("Content-Length:"));
    let body: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
    (bytes.len() >= head + body).then_some(head + body)
}

fn parameter<'a>(value: &'a str, name: &str) -> &'a str {
    let Some((_, rest)) = value.split_once(name) else { return "" };
    rest.split([';', ',', '>', ' ']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_and_other_bytes_are_not() {
        let bytes = b"INVITE sip:+31300000042@10.0.9.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.1.1:5060;rport;branch=z9hG4bKa\r\n\
            Via: SIP/2.0/UDP 10.0.1.9;branch=z9hG4bKb\r\nFrom: <sip:a@x>;tag=1\r\nTo: <sip:+31300000042@x>\r\nCall-ID: c@x\r\n\
            CSeq: 7 INVITE\r\n\r\nv=0";
        let letter = Letter::read(bytes).expect("it is one");
        assert_eq!(letter.start, Start::Request("INVITE"));
        assert_eq!((letter.call_id, letter.cseq), ("c@x", (7, "INVITE")));
        assert_eq!((letter.from_tag, letter.to_tag, letter.branch), ("1", "", "z9hG4bKa"));
        assert_eq!(letter.number, Some(42));
        assert_eq!(Letter::read(b"\x80\0\x12\x34"), None);
        assert_eq!(number_in(b"nothing +3130 here"), None);
    }

    #[test]
    fn a_stream_is_cut_into_messages() {
        let bytes = b"BYE sip:a SIP/2.0\r\nContent-Length: 3\r\n\r\nabcACK";
        assert_eq!(first_letter(bytes), Some(bytes.len() - 3));
        assert_eq!(first_letter(&bytes[..bytes.len() - 4]), None, "a byte of the body is missing");
        assert_eq!(first_letter(b"\r\n\r\nBYE"), Some(4), "a keep-alive (RFC 5626 section 4.4.1)");
        assert_eq!(first_letter(b"BYE sip:a"), None);
    }
}

//! One received message, read once by rsip and kept as the few fields that a call needs (RFC 3261 §7, §20).
//!
//! rsip, not the node's own parser, reads every byte that the node sent: one parser's mistake cannot hide
//! itself. The typed forms of Via, From, To, CSeq and Contact are all asked for, so that rsip's grammar
//! judges them; what is copied into responses is the text as it came.

use rsip::Header;
use rsip::headers::{ToTypedHeader, UntypedHeader};

use crate::violation::Violation;

/// The methods that a caller or callee tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// RFC 3261 §13.
    Invite,
    /// RFC 3261 §13.2.2.4 and §17.1.1.3.
    Ack,
    /// RFC 3261 §15.
    Bye,
    /// RFC 3261 §9.
    Cancel,
    /// RFC 3261 §11.
    Options,
    /// RFC 3311.
    Update,
    /// RFC 6086.
    Info,
    /// RFC 3262.
    Prack,
    /// Any other that rsip knows.
    Other,
}

impl Method {
    /// The method as it stands in a message.
    pub const fn as_str(self) -> &'static str {
        match self {
            Method::Invite => "INVITE",
            Method::Ack => "ACK",
            Method::Bye => "BYE",
            Method::Cancel => "CANCEL",
            Method::Options => "OPTIONS",
            Method::Update => "UPDATE",
            Method::Info => "INFO",
            Method::Prack => "PRACK",
            Method::Other => "another method",
        }
    }

    fn of(method: rsip::Method) -> Method {
        match method {
            rsip::Method::Invite => Method::Invite,
            rsip::Method::Ack => Method::Ack,
            rsip::Method::Bye => Method::Bye,
            rsip::Method::Cancel => Method::Cancel,
            rsip::Method::Options => Method::Options,
            rsip::Method::Update => Method::Update,
            rsip::Method::Info => Method::Info,
            rsip::Method::PRack => Method::Prack,
            _ => Method::Other,
        }
    }
}

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// A request's method and Request-URI.
    Request(Method, String),
    /// A response's status.
    Response(u16),
}

/// A message as a caller or callee sees it.
#[derive(Clone, Debug)]
pub struct Message {
    /// The first line.
    pub start: Start,
    /// Every Via value, topmost first, as it came.
    pub vias: Vec<String>,
    /// The topmost Via's branch.
    pub branch: String,
    /// From, as it came.
    pub from: String,
    /// From's tag; empty if there is none.
    pub from_tag: String,
    /// To, as it came.
    pub to: String,
    /// To's tag; empty if there is none.
    pub to_tag: String,
    /// Call-ID.
    pub call_id: String,
    /// CSeq's number and method.
    pub cseq: (u32, Method),
    /// The URI of the first Contact.
    pub contact: Option<String>,
    /// Record-Route values, topmost first, as they came.
    pub record_routes: Vec<String>,
    /// Route values, topmost first, as they came.
    pub routes: Vec<String>,
    /// Whether there is a Max-Forwards.
    pub max_forwards: Option<u32>,
    /// Require, as it came.
    pub require: Option<String>,
    /// Content-Length, where it is given.
    pub content_length: Option<usize>,
    /// Content-Type, as it came.
    pub content_type: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Message {
    /// Reads a message.
    ///
    /// # Errors
    /// What rsip cannot read, and which mandatory header is missing or unreadable.
    pub fn read(bytes: &[u8]) -> Result<Message, Violation> {
        if bytes.starts_with(b"SIP/2.0 ") {
            let response = rsip::Response::try_from(bytes).map_err(|_| Violation::Unreadable)?;
            let start = Start::Response(response.status_code.code());
            Message::gather(start, response.headers, response.body)
        } else {
            let request = rsip::Request::try_from(bytes).map_err(|_| Violation::Unreadable)?;
            // rsip has accepted the first line; its text is kept, because rsip's own printing is lossy.
            let mut line = bytes.split(|b| *b == b' ');
            let uri = line.nth(1).map(String::from_utf8_lossy).unwrap_or_default().into_owned();
            Message::gather(Start::Request(Method::of(request.method), uri), request.headers, request.body)
        }
    }

    /// The response's status, if it is one.
    pub fn status(&self) -> Option<u16> {
        match self.start {
            Start::Response(status) => Some(status),
            Start::Request(..) => None,
        }
    }

    /// Checks what holds for every message: Content-Length, and the magic cookie.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self, over_stream: bool) -> Result<(), Violation> {
        match self.content_length {
            Some(length) if length != self.body.len() => return Err(Violation::ContentLength),
            // RFC 3261 §20.14: mandatory over streams; a body that nobody announced is as bad.
            None if over_stream || !self.body.is_empty() => {
                return Err(Violation::Missing { header: "Content-Length" });
            }
            _ => {}
        }
        if !self.branch.starts_with(COOKIE) {
            return Err(Violation::Branch);
        }
        match &self.start {
            Start::Request(method, _) => {
                if self.max_forwards.is_none() {
                    return Err(Violation::Missing { header: "Max-Forwards" });
                }
                if self.cseq.1 != *method {
                    return Err(Violation::CSeqMismatch);
                }
                if self.vias.len() != 1 {
                    return Err(Violation::SecondVia);
                }
            }
            Start::Response(_) => {
                if self.vias.len() != 1 {
                    return Err(Violation::ForeignVia);
                }
            }
        }
        if self.from_tag.is_empty() {
            return Err(Violation::Missing { header: "From tag" });
        }
        if self.require.is_some() {
            return Err(Violation::Require);
        }
        Ok(())
    }

    fn gather(start: Start, headers: rsip::Headers, body: Vec<u8>) -> Result<Message, Violation> {
        let mut message = Message {
            start,
            vias: Vec::with_capacity(1),
            branch: String::new(),
            from: String::new(),
            from_tag: String::new(),
            to: String::new(),
            to_tag: String::new(),
            call_id: String::new(),
            cseq: (0, Method::Other),
            contact: None,
            record_routes: Vec::new(),
            routes: Vec::new(),
            max_forwards: None,
            require: None,
            content_length: None,
            content_type: None,
            body,
        };
        for header in headers {
            message.take(header)?;
        }
        for (value, header) in [
            (&message.branch, "Via branch"),
            (&message.from, "From"),
            (&message.to, "To"),
            (&message.call_id, "Call-ID"),
        ] {
            if value.is_empty() {
                return Err(Violation::Missing { header });
            }
        }
        if message.cseq.1 == Method::Other && message.cseq.0 == 0 {
            return Err(Violation::Missing { header: "CSeq" });
        }
        Ok(message)
    }

    fn take(&mut self, header: Header) -> Result<(), Violation> {
        match header {
            Header::Via(via) => {
                // rsip reads only the first of several Vias in one line; count them all.
                let text = via.value().to_owned();
                if self.vias.is_empty() {
                    let typed = via.typed().map_err(|_| Violation::Malformed { header: "Via" })?;
                    self.branch = typed.branch().map(|branch| branch.value().to_owned()).unwrap_or_default();
                }
                self.vias.extend(split_commas(&text).map(str::to_owned));
            }
            Header::From(from) => {
                self.from = from.value().to_owned();
                let typed = from.typed().map_err(|_| Violation::Malformed { header: "From" })?;
                self.from_tag = typed.tag().map(|tag| tag.value().to_owned()).unwrap_or_default();
            }
            Header::To(to) => {
                self.to = to.value().to_owned();
                let typed = to.typed().map_err(|_| Violation::Malformed { header: "To" })?;
                self.to_tag = typed.tag().map(|tag| tag.value().to_owned()).unwrap_or_default();
            }
            Header::CallId(id) => self.call_id = id.value().to_owned(),
            Header::CSeq(cseq) => {
                let typed = cseq.typed().map_err(|_| Violation::Malformed { header: "CSeq" })?;
                self.cseq = (typed.seq, Method::of(typed.method));
            }
            Header::Contact(contact) => {
                let text = contact.value().to_owned();
                contact.typed().map_err(|_| Violation::Malformed { header: "Contact" })?;
                if self.contact.is_none() {
                    self.contact = Some(uri_of(&text).to_owned());
                }
            }
            Header::RecordRoute(route) => {
                let text = route.value().to_owned();
                route.typed().map_err(|_| Violation::Malformed { header: "Record-Route" })?;
                self.record_routes.extend(split_commas(&text).map(str::to_owned));
            }
            Header::Route(route) => self.routes.extend(split_commas(route.value()).map(str::to_owned)),
            Header::MaxForwards(hops) => {
                let hops = hops.value().trim().parse();
                self.max_forwards = Some(hops.map_err(|_| Violation::Malformed { header: "Max-Forwards" })?);
            }
            Header::Require(require) => self.require = Some(require.value().to_owned()),
            Header::ContentLength(length) => {
                let length = length.value().trim().parse();
                self.content_length =
                    Some(length.map_err(|_| Violation::Malformed { header: "Content-Length" })?);
            }
            Header::ContentType(kind) => self.content_type = Some(kind.value().to_owned()),
            _ => {}
        }
        Ok(())
    }
}

/// What every branch starts with (RFC 3261 §8.1.1.7).
pub const COOKIE: &str = "z9hG4bK";

/// The URI of a name-addr or addr-spec (RFC 3261 §20.10).
pub fn uri_of(value: &str) -> &str {
    match value.find('<').and_then(|open| value.get(open + 1..)) {
        Some(rest) => rest.split('>').next().unwrap_or_default(),
        None => value.split(';').next().unwrap_or_default().trim(),
    }
}

/// Splits a comma list; commas inside quotes or angle brackets do not count.
fn split_commas(value: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut angled, mut escaped) = (false, false, false);
    value
        .split(move |c: char| {
            let split = c == ',' && !quoted && !angled;
            match c {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                '<' if !quoted => angled = true,
                '>' if !quoted => angled = false,
                _ => {}
            }
            split
        })
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYE: &str = "BYE sip:alice@192.0.2.1:5070 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKx\r\n\
        Max-Forwards: 69\r\nFrom: \"B, O\" <sip:b@example.com>;tag=b1\r\nTo: <sip:a@example.com>;tag=a1\r\n\
        Call-ID: 7@example.com\r\nCSeq: 3 BYE\r\nContent-Length: 0\r\n\r\n";

    #[test]
    fn the_fields_of_a_request_are_read() {
        let message = Message::read(BYE.as_bytes()).expect("valid");
        assert_eq!(message.start, Start::Request(Method::Bye, "sip:alice@192.0.2.1:5070".into()));
        assert_eq!((message.branch.as_str(), message.cseq), ("z9hG4bKx", (3, Method::Bye)));
        assert_eq!((message.from_tag.as_str(), message.to_tag.as_str()), ("b1", "a1"));
        assert_eq!(message.check(true), Ok(()));
    }

    #[test]
    fn broken_rules_are_named() {
        let check = |old: &str, new: &str, expected: Violation| {
            let text = BYE.replace(old, new);
            assert_ne!(text, BYE, "{old} is in the message");
            let got = Message::read(text.as_bytes()).and_then(|message| message.check(true));
            assert_eq!(got, Err(expected), "{new}");
        };
        check("z9hG4bKx", "x", Violation::Branch); // RFC 3261 §8.1.1.7
        check("Call-ID: 7@example.com\r\n", "", Violation::Missing { header: "Call-ID" });
        check("CSeq: 3 BYE\r\n", "", Violation::Missing { header: "CSeq" });
        check("CSeq: 3 BYE", "CSeq: 3 INFO", Violation::CSeqMismatch);
        check("Content-Length: 0\r\n", "", Violation::Missing { header: "Content-Length" });
        check("Content-Length: 0", "Content-Length: 7", Violation::ContentLength); // §18.3
        check("Max-Forwards: 69\r\n", "", Violation::Missing { header: "Max-Forwards" });
        check(";tag=b1", "", Violation::Missing { header: "From tag" });
        check("\r\nMax", "\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKy\r\nMax", Violation::SecondVia);
        check("SIP/2.0\r\n", "SIP/9\r\n", Violation::Unreadable);
        check("\r\nMax", "\r\nRequire: 100rel\r\nMax", Violation::Require);
    }

    #[test]
    fn uris_and_lists_come_apart_at_the_right_places() {
        assert_eq!(uri_of("\"A\" <sip:a@b;lr>;expires=3"), "sip:a@b;lr");
        assert_eq!(uri_of("sip:a@b;expires=3"), "sip:a@b");
        let parts: Vec<&str> = split_commas("<sip:a,b@c;lr>, \"x, \\\" y\" <sip:d>").collect();
        assert_eq!(parts, ["<sip:a,b@c;lr>", "\"x, \\\" y\" <sip:d>"]);
    }
}

//! What the protocol alone decides about a message: accept it, refuse it with a status, or drop it.
//!
//! RFC 3261 §8.2.1–8.2.3 (inspection by a UAS), §16.3 (validation), §18.3; the choices that the RFC
//! leaves open are those that RFC 4475 and RFC 5118 recommend. Who calls whom, methods of a profile and
//! loops are decided elsewhere. The node and `banyan explain` ask the same functions.

use std::fmt;
use std::net::SocketAddr;

use thiserror::Error;

use crate::fields::{self, MediaType};
use crate::grammar::cut;
use crate::limits::VALUES_MAX;
use crate::response::response_to;
use crate::uri::Scheme;
use crate::via::{Via, response_target};
use crate::{Contact, Framing, Message, Method, Name, NameAddr, ParseError, Writer, reason_of};

/// What may differ from trunk to trunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Demand Max-Forwards, Contact in an INVITE, and Content-Type where there is a body.
    pub strict_headers: bool,
    /// The option tags that a Require may name.
    pub extensions: Extensions,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules { strict_headers: false, extensions: Extensions::TIMER.and(Extensions::RELIABLE) }
    }
}

/// A set of option tags that this node implements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extensions(u8);

const OPTION_TAGS: [(&[u8], Extensions); 5] = [
    (b"timer", Extensions::TIMER),
    (b"100rel", Extensions::RELIABLE),
    (b"replaces", Extensions::REPLACES),
    (b"path", Extensions::PATH),
    (b"outbound", Extensions::OUTBOUND),
];

impl Extensions {
    /// No extension.
    pub const NONE: Extensions = Extensions(0);
    /// `timer` (RFC 4028).
    pub const TIMER: Extensions = Extensions(1);
    /// `100rel` (RFC 3262).
    pub const RELIABLE: Extensions = Extensions(2);
    /// `replaces` (RFC 3891).
    pub const REPLACES: Extensions = Extensions(4);
    /// `path` (RFC 3327).
    pub const PATH: Extensions = Extensions(8);
    /// `outbound` (RFC 5626).
    pub const OUTBOUND: Extensions = Extensions(16);

    /// Both sets together.
    #[must_use]
    pub const fn and(self, other: Extensions) -> Extensions {
        Extensions(self.0 | other.0)
    }

    /// The set that these tags name; tags that this node does not implement are left out.
    pub fn from_tokens<'t>(tokens: impl IntoIterator<Item = &'t [u8]>) -> Extensions {
        tokens.into_iter().fold(Extensions::NONE, |set, token| set.and(Extensions::of(token)))
    }

    /// Whether the set has this tag.
    pub fn contains(self, token: &[u8]) -> bool {
        let tag = Extensions::of(token);
        tag != Extensions::NONE && self.0 & tag.0 == tag.0
    }

    fn of(token: &[u8]) -> Extensions {
        let found = OPTION_TAGS.iter().find(|(tag, _)| tag.eq_ignore_ascii_case(token));
        found.map_or(Extensions::NONE, |(_, set)| *set)
    }
}

/// What to do with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The protocol has no objection.
    Accept,
    /// Answer with this.
    Reject(Reject),
    /// Say nothing: it cannot or must not be answered.
    Drop(Cause),
}

/// A refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reject {
    /// 400 to 513.
    pub status: u16,
    /// Why.
    pub cause: Cause,
}

/// Why a message is refused or dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Cause {
    /// Bytes that break the grammar, or a header that is missing.
    #[error("{0}")]
    Malformed(#[from] ParseError),
    /// A Request-URI of a scheme that leads nowhere (RFC 3261 §8.2.2.1).
    #[error("Unsupported URI Scheme")]
    Scheme,
    /// Require names what we do not implement (§8.2.2.3).
    #[error("Bad Extension")]
    Extension,
    /// A body that we cannot read (§8.2.3).
    #[error("Unsupported Media Type")]
    MediaType,
    /// A content encoding that we cannot undo (§8.2.3).
    #[error("Unsupported Content-Encoding")]
    Encoding,
    /// Accept leaves no session description that we could answer with (§20.1, §21.4.7).
    #[error("Not Acceptable")]
    NotAcceptable,
    /// Max-Forwards is used up (§16.3).
    #[error("Too Many Hops")]
    TooManyHops,
    /// The method of a request that is never answered (§17.1.1.3).
    #[error("ACK that cannot be used")]
    Ack,
    /// No Via says where an answer would go (§18.2.2).
    #[error("no usable Via to answer to")]
    NoReturnPath,
    /// Bytes that are no SIP message.
    #[error("not a SIP message")]
    NotSip,
    /// A response with more than one Via is not ours (§8.1.3.3).
    #[error("response with more than one Via")]
    ForeignResponse,
}

impl fmt::Display for Verdict {
    /// As `banyan explain` prints it: `accept`, `reject CODE reason` or `drop reason`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Accept => f.write_str("accept"),
            Verdict::Reject(reject) => write!(f, "reject {} {}", reject.status, reject.phrase()),
            Verdict::Drop(cause) => write!(f, "drop {cause}"),
        }
    }
}

impl Reject {
    /// The reason phrase: what is wrong where the status alone does not say it.
    pub fn phrase(&self) -> String {
        match (self.status, self.cause) {
            (400, cause) => cause.to_string(),
            (status, _) => reason_of(status).to_owned(),
        }
    }

    /// Begins the answer, with the headers that the status calls for: Unsupported, Accept,
    /// Accept-Encoding. The caller adds its own (Warning) and ends it.
    pub fn answer<'o>(
        &self,
        out: &'o mut Vec<u8>,
        request: &Message<'_>,
        rules: &Rules,
        to_tag: &[u8],
        source: SocketAddr,
    ) -> Writer<'o> {
        let phrase = self.phrase();
        let mut writer = response_to(out, request, self.status, phrase.as_bytes(), Some(to_tag), source);
        match self.cause {
            Cause::Extension => {
                for tag in unsupported(request, rules.extensions) {
                    writer.header(Name::Unsupported, &[tag]);
                }
            }
            Cause::MediaType | Cause::NotAcceptable => {
                writer.header(Name::Accept, &[b"application/sdp, multipart/mixed"]);
            }
            Cause::Encoding => _ = writer.header(Name::AcceptEncoding, &[b"identity"]),
            _ => {}
        }
        writer
    }
}

/// A message as far as it could be read, and what to do with it.
#[derive(Debug)]
pub struct Reading<'a> {
    /// `None` where there was nothing to read.
    pub message: Option<Message<'a>>,
    /// What to do.
    pub verdict: Verdict,
}

/// Reads bytes and judges them: [`Message::parse`], then [`request`] or [`response`], or [`unreadable`].
pub fn read<'a>(bytes: &'a [u8], framing: Framing, rules: &Rules) -> Reading<'a> {
    match Message::parse(bytes, framing) {
        Ok(message) if message.is_request() => {
            let verdict = request(&message, rules);
            Reading { message: Some(message), verdict }
        }
        Ok(message) => {
            let verdict = response(&message);
            Reading { message: Some(message), verdict }
        }
        Err(error) => unreadable(bytes, error),
    }
}

/// What to do with bytes that [`Message::parse`] refused: answer what can be answered, drop the rest.
/// The message that comes with it has what the answer needs.
pub fn unreadable(bytes: &[u8], error: ParseError) -> Reading<'_> {
    let Some(message) = Message::salvage(bytes) else {
        let line = bytes.trim_ascii_start();
        // Of a broken response and of a bare keep-alive the cause is worth saying; of junk it is not.
        let known = error == ParseError::Empty
            || error == ParseError::TooLarge
            || cut(line, 0, 4).eq_ignore_ascii_case(b"SIP/");
        let cause = if known { Cause::Malformed(error) } else { Cause::NotSip };
        return Reading { message: None, verdict: Verdict::Drop(cause) };
    };
    let verdict = refuse(&message, Cause::Malformed(error));
    Reading { message: Some(message), verdict }
}

/// Judges a request that could be parsed.
pub fn request(message: &Message<'_>, rules: &Rules) -> Verdict {
    match check_request(message, rules) {
        Ok(()) => Verdict::Accept,
        Err(cause) => refuse(message, cause),
    }
}

/// Judges a response that could be parsed. A response is never answered (RFC 3261 §18.1.2).
pub fn response(message: &Message<'_>) -> Verdict {
    match check_response(message) {
        Ok(()) => Verdict::Accept,
        Err(cause) => Verdict::Drop(cause),
    }
}

/// Where the answer to a request goes over UDP, even if its Via has broken parameters.
pub fn answer_target(message: &Message<'_>, source: SocketAddr) -> Option<SocketAddr> {
    return_path(message).map(|via| response_target(&via, source))
}

fn return_path<'a>(message: &Message<'a>) -> Option<Via<'a>> {
    let value = message.values(Name::Via).next()?;
    Via::parse(value).or_else(|| Via::parse_sent_by(value).map(|(via, _)| via))
}

fn refuse(message: &Message<'_>, cause: Cause) -> Verdict {
    if message.method() == Some(Method::Ack) {
        return Verdict::Drop(match cause {
            Cause::Malformed(_) => cause,
            _ => Cause::Ack,
        });
    }
    if return_path(message).is_none() {
        return Verdict::Drop(Cause::NoReturnPath);
    }
    let status = match cause {
        Cause::Malformed(ParseError::Version) => 505,
        Cause::Malformed(ParseError::TooLarge) => 513,
        Cause::Scheme => 416,
        Cause::Extension => 420,
        Cause::MediaType | Cause::Encoding => 415,
        Cause::NotAcceptable => 406,
        Cause::TooManyHops => 483,
        _ => 400,
    };
    Verdict::Reject(Reject { status, cause })
}

fn check_request(message: &Message<'_>, rules: &Rules) -> Result<(), Cause> {
    let Some(method) = message.method() else { return Err(Cause::NotSip) };
    let top = check_common(message)?;
    let (_, cseq_method) = message.cseq()?;
    if cseq_method != method {
        return Err(ParseError::CSeqMethod.into());
    }
    // Transactions are found by branch (§17.2.3): the cookie alone would make one of many.
    if top.has_empty_branch() {
        return Err(ParseError::Branch.into());
    }
    once(message, Name::MaxForwards)?;
    once(message, Name::ContentType)?;
    let max_forwards = message.max_forwards()?;
    check_request_uri(message)?;
    check_addresses(message, method)?;
    if rules.strict_headers {
        check_strict(message, method)?;
    }
    // RFC 3261 §16.3: ACK and CANCEL end here, so their hops do not matter.
    if max_forwards == Some(0) && !matches!(method, Method::Ack | Method::Cancel) {
        return Err(Cause::TooManyHops);
    }
    // §8.2.2.3: Require is not looked at in ACK and CANCEL.
    if !matches!(method, Method::Ack | Method::Cancel)
        && unsupported(message, rules.extensions).next().is_some()
    {
        return Err(Cause::Extension);
    }
    check_body(message, method)
}

fn check_response(message: &Message<'_>) -> Result<(), Cause> {
    check_common(message)?;
    message.cseq()?;
    // §8.1.3.3: more than one Via means that it was meant for someone else.
    if message.values(Name::Via).nth(1).is_some() {
        return Err(Cause::ForeignResponse);
    }
    Ok(())
}

/// What every message must have, once, in its grammar (§8.1.1).
fn check_common<'a>(message: &Message<'a>) -> Result<Via<'a>, Cause> {
    let mut top = None;
    for (count, via) in message.vias().enumerate() {
        let via = via?;
        if count == VALUES_MAX {
            return Err(ParseError::TooManyValues(Name::Via).into());
        }
        top.get_or_insert(via);
    }
    let top = top.ok_or(ParseError::Missing(Name::Via))?;
    for name in [Name::From, Name::To, Name::CallId, Name::CSeq] {
        once(message, name)?;
    }
    message.from()?.parse_uri().map_err(|_| ParseError::Malformed(Name::From))?;
    message.to()?.parse_uri().map_err(|_| ParseError::Malformed(Name::To))?;
    message.call_id()?;
    Ok(top)
}

fn once(message: &Message<'_>, name: Name) -> Result<(), ParseError> {
    if message.count(name) > 1 { Err(ParseError::Repeated(name)) } else { Ok(()) }
}

fn bounded(message: &Message<'_>, name: Name) -> Result<(), ParseError> {
    match message.values(name).nth(VALUES_MAX) {
        Some(_) => Err(ParseError::TooManyValues(name)),
        None => Ok(()),
    }
}

/// §8.2.2.1, §19.1.1: a scheme that we can route, and no header fields.
fn check_request_uri(message: &Message<'_>) -> Result<(), Cause> {
    let uri = message.request_uri()?;
    if uri.headers.is_some() {
        return Err(ParseError::RequestUriHeaders.into());
    }
    match uri.scheme {
        Scheme::Sip | Scheme::Sips | Scheme::Tel => Ok(()),
        // RFC 5031: services, of which `sos` is the one that matters.
        Scheme::Urn if cut(uri.opaque, 0, 8).eq_ignore_ascii_case(b"service:") => Ok(()),
        Scheme::Urn | Scheme::Other(_) => Err(Cause::Scheme),
    }
}

/// Contact, Route and Record-Route, which dialogs are made of, and the address that a REGISTER binds.
fn check_addresses(message: &Message<'_>, method: Method<'_>) -> Result<(), Cause> {
    for name in [Name::Route, Name::RecordRoute] {
        bounded(message, name)?;
        for value in message.addresses(name) {
            value?.parse_uri().map_err(|_| ParseError::Malformed(name))?;
        }
    }
    bounded(message, Name::Contact)?;
    let mut count = 0;
    for contact in message.contacts() {
        count += 1;
        match contact? {
            Contact::All if method == Method::Register => {}
            Contact::All => return Err(ParseError::Malformed(Name::Contact).into()),
            Contact::Address(address) => check_contact(&address, method)?,
        }
    }
    // §8.1.1.8: exactly one in a request that makes a dialog.
    if method == Method::Invite && count > 1 {
        return Err(ParseError::Repeated(Name::Contact).into());
    }
    // §10.2: the address-of-record is a SIP or SIPS URI.
    if method == Method::Register && !message.to()?.parse_uri()?.is_sip() {
        return Err(ParseError::Malformed(Name::To).into());
    }
    Ok(())
}

fn check_contact(address: &NameAddr<'_>, method: Method<'_>) -> Result<(), Cause> {
    let malformed = ParseError::Malformed(Name::Contact);
    let uri = address.parse_uri().map_err(|_| malformed)?;
    // §8.1.1.8: the remote target must be reachable.
    if method == Method::Invite && !uri.is_sip() { Err(malformed.into()) } else { Ok(()) }
}

/// What `strict_headers` demands beyond the RFC's own minimum.
fn check_strict(message: &Message<'_>, method: Method<'_>) -> Result<(), Cause> {
    let missing = |name: Name| message.get(name).is_none();
    if missing(Name::MaxForwards) {
        return Err(ParseError::Missing(Name::MaxForwards).into());
    }
    if method == Method::Invite && missing(Name::Contact) {
        return Err(ParseError::Missing(Name::Contact).into());
    }
    if !message.body().is_empty() && missing(Name::ContentType) {
        return Err(ParseError::Missing(Name::ContentType).into());
    }
    Ok(())
}

/// The option tags of Require that are not in the set.
fn unsupported<'m, 'a>(
    message: &'m Message<'a>,
    extensions: Extensions,
) -> impl Iterator<Item = &'a [u8]> + 'm {
    message.values(Name::Require).filter(move |tag| !tag.is_empty() && !extensions.contains(tag))
}

/// §8.2.3: the body of an offer or answer is a session description, alone or among other parts.
/// Bodies of other methods are passed on as they are.
fn check_body(message: &Message<'_>, method: Method<'_>) -> Result<(), Cause> {
    if !matches!(method, Method::Invite | Method::Update | Method::Prack | Method::Ack) {
        return Ok(());
    }
    let content_type = message.content_type()?;
    if !message.body().is_empty() && !is_optional(message) {
        if let Some(encoding) = message.get(Name::ContentEncoding)
            && !encoding.eq_ignore_ascii_case(b"identity")
        {
            return Err(Cause::Encoding);
        }
        let readable =
            |t: &MediaType<'_>| t.is(b"application", b"sdp") || t.kind.eq_ignore_ascii_case(b"multipart");
        if content_type.is_some_and(|t| !readable(&t)) {
            return Err(Cause::MediaType);
        }
    }
    if method == Method::Invite && !accepts_sdp(message) {
        return Err(Cause::NotAcceptable);
    }
    Ok(())
}

/// §20.11: `handling=optional` lets the receiver ignore a body that it cannot read.
fn is_optional(message: &Message<'_>) -> bool {
    message
        .get(Name::ContentDisposition)
        .and_then(fields::disposition_handling)
        .is_some_and(|handling| handling.eq_ignore_ascii_case(b"optional"))
}

/// §20.1: without Accept, application/sdp is meant.
fn accepts_sdp(message: &Message<'_>) -> bool {
    if message.get(Name::Accept).is_none() {
        return true;
    }
    message.values(Name::Accept).filter_map(MediaType::parse).any(|range| {
        range.is(b"application", b"sdp")
            || range.is(b"application", b"*")
            || range.is(b"*", b"*")
            || range.kind.eq_ignore_ascii_case(b"multipart")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(method: &str, extra: &str, body: &str) -> Vec<u8> {
        format!(
            "{method} sip:b@example.net SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1;rport\r\n\
             From: <sip:a@example.org>;tag=1\r\nTo: <sip:b@example.net>\r\nCall-ID: v\r\nCSeq: 1 {method}\r\n\
             {extra}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }

    fn judge(bytes: &[u8], rules: &Rules) -> String {
        read(bytes, Framing::Datagram, rules).verdict.to_string()
    }

    const LAX: Rules = Rules { strict_headers: false, extensions: Extensions::TIMER };
    const STRICT: Rules = Rules { strict_headers: true, extensions: Extensions::NONE };

    /// EX19: under `strict_headers` a 400 names Max-Forwards, Contact and Content-Type too.
    #[test]
    fn ex19_strict_headers_demand_max_forwards_contact_and_content_type() {
        let mf = "Max-Forwards: 70\r\n";
        let contact = "Max-Forwards: 70\r\nContact: <sip:a@192.0.2.9>\r\n";
        let whole = "Max-Forwards: 70\r\nContact: <sip:a@192.0.2.9>\r\nContent-Type: application/sdp\r\n";
        for (extra, expected) in [
            ("", "reject 400 Missing Max-Forwards"),
            (mf, "reject 400 Missing Contact"),
            (contact, "reject 400 Missing Content-Type"),
            (whole, "accept"),
        ] {
            assert_eq!(judge(&message("INVITE", extra, "v=0"), &STRICT), expected);
        }
    }

    /// EX19 reversed: elsewhere a missing Max-Forwards counts as 70.
    #[test]
    fn ex19_without_strict_headers_none_of_them_is_demanded() {
        assert_eq!(judge(&message("INVITE", "", "v=0"), &LAX), "accept");
    }

    /// EX20, RFC 3261 §16.3; ACK and CANCEL end at the next hop.
    #[test]
    fn ex20_a_request_without_hops_left_is_refused() {
        let none = "Max-Forwards: 0\r\n";
        for method in ["INVITE", "OPTIONS", "BYE", "REGISTER"] {
            assert_eq!(judge(&message(method, none, ""), &LAX), "reject 483 Too Many Hops");
            assert_eq!(judge(&message(method, "Max-Forwards: 1\r\n", ""), &LAX), "accept");
        }
        assert_eq!(judge(&message("CANCEL", none, ""), &LAX), "accept");
        assert_eq!(judge(&message("ACK", none, ""), &LAX), "accept");
    }

    /// RFC 3261 §8.2.2.3, §20.40: the answer lists what is not supported, and only that.
    #[test]
    fn unsupported_names_the_extensions_that_are_missing() {
        let bytes = message("INVITE", "Require: timer, x-one\r\nRequire: X-Two\r\n", "");
        let reading = read(&bytes, Framing::Datagram, &LAX);
        let Verdict::Reject(reject) = reading.verdict else { panic!("{}", reading.verdict) };
        let mut out = Vec::new();
        let source = "192.0.2.9:5070".parse().expect("an address");
        let request = reading.message.expect("it could be read");
        reject.answer(&mut out, &request, &LAX, b"t1", source).end();
        let answer = Message::parse(&out, Framing::Stream).expect("what we write, we read");
        assert_eq!(answer.status(), Some(420));
        assert_eq!(answer.reason_phrase(), b"Bad Extension");
        assert_eq!(answer.values(Name::Unsupported).collect::<Vec<_>>(), [&b"x-one"[..], b"X-Two"]);
        assert_eq!(answer.to_tag(), Ok(Some(&b"t1"[..])));
        assert_eq!(answer_target(&request, source), Some(source));
        // With nothing supported, timer is in the list too.
        let reading = read(&bytes, Framing::Datagram, &STRICT);
        assert_eq!(reading.verdict.to_string(), "reject 400 Missing Max-Forwards");
        assert_eq!(unsupported(&request, Extensions::NONE).count(), 3);
    }

    /// RFC 3261 §8.2.3: a 415 lists what would do.
    #[test]
    fn a_body_that_cannot_be_read_is_refused_with_what_would_do() {
        let bytes = message("INVITE", "Content-Type: text/plain\r\n", "hi");
        let reading = read(&bytes, Framing::Datagram, &LAX);
        let Verdict::Reject(reject) = reading.verdict else { panic!("{}", reading.verdict) };
        let mut out = Vec::new();
        let source = "192.0.2.9:5070".parse().expect("an address");
        reject.answer(&mut out, &reading.message.expect("read"), &LAX, b"t1", source).end();
        let answer = Message::parse(&out, Framing::Stream).expect("what we write, we read");
        assert!(answer.has_token(Name::Accept, b"application/sdp"));
        assert_eq!(answer.status(), Some(415));
        // The same body in a method that we only pass on.
        assert_eq!(judge(&message("INFO", "Content-Type: text/plain\r\n", "hi"), &LAX), "accept");
    }

    /// RFC 3261 §21.4.1, §18.2.2: broken parameters of a Via do not stop the answer.
    #[test]
    fn a_broken_request_is_answered_where_its_via_says_enough() {
        let bytes = b"BYE sip:b SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9:5070;;\r\nTo: <sip:b>\r\nl: 0\r\n\r\n";
        let reading = read(bytes, Framing::Datagram, &LAX);
        assert_eq!(reading.verdict.to_string(), "reject 400 Malformed Via");
        let (message, source) = (reading.message.expect("read"), "192.0.2.1:9".parse().expect("an address"));
        assert_eq!(answer_target(&message, source), Some("192.0.2.1:5070".parse().expect("an address")));
        let too_large = [bytes.as_slice(), &[b'z'; 70_000]].concat();
        assert_eq!(judge(&too_large, &LAX), "reject 513 Message Too Large");
    }

    /// RFC 3261 §18.1.2: a response is taken or dropped, never answered.
    #[test]
    fn responses_are_taken_or_dropped() {
        let response = |start: &str| {
            let request = message("INVITE", "", "");
            let line = request.iter().position(|b| *b == b'\n').expect("a line");
            [start.as_bytes(), b"\r\n", &request[line + 1..]].concat()
        };
        assert_eq!(judge(&response("SIP/2.0 180 Ringing"), &LAX), "accept");
        assert_eq!(judge(&response("SIP/2.0 99 No"), &LAX), "drop Malformed status code");
        assert_eq!(judge(b"SIP/2.0 200 OK\r\nl: 0\r\n\r\n", &LAX), "drop Missing Via");
    }

    #[test]
    fn extensions_are_a_set_of_known_tags() {
        let set = Extensions::from_tokens([&b"TIMER"[..], b"path", b"levitation"]);
        assert_eq!(set, Extensions::TIMER.and(Extensions::PATH));
        assert!(set.contains(b"timer") && !set.contains(b"100rel") && !set.contains(b"levitation"));
    }
}

//! Everything that reads bytes, and what must hold whatever they are. The fuzz targets and the mutation
//! test share it.

use std::hint::black_box;
use std::net::SocketAddr;

use sip::verdict::{self, Rules, Verdict};
use sip::{
    Contact, Frame, Framer, Framing, Message, Name, NameAddr, OwnedMessage, Uri, Via, Writer, response_to,
};

/// Reads bytes as a message in every way there is, answers it, and reads the answer.
pub fn message(bytes: &[u8]) {
    for framing in [Framing::Datagram, Framing::Stream] {
        if let Ok(message) = Message::parse(bytes, framing) {
            getters(&message);
            whole(&message, bytes);
            answered(&message);
            copied(&message);
        }
        for strict_headers in [false, true] {
            let rules = Rules { strict_headers, ..Rules::default() };
            let reading = verdict::read(bytes, framing, &rules);
            black_box(reading.verdict.to_string());
            if let (Some(message), Verdict::Reject(reject)) = (&reading.message, reading.verdict) {
                refused(message, &reject, &rules);
            }
        }
    }
    if let Some(message) = Message::salvage(bytes) {
        getters(&message);
    }
}

fn source() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 5066))
}

/// Every typed getter. None may panic; their results are looked at where they can be wrong.
fn getters(message: &Message<'_>) {
    black_box((message.start(), message.body(), message.call_id().is_ok(), message.cseq().is_ok()));
    for via in message.vias().flatten() {
        black_box((
            sip::response_target(&via, source()),
            via.has_rfc3261_branch(),
            via.params.iter().count(),
        ));
    }
    for address in [message.from(), message.to()].into_iter().flatten() {
        look_at(&address);
    }
    for contact in message.contacts().flatten() {
        if let Contact::Address(address) = contact {
            look_at(&address);
        }
    }
    let names = [Name::PAssertedIdentity, Name::RemotePartyId, Name::Diversion, Name::ReferTo, Name::Route];
    for address in names.into_iter().flat_map(|name| message.addresses(name)).flatten() {
        look_at(&address);
    }
    black_box((message.routes().count(), message.record_routes().count(), message.request_uri().is_ok()));
    black_box((message.max_forwards().is_ok(), message.content_length().is_ok(), message.expires().is_ok()));
    black_box((message.content_type().is_ok(), message.session_expires().is_ok(), message.min_se().is_ok()));
    black_box((message.rseq().is_ok(), message.rack().is_ok(), message.retry_after().is_ok()));
    black_box((message.session_description(), message.parts().count()));
    black_box((message.reasons().count(), message.privacy().count(), message.has_token(Name::Require, b"x")));
    for name in [Name::Authorization, Name::ProxyAuthorization] {
        for credentials in message.credentials(name) {
            black_box((credentials.username(), credentials.realm(), credentials.is_digest()));
        }
    }
    for header in message.headers() {
        assert!(!header.name.is_empty());
        assert!(header.line.starts_with(header.name));
        let space = |b: Option<&u8>| b.is_some_and(|b| b" \t\r\n".contains(b));
        assert!(!space(header.value.first()) && !space(header.value.last()));
        assert!(message.find(header.name).is_some());
    }
}

fn look_at(address: &NameAddr<'_>) {
    black_box((address.tag(), address.display_text(), address.params.iter().count()));
    uri(address.uri);
}

/// Parts are within the bytes, and an owned message is the same message.
fn whole(message: &Message<'_>, bytes: &[u8]) {
    assert!(message.length() <= bytes.len());
    assert!(message.bytes().ends_with(message.body()));
    let owned = OwnedMessage::parse(bytes::Bytes::copy_from_slice(message.bytes()), Framing::Datagram)
        .expect("what was accepted is accepted alone");
    assert_eq!(owned.view().start(), message.start());
    assert_eq!(owned.view().body(), message.body());
    assert!(owned.view().headers().map(|h| h.line).eq(message.headers().map(|h| h.line)));
}

/// A response can be read again and says what the request said.
fn answered(message: &Message<'_>) {
    if verdict::request(message, &Rules::default()) != Verdict::Accept {
        return;
    }
    let mut out = Vec::new();
    response_to(&mut out, message, 183, b"", Some(b"t4g"), source()).end();
    // The tag and the Via's new parameters may be what makes it too long.
    let Ok(answer) = Message::parse(&out, Framing::Stream) else { return };
    assert_eq!(answer.length(), out.len());
    assert_eq!(answer.status(), Some(183));
    assert_eq!(answer.call_id(), message.call_id());
    assert_eq!(answer.cseq(), message.cseq());
    assert_eq!(answer.from(), message.from());
    assert_eq!(answer.to().map(|a| a.uri), message.to().map(|a| a.uri));
    assert!(answer.to().is_ok_and(|to| to.params.has(b"tag")));
    assert_eq!(answer.vias().count(), message.vias().count());
    assert!(answer.vias().skip(1).eq(message.vias().skip(1)));
    let (mine, theirs) = (answer.top_via(), message.top_via());
    assert_eq!(mine.map(|v| v.branch), theirs.map(|v| v.branch));
    assert_eq!(mine.map(|v| (v.transport, v.host, v.port)), theirs.map(|v| (v.transport, v.host, v.port)));
}

/// All lines copied into a new message come back to the byte.
fn copied(message: &Message<'_>) {
    let (Some(method), Some(uri)) = (message.method(), message.uri()) else { return };
    let mut out = Vec::new();
    let mut writer = Writer::request(&mut out, method, uri);
    writer.copy_where(message, |_| true).body_only(message.body());
    if let Ok(copy) = Message::parse(&out, Framing::Stream) {
        let ours = copy.headers().filter(|h| h.id != Name::ContentLength).map(|h| h.line);
        let theirs = message.headers().filter(|h| h.id != Name::ContentLength).map(|h| h.line);
        assert!(ours.eq(theirs));
        assert_eq!((copy.body(), copy.start()), (message.body(), message.start()));
    }
}

/// A refusal has a target and can be read again.
fn refused(message: &Message<'_>, reject: &verdict::Reject, rules: &Rules) {
    assert!(verdict::answer_target(message, source()).is_some());
    let mut out = Vec::new();
    reject.answer(&mut out, message, rules, b"t4g", source()).end();
    if let Ok(answer) = Message::parse(&out, Framing::Stream) {
        assert_eq!(answer.status(), Some(reject.status));
    }
}

/// Cuts a stream at the places that `cuts` names and compares with the stream in one piece, and each
/// message's length with the parser's.
pub fn framer(cuts: &[u8], stream: &[u8]) {
    let mut at_once = Framer::new();
    at_once.push(stream);
    let expected = frames(&mut at_once);
    let mut framer = Framer::new();
    let mut found = Vec::new();
    let (mut left, mut cuts) = (stream, cuts.iter().cycle());
    while !left.is_empty() {
        let size = cuts.next().map_or(1, |cut| usize::from(*cut) + 1).min(left.len());
        let (part, tail) = left.split_at(size);
        framer.push(part);
        found.extend(frames(&mut framer));
        left = tail;
    }
    // Where the stream fails, the two have seen more or less of it; the messages before are the same.
    let messages = |all: Vec<Option<Frame>>| all.into_iter().flatten().collect::<Vec<_>>();
    assert_eq!(found.last() == Some(&None), expected.last() == Some(&None));
    assert_eq!(messages(found), messages(expected));
}

/// The frames there are; `None` for the error that ends them.
fn frames(framer: &mut Framer) -> Vec<Option<Frame>> {
    let mut out = Vec::new();
    while let Some(result) = framer.next() {
        if let Ok(Frame::Message(bytes)) = &result {
            let message = Message::parse(bytes, Framing::Stream).expect("the framer hands out what parses");
            assert_eq!(message.length(), bytes.len());
            let datagram = Message::parse(bytes, Framing::Datagram).expect("and so does a datagram of it");
            assert_eq!(datagram.length(), bytes.len());
        }
        out.push(result.ok());
    }
    assert!(framer.pending() <= sip::limits::MESSAGE_BYTES_MAX);
    out
}

/// Reads bytes as a URI, a Via and an address.
pub fn uri(bytes: &[u8]) {
    if let Ok(uri) = Uri::parse(bytes) {
        black_box((uri.user_decoded(), uri.password_decoded(), uri.param(b"transport"), uri.headers));
        assert!(uri.raw.ends_with(uri.opaque));
        if uri.is_sip() {
            let host_port = uri.host_port();
            assert!(host_port.starts_with(uri.host) && !uri.host.is_empty());
            assert_eq!(host_port.len() > uri.host.len(), uri.port.is_some());
            assert!(uri.host().is_some());
            // Written in brackets, it is read as it was.
            let bracketed = [b"<", bytes, b">"].concat();
            assert_eq!(NameAddr::parse(&bracketed).map(|a| a.uri), Some(bytes));
        }
    }
    if let Some(via) = Via::parse(bytes) {
        assert!(!via.host.is_empty() && !via.transport.is_empty());
        assert_eq!(Via::parse(via.raw), Some(via));
    }
    if let Some(address) = NameAddr::parse(bytes) {
        assert!(!address.uri.is_empty());
        black_box(address.display_text());
    }
}

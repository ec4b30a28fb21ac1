//! An INVITE of 862 bytes, and what a B2BUA does with it: read what a call needs, write the onward one.

use std::hint::black_box;

use sip::{Framing, Message, Method, Name, ParseError, Writer};

/// As a PBX behind a carrier's proxy sends it, with an SDP of two codecs and telephone-event.
pub const INVITE: &str = "INVITE sip:+31201234567@sip-a.example.net;user=phone SIP/2.0\r\n\
Via: SIP/2.0/UDP 192.0.2.17:5060;branch=z9hG4bK-524287-1---5f0c9e4d7a1b2c33;rport\r\n\
Max-Forwards: 69\r\n\
Route: <sip:192.0.2.10;lr>\r\n\
Contact: <sip:easycall@192.0.2.17:5060;transport=udp>\r\n\
To: <sip:+31201234567@sip-a.example.net;user=phone>\r\n\
From: \"Easy Call\" <sip:+31207654321@easycall.example.net>;tag=8d2f1c07\r\n\
Call-ID: 81412NTJkZGU0MzQ2YzA5ODdhZmQ4NTk2NGM@192.0.2.17\r\n\
CSeq: 1 INVITE\r\n\
Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK\r\n\
Supported: 100rel, timer, replaces\r\n\
User-Agent: Exampletel 4.2 (build 2026-11-03, arm6)\r\n\
Content-Type: application/sdp\r\n\
Content-Length: 225\r\n\
\r\n\
v=0\r\n\
o=- 3904 3904 IN IP4 192.0.2.17\r\n\
s=call\r\n\
c=IN IP4 192.0.2.17\r\n\
t=0 0\r\n\
m=audio 17000 RTP/AVP 8 0 101\r\n\
a=rtpmap:8 PCMA/8000\r\n\
a=rtpmap:0 PCMU/8000\r\n\
a=rtpmap:101 telephone-event/8000\r\n\
a=fmtp:101 0-16\r\n\
a=ptime:20\r\n\
a=sendrecv\r\n";

/// Parses, reads the fields of a call and writes the onward INVITE into `out`.
pub fn rewrite(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), ParseError> {
    let message = Message::parse(bytes, Framing::Datagram)?;
    let via = message.top_via()?;
    let (from, to) = (message.from()?, message.to()?);
    let (number, method) = message.cseq()?;
    let contact = message.contact()?;
    let route = message.routes().next().transpose()?;
    black_box((via.branch, via.rport, via.host, from.tag(), to.tag(), number, contact, route));
    black_box((message.call_id()?, message.content_length()?));
    let hops = message.max_forwards()?.unwrap_or(70);
    let uri = message.uri().unwrap_or_default();

    out.clear();
    let mut writer = Writer::request(out, method, uri);
    writer
        .header(
            Name::Via,
            &[b"SIP/2.0/UDP ", b"198.51.100.4:5060", b";branch=z9hG4bK", b"9f8e7d6c5b4a3928", b";rport"],
        )
        .number(Name::MaxForwards, u32::from(hops.saturating_sub(1)))
        .header(Name::From, &[from.display, b" <", from.uri, b">;tag=", b"77aa01bc"])
        .header(Name::To, &[b"<", to.uri, b">"])
        .header(Name::CallId, &[b"4f1d-0a9b8c7d6e5f@198.51.100.4"])
        .cseq(number, Method::Invite)
        .header(Name::Contact, &[b"<sip:", b"198.51.100.4:5060", b">"])
        .copy(&message, Name::Allow)
        .copy(&message, Name::Supported)
        .copy(&message, Name::ContentType)
        .body_only(message.body());
    Ok(())
}

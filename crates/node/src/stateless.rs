//! Answers that keep nothing (RFC 3261 §8.2.7): refusals before a call exists, and OPTIONS.

use std::net::SocketAddr;

use bytes::Bytes;
use call::Secret;
use call::reject::Answer;
use sip::verdict::{Reject, Rules};
use sip::{Message, Name, Uri, Writer, response_to};
use trunk::Transport;

/// The methods that this node serves.
pub(crate) const ALLOW: &[u8] = b"INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, REGISTER";
/// The bodies that it reads.
const ACCEPT: &[u8] = b"application/sdp";
/// The extensions that it knows.
const SUPPORTED: &[u8] = b"timer, 100rel";

/// What every answer of this node needs.
pub(crate) struct Stateless<'a> {
    /// The key of tags.
    pub(crate) secret: &'a Secret,
    /// The domain that Warning names.
    pub(crate) domain: &'a str,
    /// Where the request came from.
    pub(crate) source: SocketAddr,
}

impl Stateless<'_> {
    /// A status, with a Warning that says why.
    pub(crate) fn refuse(&self, request: &Message<'_>, answer: &Answer) -> Bytes {
        self.write(request, answer.status, |writer| {
            let mut code = Vec::with_capacity(4);
            sip::push_number(&mut code, u32::from(answer.warning));
            let text = answer.text.replace(['"', '\\'], "'");
            let parts: [&[u8]; 6] = [&code, b" ", self.domain.as_bytes(), b" \"", text.as_bytes(), b"\""];
            writer.header(Name::Warning, &parts);
            if let Some(cause) = answer.q850 {
                let mut number = Vec::with_capacity(3);
                sip::push_number(&mut number, u32::from(cause));
                writer.header(Name::Reason, &[b"Q.850;cause=", &number]);
            }
            if let Some(seconds) = answer.retry_after_s {
                writer.number(Name::RetryAfter, seconds);
            }
        })
    }

    /// 503 with Retry-After: nothing else is worth its bytes under overload.
    pub(crate) fn overloaded(&self, request: &Message<'_>, retry_after_s: u32) -> Bytes {
        self.write(request, 503, |writer| {
            writer.number(Name::RetryAfter, retry_after_s);
        })
    }

    /// 401 or 407, with challenges (RFC 3261 §22.2, §22.3).
    pub(crate) fn challenge(&self, request: &Message<'_>, status: u16, challenges: &[u8]) -> Bytes {
        self.write(request, status, |writer| writer.buffer().extend_from_slice(challenges))
    }

    /// A status and a header.
    pub(crate) fn with(
        &self,
        request: &Message<'_>,
        status: u16,
        lines: impl FnOnce(&mut Writer<'_>),
    ) -> Bytes {
        self.write(request, status, lines)
    }

    /// A status and nothing more.
    pub(crate) fn plain(&self, request: &Message<'_>, status: u16) -> Bytes {
        self.write(request, status, |_| {})
    }

    /// 405, with what is allowed (§8.2.1).
    pub(crate) fn not_allowed(&self, request: &Message<'_>, allow: &[u8]) -> Bytes {
        self.write(request, 405, |writer| {
            writer.header(Name::Allow, &[allow]);
        })
    }

    /// 200 to OPTIONS (§11.2).
    pub(crate) fn capabilities(&self, request: &Message<'_>) -> Bytes {
        self.write(request, 200, |writer| {
            writer.header(Name::Allow, &[ALLOW]).header(Name::Accept, &[ACCEPT]);
            writer.header(Name::Supported, &[SUPPORTED]);
        })
    }

    /// What the protocol's own verdict demands.
    pub(crate) fn verdict(&self, request: &Message<'_>, reject: &Reject, rules: &Rules) -> Bytes {
        let mut out = Vec::with_capacity(512);
        let tag = self.tag(request);
        reject.answer(&mut out, request, rules, &tag, self.source).end();
        out.into()
    }

    fn write(&self, request: &Message<'_>, status: u16, more: impl FnOnce(&mut Writer<'_>)) -> Bytes {
        let mut out = Vec::with_capacity(512);
        let tag = self.tag(request);
        let mut writer = response_to(&mut out, request, status, b"", Some(&tag), self.source);
        more(&mut writer);
        writer.end();
        out.into()
    }

    /// The same tag for every copy of a request (§8.2.7). It names no call.
    fn tag(&self, request: &Message<'_>) -> [u8; 16] {
        let branch = request.top_via().ok().and_then(|via| via.branch).unwrap_or_default();
        let parts = [b"stateless", request.call_id().unwrap_or_default(), branch];
        let digest = self.secret.digest(&parts);
        std::array::from_fn(|i| {
            let nibble = (digest >> (i * 4)) as u8 & 0xF;
            if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
        })
    }
}

/// Where the top Via of a response says that the client listens: the address that we saw, sent-by's port
/// (RFC 3261 §18.2.2). `seen` where it can't be read.
pub(crate) fn sent_by(response: &[u8], seen: SocketAddr) -> SocketAddr {
    let Ok(message) = Message::parse(response, sip::Framing::Stream) else { return seen };
    match message.top_via() {
        Ok(via) => SocketAddr::new(seen.ip(), via.port_or_default()),
        Err(_) => seen,
    }
}

/// Where a request of ours inside a dialog goes by itself: to its first Route or its target (RFC 3261 §12.2.1.1). `seen`, the far
/// end of the connection that it would have used, is a port that nobody listens on where the peer had dialled. That
/// is given too where a name would have to be looked up first.
pub(crate) fn next_hop(request: &[u8], transport: Transport, seen: SocketAddr) -> SocketAddr {
    let Ok(message) = Message::parse(request, sip::Framing::Stream) else { return seen };
    if !message.to().is_ok_and(|to| to.tag().is_some()) {
        return seen;
    }
    let uri = match message.routes().next() {
        Some(route) => route.ok().and_then(|route| Uri::parse(route.uri).ok()),
        None => message.request_uri().ok(),
    };
    uri.and_then(|uri| uri.socket_address(transport.default_port())).unwrap_or(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(uri: &str, lines: &str, transport: Transport) -> String {
        let request = format!(
            "BYE {uri} SIP/2.0\r\nVia: SIP/2.0/TCP 203.0.113.1;branch=z9hG4bK1\r\n{lines}From: <sip:a@x>;tag=1\r\n\
             Call-ID: c\r\nCSeq: 2 BYE\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        );
        let seen = "192.0.2.9:40000".parse().expect("literal");
        next_hop(request.as_bytes(), transport, seen).to_string()
    }

    #[test]
    fn a_request_inside_a_dialog_finds_its_way_without_its_connection() {
        // RFC 3261 §12.2.1.1, §19.1.2: the first Route, or the target; 5060, and 5061 for TLS.
        let to = "To: <sip:b@x>;tag=2\r\n";
        let routed = format!("{to}Route: <sip:192.0.2.2:5070;lr>, <sip:192.0.2.3;lr>\r\n");
        assert_eq!(hop("sip:b@192.0.2.1:5080", to, Transport::Tcp), "192.0.2.1:5080");
        assert_eq!(hop("sip:b@192.0.2.1", to, Transport::Tcp), "192.0.2.1:5060");
        assert_eq!(hop("sip:b@[2001:db8::1]", to, Transport::Tls), "[2001:db8::1]:5061");
        assert_eq!(hop("sip:b@192.0.2.1", &routed, Transport::Tcp), "192.0.2.2:5070");
    }

    #[test]
    fn any_other_goes_where_it_was_to_go() {
        let to = "To: <sip:b@x>;tag=2\r\n";
        assert_eq!(hop("sip:b@pbx.example.net", to, Transport::Tcp), "192.0.2.9:40000", "a name");
        assert_eq!(hop("sip:b@192.0.2.1", "To: <sip:b@x>\r\n", Transport::Tcp), "192.0.2.9:40000");
        assert_eq!(hop("tel:+31201234567", to, Transport::Tcp), "192.0.2.9:40000");
    }
}

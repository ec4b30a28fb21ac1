//! Answers that keep nothing (RFC 3261 §8.2.7): refusals before a call exists, and OPTIONS.

use std::net::SocketAddr;

use bytes::Bytes;
use call::Secret;
use call::reject::Answer;
use sip::verdict::{Reject, Rules};
use sip::{Message, Name, Writer, response_to};

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

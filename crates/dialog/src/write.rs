//! Writes the requests of a dialog (RFC 3261 §12.2.1.1), and those that follow an INVITE hop by hop:
//! CANCEL (§9.1) and the ACK to a refusal (§17.1.1.3).

use sip::{Message, Method, Name, Writer};

use crate::DialogState;
use crate::state::uri_of;

/// The parts of a request that are not the dialog's.
#[derive(Clone, Copy, Debug)]
pub struct InDialog<'a> {
    /// Its method.
    pub method: Method<'a>,
    /// Its number: a fresh one of ours, or the INVITE's for ACK.
    pub cseq: u32,
    /// The complete value of our Via.
    pub via: &'a [u8],
    /// The complete value of Contact, for requests that have one.
    pub contact: Option<&'a [u8]>,
    /// Further header lines, each with its CRLF.
    pub extra: &'a [u8],
    /// The body.
    pub body: Option<Body<'a>>,
}

/// A body and what it is.
#[derive(Clone, Copy, Debug)]
pub struct Body<'a> {
    /// The value of Content-Type.
    pub content_type: &'a [u8],
    /// The body.
    pub bytes: &'a [u8],
}

impl DialogState {
    /// Writes a request of this dialog: Request-URI and Route by loose or strict routing, From, To, Call-ID, CSeq,
    /// Max-Forwards 70, then what `request` adds.
    pub fn write_request(&self, out: &mut Vec<u8>, request: &InDialog<'_>) {
        let strict = self.route_set.first().map(|route| uri_of(route)).filter(|uri| !is_loose(uri));
        let uri = match strict {
            // §12.2.1.1: a strict router wants itself as Request-URI and the target as the last Route.
            Some(router) => router,
            None => &*self.remote_target,
        };
        let mut writer = Writer::request(out, request.method, uri.as_bytes());
        writer.header(Name::Via, &[request.via]).number(Name::MaxForwards, MAX_FORWARDS);
        for route in self.route_set.iter().skip(usize::from(strict.is_some())) {
            writer.header(Name::Route, &[route.as_bytes()]);
        }
        if strict.is_some() {
            writer.header(Name::Route, &[b"<", self.remote_target.as_bytes(), b">"]);
        }
        writer.header(Name::From, &[self.local.as_bytes(), b";tag=", self.local_tag.as_bytes()]);
        // RFC 2543 peers have no tag, and none is sent to them (§12.2.1.1).
        let tag: &[u8] = if self.remote_tag.is_empty() { b"" } else { b";tag=" };
        writer.header(Name::To, &[self.remote.as_bytes(), tag, self.remote_tag.as_bytes()]);
        writer.header(Name::CallId, &[self.call_id.as_bytes()]);
        writer.cseq(request.cseq, request.method);
        if let Some(contact) = request.contact {
            writer.header(Name::Contact, &[contact]);
        }
        writer.buffer().extend_from_slice(request.extra);
        match request.body {
            Some(body) => writer.body(body.content_type, body.bytes),
            None => writer.end(),
        }
    }
}

/// Writes the CANCEL of an INVITE that we sent (RFC 3261 §9.1): the same Request-URI, topmost Via, Route, From, To,
/// Call-ID and number. `extra`: further header lines (Reason), each with its CRLF.
pub fn write_cancel(out: &mut Vec<u8>, invite: &Message<'_>, extra: &[u8]) {
    write_companion(out, invite, Method::Cancel, invite.get(Name::To), extra);
}

/// Writes the ACK to a refusal of an INVITE that we sent (RFC 3261 §17.1.1.3): as the INVITE, with the response's To.
pub fn write_refusal_ack(out: &mut Vec<u8>, invite: &Message<'_>, refusal: &Message<'_>) {
    write_companion(out, invite, Method::Ack, refusal.get(Name::To), b"");
}

/// A request that shares the INVITE's transaction.
fn write_companion(
    out: &mut Vec<u8>,
    invite: &Message<'_>,
    method: Method<'_>,
    to: Option<&[u8]>,
    extra: &[u8],
) {
    // It was ours, so it has them all; an empty value would be ours too, and is answered with a 400.
    let (number, _) = invite.cseq().unwrap_or((0, method));
    let mut writer = Writer::request(out, method, invite.uri().unwrap_or_default());
    writer.header(Name::Via, &[invite.values(Name::Via).next().unwrap_or_default()]);
    writer.number(Name::MaxForwards, MAX_FORWARDS).copy(invite, Name::Route).copy(invite, Name::From);
    writer.header(Name::To, &[to.unwrap_or_default()]).copy(invite, Name::CallId).cseq(number, method);
    writer.buffer().extend_from_slice(extra);
    writer.end();
}

/// Whether a route's URI has the `lr` parameter (RFC 3261 §19.1.1).
fn is_loose(uri: &str) -> bool {
    let params = uri.split_once('@').map_or(uri, |(_, host)| host);
    let params = params.split_once('?').map_or(params, |(params, _)| params);
    let mut names =
        params.split(';').skip(1).map(|param| param.split_once('=').map_or(param, |(name, _)| name));
    names.any(|name| name.trim().eq_ignore_ascii_case("lr"))
}

/// RFC 3261 §8.1.1.6.
const MAX_FORWARDS: u32 = 70;

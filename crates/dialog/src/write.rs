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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{invite, parse, response, uac, uas};

    fn bye(cseq: u32) -> InDialog<'static> {
        let via = b"SIP/2.0/UDP us.example;branch=z9hG4bKx";
        InDialog { method: Method::Bye, cseq, via, contact: None, extra: b"", body: None }
    }

    #[track_caller]
    fn check(state: &DialogState, request: &InDialog<'_>, expected: &str) {
        let mut out = Vec::new();
        state.write_request(&mut out, request);
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn a_request_towards_the_caller_swaps_its_from_and_to() {
        // RFC 3261 §12.2.1.1; signalwire/freeswitch#2037: tags swapped on the inbound leg.
        let expected = "BYE sip:alice@192.0.2.1:5070 SIP/2.0\r\nVia: SIP/2.0/UDP us.example;branch=z9hG4bKx\r\n\
            Max-Forwards: 70\r\nFrom: Bob <sip:bob@us.example>;tag=b1\r\n\
            To: \"Alice\" <sip:alice@a.example>;tag=a1\r\nCall-ID: c1@a\r\nCSeq: 1 BYE\r\n\
            Content-Length: 0\r\n\r\n";
        check(uas("").state(), &bye(1), expected);
    }

    #[test]
    fn loose_routes_go_in_order_for_a_callee_and_reversed_for_a_caller() {
        // RFC 3261 §12.1.1, §12.1.2; signalwire/freeswitch#2443: route set stored in reverse for the inbound leg.
        let routes = "Record-Route: <sip:p1;lr>\r\nRecord-Route: <sip:p2;lr>, <sip:p3;lr>\r\n";
        let mut out = Vec::new();
        uas(routes).state().write_request(&mut out, &bye(1));
        let text = String::from_utf8_lossy(&out).into_owned();
        assert!(text.starts_with("BYE sip:alice@192.0.2.1:5070 SIP/2.0\r\n"), "{text}");
        assert!(
            text.contains("Route: <sip:p1;lr>\r\nRoute: <sip:p2;lr>\r\nRoute: <sip:p3;lr>\r\n"),
            "{text}"
        );
        out.clear();
        uac(routes).state().write_request(&mut out, &bye(11));
        let text = String::from_utf8_lossy(&out).into_owned();
        assert!(text.starts_with("BYE sip:bob@192.0.2.9 SIP/2.0\r\n"), "{text}");
        assert!(
            text.contains("Route: <sip:p3;lr>\r\nRoute: <sip:p2;lr>\r\nRoute: <sip:p1;lr>\r\n"),
            "{text}"
        );
    }

    #[test]
    fn a_strict_router_becomes_the_request_uri() {
        // The example of RFC 3261 §12.2.1.1 with §16.12.1.2: proxy1 has no lr.
        let dialog = uas("Record-Route: <sip:proxy1>, <sip:proxy2>, <sip:proxy3;lr>, <sip:proxy4>\r\n");
        let expected = "BYE sip:proxy1 SIP/2.0\r\nVia: SIP/2.0/UDP us.example;branch=z9hG4bKx\r\n\
            Max-Forwards: 70\r\nRoute: <sip:proxy2>\r\nRoute: <sip:proxy3;lr>\r\nRoute: <sip:proxy4>\r\n\
            Route: <sip:alice@192.0.2.1:5070>\r\nFrom: Bob <sip:bob@us.example>;tag=b1\r\n\
            To: \"Alice\" <sip:alice@a.example>;tag=a1\r\nCall-ID: c1@a\r\nCSeq: 1 BYE\r\n\
            Content-Length: 0\r\n\r\n";
        check(dialog.state(), &bye(1), expected);
    }

    #[test]
    fn the_ack_to_a_2xx_carries_the_number_of_its_invite_and_a_delayed_answer() {
        // RFC 3261 §13.2.2.4.
        let request = InDialog {
            method: Method::Ack,
            cseq: 10,
            via: b"SIP/2.0/UDP us.example;branch=z9hG4bKx",
            contact: Some(b"<sip:us@us.example>"),
            extra: b"X-A: 1\r\n",
            body: Some(Body { content_type: b"application/sdp", bytes: b"v=0\r\n" }),
        };
        let expected = "ACK sip:bob@192.0.2.9 SIP/2.0\r\nVia: SIP/2.0/UDP us.example;branch=z9hG4bKx\r\n\
            Max-Forwards: 70\r\nFrom: <sip:us@us.example>;tag=u1\r\nTo: <sip:bob@b.example>;tag=b9\r\n\
            Call-ID: c2@us\r\nCSeq: 10 ACK\r\nContact: <sip:us@us.example>\r\nX-A: 1\r\n\
            Content-Type: application/sdp\r\nContent-Length: 5\r\n\r\nv=0\r\n";
        check(uac("").state(), &request, expected);
    }

    #[test]
    fn a_peer_without_a_tag_gets_none() {
        // RFC 3261 §12.2.1.1: a null remote tag is left out.
        let text = invite("Contact: <sip:alice@192.0.2.1>\r\n").replace(";tag=a1", "");
        let settings = crate::Settings::default();
        let dialog = crate::Dialog::from_invite(&parse(&text), "b1", 1, true, settings).expect("a dialog");
        let mut out = Vec::new();
        dialog.state().write_request(&mut out, &bye(1));
        assert!(String::from_utf8_lossy(&out).contains("\r\nTo: \"Alice\" <sip:alice@a.example>\r\n"));
    }

    #[test]
    fn a_cancel_repeats_what_identifies_its_invite() {
        // RFC 3261 §9.1.
        let text = invite("Route: <sip:p1;lr>\r\nVia: SIP/2.0/UDP far;branch=z9hG4bKj\r\n");
        let mut out = Vec::new();
        write_cancel(&mut out, &parse(&text), b"Reason: SIP;cause=200\r\n");
        let expected = "CANCEL sip:bob@us.example SIP/2.0\r\nVia: SIP/2.0/UDP a.example;branch=z9hG4bKi\r\n\
            Max-Forwards: 70\r\nRoute: <sip:p1;lr>\r\nFrom: \"Alice\" <sip:alice@a.example>;tag=a1\r\n\
            To: Bob <sip:bob@us.example>\r\nCall-ID: c1@a\r\nCSeq: 7 CANCEL\r\nReason: SIP;cause=200\r\n\
            Content-Length: 0\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn the_ack_to_a_refusal_has_its_to_and_the_rest_of_the_invite() {
        // RFC 3261 §17.1.1.3.
        let refusal = response(486, "b9", "INVITE", 7, "");
        let mut out = Vec::new();
        write_refusal_ack(&mut out, &parse(&invite("")), &parse(&refusal));
        let expected = "ACK sip:bob@us.example SIP/2.0\r\nVia: SIP/2.0/UDP a.example;branch=z9hG4bKi\r\n\
            Max-Forwards: 70\r\nFrom: \"Alice\" <sip:alice@a.example>;tag=a1\r\nTo: <sip:bob@b.example>;tag=b9\r\n\
            Call-ID: c1@a\r\nCSeq: 7 ACK\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn lr_is_a_parameter_of_the_uri_in_any_case_and_with_any_value() {
        for (uri, loose) in [
            ("sip:p;lr", true),
            ("sip:p;LR=on", true),
            ("sip:p;transport=udp;lr", true),
            ("sip:lr@p", false),
            ("sip:u;lr@p", false),
            ("sip:p;lrx", false),
            ("sip:p?x=;lr", false),
        ] {
            assert_eq!(is_loose(uri), loose, "{uri}");
        }
    }
}

//! Messages out, from templates and byte pushes (RFC 3261 §7, §8.1.1, §8.2.6). rsip's own printing loses
//! parameters and costs a dozen allocations a message; only reading goes through rsip.

use bytes::Bytes;

use crate::message::{Message, Method};

/// What a request says before its headers that differ.
pub struct Request<'a> {
    /// The method.
    pub method: Method,
    /// The Request-URI.
    pub uri: &'a str,
    /// Our Via without the branch: `SIP/2.0/UDP host:port;rport;branch=`.
    pub via: &'a str,
    /// The branch.
    pub branch: &'a str,
    /// The route set, first hop first.
    pub routes: &'a [String],
    /// What proxies on our side have recorded, the last of them first.
    pub record_routes: &'a [String],
    /// From with its tag.
    pub from: &'a str,
    /// To, with its tag inside a dialog.
    pub to: &'a str,
    /// Call-ID.
    pub call_id: &'a str,
    /// CSeq's number.
    pub cseq: u32,
    /// Our Contact URI, where the method carries one.
    pub contact: Option<&'a str>,
    /// A session description.
    pub sdp: Option<&'a [u8]>,
}

impl Request<'_> {
    /// The request as bytes.
    pub fn write(&self) -> Bytes {
        let mut out = Vec::with_capacity(640 + self.sdp.map_or(0, <[u8]>::len));
        let method = self.method.as_str();
        push(&mut out, &[method, " ", self.uri, " SIP/2.0\r\nVia: ", self.via, self.branch]);
        push(&mut out, &["\r\nMax-Forwards: 70\r\n"]);
        for route in self.routes {
            push(&mut out, &["Route: ", route, "\r\n"]);
        }
        for route in self.record_routes {
            push(&mut out, &["Record-Route: ", route, "\r\n"]);
        }
        push(&mut out, &["From: ", self.from, "\r\nTo: ", self.to, "\r\nCall-ID: ", self.call_id]);
        push(&mut out, &["\r\nCSeq: "]);
        push_number(&mut out, u64::from(self.cseq));
        push(&mut out, &[" ", method, "\r\n"]);
        finish(&mut out, self.contact, self.sdp);
        out.into()
    }
}

/// A response to `request` as bytes: Via, From, To, Call-ID, CSeq and Record-Route are copied (§8.2.6.2,
/// §12.1.1), `to_tag` is added where To has none.
pub fn respond(
    request: &Message,
    status: u16,
    to_tag: &str,
    contact: Option<&str>,
    sdp: Option<&[u8]>,
) -> Bytes {
    let mut out = Vec::with_capacity(640 + sdp.map_or(0, <[u8]>::len));
    push(&mut out, &["SIP/2.0 "]);
    push_number(&mut out, u64::from(status));
    push(&mut out, &[" ", reason(status), "\r\n"]);
    for via in &request.vias {
        push(&mut out, &["Via: ", via, "\r\n"]);
    }
    if (101..300).contains(&status) {
        for route in &request.record_routes {
            push(&mut out, &["Record-Route: ", route, "\r\n"]);
        }
    }
    push(&mut out, &["From: ", &request.from, "\r\nTo: ", &request.to]);
    if request.to_tag.is_empty() && status > 100 {
        push(&mut out, &[";tag=", to_tag]);
    }
    push(&mut out, &["\r\nCall-ID: ", &request.call_id, "\r\nCSeq: "]);
    push_number(&mut out, u64::from(request.cseq.0));
    push(&mut out, &[" ", request.cseq.1.as_str(), "\r\n"]);
    if status == 407 {
        push(&mut out, &[CHALLENGE]);
    }
    finish(&mut out, contact, sdp);
    out.into()
}

/// Appends a decimal number.
pub fn push_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + u8::try_from(number % 10).unwrap_or(0);
        at -= 1;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(at..).unwrap_or_default());
}

fn finish(out: &mut Vec<u8>, contact: Option<&str>, sdp: Option<&[u8]>) {
    match contact {
        // A list, which a 3xx has.
        Some(list) if list.starts_with('<') => push(out, &["Contact: ", list, "\r\n"]),
        Some(contact) => push(out, &["Contact: <", contact, ">\r\nAllow: ", ALLOW, "\r\n"]),
        None => {}
    }
    if let Some(sdp) = sdp {
        push(out, &["Content-Type: application/sdp\r\nContent-Length: "]);
        push_number(out, sdp.len() as u64);
        out.extend_from_slice(b"\r\n\r\n");
        out.extend_from_slice(sdp);
    } else {
        out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
    }
}

fn push(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        302 => "Moved Temporarily",
        183 => "Session Progress",
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        491 => "Request Pending",
        500 => "Server Internal Error",
        503 => "Service Unavailable",
        600 => "Busy Everywhere",
        603 => "Decline",
        _ => "Refused",
    }
}

/// What a 407 must say (RFC 3261 §22.3): a challenge that nobody can answer.
const CHALLENGE: &str =
    "Proxy-Authenticate: Digest realm=\"elsewhere.example\", nonce=\"4f\", algorithm=MD5, qop=\"auth\"\r\n";

const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, INFO";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_print_as_decimals() {
        let text = |number| {
            let mut out = Vec::new();
            push_number(&mut out, number);
            String::from_utf8(out).expect("digits")
        };
        assert_eq!(text(0), "0");
        assert_eq!(text(1020), "1020");
        assert_eq!(text(u64::MAX), "18446744073709551615");
    }

    #[test]
    fn a_request_and_its_response_are_written_whole() {
        let request = Request {
            method: Method::Bye,
            uri: "sip:b@192.0.2.2",
            via: "SIP/2.0/UDP 192.0.2.1:5070;rport;branch=",
            branch: "z9hG4bK1",
            routes: &["<sip:p;lr>".to_owned()],
            record_routes: &[],
            from: "<sip:a@x>;tag=1",
            to: "<sip:b@x>",
            call_id: "c",
            cseq: 2,
            contact: None,
            sdp: None,
        };
        let bytes = request.write();
        assert_eq!(
            std::str::from_utf8(&bytes).expect("text"),
            "BYE sip:b@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5070;rport;branch=z9hG4bK1\r\n\
             Max-Forwards: 70\r\nRoute: <sip:p;lr>\r\nFrom: <sip:a@x>;tag=1\r\nTo: <sip:b@x>\r\nCall-ID: c\r\n\
             CSeq: 2 BYE\r\nContent-Length: 0\r\n\r\n"
        );
        let message = Message::read(&bytes).expect("valid");
        let response = respond(&message, 486, "t", None, None);
        assert_eq!(
            std::str::from_utf8(&response).expect("text"),
            "SIP/2.0 486 Busy Here\r\nVia: SIP/2.0/UDP 192.0.2.1:5070;rport;branch=z9hG4bK1\r\n\
             From: <sip:a@x>;tag=1\r\nTo: <sip:b@x>;tag=t\r\nCall-ID: c\r\nCSeq: 2 BYE\r\nContent-Length: 0\r\n\r\n"
        );
        // RFC 3261 §22.3: a 407 says what it wants, and nothing else does.
        let challenge = respond(&message, 407, "t", None, None);
        let challenge = std::str::from_utf8(&challenge).expect("text");
        assert!(
            challenge.contains("\r\nProxy-Authenticate: Digest realm=\"elsewhere.example\", "),
            "{challenge}"
        );
        assert!(!std::str::from_utf8(&response).expect("text").contains("Authenticate"));
    }
}

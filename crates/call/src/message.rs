//! The messages that a call writes itself: its egress INVITE with its CANCEL and ACKs, and its responses.

use bytes::Bytes;
use machine::museum::planted;
use sip::{Header, Message, Method, Name, Writer, push_host_port, push_number, response_to};
use trunk::settings::Settings;
use trunk::{Caller, Plan, Presented, Target, Transport};

use crate::admission::settings;
use crate::call::Call;
use crate::record::{Admit, Challenged, Flow, Side};
use crate::reject::Answer;
use crate::route::{self, Branch, Tag};
use crate::setup::Verdict;

impl Call {
    /// The INVITE of an attempt. The same attempt gives the same bytes, at a successor too.
    pub(crate) fn write_invite(
        &self,
        admit: &Admit,
        invite: &Message<'_>,
        leg: &Outgoing<'_>,
        offer: &[u8],
    ) -> Bytes {
        let callee = settings(&self.context.resources, &leg.target.party);
        let mut out = Vec::with_capacity(invite.length() + 640);
        let mut writer = Writer::request(&mut out, Method::Invite, leg.target.uri.as_bytes());
        self.push_via(writer.buffer(), &leg.flow, leg.branch);
        let hops = invite.max_forwards().ok().flatten().unwrap_or(70);
        writer.number(Name::MaxForwards, u32::from(hops.saturating_sub(1)));
        // Carriers are inside the trust domain (RFC 3325 §7); customers are not.
        let trusted = matches!(leg.target.party, trunk::Party::Gateway { .. });
        let presented = callee.map(|settings| settings.identity.present(&admit.caller, trusted));
        self.push_from(writer.buffer(), presented.as_ref(), &self.egress_tag(leg.number));
        self.push_to(&mut writer, leg.target);
        writer.header(Name::CallId, &[&route::call_id(&self.context.secret, self.id, self.seed, leg.number)]);
        writer.cseq(INVITE_CSEQ, Method::Invite);
        self.push_contact(writer.buffer(), &leg.flow, is_sips(leg.target.uri.as_bytes()));
        self.push_answer(&mut writer, leg);
        if let Some(presented) = &presented {
            self.push_identity(writer.buffer(), presented);
        }
        push_abilities(&mut writer, callee);
        self.push_session_request(writer.buffer(), callee, leg.session_expires);
        let caller = settings(&self.context.resources, &self.party);
        writer.copy_where(invite, |header| !is_ours(header) && passes(header, caller, callee));
        self.push_added(&mut writer, callee, &admit.plan, &admit.caller, leg.number);
        finish(&mut writer, invite, offer);
        out.into()
    }

    /// Whom the call is for, and the way there: a registered account's Contact is the Request-URI, its Path the Route
    /// (RFC 3327 §5.2), and To says the number.
    fn push_to(&self, writer: &mut Writer<'_>, target: &Target) {
        let Some(registered) = &target.registered else {
            // A redirect changes where a request goes, not whom it is for (RFC 3261 §8.1.3.4).
            let whom = target.redirected.as_ref().map_or(&target.uri, |redirected| &redirected.server);
            writer.header(Name::To, &[b"<", whom.as_bytes(), b">"]);
            return;
        };
        for route in &registered.route {
            writer.header(Name::Route, &[route.as_bytes()]);
        }
        let (user, domain) = (registered.user.as_bytes(), self.context.domain.as_bytes());
        writer.header(Name::To, &[b"<sip:", user, b"@", domain, b">"]);
    }

    /// A provisional answer to the caller. `extra`: whole header lines, each with its CRLF.
    pub(crate) fn provisional(
        &self,
        invite: &Message<'_>,
        flow: Flow,
        status: u16,
        tag: Option<&[u8]>,
        extra: &[u8],
    ) -> Bytes {
        let mut out = Vec::with_capacity(512);
        let mut writer = response_to(&mut out, invite, status, b"", tag, flow.remote);
        writer.buffer().extend_from_slice(extra);
        writer.end();
        out.into()
    }

    /// A final answer to the caller that makes no dialog.
    pub(crate) fn final_response(&self, invite: &Message<'_>, flow: Flow, verdict: &Verdict) -> Bytes {
        let tag = self.ingress_tag(&[b"final"]);
        match verdict {
            Verdict::Ours(answer) => self.answer(invite, flow, answer, Some(&tag)),
            Verdict::Theirs(response) => {
                let response = response.view();
                let status = verdict.status();
                let unchanged = response.status() == Some(status);
                let reason: &[u8] = if unchanged { response.reason_phrase() } else { b"" };
                let mut out = Vec::with_capacity(512);
                let mut writer = response_to(&mut out, invite, status, reason, Some(&tag), flow.remote);
                let caller = settings(&self.context.resources, &self.party);
                let callee = self.callee.as_ref().and_then(|p| settings(&self.context.resources, p));
                writer.copy_where(&response, |header| {
                    // A 503's Retry-After is the callee's, not ours (contract: its 503 becomes 500).
                    !is_ours(header)
                        && (unchanged || header.id != Name::RetryAfter)
                        && passes(header, callee, caller)
                });
                finish(&mut writer, &response, response.body());
                out.into()
            }
        }
    }

    /// An answer of ours to any request.
    pub(crate) fn plain_response(&self, request: &Message<'_>, flow: Flow, answer: &Answer) -> Bytes {
        let tag = self.ingress_tag(&[b"plain"]);
        self.answer(request, flow, answer, Some(&tag))
    }

    fn answer(&self, request: &Message<'_>, flow: Flow, answer: &Answer, tag: Option<&[u8]>) -> Bytes {
        let mut out = Vec::with_capacity(512);
        let mut writer = response_to(&mut out, request, answer.status, b"", tag, flow.remote);
        if !answer.text.is_empty() {
            let mut code = Vec::new();
            push_number(&mut code, u32::from(answer.warning));
            let text = quoted(&answer.text);
            writer.header(Name::Warning, &[&code, b" ", self.context.domain.as_bytes(), b" ", &text]);
        }
        if let Some(cause) = answer.q850 {
            let mut number = Vec::new();
            push_number(&mut number, u32::from(cause));
            writer.header(Name::Reason, &[b"Q.850;cause=", &number]);
        }
        if let Some(seconds) = answer.retry_after_s {
            writer.number(Name::RetryAfter, seconds);
        }
        if let Some(seconds) = answer.min_se_s {
            writer.number(Name::MinSe, seconds);
        }
        if answer.needs_timer {
            writer.header(Name::Require, &[b"timer"]);
        }
        writer.buffer().extend_from_slice(&answer.challenge);
        writer.end();
        out.into()
    }

    /// A 1xx or 2xx of the callee, as the caller gets it: in a dialog of ours (RFC 3261 §12.1.1).
    pub(crate) fn relayed_response(
        &self,
        request: &Message<'_>,
        flow: Flow,
        response: &Message<'_>,
        tag: &[u8],
        extra: &[u8],
        body: &[u8],
    ) -> Bytes {
        let mut out = Vec::with_capacity(response.length() + 256);
        let status = response.status().unwrap_or(500);
        let mut writer =
            response_to(&mut out, request, status, response.reason_phrase(), Some(tag), flow.remote);
        writer.copy(request, Name::RecordRoute);
        self.push_contact(writer.buffer(), &flow, request.uri().is_some_and(is_sips));
        let caller = settings(&self.context.resources, &self.party);
        push_abilities(&mut writer, caller);
        writer.buffer().extend_from_slice(extra);
        let callee = self.callee.as_ref().and_then(|party| settings(&self.context.resources, party));
        writer.copy_where(response, |header| !is_ours(header) && passes(header, callee, caller));
        finish(&mut writer, response, body);
        out.into()
    }

    /// The To tag that the caller sees.
    pub(crate) fn ingress_tag(&self, parts: &[&[u8]]) -> Tag {
        route::tag(&self.context.secret, self.id, Side::Ingress, parts)
    }

    /// The From tag of an attempt.
    pub(crate) fn egress_tag(&self, attempt: u16) -> Tag {
        route::tag(&self.context.secret, self.id, Side::Egress, &[&attempt.to_be_bytes()])
    }

    /// The branch of an attempt's INVITE.
    pub(crate) fn attempt_branch(&self, attempt: u16) -> Branch {
        if planted("branch-drawn-anew") {
            let epoch = self.context.epoch.0.to_be_bytes();
            return route::branch(
                &self.context.secret,
                self.id,
                &[b"invite", &attempt.to_be_bytes(), &epoch],
            );
        }
        route::branch(&self.context.secret, self.id, &[b"invite", &attempt.to_be_bytes()])
    }

    /// A whole Via line.
    pub(crate) fn push_via(&self, out: &mut Vec<u8>, flow: &Flow, branch: &[u8]) {
        out.extend_from_slice(b"Via: ");
        self.push_via_value(out, flow, branch);
        out.extend_from_slice(b"\r\n");
    }

    /// A Via value; `rport` so that answers come back the way the request went (RFC 3581).
    pub(crate) fn via_value(&self, flow: &Flow, branch: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(96);
        self.push_via_value(&mut out, flow, branch);
        out
    }

    fn push_via_value(&self, out: &mut Vec<u8>, flow: &Flow, branch: &[u8]) {
        out.extend_from_slice(match flow.transport {
            Transport::Udp => b"SIP/2.0/UDP ",
            Transport::Tcp => b"SIP/2.0/TCP ",
            Transport::Tls => b"SIP/2.0/TLS ",
        });
        self.push_our_address(out, flow);
        out.extend_from_slice(b";branch=");
        out.extend_from_slice(branch);
        out.extend_from_slice(b";rport");
    }

    /// A whole Contact line: the home's address, and nothing of who is behind it. `secure`: the request it stands in, or
    /// answers, is for a SIPS URI, and so must be those that follow (RFC 3261 §8.1.1.8, §12.1.1).
    pub(crate) fn push_contact(&self, out: &mut Vec<u8>, flow: &Flow, secure: bool) {
        out.extend_from_slice(b"Contact: ");
        self.push_contact_value(out, flow, secure);
        out.extend_from_slice(b"\r\n");
    }

    /// A Contact value.
    pub(crate) fn contact_value(&self, flow: &Flow, secure: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        self.push_contact_value(&mut out, flow, secure);
        out
    }

    fn push_contact_value(&self, out: &mut Vec<u8>, flow: &Flow, secure: bool) {
        let secure = secure && flow.transport == Transport::Tls;
        out.extend_from_slice(if secure { b"<sips:" } else { b"<sip:" });
        self.push_our_address(out, flow);
        out.extend_from_slice(match flow.transport {
            Transport::Tls if secure => b">",
            Transport::Udp => b">",
            Transport::Tcp => b";transport=tcp>",
            Transport::Tls => b";transport=tls>",
        });
    }

    fn push_our_address(&self, out: &mut Vec<u8>, flow: &Flow) {
        match &self.context.advertise {
            None => push_host_port(out, flow.local),
            Some(name) => {
                out.extend_from_slice(name.as_bytes());
                if flow.local.port() != flow.transport.default_port() {
                    out.push(b':');
                    push_number(out, u32::from(flow.local.port()));
                }
            }
        }
    }

    fn push_from(&self, out: &mut Vec<u8>, presented: Option<&Presented>, tag: &[u8]) {
        out.extend_from_slice(b"From: ");
        if let Some(display) = presented.and_then(|presented| presented.from_display.as_deref()) {
            push_quoted(out, display);
            out.push(b' ');
        }
        out.extend_from_slice(b"<sip:");
        let anonymous = presented.is_none_or(|presented| presented.anonymous);
        match presented.map(|presented| presented.from_user.as_str()).filter(|user| !user.is_empty()) {
            Some(user) => push_user(out, user),
            None => out.extend_from_slice(b"anonymous"),
        }
        out.push(b'@');
        out.extend_from_slice(if anonymous {
            b"anonymous.invalid" // RFC 3323 §4.1.1.3
        } else {
            self.context.domain.as_bytes()
        });
        out.extend_from_slice(b">;tag=");
        out.extend_from_slice(tag);
        out.extend_from_slice(b"\r\n");
    }

    fn push_identity(&self, out: &mut Vec<u8>, presented: &Presented) {
        let mut line = |name: &[u8], user: &str, rest: &[u8]| {
            out.extend_from_slice(name);
            out.extend_from_slice(b": <sip:");
            push_user(out, user);
            out.push(b'@');
            out.extend_from_slice(self.context.domain.as_bytes());
            out.push(b'>');
            out.extend_from_slice(rest);
            out.extend_from_slice(b"\r\n");
        };
        if let Some(user) = &presented.pai {
            line(b"P-Asserted-Identity", user, b"");
        }
        if let Some(user) = &presented.rpid {
            let privacy: &[u8] = if presented.privacy_id { b"full" } else { b"off" };
            line(b"Remote-Party-ID", user, &[b";party=calling;screen=yes;privacy=", privacy].concat());
        }
        if presented.privacy_id {
            out.extend_from_slice(b"Privacy: id\r\n");
        }
    }

    fn push_added(
        &self,
        writer: &mut Writer<'_>,
        callee: Option<&Settings>,
        plan: &Plan,
        caller: &Caller,
        number: u16,
    ) {
        let Some(settings) = callee else { return };
        let tenant = plan.tenant.as_ref().and_then(|name| self.context.resources.tenants.get(name));
        let value = |name: &str| match name {
            "call.id" => Some(self.id.to_string()),
            "leg.id" => Some(format!("{}-{number}", self.id)),
            "call.from" => Some(caller.number.clone()),
            "call.to" => Some(plan.called.clone()),
            "trunk.name" => Some(self.party.name().to_string()),
            "tenant.name" => tenant.map(|tenant| tenant.name.to_string()),
            "tenant.account_sid" => tenant.and_then(|tenant| tenant.account_sid.clone()),
            _ => None,
        };
        for (name, value) in settings.headers.additions(&value) {
            writer.named(name.as_bytes(), &[value.as_bytes()]);
        }
    }

    fn push_session_request(&self, out: &mut Vec<u8>, callee: Option<&Settings>, demanded: Option<u32>) {
        if let Some(request) = self.session_request(callee, demanded) {
            request.write(out, None);
        }
    }

    /// What our INVITE asks for of session timers.
    pub(crate) fn session_request(
        &self,
        callee: Option<&Settings>,
        demanded: Option<u32>,
    ) -> Option<dialog::SessionRequest> {
        let request = crate::leg::session_policy(callee).request()?;
        match demanded {
            Some(min_se) => request.after_422(min_se).or(Some(request)),
            None => Some(request),
        }
    }
}

/// Whether a URI is a SIPS URI (RFC 3261 §19.1).
pub(crate) fn is_sips(uri: &[u8]) -> bool {
    uri.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"sips:"))
}

/// What an egress INVITE is written from, besides the call.
pub(crate) struct Outgoing<'a> {
    /// Which attempt.
    pub number: u16,
    /// Where to.
    pub target: &'a Target,
    /// Along which flow.
    pub flow: Flow,
    /// The branch.
    pub branch: &'a [u8],
    /// A Session-Expires that the target demanded.
    pub session_expires: Option<u32>,
    /// The target's challenge, which it answers.
    pub challenge: Option<&'a Challenged>,
}

/// The CSeq of every first INVITE: each attempt is a Call-ID of its own.
pub(crate) const INVITE_CSEQ: u32 = 1;

/// Headers that a B2BUA writes itself, for each leg anew; never copied.
pub(crate) fn is_ours(header: &Header<'_>) -> bool {
    matches!(
        header.id,
        Name::Via
            | Name::From
            | Name::To
            | Name::CallId
            | Name::CSeq
            | Name::Contact
            | Name::MaxForwards
            | Name::Route
            | Name::RecordRoute
            | Name::Allow
            | Name::Supported
            | Name::Require
            | Name::ProxyRequire
            | Name::SessionExpires
            | Name::MinSe
            | Name::RSeq
            | Name::RAck
            | Name::Authorization
            | Name::ProxyAuthorization
            | Name::WwwAuthenticate
            | Name::ProxyAuthenticate
            | Name::PAssertedIdentity
            | Name::RemotePartyId
            | Name::Privacy
            | Name::Timestamp
            | Name::ContentType
            | Name::ContentLength
    )
}

/// Whether a header may pass from a leg with one party's settings to a leg with another's.
pub(crate) fn passes(header: &Header<'_>, from: Option<&Settings>, to: Option<&Settings>) -> bool {
    let Ok(name) = std::str::from_utf8(header.name) else { return false };
    let allowed = |settings: Option<&Settings>| settings.is_none_or(|settings| settings.headers.passes(name));
    allowed(from) && allowed(to)
}

/// Allow and Supported as a party's settings have them.
pub(crate) fn push_abilities(writer: &mut Writer<'_>, settings: Option<&Settings>) {
    push_abilities_lines(writer.buffer(), settings);
}

/// As `push_abilities`, onto header lines that are not part of a message yet.
pub(crate) fn push_abilities_lines(out: &mut Vec<u8>, settings: Option<&Settings>) {
    let Some(settings) = settings else { return };
    push_list(out, b"Allow: ", settings.access.methods.iter().map(String::as_str));
    push_list(out, b"Supported: ", settings.access.extensions.iter().map(String::as_str));
}

fn push_list<'a>(out: &mut Vec<u8>, name: &[u8], items: impl Iterator<Item = &'a str>) {
    let start = out.len();
    out.extend_from_slice(name);
    let before = out.len();
    for item in items {
        if out.len() > before {
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(item.as_bytes());
    }
    if out.len() == before {
        out.truncate(start);
    } else {
        out.extend_from_slice(b"\r\n");
    }
}

/// Ends a message with a body of another's type, or without one.
fn finish(writer: &mut Writer<'_>, like: &Message<'_>, body: &[u8]) {
    if body.is_empty() {
        writer.end();
    } else {
        writer.copy(like, Name::ContentType);
        writer.body_only(body);
    }
}

/// A quoted-string (RFC 3261 §25.1).
pub(crate) fn quoted(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    push_quoted(&mut out, text);
    out
}

/// Pushes a quoted-string.
pub(crate) fn push_quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            byte if byte < 0x20 || byte == 0x7F => out.push(b' '),
            byte => out.push(byte),
        }
    }
    out.push(b'"');
}

/// A URI's user, escaped where it must be (RFC 3261 §25.1).
fn push_user(out: &mut Vec<u8>, user: &str) {
    for byte in user.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&byte) {
            out.push(byte);
        } else {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            out.push(b'%');
            out.extend(HEX.get(usize::from(byte >> 4)));
            out.extend(HEX.get(usize::from(byte & 0xF)));
        }
    }
}

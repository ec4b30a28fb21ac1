//! Requests that belong to no call: our own REGISTER to a carrier (RFC 3261 §10.2) and what its answer means, and OPTIONS
//! (§11).

use std::net::SocketAddr;

use auth::Ha1;
use bytes::Bytes;
use machine::museum::planted;
use sip::{Contact, Message, Method, Name, Uri, Writer, push_host_port, push_number};
use trunk::{Host, SipTarget, Transport};

use crate::challenge::{self, Asked};
use crate::context::Context;
use crate::id::CallId;
use crate::record::{Challenged, Flow};
use crate::route;

/// A request to a target of a carrier's, in a series of its own.
#[derive(Debug)]
pub struct Errand<'a> {
    /// What the requests of the home share.
    pub context: &'a Context,
    /// Its own name: part of the branch, by which its answer is found.
    pub id: CallId,
    /// From where to where.
    pub flow: Flow,
    /// Whom it asks.
    pub target: &'a SipTarget,
    /// The name of its series: Call-ID and From tag follow from it.
    pub series: CallId,
    /// Its number in that series.
    pub cseq: u32,
}

/// What a REGISTER says beside.
#[derive(Debug)]
pub struct Registering<'a> {
    /// The account's name.
    pub username: &'a str,
    /// The Contact.
    pub contact: &'a str,
    /// Contacts that are no more.
    pub former: &'a [String],
    /// For how many seconds; 0: no more.
    pub expires_s: u32,
    /// The challenge that it answers, and the password.
    pub answers: Option<(&'a Challenged, &'a str)>,
}

impl Errand<'_> {
    /// The REGISTER.
    pub fn register(&self, what: &Registering<'_>) -> Bytes {
        let uri = self.uri();
        let mut out = Vec::with_capacity(768);
        let mut writer = self.begin(&mut out, Method::Register, &uri);
        let host = self.target.host.to_string();
        let aor: [&[u8]; 5] = [b"<sip:", what.username.as_bytes(), b"@", host.as_bytes(), b">"];
        self.push_parties(&mut writer, &aor, Method::Register);
        push_contacts(writer.buffer(), what);
        writer.number(Name::Expires, what.expires_s);
        if let Some((challenge, password)) = what.answers {
            let ha1 = Ha1::new(what.username, &challenge.realm, password);
            let parts: [&[u8]; 2] = [b"errand", &self.id.0.to_be_bytes()];
            let cnonce = format!("{:032x}", self.context.secret.digest(&parts));
            let asked = Asked { method: b"REGISTER", uri: uri.as_bytes(), cnonce: &cnonce };
            challenge::push(&mut writer, challenge, (what.username, &ha1), &asked);
        }
        writer.end();
        out.into()
    }

    /// The OPTIONS: what would an INVITE hear there (RFC 3261 §11.1)?
    pub fn options(&self) -> Bytes {
        let uri = self.uri();
        let mut out = Vec::with_capacity(512);
        let mut writer = self.begin(&mut out, Method::Options, &uri);
        let tag = self.tag();
        let from: [&[u8]; 4] = [b"<sip:", self.context.domain.as_bytes(), b">;tag=", tag.as_bytes()];
        writer.header(Name::From, &from);
        writer.header(Name::To, &[b"<", uri.as_bytes(), b">"]);
        writer.header(Name::CallId, &[self.call_id().as_bytes()]);
        writer.cseq(self.cseq, Method::Options);
        let contact = writer.buffer();
        contact.extend_from_slice(b"Contact: <sip:");
        push_our_address(contact, self.context, self.flow.transport, self.flow.local);
        contact.extend_from_slice(transport_parameter(self.flow.transport));
        contact.extend_from_slice(b">\r\nAccept: application/sdp\r\n");
        writer.end();
        out.into()
    }

    fn tag(&self) -> String {
        let series = self.series.0.to_be_bytes();
        format!("{:016x}", self.context.secret.digest(&[b"errand tag", &series]) as u64)
    }

    fn call_id(&self) -> String {
        let series = self.series.0.to_be_bytes();
        format!("{:032x}", self.context.secret.digest(&[b"errand call-id", &series]))
    }

    /// The Request-URI: the target itself, without a user (RFC 3261 §10.2).
    fn uri(&self) -> String {
        self.target.peer().uri("")
    }

    fn begin<'o>(&self, out: &'o mut Vec<u8>, method: Method<'_>, uri: &str) -> Writer<'o> {
        let mut writer = Writer::request(out, method, uri.as_bytes());
        let via = writer.buffer();
        via.extend_from_slice(match self.flow.transport {
            Transport::Udp => b"Via: SIP/2.0/UDP ",
            Transport::Tcp => b"Via: SIP/2.0/TCP ",
            Transport::Tls => b"Via: SIP/2.0/TLS ",
        });
        push_our_address(via, self.context, self.flow.transport, self.flow.local);
        via.extend_from_slice(b";branch=");
        via.extend_from_slice(&route::errand_branch(&self.context.secret, self.id));
        via.extend_from_slice(b";rport\r\n");
        writer.number(Name::MaxForwards, 70);
        writer
    }

    fn push_parties(&self, writer: &mut Writer<'_>, aor: &[&[u8]; 5], method: Method<'_>) {
        let tag = self.tag();
        let [open, user, at, host, close] = *aor;
        writer.header(Name::From, &[open, user, at, host, close, b";tag=", tag.as_bytes()]);
        writer.header(Name::To, aor);
        writer.header(Name::CallId, &[self.call_id().as_bytes()]);
        writer.cseq(self.cseq, method);
    }
}

/// Our Contact at a home for an account: whose name it is, so that a call to it says for which account it is.
pub fn contact(context: &Context, username: &str, transport: Transport, local: SocketAddr) -> String {
    let mut out = Vec::with_capacity(64);
    out.extend_from_slice(b"sip:");
    out.extend_from_slice(trunk::escaped(username).as_bytes());
    out.push(b'@');
    push_our_address(&mut out, context, transport, local);
    out.extend_from_slice(transport_parameter(transport));
    String::from_utf8_lossy(&out).into_owned()
}

fn transport_parameter(transport: Transport) -> &'static [u8] {
    match transport {
        Transport::Udp => b"",
        Transport::Tcp => b";transport=tcp",
        Transport::Tls => b";transport=tls",
    }
}

/// The address of a target that is one.
pub fn address(target: &SipTarget) -> Option<SocketAddr> {
    let port = target.port.unwrap_or(target.transport().default_port());
    match &target.host {
        Host::Ip(ip) => Some(SocketAddr::new(*ip, port)),
        Host::Name(_) => None,
    }
}

/// For how long a 2xx to a REGISTER says that this Contact is registered: its own word, else that of Expires, else what
/// was asked for (RFC 3261 §10.2.4).
pub fn granted(response: &Message<'_>, contact: &str, asked_s: u32) -> u32 {
    let ours = Uri::parse(contact.as_bytes()).ok();
    let is_ours = |uri: &Uri<'_>| {
        ours.as_ref().is_some_and(|ours| {
            (ours.user, ours.port) == (uri.user, uri.port) && ours.host.eq_ignore_ascii_case(uri.host)
        })
    };
    let own = response.contacts().filter_map(Result::ok).find_map(|contact| {
        let Contact::Address(address) = contact else { return None };
        let uri = address.parse_uri().ok().filter(is_ours);
        uri.and_then(|_| std::str::from_utf8(address.params.get(b"expires")?).ok()?.parse().ok())
    });
    own.or_else(|| response.expires().ok().flatten()).unwrap_or(asked_s).min(asked_s)
}

/// The challenge of a refusal that may be answered, and whether only the nonce before was too old.
pub fn challenged(response: &Message<'_>, realm: Option<&str>) -> Option<(Challenged, bool)> {
    let (lines, by_proxy) = challenge::lines(response.status()?)?;
    let challenge = response
        .credentials(lines)
        .filter_map(|line| challenge::read(&line, by_proxy))
        // The password is for one realm, and no other ever hears of it (I-35).
        .find(|challenge| {
            realm.is_none_or(|realm| challenge.realm == realm) || planted("any-realm-answered")
        })?;
    Some((challenge, challenge::is_stale(response, lines)))
}

fn push_contacts(out: &mut Vec<u8>, what: &Registering<'_>) {
    out.extend_from_slice(b"Contact: <");
    out.extend_from_slice(what.contact.as_bytes());
    out.extend_from_slice(b">;expires=");
    push_number(out, what.expires_s);
    out.extend_from_slice(b"\r\n");
    for former in what.former {
        out.extend_from_slice(b"Contact: <");
        out.extend_from_slice(former.as_bytes());
        out.extend_from_slice(b">;expires=0\r\n");
    }
}

fn push_our_address(out: &mut Vec<u8>, context: &Context, transport: Transport, local: SocketAddr) {
    match &context.advertise {
        None => push_host_port(out, local),
        Some(name) => {
            out.extend_from_slice(name.as_bytes());
            if local.port() != transport.default_port() {
                out.push(b':');
                push_number(out, u32::from(local.port()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sip::Framing;

    use super::*;
    use crate::context::Secret;
    use crate::id::{Epoch, HomeId};

    fn context() -> Context {
        Context {
            home: HomeId(1),
            epoch: Epoch(1),
            resources: Arc::default(),
            bindings: Arc::new(trunk::NoBindings),
            secret: Secret::new([7; 16]),
            seal: Arc::new(auth::Seal::new(&[7; 16])),
            domain: "sbc.example".into(),
            addresses: Vec::new(),
            advertise: None,
            times: transaction::Times::default(),
            media: "192.0.2.9".parse().expect("an address"),
        }
    }

    const CONTACT: &str = "sip:acct-1@192.0.2.9:5060";
    const FORMER: &str = "sip:acct-1@192.0.2.8:5060";

    /// The REGISTER with this number, as text.
    fn register(cseq: u32, expires_s: u32, answers: Option<(&Challenged, &str)>) -> String {
        let at = |text: &str| text.parse().expect("an address");
        let (local, remote) = (at("192.0.2.9:5060"), at("192.0.2.1:5080"));
        let flow = Flow { transport: Transport::Udp, local, remote, connection: 0 };
        let target = SipTarget::parse("sip:ignored@192.0.2.1:5080").expect("a URI");
        let (context, series, id) = (context(), CallId(3), CallId(u64::from(cseq)));
        let errand = Errand { context: &context, id, flow, target: &target, series, cseq };
        let former = [FORMER.to_owned()];
        let what = Registering { username: "acct-1", contact: CONTACT, former: &former, expires_s, answers };
        String::from_utf8(errand.register(&what).to_vec()).expect("text")
    }

    fn line<'a>(text: &'a str, name: &str) -> &'a str {
        let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        found.expect("the line is there")
    }

    /// RFC 3261 §10.2: no user in the Request-URI, the account in From and To, one Call-ID, CSeq as it is told.
    #[test]
    fn a_register_says_who_is_where_and_who_is_no_more() {
        let first = register(1, 600, None);
        assert!(first.starts_with("REGISTER sip:192.0.2.1:5080 SIP/2.0\r\n"), "{first}");
        assert_eq!(line(&first, "To"), "<sip:acct-1@192.0.2.1>");
        assert!(line(&first, "From").starts_with("<sip:acct-1@192.0.2.1>;tag="), "{first}");
        assert_eq!(line(&first, "CSeq"), "1 REGISTER");
        assert_eq!(line(&first, "Expires"), "600");
        let contacts: Vec<&str> = first.lines().filter_map(|line| line.strip_prefix("Contact: ")).collect();
        let expected = [format!("<{CONTACT}>;expires=600"), format!("<{FORMER}>;expires=0")];
        assert_eq!(contacts, expected);
        assert!(!first.contains("Authorization"), "{first}");
        let second = register(2, 600, None);
        assert_eq!(line(&first, "Call-ID"), line(&second, "Call-ID"));
        assert_eq!(line(&first, "From"), line(&second, "From"));
        assert_ne!(line(&first, "Via"), line(&second, "Via"));
    }

    /// RFC 3261 §11.1: to the target itself, from nobody in particular, with what we would take.
    #[test]
    fn an_options_asks_the_target_itself() {
        let at = |text: &str| text.parse().expect("an address");
        let (local, remote) = (at("192.0.2.9:5060"), at("192.0.2.1:5080"));
        let flow = Flow { transport: Transport::Tcp, local, remote, connection: 0 };
        let target = SipTarget::parse("sip:desk@192.0.2.1:5080;transport=tcp").expect("a URI");
        let (context, id) = (context(), CallId(3));
        let bytes = Errand { context: &context, id, flow, target: &target, series: id, cseq: 1 }.options();
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        assert!(
            text.starts_with("OPTIONS sip:192.0.2.1:5080;transport=tcp SIP/2.0\r\nVia: SIP/2.0/TCP "),
            "{text}"
        );
        assert!(line(&text, "From").starts_with("<sip:sbc.example>;tag="), "{text}");
        assert_eq!(line(&text, "To"), "<sip:192.0.2.1:5080;transport=tcp>");
        assert_eq!((line(&text, "CSeq"), line(&text, "Accept")), ("1 OPTIONS", "application/sdp"));
        assert_eq!(line(&text, "Contact"), "<sip:192.0.2.9:5060;transport=tcp>");
        assert_eq!(line(&text, "Max-Forwards"), "70");
    }

    const ASKS: &str =
        "WWW-Authenticate: Digest realm=\"carrier\", nonce=\"n1\", algorithm=MD5, qop=\"auth\"\r\n";

    fn answer(status: &str, lines: &str) -> String {
        format!(
            "SIP/2.0 {status}\r\nVia: SIP/2.0/UDP p;branch=z9hG4bK1\r\nFrom: <sip:a@a>;tag=1\r\n\
             To: <sip:a@a>;tag=2\r\nCall-ID: c\r\nCSeq: 1 REGISTER\r\n{lines}\r\n"
        )
    }

    fn with<T>(text: &str, look: impl FnOnce(&Message<'_>) -> T) -> T {
        look(&Message::parse(text.as_bytes(), Framing::Datagram).expect("good SIP"))
    }

    #[test]
    fn a_challenge_is_answered_for_its_realm_and_no_other() {
        let asked = answer("401 Unauthorized", ASKS);
        let (challenge, stale) = with(&asked, |it| challenged(it, None)).expect("it can be answered");
        assert!(!stale);
        let text = register(2, 600, Some((&challenge, "canary")));
        let said = line(&text, "Authorization");
        assert!(
            said.contains("username=\"acct-1\"") && said.contains("uri=\"sip:192.0.2.1:5080\""),
            "{said}"
        );
        assert!(!text.contains("canary"), "{text}");
        // I-35: the realm of the first challenge, and none beside it.
        assert!(with(&asked, |it| challenged(it, Some("carrier"))).is_some());
        assert!(with(&asked, |it| challenged(it, Some("another"))).is_none());
        // A challenge in another answer is none.
        assert!(with(&answer("403 Forbidden", ASKS), |it| challenged(it, None)).is_none());
    }

    /// RFC 3261 §10.2.4: the Contact's own word, else Expires, else what was asked for; never longer than that.
    #[test]
    fn a_registration_lasts_as_long_as_its_contact_says() {
        let lasts = |lines: &str| with(&answer("200 OK", lines), |it| granted(it, CONTACT, 600));
        assert_eq!(
            lasts("Contact: <sip:x@192.0.2.7>;expires=5, <sip:acct-1@192.0.2.9:5060>;expires=120\r\n"),
            120
        );
        assert_eq!(lasts("Contact: <sip:x@192.0.2.7>;expires=5\r\nExpires: 60\r\n"), 60);
        assert_eq!(lasts(""), 600);
        assert_eq!(lasts("Expires: 7200\r\n"), 600);
    }

    #[test]
    fn a_contact_names_the_account_and_the_way() {
        let at = "192.0.2.9:5062".parse().expect("an address");
        let plain = contact(&context(), "+31 20", Transport::Tcp, at);
        assert_eq!(plain, "sip:+31%2020@192.0.2.9:5062;transport=tcp");
        let named = Context { advertise: Some("sip.example".into()), ..context() };
        let at = "192.0.2.9:5060".parse().expect("an address");
        assert_eq!(contact(&named, "a", Transport::Udp, at), "sip:a@sip.example");
    }
}

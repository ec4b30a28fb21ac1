//! Before anything is promised: what the INVITE asks for, whether policy allows it, and what a quorum must
//! remember of it.

use std::net::SocketAddr;
use std::str;
use std::sync::Arc;

use dialog::SessionHeaders;
use machine::WallTime;
use sip::{Message, Name as Header, NameAddr};
use trunk::settings::{MediaMode, Settings};
use trunk::{Caller, Given, Name, Party, Plan, Received, Resources};

use crate::cdr::Facts;
use crate::context::Context;
use crate::io::{Arrival, TakePorts};
use crate::leg::session_policy;
use crate::record::{Admit, InviteKey, Ports};
use crate::reject::{self, Answer};
use crate::route;
use crate::security::check_invite;

/// What became of an arrival.
pub(crate) enum Screened {
    /// Ask a quorum to let it in.
    Admit(Arc<Admit>),
    /// Refuse it, with a CDR.
    Refuse(Box<Refused>),
}

/// Why an arrival is refused, and what its CDR will say.
pub(crate) struct Refused {
    pub key: InviteKey,
    pub tenant: Option<Name>,
    pub facts: Facts,
    pub answer: Answer,
}

/// At most this much of an INVITE is kept; larger ones get 513.
const INVITE_MAX: usize = 8192;

/// Asks policy about an arrival.
pub(crate) fn screen(
    context: &Context,
    wall: WallTime,
    arrival: &Arrival,
    ports: &mut dyn TakePorts,
) -> Screened {
    let message = arrival.invite.view();
    let mut facts = Facts::default();
    let key = route::invite_key(&context.secret, &message).unwrap_or(InviteKey { dialog: 0, branch: 0 });
    let refused = |facts, answer| {
        let tenant = tenant(&context.resources, &arrival.party);
        Screened::Refuse(Box::new(Refused { key, tenant, facts, answer }))
    };
    let asked = match examine(context, &message, arrival, &mut facts) {
        Ok(asked) => asked,
        Err(answer) => return refused(facts, answer),
    };
    let taken = match asked.streams {
        0 => None,
        streams => match ports.take(streams) {
            Some(ports) => Some(ports),
            None => return refused(facts, reject::no_ports()),
        },
    };
    Screened::Admit(Arc::new(admit(wall, arrival, key, facts, asked, taken)))
}

/// What an examined INVITE asks for.
struct Asked {
    plan: Plan,
    caller: Caller,
    /// How many media streams are to be anchored.
    streams: usize,
}

fn admit(
    wall: WallTime,
    arrival: &Arrival,
    key: InviteKey,
    facts: Facts,
    asked: Asked,
    ports: Option<Ports>,
) -> Admit {
    Admit {
        ingress: arrival.flow,
        invite: arrival.invite.bytes().clone(),
        key,
        seed: arrival.seed,
        party: arrival.party.clone(),
        emergency: asked.plan.emergency,
        plan: asked.plan,
        caller: asked.caller,
        facts,
        ports,
        started_at: wall,
        proof: arrival.proof.as_ref().map(|proof| proof.used),
    }
}

fn examine(
    context: &Context,
    message: &Message<'_>,
    arrival: &Arrival,
    facts: &mut Facts,
) -> Result<Asked, Answer> {
    let resources = &context.resources;
    let settings = settings(resources, &arrival.party);
    let called = called_number(message, &arrival.party, arrival.strip, resources);
    gather(message, called, settings, facts);
    if message.length() > INVITE_MAX {
        return Err(reject::too_large());
    }
    let plan = resources.plan_with(&arrival.party, called, arrival.seed, &*context.bindings);
    let plan = plan.map_err(|reject| reject::policy(&reject))?;
    let caller = caller(resources, message, arrival, settings, plan.emergency)
        .map_err(|reject| reject::policy(&reject))?;
    facts.asserted = Some(caller.asserted.clone()).filter(|asserted| !asserted.is_empty());
    facts.presented = Some(caller.number.clone()).filter(|number| !number.is_empty());
    check_session(message, settings)?;
    let streams = streams(message, arrival, &plan, resources)?;
    Ok(Asked { plan, caller, streams })
}

/// Whether what the INVITE wants of session timers can be served (RFC 4028 §9). When the callee answers it would
/// be too late to say no.
fn check_session(message: &Message<'_>, settings: Option<&Settings>) -> Result<(), Answer> {
    let session = SessionHeaders::of(message).map_err(dialog::Reject::from);
    let session = session.and_then(|headers| session_policy(settings).answer(&headers));
    session.map(drop).map_err(|reject| reject::session(&reject))
}

/// Whose number is shown. An emergency call is never refused for it (I-27).
fn caller(
    resources: &Resources,
    message: &Message<'_>,
    arrival: &Arrival,
    settings: Option<&Settings>,
    emergency: bool,
) -> Result<Caller, trunk::Reject> {
    let settings = settings.ok_or(trunk::Reject::NotIdentified)?;
    with_identities(message, |received| match &arrival.party {
        _ if emergency => Ok(resources.caller_in_emergency(&settings.identity, received)),
        Party::Trunk { name, .. } => match resources.trunks.get(name) {
            Some(trunk) => resources.caller_from_trunk(trunk, received),
            None => Err(trunk::Reject::NotIdentified),
        },
        Party::Gateway { .. } => Ok(resources.caller_from_gateway(&settings.identity, received)),
    })
}

/// The called user, without the tech prefix; the whole URI where it has no user (a service URN).
pub fn called_user<'a>(message: &Message<'a>, strip: usize) -> &'a str {
    let uri = message.uri().and_then(|uri| str::from_utf8(uri).ok()).unwrap_or_default();
    let user = message.request_uri().ok().and_then(|parsed| parsed.user);
    let user = user.and_then(|user| str::from_utf8(user).ok());
    user.map_or(uri, |user| user.get(strip..).unwrap_or(user))
}

/// Whom the call is for. A carrier that calls the Contact of an account of ours names that account in the Request-URI, and
/// the number in P-Called-Party-ID (RFC 7315 §4.2) or To.
fn called_number<'a>(message: &Message<'a>, party: &Party, strip: usize, resources: &Resources) -> &'a str {
    let called = called_user(message, strip);
    let Party::Gateway { name } = party else { return called };
    let gateway = resources.gateways.get(name);
    if gateway.is_none_or(|gateway| !gateway.registers(called)) || resources.number(called).is_some() {
        return called;
    }
    let asserted = message.find(b"P-Called-Party-ID").and_then(NameAddr::parse);
    let named = asserted.or_else(|| message.to().ok()).and_then(|address| address.parse_uri().ok());
    let user = named.and_then(|uri| uri.user).and_then(|user| str::from_utf8(user).ok());
    user.filter(|user| !user.is_empty()).unwrap_or(called)
}

/// How many streams the relay must carry; 0 where media goes directly, or is offered later and unknown.
fn streams(
    message: &Message<'_>,
    arrival: &Arrival,
    plan: &Plan,
    resources: &Resources,
) -> Result<usize, Answer> {
    let anchored = is_anchored(&arrival.party, plan, resources);
    let can = arrival.secures && arrival.flow.transport == trunk::Transport::Tls;
    let party = settings(resources, &arrival.party).filter(|_| !plan.emergency);
    if message.body().is_empty() {
        if anchored {
            check_invite(party, can, None)?;
        }
        // A delayed offer: one stream is what the callee will most likely offer (RFC 3264).
        return Ok(usize::from(anchored));
    }
    let is_sdp = message
        .content_type()
        .ok()
        .flatten()
        .is_some_and(|content_type| content_type.is(b"application", b"sdp"));
    if !is_sdp {
        // Multipart and other bodies pass as they are; their media goes directly.
        return Ok(0);
    }
    if !anchored {
        // Direct media: whoever has to read the description does so.
        return Ok(0);
    }
    let session = sdp::Session::parse(message.body()).map_err(|e| reject::malformed(format!("SDP: {e}")))?;
    session.check_relayable().map_err(|e| reject::media(format!("media.mode: {e}")))?;
    if !plan.emergency {
        check_invite(party, can, Some(&session))?;
    }
    Ok(session.media().len())
}

/// Whether media goes through the relay: as the trunks of the call want it, one that anchors being enough. A
/// gateway's own word counts only where no trunk takes part.
fn is_anchored(party: &Party, plan: &Plan, resources: &Resources) -> bool {
    let parties = || std::iter::once(party).chain(plan.targets.iter().map(|target| &target.party));
    let anchors = |party: &Party| {
        settings(resources, party).is_some_and(|settings| settings.media.mode == MediaMode::Anchored)
    };
    let mut trunks = parties().filter(|party| party.trunk().is_some()).peekable();
    match trunks.peek() {
        Some(_) => trunks.any(anchors),
        None => parties().any(anchors),
    }
}

/// The settings of a trunk or gateway; absent if it was deleted meanwhile.
pub(crate) fn settings<'a>(resources: &'a Resources, party: &Party) -> Option<&'a Settings> {
    match party {
        Party::Trunk { name, .. } => resources.trunks.get(name).map(|trunk| &trunk.settings),
        Party::Gateway { name } => resources.gateways.get(name).map(|gateway| &gateway.settings),
    }
}

/// The tenant of a trunk.
fn tenant(resources: &Resources, party: &Party) -> Option<Name> {
    resources.trunks.get(party.trunk()?)?.tenant.clone()
}

/// What the CDR will say of the parties.
fn gather(message: &Message<'_>, called: &str, settings: Option<&Settings>, facts: &mut Facts) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    facts.call_id = message.call_id().map(text).unwrap_or_default();
    facts.from = message.from().map(|from| user_of(&from)).unwrap_or_default();
    facts.to = called.to_owned();
    facts.diversion = message
        .addresses(Header::Diversion)
        .filter_map(Result::ok)
        .map(|entry| {
            let reason = entry.params.get(b"reason").map(text).unwrap_or_default();
            format!("{};{reason}", user_of(&entry))
        })
        .collect();
    facts.charge_number =
        message.find(b"P-Charge-Info").and_then(NameAddr::parse).map(|charged| user_of(&charged));
    let tag = settings.and_then(|settings| settings.headers.tag.as_deref());
    facts.tag = tag.and_then(|name| message.find(name.as_bytes())).map(sanitised);
}

/// A tag header's value as the CDR keeps it: at most 32 characters, none of them a control (FR25).
fn sanitised(value: &[u8]) -> String {
    String::from_utf8_lossy(value).chars().filter(|c| !c.is_control()).take(32).collect()
}

/// The user part of an address, unescaped; a tel URI's number.
fn user_of(address: &NameAddr<'_>) -> String {
    let Ok(uri) = address.parse_uri() else { return String::new() };
    uri.user_decoded().map(|user| String::from_utf8_lossy(&user).into_owned()).unwrap_or_default()
}

/// Takes the identities of a request apart for `trunk`, which reads no SIP.
fn with_identities<R>(message: &Message<'_>, then: impl FnOnce(&Received<'_>) -> R) -> R {
    let pai = message.address(Header::PAssertedIdentity).ok().flatten();
    let rpid = message.address(Header::RemotePartyId).ok().flatten();
    let from = message.from().ok();
    let displays =
        [&pai, &rpid, &from].map(|address| address.as_ref().map(|a| a.display_text()).unwrap_or_default());
    let users = [&pai, &rpid, &from].map(|address| address.as_ref().and_then(raw_user));
    let given = |i: usize| {
        let user = str::from_utf8(users.get(i).copied().flatten()?).ok()?;
        let display = displays.get(i).and_then(|d| str::from_utf8(d).ok()).filter(|d| !d.is_empty());
        Some(Given { user, display })
    };
    let to_user = message.to().ok().as_ref().and_then(raw_user).and_then(|user| str::from_utf8(user).ok());
    let privacy = message.get(Header::Privacy).and_then(|value| str::from_utf8(value).ok());
    then(&Received {
        pai: given(0),
        rpid: given(1),
        from: given(2).unwrap_or(Given { user: "", display: None }),
        to_user: to_user.unwrap_or_default(),
        privacy,
    })
}

fn raw_user<'a>(address: &NameAddr<'a>) -> Option<&'a [u8]> {
    address.parse_uri().ok()?.user
}

/// Where a target's host is an address: the address, with the port that its transport means.
pub(crate) fn target_address(target: &trunk::Target) -> Option<SocketAddr> {
    let port = target.port.unwrap_or(target.transport.default_port());
    Some(SocketAddr::new(target.host.ip()?, port))
}

#[cfg(test)]
mod tests {
    use sip::Framing;
    use trunk::{Account, Gateway, Number, Resource, Secret, SipTarget, Trunk};

    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).expect("a name")
    }

    fn resources(register: bool) -> Resources {
        let mut gateway = Gateway::new(name("carrier"));
        gateway.targets = vec![SipTarget::parse("sip:192.0.2.1").expect("a URI")];
        gateway.register = register;
        let account =
            |username: &str| Account { username: username.to_owned(), password: Secret::given("x") };
        gateway.accounts = vec![account("acct-1"), account("+31201110009")];
        let number = |e164| {
            let (e164, trunk) = (name(e164), name("desk"));
            Resource::Number(Number { e164, trunk, delivery: Vec::new(), cnam: None, cnam_lookup: false })
        };
        let set = vec![
            Resource::Gateway(Box::new(gateway)),
            Resource::Trunk(Box::new(Trunk::new(name("desk")))),
            number("+31201110001"),
            number("+31201110009"),
        ];
        let mut resources = Resources::default();
        resources.apply(set).expect("all that is named is there");
        resources
    }

    /// Whom a call from the carrier is for.
    fn called(register: bool, uri: &str, to: &str, more: &str) -> String {
        let text = format!(
            "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP p;branch=z9hG4bK1\r\nFrom: <sip:a@a>;tag=a1\r\n\
             To: <{to}>\r\nCall-ID: c1\r\nCSeq: 1 INVITE\r\n{more}\r\n"
        );
        let message = Message::parse(text.as_bytes(), Framing::Datagram).expect("good SIP");
        let party = Party::Gateway { name: name("carrier") };
        called_number(&message, &party, 0, &resources(register)).to_owned()
    }

    const OURS: &str = "sip:acct-1@192.0.2.9:5060";
    const TO: &str = "sip:+31201110001@carrier.example";

    #[test]
    fn a_call_to_the_contact_of_an_account_is_for_the_number_in_to() {
        assert_eq!(called(true, OURS, TO, ""), "+31201110001");
        // The twin: who registers nowhere has no such Contact.
        assert_eq!(called(false, OURS, TO, ""), "acct-1");
    }

    #[test]
    fn p_called_party_id_says_more_than_to() {
        let said = "P-Called-Party-ID: <sip:+31201110009@carrier.example>\r\n";
        assert_eq!(called(true, OURS, TO, said), "+31201110009");
    }

    #[test]
    fn a_number_in_the_request_uri_is_the_one_that_is_called() {
        assert_eq!(called(true, "sip:+31201110001@192.0.2.9", "sip:x@y", ""), "+31201110001");
        // Also where an account is called like a number of ours.
        assert_eq!(called(true, "sip:+31201110009@192.0.2.9", TO, ""), "+31201110009");
    }

    #[test]
    fn a_call_that_names_no_number_is_for_the_account() {
        assert_eq!(called(true, OURS, "sip:carrier.example", ""), "acct-1");
    }
}

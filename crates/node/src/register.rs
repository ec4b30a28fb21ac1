//! REGISTER of trunks' accounts (RFC 3261 §10.3, RFC 3327): read, recorded, answered, by any node. Nothing is kept for
//! anybody whose digest is not right.

use std::sync::Arc;

use bytes::Bytes;
use call::{Flow, Remains, reject, route};
use cluster::{Binding, Command, Outcome, Place, Rebind, Register, Registered};
use machine::{ClusterTime, WallTime};
use sip::verdict::{Extensions, Rules, Verdict};
use sip::{Contact, Name, NameAddr, OwnedMessage, Uri, verdict};
use transport::Standing;
use trunk::settings::{Access, Nat};
use trunk::{Host, Party, Reject, Transport, Trunk};

use crate::caller::{Admission, Caller};
use crate::home::Home;
use crate::lock;
use crate::metrics::add;
use crate::shared::Shared;
use crate::switch::Incoming;

/// How many REGISTERs may wait for their commit: a hundred milliseconds of ten thousand a second.
const WAITING_MAX: usize = 1_000;
/// The longest binding over a stream or behind NAT, in seconds: what leads there may close (contract).
const FRAGILE_MAX: u32 = 60;

/// Why a REGISTER is refused: a status, and a Min-Expires where that is why (RFC 3261 §10.2.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bad {
    /// 400: it makes no sense.
    Request(&'static str),
    /// 423.
    TooBrief(u32),
}

impl Shared {
    /// A REGISTER.
    pub(crate) fn register(self: &Arc<Shared>, incoming: &Incoming<'_>) {
        if self.replay(incoming) == Standing::Known {
            return;
        }
        if self.is_cut_off() {
            return self.refuse_alone(incoming);
        }
        if self.full().is_some() {
            let bytes = incoming.stateless().overloaded(&incoming.message, self.retry_after());
            return self.refuse(incoming, 503, bytes);
        }
        match self.identify(incoming) {
            Caller::Admitted(Admission { party, proof: Some(proof), .. }) => {
                self.registrant(incoming, &party, proof);
            }
            Caller::Challenged(challenges) => self.ask_for_credentials(incoming, &challenges),
            Caller::Refused(answer) => {
                let bytes = incoming.stateless().refuse(&incoming.message, &answer);
                self.refuse(incoming, answer.status, bytes);
            }
            Caller::Admitted(_) => self.say_no(incoming, &Reject::NotIdentified),
            Caller::Unknown => self.metrics.dropped(crate::metrics::Drop::UnknownSource),
            Caller::Banned => self.metrics.dropped(crate::metrics::Drop::Banned),
        }
    }

    fn say_no(&self, incoming: &Incoming<'_>, why: &Reject) {
        let answer = reject::policy(why);
        let bytes = incoming.stateless().refuse(&incoming.message, &answer);
        self.refuse(incoming, answer.status, bytes);
    }

    /// It is who it says. What may it do?
    fn registrant(self: &Arc<Shared>, incoming: &Incoming<'_>, party: &Party, proof: auth::Use) {
        let Party::Trunk { name, account: Some(account) } = party else { return };
        let Some(trunk) = incoming.context.resources.trunks.get(name) else { return };
        let access = &trunk.settings.access;
        if !access.methods.iter().any(|method| method == "REGISTER") {
            return self.unsupported(incoming);
        }
        if !access.register {
            return self.say_no(incoming, &Reject::RegisterRefused { trunk: name.clone() });
        }
        let rules = Rules {
            strict_headers: access.strict_headers,
            extensions: Extensions::from_tokens(access.extensions.iter().map(String::as_bytes)),
        };
        if let Verdict::Reject(reject) = verdict::request(&incoming.message, &rules) {
            let bytes = incoming.stateless().verdict(&incoming.message, &reject, &rules);
            return self.refuse(incoming, reject.status, bytes);
        }
        let index = usize::from(*account).saturating_sub(1);
        let Some(username) = trunk.accounts.get(index).map(|it| it.username.clone()) else { return };
        let to = incoming.message.to().ok().and_then(|to| to.parse_uri().ok());
        if to.and_then(|uri| uri.user_decoded()).is_none_or(|user| *user != *username.as_bytes()) {
            return self.say_no(incoming, &Reject::ForeignAddress { username });
        }
        match read(incoming, trunk, self.world.clock.wall()) {
            Ok((call_id, cseq, change)) => {
                let trunk = name.clone();
                let register = Register { trunk, account: *account, username, call_id, cseq, proof, change };
                self.record(incoming, register);
            }
            Err(Bad::TooBrief(least)) => {
                let bytes = incoming.stateless().with(&incoming.message, 423, |writer| {
                    writer.number(Name::MinExpires, least);
                });
                self.refuse(incoming, 423, bytes);
            }
            Err(Bad::Request(why)) => {
                let answer = reject::Answer::new(400, why);
                let bytes = incoming.stateless().refuse(&incoming.message, &answer);
                self.refuse(incoming, 400, bytes);
            }
        }
    }

    /// A quorum records it; then it is answered. A copy that comes meanwhile is the same REGISTER.
    fn record(self: &Arc<Shared>, incoming: &Incoming<'_>, register: Register) {
        let Some(key) = route::transaction_key(&incoming.context.secret, &incoming.message) else { return };
        {
            let mut waiting = lock(&self.registering);
            if waiting.contains(&key) {
                return;
            }
            if waiting.len() >= WAITING_MAX {
                drop(waiting);
                let bytes = incoming.stateless().overloaded(&incoming.message, self.retry_after());
                return self.refuse(incoming, 503, bytes);
            }
            waiting.insert(key);
        }
        let (shared, message, flow) = (self.clone(), incoming.message.to_owned(), incoming.flow);
        let home = incoming.home.clone();
        let recorded = async move {
            let outcome =
                shared.cluster.cluster().proposer().ask(Command::Register(Box::new(register))).await;
            lock(&shared.registering).remove(&key);
            if let Some(Outcome::Registered(registered)) = outcome {
                shared.registered(&message, flow, &home, key, &registered);
            }
        };
        self.world.spawn.spawn("register", Box::pin(recorded));
    }

    fn registered(
        &self,
        message: &OwnedMessage,
        flow: Flow,
        home: &Arc<Home>,
        key: u64,
        registered: &Registered,
    ) {
        let context = home.context();
        let incoming = Incoming { message: message.view(), flow, home, context: &context };
        let (status, bytes) = match registered {
            Registered::Bound(binding) => {
                add(&self.metrics.registrations);
                let now = self.cluster.cluster().time();
                (200, bound(&incoming, binding.as_deref(), now))
            }
            Registered::Replayed => {
                add(&self.metrics.replays);
                return match self.identify(&incoming) {
                    // By now this node knows of the use, too.
                    Caller::Challenged(challenges) => self.ask_for_credentials(&incoming, &challenges),
                    _ => self.say_no(&incoming, &Reject::NotIdentified),
                };
            }
            // RFC 3261 §10.3, step 7: the update is aborted and the request fails.
            Registered::OutOfOrder => (500, incoming.stateless().plain(&incoming.message, 500)),
            Registered::Unknown => return self.say_no(&incoming, &Reject::NotIdentified),
        };
        let mut to = flow;
        if to.transport == Transport::Udp
            && let Some(target) = verdict::answer_target(&incoming.message, flow.remote)
        {
            to.remote = target;
        }
        self.remember(Remains { key, flow: to, bytes: bytes.clone() });
        if status == 200 { self.answer(&incoming, bytes) } else { self.refuse(&incoming, status, bytes) }
    }
}

/// 200, with where the account is registered now (RFC 3261 §10.3, step 8; RFC 3327 §5.3).
fn bound(incoming: &Incoming<'_>, binding: Option<&Binding>, now: ClusterTime) -> Bytes {
    incoming.stateless().with(&incoming.message, 200, |writer| {
        let Some(binding) = binding else { return };
        let mut left = Vec::with_capacity(8);
        sip::push_number(&mut left, seconds_left(binding, now));
        writer.header(Name::Contact, &[b"<", binding.place.contact.as_bytes(), b">;expires=", &left]);
        for path in &binding.place.path {
            writer.header(Name::Path, &[path.as_bytes()]);
        }
    })
}

/// How long a binding has left, rounded up.
pub(crate) fn seconds_left(binding: &Binding, now: ClusterTime) -> u32 {
    u32::try_from(binding.expires.since(now).as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
}

/// Reads what a REGISTER asks for: its Call-ID, its CSeq, its change.
fn read(incoming: &Incoming<'_>, trunk: &Trunk, at: WallTime) -> Result<(String, u32, Rebind), Bad> {
    let message = &incoming.message;
    let call_id = text(message.call_id().ok()).ok_or(Bad::Request("Call-ID"))?;
    let (cseq, _) = message.cseq().map_err(|_| Bad::Request("CSeq"))?;
    let header = message.expires().map_err(|_| Bad::Request("Expires"))?;
    let contacts: Vec<Contact<'_>> =
        message.contacts().collect::<Result<_, _>>().map_err(|_| Bad::Request("Contact"))?;
    let change = match contacts.as_slice() {
        [] => Rebind::Query,
        // RFC 3261 §10.3, step 6: alone, and with Expires 0.
        [Contact::All] if header == Some(0) => Rebind::Clear,
        _ => rebind(incoming, trunk, &contacts, header, at)?,
    };
    Ok((call_id, cseq, change))
}

/// The first Contact that stays is where the account is; else the first is where it is no more.
fn rebind(
    incoming: &Incoming<'_>,
    trunk: &Trunk,
    contacts: &[Contact<'_>],
    header: Option<u32>,
    at: WallTime,
) -> Result<Rebind, Bad> {
    let access = &trunk.settings.access;
    let mut gone = None;
    for contact in contacts {
        let Contact::Address(address) = contact else { return Err(Bad::Request("Contact: * is not alone")) };
        let uri = address.parse_uri().ok().filter(|uri| uri.is_sip() && !uri.host.is_empty());
        let uri = uri.ok_or(Bad::Request("Contact: no SIP URI"))?;
        let raw = text(Some(uri.raw)).ok_or(Bad::Request("Contact"))?;
        let wanted = wanted(address, header, access);
        if wanted == 0 {
            gone.get_or_insert(raw);
            continue;
        }
        if wanted < access.expires_min {
            return Err(Bad::TooBrief(access.expires_min));
        }
        return Ok(Rebind::Put(Box::new(place(incoming, trunk, (&uri, raw), wanted, at)?)));
    }
    gone.map(Rebind::Remove).ok_or(Bad::Request("Contact"))
}

/// How long the registrant wants it: its Contact's word, else Expires', else ours (RFC 3261 §10.2.1.1).
fn wanted(address: &NameAddr<'_>, header: Option<u32>, access: &Access) -> u32 {
    let own = address.params.get(b"expires").and_then(|digits| {
        let digits = std::str::from_utf8(digits).ok()?;
        // A number that is too large is a long time; what is no number counts as not given (§20.10).
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().unwrap_or(u32::MAX))
    });
    own.or(header).unwrap_or(access.expires_max)
}

fn place(
    incoming: &Incoming<'_>,
    trunk: &Trunk,
    (uri, contact): (&Uri<'_>, String),
    wanted: u32,
    at: WallTime,
) -> Result<Place, Bad> {
    let (message, flow, access) = (&incoming.message, incoming.flow, &trunk.settings.access);
    let path: Vec<String> = message
        .values(Name::Path)
        .map(|value| text(Some(value)).filter(|_| NameAddr::parse(value).is_some()))
        .collect::<Option<_>>()
        .ok_or(Bad::Request("Path"))?;
    let first = message.values(Name::Path).next().and_then(NameAddr::parse);
    let first = first.map(|it| it.parse_uri().map_err(|_| Bad::Request("Path"))).transpose()?;
    let hop = first.as_ref().unwrap_or(uri);
    let (host, port, transport) = next_hop(hop).ok_or(Bad::Request("Contact: no host"))?;
    // Whoever put a Path in between is where it says.
    let behind_nat = first.is_none()
        && match trunk.settings.media.nat {
            Nat::Always => true,
            Nat::Never => false,
            Nat::Auto => host.ip().is_some_and(|ip| ip != flow.remote.ip().to_canonical()),
        };
    // Nobody could verify a telephone that is dialled, so the connection by which it came is the way to it.
    let by_its_connection = behind_nat || (first.is_none() && flow.transport == Transport::Tls);
    let is_fragile = by_its_connection || transport != Transport::Udp;
    let longest = if is_fragile { FRAGILE_MAX.max(access.expires_min) } else { access.expires_max };
    let (host, port, transport) = if by_its_connection {
        (Host::Ip(flow.remote.ip().to_canonical()), Some(flow.remote.port()), flow.transport)
    } else {
        (host, port, transport)
    };
    Ok(Place {
        contact,
        path,
        host,
        port,
        transport,
        flow,
        home: incoming.home.id,
        behind_nat,
        expires_s: wanted.min(longest.min(access.expires_max.max(access.expires_min))),
        user_agent: message
            .find(b"User-Agent")
            .map(|it| it.get(..64).unwrap_or(it))
            .and_then(|it| text(Some(it))),
        at,
    })
}

/// Where requests to a URI are sent, as far as it says.
fn next_hop(uri: &Uri<'_>) -> Option<(Host, Option<u16>, Transport)> {
    let host = Host::parse(std::str::from_utf8(uri.host).ok()?)?;
    let transport = match uri.param(b"transport") {
        // RFC 3261 §19.1: whatever it runs over, it is under TLS.
        _ if uri.scheme == sip::Scheme::Sips => Transport::Tls,
        Some(word) if word.eq_ignore_ascii_case(b"tcp") => Transport::Tcp,
        Some(word) if word.eq_ignore_ascii_case(b"tls") => Transport::Tls,
        _ => Transport::Udp,
    };
    Some((host, uri.port, transport))
}

fn text(bytes: Option<&[u8]>) -> Option<String> {
    std::str::from_utf8(bytes?).ok().map(str::to_owned)
}

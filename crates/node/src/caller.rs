//! Who sent a request (contract, "Who is calling"), and the digest by which it shows that. A challenge keeps nothing;
//! what is right goes on as a use of a nonce, which a quorum makes count once.

use std::net::IpAddr;
use std::sync::Arc;

use auth::{Algorithm, Checked, Claim, Nonce};
use call::reject::{self, Answer};
use sip::{Credentials, Message, Method, Name, Writer};
use trunk::settings::{AuthMethod, DigestAlgorithm};
use trunk::{Asked, Identified, Party, Reject, Trunk};

use crate::bans::BAN;
use crate::lock;
use crate::metrics::add;
use crate::shared::Shared;
use crate::switch::{Incoming, is_named};

/// Who sent a request.
pub(crate) enum Caller {
    /// This party.
    Admitted(Admission),
    /// It must show who it is: the header lines of the challenge.
    Challenged(Vec<u8>),
    /// Policy says no.
    Refused(Answer),
    /// Nobody.
    Unknown,
    /// Somebody who has guessed passwords: not heard.
    Banned,
}

/// A party, and how it is known.
pub(crate) struct Admission {
    pub(crate) party: Party,
    /// How many bytes of the Request-URI's user are its tech prefix.
    pub(crate) strip: usize,
    /// The use of a nonce that proves it, where one does.
    pub(crate) proof: Option<auth::Use>,
}

impl Shared {
    /// Who is calling, or registering.
    pub(crate) fn identify(&self, incoming: &Incoming<'_>) -> Caller {
        let message = &incoming.message;
        let registers = message.method() == Some(Method::Register);
        let uri = message.request_uri().ok();
        let from = message.from().ok().and_then(|from| from.parse_uri().ok());
        let header = |name: &str| message.find(name.as_bytes()).and_then(text);
        let claim = credentials(message, &incoming.context.domain);
        let username = claim.and_then(|it| String::from_utf8(it.username()?.into_owned()).ok());
        let asked = Asked {
            source: incoming.flow.remote,
            transport: incoming.flow.transport,
            local_port: incoming.flow.local.port(),
            request_user: uri.as_ref().and_then(|uri| text(uri.user?)).unwrap_or_default(),
            request_host: uri.as_ref().and_then(|uri| text(uri.host)).unwrap_or_default(),
            from_host: from.as_ref().and_then(|uri| text(uri.host)).unwrap_or_default(),
            username: username.as_deref(),
            header: &header,
        };
        let resources = &incoming.context.resources;
        let ask = |asked: &Asked<'_>| {
            if registers { resources.identify_registrant(asked) } else { resources.identify(asked) }
        };
        let identified = ask(&asked);
        let is_banned = || lock(&self.bans).is_banned(self.world.clock.now(), incoming.flow.remote.ip());
        let is_named = is_named(incoming.context, &incoming.flow);
        if !is_named && is_banned() {
            return Caller::Banned;
        }
        let Some(claim) = claim else { return self.unclaimed(incoming, identified, 0) };
        if let Identified::Claimed { trunk, account, strip } = identified {
            return match self.check(incoming, &claim, Some((&trunk, account))) {
                Checked::Right(used) if !self.cluster.is_unused(&used) => {
                    add(&self.metrics.replays);
                    self.ask_again(incoming, &ask(&asked.unnamed()), &trunk, true)
                }
                Checked::Right(used) => {
                    let party = Party::Trunk { name: trunk.name.clone(), account: Some(account) };
                    Caller::Admitted(Admission { party, strip, proof: Some(used) })
                }
                Checked::Stale => self.ask_again(incoming, &ask(&asked.unnamed()), &trunk, true),
                Checked::Foreign => self.ask_again(incoming, &ask(&asked.unnamed()), &trunk, false),
                Checked::Wrong { failed, salt } => {
                    self.guessed(incoming, is_named, salt);
                    let offered = offered(&ask(&asked.unnamed()), &trunk);
                    self.wrong(incoming, &offered, failed)
                }
            };
        }
        // Nobody's name, or that of an account whose trunk does not admit this source. The work is the same.
        let owner = username.as_deref().and_then(|name| resources.owner_of(name));
        let owner = owner.filter(|(trunk, _)| trunk.access.takes(AuthMethod::Digest));
        let checked = self.check(incoming, &claim, owner);
        if let Checked::Wrong { salt, .. } = checked {
            self.guessed(incoming, is_named, salt);
        }
        match (checked, owner, identified) {
            // Nothing is said of this before the digest is right (contract).
            (Checked::Right(_) | Checked::Stale, Some((trunk, _)), _) => {
                let trunk = trunk.name.clone();
                Caller::Refused(reject::policy(&Reject::ForeignSource { trunk }))
            }
            (Checked::Wrong { failed, .. }, _, Identified::Challenge { candidates }) => {
                self.wrong(incoming, &common(&candidates), failed)
            }
            (_, _, identified) => self.unclaimed(incoming, identified, 0),
        }
    }

    /// Who it is without credentials.
    fn unclaimed(&self, incoming: &Incoming<'_>, identified: Identified, failed: u8) -> Caller {
        let admitted = |party, strip| Caller::Admitted(Admission { party, strip, proof: None });
        match identified {
            Identified::Trunk { trunk, strip } => {
                admitted(Party::Trunk { name: trunk.name.clone(), account: None }, strip)
            }
            Identified::Gateway { gateway } => admitted(Party::Gateway { name: gateway.name.clone() }, 0),
            Identified::Challenge { candidates } => {
                self.challenged(incoming, &common(&candidates), failed, false)
            }
            Identified::Refuse(reject) => Caller::Refused(reject::policy(&reject)),
            // Nothing is claimed without credentials.
            Identified::Claimed { .. } => Caller::Refused(reject::policy(&Reject::NotIdentified)),
            Identified::Unknown => Caller::Unknown,
        }
    }

    fn ask_again(
        &self,
        incoming: &Incoming<'_>,
        unnamed: &Identified,
        trunk: &Arc<Trunk>,
        stale: bool,
    ) -> Caller {
        self.challenged(incoming, &offered(unnamed, trunk), 0, stale)
    }

    /// Wrong credentials: once more, then no (contract). Whether the name is anybody's makes no difference.
    fn wrong(&self, incoming: &Incoming<'_>, offered: &[DigestAlgorithm], failed: u8) -> Caller {
        add(&self.metrics.wrong_credentials);
        tracing::debug!(source = %incoming.flow.remote, failed, "wrong credentials");
        if failed > 0 {
            return Caller::Refused(reject::policy(&Reject::WrongCredentials));
        }
        self.challenged(incoming, offered, failed.saturating_add(1), false)
    }

    /// Wrong credentials of a source: after too many it is not heard. One that a trunk names stays heard, whatever its
    /// telephones do; and what answers a nonce that another source was given may be sent under a false address.
    fn guessed(&self, incoming: &Incoming<'_>, is_named: bool, salt: u64) {
        let source = incoming.flow.remote.ip();
        if is_named || salt & MARK != self.mark(source) {
            return;
        }
        if lock(&self.bans).wrong(self.world.clock.now(), source) {
            add(&self.metrics.bans);
            let seconds = BAN.as_secs();
            tracing::warn!(%source, seconds, "too many wrong passwords: the source is not heard for a while");
        }
    }

    /// What nonces say of whom they were given to.
    fn mark(&self, source: IpAddr) -> u64 {
        let source = match source {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        self.secret.digest(&[b"nonce for", &source.octets()]) as u64 & MARK
    }

    fn challenged(
        &self,
        incoming: &Incoming<'_>,
        offered: &[DigestAlgorithm],
        failed: u8,
        stale: bool,
    ) -> Caller {
        if offered.is_empty() {
            return Caller::Refused(reject::policy(&Reject::NotIdentified));
        }
        Caller::Challenged(self.challenge_lines(incoming, offered, failed, stale))
    }

    /// The header lines of a challenge, with a nonce of its own: one for each algorithm, in order (RFC 8760 §2.4).
    pub(crate) fn challenge_lines(
        &self,
        incoming: &Incoming<'_>,
        offered: &[DigestAlgorithm],
        failed: u8,
        stale: bool,
    ) -> Vec<u8> {
        let issued = self.cluster.cluster().time();
        let salt = self.draw_number() & !MARK | self.mark(incoming.flow.remote.ip());
        let nonce = self.nonces.write(&Nonce { issued, salt, failed });
        let (_, name) = asks_with(&incoming.message);
        let mut out = Vec::with_capacity(256);
        for algorithm in offered {
            let challenge = sip::Challenge {
                realm: incoming.context.domain.as_bytes(),
                nonce: &nonce,
                algorithm: algorithm.algorithm().name().as_bytes(),
                stale,
            };
            challenge.write(&mut Writer::lines(&mut out), name);
        }
        out
    }

    /// 401 or 407.
    pub(crate) fn ask_for_credentials(&self, incoming: &Incoming<'_>, challenges: &[u8]) {
        add(&self.metrics.challenges);
        let (status, _) = asks_with(&incoming.message);
        let bytes = incoming.stateless().challenge(&incoming.message, status, challenges);
        self.refuse(incoming, status, bytes);
    }

    fn check(
        &self,
        incoming: &Incoming<'_>,
        claim: &Credentials<'_>,
        account: Option<(&Arc<Trunk>, u8)>,
    ) -> Checked {
        let field = |name: &[u8]| claim.get(name).map(std::borrow::Cow::into_owned);
        let (uri, nonce, response) = (field(b"uri"), field(b"nonce"), field(b"response"));
        let (algorithm, qop) = (field(b"algorithm"), field(b"qop"));
        let (nc, cnonce) = (field(b"nc"), field(b"cnonce"));
        let claim = Claim {
            method: incoming.message.method().map_or(&b""[..], |method| method.as_bytes()),
            uri: uri.as_deref().unwrap_or_default(),
            nonce: nonce.as_deref().unwrap_or_default(),
            algorithm: algorithm.as_deref(),
            qop: qop.as_deref(),
            nc: nc.as_deref(),
            cnonce: cnonce.as_deref(),
            response: response.as_deref().unwrap_or_default(),
        };
        let kept = account.and_then(|(trunk, number)| {
            let account = trunk.accounts.get(usize::from(number).checked_sub(1)?)?;
            account.password.ha1()
        });
        let taken: Vec<Algorithm> = match account {
            Some((trunk, _)) => trunk.access.digest.iter().map(|it| it.algorithm()).collect(),
            None => Vec::new(),
        };
        auth::check(&self.nonces, self.cluster.cluster().time(), &claim, kept, &taken)
    }
}

/// The part of a nonce's number that depends on its source.
const MARK: u64 = 0xffff;

/// What a challenge offers to whoever claims to be this trunk: what it would offer to anybody from there, so that a
/// name that exists is not told from one that does not.
fn offered(unnamed: &Identified, trunk: &Arc<Trunk>) -> Vec<DigestAlgorithm> {
    match unnamed {
        Identified::Challenge { candidates } => common(candidates),
        _ => trunk.access.digest.clone(),
    }
}

/// The algorithms that all of these take, in the order of the first; where they have none in common, all of each. Many
/// devices fail when SHA-256 is offered at all.
fn common(candidates: &[Arc<Trunk>]) -> Vec<DigestAlgorithm> {
    let mut all: Vec<DigestAlgorithm> = Vec::new();
    for algorithm in candidates.iter().flat_map(|trunk| &trunk.access.digest) {
        if !all.contains(algorithm) {
            all.push(*algorithm);
        }
    }
    let by_all = |it: &&DigestAlgorithm| candidates.iter().all(|trunk| trunk.access.digest.contains(it));
    let shared: Vec<DigestAlgorithm> = all.iter().filter(by_all).copied().collect();
    if shared.is_empty() { all } else { shared }
}

/// What this request is challenged with: a registrar asks for itself, for a call we stand in the way (RFC 3261 §22.2,
/// §22.3).
fn asks_with(message: &Message<'_>) -> (u16, Name) {
    match message.method() {
        Some(Method::Register) => (401, Name::WwwAuthenticate),
        _ => (407, Name::ProxyAuthenticate),
    }
}

/// The credentials for our realm.
fn credentials<'a>(message: &Message<'a>, realm: &str) -> Option<Credentials<'a>> {
    let names = [Name::ProxyAuthorization, Name::Authorization];
    let mut all = names.iter().flat_map(|name| message.credentials(*name));
    all.find(|it| it.is_digest() && it.realm().is_some_and(|r| *r == *realm.as_bytes()))
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(algorithms: &[DigestAlgorithm]) -> Arc<Trunk> {
        let mut trunk = Trunk::new(trunk::Name::new("t").expect("a name"));
        trunk.settings.access.digest = algorithms.to_vec();
        Arc::new(trunk)
    }

    #[test]
    fn what_all_candidates_take_is_offered_and_else_what_any_takes() {
        use DigestAlgorithm::{Md5, Sha256};
        assert_eq!(common(&[takes(&[Sha256, Md5])]), [Sha256, Md5]);
        assert_eq!(common(&[takes(&[Md5]), takes(&[Sha256, Md5])]), [Md5]);
        assert_eq!(common(&[takes(&[Md5]), takes(&[Sha256])]), [Md5, Sha256]);
        assert_eq!(common(&[]), []);
    }
}

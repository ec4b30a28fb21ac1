//! A gateway's challenge to an INVITE of ours, and the answer (RFC 3261 §22.2, §22.3, RFC 8760 §2.4). It goes to the very
//! target that asked, with that gateway's own account, and nowhere else (I-35); a challenge inside a dialog, or of
//! anybody else, is a refusal.

use auth::{Algorithm, Ha1, Offered};
use sip::{Authorization, Credentials, Message, Name, Writer};
use trunk::Party;

use crate::call::Call;
use crate::message::Outgoing;
use crate::record::Challenged;

/// How often one target is answered: its first challenge, and one that says that the nonce was too old.
const ANSWERS_MAX: u8 = 2;

impl Call {
    /// The challenge that the next INVITE to this target answers, if one may be answered.
    pub(crate) fn challenged(
        &self,
        target: u16,
        status: u16,
        response: &Message<'_>,
    ) -> Option<Box<Challenged>> {
        let setup = self.setup.as_ref()?;
        let Party::Gateway { name } = &setup.admit.as_ref()?.plan.targets.get(usize::from(target))?.party
        else {
            return None;
        };
        if self.context.resources.gateways.get(name)?.accounts.is_empty() {
            return None;
        }
        let (lines, by_proxy) = lines(status)?;
        let had = setup.challenge.as_deref();
        let challenge = response.credentials(lines).find_map(|line| read(&line, by_proxy))?;
        match had {
            None => Some(Box::new(challenge)),
            // Asked again in spite of an answer, its password is wrong; unless only the nonce was too old (RFC 7616 §3.3).
            Some(had) => {
                let may =
                    is_stale(response, lines) && had.realm == challenge.realm && had.answers < ANSWERS_MAX;
                may.then(|| Box::new(Challenged { answers: had.answers + 1, ..challenge }))
            }
        }
    }

    /// Answers the target's challenge, where it made one. The same attempt gives the same bytes, at a successor too.
    pub(crate) fn push_answer(&self, writer: &mut Writer<'_>, leg: &Outgoing<'_>) {
        let (Some(challenge), Party::Gateway { name }) = (leg.challenge, &leg.target.party) else { return };
        let gateway = self.context.resources.gateways.get(name);
        let Some(account) = gateway.and_then(|gateway| gateway.accounts.first()) else { return };
        let Some(password) = account.password.open(name, &account.username, &self.context.seal) else {
            return;
        };
        let ha1 = Ha1::new(&account.username, &challenge.realm, &password);
        let parts: [&[u8]; 3] = [b"cnonce", &self.seed.to_be_bytes(), &leg.number.to_be_bytes()];
        let cnonce = format!("{:032x}", self.context.secret.digest(&parts));
        let asked = Asked { method: b"INVITE", uri: leg.target.uri.as_bytes(), cnonce: &cnonce };
        push(writer, challenge, (&account.username, &ha1), &asked);
    }
}

/// The request that answers a challenge.
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a [u8],
    pub(crate) uri: &'a [u8],
    pub(crate) cnonce: &'a str,
}

/// Writes the answer to a challenge.
pub(crate) fn push(
    writer: &mut Writer<'_>,
    challenge: &Challenged,
    (username, ha1): (&str, &Ha1),
    asked: &Asked<'_>,
) {
    let offered = Offered {
        realm: challenge.realm.as_bytes(),
        nonce: challenge.nonce.as_bytes(),
        algorithm: challenge.algorithm.as_deref().map(str::as_bytes),
        qop: challenge.counts.then_some(b"auth"),
        opaque: challenge.opaque.as_deref().map(str::as_bytes),
        stale: false,
    };
    let Asked { method, uri, cnonce } = *asked;
    let Ok(said) = auth::respond(username, ha1, &offered, method, uri, 1, cnonce.as_bytes()) else { return };
    let answer = Authorization {
        username: said.username.as_bytes(),
        realm: &said.realm,
        nonce: &said.nonce,
        uri,
        response: &said.response,
        algorithm: said.algorithm.map(|algorithm| algorithm.name().as_bytes()),
        counted: said.counted.as_ref().map(|(count, cnonce)| (*count, cnonce.as_slice())),
        opaque: said.opaque.as_deref(),
    };
    answer.write(writer, if challenge.by_proxy { Name::ProxyAuthorization } else { Name::Authorization });
}

/// Where the challenges of a status stand, and whether they are a proxy's.
pub(crate) fn lines(status: u16) -> Option<(Name, bool)> {
    match status {
        401 => Some((Name::WwwAuthenticate, false)),
        407 => Some((Name::ProxyAuthenticate, true)),
        _ => None,
    }
}

/// Whether the answer before was right, and only its nonce too old (RFC 7616 §3.3).
pub(crate) fn is_stale(response: &Message<'_>, lines: Name) -> bool {
    let is_true = |stale: &[u8]| stale.eq_ignore_ascii_case(b"true");
    response.credentials(lines).any(|line| line.get(b"stale").is_some_and(|stale| is_true(&stale)))
}

/// A challenge that can be answered; the topmost counts.
pub(crate) fn read(line: &Credentials<'_>, by_proxy: bool) -> Option<Challenged> {
    let text = |name: &[u8]| line.get(name).and_then(|it| String::from_utf8(it.into_owned()).ok());
    let (algorithm, qop) = (text(b"algorithm"), text(b"qop"));
    Algorithm::of(algorithm.as_deref().map(str::as_bytes))?;
    let counts = match &qop {
        None => false,
        Some(list) => list.split(',').any(|word| word.trim().eq_ignore_ascii_case("auth")).then_some(true)?,
    };
    let (realm, nonce) = (text(b"realm")?, text(b"nonce")?);
    let fits = line.is_digest() && realm.len() + nonce.len() <= FIELDS_MAX;
    fits.then(|| Challenged {
        by_proxy,
        realm,
        nonce,
        algorithm,
        opaque: text(b"opaque"),
        counts,
        answers: 1,
    })
}

/// More than any carrier's realm and nonce have: they become part of the record.
const FIELDS_MAX: usize = 1_024;

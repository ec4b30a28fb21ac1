//! A carrier's registrar (RFC 3261 §10.3): it challenges by digest, keeps bindings until they run out, and has its
//! troubles. It keeps no transactions: what comes again is done again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use env::Clock as _;
use machine::{Instant, Rng};

use super::text::{answer, field, response};
use super::{Accounts, ELSEWHERE, REALM, Trouble, password};
use crate::letter::{header, headers};
use crate::life::Life;
use crate::network::{Wire, lock};
use crate::time::VirtualClock;
use crate::world::World;

/// A binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Until when.
    pub until: Instant,
    call_id: String,
    cseq: u32,
}

/// The registrar.
pub struct Registrar {
    accounts: Accounts,
    wire: Arc<Wire>,
    clock: Arc<VirtualClock>,
    life: Arc<Life>,
    books: Mutex<Books>,
}

struct Books {
    rng: Rng,
    nonces: BTreeSet<String>,
    /// The Contacts of each account.
    bound: BTreeMap<String, BTreeMap<String, Kept>>,
    /// The Call-IDs under which our realm's challenge was answered.
    series: BTreeSet<String>,
    /// The Call-ID of whoever answered last, if that was to a nonce that was too old.
    stale: Option<String>,
}

/// What a REGISTER says.
struct Asked<'a> {
    username: &'a str,
    call_id: &'a str,
    cseq: u32,
    expires_s: u32,
    contacts: Vec<(&'a str, Option<u32>)>,
}

impl<'a> Asked<'a> {
    fn read(bytes: &'a [u8]) -> Option<Asked<'a>> {
        let to = header(bytes, "To")?;
        let username = to.split_once("sip:")?.1.split_once('@')?.0;
        let (cseq, _) = header(bytes, "CSeq")?.split_once(' ')?;
        let expires = header(bytes, "Expires").and_then(|it| it.parse().ok());
        let contacts = headers(bytes, "Contact").map(|contact| {
            let (uri, rest) = contact.strip_prefix('<')?.split_once('>')?;
            Some((uri, rest.split_once("expires=").and_then(|(_, it)| it.parse().ok())))
        });
        Some(Asked {
            username,
            call_id: header(bytes, "Call-ID")?,
            cseq: cseq.parse().ok()?,
            expires_s: expires.unwrap_or(3_600),
            contacts: contacts.collect::<Option<_>>()?,
        })
    }
}

impl Registrar {
    /// Opens it in a world.
    pub(super) fn open(accounts: Accounts, world: &World, rng: Rng) -> Arc<Registrar> {
        let registrar = Arc::new(Registrar {
            accounts,
            wire: world.wire.clone(),
            clock: world.clock.clone(),
            life: Life::of_peers(),
            books: Mutex::new(Books::new(rng)),
        });
        let hears = registrar.clone();
        let handler = Arc::new(move |from: SocketAddr, bytes: &[u8]| hears.hears(from, bytes));
        world.wire.attach(&registrar.life, super::at(), handler).expect("nobody else is there");
        registrar
    }

    /// The bindings of an account that have not run out.
    pub fn bound(&self, username: &str, now: Instant) -> BTreeMap<String, Kept> {
        let mut bound = lock(&self.books).bound.get(username).cloned().unwrap_or_default();
        bound.retain(|_, kept| kept.until > now);
        bound
    }

    fn hears(&self, from: SocketAddr, bytes: &[u8]) {
        let now = self.clock.now();
        let trouble = self.accounts.trouble(now);
        if trouble == Trouble::Silent {
            return;
        }
        let said = match bytes.split(|byte| *byte == b' ').next() {
            Some(b"OPTIONS") => answer(bytes, "200 OK", ""),
            Some(b"REGISTER") => self.register(now, trouble, bytes),
            _ => None,
        };
        if let Some(said) = said {
            self.wire.send(&self.life, super::at(), from, said.into_bytes().into());
        }
    }

    fn register(&self, now: Instant, trouble: Trouble, bytes: &[u8]) -> Option<String> {
        if let Trouble::Busy(seconds) = trouble {
            return answer(bytes, "503 Service Unavailable", &format!("Retry-After: {seconds}\r\n"));
        }
        let asked = Asked::read(bytes)?;
        let mut books = lock(&self.books);
        let is_right = header(bytes, "Authorization").is_some_and(|claim| books.takes(&asked, claim));
        // Now and then a nonce is too old, for no reason that anybody knows; and never twice in a row.
        let again = books.stale.as_deref() == Some(asked.call_id);
        let is_stale = is_right && books.rng.below(8) == 0 && !again;
        if is_right {
            books.stale = is_stale.then(|| asked.call_id.to_owned());
        }
        if !is_right || is_stale {
            return answer(bytes, "401 Unauthorized", &books.challenge(&asked, trouble, is_stale));
        }
        books.series.insert(asked.call_id.to_owned());
        let granted = match trouble {
            Trouble::Short(seconds) => seconds,
            _ => u32::MAX,
        };
        match books.bind(now, &asked, granted) {
            Some(contacts) => answer(bytes, "200 OK", &contacts),
            // RFC 3261 §10.3, step 7: the update is aborted and the request fails.
            None => answer(bytes, "500 Server Internal Error", ""),
        }
    }
}

impl Books {
    const fn new(rng: Rng) -> Books {
        Books { rng, nonces: BTreeSet::new(), bound: BTreeMap::new(), series: BTreeSet::new(), stale: None }
    }

    /// Whether a claim is right.
    fn takes(&self, asked: &Asked<'_>, claim: &str) -> bool {
        let get = |name| field(claim, name).unwrap_or_default();
        let (username, nonce) = (get("username"), get("nonce"));
        let who = (username, REALM, &*password(username));
        let expected = response(who, ("REGISTER", get("uri")), (nonce, get("nc"), get("cnonce")));
        let is_ours = username == asked.username && get("realm") == REALM && self.nonces.contains(nonce);
        is_ours && get("response") == expected
    }

    fn challenge(&mut self, asked: &Asked<'_>, trouble: Trouble, stale: bool) -> String {
        let nonce = format!("{:016x}", self.rng.next_u64());
        let line = |realm: &str| {
            let stale = if stale { ", stale=true" } else { "" };
            format!(
                "WWW-Authenticate: Digest realm=\"{realm}\", nonce=\"{nonce}\", algorithm=MD5, qop=\"auth\"{stale}\r\n"
            )
        };
        // Who has never answered us takes the first realm that it hears.
        let misleads = trouble == Trouble::Foreign && self.series.contains(asked.call_id);
        let foreign = if misleads { line(ELSEWHERE) } else { String::new() };
        let own = line(REALM);
        self.nonces.insert(nonce);
        foreign + &own
    }

    /// Changes the bindings of an account, and gives the lines that say which it has; none if a later change was made before.
    fn bind(&mut self, now: Instant, asked: &Asked<'_>, at_most: u32) -> Option<String> {
        let bound = self.bound.entry(asked.username.to_owned()).or_default();
        bound.retain(|_, kept| kept.until > now);
        let is_late =
            |uri: &str| bound.get(uri).is_some_and(|it| it.call_id == asked.call_id && it.cseq > asked.cseq);
        if asked.contacts.iter().any(|(uri, _)| is_late(uri)) {
            return None;
        }
        for (uri, own) in &asked.contacts {
            match own.unwrap_or(asked.expires_s) {
                0 => drop(bound.remove(*uri)),
                wanted => {
                    let until = now + Duration::from_secs(wanted.min(at_most).into());
                    let kept = Kept { until, call_id: asked.call_id.to_owned(), cseq: asked.cseq };
                    bound.insert((*uri).to_owned(), kept);
                }
            }
        }
        let line = |(uri, kept): (&String, &Kept)| {
            format!("Contact: <{uri}>;expires={}\r\n", kept.until.since(now).as_secs())
        };
        Some(bound.iter().map(line).collect())
    }
}

impl std::fmt::Debug for Registrar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Registrar")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn books() -> Books {
        Books::new(Rng::from_u64(7))
    }

    fn asked(cseq: u32, contacts: Vec<(&'static str, Option<u32>)>) -> Asked<'static> {
        Asked { username: "acct-1", call_id: "c", cseq, expires_s: 20, contacts }
    }

    #[test]
    fn a_binding_is_made_shortened_taken_away_and_never_by_an_older_word() {
        let (mut books, now) = (books(), Instant::ZERO);
        let lines = books.bind(now, &asked(2, vec![("sip:a", None)]), u32::MAX);
        assert_eq!(lines.as_deref(), Some("Contact: <sip:a>;expires=20\r\n"));
        assert_eq!(books.bind(now, &asked(1, vec![("sip:a", Some(0))]), u32::MAX), None);
        let lines = books.bind(now, &asked(3, vec![("sip:b", None), ("sip:a", Some(0))]), 4);
        assert_eq!(lines.as_deref(), Some("Contact: <sip:b>;expires=4\r\n"));
        let later = now + Duration::from_secs(5);
        assert_eq!(books.bind(later, &asked(4, vec![]), u32::MAX).as_deref(), Some(""));
    }

    #[test]
    fn the_right_answer_is_taken_for_its_realm_alone() {
        let mut books = books();
        let asks = asked(1, vec![]);
        let challenge = books.challenge(&asks, Trouble::Foreign, false);
        assert!(!challenge.contains(ELSEWHERE), "nobody is misled at first: {challenge}");
        let nonce = field(challenge.split_once(": ").expect("a line").1, "nonce").expect("it has one");
        let claim = |realm: &str, password: &str| {
            let said =
                response(("acct-1", realm, password), ("REGISTER", "sip:10.0.4.1"), (nonce, "00000001", "c"));
            format!(
                "Digest username=\"acct-1\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"sip:10.0.4.1\", \
                 response=\"{said}\", qop=auth, nc=00000001, cnonce=\"c\""
            )
        };
        assert!(books.takes(&asks, &claim(REALM, &password("acct-1"))));
        assert!(!books.takes(&asks, &claim(REALM, "another")));
        assert!(!books.takes(&asks, &claim(ELSEWHERE, &password("acct-1"))));
        books.series.insert("c".into());
        assert!(books.challenge(&asks, Trouble::Foreign, false).contains(ELSEWHERE));
    }
}

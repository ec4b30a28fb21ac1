//! The client's side: the answer to a challenge, for one peer alone (RFC 7616 §3.4, RFC 2617 §3.2.2, RFC 8760 §2.4).

use std::fmt;

use thiserror::Error;
use zeroize::Zeroize;

use crate::algorithm::Algorithm;
use crate::ha1::Ha1;

/// A user name and a password for one peer. Prints as `***`; the password's memory is cleared.
#[derive(Clone)]
pub struct Credentials {
    username: String,
    password: String,
    /// The realm of the first challenge that was answered: no other is, ever (I-35).
    realm: Option<String>,
}

/// What a challenge says, without quotes.
#[derive(Debug, Clone, Copy)]
pub struct Offered<'a> {
    /// `realm=`.
    pub realm: &'a [u8],
    /// `nonce=`.
    pub nonce: &'a [u8],
    /// `algorithm=`; absent, it is MD5.
    pub algorithm: Option<&'a [u8]>,
    /// `qop=`, a list; absent in RFC 2069's time.
    pub qop: Option<&'a [u8]>,
    /// `opaque=`, sent back as it is.
    pub opaque: Option<&'a [u8]>,
    /// Whether only the nonce was too old.
    pub stale: bool,
}

/// What to say: the fields of Authorization or Proxy-Authorization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// `username=`.
    pub username: String,
    /// `realm=`.
    pub realm: Vec<u8>,
    /// `nonce=`.
    pub nonce: Vec<u8>,
    /// `uri=`.
    pub uri: Vec<u8>,
    /// `response=`.
    pub response: Vec<u8>,
    /// `algorithm=`, where the challenge names one.
    pub algorithm: Option<Algorithm>,
    /// `nc=` and `cnonce=`, with `qop=auth`, where the challenge offers it.
    pub counted: Option<(u32, Vec<u8>)>,
    /// `opaque=`.
    pub opaque: Option<Vec<u8>>,
}

/// Why a challenge is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It is for a realm that is not this peer's.
    #[error("the challenge names another realm")]
    Realm,
    /// Nothing that it offers is known.
    #[error("the challenge offers no algorithm or protection that is known")]
    Unknown,
}

impl Credentials {
    /// What an operator gave for a peer.
    pub fn new(username: &str, password: &str) -> Credentials {
        Credentials { username: username.to_owned(), password: password.to_owned(), realm: None }
    }

    /// The first of a peer's challenges that can be answered, as RFC 8760 §2.4 wants it. `count` and `cnonce` are the
    /// caller's: how often this nonce was used with this one, and a number that it drew.
    ///
    /// # Errors
    /// None of them can, or may.
    pub fn answer<'a>(
        &mut self,
        challenges: impl IntoIterator<Item = Offered<'a>>,
        method: &[u8],
        uri: &[u8],
        count: u32,
        cnonce: &[u8],
    ) -> Result<Response, Refusal> {
        let mut refusal = Refusal::Unknown;
        for offered in challenges {
            if self.realm.as_ref().is_some_and(|realm| realm.as_bytes() != offered.realm) {
                refusal = Refusal::Realm;
                continue;
            }
            let Ok(realm) = std::str::from_utf8(offered.realm) else { continue };
            let ha1 = Ha1::new(&self.username, realm, &self.password);
            let Ok(response) = respond(&self.username, &ha1, &offered, method, uri, count, cnonce) else {
                continue;
            };
            self.realm = Some(realm.to_owned());
            return Ok(response);
        }
        Err(refusal)
    }
}

impl Drop for Credentials {
    fn drop(&mut self) {
        self.password.zeroize();
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Answers one challenge.
///
/// # Errors
/// It offers nothing that is known.
pub fn respond(
    username: &str,
    ha1: &Ha1,
    offered: &Offered<'_>,
    method: &[u8],
    uri: &[u8],
    count: u32,
    cnonce: &[u8],
) -> Result<Response, Refusal> {
    let algorithm = Algorithm::of(offered.algorithm).ok_or(Refusal::Unknown)?;
    let counts = match offered.qop {
        None => false,
        Some(list) => {
            let mut words = list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            words.any(|word| word.eq_ignore_ascii_case(b"auth")).then_some(true).ok_or(Refusal::Unknown)?
        }
    };
    let (ha1, ha2) = (ha1.hex(algorithm), algorithm.hash(&[method, uri]));
    let nc = format!("{count:08x}");
    let response = if counts {
        algorithm.hash(&[&ha1, offered.nonce, nc.as_bytes(), cnonce, b"auth", &ha2])
    } else {
        algorithm.hash(&[&ha1, offered.nonce, &ha2])
    };
    Ok(Response {
        username: username.to_owned(),
        realm: offered.realm.to_vec(),
        nonce: offered.nonce.to_vec(),
        uri: uri.to_vec(),
        response,
        algorithm: offered.algorithm.map(|_| algorithm),
        counted: counts.then(|| (count, cnonce.to_vec())),
        opaque: offered.opaque.map(<[u8]>::to_vec),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7616 §3.9.1: the same challenge in both algorithms.
    fn mufasa(algorithm: &'static [u8]) -> Vec<u8> {
        let offered = Offered {
            realm: b"http-auth@example.org",
            nonce: b"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
            algorithm: Some(algorithm),
            qop: Some(b"auth, auth-int"),
            opaque: Some(b"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"),
            stale: false,
        };
        let ha1 = Ha1::new("Mufasa", "http-auth@example.org", "Circle of Life");
        let cnonce = b"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        let answer =
            respond("Mufasa", &ha1, &offered, b"GET", b"/dir/index.html", 1, cnonce).expect("answered");
        assert_eq!(answer.opaque.as_deref(), offered.opaque);
        answer.response
    }

    #[test]
    fn rfc_7616_3_9_1_is_answered_as_it_says() {
        assert_eq!(mufasa(b"MD5"), b"8ca523f5e9506fed4657c9700eebdbec");
        assert_eq!(mufasa(b"SHA-256"), b"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1");
    }

    fn testrealm(qop: Option<&'static [u8]>) -> Offered<'static> {
        Offered {
            realm: b"testrealm@host.com",
            nonce: b"dcd98b7102dd2f0e8b11d0f600bfb0c093",
            algorithm: None,
            qop,
            opaque: None,
            stale: false,
        }
    }

    /// RFC 2617 §3.5; without `qop`, §3.2.2.1's other form, its value by `md5sum`.
    #[test]
    fn rfc_2617_3_5_is_answered_with_and_without_qop() {
        let ha1 = Ha1::new("Mufasa", "testrealm@host.com", "Circle Of Life");
        let answer = |qop| {
            let offered = testrealm(qop);
            respond("Mufasa", &ha1, &offered, b"GET", b"/dir/index.html", 1, b"0a4f113b").expect("answered")
        };
        let counted = answer(Some(b"auth,auth-int"));
        assert_eq!(counted.response, b"6629fae49393a05397450978507c4ef1");
        assert_eq!(counted.counted, Some((1, b"0a4f113b".to_vec())));
        let plain = answer(None);
        assert_eq!(plain.response, b"670fd8c2df070c60b045671b8b24ff02");
        assert_eq!((plain.counted, plain.algorithm), (None, None));
    }

    /// RFC 8760 §2.4: the topmost that is known; a list of nothing known is no challenge.
    #[test]
    fn the_topmost_known_challenge_is_answered() {
        let of = |algorithm| Offered { algorithm: Some(algorithm), ..testrealm(Some(b"auth")) };
        let mut credentials = Credentials::new("Mufasa", "Circle Of Life");
        let offers = [of(b"SHA-512-256"), of(b"SHA-256"), of(b"MD5")];
        let answer = credentials.answer(offers, b"GET", b"/", 1, b"c").expect("answered");
        assert_eq!(answer.algorithm, Some(Algorithm::Sha256));
        assert_eq!(credentials.answer([of(b"SHA-512-256")], b"GET", b"/", 1, b"c"), Err(Refusal::Unknown));
        let auth_int = Offered { qop: Some(b"auth-int"), ..of(b"MD5") };
        assert_eq!(credentials.answer([auth_int], b"GET", b"/", 1, b"c"), Err(Refusal::Unknown));
    }

    /// I-35: a peer that names another's realm learns nothing.
    #[test]
    fn i35_only_the_realm_of_the_first_challenge_is_ever_answered() {
        let mut credentials = Credentials::new("Mufasa", "Circle Of Life");
        assert!(credentials.answer([testrealm(None)], b"GET", b"/", 1, b"c").is_ok());
        let foreign = Offered { realm: b"another", ..testrealm(None) };
        assert_eq!(credentials.answer([foreign], b"GET", b"/", 1, b"c"), Err(Refusal::Realm));
        let both = credentials.answer([foreign, testrealm(None)], b"GET", b"/", 2, b"c").expect("its own");
        assert_eq!(both.realm, b"testrealm@host.com");
    }

    /// I-39.
    #[test]
    fn i39_credentials_print_nothing() {
        assert_eq!(format!("{:?}", Credentials::new("user", "canary")), "***");
    }
}

//! The server's side: is a claim right, and for a nonce that may still be used (RFC 7616 §3.4, RFC 3261 §22)?

use machine::ClusterTime;
use subtle::ConstantTimeEq;

use crate::algorithm::Algorithm;
use crate::ha1::Ha1;
use crate::nonce::{NonceKey, Use};

/// What a request's credentials say, without quotes.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// The request's method.
    pub method: &'a [u8],
    /// `uri=`. Not compared with the Request-URI: proxies on the way may change that (RFC 3261 §22.4).
    pub uri: &'a [u8],
    /// `nonce=`.
    pub nonce: &'a [u8],
    /// `algorithm=`; absent, it is MD5.
    pub algorithm: Option<&'a [u8]>,
    /// `qop=`. Only `auth` is taken: what is asked for can't be taken back on the way.
    pub qop: Option<&'a [u8]>,
    /// `nc=`.
    pub nc: Option<&'a [u8]>,
    /// `cnonce=`.
    pub cnonce: Option<&'a [u8]>,
    /// `response=`.
    pub response: &'a [u8],
}

/// What a claim is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// It is right. This use of the nonce is still to be remembered.
    Right(Use),
    /// It is right, for a nonce that is too old: `stale=true`.
    Stale,
    /// It is wrong, in answer to a nonce that had failed so often before.
    Wrong {
        /// How often.
        failed: u8,
        /// The nonce's number, which may say to whom it was given.
        salt: u64,
    },
    /// Its nonce is none of ours: as good as no claim.
    Foreign,
}

/// Checks a claim. `account` is what is kept of the user's password, absent for a user that nobody is: the work is the
/// same. `taken` are the algorithms that the account takes: no other is, however right it were (RFC 8760 §2.4).
pub fn check(
    key: &NonceKey,
    now: ClusterTime,
    claim: &Claim<'_>,
    account: Option<&Ha1>,
    taken: &[Algorithm],
) -> Checked {
    let Some(nonce) = key.read(claim.nonce) else { return Checked::Foreign };
    let wrong = Checked::Wrong { failed: nonce.failed, salt: nonce.salt };
    let (Some(algorithm), Some(nc)) = (Algorithm::of(claim.algorithm), claim.nc.and_then(count)) else {
        return wrong;
    };
    if !claim.qop.is_some_and(|qop| qop.eq_ignore_ascii_case(b"auth")) {
        return wrong;
    }
    let nobody = Ha1::nobody();
    let ha1 = account.unwrap_or(&nobody).hex(algorithm);
    let (nc_text, cnonce) = (claim.nc.unwrap_or_default(), claim.cnonce.unwrap_or_default());
    let ha2 = algorithm.hash(&[claim.method, claim.uri]);
    let expected = algorithm.hash(&[&ha1, claim.nonce, nc_text, cnonce, b"auth", &ha2]);
    // RFC 7616 §3.4: the digits are lower-case; some devices write others.
    let given = claim.response.to_ascii_lowercase();
    let is_right = bool::from(given.ct_eq(&expected)) & account.is_some() & taken.contains(&algorithm);
    match is_right {
        false => wrong,
        true if nonce.is_stale(now) => Checked::Stale,
        true => Checked::Right(Use { issued: nonce.issued, salt: nonce.salt, nc }),
    }
}

/// `nc-value = 8LHEX`, at least one.
fn count(text: &[u8]) -> Option<u32> {
    if text.len() != 8 || !text.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?;
    u32::from_str_radix(text, 16).ok().filter(|nc| *nc > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nonce::{NONCE_LIFETIME, Nonce, NonceText};

    const NOW: ClusterTime = ClusterTime(5_000_000);
    const BOTH: &[Algorithm] = &[Algorithm::Sha256, Algorithm::Md5];

    fn key() -> NonceKey {
        NonceKey::new(b"the cluster's key")
    }

    fn nonce(failed: u8) -> NonceText {
        key().write(&Nonce { issued: NOW, salt: 7, failed })
    }

    fn ha1() -> Ha1 {
        Ha1::new("alice", "example.net", "secret")
    }

    /// What alice's telephone computes.
    fn response(algorithm: Algorithm, nonce: &[u8], nc: &[u8]) -> Vec<u8> {
        let ha2 = algorithm.hash(&[b"INVITE", b"sip:bob@example.net"]);
        algorithm.hash(&[&ha1().hex(algorithm), nonce, nc, b"0a4f113b", b"auth", &ha2])
    }

    fn claim<'a>(nonce: &'a [u8], response: &'a [u8]) -> Claim<'a> {
        Claim {
            method: b"INVITE",
            uri: b"sip:bob@example.net",
            nonce,
            algorithm: None,
            qop: Some(b"auth"),
            nc: Some(b"00000001"),
            cnonce: Some(b"0a4f113b"),
            response,
        }
    }

    #[test]
    fn the_right_password_is_right_for_a_fresh_nonce_and_stale_for_an_old_one() {
        let nonce = nonce(0);
        let response = response(Algorithm::Md5, &nonce, b"00000001");
        let check = |now| check(&key(), now, &claim(&nonce, &response), Some(&ha1()), BOTH);
        assert_eq!(check(NOW), Checked::Right(Use { issued: NOW, salt: 7, nc: 1 }));
        assert_eq!(check(NOW + NONCE_LIFETIME), Checked::Stale);
    }

    #[test]
    fn anything_else_is_wrong_and_says_how_often_it_was() {
        let nonce = nonce(1);
        let right = response(Algorithm::Md5, &nonce, b"00000001");
        let good = claim(&nonce, &right);
        let other = Ha1::new("alice", "example.net", "Secret");
        let wrong = Checked::Wrong { failed: 1, salt: 7 };
        assert_eq!(check(&key(), NOW, &good, Some(&other), BOTH), wrong, "another password");
        assert_eq!(check(&key(), NOW, &good, None, BOTH), wrong, "nobody's");
        // Wrong and old is not stale: that would say that the password is right.
        assert_eq!(check(&key(), NOW + NONCE_LIFETIME, &good, None, BOTH), wrong);
        for (why, bad) in [
            ("method", Claim { method: b"REGISTER", ..good }),
            ("uri", Claim { uri: b"sip:eve@example.net", ..good }),
            ("no qop", Claim { qop: None, ..good }),
            ("auth-int", Claim { qop: Some(b"auth-int"), ..good }),
            ("no nc", Claim { nc: None, ..good }),
            ("nc 0", Claim { nc: Some(b"00000000"), ..good }),
            ("short nc", Claim { nc: Some(b"1"), ..good }),
            ("another nc", Claim { nc: Some(b"00000002"), ..good }),
            ("no cnonce", Claim { cnonce: None, ..good }),
            ("algorithm", Claim { algorithm: Some(b"MD5-sess"), ..good }),
            ("no response", Claim { response: b"", ..good }),
        ] {
            assert_eq!(check(&key(), NOW, &bad, Some(&ha1()), BOTH), wrong, "{why}");
        }
    }

    /// Threat 6: who wants SHA-256 is not talked down to MD5.
    #[test]
    fn an_algorithm_that_the_account_does_not_take_is_wrong() {
        let nonce = nonce(0);
        for (algorithm, name) in [(Algorithm::Md5, "MD5"), (Algorithm::Sha256, "SHA-256")] {
            let response = response(algorithm, &nonce, b"00000001");
            let claim = Claim { algorithm: Some(name.as_bytes()), ..claim(&nonce, &response) };
            let right = Checked::Right(Use { issued: NOW, salt: 7, nc: 1 });
            assert_eq!(check(&key(), NOW, &claim, Some(&ha1()), &[algorithm]), right);
            let others: Vec<_> = BOTH.iter().copied().filter(|it| *it != algorithm).collect();
            assert_eq!(
                check(&key(), NOW, &claim, Some(&ha1()), &others),
                Checked::Wrong { failed: 0, salt: 7 }
            );
        }
    }

    /// A forger could else try passwords against nonces that count no failures.
    #[test]
    fn a_nonce_of_somebody_else_makes_the_claim_worthless() {
        let foreign = NonceKey::new(b"other").write(&Nonce { issued: NOW, salt: 7, failed: 0 });
        let response = response(Algorithm::Md5, &foreign, b"00000001");
        assert_eq!(check(&key(), NOW, &claim(&foreign, &response), Some(&ha1()), BOTH), Checked::Foreign);
    }
}

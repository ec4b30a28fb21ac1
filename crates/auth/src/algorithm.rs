//! Hash algorithms of digest (RFC 8760 §2.1) and the sums that they are used for (RFC 7616 §3.4).

use md5::Md5;
use sha2::{Digest, Sha256};

use crate::key::push_hex;

/// A hash algorithm. The `-sess` variants are not offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// `MD5` (RFC 7616 keeps it for old peers).
    Md5,
    /// `SHA-256`.
    Sha256,
}

impl Algorithm {
    /// Its name in `algorithm=`.
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::Md5 => "MD5",
            Algorithm::Sha256 => "SHA-256",
        }
    }

    /// The algorithm that a peer names, in any case; without a name it is MD5 (RFC 2617 §3.2.1).
    pub fn of(name: Option<&[u8]>) -> Option<Algorithm> {
        let Some(name) = name else { return Some(Algorithm::Md5) };
        [Algorithm::Md5, Algorithm::Sha256]
            .into_iter()
            .find(|it| name.eq_ignore_ascii_case(it.name().as_bytes()))
    }

    /// The hash of parts that colons separate, as lower-case hexadecimal digits: RFC 7616's `H(a ":" b …)`.
    pub fn hash(self, parts: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        match self {
            Algorithm::Md5 => push_hex(&mut out, &joined::<Md5>(parts)),
            Algorithm::Sha256 => push_hex(&mut out, &joined::<Sha256>(parts)),
        }
        out
    }
}

/// The hash of parts that colons separate.
pub(crate) fn joined<D: Digest>(parts: &[&[u8]]) -> impl AsRef<[u8]> + use<D> {
    let mut digest = D::new();
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            digest.update(b":");
        }
        digest.update(part);
    }
    Output(digest.finalize())
}

/// A digest's output as bytes, whatever its length.
struct Output<T>(T);

impl<T: AsRef<[u8]>> AsRef<[u8]> for Output<T> {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_in_any_case_and_none_means_md5() {
        assert_eq!(Algorithm::of(None), Some(Algorithm::Md5));
        assert_eq!(Algorithm::of(Some(b"md5")), Some(Algorithm::Md5));
        assert_eq!(Algorithm::of(Some(b"sha-256")), Some(Algorithm::Sha256));
        for unknown in [&b"MD5-sess"[..], b"SHA-512-256", b"SHA256", b""] {
            assert_eq!(Algorithm::of(Some(unknown)), None);
        }
    }

    /// RFC 1321 §A.5 and FIPS 180-4's "abc".
    #[test]
    fn the_hashes_are_those_of_their_standards() {
        assert_eq!(Algorithm::Md5.hash(&[b"abc"]), b"900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(
            Algorithm::Sha256.hash(&[b"abc"]),
            b"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}

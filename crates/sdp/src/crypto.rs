//! `a=crypto` (RFC 4568): a stream's key in its description.

use env::{SrtpKey, SrtpSuite};
use smallvec::SmallVec;

use crate::line::{number, words};

/// One `a=crypto` line that we can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crypto {
    /// Its tag, by which an answer names it.
    pub tag: u32,
    /// The author's key.
    pub key: SrtpKey,
}

/// How a stream is to be secured in a description that we write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Security {
    /// As its author has it.
    #[default]
    Keep,
    /// Not at all: RTP/AVP, without a key.
    Plain,
    /// RTP/SAVP with these keys, the preferred one first.
    Sdes(SmallVec<[Crypto; 1]>),
}

impl Crypto {
    /// Reads the value of `a=crypto`. `None`: it is malformed, or wants what we don't do (MKI, several keys, packets
    /// without encryption or authentication).
    pub(crate) fn read(value: &[u8]) -> Option<Crypto> {
        let mut words = words(value);
        let tag = words.next().filter(|tag| tag.len() <= TAG_DIGITS_MAX).and_then(number::<u32>)?;
        let suite = SrtpSuite::from_name(words.next()?)?;
        let key = words.next()?.strip_prefix(b"inline:")?;
        // A window size hint binds nobody; any other session parameter does (RFC 4568 §6.3.7, §7.1.1).
        if !words.all(|parameter| parameter.starts_with(b"WSH=")) {
            return None;
        }
        let mut parts = key.split(|b| *b == b'|');
        let key = parts.next()?;
        // What may follow is a lifetime; a colon would make it an MKI.
        if parts.next().is_some_and(|lifetime| lifetime.contains(&b':')) || parts.next().is_some() {
            return None;
        }
        Some(Crypto { tag, key: SrtpKey::new(suite, &from_base64(key)?)? })
    }

    /// Appends the line.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"a=crypto:");
        out.extend_from_slice(self.tag.to_string().as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.key.suite().name().as_bytes());
        out.extend_from_slice(b" inline:");
        push_base64(out, self.key.key_and_salt());
        out.extend_from_slice(b"\r\n");
    }
}

/// RFC 4568 §9.1: `tag = 1*9DIGIT`.
const TAG_DIGITS_MAX: usize = 9;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Appends base64 (RFC 4648 §4).
fn push_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0u32, |bits, i| bits << 8 | u32::from(group.get(i).copied().unwrap_or(0)));
        for i in 0..4 {
            let digit = ALPHABET.get((bits >> (18 - 6 * i)) as usize & 63).copied().unwrap_or(b'=');
            out.push(if i <= group.len() { digit } else { b'=' });
        }
    }
}

/// Reads base64; padding may be left out, and nothing else may be there.
fn from_base64(text: &[u8]) -> Option<SmallVec<[u8; 48]>> {
    let end = text.iter().position(|b| *b == b'=').unwrap_or(text.len());
    let (digits, padding) = text.split_at_checked(end)?;
    if padding.len() > 2 || !padding.iter().all(|b| *b == b'=') || digits.len() > 64 {
        return None;
    }
    let mut bytes = SmallVec::new();
    let (mut bits, mut held) = (0u32, 0);
    for digit in digits {
        let value = ALPHABET.iter().position(|known| known == digit)? as u32;
        (bits, held) = (bits << 6 | value, held + 6);
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
        bits &= (1 << held) - 1;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(value: &str) -> Option<Crypto> {
        Crypto::read(value.as_bytes())
    }

    /// The examples of RFC 4568 §9.2 and §5.1, as far as their suites are ours.
    #[test]
    fn the_examples_of_rfc_4568_are_read() {
        let crypto = read("1 AES_CM_128_HMAC_SHA1_80 inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR|2^20")
            .expect("usable");
        assert_eq!((crypto.tag, crypto.key.suite()), (1, SrtpSuite::AesCm80));
        assert_eq!(crypto.key.key_and_salt(), b"=-n@%^x!Bjufr9)?,#5h\\`=&]{qiPQ");
        assert!(read("2 AES_CM_128_HMAC_SHA1_32 inline:NzB4d1BINUAvLEw6UzF3WSJ+PSdFcGdUJShpX1Zj").is_some());
        // The same example's MKI (`|1:4`), which we don't do.
        assert!(
            read("1 AES_CM_128_HMAC_SHA1_80 inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR|2^20|1:4")
                .is_none()
        );
        assert!(
            read("1 AES_CM_128_HMAC_SHA1_80 inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR|1:4").is_none()
        );
        assert!(read("1 F8_128_HMAC_SHA1_80 inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR").is_none());
    }

    #[test]
    fn a_line_that_binds_us_to_more_is_not_usable() {
        let key = "inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR";
        let suite = "AES_CM_128_HMAC_SHA1_80";
        assert!(read(&format!("1 {suite} {key} WSH=64")).is_some());
        for bad in [
            format!("1 {suite} {key} UNENCRYPTED_SRTP"),
            format!("1 {suite} {key} KDR=1"),
            format!("1 {suite} {key};{key}"),
            format!("1234567890 {suite} {key}"),
            format!("1 {suite} clear:PS1u"),
            format!("1 {suite} inline:PS1u"),
            format!("1 {suite}"),
            format!("x {suite} {key}"),
        ] {
            assert_eq!(read(&bad), None, "{bad}");
        }
    }

    #[test]
    fn a_key_is_not_printed() {
        let crypto = read("1 AES_CM_128_HMAC_SHA1_80 inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR")
            .expect("usable");
        assert_eq!(format!("{crypto:?}"), "Crypto { tag: 1, key: *** }");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(tag in 0..1_000_000_000_u32, suite in 0..4_usize, seed: [u8; 32]) {
            let suite = SrtpSuite::ALL[suite];
            let bytes: Vec<u8> = seed.iter().chain(&seed).copied().take(suite.key_length() + suite.salt_length()).collect();
            let crypto = Crypto { tag, key: SrtpKey::new(suite, &bytes).expect("the suite's length") };
            let mut line = Vec::new();
            crypto.write(&mut line);
            let value = line.strip_prefix(b"a=crypto:").and_then(|line| line.strip_suffix(b"\r\n")).expect("a line");
            prop_assert_eq!(Crypto::read(value), Some(crypto));
        }

        #[test]
        fn any_bytes_may_come(value in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = Crypto::read(&value);
        }
    }
}

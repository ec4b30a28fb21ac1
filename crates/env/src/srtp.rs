//! How a leg's RTP is secured: the suites that we speak, and the keys that signalling agreed on.

use std::fmt;

/// A crypto suite (RFC 4568 §6.2, RFC 7714 §14.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SrtpSuite {
    /// AES in counter mode, 80 bits of HMAC-SHA1.
    AesCm80,
    /// AES in counter mode, 32 bits of HMAC-SHA1; 80 for SRTCP.
    AesCm32,
    /// AES-128 in Galois/counter mode.
    AesGcm128,
    /// AES-256 in Galois/counter mode.
    AesGcm256,
}

impl SrtpSuite {
    /// All of them.
    pub const ALL: [SrtpSuite; 4] =
        [SrtpSuite::AesCm80, SrtpSuite::AesCm32, SrtpSuite::AesGcm128, SrtpSuite::AesGcm256];

    /// Its name in `a=crypto`.
    pub const fn name(self) -> &'static str {
        match self {
            SrtpSuite::AesCm80 => "AES_CM_128_HMAC_SHA1_80",
            SrtpSuite::AesCm32 => "AES_CM_128_HMAC_SHA1_32",
            SrtpSuite::AesGcm128 => "AEAD_AES_128_GCM",
            SrtpSuite::AesGcm256 => "AEAD_AES_256_GCM",
        }
    }

    /// The suite of this name.
    pub fn from_name(name: &[u8]) -> Option<SrtpSuite> {
        SrtpSuite::ALL.into_iter().find(|suite| suite.name().as_bytes() == name)
    }

    /// The octets of its master key.
    pub const fn key_length(self) -> usize {
        match self {
            SrtpSuite::AesCm80 | SrtpSuite::AesCm32 | SrtpSuite::AesGcm128 => 16,
            SrtpSuite::AesGcm256 => 32,
        }
    }

    /// The octets of its master salt.
    pub const fn salt_length(self) -> usize {
        match self {
            SrtpSuite::AesCm80 | SrtpSuite::AesCm32 => 14,
            SrtpSuite::AesGcm128 | SrtpSuite::AesGcm256 => 12,
        }
    }
}

/// A master key and its salt. Prints as `***`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SrtpKey {
    suite: SrtpSuite,
    bytes: [u8; SrtpKey::LENGTH_MAX],
}

impl SrtpKey {
    /// The longest key with its salt.
    pub const LENGTH_MAX: usize = 44;

    /// The key, then the salt, exactly as long as the suite wants them.
    pub fn new(suite: SrtpSuite, key_and_salt: &[u8]) -> Option<SrtpKey> {
        let mut bytes = [0; SrtpKey::LENGTH_MAX];
        if key_and_salt.len() != suite.key_length() + suite.salt_length() {
            return None;
        }
        bytes.get_mut(..key_and_salt.len())?.copy_from_slice(key_and_salt);
        Some(SrtpKey { suite, bytes })
    }

    /// For which suite it is.
    pub const fn suite(&self) -> SrtpSuite {
        self.suite
    }

    /// The key.
    pub fn key(&self) -> &[u8] {
        self.bytes.get(..self.suite.key_length()).unwrap_or_default()
    }

    /// The salt.
    pub fn salt(&self) -> &[u8] {
        let from = self.suite.key_length();
        self.bytes.get(from..from + self.suite.salt_length()).unwrap_or_default()
    }

    /// The key with its salt, as `a=crypto` has them.
    pub fn key_and_salt(&self) -> &[u8] {
        self.bytes.get(..self.suite.key_length() + self.suite.salt_length()).unwrap_or_default()
    }
}

impl fmt::Debug for SrtpKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How one side's RTP and RTCP are secured. A direction without a key is closed: nothing passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SideKeys {
    /// What the peer secures with.
    pub receive: Option<SrtpKey>,
    /// What we secure with: ours alone.
    pub send: Option<SrtpKey>,
}

/// What a [`SrtpMark`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SrtpCount {
    /// Half-rounds of the sequence number (2¹⁵ packets) of this source, as we send it.
    Sent(u32),
    /// The same, as it sends to us.
    Heard(u32),
    /// Blocks of 2¹⁶ SRTCP indices that we have used.
    Control,
}

/// How far a packet index may have come. What a successor can't see in packets is how often a sequence number has
/// wrapped; a mark is recorded before that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SrtpMark {
    /// Of what.
    pub count: SrtpCount,
    /// So far.
    pub value: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_as_long_as_its_suite_wants_it_and_never_printed() {
        for (suite, length) in [
            (SrtpSuite::AesCm80, 30),
            (SrtpSuite::AesCm32, 30),
            (SrtpSuite::AesGcm128, 28),
            (SrtpSuite::AesGcm256, 44),
        ] {
            let bytes: Vec<u8> = (1..=length).collect();
            let key = SrtpKey::new(suite, &bytes).expect("the right length");
            assert_eq!([key.key(), key.salt()].concat(), bytes);
            assert_eq!(key.key_and_salt(), bytes);
            assert_eq!(format!("{key:?}"), "***");
            assert_eq!(SrtpKey::new(suite, &bytes[1..]), None);
            assert_eq!(SrtpKey::new(suite, &[&bytes[..], &[0]].concat()), None);
            assert_eq!(SrtpSuite::from_name(suite.name().as_bytes()), Some(suite));
        }
        assert_eq!(SrtpSuite::from_name(b"F8_128_HMAC_SHA1_80"), None);
    }
}

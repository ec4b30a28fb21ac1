//! The transforms: session keys (RFC 3711 §4.3), and one packet secured or opened under a given index (§4.1, §4.2;
//! RFC 7714 §8, §9).

use aes::cipher::{
    BlockCipher, BlockEncrypt, BlockSizeUser, InnerIvInit, KeyInit, StreamCipher, consts::U16,
};
use aes::{Aes128Enc, Aes256Enc};
use ctr::flavors::Ctr128BE;
use ctr::{CtrCore, cipher::StreamCipherCoreWrapper};
use env::{SrtpKey, SrtpSuite};
use hmac::{Hmac, Mac};
use ring::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use sha1::Sha1;
use subtle::ConstantTimeEq;

/// RTP or RTCP under one session key.
pub(super) enum Cipher {
    /// Counter mode with HMAC-SHA1.
    Cm {
        aes: Box<Aes128Enc>,
        salt: [u8; 14],
        mac: Box<Hmac<Sha1>>,
        /// The octets of a tag.
        tag: usize,
    },
    /// Galois/counter mode.
    Gcm { key: Box<LessSafeKey>, salt: [u8; 12] },
}

/// What a packet is, as far as its transform goes.
#[derive(Clone, Copy)]
pub(super) enum Packet {
    /// RTP: so much of it is header; under this index (ROC and sequence number, 48 bits).
    Rtp { header: usize, ssrc: u32, index: u64 },
    /// RTCP under this index (31 bits); whether its body is encrypted.
    Rtcp { ssrc: u32, index: u32, encrypted: bool },
}

impl Cipher {
    /// The session keys for RTP.
    pub fn rtp(master: &SrtpKey) -> Cipher {
        Cipher::derive(master, [0, 1, 2], if master.suite() == SrtpSuite::AesCm32 { 4 } else { 10 })
    }

    /// The session keys for RTCP: its tag is never short (RFC 4568 §6.2.2).
    pub fn rtcp(master: &SrtpKey) -> Cipher {
        Cipher::derive(master, [3, 4, 5], 10)
    }

    fn derive(master: &SrtpKey, [encryption, authentication, salting]: [u8; 3], tag: usize) -> Cipher {
        match master.suite() {
            SrtpSuite::AesCm80 | SrtpSuite::AesCm32 => {
                let aes = Aes128Enc::new(&derived::<16>(master, encryption).into());
                let mac = <Hmac<Sha1> as Mac>::new_from_slice(&derived::<20>(master, authentication));
                let mac = Box::new(mac.expect("HMAC takes a key of any length"));
                Cipher::Cm { aes: Box::new(aes), salt: derived(master, salting), mac, tag }
            }
            SrtpSuite::AesGcm128 => {
                gcm(&aead::AES_128_GCM, &derived::<16>(master, encryption), derived(master, salting))
            }
            SrtpSuite::AesGcm256 => {
                gcm(&aead::AES_256_GCM, &derived::<32>(master, encryption), derived(master, salting))
            }
        }
    }

    /// The octets that it adds, the SRTCP index aside.
    pub fn tag_length(&self) -> usize {
        match self {
            Cipher::Cm { tag, .. } => *tag,
            Cipher::Gcm { .. } => 16,
        }
    }

    /// Secures the first `length` octets of `buffer` in place; gives how long the packet is then. `None`: the buffer
    /// has no room, or the packet no header.
    pub fn seal(&self, packet: Packet, buffer: &mut [u8], length: usize) -> Option<usize> {
        let from = packet.clear();
        let trailer = packet.trailer();
        let tag_at = match self {
            Cipher::Cm { .. } => length + trailer.len(),
            Cipher::Gcm { .. } => length,
        };
        let total = length + trailer.len() + self.tag_length();
        let buffer = buffer.get_mut(..total)?;
        match self {
            Cipher::Cm { aes, salt, mac, tag } => {
                if packet.is_encrypted() {
                    keystream(&**aes, packet.counter(salt), buffer.get_mut(from..length)?);
                }
                buffer.get_mut(length..tag_at)?.copy_from_slice(&trailer);
                let sum = authenticate(mac, packet, buffer.get(..tag_at)?);
                buffer.get_mut(tag_at..)?.copy_from_slice(sum.get(..*tag)?);
            }
            Cipher::Gcm { key, salt } => {
                let (clear, body) = buffer.get_mut(..length)?.split_at_mut_checked(from)?;
                let aad = packet.associated(clear, body, &trailer);
                let body = if packet.is_encrypted() { body } else { &mut [] };
                let tag = key.seal_in_place_separate_tag(packet.nonce(salt), Aad::from(&aad), body).ok()?;
                buffer.get_mut(tag_at..tag_at + 16)?.copy_from_slice(tag.as_ref());
                buffer.get_mut(tag_at + 16..)?.copy_from_slice(&trailer);
            }
        }
        Some(total)
    }

    /// Opens a packet in place; gives how long it is then. `None`: its tag is wrong, and what the packet holds now is
    /// nothing.
    pub fn open(&self, packet: Packet, bytes: &mut [u8]) -> Option<usize> {
        let from = packet.clear();
        let trailer = packet.trailer();
        let length =
            bytes.len().checked_sub(trailer.len() + self.tag_length()).filter(|left| *left >= from)?;
        match self {
            Cipher::Cm { aes, salt, mac, .. } => {
                let (said, tag) = bytes.split_at_mut_checked(length + trailer.len())?;
                let sum = authenticate(mac, packet, said);
                if !bool::from(sum.get(..tag.len())?.ct_eq(tag)) {
                    return None;
                }
                if packet.is_encrypted() {
                    keystream(&**aes, packet.counter(salt), said.get_mut(from..length)?);
                }
            }
            Cipher::Gcm { key, salt } => {
                let (clear, rest) = bytes.split_at_mut_checked(from)?;
                let (body, tag) = rest.split_at_mut_checked(length - from)?;
                let aad = packet.associated(clear, body, &trailer);
                let tag = aead::Tag::try_from(tag.get(..16)?).ok()?;
                let body = if packet.is_encrypted() { body } else { &mut [] };
                key.open_in_place_separate_tag(packet.nonce(salt), Aad::from(&aad), tag, body, 0..).ok()?;
            }
        }
        Some(length)
    }
}

impl Packet {
    /// How much of it is never encrypted.
    fn clear(self) -> usize {
        match self {
            Packet::Rtp { header, .. } => header,
            Packet::Rtcp { .. } => 8,
        }
    }

    fn is_encrypted(self) -> bool {
        match self {
            Packet::Rtp { .. } => true,
            Packet::Rtcp { encrypted, .. } => encrypted,
        }
    }

    /// What stands behind it besides the tag: the SRTCP index with its E bit (RFC 3711 §3.4).
    fn trailer(self) -> Trailer {
        match self {
            Packet::Rtp { .. } => Trailer::new(),
            Packet::Rtcp { index, encrypted, .. } => {
                Trailer::from((u32::from(encrypted) << 31 | index).to_be_bytes())
            }
        }
    }

    /// The first counter block (RFC 3711 §4.1.1).
    fn counter(self, salt: &[u8; 14]) -> [u8; 16] {
        let (ssrc, index) = match self {
            Packet::Rtp { ssrc, index, .. } => (ssrc, index),
            Packet::Rtcp { ssrc, index, .. } => (ssrc, u64::from(index)),
        };
        let salted = salt.iter().fold(0, |block: u128, octet| block << 8 | u128::from(*octet)) << 16;
        (salted ^ u128::from(ssrc) << 64 ^ u128::from(index) << 16).to_be_bytes()
    }

    /// The nonce of an AEAD (RFC 7714 §8.1, §9.1).
    fn nonce(self, salt: &[u8; 12]) -> Nonce {
        let (ssrc, index) = match self {
            Packet::Rtp { ssrc, index, .. } => (ssrc, index),
            Packet::Rtcp { ssrc, index, .. } => (ssrc, u64::from(index)),
        };
        let salted = salt.iter().fold(0, |block: u128, octet| block << 8 | u128::from(*octet));
        let block = (salted ^ u128::from(ssrc) << 48 ^ u128::from(index)).to_be_bytes();
        Nonce::assume_unique_for_key(std::array::from_fn(|i| block.get(i + 4).copied().unwrap_or_default()))
    }

    /// What an AEAD authenticates beside the ciphertext (RFC 7714 §8.2, §9.2, §9.3).
    fn associated(self, clear: &[u8], body: &[u8], trailer: &Trailer) -> Associated {
        let mut all = Associated::from_slice(clear);
        if !self.is_encrypted() {
            all.extend_from_slice(body);
        }
        all.extend_from_slice(trailer);
        all
    }
}

type Trailer = smallvec::SmallVec<[u8; 4]>;
type Associated = smallvec::SmallVec<[u8; 96]>;

fn gcm(algorithm: &'static aead::Algorithm, key: &[u8], salt: [u8; 12]) -> Cipher {
    let key = UnboundKey::new(algorithm, key).expect("the key is as long as the algorithm wants it");
    Cipher::Gcm { key: Box::new(LessSafeKey::new(key)), salt }
}

/// HMAC over the packet as it is sent; of RTP, and its rollover counter (RFC 3711 §4.2).
fn authenticate(mac: &Hmac<Sha1>, packet: Packet, said: &[u8]) -> [u8; 20] {
    let mut mac = mac.clone();
    mac.update(said);
    if let Packet::Rtp { index, .. } = packet {
        mac.update(&((index >> 16) as u32).to_be_bytes());
    }
    mac.finalize().into_bytes().into()
}

/// XORs the keystream from this counter block on.
fn keystream<C>(aes: &C, counter: [u8; 16], body: &mut [u8])
where
    C: BlockCipher + BlockEncrypt + BlockSizeUser<BlockSize = U16>,
{
    let core = CtrCore::<&C, Ctr128BE>::inner_iv_init(aes, &counter.into());
    StreamCipherCoreWrapper::from_core(core).apply_keystream(body);
}

/// A session key or salt (RFC 3711 §4.3.1, without a key derivation rate).
fn derived<const N: usize>(master: &SrtpKey, label: u8) -> [u8; N] {
    let mut counter = [0; 16];
    for (octet, salt) in counter.iter_mut().zip(master.salt()) {
        *octet = *salt;
    }
    if let Some(octet) = counter.get_mut(7) {
        *octet ^= label;
    }
    let mut out = [0; N];
    match master.suite() {
        SrtpSuite::AesGcm256 => {
            let aes = Aes256Enc::new_from_slice(master.key()).expect("a key of 32 octets");
            keystream(&aes, counter, &mut out);
        }
        _ => {
            let aes = Aes128Enc::new_from_slice(master.key()).expect("a key of 16 octets");
            keystream(&aes, counter, &mut out);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex<const N: usize>(text: &str) -> [u8; N] {
        std::array::from_fn(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).expect("hex"))
    }

    /// RFC 3711 Appendix B.3.
    #[test]
    fn session_keys_are_those_of_appendix_b3() {
        let master: [u8; 30] = hex("e1f97a0d3e018be0d64fa32c06de41390ec675ad498afeebb6960b3aabe6");
        let master = SrtpKey::new(SrtpSuite::AesCm80, &master).expect("30 octets");
        assert_eq!(derived::<16>(&master, 0), hex("c61e7a93744f39ee10734afe3ff7a087"));
        assert_eq!(derived::<14>(&master, 2), hex("30cbbc08863d8c85d49db34a9ae1"));
        let authentication: [u8; 20] = derived(&master, 1);
        assert_eq!(authentication, hex("cebe321f6ff7716b6fd4ab49af256a156d38baa4"));
    }

    /// RFC 3711 Appendix B.2: the counter begins at the salt, shifted by 16 bits.
    #[test]
    fn the_keystream_is_that_of_appendix_b2() {
        let aes = Aes128Enc::new(&hex::<16>("2b7e151628aed2a6abf7158809cf4f3c").into());
        let salt: [u8; 14] = hex("f0f1f2f3f4f5f6f7f8f9fafbfcfd");
        let mut stream = [0; 48];
        keystream(&aes, Packet::Rtp { header: 12, ssrc: 0, index: 0 }.counter(&salt), &mut stream);
        let expected: [u8; 48] = hex(
            "e03ead0935c95e80e166b16dd92b4eb4d23513162b02d0f72a43a2fe4a5f97ab41e95b3bb0a2e8dd477901e4fca894c0",
        );
        assert_eq!(stream, expected);
    }

    /// RFC 7714 §16.1.1 (RTP) and §17.1 (RTCP): session keys are given there.
    const GCM_KEY: &str = "000102030405060708090a0b0c0d0e0f";
    const GCM_SALT: &str = "517569642070726f2071756f";

    #[test]
    fn rtp_under_aes_128_gcm_is_that_of_rfc_7714_16_1_1() {
        let cipher = gcm(&aead::AES_128_GCM, &hex::<16>(GCM_KEY), hex(GCM_SALT));
        let clear: [u8; 50] = hex(
            "8040f17b8041f8d35501a0b247616c6c696120657374206f6d6e69732064697669736120696e207061727465732074726573",
        );
        let secured: [u8; 66] = hex(
            "8040f17b8041f8d35501a0b2f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833899d7f27beb16a9152cf765ee4390cce",
        );
        let packet = Packet::Rtp { header: 12, ssrc: 0x5501_a0b2, index: 0xf17b };
        let mut buffer = [0; 66];
        buffer[..50].copy_from_slice(&clear);
        assert_eq!(cipher.seal(packet, &mut buffer, 50), Some(66));
        assert_eq!(buffer, secured);
        assert_eq!(cipher.open(packet, &mut buffer), Some(50));
        assert_eq!(buffer[..50], clear);
    }

    #[test]
    fn rtcp_under_aes_128_gcm_is_that_of_rfc_7714_17_1() {
        let cipher = gcm(&aead::AES_128_GCM, &hex::<16>(GCM_KEY), hex(GCM_SALT));
        let clear: [u8; 56] = hex(
            "81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61deadbeefdeadbeefdeadbeefdeadbeefdeadbeef00000000",
        );
        let packet = Packet::Rtcp { ssrc: 0x4d61_7273, index: 0x5d4, encrypted: true };
        let mut buffer = [0; 76];
        buffer[..52].copy_from_slice(&clear[..52]);
        assert_eq!(cipher.seal(packet, &mut buffer, 52), Some(72));
        let secured: [u8; 72] = hex(
            "81c8000d4d61727363e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b4686303ded0bb9275bc84aa45896cf4d2fc5abf87245d9eade800005d4",
        );
        assert_eq!(buffer[..72], secured);
        assert_eq!(cipher.open(packet, &mut buffer[..72]), Some(52));
        assert_eq!(buffer[..52], clear[..52]);
    }

    #[test]
    fn what_is_secured_can_be_opened_and_one_flipped_bit_is_noticed() {
        for suite in SrtpSuite::ALL {
            let bytes: Vec<u8> = (0..(suite.key_length() + suite.salt_length()) as u8).collect();
            let master = SrtpKey::new(suite, &bytes).expect("the suite's length");
            let clear: Vec<u8> = [0x80, 8, 0, 1].into_iter().chain(0..40).collect();
            for (cipher, packet) in [
                (Cipher::rtp(&master), Packet::Rtp { header: 12, ssrc: 7, index: 0x1_0001 }),
                (Cipher::rtcp(&master), Packet::Rtcp { ssrc: 7, index: 5, encrypted: true }),
                (Cipher::rtcp(&master), Packet::Rtcp { ssrc: 7, index: 5, encrypted: false }),
            ] {
                let mut buffer = clear.clone();
                buffer.resize(clear.len() + super::super::GROWTH_MAX, 0);
                let length = cipher.seal(packet, &mut buffer, clear.len()).expect("room enough");
                assert_eq!(cipher.seal(packet, &mut clear.clone(), clear.len()), None, "no room");
                buffer.truncate(length);
                for at in 0..length {
                    let mut forged = buffer.clone();
                    forged[at] ^= 1;
                    // The index is an input here; what is read off the packet is checked by the receiver.
                    let is_index = matches!(packet, Packet::Rtcp { .. })
                        && match suite {
                            SrtpSuite::AesCm80 | SrtpSuite::AesCm32 => false,
                            _ => at >= length - 4,
                        };
                    assert!(is_index || cipher.open(packet, &mut forged).is_none(), "{suite:?} at {at}");
                }
                assert_eq!(cipher.open(packet, &mut buffer), Some(clear.len()));
                assert_eq!(buffer[..clear.len()], clear);
            }
        }
    }
}

//! Keys under the cluster's key: one for each purpose (HMAC-SHA-256, RFC 2104).

use ring::hmac;

/// The key of one purpose, from the cluster's.
pub fn derive(key: &[u8], purpose: &[u8]) -> [u8; 32] {
    mac(key, &[purpose])
}

/// A keyed sum of parts, one after another.
pub(crate) fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut context = hmac::Context::with_key(&key);
    parts.iter().for_each(|part| context.update(part));
    let sum = context.sign();
    std::array::from_fn(|i| sum.as_ref().get(i).copied().unwrap_or_default())
}

/// Appends lower-case hexadecimal digits.
pub(crate) fn push_hex(out: &mut Vec<u8>, bytes: &impl AsRef<[u8]>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes.as_ref() {
        for nibble in [byte >> 4, byte & 0xF] {
            out.push(DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0'));
        }
    }
}

/// Reads lower-case hexadecimal digits that fill `out`.
pub(crate) fn read_hex(text: &[u8], out: &mut [u8]) -> Option<()> {
    if text.len() != out.len() * 2 {
        return None;
    }
    for (pair, byte) in text.chunks(2).zip(out) {
        *byte = pair.iter().try_fold(0u8, |sum, digit| {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return None,
            };
            Some(sum << 4 | value)
        })?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231 §4.3.
    #[test]
    fn a_derived_key_is_an_hmac_of_its_purpose() {
        let mut text = Vec::new();
        push_hex(&mut text, &derive(b"Jefe", b"what do ya want for nothing?"));
        assert_eq!(text, b"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        assert_ne!(derive(b"key", b"nonces"), derive(b"key", b"passwords"));
    }

    #[test]
    fn digits_are_read_as_they_were_written_and_nothing_else_is() {
        let mut out = [0; 2];
        assert_eq!((read_hex(b"0af9", &mut out), out), (Some(()), [0x0A, 0xF9]));
        for bad in [&b"0AF9"[..], b"0af", b"0af9f", b"0ag9", b""] {
            assert_eq!(read_hex(bad, &mut out), None);
        }
    }
}

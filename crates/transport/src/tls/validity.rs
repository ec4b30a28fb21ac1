//! Until when a certificate is valid (RFC 5280 §4.1.2.5): TLS says only whether it is.

use machine::WallTime;

/// When a certificate expires; `None` where it says so in no way that can be read.
pub(super) fn expires(certificate: &[u8]) -> Option<WallTime> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut fields, _) = element(certificate)?;
    // The version is left out in the oldest ones.
    if let (VERSION, _, rest) = element(fields)? {
        fields = rest;
    }
    // Serial number, algorithm, issuer.
    for _ in 0..3 {
        fields = element(fields)?.2;
    }
    let (_, validity, _) = element(fields)?;
    let (_, _, after) = element(validity)?;
    let (kind, text, _) = element(after)?;
    let digits = text.strip_suffix(b"Z")?;
    match kind {
        // RFC 5280 §4.1.2.5.1: two digits of a year, from 1950 to 2049.
        UTC_TIME => {
            let (year, rest) = number(digits, 2)?;
            moment(if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = number(digits, 4)?;
            moment(year, rest)
        }
        _ => None,
    }
}

/// Month, day, hour, minute, second.
fn moment(year: i64, digits: &[u8]) -> Option<WallTime> {
    let (month, rest) = number(digits, 2)?;
    let (day, rest) = number(rest, 2)?;
    let (hour, rest) = number(rest, 2)?;
    let (minute, rest) = number(rest, 2)?;
    let (second, _) = number(rest, 2)?;
    let seconds = hour * 3_600 + minute * 60 + second;
    Some(WallTime(WallTime::midnight(year, month, day).0 + seconds * 1_000))
}

fn number(digits: &[u8], count: usize) -> Option<(i64, &[u8])> {
    let (these, rest) = digits.split_at_checked(count)?;
    let value = std::str::from_utf8(these).ok()?.parse::<u16>().ok()?;
    Some((i64::from(value), rest))
}

/// The first element of DER (X.690 §8.1): its tag, what is in it, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn made(year: i32, month: u8, day: u8) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["node.example".to_owned()]).expect("a name");
        params.not_after = date_time_ymd(year, month, day);
        let key = KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("signs itself").der().to_vec()
    }

    #[test]
    fn the_end_of_validity_is_read_in_both_notations() {
        // RFC 5280 §4.1.2.5: UTCTime up to 2049, GeneralizedTime from 2050 on.
        for (year, month, day, text) in [
            (2027, 3, 1, "2027-03-01T00:00:00.000Z"),
            (2028, 2, 29, "2028-02-29T00:00:00.000Z"),
            (2049, 12, 31, "2049-12-31T00:00:00.000Z"),
            (2050, 1, 1, "2050-01-01T00:00:00.000Z"),
        ] {
            let found = expires(&made(year, month, day)).expect("it says so");
            assert_eq!(found.to_rfc3339(), text);
        }
    }

    #[test]
    fn what_is_cut_short_says_nothing() {
        let whole = made(2027, 3, 1);
        assert!((0..whole.len()).all(|length| expires(&whole[..length]).is_none()));
        assert_eq!(expires(b"\x30\x84\xff\xff\xff\xff"), None);
    }
}

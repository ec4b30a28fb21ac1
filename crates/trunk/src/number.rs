//! Numbers: escapes of a URI's user part (RFC 3261 §25.1), and the forms that a profile can demand (E.164).

use std::borrow::Cow;

use crate::settings::NumberFormat;
use crate::target::is_user_byte;

/// Fewest digits of an international number.
const DIGITS_MIN: usize = 7;
/// Most digits of an international number (E.164 §6).
const DIGITS_MAX: usize = 15;

/// The text that a URI's user part stands for. Escapes that make no UTF-8 stay as they are.
pub(crate) fn unescape(user: &str) -> Cow<'_, str> {
    if !user.contains('%') {
        return Cow::Borrowed(user);
    }
    let mut bytes = Vec::with_capacity(user.len());
    let mut rest = user.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        match (byte, tail) {
            (b'%', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                bytes.push(nibble(*high) << 4 | nibble(*low));
                rest = after;
            }
            _ => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(user), Cow::Owned)
}

/// A text as the user part of a URI.
pub fn escape(text: &str) -> Cow<'_, str> {
    if text.bytes().all(is_user_byte) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for byte in text.bytes() {
        if is_user_byte(byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push('%');
            for digit in [byte >> 4, byte & 15] {
                escaped.extend(char::from_digit(u32::from(digit), 16).map(|c| c.to_ascii_uppercase()));
            }
        }
    }
    Cow::Owned(escaped)
}

fn nibble(hex: u8) -> u8 {
    match hex {
        b'0'..=b'9' => hex - b'0',
        b'a'..=b'f' => hex - b'a' + 10,
        b'A'..=b'F' => hex - b'A' + 10,
        _ => 0,
    }
}

/// A number in canonical form, if it has the form demanded: `+` and digits for the international forms, the text
/// itself for `any`.
pub(crate) fn canonical(text: &str, format: NumberFormat) -> Option<Cow<'_, str>> {
    match format {
        NumberFormat::Any => (!text.is_empty()).then_some(Cow::Borrowed(text)),
        NumberFormat::PlusE164 => text.starts_with('+').then(|| international(text))?,
        NumberFormat::E164 => international(text),
    }
}

/// `+` and digits, if the text is an international number. Parameters and visual separators (RFC 3966 §5.1.1) are
/// left out.
pub(crate) fn international(text: &str) -> Option<Cow<'_, str>> {
    let number = text.split_once(';').map_or(text, |(number, _)| number);
    let body = number.strip_prefix('+').unwrap_or(number);
    let is_separator = |b: u8| matches!(b, b'-' | b'.' | b'(' | b')');
    let has_plus = body.len() < number.len();
    let digits = body.bytes().filter(u8::is_ascii_digit).count();
    let clean = body.bytes().all(|b| b.is_ascii_digit() || (has_plus && is_separator(b)));
    let good = clean && (DIGITS_MIN..=DIGITS_MAX).contains(&digits) && !body.starts_with('0');
    if !good {
        return None;
    }
    if has_plus && digits == body.len() {
        return Some(Cow::Borrowed(number));
    }
    let mut plain = String::with_capacity(digits + 1);
    plain.push('+');
    plain.extend(body.chars().filter(char::is_ascii_digit));
    Some(Cow::Owned(plain))
}

/// Whether two numbers are the same, with or without the plus.
pub(crate) fn same(a: &str, b: &str) -> bool {
    a.strip_prefix('+').unwrap_or(a) == b.strip_prefix('+').unwrap_or(b)
}

/// The readings under which a denied prefix must be looked for: a plus, and the usual international prefixes, are
/// other ways to write the same number.
pub(crate) fn international_readings(called: &str) -> impl Iterator<Item = &str> {
    let plain = called.strip_prefix('+').unwrap_or(called);
    [Some(plain), plain.strip_prefix("00"), plain.strip_prefix("011")].into_iter().flatten()
}

/// Eight digits and `*`, `#` or `%23` at the start of a user part, as it was written: the digits, and how many
/// bytes both take.
pub(crate) fn tech_prefix(user: &str) -> Option<(&str, usize)> {
    let digits = user.get(..8).filter(|head| head.bytes().all(|b| b.is_ascii_digit()))?;
    let rest = user.get(8..)?;
    let delimiter = ["*", "#", "%23", "%2A", "%2a"].into_iter().find(|mark| rest.starts_with(mark))?;
    Some((digits, 8 + delimiter.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_go_both_ways() {
        assert_eq!(unescape("a%23b"), "a#b");
        assert_eq!(unescape("a%2"), "a%2");
        assert_eq!(unescape("%zz%41"), "%zzA");
        assert_eq!(unescape("%ff"), "%ff");
        assert_eq!(escape("a#b@c"), "a%23b%40c");
        assert_eq!(escape("+31;x=1"), "+31;x=1");
        assert_eq!(escape("é"), "%C3%A9");
    }

    #[test]
    fn international_numbers_have_seven_to_fifteen_digits() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(international(text).as_deref(), expected, "{text}");
        };
        check("+31201234567", Some("+31201234567"));
        check("31201234567", Some("+31201234567"));
        check("+31-20-123.45(67)", Some("+31201234567"));
        check("31-20-1234567", None);
        check("+31201234567;phone-context=x", Some("+31201234567"));
        check("0201234567", None);
        check("+0201234567", None);
        check("+123456", None);
        check("+123456789012345", Some("+123456789012345"));
        check("+1234567890123456", None);
        check("alice", None);
        check("", None);
        check("++31201234567", None);
    }

    #[test]
    fn a_tech_prefix_is_eight_digits_and_a_mark() {
        let check =
            |user: &str, expected: Option<(&str, usize)>| assert_eq!(tech_prefix(user), expected, "{user}");
        check("12345678*+12066418000", Some(("12345678", 9)));
        check("12345678#+12066418000", Some(("12345678", 9)));
        check("12345678%23+12066418000", Some(("12345678", 11)));
        check("1234567*+12066418000", None);
        check("123456789*+12066418000", None);
        check("12345678", None);
        check("1234567é*1", None);
    }
}

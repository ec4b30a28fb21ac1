//! Time spans: `500ms`, `10s`, `2m`, `4h`, `1h30m`.

use std::time::Duration;

const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Reads a time span: numbers with units, the greater ones first.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total: u64 = 0;
    let mut below = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = rest.get(..letters)?;
        rest = rest.get(letters..)?;
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
        if *factor >= below {
            return None;
        }
        below = *factor;
        total = total.checked_add(number.checked_mul(*factor)?)?;
    }
    // A year is more than any span here needs, and keeps every sum with a clock far from its end.
    (!text.is_empty() && total <= 366 * 86_400_000).then(|| Duration::from_millis(total))
}

/// Writes a time span so that `parse` reads it again.
pub(crate) fn print(span: Duration) -> String {
    let mut left = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    if left == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, factor) in UNITS {
        let number = left / factor;
        left %= factor;
        if number > 0 {
            text.push_str(&number.to_string());
            text.push_str(unit);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written() {
        let check = |text: &str, expected: Option<(u64, &str)>| {
            let got = parse(text).map(|span| (u64::try_from(span.as_millis()).unwrap(), print(span)));
            assert_eq!(got, expected.map(|(ms, print)| (ms, print.to_owned())), "{text}");
        };
        check("60s", Some((60_000, "1m")));
        check("4h", Some((14_400_000, "4h")));
        check("500ms", Some((500, "500ms")));
        check("1h30m", Some((5_400_000, "1h30m")));
        check("0s", Some((0, "0s")));
        check("30m1h", None);
        check("60", None);
        check("s", None);
        check("", None);
        check("-1s", None);
        check("1.5s", None);
        check("99999999999999999999s", None);
        check("400d", None);
    }
}

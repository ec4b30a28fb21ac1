//! What texts must look like, beyond being text.

use crate::field::clip;
use crate::visit::Complaint;

/// Any text but an empty one.
pub(crate) fn something(text: &str) -> Option<Complaint> {
    text.is_empty().then(|| Complaint::new("nothing is written here", ""))
}

/// A DNS name.
pub(crate) fn domain(text: &str) -> Option<Complaint> {
    let is_address = text.parse::<std::net::IpAddr>().is_ok();
    let good = trunk::is_dns_name(text) || is_address;
    (!good).then(|| Complaint::new(format!("`{}` is no domain", clip(text)), "such as example.net"))
}

/// A host that DNS knows.
pub(crate) fn host(text: &str) -> Option<Complaint> {
    if trunk::is_dns_name(text) {
        return None;
    }
    let hint =
        if trunk::settings::parse_network(text).is_some() { "addresses go into `networks`" } else { "" };
    Some(Complaint::new(format!("`{}` is no DNS name", clip(text)), hint))
}

/// The tech prefix: eight digits.
pub(crate) fn tech_prefix(text: &str) -> Option<Complaint> {
    let good = text.len() == 8 && text.bytes().all(|b| b.is_ascii_digit());
    (!good).then(|| Complaint::new(format!("`{}` is no tech prefix", clip(text)), "exactly eight digits"))
}

/// A token of RFC 3261 §25.1.
fn is_token(text: &str) -> bool {
    let is_token_byte = |b: u8| b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&b);
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// The name of a header field.
pub(crate) fn header_name(text: &str) -> Option<Complaint> {
    (!is_token(text)).then(|| Complaint::new(format!("`{}` can't name a header field", clip(text)), ""))
}

/// A header field that may be dropped or read: one that policy owns.
pub(crate) fn policy_header(text: &str) -> Option<Complaint> {
    header_name(text).or_else(|| {
        trunk::is_hidden(text).then(|| {
            Complaint::new(
                format!("`{}` belongs to each leg and never passes", clip(text)),
                "no rule is needed",
            )
        })
    })
}

/// A method: a token in capitals.
pub(crate) fn method(text: &str) -> Option<Complaint> {
    const KNOWN: [&str; 14] = [
        "INVITE",
        "ACK",
        "CANCEL",
        "BYE",
        "REGISTER",
        "OPTIONS",
        "PRACK",
        "UPDATE",
        "INFO",
        "REFER",
        "MESSAGE",
        "SUBSCRIBE",
        "NOTIFY",
        "PUBLISH",
    ];
    (!KNOWN.contains(&text)).then(|| {
        Complaint::new(format!("`{}` is no method", clip(text)), &crate::nearest::hint(text, &KNOWN))
    })
}

/// An option tag.
pub(crate) fn token(text: &str) -> Option<Complaint> {
    (!is_token(text)).then(|| Complaint::new(format!("`{}` is no token", clip(text)), ""))
}

/// The user part of a URI.
pub(crate) fn user(text: &str) -> Option<Complaint> {
    (!trunk::is_user(text)).then(|| Complaint::new(format!("`{}` can't stand before an @", clip(text)), ""))
}

/// The start of a number.
pub(crate) fn prefix(text: &str) -> Option<Complaint> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    let good = !digits.is_empty() && digits.len() <= 15 && digits.bytes().all(|b| b.is_ascii_digit());
    (!good).then(|| Complaint::new(format!("`{}` is no prefix of numbers", clip(text)), "such as +31"))
}

/// A number of ours: plus and digits.
pub(crate) fn e164(text: &str) -> Option<Complaint> {
    let good = text.strip_prefix('+').is_some_and(|digits| {
        (3..=15).contains(&digits.len())
            && !digits.starts_with('0')
            && digits.bytes().all(|b| b.is_ascii_digit())
    });
    (!good).then(|| {
        Complaint::new(format!("`{}` is no number", clip(text)), "+ and 3 to 15 digits, such as +31201234567")
    })
}

/// A country.
pub(crate) fn country(text: &str) -> Option<Complaint> {
    (!trunk::is_country(text)).then(|| {
        Complaint::new(format!("`{}` is no country", clip(text)), "ISO 3166, two capitals, such as NL")
    })
}

/// A codec's name in SDP.
pub(crate) fn codec(text: &str) -> Option<Complaint> {
    const KNOWN: [&str; 12] =
        ["PCMA", "PCMU", "G722", "G729", "opus", "GSM", "G726-32", "iLBC", "speex", "AMR", "AMR-WB", "L16"];
    if KNOWN.contains(&text) {
        return None;
    }
    let hint = match crate::nearest::nearest(text, &KNOWN) {
        Some((best, true)) => format!("did you mean `{best}`?"),
        _ if text.eq_ignore_ascii_case("telephone-event") => "digits go with `dtmf`".to_owned(),
        _ => KNOWN.join(", "),
    };
    Some(Complaint::new(format!("`{}` is no codec that is known here", clip(text)), &hint))
}

/// The value of an added header field: text with `{…}` of those that exist.
pub(crate) fn template(text: &str) -> Option<Complaint> {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('{') {
        let Some((key, after)) = after.split_once('}') else {
            return Some(Complaint::new("`{` without `}`", ""));
        };
        if !trunk::PLACEHOLDERS.contains(&key) {
            let message = format!("nothing is known as `{{{}}}`", clip(key));
            return Some(Complaint::new(message, &crate::nearest::hint(key, trunk::PLACEHOLDERS)));
        }
        rest = after;
    }
    text.chars().any(char::is_control).then(|| Complaint::new("a control character in text", ""))
}

/// The From host that must be seen.
pub(crate) fn from_domain(text: &str) -> Option<Complaint> {
    domain(&text.replace("{account_sid}", "x"))
}

/// ISO 4217.
pub(crate) fn currency(text: &str) -> Option<Complaint> {
    let good = text.len() == 3 && text.bytes().all(|b| b.is_ascii_uppercase());
    (!good).then(|| Complaint::new(format!("`{}` is no currency", clip(text)), "ISO 4217, such as EUR"))
}

/// An emergency number or service URN.
pub(crate) fn emergency(text: &str) -> Option<Complaint> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'+');
    let good = is_number || text.starts_with("urn:service:");
    (!good).then(|| {
        Complaint::new(
            format!("`{}` is no number or service URN", clip(text)),
            "such as 112 or urn:service:sos",
        )
    })
}

/// An address on the web.
pub(crate) fn url(text: &str) -> Option<Complaint> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let good = rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
        && !text.contains(char::is_whitespace);
    (!good).then(|| Complaint::new(format!("`{}` is no http or https address", clip(text)), ""))
}

/// A quirk. None is built yet.
pub(crate) fn quirk(text: &str) -> Option<Complaint> {
    Some(Complaint::new(format!("`{}` is no known quirk", clip(text)), "none exists yet"))
}

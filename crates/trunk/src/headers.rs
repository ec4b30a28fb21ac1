//! Which header fields pass from one leg to the other.
//!
//! Three groups never do: what belongs to one dialog or hop (RFC 7092 §3.1.3), what `identity` writes anew, and
//! what shows our inside or the peer's. Everything else passes unless a trunk drops it.

use crate::settings::Headers;

impl Headers {
    /// Whether a received header field may pass. `name` may be compact, and may end in blanks (I-38).
    pub fn passes(&self, name: &str) -> bool {
        let name = full_name(name);
        !is_hidden(name)
            && !self.drop.iter().any(|dropped| dropped.eq_ignore_ascii_case(name))
            // What we add is ours alone: a peer's value of it would pass for ours.
            && !self.add.keys().any(|added| added.eq_ignore_ascii_case(name))
    }

    /// The header fields that pass.
    pub fn retain<'m, N: AsRef<str>, V>(
        &self,
        fields: impl Iterator<Item = (N, V)> + 'm,
    ) -> impl Iterator<Item = (N, V)> {
        fields.filter(|(name, _)| self.passes(name.as_ref()))
    }

    /// The header fields to add, with `{…}` filled in from `value`; a field with an unknown one is left out.
    pub fn additions(&self, value: &dyn Fn(&str) -> Option<String>) -> Vec<(String, String)> {
        self.add.iter().filter_map(|(name, text)| Some((name.clone(), fill(text, value)?))).collect()
    }
}

/// Whether a header field belongs to one leg alone, or shows our inside: it never passes.
pub fn is_hidden(name: &str) -> bool {
    let name = full_name(name);
    let starts =
        |prefix: &str| name.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix));
    HIDDEN.iter().any(|hidden| hidden.eq_ignore_ascii_case(name))
        || HIDDEN_PREFIXES.iter().any(|it| starts(it))
}

/// Placeholders that `add` may contain.
pub const PLACEHOLDERS: &[&str] = &[
    "call.id",
    "leg.id",
    "call.from",
    "call.to",
    "trunk.name",
    "tenant.name",
    "tenant.account_sid",
    "node.name",
];

/// Names of header fields that are one dialog's or hop's, or that are written anew.
const HIDDEN: &[&str] = &[
    "Via",
    "Route",
    "Record-Route",
    "Path",
    "Service-Route",
    "Contact",
    "Call-ID",
    "CSeq",
    "From",
    "To",
    "Max-Forwards",
    "Content-Length",
    "Content-Type",
    "Content-Encoding",
    "Timestamp",
    "Allow",
    "Allow-Events",
    "Supported",
    "Require",
    "Proxy-Require",
    "Unsupported",
    "Session-Expires",
    "Min-SE",
    "RSeq",
    "RAck",
    "Retry-After",
    "Warning",
    "Authorization",
    "Proxy-Authorization",
    "WWW-Authenticate",
    "Proxy-Authenticate",
    "Authentication-Info",
    "Proxy-Authentication-Info",
    "P-Asserted-Identity",
    "P-Preferred-Identity",
    "Remote-Party-ID",
    "Privacy",
    "P-Charging-Vector",
    "P-Charging-Function-Addresses",
    "P-Access-Network-Info",
    "P-Visited-Network-ID",
    "P-Associated-URI",
    "P-Called-Party-ID",
    "P-Served-User",
    "User-Agent",
    "Server",
    "Replaces",
    "Target-Dialog",
    "Join",
];

/// Header fields of ours, and families that describe a network's inside.
const HIDDEN_PREFIXES: &[&str] = &["X-Banyan-", "P-Charging-"];

/// The long form of a name, without the blanks that may stand before its colon (RFC 3261 §7.3.1, §7.3.3).
fn full_name(name: &str) -> &str {
    let name = name.trim_matches([' ', '\t']);
    match name.as_bytes() {
        [letter] => match letter.to_ascii_lowercase() {
            b'a' => "Accept-Contact",
            b'b' => "Referred-By",
            b'c' => "Content-Type",
            b'd' => "Request-Disposition",
            b'e' => "Content-Encoding",
            b'f' => "From",
            b'i' => "Call-ID",
            b'j' => "Reject-Contact",
            b'k' => "Supported",
            b'l' => "Content-Length",
            b'm' => "Contact",
            b'n' => "Identity-Info",
            b'o' => "Event",
            b'r' => "Refer-To",
            b's' => "Subject",
            b't' => "To",
            b'u' => "Allow-Events",
            b'v' => "Via",
            b'x' => "Session-Expires",
            b'y' => "Identity",
            _ => name,
        },
        _ => name,
    }
}

fn fill(text: &str, value: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let mut filled = String::with_capacity(text.len() + 32);
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (key, after) = after.split_once('}')?;
        filled.push_str(before);
        filled.push_str(&value(key)?);
        rest = after;
    }
    filled.push_str(rest);
    Some(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topology_and_dialog_headers_never_pass() {
        let policy = Headers::default();
        for name in
            ["Via", "v", "V ", "via\t", "Contact", "m", "i", "P-Charging-Vector", "x-banyan-call", "Server"]
        {
            assert!(!policy.passes(name), "{name:?}");
        }
        for name in ["Subject", "s", "Diversion", "User-to-User", "X-Custom", "Reason", "P-Charge-Info"] {
            assert!(policy.passes(name), "{name:?}");
        }
    }

    /// EX4: the customer's values of platform headers are scrubbed, `Name : v` included; the twin passes them.
    #[test]
    fn ex4_dropped_headers_are_scrubbed_in_any_spelling() {
        let policy = Headers { drop: vec!["X-Exotel-CallSid".into()], ..Headers::default() };
        for name in ["X-Exotel-CallSid", "x-exotel-callsid", "X-Exotel-CallSid ", "X-EXOTEL-CALLSID\t"] {
            assert!(!policy.passes(name), "{name:?}");
            assert!(Headers::default().passes(name), "{name:?}");
        }
        let fields = [("X-Exotel-CallSid ", "forged"), ("X-Other", "kept")];
        let kept: Vec<_> = policy.retain(fields.into_iter()).collect();
        assert_eq!(kept, [("X-Other", "kept")]);
    }

    #[test]
    fn an_added_header_is_filled_in_and_never_taken_from_a_peer() {
        let mut policy = Headers::default();
        policy.add.insert("X-Call".into(), "id={call.id};".into());
        policy.add.insert("X-Odd".into(), "{nothing}".into());
        let added = policy.additions(&|key| (key == "call.id").then(|| "7".to_owned()));
        assert_eq!(added, [("X-Call".to_owned(), "id=7;".to_owned())]);
        assert!(!policy.passes("x-call"));
    }
}

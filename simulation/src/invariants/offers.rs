//! I-12, of session descriptions: within a leg, what we offer and answer is of one session, the version in its `o=`
//! line never falls, and another description has another version (RFC 3264 §8), over takeovers too.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::{Invariant, Sent};
use crate::fault::Effects;

/// I-12 of descriptions, on the wire where nodes send.
#[derive(Debug)]
pub struct OneOffer {
    effects: Arc<Effects>,
    /// What each peer was given in a leg, by version.
    legs: BTreeMap<(String, SocketAddr), BTreeMap<u64, String>>,
}

/// The version of a message's description, and the whole of it.
fn description(bytes: &[u8]) -> Option<(u64, &str)> {
    let at = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let body = std::str::from_utf8(bytes.get(at + 4..)?).ok()?;
    let origin = body.lines().find_map(|line| line.strip_prefix("o="))?;
    let version = origin.split(' ').nth(2)?.parse().ok()?;
    Some((version, body))
}

impl OneOffer {
    /// Calls whose bytes the network has changed are left alone.
    pub fn new(effects: Arc<Effects>) -> OneOffer {
        OneOffer { effects, legs: BTreeMap::new() }
    }

    fn says(&mut self, leg: (String, SocketAddr), version: u64, text: &str) -> Option<String> {
        let to = leg.1;
        let said = self.legs.entry(leg).or_default();
        let newest = said.last_key_value().map_or(0, |(version, _)| *version);
        match said.get(&version) {
            // Said again, perhaps after newer ones: an answer is repeated until it is acknowledged.
            Some(known) if known == text => None,
            Some(_) => Some(format!("{to} hears another description under version {version}")),
            None if version < newest => Some(format!("{to} hears version {version} after {newest}")),
            None => {
                said.insert(version, text.to_owned());
                None
            }
        }
    }
}

impl Invariant for OneOffer {
    fn clause(&self) -> &'static str {
        "I-12 another description has another version"
    }

    fn sent(&mut self, sent: &Sent<'_>) -> Option<String> {
        let letter = sent.letter.filter(|_| sent.life.node() != 0)?;
        let number = letter.number.filter(|number| !self.effects.is_forged(*number))?;
        let (version, text) = description(sent.bytes)?;
        let found = self.says((letter.call_id.to_owned(), sent.to), version, text);
        found.map(|found| format!("call #{number}: {found}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i12_a_changed_description_under_an_old_version_is_found() {
        let leg = || ("c".to_owned(), SocketAddr::from(([10, 0, 2, 1], 5060)));
        let mut offers = OneOffer::new(Arc::default());
        assert_eq!(offers.says(leg(), 1, "a"), None);
        assert_eq!(offers.says(leg(), 1, "a"), None, "said again");
        assert_eq!(offers.says(leg(), 2, "b"), None);
        assert_eq!(offers.says(leg(), 1, "a"), None, "an old answer, repeated");
        assert!(offers.says(leg(), 2, "c").is_some());
        assert_eq!(offers.says(leg(), 5, "d"), None);
        assert!(offers.says(leg(), 3, "e").is_some(), "a new one under an older version");
    }

    #[test]
    fn the_version_is_the_third_word_of_the_origin() {
        let bytes = b"SIP/2.0 200 OK\r\nCall-ID: c\r\n\r\nv=0\r\no=- 7 12 IN IP4 10.0.9.1\r\ns=-\r\n";
        assert_eq!(description(bytes).map(|(version, _)| version), Some(12));
        assert_eq!(description(b"SIP/2.0 200 OK\r\n\r\n"), None);
    }
}

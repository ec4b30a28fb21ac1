//! Sources that guess passwords: after a few wrong ones a source that no trunk names is not heard for a while. Each node
//! bans for itself, and remembers a bounded number of sources.
//!
//! Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use machine::Instant;

/// The wrong passwords of each source.
#[derive(Debug, Default)]
pub(crate) struct Bans {
    sources: BTreeMap<IpAddr, Guesses>,
}

#[derive(Debug, Clone, Copy)]
struct Guesses {
    /// When the last of them is forgotten.
    until: Instant,
    /// Until when nothing is heard.
    banned: Option<Instant>,
}

impl Guesses {
    fn is_banned(&self, now: Instant) -> bool {
        self.banned.is_some_and(|until| now < until)
    }
}

impl Bans {
    /// A wrong password; whether that begins a ban.
    pub(crate) fn wrong(&mut self, now: Instant, source: IpAddr) -> bool {
        if !self.has_room(now) {
            return false;
        }
        let guesses = self.sources.entry(network(source)).or_insert(Guesses { until: now, banned: None });
        if guesses.is_banned(now) {
            return false;
        }
        guesses.until = guesses.until.max(now) + FORGOTTEN;
        if guesses.until.since(now) <= FORGOTTEN * GUESSES {
            return false;
        }
        *guesses = Guesses { until: now + BAN, banned: Some(now + BAN) };
        true
    }

    /// Whether nothing of a source is heard now.
    pub(crate) fn is_banned(&self, now: Instant, source: IpAddr) -> bool {
        !self.sources.is_empty()
            && self.sources.get(&network(source)).is_some_and(|guesses| guesses.is_banned(now))
    }

    /// Makes room where that is possible without letting anybody off.
    fn has_room(&mut self, now: Instant) -> bool {
        if self.sources.len() >= SOURCES_MAX {
            self.sources.retain(|_, guesses| guesses.until > now);
        }
        if self.sources.len() >= SOURCES_MAX {
            self.sources.retain(|_, guesses| guesses.is_banned(now));
        }
        self.sources.len() < SOURCES_MAX
    }
}

/// Whoever has one address of IPv6 has its /64.
fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) & !u128::from(u64::MAX)).into()),
        v4 => v4,
    }
}

/// How many wrong passwords at once are a mistake; one more is a guess.
const GUESSES: u32 = 10;
/// How long it takes to forget one.
const FORGOTTEN: Duration = Duration::from_secs(6);
/// How long a ban lasts.
pub(crate) const BAN: Duration = Duration::from_secs(300);
/// Most sources that are remembered.
const SOURCES_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(s)
    }

    fn source(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_eleventh_wrong_password_within_a_minute_begins_a_ban_of_five() {
        let mut bans = Bans::default();
        let guesser = source("192.0.2.9");
        for _ in 0..10 {
            assert!(!bans.wrong(at(1), guesser));
        }
        assert!(!bans.is_banned(at(1), guesser));
        assert!(bans.wrong(at(2), guesser));
        assert!(bans.is_banned(at(301), guesser));
        assert!(!bans.is_banned(at(302), guesser));
        assert!(!bans.is_banned(at(2), source("192.0.2.10")), "its neighbour");
    }

    #[test]
    fn ten_a_minute_are_never_banned_and_eleven_are() {
        for (every_ms, banned) in [(6_000, false), (5_000, true)] {
            let mut bans = Bans::default();
            let guesser = source("192.0.2.9");
            let begins =
                (0..200).any(|i| bans.wrong(Instant::ZERO + Duration::from_millis(every_ms) * i, guesser));
            assert_eq!(begins, banned, "every {every_ms} ms");
        }
    }

    #[test]
    fn a_network_of_ipv6_is_one_source_and_a_mapped_address_its_ipv4() {
        let mut bans = Bans::default();
        for host in 1..=11 {
            bans.wrong(at(1), source(&format!("2001:db8::{host}")));
            bans.wrong(at(1), source("::ffff:192.0.2.9"));
        }
        assert!(bans.is_banned(at(1), source("2001:db8::77")));
        assert!(!bans.is_banned(at(1), source("2001:db8:0:1::77")));
        assert!(bans.is_banned(at(1), source("192.0.2.9")));
    }

    #[test]
    fn a_flood_of_sources_takes_no_more_room_and_frees_nobody() {
        let mut bans = Bans::default();
        let guesser = source("192.0.2.9");
        for _ in 0..11 {
            bans.wrong(at(1), guesser);
        }
        for number in 0..30_000_u32 {
            bans.wrong(at(1), IpAddr::V4((0x0a00_0000 + number).into()));
            assert!(bans.sources.len() <= SOURCES_MAX);
        }
        assert!(bans.is_banned(at(1), guesser));
    }
}

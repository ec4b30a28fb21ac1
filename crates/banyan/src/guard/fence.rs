//! Which addresses stand, as a machine: wanted until a deadline, gone after it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use machine::Instant;

/// What is to be done, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Put the address onto its interface, or renew its lifetime there.
    Put(IpAddr),
    /// Take it off.
    Take(IpAddr),
    /// Tell the neighbours that it is here.
    Announce(IpAddr),
}

/// The addresses of one server.
#[derive(Debug, Default)]
pub(super) struct Fence {
    wanted: BTreeSet<IpAddr>,
    until: Instant,
    standing: BTreeSet<IpAddr>,
    /// When each is announced, earliest first.
    announcements: BTreeSet<(Instant, IpAddr)>,
    renew_at: Option<Instant>,
}

impl Fence {
    /// The server wants these addresses until then.
    pub(super) fn hold(&mut self, now: Instant, wanted: BTreeSet<IpAddr>, until: Instant) -> Vec<Act> {
        self.wanted = wanted;
        self.until = until;
        self.act(now)
    }

    /// Time has passed.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Vec<Act> {
        self.act(now)
    }

    /// An address could not be put: it is tried again when it is asked for again.
    pub(super) fn refused(&mut self, address: IpAddr) {
        self.standing.remove(&address);
        self.announcements.retain(|(_, it)| *it != address);
    }

    /// When there is something to do next.
    pub(super) fn timeout(&self) -> Option<Instant> {
        let deadline = (!self.standing.is_empty()).then_some(self.until);
        let announcement = self.announcements.first().map(|(at, _)| *at);
        [deadline, announcement, self.renew_at].into_iter().flatten().min()
    }

    fn act(&mut self, now: Instant) -> Vec<Act> {
        let due = if now < self.until { self.wanted.clone() } else { BTreeSet::new() };
        let mut acts: Vec<Act> = self.standing.difference(&due).copied().map(Act::Take).collect();
        let fresh: Vec<IpAddr> = due.difference(&self.standing).copied().collect();
        self.standing = due;
        self.announcements.retain(|(_, address)| self.standing.contains(address));
        for address in fresh {
            acts.push(Act::Put(address));
            self.announcements.extend(ANNOUNCE.map(|after| (now + after, address)));
            self.renew_at.get_or_insert(now + RENEW);
        }
        while let Some((at, address)) = self.announcements.first().copied().filter(|(at, _)| *at <= now) {
            self.announcements.remove(&(at, address));
            acts.push(Act::Announce(address));
        }
        if self.standing.is_empty() {
            self.renew_at = None;
        } else if self.renew_at.is_some_and(|at| at <= now) {
            acts.extend(self.standing.iter().copied().map(Act::Put));
            self.renew_at = Some(now + RENEW);
        }
        acts
    }
}

/// When neighbours are told of a new address: once may be lost, or come before a switch has learned.
const ANNOUNCE: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(50), Duration::from_millis(200), Duration::from_millis(1_000)];
/// How often the kernel hears that an address is still wanted; see `LIFETIME_S` in `netlink.rs`.
const RENEW: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    fn ip(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn set(last: impl IntoIterator<Item = u8>) -> BTreeSet<IpAddr> {
        last.into_iter().map(ip).collect()
    }

    #[test]
    fn an_address_is_put_then_announced_four_times() {
        let mut fence = Fence::default();
        assert_eq!(fence.hold(at(0), set([1]), at(9_999)), [Act::Put(ip(1)), Act::Announce(ip(1))]);
        for ms in [50, 200] {
            assert_eq!(fence.timeout(), Some(at(ms)));
            assert_eq!(fence.handle_timeout(at(ms)), [Act::Announce(ip(1))]);
        }
        assert_eq!(fence.handle_timeout(at(999)), []);
        // Its lifetime is renewed at the same moment as it is announced last.
        assert_eq!(fence.handle_timeout(at(1_000)), [Act::Announce(ip(1)), Act::Put(ip(1))]);
        assert_eq!(fence.timeout(), Some(at(2_000)));
    }

    #[test]
    fn what_is_not_renewed_is_gone_at_the_deadline_and_comes_back_with_it() {
        let mut fence = Fence::default();
        fence.hold(at(0), set([1, 2]), at(250));
        assert_eq!(fence.hold(at(40), set([1, 2]), at(290)), []);
        assert_eq!(fence.handle_timeout(at(289)).iter().filter(|act| matches!(act, Act::Take(_))).count(), 0);
        assert_eq!(fence.timeout(), Some(at(290)));
        assert_eq!(fence.handle_timeout(at(290)), [Act::Take(ip(1)), Act::Take(ip(2))]);
        assert_eq!(fence.timeout(), None);
        // A server that was stopped meanwhile may still send what it wrote before.
        assert_eq!(fence.hold(at(600), set([1, 2]), at(300)), []);
        let back = fence.hold(at(700), set([2]), at(900));
        assert_eq!(back, [Act::Put(ip(2)), Act::Announce(ip(2))]);
    }

    #[test]
    fn an_address_that_is_wanted_no_more_goes_before_another_comes() {
        let mut fence = Fence::default();
        fence.hold(at(0), set([1]), at(9_999));
        let acts = fence.hold(at(10), set([2]), at(9_999));
        assert_eq!(acts, [Act::Take(ip(1)), Act::Put(ip(2)), Act::Announce(ip(2))]);
        // Nothing is announced that is gone.
        assert_eq!(fence.handle_timeout(at(50)), []);
        assert_eq!(fence.handle_timeout(at(60)), [Act::Announce(ip(2))]);
    }

    #[test]
    fn a_refused_address_is_tried_when_it_is_asked_for_again() {
        let mut fence = Fence::default();
        fence.hold(at(0), set([1]), at(9_999));
        fence.refused(ip(1));
        assert_eq!(fence.handle_timeout(at(500)), [Act::Put(ip(1)), Act::Announce(ip(1))]);
    }
}

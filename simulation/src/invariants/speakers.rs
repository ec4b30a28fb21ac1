//! I-7: a home has one owner at a time: no datagram leaves its address from two nodes within a lease.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use machine::Instant;

use super::{Invariant, Sent};

/// I-7 on the wire, where it counts.
#[derive(Debug)]
pub struct OneSpeaker {
    lease: Duration,
    /// For each home's address, which node spoke from it when.
    last: BTreeMap<IpAddr, BTreeMap<u64, Instant>>,
}

impl OneSpeaker {
    /// Of the homes with these addresses.
    pub fn new(homes: impl IntoIterator<Item = IpAddr>, lease: Duration) -> OneSpeaker {
        OneSpeaker { lease, last: homes.into_iter().map(|home| (home, BTreeMap::new())).collect() }
    }

    fn speaks(&mut self, at: Instant, node: u64, home: IpAddr) -> Option<String> {
        let last = self.last.get_mut(&home)?;
        let other = last.iter().find(|(other, spoke)| **other != node && at.since(**spoke) < self.lease);
        let found = other.map(|(other, spoke)| {
            let ago = at.since(*spoke).as_micros();
            format!("node {node} speaks from {home}, and node {other} did {ago} µs before")
        });
        last.insert(node, at);
        found
    }
}

impl Invariant for OneSpeaker {
    fn clause(&self) -> &'static str {
        "I-7 one speaker per home within a lease"
    }

    fn sent(&mut self, sent: &Sent<'_>) -> Option<String> {
        self.speaks(sent.at, sent.life.node(), sent.from.ip())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i7_a_second_speaker_is_found_within_the_lease_and_not_after_it() {
        let home: IpAddr = [10, 0, 9, 1].into();
        let at = |ms| Instant::ZERO + Duration::from_millis(ms);
        let mut speakers = OneSpeaker::new([home], Duration::from_millis(250));
        assert_eq!(speakers.speaks(at(0), 1, home), None);
        assert_eq!(speakers.speaks(at(10), 2, [10, 0, 0, 2].into()), None, "no home of the cluster's");
        assert_eq!(speakers.speaks(at(250), 2, home), None);
        assert!(speakers.speaks(at(499), 1, home).is_some());
        assert!(speakers.speaks(at(500), 2, home).is_some());
    }
}

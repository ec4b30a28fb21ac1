//! I-7: a home has one owner at a time, and whoever owned it before it never speaks for it again: what leaves its
//! address comes from its holder, and the epoch in which the holder speaks never falls.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Invariant, Sent};

/// I-7 on the wire, where it counts. A home that is yielded moves at once; the lease of one that is not yielded
/// shows here as well, for a former holder that still speaks has the older epoch.
#[derive(Debug)]
pub struct OneSpeaker {
    /// For each home's address, the newest epoch in which anybody spoke from it, and who.
    last: BTreeMap<IpAddr, (u64, u64)>,
}

impl OneSpeaker {
    /// Of the homes with these addresses.
    pub fn new(homes: impl IntoIterator<Item = IpAddr>) -> OneSpeaker {
        OneSpeaker { last: homes.into_iter().map(|home| (home, (0, 0))).collect() }
    }

    /// A node speaks that, as its own copy says, holds the home since this epoch, or does not hold it.
    fn speaks(&mut self, node: u64, home: IpAddr, holds: Option<u64>) -> Option<String> {
        let last = self.last.get_mut(&home)?;
        let Some(epoch) = holds else {
            return Some(format!("node {node} speaks from {home}, which it does not hold"));
        };
        let (newest, by) = *last;
        if epoch < newest || (epoch == newest && by != node) {
            return Some(format!(
                "node {node} speaks from {home} in epoch {epoch}, and node {by} did in {newest}"
            ));
        }
        *last = (epoch, node);
        None
    }
}

impl Invariant for OneSpeaker {
    fn clause(&self) -> &'static str {
        "I-7 one speaker per home and epoch"
    }

    fn sent(&mut self, sent: &Sent<'_>) -> Option<String> {
        let (node, home) = (sent.life.node(), sent.from.ip());
        if !self.last.contains_key(&home) {
            return None;
        }
        // A process that starts is seen at the next look.
        let handle = sent.nodes.iter().find(|handle| handle.cluster().node().0 == node)?;
        let holds = handle.cluster().read(|state| {
            let mut homes = state.homes().map(|(_, home)| home);
            let found = homes.find(|it| it.floating().is_some_and(|floating| floating.address == home))?;
            (found.holder.map(|holder| holder.0) == Some(node)).then_some(found.epoch.0)
        });
        self.speaks(node, home, holds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i7_who_held_a_home_before_may_not_speak_and_who_holds_it_again_may() {
        let home: IpAddr = [10, 0, 9, 1].into();
        let mut speakers = OneSpeaker::new([home]);
        assert_eq!(speakers.speaks(1, home, Some(1)), None);
        assert_eq!(speakers.speaks(2, [10, 0, 0, 2].into(), None), None, "no home of the cluster's");
        assert_eq!(speakers.speaks(2, home, Some(2)), None);
        assert!(speakers.speaks(1, home, Some(1)).is_some(), "an older epoch");
        assert!(speakers.speaks(1, home, Some(2)).is_some(), "two in one epoch");
        assert!(speakers.speaks(1, home, None).is_some(), "it does not hold it");
        assert_eq!(speakers.speaks(1, home, Some(3)), None);
    }
}

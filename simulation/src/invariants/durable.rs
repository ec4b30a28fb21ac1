//! I-8, below calls: what any node has applied is on the disks of a majority, so that it survives whatever stops all of
//! them at once.

use super::{Invariant, View};
use crate::fault::Kind;
use crate::plan::Plan;

/// I-8 of the log, wherever no disk forgets what it held.
#[derive(Debug)]
pub struct OnDisks {
    watches: bool,
    /// The newest entry that was looked for.
    newest: u64,
}

/// Whether an entry can be on the disks of a majority: some are known to have it not, of the rest nobody knows.
const fn may_be_on_disks(voters: usize, without: usize) -> bool {
    voters.saturating_sub(without) * 2 > voters
}

impl OnDisks {
    /// In a run of this plan.
    pub fn new(plan: &Plan) -> OnDisks {
        let forgets = |kind| matches!(kind, Kind::DiskLost | Kind::BitFlip | Kind::MemberRemoved);
        let watches = !plan.faults.iter().any(|fault| forgets(fault.kind));
        OnDisks { watches, newest: 0 }
    }
}

impl Invariant for OnDisks {
    fn clause(&self) -> &'static str {
        "I-8 what is applied is on the disks of a majority"
    }

    fn look(&mut self, view: &View<'_>) -> Option<String> {
        let newest = view.moved.iter().max_by_key(|node| node.cluster().status().applied)?;
        let status = newest.cluster().status();
        if !self.watches || status.applied <= self.newest {
            return None;
        }
        self.newest = status.applied;
        let voters = || status.members.iter().filter(|it| it.is_voter);
        let lacks = |id| {
            let node = view.nodes.iter().find(|node| node.cluster().node() == id);
            node.is_some_and(|node| node.cluster().durable() <= status.applied)
        };
        let without = voters().filter(|it| lacks(it.node)).count();
        let wrong = !may_be_on_disks(voters().count(), without);
        wrong.then(|| {
            let (node, applied) = (newest.cluster().node(), status.applied);
            format!("node {node} has applied entry {applied}, and {without} disks don't have it")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i8_an_entry_that_half_of_the_disks_lack_is_found() {
        assert!(may_be_on_disks(3, 0) && may_be_on_disks(3, 1) && !may_be_on_disks(3, 2));
        assert!(may_be_on_disks(5, 2) && !may_be_on_disks(5, 3) && !may_be_on_disks(4, 2));
    }
}

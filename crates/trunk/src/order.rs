//! The order in which a call's targets are tried: those that are known to be down come after all others (I-24).

use crate::plan::Target;

/// Targets in the making.
#[derive(Debug, Default)]
pub(crate) struct Order {
    live: Vec<Target>,
    /// Not left out: a peer that does not answer OPTIONS may still answer calls, when nobody else does.
    down: Vec<Target>,
}

impl Order {
    pub(crate) fn push(&mut self, target: Target, is_down: bool) {
        if is_down { self.down.push(target) } else { self.live.push(target) }
    }

    /// Takes in another's, which stand in a failover list or not.
    pub(crate) fn append(&mut self, other: Order, is_failover: bool) {
        let as_listed = |target: Target| Target { is_failover, ..target };
        self.live.extend(other.live.into_iter().map(as_listed));
        self.down.extend(other.down.into_iter().map(as_listed));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.live.len() + self.down.len()
    }

    /// The first of them, at most so many.
    pub(crate) fn into_targets(self, at_most: usize) -> Vec<Target> {
        let mut targets = self.live;
        targets.extend(self.down);
        targets.truncate(at_most);
        targets
    }
}

//! Who takes a home, and who a call: the same answer on every node.
//!
//! A home goes to the node that can hold it, stands in its region and holds the fewest; among equals, and for
//! calls, by rendezvous hashing (each node draws from a fixed hash of the key and itself; the highest wins), so
//! that a key moves only when it must. By hashing alone three homes of a dead node often went to one survivor.

use call::{CallId, Epoch, HomeId, NodeId};
use machine::ClusterTime;
use machine::museum::planted;
use trunk::Name;

use super::digest::Mixer;
use super::homes::{Home, HomeKind};
use super::{Node, State};

/// Why a home looks for a holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nobody holds it: a drained node is better than none.
    Orphan,
    /// Its holder lets go of it: another must take it, and not a drained one.
    Yielded,
}

/// A node that can adopt calls, and the home in which it would.
#[derive(Clone, Debug)]
pub(super) struct Adopter {
    pub(super) node: NodeId,
    pub(super) home: HomeId,
    pub(super) epoch: Epoch,
    pub(super) drained: bool,
    region: Option<Name>,
}

impl Adopter {
    /// Where a call goes whose home is lost.
    pub(super) fn choose<'a>(all: &'a [Adopter], call: CallId, region: Option<&Name>) -> Option<&'a Adopter> {
        all.iter().min_by_key(|it| {
            let score = score(b'c', &call.0.to_le_bytes(), it.node);
            (it.drained, is_foreign(region, it.region.as_ref()), std::cmp::Reverse(score), it.node)
        })
    }
}

impl State {
    /// The home that a node should yield next, to be drained or to share evenly. It falls silent for it first
    /// and proposes `Yield` then. One at a time; none while the last one is fresh. `now` is the cluster's time as
    /// far as the node can tell: an idle cluster's state stands still.
    pub fn next_yield(&self, node: NodeId, now: ClusterTime) -> Option<HomeId> {
        let state = self.nodes.get(&node).filter(|state| state.alive)?;
        let held = || self.homes.iter().filter(move |(_, home)| home.holder == Some(node));
        let floating = held().filter(|(_, home)| home.floating().is_some());
        let due = floating.map(|(id, _)| *id).find(|home| self.should_yield(node, state, *home, now));
        due.or_else(|| {
            let others = self.adopters().iter().any(|it| it.node != node && !it.drained);
            let drains = state.drained.is_some() && others;
            held().find(|(_, home)| drains && home.is_fixed_of(node)).map(|(id, _)| *id)
        })
    }

    fn should_yield(&self, holder: NodeId, state: &Node, id: HomeId, now: ClusterTime) -> bool {
        let Some(home) = self.homes.get(&id) else { return false };
        let Some(taker) = self.taker(id, Place::Yielded) else { return false };
        if state.drained.is_some() || !self.can_hold(holder, id) {
            return !planted("drained-keeps-its-homes");
        }
        let Some(to) = self.nodes.get(&taker) else { return false };
        let rank =
            |node, at: &Node| (is_foreign(self.region_of(home), at.region.as_ref()), self.load(node, id));
        // Each such move makes the shares more even, so that none is ever undone by the next.
        if rank(taker, to) >= rank(holder, state) {
            return false;
        }
        let settled = now.since(to.since) >= SETTLED && now.since(self.last_move()) >= PACE;
        settled || !self.has_calls(id)
    }

    /// Who takes a home.
    pub(super) fn taker(&self, id: HomeId, place: Place) -> Option<NodeId> {
        let home = self.homes.get(&id).filter(|home| home.floating().is_some())?;
        let able = self.nodes.iter().filter(|(node, state)| {
            let other = home.holder != Some(**node);
            state.alive && other && self.can_hold(**node, id)
        });
        let able = able.filter(|(_, state)| place == Place::Orphan || state.drained.is_none());
        let best = able.min_by_key(|(node, state)| {
            let foreign = is_foreign(self.region_of(home), state.region.as_ref());
            let score = score(b'h', home.name.as_bytes(), **node);
            (state.drained.is_some(), foreign, self.load(**node, id), std::cmp::Reverse(score), **node)
        });
        best.map(|(node, _)| *node)
    }

    /// Whether a node could hold a home, were it alive.
    pub(super) fn can_hold(&self, node: NodeId, home: HomeId) -> bool {
        let (Some(state), Some(home)) = (self.nodes.get(&node), self.homes.get(&home)) else { return false };
        match &home.kind {
            HomeKind::Fixed { of } => *of == node,
            HomeKind::Floating(spec) => {
                let allowed = spec.nodes.is_empty() || spec.nodes.contains(&node);
                allowed && state.floating.contains(&spec.name)
            }
        }
    }

    /// Every node that can adopt calls: into its fixed home, or else into its first floating one.
    pub(super) fn adopters(&self) -> Vec<Adopter> {
        let alive = self.nodes.iter().filter(|(_, state)| state.alive);
        let adopters = alive.filter_map(|(node, state)| {
            let held = || self.homes.iter().filter(|(_, home)| home.holder == Some(*node));
            let (home, held) = held().find(|(_, home)| home.is_fixed_of(*node)).or_else(|| held().next())?;
            let (drained, region) = (state.drained.is_some(), state.region.clone());
            Some(Adopter { node: *node, home: *home, epoch: held.epoch, drained, region })
        });
        adopters.collect()
    }

    /// Where a home stands: a fixed one where its node does.
    pub(super) fn region_of<'a>(&'a self, home: &'a Home) -> Option<&'a Name> {
        match &home.kind {
            HomeKind::Fixed { of } => self.nodes.get(of)?.region.as_ref(),
            HomeKind::Floating(spec) => spec.region.as_ref(),
        }
    }

    /// How many floating homes a node holds, `but` one.
    fn load(&self, node: NodeId, but: HomeId) -> usize {
        let held = self.homes.iter().filter(|(id, home)| **id != but && home.holder == Some(node));
        held.filter(|(_, home)| home.floating().is_some()).count()
    }

    fn last_move(&self) -> ClusterTime {
        let floating = self.homes.values().filter(|home| home.floating().is_some());
        floating.map(|home| home.moved_at).max().unwrap_or_default()
    }
}

/// Somewhere is not elsewhere: who says nothing of regions is at home in all.
fn is_foreign(wanted: Option<&Name>, is: Option<&Name>) -> bool {
    wanted.is_some() && is.is_some() && wanted != is
}

/// What a node draws for a key. Never changed: nodes of two versions must agree.
pub(super) fn score(kind: u8, key: &[u8], node: NodeId) -> u64 {
    let mut mixer = Mixer::new(kind);
    mixer.bytes(key);
    mixer.number(node.0);
    mixer.finish()
}

/// How long a node that came or came back must have been up before homes with calls go to it.
const SETTLED: std::time::Duration = std::time::Duration::from_secs(30);
/// The least time between two moves that only make shares even.
const PACE: std::time::Duration = std::time::Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_is_the_same_for_ever() {
        // Written down when it was first computed: a change would split clusters of mixed versions.
        let scores = [1, 2, 3].map(|node| score(b'h', b"ams-1", NodeId(node)));
        assert_eq!(scores, GOLDEN);
        assert_ne!(score(b'c', b"ams-1", NodeId(1)), scores[0]);
    }

    const GOLDEN: [u64; 3] =
        [8_379_118_959_583_374_845, 16_837_731_565_986_382_171, 5_932_957_113_521_344_192];
}

//! Who seems dead: a guess from silence, on which no safety rests. A node that is wrongly held dead loses its
//! homes and comes back; that two never speak is the business of [`crate::lease`].

use std::collections::BTreeMap;
use std::time::Duration;

use call::NodeId;
use machine::Instant;
use machine::museum::planted;

/// How a node seems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Light {
    /// It is heard.
    Green,
    /// It was not heard for a while, or something hints that it is gone.
    Yellow,
    /// It is held dead.
    Red,
}

/// Watches the other nodes.
#[derive(Debug)]
pub struct Detector {
    detect: Duration,
    watched: BTreeMap<NodeId, Watched>,
    ticked_at: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Watched {
    heard_at: Instant,
    hinted: bool,
}

impl Detector {
    /// Holds a node dead after `detect` of silence, and after half of it if something hinted at its death.
    pub fn new(detect: Duration, now: Instant) -> Detector {
        Detector { detect, watched: BTreeMap::new(), ticked_at: now }
    }

    /// Whom to watch: new ones count as heard now, others are forgotten.
    pub fn watch(&mut self, nodes: impl Iterator<Item = NodeId>, now: Instant) {
        let fresh = Watched { heard_at: now, hinted: false };
        let watched = nodes.map(|node| (node, self.watched.get(&node).copied().unwrap_or(fresh)));
        self.watched = watched.collect();
    }

    /// A frame of a node came.
    pub fn heard(&mut self, node: NodeId, now: Instant) {
        if let Some(watched) = self.watched.get_mut(&node) {
            *watched = Watched { heard_at: now.max(watched.heard_at), hinted: false };
        }
    }

    /// The link to a node is down, or its guard says that its process ended.
    pub fn hinted(&mut self, node: NodeId) {
        if let Some(watched) = self.watched.get_mut(&node) {
            watched.hinted = true;
        }
    }

    /// The node's own tick. If it is late, this node was deaf, and nobody was silent meanwhile.
    pub fn tick(&mut self, now: Instant) {
        if now.since(self.ticked_at) > self.detect / 4 {
            self.watched.values_mut().for_each(|watched| watched.heard_at = now);
        }
        self.ticked_at = now;
    }

    /// How a node seems. One that is not watched is red.
    pub fn light(&self, node: NodeId, now: Instant) -> Light {
        let Some(watched) = self.watched.get(&node) else { return Light::Red };
        let silence = now.since(watched.heard_at);
        let half = self.detect / 2;
        match watched.hinted {
            _ if silence >= self.detect => Light::Red,
            true if silence >= half => Light::Red,
            false if silence < half => Light::Green,
            true | false => Light::Yellow,
        }
    }

    /// The nodes that are held dead.
    pub fn red(&self, now: Instant) -> impl Iterator<Item = NodeId> + '_ {
        let hasty = move |at: &Watched| {
            planted("eviction-without-waiting") && now.since(at.heard_at) >= self.detect / 4
        };
        let red =
            self.watched.iter().filter(move |(node, at)| self.light(**node, now) == Light::Red || hasty(at));
        red.map(|(node, _)| *node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId(1);

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    /// Watches A since 0 ms, held dead after 500 ms.
    fn detector() -> Detector {
        let mut detector = Detector::new(Duration::from_millis(500), at(0));
        detector.watch([A].into_iter(), at(0));
        detector
    }

    #[test]
    fn silence_turns_a_node_yellow_then_red() {
        let mut detector = detector();
        let lights = |it: &Detector, times: [u64; 4]| times.map(|ms| it.light(A, at(ms)));
        let expected = [Light::Green, Light::Yellow, Light::Yellow, Light::Red];
        assert_eq!(lights(&detector, [249, 250, 499, 500]), expected);
        detector.heard(A, at(400));
        assert_eq!(lights(&detector, [649, 650, 899, 900]), expected);
        assert_eq!(detector.red(at(900)).collect::<Vec<_>>(), [A]);
        assert_eq!(detector.light(NodeId(9), at(0)), Light::Red);
    }

    #[test]
    fn a_hint_alone_is_no_death_and_a_word_of_the_node_takes_it_back() {
        let mut detector = detector();
        detector.heard(A, at(100));
        detector.hinted(A);
        assert_eq!(detector.light(A, at(101)), Light::Yellow);
        assert_eq!([349, 350].map(|ms| detector.light(A, at(ms))), [Light::Yellow, Light::Red]);
        detector.heard(A, at(360));
        assert_eq!([361, 609].map(|ms| detector.light(A, at(ms))), [Light::Green, Light::Green]);
    }

    #[test]
    fn whoever_was_deaf_itself_begins_to_listen_anew() {
        let (mut deaf, mut awake) = (detector(), detector());
        for ms in (10..=600).step_by(10) {
            awake.tick(at(ms));
        }
        deaf.tick(at(600));
        assert_eq!(awake.light(A, at(600)), Light::Red);
        assert_eq!(deaf.light(A, at(600)), Light::Green);
        assert_eq!(deaf.light(A, at(1100)), Light::Red);
    }

    #[test]
    fn a_node_that_stays_watched_is_not_heard_by_that() {
        let mut detector = detector();
        detector.watch([A, NodeId(2)].into_iter(), at(450));
        assert_eq!(detector.light(A, at(500)), Light::Red);
        assert_eq!(detector.light(NodeId(2), at(500)), Light::Green);
    }
}

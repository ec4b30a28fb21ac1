//! Leases: a node speaks for its homes only while it can be sure that nobody else does.
//!
//! The leader grants, the holder asks. Both are plain machines; each reads its own monotonic clock, one that
//! goes on while the machine sleeps. `ARCHITECTURE.md`, "Leases", has the proof that two never speak; what it
//! rests on is said beside the code.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use call::{Incarnation, NodeId};
use machine::Instant;
use machine::museum::planted;
use serde::{Deserialize, Serialize};

use crate::command::Command;

/// How long things take; all of it follows from `cluster.detect`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// The lease, L.
    pub lease: Duration,
    /// How long a leader waits after its last grant, or its election, before it evicts.
    pub wait: Duration,
    /// How often a holder asks.
    pub ask: Duration,
    /// How often a node ticks.
    pub tick: Duration,
    /// How late its tick may be.
    pub late: Duration,
    /// How long one node leaves it to another to stand for election in the place of a dead leader.
    pub succeed: Duration,
}

impl Times {
    /// The times for a silence after which a node is held dead.
    pub fn from_detect(detect: Duration) -> Times {
        let lease = (detect / 2).min(LEASE_MAX);
        Times {
            lease,
            // Clocks run wrong by at most 1 % each: L/0.99 on the holder's is L·1.0202 on the leader's. For
            // leases of up to LEASE_MAX the ten milliseconds are more than what 1.02 falls short of that.
            wait: lease + lease / 50 + Duration::from_millis(10),
            ask: detect * 2 / 25,
            tick: lease / 25,
            late: lease / 2,
            succeed: detect / 12,
        }
    }
}

/// A holder's question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Which life of the holder asks.
    pub incarnation: Incarnation,
    /// Which question of that life.
    pub number: u64,
}

/// The leader's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The holder may speak for so long after the moment in which it asked.
    Granted {
        /// Which question.
        ask: Ask,
        /// How long.
        for_us: u64,
    },
    /// Whoever was asked does not lead, or not yet, or not any more.
    Unable {
        /// Which question.
        ask: Ask,
    },
    /// The holder is evicted or about to be: it asks the state to count again (`Command::Return`).
    Evicted {
        /// Which question.
        ask: Ask,
    },
}

/// What a tick found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ticked {
    /// Nothing.
    Well,
    /// The node stood still for so long, and may not speak until it is granted a fresh lease.
    Stalled(Duration),
}

/// The side that speaks.
#[derive(Debug)]
pub struct Holder {
    times: Times,
    incarnation: Incarnation,
    asked: u64,
    /// When questions were sent that may still be answered, oldest first.
    waiting: VecDeque<(u64, Instant)>,
    until: Option<Instant>,
    ticked_at: Instant,
}

impl Holder {
    /// A holder that may not speak yet.
    pub fn new(times: Times, incarnation: Incarnation, now: Instant) -> Holder {
        Holder { times, incarnation, asked: 0, waiting: VecDeque::new(), until: None, ticked_at: now }
    }

    /// A question to the leader, to be sent at once: the lease counts from here.
    pub fn ask(&mut self, now: Instant) -> Ask {
        self.asked += 1;
        while self.waiting.front().is_some_and(|(_, sent)| *sent + self.times.lease <= now) {
            self.waiting.pop_front();
        }
        self.waiting.push_back((self.asked, now));
        Ask { incarnation: self.incarnation, number: self.asked }
    }

    /// Takes an answer. `true` if the node may speak longer than before.
    pub fn answered(&mut self, answer: Answer) -> bool {
        let Answer::Granted { ask, for_us } = answer else { return false };
        // An answer to the life before this one is no answer.
        let mut mine = self.waiting.iter().filter(|_| ask.incarnation == self.incarnation);
        let Some((_, sent)) = mine.find(|(asked, _)| *asked == ask.number) else { return false };
        // No leader grants more than L; a broken one shall not either.
        let from = if planted("lease-counts-from-the-answer") { self.ticked_at } else { *sent };
        let until = from + Duration::from_micros(for_us).min(self.times.lease);
        let longer = self.until.is_none_or(|before| before < until);
        if longer {
            self.until = Some(until);
        }
        longer
    }

    /// Whether anything may be sent now. Asked before each batch of sends.
    pub fn may_speak(&self, now: Instant) -> bool {
        if planted("lease-ignored") {
            return true;
        }
        self.until.is_some_and(|until| now < until) && self.lateness(now) <= self.times.late
    }

    /// When the lease ends, if there is one.
    pub fn until(&self) -> Option<Instant> {
        self.until
    }

    /// The node's own tick. If it is late, the node stood still: what was asked before counts no more.
    pub fn tick(&mut self, now: Instant) -> Ticked {
        let late = self.lateness(now);
        self.ticked_at = now;
        if late <= self.times.late {
            return Ticked::Well;
        }
        if planted("pause-unnoticed") {
            self.until = self.until.map(|until| until + late);
            return Ticked::Well;
        }
        self.until = None;
        self.waiting.clear();
        Ticked::Stalled(late)
    }

    fn lateness(&self, now: Instant) -> Duration {
        now.since(self.ticked_at + self.times.tick)
    }
}

/// The side that grants: every node has one; only a leader's grants.
#[derive(Debug)]
pub struct Grantor {
    times: Times,
    reign: Option<Reign>,
}

#[derive(Debug)]
struct Reign {
    term: u64,
    since: Instant,
    /// Whether every entry of earlier terms is applied: an eviction may be among them.
    caught_up: bool,
    /// When the last append was sent that a quorum acknowledged in this term.
    quorum_at: Option<Instant>,
    granted_at: BTreeMap<NodeId, Instant>,
    /// Whose eviction is proposed: they are granted nothing until it is decided.
    evicting: BTreeMap<NodeId, Incarnation>,
    /// Lives that ended for certain.
    dead: BTreeMap<NodeId, Incarnation>,
}

impl Grantor {
    /// One that does not lead.
    pub fn new(times: Times) -> Grantor {
        Grantor { times, reign: None }
    }

    /// This node leads from now on, in this term. It must know nothing of acknowledgements of other terms.
    pub fn elected(&mut self, term: u64, now: Instant) {
        self.reign = Some(Reign {
            term,
            since: now,
            caught_up: false,
            quorum_at: None,
            granted_at: BTreeMap::new(),
            evicting: BTreeMap::new(),
            dead: BTreeMap::new(),
        });
    }

    /// This node leads no more.
    pub fn deposed(&mut self) {
        self.reign = None;
    }

    /// The first entry of the present term is applied.
    pub fn caught_up(&mut self) {
        if let Some(reign) = &mut self.reign {
            reign.caught_up = true;
        }
    }

    /// A quorum, this node included, acknowledged an append of the present term that was sent at `sent_at`.
    pub fn acknowledged(&mut self, sent_at: Instant) {
        if let Some(reign) = &mut self.reign {
            reign.quorum_at = reign.quorum_at.max(Some(sent_at));
        }
    }

    /// Answers a question. `alive` is what the state says of that life of the node (`State::is_alive`).
    pub fn answer(&mut self, node: NodeId, ask: Ask, alive: bool, now: Instant) -> Answer {
        let Some(reign) = self.reign.as_mut().filter(|reign| reign.caught_up) else {
            return Answer::Unable { ask };
        };
        let evicting = reign.evicting.get(&node).is_some_and(|life| *life >= ask.incarnation);
        let dead = reign.dead.get(&node).is_some_and(|life| *life >= ask.incarnation);
        if (!alive && !planted("lease-for-the-evicted")) || evicting || dead {
            return Answer::Evicted { ask };
        }
        // Another leader can only have been elected by a voter that acknowledged before it voted, so none acts
        // before this has run out.
        let left =
            reign.quorum_at.map_or(Duration::ZERO, |at| self.times.lease.saturating_sub(now.since(at)));
        let left = if planted("lease-without-quorum") { self.times.lease } else { left };
        if left.is_zero() {
            return Answer::Unable { ask };
        }
        reign.granted_at.insert(node, now);
        Answer::Granted { ask, for_us: left.as_micros() as u64 }
    }

    /// A life of a node ended for certain: its guard, which outlives it, says so. Its lease is void.
    pub fn died(&mut self, node: NodeId, incarnation: Incarnation) {
        if let Some(reign) = &mut self.reign {
            let known = reign.dead.entry(node).or_insert(incarnation);
            *known = (*known).max(incarnation);
        }
    }

    /// Whether no lease of this life of a node can be left, whoever granted it.
    pub fn may_evict(&self, node: NodeId, incarnation: Incarnation, now: Instant) -> bool {
        let Some(reign) = self.reign.as_ref().filter(|reign| reign.caught_up) else { return false };
        let dead = reign.dead.get(&node).is_some_and(|life| *life >= incarnation);
        dead || now >= self.lease_ends(reign, node) || planted("eviction-without-waiting")
    }

    /// How long a lease of this node may still run, whoever granted it: for so long it is not evicted. `None` if
    /// that is not this node's to say.
    pub fn lease_runs(&self, node: NodeId, now: Instant) -> Option<Duration> {
        let reign = self.reign.as_ref().filter(|reign| reign.caught_up)?;
        Some(self.lease_ends(reign, node).since(now))
    }

    fn lease_ends(&self, reign: &Reign, node: NodeId) -> Instant {
        reign.granted_at.get(&node).copied().unwrap_or(reign.since) + self.times.wait
    }

    /// Decides to evict a node: the command to propose, once, if it may be. The node is granted nothing
    /// until [`Grantor::decided`].
    pub fn evict(&mut self, node: NodeId, incarnation: Incarnation, now: Instant) -> Option<Command> {
        let is_due = self.may_evict(node, incarnation, now);
        let reign = self.reign.as_mut().filter(|_| is_due)?;
        if reign.evicting.get(&node) == Some(&incarnation) {
            return None;
        }
        reign.evicting.insert(node, incarnation);
        Some(Command::Evict { node, incarnation, term: reign.term })
    }

    /// A proposed eviction of this term was applied, whatever its outcome: what the state says counts again.
    pub fn decided(&mut self, node: NodeId, incarnation: Incarnation, term: u64) {
        if let Some(reign) = self.reign.as_mut().filter(|reign| reign.term == term)
            && reign.evicting.get(&node) == Some(&incarnation)
        {
            reign.evicting.remove(&node);
        }
    }
}

/// No lease is longer: see [`Times::from_detect`].
const LEASE_MAX: Duration = Duration::from_secs(40);

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Incarnation = Incarnation(1);
    const OTHER: NodeId = NodeId(2);

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    fn times() -> Times {
        Times::from_detect(Duration::from_millis(500))
    }

    fn granted(number: u64, ms: u64) -> Answer {
        Answer::Granted { ask: Ask { incarnation: LIFE, number }, for_us: ms * 1000 }
    }

    /// A leader since 1,000 ms that has applied what was before it.
    fn leader() -> Grantor {
        let mut grantor = Grantor::new(times());
        grantor.elected(3, at(1000));
        grantor.caught_up();
        grantor
    }

    fn ticking(holder: &mut Holder, from: u64, to: u64) {
        (from..=to).step_by(10).for_each(|ms| assert_eq!(holder.tick(at(ms)), Ticked::Well));
    }

    #[test]
    fn the_default_times_are_those_of_the_papers() {
        // detect = 500 ms: L = 250 ms, asked for with each heartbeat (40 ms), waited for 265 ms.
        let ms = Duration::from_millis;
        let (lease, wait, ask, tick, late) = (ms(250), ms(265), ms(40), ms(10), ms(125));
        let succeed = Duration::from_millis(500) / 12;
        assert_eq!(times(), Times { lease, wait, ask, tick, late, succeed });
    }

    #[test]
    fn the_wait_outlasts_the_lease_on_the_worst_pair_of_clocks() {
        for detect_ms in [50, 500, 5_000, 79_000, 600_000] {
            let times = Times::from_detect(Duration::from_millis(detect_ms));
            // The holder's clock is slow by 1 %, the leader's fast by 1 %; true nanoseconds, rounded down.
            let lease_true = times.lease.as_nanos() * 100 / 99;
            let wait_true = times.wait.as_nanos() * 100 / 101;
            assert!(wait_true > lease_true, "detect {detect_ms} ms");
        }
    }

    #[test]
    fn a_lease_counts_from_the_question_however_late_the_answer() {
        let mut holder = Holder::new(times(), LIFE, at(0));
        assert!(!holder.may_speak(at(0)));
        let ask = holder.ask(at(10));
        ticking(&mut holder, 0, 100);
        assert!(holder.answered(granted(ask.number, 250)));
        assert!(holder.may_speak(at(100)));
        ticking(&mut holder, 110, 260);
        assert!(holder.may_speak(at(259)) && !holder.may_speak(at(260)));
    }

    #[test]
    fn an_answer_that_overtook_another_is_not_undone_by_it() {
        let mut holder = Holder::new(times(), LIFE, at(0));
        let (first, second) = (holder.ask(at(0)), holder.ask(at(40)));
        assert!(holder.answered(granted(second.number, 250)));
        assert!(!holder.answered(granted(first.number, 250)));
        assert_eq!(holder.until(), Some(at(290)));
        let third = holder.ask(at(80));
        // Neither do numbers that were never asked, refusals, or a leader that grants too much.
        assert!(!holder.answered(granted(99, 250)));
        assert!(!holder.answered(Answer::Evicted { ask: second }));
        let before = Ask { incarnation: Incarnation(0), ..third };
        assert!(!holder.answered(Answer::Granted { ask: before, for_us: 250_000 }));
        assert!(holder.answered(granted(third.number, 9_999)));
        assert_eq!(holder.until(), Some(at(330)));
    }

    #[test]
    fn a_node_that_stood_still_speaks_again_only_by_a_fresh_grant() {
        let mut holder = Holder::new(times(), LIFE, at(0));
        let before = holder.ask(at(0));
        assert!(holder.answered(granted(before.number, 250)));
        // Its tick was due at 10 ms; half a lease later it is silent, lease or not, even before it ticks.
        assert!(holder.may_speak(at(135)) && !holder.may_speak(at(136)));
        assert_eq!(holder.tick(at(140)), Ticked::Stalled(Duration::from_millis(130)));
        assert!(!holder.may_speak(at(140)));
        // The answer to what it asked before it stood still is worth nothing.
        assert!(!holder.answered(granted(before.number, 250)));
        let fresh = holder.ask(at(141));
        assert!(holder.answered(granted(fresh.number, 250)));
        assert!(holder.may_speak(at(142)));
    }

    #[test]
    fn a_leader_grants_what_is_left_of_its_quorums_acknowledgement() {
        let mut grantor = leader();
        let ask = Ask { incarnation: LIFE, number: 7 };
        assert_eq!(grantor.answer(OTHER, ask, true, at(1005)), Answer::Unable { ask });
        grantor.acknowledged(at(1010));
        grantor.acknowledged(at(1002));
        assert_eq!(grantor.answer(OTHER, ask, true, at(1110)), granted(7, 150));
        assert_eq!(grantor.answer(OTHER, ask, true, at(1260)), Answer::Unable { ask });
        assert_eq!(grantor.answer(OTHER, ask, false, at(1110)), Answer::Evicted { ask });
        grantor.deposed();
        assert_eq!(grantor.answer(OTHER, ask, true, at(1110)), Answer::Unable { ask });
    }

    #[test]
    fn a_leader_grants_nothing_before_it_has_applied_what_came_before_it() {
        let mut grantor = Grantor::new(times());
        grantor.elected(3, at(1000));
        grantor.acknowledged(at(1001));
        let ask = Ask { incarnation: LIFE, number: 1 };
        assert_eq!(grantor.answer(OTHER, ask, true, at(1002)), Answer::Unable { ask });
        assert!(!grantor.may_evict(OTHER, LIFE, at(9000)));
        grantor.caught_up();
        assert_eq!(grantor.answer(OTHER, ask, true, at(1002)), granted(1, 249));
    }

    #[test]
    fn a_leader_evicts_a_wait_after_its_last_grant_or_its_election() {
        let mut grantor = leader();
        assert!(!grantor.may_evict(OTHER, LIFE, at(1264)) && grantor.may_evict(OTHER, LIFE, at(1265)));
        grantor.acknowledged(at(1300));
        grantor.answer(OTHER, Ask { incarnation: LIFE, number: 1 }, true, at(1310));
        assert!(!grantor.may_evict(OTHER, LIFE, at(1574)) && grantor.may_evict(OTHER, LIFE, at(1575)));
        // Elected again, it waits again: it does not know what was granted in between.
        grantor.elected(5, at(2000));
        grantor.caught_up();
        assert!(!grantor.may_evict(OTHER, LIFE, at(2264)) && grantor.may_evict(OTHER, LIFE, at(2265)));
    }

    #[test]
    fn whoever_is_being_evicted_is_granted_nothing() {
        let mut grantor = leader();
        grantor.acknowledged(at(1200));
        assert_eq!(grantor.evict(OTHER, LIFE, at(1264)), None);
        let evict = Command::Evict { node: OTHER, incarnation: LIFE, term: 3 };
        assert_eq!(grantor.evict(OTHER, LIFE, at(1265)), Some(evict));
        assert_eq!(grantor.evict(OTHER, LIFE, at(1266)), None);
        let answer = |grantor: &mut Grantor, life| {
            grantor.answer(OTHER, Ask { incarnation: life, number: 1 }, true, at(1270))
        };
        let ask = Ask { incarnation: LIFE, number: 1 };
        let next = Ask { incarnation: Incarnation(2), number: 1 };
        assert_eq!(answer(&mut grantor, LIFE), Answer::Evicted { ask });
        // Its next life is another matter.
        assert_eq!(answer(&mut grantor, Incarnation(2)), Answer::Granted { ask: next, for_us: 180_000 });
        grantor.decided(OTHER, LIFE, 2);
        assert_eq!(answer(&mut grantor, LIFE), Answer::Evicted { ask });
        grantor.decided(OTHER, LIFE, 3);
        assert_eq!(answer(&mut grantor, LIFE), granted(1, 180));
    }

    #[test]
    fn a_certain_death_needs_no_wait_and_ends_that_life_alone() {
        let mut grantor = leader();
        grantor.acknowledged(at(1010));
        grantor.answer(OTHER, Ask { incarnation: LIFE, number: 1 }, true, at(1011));
        grantor.died(OTHER, LIFE);
        assert!(grantor.may_evict(OTHER, LIFE, at(1012)));
        assert!(!grantor.may_evict(OTHER, Incarnation(2), at(1012)));
        let ask = Ask { incarnation: LIFE, number: 2 };
        assert_eq!(grantor.answer(OTHER, ask, true, at(1012)), Answer::Evicted { ask });
    }
}

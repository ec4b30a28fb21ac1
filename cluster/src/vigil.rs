//! Leases and evictions over the links: a node asks whoever leads whether it may speak; whoever leads grants
//! it, and evicts the nodes that fell silent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use call::{Incarnation, NodeId};
use machine::Instant;

use crate::cluster::Seams;
use crate::command::{Command, Outcome};
use crate::detector::{Detector, Light};
use crate::lease::{Answer, Ask, Grantor, Holder, Ticked, Times};
use crate::outbox::Outbox;
use crate::proposer::Proposer;
use crate::raft::{Leader, Raft};
use crate::replica::Replica;

/// A node's watch over itself and, while it leads, over the others.
pub(crate) struct Vigil {
    node: NodeId,
    times: Times,
    seams: Seams,
    raft: Raft,
    replica: Arc<Replica>,
    proposer: Proposer,
    watch: Mutex<Watch>,
}

struct Watch {
    /// `None` before the boot: there is no life yet that could speak.
    holder: Option<Holder>,
    grantor: Grantor,
    detector: Detector,
    leading: (Leader, u64),
    ask_at: Instant,
    /// Whether this node's wish to count again is under way.
    returning: bool,
    stalls: u64,
    /// Lives that ended for certain, as their guards say.
    dead: BTreeMap<NodeId, Incarnation>,
}

/// What a node knows of who may speak.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// How long this node may speak for its homes, if it may.
    pub until: Option<Instant>,
    /// How often it stood still for so long that it had to be granted a fresh lease.
    pub stalls: u64,
    /// How the other nodes seem. Only a leader hears them all.
    pub lights: Vec<(NodeId, Light)>,
}

impl Vigil {
    pub(crate) fn new(node: NodeId, detect: Duration, outbox: &Outbox) -> Arc<Vigil> {
        let Outbox { proposer, raft, replica, seams, .. } = outbox.clone();
        let (times, now) = (Times::from_detect(detect), seams.clock.now());
        let watch = Mutex::new(Watch {
            holder: None,
            grantor: Grantor::new(times),
            detector: Detector::new(detect, now),
            leading: (Leader::Unknown, 0),
            ask_at: now,
            returning: false,
            stalls: 0,
            dead: BTreeMap::new(),
        });
        Arc::new(Vigil { node, times, seams, raft, replica, proposer, watch })
    }

    /// This life has booted, and may ask from now on.
    pub(crate) fn begin(&self, incarnation: Incarnation) {
        let now = self.seams.clock.now();
        let mut watch = self.lock();
        watch.holder = Some(Holder::new(self.times, incarnation, now));
        watch.ask_at = now;
    }

    /// This life is over: it asks for nothing, and never speaks again.
    pub(crate) fn rest(&self) {
        self.lock().holder = None;
    }

    /// Ticks for as long as it is polled.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut due = self.seams.clock.now();
        loop {
            self.tick();
            due = (due + self.times.tick).max(self.seams.clock.now());
            self.seams.spawn.sleep_until(due).await;
        }
    }

    /// Whether this node may speak for its homes now.
    pub(crate) fn may_speak(&self) -> bool {
        let now = self.seams.clock.now();
        self.lock().holder.as_ref().is_some_and(|holder| holder.may_speak(now))
    }

    /// Until when this node may speak, if it may now.
    pub(crate) fn speaks_until(&self) -> Option<Instant> {
        self.lock().speaks_until(self.seams.clock.now())
    }

    /// How long this node's lease still runs, if it may speak now.
    pub(crate) fn lease_left(&self) -> Option<Duration> {
        let now = self.seams.clock.now();
        self.lock().speaks_until(now).map(|until| until.since(now))
    }

    /// For how long this node, if it leads, counts on a lease of another.
    pub(crate) fn lease_of(&self, node: NodeId) -> Option<Duration> {
        let (now, leading, watch) = (self.seams.clock.now(), self.raft.leader(), self.lock());
        // One that was deposed since the last tick grants nothing more.
        let leads = leading.0 == Leader::Me && leading == watch.leading;
        watch.grantor.lease_runs(node, now).filter(|_| leads)
    }

    pub(crate) fn standing(&self) -> Standing {
        let now = self.seams.clock.now();
        let watch = self.lock();
        let until = watch.speaks_until(now);
        let others = self.replica.read(|state| state.nodes().map(|(id, _)| id).collect::<Vec<_>>());
        let others = others.into_iter().filter(|id| *id != self.node);
        let lights = others.map(|id| (id, watch.detector.light(id, now))).collect();
        Standing { until, stalls: watch.stalls, lights }
    }

    /// Something came from a node.
    pub(crate) fn heard(&self, node: NodeId) {
        self.lock().detector.heard(node, self.seams.clock.now());
    }

    /// The link to a node is gone.
    pub(crate) fn hinted(&self, node: NodeId) {
        self.lock().detector.hinted(node);
    }

    /// A life of a node has ended for certain. Whoever leads, now or later, need not wait for its lease.
    pub(crate) fn died(self: &Arc<Self>, node: NodeId, incarnation: Incarnation) {
        let now = self.seams.clock.now();
        let mut watch = self.lock();
        let known = watch.dead.entry(node).or_insert(incarnation);
        *known = (*known).max(incarnation);
        self.follow(&mut watch, now);
        watch.grantor.died(node, incarnation);
        let others = self.others_alive();
        match watch.leading.0 {
            Leader::Me => self.evict(&mut watch, &others, now),
            Leader::Other(leader) if leader == node && others.contains(&(node, incarnation)) => {
                self.succeed(node, &others);
            }
            Leader::Other(_) | Leader::Unknown => {}
        }
    }

    /// The leader's process has ended: the first of the others stands for election at once, the next a moment later
    /// if nobody leads by then, so that they do not divide the votes.
    fn succeed(self: &Arc<Self>, dead: NodeId, others: &[(NodeId, Incarnation)]) {
        let before = others.iter().filter(|(id, _)| *id != dead && *id < self.node).count();
        let at = self.seams.clock.now() + self.times.succeed * u32::try_from(before).unwrap_or(u32::MAX);
        let vigil = self.clone();
        let task = async move {
            if before > 0 {
                vigil.seams.spawn.sleep_until(at).await;
            }
            if vigil.raft.leader().0 == Leader::Other(dead) {
                vigil.raft.succeed().await;
            }
        };
        self.seams.spawn.spawn("succeed", Box::pin(task));
    }

    /// The other nodes that count as alive.
    fn others_alive(&self) -> Vec<(NodeId, Incarnation)> {
        self.replica.read(|state| {
            let alive = state.nodes().filter(|(id, node)| node.alive && *id != self.node);
            alive.map(|(id, node)| (id, node.incarnation)).collect()
        })
    }

    /// A node asks for its lease.
    pub(crate) fn asked(&self, from: NodeId, ask: Ask) -> Answer {
        let now = self.seams.clock.now();
        let alive = self.replica.read(|state| state.is_alive(from, ask.incarnation));
        let mut watch = self.lock();
        self.follow(&mut watch, now);
        watch.grantor.answer(from, ask, alive, now)
    }

    /// The leader has answered.
    pub(crate) fn answered(self: &Arc<Self>, answer: Answer) {
        let mut watch = self.lock();
        let Some(holder) = watch.holder.as_mut() else { return };
        holder.answered(answer);
        let Answer::Evicted { ask } = answer else { return };
        let is_evicted = !self.replica.read(|state| state.is_alive(self.node, ask.incarnation));
        if is_evicted && !watch.returning {
            watch.returning = true;
            tracing::warn!("this node was held dead; it asks to count again");
            let vigil = self.clone();
            let task = async move {
                vigil.proposer.ask(Command::Return).await;
                vigil.lock().returning = false;
            };
            self.seams.spawn.spawn("return", Box::pin(task));
        }
    }

    fn tick(self: &Arc<Self>) {
        let now = self.seams.clock.now();
        let mut watch = self.lock();
        watch.detector.tick(now);
        self.follow(&mut watch, now);
        if let Some(holder) = &mut watch.holder
            && let Ticked::Stalled(late) = holder.tick(now)
        {
            tracing::warn!(
                late_ms = late.as_millis() as u64,
                "this node stood still: silent until it is granted a lease"
            );
            watch.stalls += 1;
            watch.ask_at = now;
        }
        if now < watch.ask_at {
            return;
        }
        watch.ask_at = now + self.times.ask;
        let others = self.others_alive();
        watch.detector.watch(others.iter().map(|(id, _)| *id), now);
        if watch.leading.0 == Leader::Me {
            self.evict(&mut watch, &others, now);
        }
        let (leader, ask) = (watch.leading.0, watch.holder.as_mut().map(|holder| holder.ask(now)));
        drop(watch);
        match (leader, ask) {
            (Leader::Me, Some(ask)) => self.answered(self.asked(self.node, ask)),
            // Lost, it is asked again.
            (Leader::Other(leader), Some(ask)) => self.raft.ask_lease(leader, ask),
            (Leader::Unknown, _) | (_, None) => {}
        }
    }

    /// Follows who leads, and what a quorum has acknowledged.
    fn follow(&self, watch: &mut Watch, now: Instant) {
        let (leader, term) = self.raft.leader();
        if (leader, term) != watch.leading {
            let before = std::mem::replace(&mut watch.leading, (leader, term));
            if leader == Leader::Me {
                watch.grantor.elected(term, now);
                let Watch { grantor, dead, .. } = watch;
                dead.iter().for_each(|(node, life)| grantor.died(*node, *life));
                // Followers hear nothing of each other, only of the leader.
                let others = self.replica.read(|state| state.nodes().map(|(id, _)| id).collect::<Vec<_>>());
                let unheard = others.into_iter().filter(|id| before.0 != Leader::Other(*id));
                unheard.for_each(|id| watch.detector.heard(id, now));
            } else {
                watch.grantor.deposed();
            }
        }
        if leader == Leader::Me {
            if self.replica.term() == term {
                watch.grantor.caught_up();
            }
            if let Some(at) = self.raft.acknowledged(term, now) {
                watch.grantor.acknowledged(at);
            }
        }
    }

    /// Evicts who is held dead and has no lease left. A leader that may have been succeeded keeps still.
    fn evict(self: &Arc<Self>, watch: &mut Watch, others: &[(NodeId, Incarnation)], now: Instant) {
        let term = watch.leading.1;
        let leads_surely =
            self.raft.acknowledged(term, now).is_some_and(|at| now.since(at) < self.times.lease);
        if !leads_surely {
            return;
        }
        let red: Vec<NodeId> = watch.detector.red(now).collect();
        for (node, incarnation) in others.iter().copied() {
            let is_dead = watch.dead.get(&node).is_some_and(|life| *life >= incarnation);
            if !is_dead && !red.contains(&node) {
                continue;
            }
            let Some(command) = watch.grantor.evict(node, incarnation, now) else { continue };
            tracing::warn!(%node, is_dead, "a node is silent: its homes go to others");
            let vigil = self.clone();
            let task = async move {
                let outcome = vigil.proposer.ask(command).await;
                if !matches!(outcome, Some(Outcome::Done)) {
                    tracing::info!(%node, ?outcome, "it was not evicted");
                }
                vigil.lock().grantor.decided(node, incarnation, term);
            };
            self.seams.spawn.spawn("evict", Box::pin(task));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    fn speaks_until(&self, now: Instant) -> Option<Instant> {
        self.holder.as_ref().filter(|holder| holder.may_speak(now)).and_then(Holder::until)
    }
}

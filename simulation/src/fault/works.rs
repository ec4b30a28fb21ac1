//! Faults at work: each begins and ends at its time, and is counted where it took effect.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future as _, poll_fn};
use std::net::IpAddr;
use std::task::Poll;
use std::time::Duration;

use cluster::{Command, DrainedUntil, Health};
use env::{BoxFuture, Clock as _};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use machine::{Instant, Rng};
use node::{NodeHandle, StartError};

use super::operator::Errand;
use super::{Fault, Kind, Who};
use crate::invariants::{Oracle, View};
use crate::members::Members;
use crate::network::Latency;
use crate::plan::{self, Plan};
use crate::weather::Front;
use crate::world::World;

/// Where faults happen.
pub struct Site<'a> {
    /// The world.
    pub world: &'a mut World,
    /// Its nodes.
    pub members: &'a mut Members,
    /// Who watches.
    pub oracle: &'a Oracle,
    /// What was planned.
    pub plan: &'a Plan,
    pub(super) works: FuturesUnordered<BoxFuture<'static, Done>>,
    pub(super) rng: Rng,
    /// Whom each fault under way has met.
    pub(super) met: BTreeMap<usize, Vec<u64>>,
    /// What an operator is about.
    pub(super) errand: Option<Errand>,
    /// Nodes that came back with an older program.
    pub(super) older: BTreeSet<u64>,
    /// Kills that wait for a write of a log.
    armed: Vec<(usize, u64)>,
    /// What a fault's node had done when it began.
    before: BTreeMap<usize, u64>,
    looks: u64,
}

/// Something that took its time.
pub(super) enum Done {
    /// A node has started, or could not.
    Started { node: u64, life: u64, outcome: Result<NodeHandle, StartError> },
    /// A node has ended in order, for this reason.
    Ended { node: u64, life: u64, kind: Kind },
    /// It is time to try to start a node.
    Again(u64),
    /// A wish was granted, or nobody could.
    Asked,
    /// An operator's order was granted, or not.
    Ordered(Result<(), String>),
}

/// Something that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Begin,
    Step(u64),
    End,
}

/// Lets the faults of the plan happen, until it is calm.
pub async fn perform(site: &mut Site<'_>) {
    let mut due = agenda(&site.plan.faults);
    due.sort_unstable();
    for (at, place, what) in due {
        site.pass(at).await;
        let fault = site.plan.faults[place];
        site.world.trace.note(at, &format!("{what:?} {fault}"));
        match what {
            Due::Begin => site.begin(place, &fault),
            Due::Step(step) => site.step(place, &fault, step),
            Due::End => site.end(place, &fault),
        }
    }
    site.pass(site.plan.calm).await;
}

fn agenda(faults: &[Fault]) -> Vec<(Instant, usize, Due)> {
    let mut due = Vec::new();
    for (place, fault) in faults.iter().enumerate() {
        due.push((fault.from, place, Due::Begin));
        due.push((fault.until, place, Due::End));
        let every = match fault.kind {
            Kind::Flapping => Duration::from_millis(fault.amount.unsigned_abs()),
            Kind::Reapplication => Duration::from_secs(1),
            Kind::TcpReset => Duration::from_millis(fault.amount.unsigned_abs()),
            _ => continue,
        };
        let steps = (1..).map(|n: u32| (n, fault.from + every * n)).take_while(|(_, at)| *at < fault.until);
        due.extend(steps.map(|(n, at)| (at, place, Due::Step(u64::from(n)))));
    }
    due
}

impl<'a> Site<'a> {
    /// A site without faults yet.
    pub fn new(
        world: &'a mut World,
        members: &'a mut Members,
        oracle: &'a Oracle,
        plan: &'a Plan,
    ) -> Site<'a> {
        let rng = world.rng();
        let (works, met, armed) = (FuturesUnordered::new(), BTreeMap::new(), Vec::new());
        let (before, older) = (BTreeMap::new(), BTreeSet::new());
        Site { world, members, oracle, plan, works, rng, met, errand: None, older, armed, before, looks: 0 }
    }

    /// Lets time pass under the eyes of the invariants.
    pub async fn pass(&mut self, until: Instant) {
        let clock = self.world.clock.clone();
        while clock.now() < until {
            let look = if self.armed.is_empty() { LOOK } else { LOOK / 5 };
            let next = until.min(clock.now() + look);
            let done = tokio::select! {
                biased;
                Some(done) = self.works.next(), if !self.works.is_empty() => Some(done),
                () = clock.sleep_until(next) => None,
            };
            if let Some(done) = done {
                self.done(done);
                continue;
            }
            self.fire_armed();
            self.bury();
            let (nodes, up) = (self.members.alive(), self.members.up());
            let view =
                View { at: clock.now(), nodes: &nodes, moved: &nodes, up: &up, links: &self.world.links };
            self.oracle.look(&view);
        }
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Started { node, life, outcome: Ok(handle) } => {
                if self.members.started(node, life, handle) {
                    self.has_started(node);
                }
            }
            Done::Started { node, life, outcome: Err(error) } => {
                if self.members.life(node).is_some_and(|now| now.number() == life) {
                    let what = format!("node {node} does not start: {error}");
                    self.world.trace.note(self.world.clock.now(), &what);
                    if !self.does_not_start(node, &error) {
                        self.members.kill(self.world, node);
                        self.again(node);
                    }
                }
            }
            Done::Ended { node, life, kind } => {
                if self.members.life(node).is_some_and(|now| now.number() == life && !now.is_over()) {
                    self.members.kill(self.world, node);
                    self.world.effects.count(kind);
                    self.start(node);
                }
            }
            Done::Again(node) => self.start(node),
            Done::Asked => {}
            Done::Ordered(granted) => self.ordered(granted),
        }
    }

    /// A process that has failed for good ends, and is started again, as a service would be.
    fn bury(&mut self) {
        self.looks += 1;
        if !self.looks.is_multiple_of(BURY_EVERY) {
            return;
        }
        for handle in self.members.alive() {
            if let Health::Failed(why) = handle.cluster().health() {
                let node = handle.cluster().node().0;
                self.world.trace.note(self.world.clock.now(), &format!("node {node} has failed: {why}"));
                self.members.kill(self.world, node);
                self.again(node);
            }
        }
    }

    fn again(&mut self, node: u64) {
        let clock = self.world.clock.clone();
        let at = clock.now() + AGAIN;
        self.works.push(Box::pin(async move {
            clock.sleep_until(at).await;
            Done::Again(node)
        }));
    }

    pub(super) fn start(&mut self, node: u64) {
        let Some(starting) = self.members.start(self.world, node) else { return };
        let life = self.members.life(node).map_or(0, |life| life.number());
        self.works.push(Box::pin(async move { Done::Started { node, life, outcome: starting.await } }));
    }

    fn kill(&mut self, kind: Kind, node: u64) -> bool {
        let torn = |members: &Members| members.disk(node).map_or(0, |disk| disk.counts().torn);
        let before = torn(self.members);
        if !self.members.kill(self.world, node) {
            return false;
        }
        self.world.effects.count(kind);
        if torn(self.members) > before {
            self.world.effects.count(Kind::TornWrite);
        }
        true
    }

    fn fire_armed(&mut self) {
        for (place, node) in std::mem::take(&mut self.armed) {
            let writes = self.members.disk(node).is_some_and(|disk| disk.waiting(env::Lane::Log) > 0);
            if !writes {
                self.armed.push((place, node));
            } else if self.kill(Kind::CrashAtSync, node) {
                self.met.entry(place).or_default().push(node);
            }
        }
    }

    /// The nodes that a fault meets.
    fn victims(&mut self, fault: &Fault) -> Vec<u64> {
        let alive = self.members.alive();
        let newest = alive.iter().max_by_key(|node| node.cluster().status().applied);
        let one = match fault.who {
            Who::Node(node) => Some(node),
            Who::Leader => newest.and_then(|node| node.cluster().status().leader).map(|node| node.0),
            Who::Holder => newest.and_then(holder),
            Who::All | Who::Peer(_) => None,
        };
        one.into_iter().collect()
    }

    /// Some nodes, the first of them named.
    fn some(&mut self, first: Option<u64>, count: usize) -> Vec<u64> {
        let mut left = self.members.ids();
        let mut chosen: Vec<u64> = first.into_iter().collect();
        left.retain(|node| !chosen.contains(node));
        while chosen.len() < count && !left.is_empty() {
            chosen.push(left.remove(self.rng.below(left.len() as u64) as usize));
        }
        chosen
    }

    fn begin(&mut self, place: usize, fault: &Fault) {
        let victims = self.victims(fault);
        let victim = victims.first().copied();
        match fault.kind {
            Kind::TcpReset | Kind::TcpHalfOpen => self.spoil_streams(fault),
            Kind::Crash => self.met_all(place, fault.kind, victims),
            Kind::CrashAtSync => self.armed.extend(victims.iter().map(|node| (place, *node))),
            Kind::CrashOfTwo => {
                let two = self.some(victim, self.plan.nodes as usize / 2 + 1);
                self.met_all(place, fault.kind, two);
            }
            Kind::PowerCut => {
                let all = self.members.ids();
                self.met_all(place, fault.kind, all);
            }
            Kind::Restart => victims.into_iter().for_each(|node| self.end_in_order(node, Kind::Restart)),
            Kind::ShortPause | Kind::LongPause => self.halt(place, victims),
            Kind::ClockDrift => self.world.effects.count(fault.kind),
            Kind::ClockJump => {
                if let Some(clock) = victim.and_then(|node| self.members.clock(node)) {
                    clock.jump(fault.amount);
                    self.world.effects.count(fault.kind);
                }
            }
            Kind::SlowDisk | Kind::DiskFull => self.spoil_disk(place, fault, victims),
            Kind::DrainAndResume => {
                if let Some(node) = victim {
                    self.ask(Command::Drain { node: call::NodeId(node), until: DrainedUntil::Resume });
                    self.met.insert(place, vec![node]);
                    self.world.effects.count(fault.kind);
                }
            }
            Kind::LimitLowered => self.lower_limit(fault),
            Kind::Reapplication => self.step(place, fault, 0),
            Kind::Overload => self.overload(fault),
            Kind::Isolation | Kind::LeaderDeposed | Kind::OneWay | Kind::Flapping | Kind::SlowLink => {
                self.cut(place, fault, victim);
            }
            Kind::MemberAdded
            | Kind::MemberRemoved
            | Kind::ForcedRemoval
            | Kind::DiskLost
            | Kind::BitFlip
            | Kind::RollingUpgrade
            | Kind::OldProgram => self.operate(place, fault, victim),
            Kind::FsyncError | Kind::ReadError | Kind::GuardDead | Kind::GuardMute => {
                self.break_machine(place, fault, victim);
            }
            Kind::Loss
            | Kind::Duplication
            | Kind::Reordering
            | Kind::Corruption
            | Kind::Delay
            | Kind::Mtu
            | Kind::PeerCut
            | Kind::DnsEmpty
            | Kind::DnsFlip
            | Kind::DnsNxdomain => self.unsettle(place, fault),
            // What peers do follows from their plans.
            Kind::TornWrite
            | Kind::Cancel
            | Kind::LateAnswer
            | Kind::LostAck
            | Kind::Glare
            | Kind::Refusal
            | Kind::Reinvite => {}
        }
    }

    /// The plan has the calls of an overload already.
    fn overload(&self, fault: &Fault) {
        let calls = self.plan.calls.iter();
        let extra = calls.filter(|it| it.extra && fault.from <= it.at && it.at < fault.until);
        self.world.effects.count_many(fault.kind, extra.count() as u64);
    }

    /// The trunk's limit is set below what is in use.
    fn lower_limit(&mut self, fault: &Fault) {
        let used = self.used();
        self.put(Some((used.saturating_sub(1)).min(fault.amount as u32)));
        if used > 0 {
            self.world.effects.count(fault.kind);
        }
    }

    /// Something befalls what the network carries, or knows.
    fn unsettle(&mut self, place: usize, fault: &Fault) {
        match fault.kind {
            Kind::Loss | Kind::Duplication | Kind::Reordering | Kind::Corruption => {
                let front = Front::Chance(fault.kind, fault.amount.unsigned_abs());
                self.world.wire.set_weather(place, Some(front));
            }
            Kind::Delay => {
                let front = Front::Late(Duration::from_micros(fault.amount.unsigned_abs()));
                self.world.wire.set_weather(place, Some(front));
            }
            Kind::Mtu => self.world.wire.set_weather(place, Some(Front::Mtu(fault.amount as usize))),
            Kind::PeerCut => {
                let Who::Peer(peer) = fault.who else { return };
                self.world.wire.set_weather(place, Some(Front::Cut(self.peer(peer))));
            }
            Kind::DnsEmpty | Kind::DnsFlip | Kind::DnsNxdomain => {
                self.world.names.set(place, Some((fault.kind, fault.amount as usize)));
            }
            _ => {}
        }
    }

    fn step(&mut self, place: usize, fault: &Fault, step: u64) {
        match (fault.kind, self.met.get(&place).map(Vec::as_slice)) {
            (Kind::TcpReset, _) => self.spoil_streams(fault),
            (Kind::Reapplication, _) => {
                self.put(None);
                self.world.effects.count(fault.kind);
            }
            (Kind::Flapping, Some(&[a, b])) => {
                // Odd steps heal what the beginning, or the step before, has cut.
                let turn = if step % 2 == 1 { crate::Links::heal } else { crate::Links::cut };
                turn(&self.world.links, a, b);
                turn(&self.world.links, b, a);
                self.before.insert(place, step % 2);
                self.world.effects.count(fault.kind);
            }
            _ => {}
        }
    }

    fn end(&mut self, place: usize, fault: &Fault) {
        self.armed.retain(|(armed, _)| *armed != place);
        let met = self.met.remove(&place).unwrap_or_default();
        let before = self.before.remove(&place);
        match fault.kind {
            Kind::Loss
            | Kind::Duplication
            | Kind::Reordering
            | Kind::Corruption
            | Kind::Delay
            | Kind::Mtu
            | Kind::PeerCut => self.world.wire.set_weather(place, None),
            Kind::Crash | Kind::CrashAtSync | Kind::CrashOfTwo | Kind::PowerCut => {
                met.into_iter().for_each(|node| self.start(node));
            }
            Kind::ShortPause | Kind::LongPause => self.go_on(fault.kind, met, before.unwrap_or_default()),
            Kind::SlowDisk | Kind::DiskFull => self.mend_disk(fault, met, before.unwrap_or_default()),
            Kind::DrainAndResume => {
                met.into_iter().for_each(|node| self.ask(Command::Resume(call::NodeId(node))));
            }
            Kind::LimitLowered => self.put(None),
            Kind::MemberAdded => met.into_iter().for_each(|node| self.send_away(node)),
            Kind::OldProgram => met.into_iter().for_each(|node| self.upgrade_again(node)),
            Kind::GuardDead | Kind::GuardMute => met.into_iter().for_each(|node| self.start(node)),
            Kind::FsyncError | Kind::ReadError => self.mend_machine(fault, met, before.unwrap_or_default()),
            Kind::DnsEmpty | Kind::DnsFlip | Kind::DnsNxdomain => self.world.names.set(place, None),
            Kind::Isolation | Kind::LeaderDeposed | Kind::OneWay | Kind::Flapping | Kind::SlowLink => {
                self.mend_links(fault, &met, before.unwrap_or_default());
            }
            _ => {}
        }
    }

    fn spoil_streams(&mut self, fault: &Fault) {
        let peer = match fault.who {
            Who::Peer(peer) => Some(self.peer(peer)),
            _ => None,
        };
        let spoilt = self.world.wire.spoil_streams(fault.kind, peer);
        // What is half open counts where bytes go nowhere.
        (0..spoilt)
            .filter(|_| fault.kind == Kind::TcpReset)
            .for_each(|_| self.world.effects.count(fault.kind));
    }

    fn met_all(&mut self, place: usize, kind: Kind, nodes: Vec<u64>) {
        let met: Vec<u64> = nodes.into_iter().filter(|node| self.kill(kind, *node)).collect();
        self.met.insert(place, met);
    }

    pub(super) fn end_in_order(&mut self, node: u64, kind: Kind) {
        let Some(handle) = self.members.handle(node).cloned() else { return };
        let Some(lives) = self.members.life(node).cloned() else { return };
        self.works.push(Box::pin(async move {
            let mut ends = std::pin::pin!(async {
                handle.drain(DRAIN_MAX).await;
                handle.stop().await;
            });
            // What is left of a process that dies meanwhile does nothing more.
            poll_fn(|cx| if lives.is_over() { Poll::Ready(()) } else { ends.as_mut().poll(cx) }).await;
            Done::Ended { node, life: lives.number(), kind }
        }));
    }

    fn halt(&mut self, place: usize, nodes: Vec<u64>) {
        for node in &nodes {
            let Some(life) = self.members.life(*node).filter(|life| !life.is_over()) else { continue };
            life.halt();
            self.before.insert(place, life.number());
            self.cut_off(*node, crate::Links::cut);
        }
        self.met.insert(place, nodes);
    }

    fn go_on(&mut self, kind: Kind, nodes: Vec<u64>, number: u64) {
        for node in nodes {
            self.cut_off(node, crate::Links::heal);
            // If another pause of the same life is still on, the first to end ends both.
            let life = self.members.life(node).filter(|life| life.number() == number && life.is_halted());
            if let Some(life) = life
                && life.go_on() > 0
            {
                self.world.effects.count(kind);
            }
        }
    }

    /// Cuts, or heals, all links of a node.
    fn cut_off(&self, node: u64, turn: fn(&std::sync::Arc<crate::Links>, u64, u64)) {
        for other in self.members.ids().into_iter().filter(|other| *other != node) {
            turn(&self.world.links, node, other);
            turn(&self.world.links, other, node);
        }
    }

    fn cut(&mut self, place: usize, fault: &Fault, victim: Option<u64>) {
        let Some(node) = victim else { return };
        let two = self.some(victim, 2);
        self.before.insert(place, self.world.links.held_up());
        match (fault.kind, two.as_slice()) {
            (Kind::Isolation | Kind::LeaderDeposed, _) => {
                self.cut_off(node, crate::Links::cut);
                self.met.insert(place, vec![node]);
            }
            (Kind::OneWay, &[a, b]) => {
                self.world.links.cut(a, b);
                self.met.insert(place, two);
            }
            (Kind::Flapping, &[a, b]) => {
                self.world.links.cut(a, b);
                self.world.links.cut(b, a);
                self.before.insert(place, 0);
                self.met.insert(place, two);
            }
            (Kind::SlowLink, &[a, b]) => {
                let max = Duration::from_micros(fault.amount.unsigned_abs());
                self.world.links.slow(a, b, Latency { min: max / 4, max });
                self.met.insert(place, two);
            }
            _ => {}
        }
    }

    fn mend_links(&mut self, fault: &Fault, met: &[u64], before: u64) {
        let held = self.world.links.held_up().saturating_sub(before);
        match (fault.kind, met) {
            (Kind::Isolation, &[node]) => {
                self.cut_off(node, crate::Links::heal);
                self.world.effects.count_many(fault.kind, held);
            }
            (Kind::LeaderDeposed, &[node]) => {
                self.cut_off(node, crate::Links::heal);
                let leads = |it: &NodeHandle| it.cluster().node().0 != node && it.cluster().status().leads;
                if self.members.alive().iter().any(leads) {
                    self.world.effects.count(fault.kind);
                }
            }
            (Kind::OneWay, &[a, b]) => {
                self.world.links.heal(a, b);
                self.world.effects.count_many(fault.kind, held);
            }
            (Kind::Flapping, &[a, b]) if before == 0 => {
                self.world.links.heal(a, b);
                self.world.links.heal(b, a);
            }
            (Kind::SlowLink, &[a, b]) => {
                let slow = self.world.links.hasten(a, b);
                self.world.effects.count_many(fault.kind, slow);
            }
            _ => {}
        }
    }

    fn spoil_disk(&mut self, place: usize, fault: &Fault, nodes: Vec<u64>) {
        let Some(disk) = nodes.first().and_then(|node| self.members.disk(*node)) else { return };
        let counts = disk.counts();
        if fault.kind == Kind::DiskFull {
            disk.set_full(true);
            self.before.insert(place, counts.refused);
        } else {
            disk.set_pace(Some((Duration::from_millis(5), Duration::from_millis(80))));
            self.before.insert(place, counts.performed);
        }
        self.met.insert(place, nodes);
    }

    fn mend_disk(&mut self, fault: &Fault, nodes: Vec<u64>, before: u64) {
        let Some(disk) = nodes.first().and_then(|node| self.members.disk(*node)) else { return };
        let counts = disk.counts();
        let now = if fault.kind == Kind::DiskFull {
            disk.set_full(false);
            counts.refused
        } else {
            disk.set_pace(None);
            counts.performed
        };
        self.world.effects.count_many(fault.kind, now.saturating_sub(before));
    }

    /// A machine's disk, or its guard, does not do what it should.
    fn break_machine(&mut self, place: usize, fault: &Fault, victim: Option<u64>) {
        let Some(node) = victim else { return };
        let disk = self.members.disk(node).cloned();
        match (fault.kind, disk) {
            (Kind::FsyncError, Some(disk)) => {
                self.before.insert(place, disk.counts().failed);
                disk.fail_next(lane_of(fault), Some(self.rng.fork()));
            }
            (Kind::ReadError, Some(disk)) => {
                self.before.insert(place, disk.counts().unread);
                disk.set_unreadable(true);
                if fault.amount == 0 && self.members.kill(self.world, node) {
                    self.start(node);
                }
            }
            (Kind::GuardDead | Kind::GuardMute, Some(_)) if self.world.guards.keeps(node) => {
                if fault.kind == Kind::GuardDead {
                    self.world.guards.kill(node);
                } else {
                    self.world.guards.mute(node);
                }
                self.world.effects.count(fault.kind);
                let alone = fault.kind == Kind::GuardDead && fault.amount == 0;
                if alone || !self.members.kill(self.world, node) {
                    return;
                }
            }
            _ => return,
        }
        self.met.insert(place, vec![node]);
    }

    fn mend_machine(&mut self, fault: &Fault, met: Vec<u64>, before: u64) {
        for disk in met.into_iter().filter_map(|node| self.members.disk(node)) {
            let now = if fault.kind == Kind::FsyncError {
                disk.fail_next(lane_of(fault), None);
                disk.counts().failed
            } else {
                disk.set_unreadable(false);
                disk.counts().unread
            };
            self.world.effects.count_many(fault.kind, now.saturating_sub(before));
        }
    }

    fn operate(&mut self, place: usize, fault: &Fault, victim: Option<u64>) {
        match (fault.kind, victim) {
            (Kind::RollingUpgrade, _) => self.upgrade(),
            (Kind::OldProgram, Some(node)) => self.downgrade(place, node),
            _ => self.set_out(place, fault, victim),
        }
    }

    fn put(&mut self, limit: Option<u32>) {
        let Some(handle) = self.members.alive().into_iter().next() else { return };
        let resources = self.plan.resources(limit);
        self.works.push(Box::pin(async move {
            // A wish whose outcome nobody hears may have been granted or not: both are right.
            drop(handle.cluster().put(resources).await);
            Done::Asked
        }));
    }

    pub(super) fn ask(&mut self, command: Command) {
        let Some(handle) = self.members.alive().into_iter().next() else { return };
        self.works.push(Box::pin(async move {
            drop(handle.cluster().proposer().ask(command).await);
            Done::Asked
        }));
    }

    /// How many calls the trunk carries now, as the newest copy says.
    fn used(&self) -> u32 {
        let alive = self.members.alive();
        let newest = alive.iter().max_by_key(|node| node.cluster().status().applied);
        newest.map_or(0, |node| node.cluster().read(|state| state.calls().len()) as u32)
    }

    fn peer(&self, place: usize) -> IpAddr {
        match place.checked_sub(self.plan.callers.len()) {
            None => plan::caller(place).ip(),
            Some(place) => plan::callee(place).ip(),
        }
    }

    /// An operator whose word was lost says again who takes homes.
    pub fn resume_drained(&mut self) {
        let drained = |state: &cluster::State| -> Vec<call::NodeId> {
            state.nodes().filter(|(_, node)| node.drained.is_some()).map(|(id, _)| id).collect()
        };
        let first = self.members.alive().into_iter().next();
        let drained = first.map(|node| node.cluster().read(drained)).unwrap_or_default();
        drained.into_iter().for_each(|node| self.ask(Command::Resume(node)));
    }

    /// All is mended: whatever was cut, stopped or filled is so no more, and everybody starts again.
    pub fn calm(&mut self) {
        self.world.links.heal_all();
        for node in self.members.ids() {
            if let Some(disk) = self.members.disk(node) {
                disk.set_full(false);
                disk.set_pace(None);
                disk.set_unreadable(false);
                LANES.into_iter().for_each(|lane| disk.fail_next(lane, None));
            }
            if let Some(life) = self.members.life(node) {
                life.go_on();
            }
            self.start(node);
            self.ask(Command::Resume(call::NodeId(node)));
        }
        self.put(None);
    }
}

/// Who holds the first home, as a node knows.
fn holder(node: &NodeHandle) -> Option<u64> {
    node.cluster().read(|state| {
        let floating = state.homes().find_map(|(_, home)| home.floating().and(home.holder));
        let held = floating.or_else(|| state.homes().find_map(|(_, home)| home.holder));
        held.map(|node| node.0)
    })
}

/// Which writes of a disk fail: those of the log, or those of all else.
const fn lane_of(fault: &Fault) -> env::Lane {
    LANES[(fault.amount & 1) as usize]
}

const LANES: [env::Lane; 2] = [env::Lane::Log, env::Lane::Bulk];
/// Between two looks of the invariants.
const LOOK: Duration = Duration::from_millis(5);
const BURY_EVERY: u64 = 20;
/// After how long a process that failed is started again.
const AGAIN: Duration = Duration::from_millis(500);
/// How long a node that is told to stop waits for its homes to move: longer than anything here goes wrong.
const DRAIN_MAX: Duration = Duration::from_secs(20);

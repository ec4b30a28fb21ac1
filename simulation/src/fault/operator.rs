//! Errands of an operator: nodes join, are drained and removed, are replaced when their disk is gone. Each order is
//! given again until somebody grants it, as people do; one errand at a time.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use call::NodeId;
use cluster::{APPLY_VERSION, Refused};
use env::{Clock as _, Disk as _};
use node::{MemberError, NodeHandle, StartError};

use super::works::{Done, Site};
use super::{Fault, Kind};
use crate::plan;
use crate::scenario::config;

/// What an operator is about.
pub(super) struct Errand {
    kind: Kind,
    node: u64,
    steps: VecDeque<Step>,
}

/// A part of an errand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The node does not start: its log is damaged.
    Refusal,
    /// It is drained, then removed.
    Remove,
    /// It is dead, and is removed by force.
    Force,
    /// Its machine gets an empty disk, and a file that names no peers.
    SetUp,
    /// It joins, through any other node.
    Join,
}

impl Site<'_> {
    /// An operator sets out, if he is not out already; or something happens to a machine that keeps him busy.
    pub(super) fn set_out(&mut self, place: usize, fault: &Fault, victim: Option<u64>) {
        use Step::{Force, Join, Refusal, Remove, SetUp};
        if self.errand.is_some() {
            return;
        }
        let known = victim.filter(|node| self.members.ids().contains(node));
        let (node, steps) = match (fault.kind, known) {
            (Kind::MemberAdded, _) => {
                let ids = self.members.ids();
                let next = 1 + ids.iter().copied().max().unwrap_or_default().max(self.plan.nodes);
                if ids.len() as u64 >= self.plan.nodes + GUESTS_MAX {
                    return;
                }
                self.met.insert(place, vec![next]);
                (next, vec![SetUp, Join])
            }
            (Kind::MemberRemoved, Some(node)) => (node, vec![Remove, SetUp, Join]),
            (Kind::ForcedRemoval | Kind::DiskLost, Some(node)) => {
                self.members.kill(self.world, node);
                self.members.hold(node, true);
                (node, vec![Force, SetUp, Join])
            }
            (Kind::BitFlip, Some(node)) => {
                self.members.kill(self.world, node);
                if !self.flip(node) {
                    return self.start(node);
                }
                self.start(node);
                (node, vec![Refusal, Force, SetUp, Join])
            }
            _ => return,
        };
        self.errand = Some(Errand { kind: fault.kind, node, steps: steps.into() });
        self.go_about();
    }

    /// A node that was added goes again, if the operator has time.
    pub(super) fn send_away(&mut self, node: u64) {
        if self.errand.is_none() && self.members.ids().contains(&node) {
            self.errand = Some(Errand { kind: Kind::MemberRemoved, node, steps: [Step::Remove].into() });
            self.go_about();
        }
    }

    /// A bit of a log flips.
    fn flip(&mut self, node: u64) -> bool {
        let Some(disk) = self.members.disk(node) else { return false };
        let files = disk.list().unwrap_or_default();
        let logs: Vec<String> =
            files.into_iter().map(|file| file.name).filter(|name| name.starts_with("log-")).collect();
        let Some(file) = logs.get(self.rng.below(logs.len().max(1) as u64) as usize) else { return false };
        let Some((file, at)) = disk.flip(file, &mut self.rng) else { return false };
        let what = format!("a bit of node {node}'s {file} flips at byte {at}");
        self.world.trace.note(self.world.clock.now(), &what);
        true
    }

    /// The next step of the errand, if there is one.
    fn go_about(&mut self) {
        let Some(errand) = &self.errand else { return };
        let (node, step) = (errand.node, errand.steps.front().copied());
        match step {
            None => self.errand = None,
            Some(Step::Refusal) => {}
            Some(Step::SetUp) => {
                let known = self.members.config(node).cloned();
                let mut config = known.unwrap_or_else(|| config(self.plan, node));
                config.supports = APPLY_VERSION;
                self.members.set_up(self.world, links(node), config);
                self.start(node);
                self.done_with();
            }
            Some(step @ (Step::Remove | Step::Force | Step::Join)) => self.order(node, step),
        }
    }

    /// Gives an order to some node.
    fn order(&mut self, node: u64, step: Step) {
        let mut others = self.members.alive();
        others.retain(|other| {
            let id = other.cluster().node().0;
            id != node && self.members.life(id).is_some_and(|life| !life.is_halted())
        });
        let asked = match others.len() as u64 {
            0 => None,
            count => Some(others.swap_remove(self.rng.below(count) as usize)),
        };
        let alive = self.members.alive();
        let newest = alive.into_iter().max_by_key(|node| node.cluster().status().applied);
        let (leaving, clock) = (self.members.handle(node).cloned(), self.world.clock.clone());
        self.works.push(Box::pin(async move {
            let granted = match &asked {
                Some(asked) => granted(asked, node, step, (leaving, newest)).await,
                None => Err("nobody is there to take the order".to_owned()),
            };
            if granted.is_err() {
                clock.sleep_until(clock.now() + AGAIN).await;
            }
            Done::Ordered(granted)
        }));
    }

    /// An order was granted, or is given again.
    pub(super) fn ordered(&mut self, granted: Result<(), String>) {
        let Some(errand) = &self.errand else { return };
        let (node, kind, step) = (errand.node, errand.kind, errand.steps.front().copied());
        let said = match &granted {
            Ok(()) => format!("operator: {step:?} of node {node}: done"),
            Err(why) => format!("operator: {step:?} of node {node}: {why}"),
        };
        self.world.trace.note(self.world.clock.now(), &said);
        if granted.is_ok() {
            match step {
                Some(Step::Remove) => {
                    self.world.effects.count(Kind::MemberRemoved);
                    self.members.take_away(self.world, node);
                }
                Some(Step::Force) => {
                    self.world.effects.count(Kind::ForcedRemoval);
                    self.members.take_away(self.world, node);
                }
                Some(Step::Join) => {
                    self.world.effects.count(Kind::MemberAdded);
                    if kind == Kind::DiskLost {
                        self.world.effects.count(kind);
                    }
                }
                Some(Step::SetUp | Step::Refusal) | None => {}
            }
            return self.done_with();
        }
        // Calls whose parties may not be told keep it where it is until they end: the operator lets it be.
        let waits = step == Some(Step::Remove) && self.world.clock.now() >= plan::CALM;
        if waits && granted.is_err_and(|why| why.contains("still holds")) {
            self.errand = None;
            return self.resume(node);
        }
        self.go_about();
    }

    fn resume(&mut self, node: u64) {
        self.ask(cluster::Command::Resume(NodeId(node)));
    }

    fn done_with(&mut self) {
        if let Some(errand) = self.errand.as_mut() {
            errand.steps.pop_front();
        }
        self.go_about();
    }

    /// A node has started, of whatever program.
    pub(super) fn has_started(&mut self, node: u64) {
        let flipped = |errand: &Errand| errand.node == node && errand.steps.front() == Some(&Step::Refusal);
        if self.errand.as_ref().is_some_and(flipped) {
            let found = format!("node {node} starts, and a bit of its log is another than it wrote");
            self.oracle.found(self.world.clock.now(), DAMAGED, found);
            self.errand = None;
        }
        if self.older.contains(&node) {
            self.world.effects.count(Kind::OldProgram);
        }
    }

    /// A node does not start; gives whether that was to be expected, and is seen to.
    pub(super) fn does_not_start(&mut self, node: u64, error: &StartError) -> bool {
        let said = error.to_string();
        let flipped = |errand: &Errand| errand.node == node && errand.steps.front() == Some(&Step::Refusal);
        if self.errand.as_ref().is_some_and(flipped) && said.contains("damaged") {
            if !said.contains("restore this node") {
                let found = format!("node {node} does not say what to do: {said}");
                self.oracle.found(self.world.clock.now(), DAMAGED, found);
            }
            self.world.effects.count(Kind::BitFlip);
            self.members.kill(self.world, node);
            self.members.hold(node, true);
            self.done_with();
            return true;
        }
        let too_old = |error: &StartError| {
            matches!(error, StartError::Cluster(cluster::OpenError::Refused(Refused::TooOld { .. })))
        };
        if too_old(error) && self.older.remove(&node) {
            self.world.effects.count(Kind::OldProgram);
            self.members.set_program(node, APPLY_VERSION);
        }
        false
    }

    /// The next node of the older program is told to stop, and its next life is of the newer.
    pub(super) fn upgrade(&mut self) {
        let is_old = |node: &u64| self.members.config(*node).is_some_and(|it| it.supports < APPLY_VERSION);
        let next = self.members.up().into_iter().find(|node| is_old(node) && !self.older.contains(node));
        if let Some(node) = next.filter(|node| self.members.handle(*node).is_some()) {
            self.members.set_program(node, APPLY_VERSION);
            self.end_in_order(node, Kind::RollingUpgrade);
        }
    }

    /// A node comes back with an older program.
    pub(super) fn downgrade(&mut self, place: usize, node: u64) {
        if !self.members.is_held(node) && self.members.kill(self.world, node) {
            self.members.set_program(node, APPLY_VERSION - 1);
            self.older.insert(node);
            self.met.insert(place, vec![node]);
            self.start(node);
        }
    }

    /// And gets the newer one back.
    pub(super) fn upgrade_again(&mut self, node: u64) {
        if self.older.remove(&node) {
            self.members.set_program(node, APPLY_VERSION);
            self.end_in_order(node, Kind::Restart);
        }
    }
}

/// What becomes of an order.
async fn granted(
    asked: &NodeHandle,
    node: u64,
    step: Step,
    (leaving, newest): (Option<NodeHandle>, Option<NodeHandle>),
) -> Result<(), String> {
    let id = NodeId(node);
    let done = match step {
        Step::Remove => match asked.drain_node(id).await {
            Ok(()) | Err(MemberError::Unknown(_)) => asked.remove(id, false).await,
            Err(error) => Err(error),
        },
        Step::Force => asked.remove(id, true).await,
        Step::Join => asked.join(id, links(node)).await.map(drop),
        Step::Refusal | Step::SetUp => Ok(()),
    };
    match done {
        Ok(()) => {}
        // Granted before, and not heard; or whoever was asked has not heard of that node yet.
        Err(MemberError::Unknown(_)) if step != Step::Join && newest.is_some_and(|it| is_gone(&it, id)) => {}
        Err(error) => return Err(error.to_string()),
    }
    if let (Step::Remove, Some(leaving)) = (step, leaving) {
        // It ends by itself once it knows; one that was killed meanwhile does not.
        drop(tokio::time::timeout(LEAVES_WITHIN, leaving.removed()).await);
    }
    Ok(())
}

/// Whether a node is no member, as far as this one knows.
fn is_gone(newest: &NodeHandle, node: NodeId) -> bool {
    let is_member = newest.cluster().status().members.iter().any(|member| member.node == node);
    !is_member && newest.cluster().read(|state| state.node(node).is_none())
}

/// Where other nodes find a node.
fn links(node: u64) -> SocketAddr {
    SocketAddr::new(plan::node(node), 7000)
}

const DAMAGED: &str = "I-31 a damaged log is refused, with its reason";
/// How many nodes there are at most beyond those that found the cluster.
const GUESTS_MAX: u64 = 2;
const AGAIN: Duration = Duration::from_millis(300);
const LEAVES_WITHIN: Duration = Duration::from_secs(8);

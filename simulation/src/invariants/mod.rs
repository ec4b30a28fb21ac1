//! What must always hold, a file per invariant. Each sees every datagram as it leaves and looks at all living
//! nodes every few milliseconds; the first breach of each is kept.

mod acknowledged;
mod billing;
mod bindings;
mod cdrs;
mod claimants;
mod credentials;
mod digests;
mod drained;
mod durable;
mod early;
mod finals;
mod flows;
mod forward;
mod interfaces;
mod leaders;
mod leases;
mod limits;
mod minority;
mod offers;
mod promises;
mod redirects;
mod refusals;
mod registrants;
mod rehomed;
mod sequence;
mod slots;
mod speakers;
mod strangers;
pub mod talk;
mod versions;
mod windows;
mod written;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use call::CallRecord;
use cluster::State;
use machine::Instant;
use node::NodeHandle;

use crate::accounts::{self, Settled};
use crate::fault::Kind;
use crate::frames::Links;
use crate::letter::{Letter, number_in};
use crate::life::Life;
use crate::network::Way;
use crate::plan::{self, Plan};
use crate::trace::Trace;
use crate::world::World;

pub use acknowledged::Acknowledged;
pub use billing::NoNegativeBill;
pub use bindings::Bound;
pub use cdrs::OneCdrPerCall;
pub use claimants::OneClaimant;
pub use credentials::NoLeak;
pub use digests::EqualDigests;
pub use drained::DrainedIsEmpty;
pub use durable::OnDisks;
pub use early::NothingEarly;
pub use finals::OneFinal;
pub use flows::NewFlow;
pub use forward::OnlyForward;
pub use interfaces::OneInterface;
pub use leaders::OneLeader;
pub use leases::NoLongLease;
pub use limits::Limits;
pub use minority::MuteMinority;
pub use offers::OneOffer;
pub use promises::judge;
pub use redirects::Redirected;
pub use refusals::NoFalseRefusal;
pub use registrants::{Forged, OneRegistrant, Registered};
pub use rehomed::Rehomed;
pub use sequence::Sequence;
pub use slots::Slots;
pub use speakers::OneSpeaker;
pub use strangers::DeafToStrangers;
pub use versions::Understood;
pub use windows::CountedOnce;
pub use written::CdrsWritten;

/// A datagram that leaves.
#[derive(Clone, Copy)]
pub struct Sent<'a> {
    /// When.
    pub at: Instant,
    /// Whose it is.
    pub life: &'a Life,
    /// From where.
    pub from: SocketAddr,
    /// To where.
    pub to: SocketAddr,
    /// On which connection, if on one.
    pub line: Option<u64>,
    /// What it says.
    pub bytes: &'a [u8],
    /// The same, if it is SIP.
    pub letter: Option<Letter<'a>>,
    /// The nodes, as they were at the last look.
    pub nodes: &'a [NodeHandle],
}

/// A look at the world between two steps.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// When.
    pub at: Instant,
    /// The nodes that are up.
    pub nodes: &'a [NodeHandle],
    /// Those of them whose copy has moved on since the last look.
    pub moved: &'a [NodeHandle],
    /// The ids of those that are up or starting, and not halted.
    pub up: &'a [u64],
    /// Their links.
    pub links: &'a Links,
}

/// Something that must always hold.
pub trait Invariant: Send {
    /// Its number and its sentence.
    fn clause(&self) -> &'static str;
    /// A datagram leaves; gives what is wrong with that.
    fn sent(&mut self, sent: &Sent<'_>) -> Option<String> {
        let _ = sent;
        None
    }
    /// Looks at the living nodes, between two steps; gives what is wrong.
    fn look(&mut self, view: &View<'_>) -> Option<String> {
        let _ = view;
        None
    }
    /// All is over and quiet; gives what is wrong.
    fn end(&mut self, view: &View<'_>) -> Option<String> {
        self.look(view)
    }
}

/// Which call a record is of.
pub(crate) fn number_of(record: &CallRecord) -> Option<u32> {
    number_in(record.admit.facts.to.as_bytes())
}

/// A call's record in a copy of the state.
pub(crate) fn record_of(state: &State, number: u32) -> Option<&CallRecord> {
    state.calls().map(|record| &**record).find(|record| number_of(record) == Some(number))
}

/// How far each node's copy had come at the last look. One that moves on by several entries at once hides what was true
/// between them: a limit that was lowered and raised again.
#[derive(Debug, Default)]
pub(crate) struct Leaps(BTreeMap<u64, u64>);

impl Leaps {
    /// Whether a copy has come further by more than a look can follow.
    pub(crate) fn leapt(&mut self, node: u64, applied: u64) -> bool {
        let before = self.0.insert(node, applied).unwrap_or(0);
        applied.saturating_sub(before) > 2
    }
}

/// A breach of an invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// When it was seen.
    pub at: Instant,
    /// After how many steps of the trace.
    pub step: u64,
    /// Which invariant.
    pub clause: &'static str,
    /// What was seen.
    pub found: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ms, us) = (self.at.as_nanos() / 1_000_000, self.at.as_nanos() / 1_000 % 1_000);
        write!(f, "step {}, {ms}.{us:03} ms: {}: {}", self.step, self.clause, self.found)
    }
}

/// Keeps watch over all invariants of a run.
pub struct Oracle(Mutex<Watch>);

struct Watch {
    invariants: Vec<Box<dyn Invariant>>,
    violations: Vec<Violation>,
    nodes: Vec<NodeHandle>,
    trace: Arc<Trace>,
    /// Up to where each node's copy was looked at.
    seen: BTreeMap<u64, u64>,
}

impl Watch {
    /// Takes the nodes as they are now; gives those whose copy has changed.
    fn move_on(&mut self, nodes: &[NodeHandle]) -> Vec<NodeHandle> {
        self.nodes = nodes.to_vec();
        self.seen.retain(|id, _| nodes.iter().any(|node| node.cluster().node().0 == *id));
        let seen = &mut self.seen;
        let moved = nodes.iter().filter(|node| {
            let applied = node.cluster().status().applied;
            seen.insert(node.cluster().node().0, applied) != Some(applied)
        });
        moved.cloned().collect()
    }

    fn ask(&mut self, at: Instant, mut ask: impl FnMut(&mut dyn Invariant) -> Option<String>) {
        let Watch { invariants, violations, trace, .. } = self;
        for invariant in invariants {
            let clause = invariant.clause();
            if let Some(found) = ask(&mut **invariant)
                && !violations.iter().any(|known| known.clause == clause)
            {
                violations.push(Violation { at, step: trace.steps(), clause, found });
            }
        }
    }
}

impl Oracle {
    /// Watches over these, in a world that keeps this record.
    pub fn new(invariants: Vec<Box<dyn Invariant>>, trace: Arc<Trace>) -> Oracle {
        Oracle(Mutex::new(Watch {
            invariants,
            violations: Vec::new(),
            nodes: Vec::new(),
            trace,
            seen: BTreeMap::new(),
        }))
    }

    /// A datagram leaves.
    pub fn sent(&self, at: Instant, life: &Life, way: Way, bytes: &[u8]) {
        let mut watch = self.lock();
        let nodes = std::mem::take(&mut watch.nodes);
        let letter = Letter::read(bytes);
        let Way { from, to, line } = way;
        let sent = Sent { at, life, from, to, line, bytes, letter, nodes: &nodes };
        watch.ask(at, |it| it.sent(&sent));
        watch.nodes = nodes;
    }

    /// Looks at the living nodes.
    pub fn look(&self, view: &View<'_>) {
        let mut watch = self.lock();
        let moved = watch.move_on(view.nodes);
        let view = View { moved: &moved, ..*view };
        watch.ask(view.at, |it| it.look(&view));
    }

    /// Something else is wrong.
    pub fn found(&self, at: Instant, clause: &'static str, found: String) {
        let mut watch = self.lock();
        let violation = Violation { at, step: watch.trace.steps(), clause, found };
        if !watch.violations.iter().any(|known| known.clause == clause) {
            watch.violations.push(violation);
        }
    }

    /// Whether anything was wrong so far.
    pub fn is_content(&self) -> bool {
        self.lock().violations.is_empty()
    }

    /// All is over; gives the first breach of each invariant.
    pub fn end(&self, view: &View<'_>) -> Vec<Violation> {
        let mut watch = self.lock();
        let view = View { moved: view.nodes, ..*view };
        watch.ask(view.at, |it| it.end(&view));
        watch.violations.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Watch> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

/// All that is watched in a world step by step in a run of this plan, where leases last half of `detect`.
pub fn all(plan: &Plan, detect: Duration, world: &World) -> Vec<Box<dyn Invariant>> {
    let effects = &world.effects;
    let homes: Vec<IpAddr> = (0..plan.homes).map(plan::home).collect();
    let mut all: Vec<Box<dyn Invariant>> = vec![
        Box::new(Limits::default()),
        Box::new(Slots::default()),
        Box::new(CountedOnce::default()),
        Box::new(NoFalseRefusal::new(effects.clone())),
        Box::new(OneSpeaker::new(homes.clone())),
        Box::new(OneClaimant),
        Box::new(NoLongLease::new(detect / 2)),
        Box::new(MuteMinority::new(homes, detect / 2, effects.clone())),
        Box::new(NothingEarly::new(effects.clone())),
        Box::new(Sequence::new(effects.clone())),
        Box::new(OneFinal::new(effects.clone())),
        Box::new(Acknowledged::new(effects.clone())),
        Box::new(OneOffer::new(effects.clone())),
        Box::new(OneCdrPerCall::default()),
        Box::new(NoNegativeBill),
        Box::new(NewFlow::new(effects.clone())),
        Box::new(CdrsWritten),
        Box::new(Rehomed::new(plan, effects.clone())),
        Box::new(EqualDigests::default()),
        Box::new(OnlyForward::default()),
        Box::new(DrainedIsEmpty::default()),
        Box::new(OneLeader::default()),
        Box::new(OnDisks::new(plan)),
        Box::new(OneInterface::new(world.guards.clone())),
        Box::new(Understood),
    ];
    // In worlds with accounts others send calls to where somebody is registered; nobody redirects there.
    if plan.variety.accounts.is_none() {
        all.push(Box::new(Redirected::new(plan, effects.clone())));
    }
    all
}

/// What is watched beside in a world with accounts.
pub fn of_accounts(plan: &Plan, settled: &Settled, world: &World) -> Vec<Box<dyn Invariant>> {
    let Settled { accounts, registrar, desk } = settled;
    let effects = world.effects.clone();
    let forged = Forged(Box::new(move || effects.counts().contains_key(&Kind::Corruption)));
    let from = accounts::settled(plan, accounts);
    let mut all: Vec<Box<dyn Invariant>> = vec![
        Box::new(OneRegistrant::default()),
        Box::new(Registered::new(registrar.clone(), *accounts, from, forged)),
        Box::new(NoLeak::new(plan, accounts)),
        Box::new(DeafToStrangers),
    ];
    all.extend(desk.iter().map(|desk| Box::new(Bound::new(desk.clone())) as Box<dyn Invariant>));
    all
}

//! What must always hold, a file per invariant. Each sees every datagram as it leaves and looks at all living
//! nodes every few milliseconds; the first breach of each is kept.

mod cdrs;
mod digests;
mod limits;
mod speakers;

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard};

use machine::Instant;
use node::NodeHandle;

use crate::life::Life;

pub use cdrs::OneCdrPerCall;
pub use digests::EqualDigests;
pub use limits::Limits;
pub use speakers::OneSpeaker;

/// A datagram that leaves.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'a> {
    /// When.
    pub at: Instant,
    /// Whose it is.
    pub life: &'a Life,
    /// From where.
    pub from: SocketAddr,
    /// To where.
    pub to: SocketAddr,
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
    fn look(&mut self, nodes: &[NodeHandle]) -> Option<String> {
        let _ = nodes;
        None
    }
    /// All is over and quiet; gives what is wrong.
    fn end(&mut self, nodes: &[NodeHandle]) -> Option<String> {
        self.look(nodes)
    }
}

/// A breach of an invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// When it was seen.
    pub at: Instant,
    /// Which invariant.
    pub clause: &'static str,
    /// What was seen.
    pub found: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ms, us) = (self.at.as_nanos() / 1_000_000, self.at.as_nanos() / 1_000 % 1_000);
        write!(f, "{ms}.{us:03} ms: {}: {}", self.clause, self.found)
    }
}

/// Keeps watch over all invariants of a run.
pub struct Oracle(Mutex<Watch>);

struct Watch {
    invariants: Vec<Box<dyn Invariant>>,
    violations: Vec<Violation>,
}

impl Watch {
    fn ask(&mut self, at: Instant, mut ask: impl FnMut(&mut dyn Invariant) -> Option<String>) {
        for invariant in &mut self.invariants {
            let clause = invariant.clause();
            if let Some(found) = ask(&mut **invariant)
                && !self.violations.iter().any(|known| known.clause == clause)
            {
                self.violations.push(Violation { at, clause, found });
            }
        }
    }
}

impl Oracle {
    /// Watches over these.
    pub fn new(invariants: Vec<Box<dyn Invariant>>) -> Oracle {
        Oracle(Mutex::new(Watch { invariants, violations: Vec::new() }))
    }

    /// A datagram leaves.
    pub fn sent(&self, sent: &Sent<'_>) {
        self.lock().ask(sent.at, |it| it.sent(sent));
    }

    /// Looks at the living nodes.
    pub fn look(&self, now: Instant, nodes: &[NodeHandle]) {
        self.lock().ask(now, |it| it.look(nodes));
    }

    /// All is over; gives the first breach of each invariant.
    pub fn end(&self, now: Instant, nodes: &[NodeHandle]) -> Vec<Violation> {
        let mut watch = self.lock();
        watch.ask(now, |it| it.end(nodes));
        watch.violations.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Watch> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

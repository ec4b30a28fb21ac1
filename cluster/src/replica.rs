//! This node's copy of the state, and who hears of its changes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use call::NodeId;
use env::Clock;
use machine::{ClusterTime, Instant};

use crate::command::{Batch, Command, Outcome, Stamped, Verdict};
use crate::projection::Projection;
use crate::proposer::Proposer;
use crate::state::{Delta, State};

/// Hears what became of this node's proposals and of the state. Called in the log's order, one call at a
/// time, on the thread that applies; it passes on and does not wait.
pub trait Applied: Send + 'static {
    /// A batch of this node's was applied: an outcome per command.
    fn outcomes(&mut self, batch: &Batch, outcomes: Vec<Outcome>);

    /// A batch of some node's, at this index of the log, changed the state.
    fn deltas(&mut self, index: u64, deltas: &[Delta]) {
        let _ = (index, deltas);
    }

    /// The state is another one, as of this index: this node was far behind, and got a snapshot. No deltas
    /// tell of what changed in between.
    fn replaced(&mut self, index: u64) {
        let _ = index;
    }

    /// A batch of this node's was applied, and what came of it can't be known any more, because it reached
    /// this node in a snapshot. The state says what is.
    fn unknown(&mut self, batch: &Batch) {
        let _ = batch;
    }

    /// Another process has taken this node's name: it must not speak any more.
    fn fenced(&mut self) {}
}

/// The state and its audience.
pub(crate) struct Replica {
    node: NodeId,
    state: Mutex<State>,
    audience: Mutex<Audience>,
    proposer: Proposer,
    projection: Arc<Projection>,
    /// Whether this process has booted: what is applied before is history.
    live: AtomicBool,
    applied: AtomicU64,
    /// The term of the last entry that was applied.
    term: AtomicU64,
    clock: Arc<dyn Clock>,
    /// The time on the last batch, and when it was applied.
    heard: Mutex<(ClusterTime, Instant)>,
}

struct Audience {
    sink: Box<dyn Applied>,
    /// Used again from batch to batch.
    deltas: Vec<Delta>,
}

impl Replica {
    pub(crate) fn new(
        node: NodeId,
        clock: Arc<dyn Clock>,
        state: State,
        sink: Box<dyn Applied>,
        proposer: Proposer,
        projection: Arc<Projection>,
    ) -> Replica {
        let heard = Mutex::new((state.time(), clock.now()));
        let replica = Replica {
            node,
            clock,
            heard,
            state: Mutex::new(state),
            audience: Mutex::new(Audience { sink, deltas: Vec::new() }),
            proposer,
            projection,
            live: AtomicBool::new(false),
            applied: AtomicU64::new(0),
            term: AtomicU64::new(0),
        };
        replica.take_over_cdrs();
        replica
    }

    /// Looks at the state.
    pub(crate) fn read<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The CDR files.
    pub(crate) fn projection(&self) -> &Arc<Projection> {
        &self.projection
    }

    /// The term of the last entry that was applied.
    pub(crate) fn term(&self) -> u64 {
        self.term.load(Ordering::Relaxed)
    }

    /// The entries from here on are of this term.
    pub(crate) fn enter_term(&self, term: u64) {
        if self.term.swap(term, Ordering::Relaxed) != term {
            self.state.lock().unwrap_or_else(PoisonError::into_inner).enter_term(term);
        }
    }

    /// Puts another state in place: a snapshot's, taken at this index in this term.
    pub(crate) fn replace(&self, (term, index): (u64, u64), mut state: State) {
        state.enter_term(term);
        self.term.store(term, Ordering::Relaxed);
        let mut audience = self.audience.lock().unwrap_or_else(PoisonError::into_inner);
        self.hear(state.time());
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
        self.applied.store(index, Ordering::Relaxed);
        self.take_over_cdrs();
        if self.live.load(Ordering::Relaxed) {
            audience.sink.replaced(index);
        }
        // What is under way may be in it: sent once more, it comes back as a repetition.
        self.proposer.retry(self.clock.now());
    }

    /// CDRs of a state that came whole, not yet on enough disks: before the first that follows on it.
    fn take_over_cdrs(&self) {
        self.read(|state| state.cdrs().for_each(|(number, cdr)| self.projection.add(number, cdr)));
    }

    /// The index of the last batch that was applied.
    pub(crate) fn applied(&self) -> u64 {
        self.applied.load(Ordering::Relaxed)
    }

    /// The cluster's time on the last batch that was applied, and when it was.
    pub(crate) fn heard(&self) -> (ClusterTime, Instant) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, time: ClusterTime) {
        let now = self.clock.now();
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if time > heard.0 {
            *heard = (time, now);
        }
    }

    /// Applies a committed batch and tells everyone.
    pub(crate) fn apply(&self, index: u64, term: u64, stamped: &Stamped) {
        let mut audience = self.audience.lock().unwrap_or_else(PoisonError::into_inner);
        let Audience { sink, deltas } = &mut *audience;
        deltas.clear();
        // The lock on the state is let go before anyone is told, so that they may look at it.
        let verdict = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.enter_term(term);
            match (state.apply(stamped, deltas), stamped.batch.commands.as_slice()) {
                // This process's Boot was in a snapshot: nobody heard what came of it.
                (Verdict::Repeated, [Command::Boot(boot)]) if self.proposer.is_booting(&stamped.batch) => {
                    state
                        .booted(self.node, boot.nonce)
                        .map_or(Verdict::Repeated, |booted| Verdict::Applied(vec![Outcome::Booted(booted)]))
                }
                (verdict, _) => verdict,
            }
        };
        self.applied.store(index, Ordering::Relaxed);
        self.hear(stamped.time);
        let batch = &stamped.batch;
        if batch.node == self.node && !self.live.load(Ordering::Relaxed) {
            self.wake_up(batch, &verdict);
        }
        // Also those made while this process was away: two others may have them, but a user asks one node.
        for delta in deltas.iter() {
            if let Delta::Cdr(number, cdr) = delta {
                self.projection.add(*number, cdr);
            }
        }
        if self.live.load(Ordering::Relaxed) {
            sink.deltas(index, deltas);
        }
        if batch.node == self.node {
            if verdict == Verdict::Repeated && self.proposer.forget(batch) {
                sink.unknown(batch);
            }
            let was_fenced = self.proposer.is_fenced();
            if let Some(outcomes) = self.proposer.applied(batch, verdict) {
                sink.outcomes(batch, outcomes);
            } else if !was_fenced && self.proposer.is_fenced() {
                sink.fenced();
            }
        }
        deltas.clear();
    }

    /// From this process's own Boot on, it is part of the cluster.
    fn wake_up(&self, batch: &Batch, verdict: &Verdict) {
        let ([Command::Boot(_)], Verdict::Applied(outcomes)) = (batch.commands.as_slice(), verdict) else {
            return;
        };
        let [Outcome::Booted(_)] = outcomes.as_slice() else { return };
        if self.proposer.is_booting(batch) {
            self.live.store(true, Ordering::Relaxed);
        }
    }
}

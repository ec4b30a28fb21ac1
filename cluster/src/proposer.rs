//! A node's ordered stream of proposals: commands gather into batches, one batch is under way at a time, and
//! none is ever given up. What is not acknowledged is sent again, in order, until it is applied; `apply`
//! knows a repeated batch by its number.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use call::{CallCommand, CallId, Epoch, HomeId, Incarnation, NodeId};
use env::Clock;
use futures::channel::oneshot;
use machine::{ClusterTime, Instant};
use tokio::sync::Notify;

use crate::command::{Batch, Command, Outcome, Stamped, Verdict};

/// How long a command may wait for company.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Somebody waits for it.
    Urgent,
    /// It rides along, at most [`Pace::lazy`] later.
    Lazy,
}

/// When batches are sent.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The least time between two batches under load; a batch after a pause goes at once.
    pub interval: Duration,
    /// From this many commands in a batch on, the interval doubles: a crowd shares its writes.
    pub crowd: usize,
    /// The longest that a lazy command waits.
    pub lazy: Duration,
    /// When a batch without an answer is sent again the first time; the pause doubles up to 16 times this.
    pub resend: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            interval: Duration::from_micros(1000),
            crowd: 4,
            lazy: Duration::from_millis(20),
            resend: Duration::from_millis(500),
        }
    }
}

/// How much is waiting to be committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Commands proposed and not applied.
    pub commands: usize,
    /// How long the batch under way has been so.
    pub oldest: Duration,
}

/// Takes a node's proposals. Cheap to clone; all clones feed one stream.
#[derive(Clone)]
pub struct Proposer {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    pace: Pace,
    wake: Notify,
    stream: Mutex<Stream>,
}

/// Somebody who wants the outcome of one command for himself.
type Ask = (usize, oneshot::Sender<Outcome>);

struct Stream {
    node: NodeId,
    incarnation: Incarnation,
    seq: u64,
    open: Vec<Command>,
    asks: Vec<Ask>,
    urgent: bool,
    opened_at: Instant,
    under_way: Option<UnderWay>,
    sent_at: Instant,
    /// Whether the last batch was a crowd.
    crowded: bool,
    /// Another process has this node's name now: nothing is sent any more.
    fenced: bool,
}

struct UnderWay {
    stamped: Arc<Stamped>,
    asks: Vec<Ask>,
    since: Instant,
    resend_at: Instant,
    resends: u32,
}

/// What the sender of batches does next.
pub(crate) enum Step {
    /// Hand this to the leader.
    Send(Arc<Stamped>),
    /// Look again then, or when woken.
    Wait(Instant),
    /// Look again when woken.
    Idle,
}

impl Proposer {
    pub(crate) fn new(clock: Arc<dyn Clock>, pace: Pace, node: NodeId) -> Proposer {
        let stream = Stream {
            node,
            incarnation: Incarnation(0),
            seq: 0,
            open: Vec::new(),
            asks: Vec::new(),
            urgent: false,
            opened_at: Instant::ZERO,
            under_way: None,
            sent_at: Instant::ZERO,
            crowded: false,
            fenced: false,
        };
        Proposer { shared: Arc::new(Shared { clock, pace, wake: Notify::new(), stream: Mutex::new(stream) }) }
    }

    /// Proposes a call's command. Its outcome comes through [`crate::Applied`], in the order of proposals.
    pub fn propose(&self, home: HomeId, epoch: Epoch, call: CallId, command: CallCommand, urgency: Urgency) {
        self.push(Command::Call { call, home, epoch, command }, urgency, None);
    }

    /// Proposes a command and waits for its outcome; `None` if this process was fenced off meanwhile.
    pub async fn ask(&self, command: Command) -> Option<Outcome> {
        let (tell, told) = oneshot::channel();
        self.push(command, Urgency::Urgent, Some(tell));
        told.await.ok()
    }

    /// Proposes a command whose outcome nobody waits for.
    pub(crate) fn tell(&self, command: Command, urgency: Urgency) {
        self.push(command, urgency, None);
    }

    /// How much is waiting. A node refuses new calls while this is large: the log is slow or full.
    pub fn backlog(&self) -> Backlog {
        let stream = self.lock();
        let (mut commands, mut oldest) = (stream.open.len(), Duration::ZERO);
        if let Some(under_way) = &stream.under_way {
            commands += under_way.stamped.batch.commands.len();
            oldest = self.shared.clock.now().since(under_way.since);
        }
        Backlog { commands, oldest }
    }

    /// Whether another process has taken this node's place.
    pub fn is_fenced(&self) -> bool {
        self.lock().fenced
    }

    /// Whether a batch is the Boot that this process has under way.
    pub(crate) fn is_booting(&self, batch: &Batch) -> bool {
        let stream = self.lock();
        stream.incarnation.0 == 0 && stream.under_way.as_ref().is_some_and(|it| it.stamped.batch == *batch)
    }

    /// Waits until there may be another step.
    pub(crate) async fn woken(&self) {
        self.shared.wake.notified().await;
    }

    /// The next step. `stamp` gives the leader's time.
    pub(crate) fn next(&self, now: Instant, stamp: impl FnOnce() -> ClusterTime) -> Step {
        let (pace, mut stream) = (&self.shared.pace, self.lock());
        if stream.fenced {
            return Step::Idle;
        }
        if let Some(under_way) = &mut stream.under_way {
            if now < under_way.resend_at {
                return Step::Wait(under_way.resend_at);
            }
            under_way.resends = (under_way.resends + 1).min(4);
            under_way.resend_at = now + pace.resend * (1 << under_way.resends);
            return Step::Send(under_way.stamped.clone());
        }
        if stream.open.is_empty() {
            return Step::Idle;
        }
        let due = if stream.urgent {
            stream.sent_at + pace.interval * if stream.crowded { 2 } else { 1 }
        } else {
            stream.opened_at + pace.lazy
        };
        if now < due && stream.sent_at != Instant::ZERO {
            return Step::Wait(due);
        }
        Step::Send(stream.seal(now, pace, stamp()))
    }

    /// Takes the verdict on a batch of this node's. Gives the outcomes that were not asked for personally, or
    /// `None` if the batch is not the one under way.
    pub(crate) fn applied(&self, batch: &Batch, verdict: Verdict) -> Option<Vec<Outcome>> {
        let mut stream = self.lock();
        // The Boots of lives before this one, which the log may still bring, have the same number: none.
        let ours = stream.incarnation == batch.incarnation
            && stream.under_way.as_ref().is_some_and(|it| {
                it.stamped.batch.seq == batch.seq && (batch.incarnation.0 != 0 || it.stamped.batch == *batch)
            });
        let outcomes = match verdict {
            Verdict::Applied(outcomes) if ours => outcomes,
            Verdict::Fenced if ours => {
                // Whoever asked learns it by the closed channel.
                (stream.fenced, stream.under_way) = (true, None);
                stream.open.clear();
                stream.asks.clear();
                return None;
            }
            // A copy of what was applied before; or another life's.
            _ => return None,
        };
        let under_way = stream.under_way.take()?;
        if let [Outcome::Booted(booted)] = outcomes.as_slice() {
            // What is proposed from here on belongs to this life.
            (stream.incarnation, stream.seq) = (booted.incarnation, 0);
        }
        let wake = !stream.open.is_empty();
        drop(stream);
        for (index, ask) in under_way.asks {
            if let Some(outcome) = outcomes.get(index) {
                // Whoever asked may have gone.
                drop(ask.send(outcome.clone()));
            }
        }
        if wake {
            self.shared.wake.notify_one();
        }
        Some(outcomes)
    }

    fn push(&self, command: Command, urgency: Urgency, ask: Option<oneshot::Sender<Outcome>>) {
        let mut stream = self.lock();
        if stream.fenced {
            return;
        }
        let first = stream.open.is_empty();
        if first {
            stream.opened_at = self.shared.clock.now();
        }
        let sooner = urgency == Urgency::Urgent && !stream.urgent;
        stream.urgent |= urgency == Urgency::Urgent;
        if let Some(ask) = ask {
            let index = stream.open.len();
            stream.asks.push((index, ask));
        }
        stream.open.push(command);
        // While a batch is under way its end wakes the sender.
        let wake = (first || sooner) && stream.under_way.is_none();
        drop(stream);
        if wake {
            self.shared.wake.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Stream> {
        self.shared.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream {
    /// Closes the open batch and puts it under way.
    fn seal(&mut self, now: Instant, pace: &Pace, time: ClusterTime) -> Arc<Stamped> {
        // A Boot has no number: it begins the life that counts.
        if self.incarnation.0 != 0 {
            self.seq += 1;
        }
        let rest = if self.open.len() > BATCH_MAX { self.open.split_off(BATCH_MAX) } else { Vec::new() };
        let commands = std::mem::replace(&mut self.open, rest);
        let (mine, later) = std::mem::take(&mut self.asks).into_iter().partition(|(at, _)| *at < BATCH_MAX);
        self.asks = later;
        self.asks.iter_mut().for_each(|(at, _)| *at -= BATCH_MAX);
        self.urgent &= !self.open.is_empty();
        self.crowded = commands.len() >= pace.crowd;
        self.sent_at = now;
        let (node, incarnation, seq) = (self.node, self.incarnation, self.seq);
        let stamped = Arc::new(Stamped { time, batch: Batch { node, incarnation, seq, shard: 0, commands } });
        self.under_way = Some(UnderWay {
            stamped: stamped.clone(),
            asks: mine,
            since: now,
            // Right after an election the first write may find no leader yet.
            resend_at: now + if incarnation.0 == 0 { BOOT_RESEND } else { pace.resend },
            resends: 0,
        });
        stamped
    }
}

/// Commands in one batch: at 8 KiB for an INVITE, a batch stays below 8 MiB.
const BATCH_MAX: usize = 512;
const BOOT_RESEND: Duration = Duration::from_millis(5);

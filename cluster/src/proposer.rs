//! A node's ordered stream of proposals: commands gather into batches, one batch is under way at a time, and
//! none is ever given up. What is not acknowledged is sent again, in order, until it is applied; `apply`
//! knows a repeated batch by its number.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use call::{CallCommand, CallId, Epoch, HomeId, Incarnation, NodeId};
use env::Clock;
use futures::channel::oneshot;
use machine::museum::planted;
use machine::{ClusterTime, Instant};
use tokio::sync::Notify;

use crate::command::{Batch, Command, Outcome, Stamped, Verdict};
use crate::log::{SyncMetrics, SyncSample};

/// How long a command may wait for company.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Somebody waits for it.
    Urgent,
    /// Somebody waits for it, but not for the first word: it looks for company, [`Pace::soon`] at most.
    Soon,
    /// It rides along, at most [`Pace::lazy`] later.
    Lazy,
}

/// When batches are sent.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Below so many commands in a tenth of a second, an urgent one goes as soon as nothing is under way.
    pub quiet: u32,
    /// The least time between two batches above that.
    pub interval: Duration,
    /// From this many commands in a batch on, the interval doubles: a crowd shares its writes.
    pub crowd: usize,
    /// The longest that a command waits which is wanted soon.
    pub soon: Duration,
    /// The longest that a lazy command waits.
    pub lazy: Duration,
    /// When a batch without an answer is sent again the first time; the pause doubles up to 16 times this.
    pub resend: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            quiet: 400,
            interval: Duration::from_micros(1000),
            crowd: 4,
            soon: Duration::from_millis(6),
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
    /// How long batches took from their first sending to `apply`; their commands stand in for bytes.
    commits: SyncMetrics,
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
    wanted_by: Instant,
    under_way: Option<UnderWay>,
    sent_at: Instant,
    /// Whether the last batch was a crowd.
    crowded: bool,
    /// How many commands the tenth of a second that began then has had, and how many the one before it had.
    rate: (Instant, u32, u32),
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
    /// Hand this to the leader; whether it was sent before, and so its time is old.
    Send(Arc<Stamped>, bool),
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
            wanted_by: Instant::ZERO,
            under_way: None,
            sent_at: Instant::ZERO,
            crowded: false,
            rate: (Instant::ZERO, 0, 0),
            fenced: false,
        };
        let (wake, commits, stream) = (Notify::new(), SyncMetrics::default(), Mutex::new(stream));
        Proposer { shared: Arc::new(Shared { clock, pace, wake, commits, stream }) }
    }

    /// Proposes a call's command. Its outcome comes through [`crate::Applied`], in the order of proposals.
    pub fn propose(&self, home: HomeId, epoch: Epoch, call: CallId, command: CallCommand, urgency: Urgency) {
        self.push(Command::Call { call, home, epoch, command }, urgency, None);
    }

    /// Proposes a command and waits for its outcome; `None` if this process was fenced off meanwhile, or was so
    /// far behind that the outcome is lost.
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

    /// How long batches took from their first sending until they were applied here.
    pub(crate) fn commits(&self) -> SyncSample {
        self.shared.commits.sample()
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
            if planted("batch-abandoned") && under_way.stamped.batch.incarnation.0 != 0 {
                (stream.under_way, stream.seq) = (None, stream.seq - 1);
                return Step::Wait(now);
            }
            under_way.resends = (under_way.resends + 1).min(4);
            under_way.resend_at = now + pace.resend * (1 << under_way.resends);
            return Step::Send(under_way.stamped.clone(), true);
        }
        if stream.open.is_empty() {
            return Step::Idle;
        }
        let due = match stream.urgent {
            true if stream.rate.2 < pace.quiet => stream.sent_at,
            true => stream.sent_at + pace.interval * if stream.crowded { 2 } else { 1 },
            // Under load there is company enough, and the next batch is never far.
            false => stream.wanted_by,
        };
        if now < due && stream.sent_at != Instant::ZERO {
            return Step::Wait(due);
        }
        Step::Send(stream.seal(now, pace, stamp()), false)
    }

    /// The batch under way is sent again at `at`, unless it is applied before.
    pub(crate) fn retry(&self, at: Instant) {
        let mut stream = self.lock();
        let Some(under_way) = stream.under_way.as_mut().filter(|it| it.resend_at > at) else { return };
        under_way.resend_at = at;
        drop(stream);
        self.shared.wake.notify_one();
    }

    /// The same, if the batch under way is this one.
    pub(crate) fn refused(&self, incarnation: Incarnation, seq: u64, at: Instant) {
        let is_under_way =
            |it: &UnderWay| (it.stamped.batch.incarnation, it.stamped.batch.seq) == (incarnation, seq);
        if self.lock().under_way.as_ref().is_some_and(is_under_way) {
            self.retry(at);
        }
    }

    /// The batch under way turns out to be applied already, if it is this one: nobody will hear its outcomes.
    pub(crate) fn forget(&self, batch: &Batch) -> bool {
        let mut stream = self.lock();
        let is_this = |it: &UnderWay| {
            (it.stamped.batch.incarnation, it.stamped.batch.seq) == (batch.incarnation, batch.seq)
        };
        if batch.incarnation.0 == 0 || !stream.under_way.as_ref().is_some_and(is_this) {
            return false;
        }
        // Whoever asked learns it by the closed channel.
        stream.under_way = None;
        drop(stream);
        self.shared.wake.notify_one();
        true
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
        self.shared.commits.record(self.shared.clock.now().since(under_way.since), outcomes.len());
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
        let patience = match urgency {
            Urgency::Urgent => Duration::ZERO,
            Urgency::Soon => self.shared.pace.soon,
            Urgency::Lazy => self.shared.pace.lazy,
        };
        let wanted_by = self.shared.clock.now() + patience;
        let sooner = wanted_by < stream.wanted_by || (urgency == Urgency::Urgent && !stream.urgent);
        if first || sooner {
            stream.wanted_by = wanted_by;
        }
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
    /// Counts commands, tenth of a second by tenth of a second.
    fn count(&mut self, now: Instant, commands: usize) {
        let (began, count, before) = &mut self.rate;
        let passed = now.since(*began);
        if passed >= TENTH {
            *before = if passed < TENTH * 2 { *count } else { 0 };
            (*began, *count) = (now, 0);
        }
        *count = count.saturating_add(u32::try_from(commands).unwrap_or(u32::MAX));
    }

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
        self.count(now, commands.len());
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
/// What the load is measured over.
const TENTH: Duration = Duration::from_millis(100);
const BOOT_RESEND: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use machine::WallTime;

    use super::*;
    use crate::command::Booted;

    /// A clock that tests turn.
    #[derive(Default)]
    struct Hand(AtomicU64);

    impl Hand {
        fn turn(&self, us: u64) -> Instant {
            self.0.fetch_add(us * 1000, Ordering::Relaxed);
            self.now()
        }
    }

    impl Clock for Hand {
        fn now(&self) -> Instant {
            Instant::from_nanos(1_000_000_000 + self.0.load(Ordering::Relaxed))
        }

        fn wall(&self) -> WallTime {
            WallTime(0)
        }
    }

    /// A proposer that has booted, and its clock, a second later.
    fn booted() -> (Proposer, Arc<Hand>) {
        booted_at(Pace::default())
    }

    /// The same under load: no moment counts as quiet.
    fn busy() -> (Proposer, Arc<Hand>) {
        booted_at(Pace { quiet: 0, ..Pace::default() })
    }

    fn booted_at(pace: Pace) -> (Proposer, Arc<Hand>) {
        let clock = Arc::new(Hand::default());
        let proposer = Proposer::new(clock.clone(), pace, NodeId(1));
        proposer.tell(Command::Tick, Urgency::Urgent);
        let batch = sent(&proposer, clock.now()).expect("the first goes at once").batch.clone();
        let booted = Booted { incarnation: Incarnation(7), homes: Vec::new() };
        let outcomes = vec![Outcome::Booted(booted)];
        assert!(proposer.applied(&batch, Verdict::Applied(outcomes)).is_some());
        clock.turn(1_000_000);
        (proposer, clock)
    }

    fn sent(proposer: &Proposer, now: Instant) -> Option<Arc<Stamped>> {
        match proposer.next(now, || ClusterTime(5)) {
            Step::Send(stamped, _) => Some(stamped),
            Step::Wait(_) | Step::Idle => None,
        }
    }

    fn apply(proposer: &Proposer, stamped: &Stamped) {
        let outcomes = vec![Outcome::Done; stamped.batch.commands.len()];
        assert!(proposer.applied(&stamped.batch, Verdict::Applied(outcomes)).is_some());
    }

    #[test]
    fn an_urgent_command_goes_at_once_after_a_pause_and_a_millisecond_apart_under_load() {
        let (proposer, clock) = busy();
        proposer.tell(Command::Tick, Urgency::Urgent);
        let first = sent(&proposer, clock.now()).expect("at once");
        assert_eq!((first.batch.incarnation, first.batch.seq), (Incarnation(7), 1));
        // One batch is under way at a time.
        proposer.tell(Command::Tick, Urgency::Urgent);
        assert!(sent(&proposer, clock.turn(900)).is_none());
        apply(&proposer, &first);
        assert!(sent(&proposer, clock.turn(99)).is_none());
        assert_eq!(sent(&proposer, clock.turn(1)).expect("after a millisecond").batch.seq, 2);
    }

    #[test]
    fn in_quiet_an_urgent_command_waits_for_nothing_but_the_batch_under_way() {
        let (proposer, clock) = booted();
        proposer.tell(Command::Tick, Urgency::Urgent);
        let first = sent(&proposer, clock.now()).expect("at once");
        proposer.tell(Command::Tick, Urgency::Urgent);
        assert!(sent(&proposer, clock.turn(10)).is_none());
        apply(&proposer, &first);
        assert!(sent(&proposer, clock.now()).is_some());
        // 400 commands in a tenth of a second end the quiet.
        let (proposer, clock) = booted();
        (0..400).for_each(|_| proposer.tell(Command::Tick, Urgency::Urgent));
        apply(&proposer, &sent(&proposer, clock.now()).expect("at once"));
        proposer.tell(Command::Tick, Urgency::Urgent);
        apply(&proposer, &sent(&proposer, clock.turn(100_000)).expect("long ago"));
        proposer.tell(Command::Tick, Urgency::Urgent);
        assert!(sent(&proposer, clock.turn(999)).is_none());
        assert!(sent(&proposer, clock.turn(1)).is_some());
    }

    #[test]
    fn after_a_crowd_the_next_batch_waits_twice_as_long() {
        let (proposer, clock) = busy();
        (0..4).for_each(|_| proposer.tell(Command::Tick, Urgency::Urgent));
        apply(&proposer, &sent(&proposer, clock.now()).expect("at once"));
        proposer.tell(Command::Tick, Urgency::Urgent);
        assert!(sent(&proposer, clock.turn(1999)).is_none());
        assert!(sent(&proposer, clock.turn(1)).is_some());
    }

    #[test]
    fn a_command_wanted_soon_looks_for_company_for_six_milliseconds() {
        let (proposer, clock) = booted();
        proposer.tell(Command::Tick, Urgency::Lazy);
        proposer.tell(Command::Tick, Urgency::Soon);
        assert!(sent(&proposer, clock.turn(5999)).is_none());
        assert_eq!(sent(&proposer, clock.turn(1)).expect("6 ms").batch.commands.len(), 2);
        let (proposer, clock) = booted();
        proposer.tell(Command::Tick, Urgency::Soon);
        proposer.tell(Command::Tick, Urgency::Urgent);
        assert_eq!(sent(&proposer, clock.now()).expect("at once").batch.commands.len(), 2);
    }

    #[test]
    fn a_lazy_command_rides_along_or_waits_twenty_milliseconds() {
        let (proposer, clock) = booted();
        proposer.tell(Command::Tick, Urgency::Lazy);
        assert!(sent(&proposer, clock.turn(19_999)).is_none());
        assert_eq!(sent(&proposer, clock.turn(1)).expect("20 ms").batch.commands.len(), 1);
        let (proposer, clock) = booted();
        proposer.tell(Command::Tick, Urgency::Lazy);
        proposer.tell(Command::Tick, Urgency::Urgent);
        assert_eq!(sent(&proposer, clock.now()).expect("at once").batch.commands.len(), 2);
    }

    #[test]
    fn a_batch_without_an_answer_is_sent_again_unchanged_and_less_and_less_often() {
        let (proposer, clock) = booted();
        proposer.tell(Command::Tick, Urgency::Urgent);
        let first = sent(&proposer, clock.now()).expect("at once");
        for pause_ms in [500, 1000, 2000, 4000, 8000, 8000] {
            assert!(sent(&proposer, clock.turn(pause_ms * 1000 - 1)).is_none());
            assert_eq!(sent(&proposer, clock.turn(1)).expect("again"), first, "after {pause_ms} ms");
        }
        apply(&proposer, &first);
        // The copies come through the log too; the first was answered.
        assert!(proposer.applied(&first.batch, Verdict::Repeated).is_none());
        assert_eq!(proposer.backlog(), Backlog::default());
    }

    #[test]
    fn a_crowd_beyond_one_batch_keeps_its_order_and_its_asks() {
        let (proposer, clock) = booted();
        let mut asks = Vec::new();
        for n in 0..BATCH_MAX + 3 {
            let (tell, told) = oneshot::channel();
            proposer.push(Command::CdrsDurable(n as u64), Urgency::Urgent, Some(tell));
            asks.push(told);
        }
        let first = sent(&proposer, clock.now()).expect("at once");
        assert_eq!(first.batch.commands.len(), BATCH_MAX);
        apply(&proposer, &first);
        let second = sent(&proposer, clock.turn(2000)).expect("the rest");
        assert_eq!(second.batch.commands.first(), Some(&Command::CdrsDurable(BATCH_MAX as u64)));
        let answered =
            asks.iter_mut().map(|ask| matches!(ask.try_recv(), Ok(Some(_)))).filter(|it| *it).count();
        assert_eq!(answered, BATCH_MAX);
        apply(&proposer, &second);
        let rest = asks.iter_mut().skip(BATCH_MAX);
        assert!(rest.into_iter().all(|ask| matches!(ask.try_recv(), Ok(Some(Outcome::Done)))));
    }

    #[test]
    fn a_fenced_process_proposes_no_more_and_whoever_asked_learns_it() {
        let (proposer, clock) = booted();
        let (tell, mut told) = oneshot::channel();
        proposer.push(Command::Tick, Urgency::Urgent, Some(tell));
        let batch = sent(&proposer, clock.now()).expect("at once");
        assert!(proposer.applied(&batch.batch, Verdict::Fenced).is_none());
        assert!(proposer.is_fenced() && told.try_recv().is_err());
        proposer.tell(Command::Tick, Urgency::Urgent);
        assert!(sent(&proposer, clock.turn(1_000_000)).is_none());
        assert_eq!(proposer.backlog().commands, 0);
    }

    #[test]
    fn an_earlier_lifes_boot_that_the_log_still_brings_is_not_this_ones() {
        let clock = Arc::new(Hand::default());
        let proposer = Proposer::new(clock.clone(), Pace::default(), NodeId(1));
        let boot = |nonce| crate::Boot { nonce, name: "a".to_owned(), ..crate::Boot::default() };
        proposer.tell(Command::Boot(boot(2)), Urgency::Urgent);
        let ours = sent(&proposer, clock.now()).expect("at once");
        let mut earlier = ours.batch.clone();
        earlier.commands = vec![Command::Boot(boot(1))];
        let booted = |n| {
            let booted = Booted { incarnation: Incarnation(n), homes: Vec::new() };
            Verdict::Applied(vec![Outcome::Booted(booted)])
        };
        assert!(!proposer.is_booting(&earlier) && proposer.applied(&earlier, booted(1)).is_none());
        assert!(proposer.is_booting(&ours.batch) && proposer.applied(&ours.batch, booted(2)).is_some());
    }
}

//! The leader's rounds: batches that come while others are on their way to a majority wait for them and go together.
//!
//! A round costs the same whatever it carries (a write, a sync, a request and an answer for each follower), and one node's
//! stream of batches does not know of another's. A quiet leader adds nothing; a slow disk makes larger rounds.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use machine::Instant;
use tokio::sync::Notify;

use crate::cluster::Seams;
use crate::command::Stamped;
use crate::raft::Raft;

/// What is done if a batch does not reach the log.
type Refused = Box<dyn FnOnce() + Send>;

/// The batches that wait for the next round. Cheap to clone; all clones share one.
#[derive(Clone)]
pub(crate) struct Rounds {
    shared: Arc<Shared>,
}

struct Shared {
    wake: Notify,
    desk: Mutex<Desk>,
}

#[derive(Default)]
struct Desk {
    waiting: Vec<(Arc<Stamped>, Refused)>,
    round: u64,
    /// How many batches of the present round have not been applied or refused.
    under_way: usize,
    begun: Instant,
}

impl Rounds {
    pub(crate) fn new() -> Rounds {
        Rounds { shared: Arc::new(Shared { wake: Notify::new(), desk: Mutex::default() }) }
    }

    /// Puts a batch into the next round; `refused` is called if it does not reach the log.
    pub(crate) fn join(&self, stamped: Arc<Stamped>, refused: impl FnOnce() + Send + 'static) {
        self.lock().waiting.push((stamped, Box::new(refused)));
        self.shared.wake.notify_one();
    }

    /// Hands rounds to the log for as long as Raft runs.
    pub(crate) async fn run(self, raft: Raft, seams: Seams) {
        loop {
            match self.next(seams.clock.now()) {
                Next::Round(round, batches) => {
                    for (stamped, refused) in batches {
                        let this = self.clone();
                        let told = move |is_applied: bool| {
                            this.settled(round);
                            if !is_applied {
                                refused();
                            }
                        };
                        if raft.submit(stamped, told).await.is_err() {
                            // Upkeep sees it too and says why.
                            return;
                        }
                    }
                }
                Next::At(then) => {
                    tokio::select! {
                        biased;
                        () = self.shared.wake.notified() => {}
                        () = seams.spawn.sleep_until(then) => {}
                    }
                }
                Next::Woken => self.shared.wake.notified().await,
            }
        }
    }

    fn next(&self, now: Instant) -> Next {
        let mut desk = self.lock();
        if desk.waiting.is_empty() {
            return Next::Woken;
        }
        // A round that meets no majority keeps the next ones waiting for a moment only: followers that come back
        // hear of all of them at once.
        let patience = desk.begun + PATIENCE;
        if desk.under_way > 0 && now < patience {
            return Next::At(patience);
        }
        desk.round += 1;
        (desk.under_way, desk.begun) = (desk.waiting.len(), now);
        Next::Round(desk.round, std::mem::take(&mut desk.waiting))
    }

    /// One batch of a round has come to its end.
    fn settled(&self, round: u64) {
        let mut desk = self.lock();
        if desk.round == round {
            desk.under_way -= 1;
            if desk.under_way == 0 && !desk.waiting.is_empty() {
                self.shared.wake.notify_one();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Desk> {
        self.shared.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What `run` does next.
enum Next {
    /// Hands these to the log.
    Round(u64, Vec<(Arc<Stamped>, Refused)>),
    /// Looks again then, or when woken.
    At(Instant),
    /// Looks again when woken.
    Woken,
}

/// For how long a round may keep the next one waiting.
const PATIENCE: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use call::{Incarnation, NodeId};
    use machine::ClusterTime;

    use super::*;
    use crate::command::Batch;

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    fn join(rounds: &Rounds, seq: u64) {
        let batch =
            Batch { node: NodeId(1), incarnation: Incarnation(1), seq, shard: 0, commands: Vec::new() };
        rounds.join(Arc::new(Stamped { time: ClusterTime(0), batch }), || {});
    }

    /// The numbers of a round's batches, if there is one now.
    fn round(rounds: &Rounds, now: Instant) -> Option<(u64, Vec<u64>)> {
        match rounds.next(now) {
            Next::Round(round, batches) => {
                Some((round, batches.iter().map(|(it, _)| it.batch.seq).collect()))
            }
            Next::At(_) | Next::Woken => None,
        }
    }

    #[test]
    fn what_comes_while_a_round_is_under_way_goes_together_in_the_next() {
        let rounds = Rounds::new();
        join(&rounds, 1);
        assert_eq!(round(&rounds, at(1)), Some((1, vec![1])));
        join(&rounds, 2);
        join(&rounds, 3);
        assert_eq!(round(&rounds, at(2)), None);
        rounds.settled(1);
        assert_eq!(round(&rounds, at(2)), Some((2, vec![2, 3])));
    }

    #[test]
    fn a_round_is_over_when_all_of_it_is() {
        let rounds = Rounds::new();
        join(&rounds, 1);
        join(&rounds, 2);
        assert_eq!(round(&rounds, at(1)), Some((1, vec![1, 2])));
        join(&rounds, 3);
        rounds.settled(1);
        assert_eq!(round(&rounds, at(2)), None);
        rounds.settled(1);
        assert_eq!(round(&rounds, at(2)), Some((2, vec![3])));
    }

    #[test]
    fn a_round_without_a_majority_keeps_nobody_waiting_for_long() {
        let rounds = Rounds::new();
        join(&rounds, 1);
        assert_eq!(round(&rounds, at(1)), Some((1, vec![1])));
        join(&rounds, 2);
        assert_eq!(round(&rounds, at(10)), None);
        assert_eq!(round(&rounds, at(11)), Some((2, vec![2])));
        join(&rounds, 3);
        // The first round's late end is not the second's.
        rounds.settled(1);
        assert_eq!(round(&rounds, at(12)), None);
        rounds.settled(2);
        assert_eq!(round(&rounds, at(12)), Some((3, vec![3])));
    }
}

//! OPTIONS to the targets that this node watches: a task for each, for as long as the watch is this node's.
//!
//! Who watches which is the state's word (`cluster::State::watched`). What turns is committed; a successor begins with what
//! is known.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use call::errand::Errand;
use cluster::{Command, Outcome, Turn, Turned, Watched};
use machine::{Instant, Machine};
use tokio::sync::oneshot;
use trunk::SipTarget;
use trunk::prober::{Input, Output, Prober};

use crate::home::Home;
use crate::lock;
use crate::metrics::add;
use crate::shared::Shared;

/// The watches that this node keeps.
#[derive(Default)]
pub(crate) struct Watching {
    /// What they were made from, with the bindings, and when.
    seen: Option<((u64, u64), u64, Instant)>,
    tasks: BTreeMap<SipTarget, Watch>,
}

/// A task. It ends when this is dropped.
struct Watch {
    watched: Watched,
    stays: oneshot::Sender<()>,
}

/// Told when its watch is over.
type Over = oneshot::Receiver<()>;

/// An OPTIONS under way.
type Asked<'a> = Pin<Box<dyn Future<Output = Input> + Send + 'a>>;

impl Watching {
    /// Ends the watches that are not `own` any more, and gives those that begin.
    fn turn(&mut self, own: Vec<Watched>) -> Vec<(Watched, Over)> {
        let mut begin = Vec::new();
        let mut tasks = BTreeMap::new();
        for watched in own {
            let known = self.tasks.remove(&watched.target);
            let goes_on = known.filter(|task| task.watched == watched && !task.stays.is_closed());
            let task = goes_on.unwrap_or_else(|| {
                let (stays, over) = oneshot::channel();
                begin.push((watched.clone(), over));
                Watch { watched: watched.clone(), stays }
            });
            tasks.insert(watched.target, task);
        }
        self.tasks = tasks;
        begin
    }

    /// Whether some watch has ended by itself, as those of homes that are not here yet do.
    fn is_whole(&self) -> bool {
        self.tasks.values().all(|task| !task.stays.is_closed())
    }
}

impl Shared {
    /// Begins the watches that are this node's, and ends those that are not. Whenever homes, nodes or resources have
    /// changed, and now and then.
    pub(crate) fn tend_watches(self: &Arc<Shared>) {
        let node = self.cluster.cluster().node();
        let stops = self.draining.load(Ordering::Relaxed) || !self.ready.load(Ordering::Relaxed);
        let now = self.now();
        let (version, bindings) =
            self.cluster.cluster().read(|state| (state.watch_version(), state.bindings_version()));
        let mut watching = lock(&self.watching);
        let is_seen = watching.seen.is_some_and(|(seen, bound, at)| {
            seen == version && (bound == bindings || now.since(at) < BINDINGS)
        });
        if is_seen && watching.is_whole() && !stops {
            return;
        }
        let all = if stops { Vec::new() } else { self.cluster.cluster().read(cluster::State::watched) };
        watching.seen = Some((version, bindings, now));
        for (watched, over) in watching.turn(all.into_iter().filter(|it| it.node == node).collect()) {
            self.world.spawn.spawn("watch", Box::pin(self.clone().watch(watched, over)));
        }
    }

    /// One watch, for as long as it is this node's.
    async fn watch(self: Arc<Shared>, watched: Watched, mut over: Over) {
        let is_down = self.cluster.cluster().read(|state| state.down(&watched.target).is_some());
        let mut prober = Prober::start(self.now(), watched.probe.clone(), is_down, self.chance());
        let mut asked: Option<Asked<'_>> = None;
        // A target that is silent at one of its hosts is asked at the next, and stays with one that answers.
        let mut silent = 0;
        loop {
            while let Some(output) = prober.poll_output() {
                let turn = match output {
                    // One that is still under way has failed: it is forgotten.
                    Output::Ask => {
                        asked = Some(Box::pin(self.ask_target(&watched, silent)));
                        continue;
                    }
                    Output::Up => Turn::Up,
                    Output::Down(status) => Turn::Down { status, at: self.world.clock.wall() },
                };
                if !self.note_turn(&watched, turn).await {
                    return;
                }
            }
            let due = prober.poll_timeout().unwrap_or_else(|| self.now());
            let answer = async {
                match asked.as_mut() {
                    Some(asked) => asked.await,
                    None => std::future::pending().await,
                }
            };
            let came = tokio::select! {
                biased;
                _ = &mut over => return,
                input = answer => Some(input),
                () = self.world.spawn.sleep_until(due) => None,
            };
            match came {
                Some(input) => {
                    asked = None;
                    silent += self.count_probe(input);
                    prober.handle(self.now(), input);
                }
                None if asked.is_some() && !self.cluster.cluster().may_speak() => {
                    asked = None;
                    prober.handle(self.now(), Input::Unsaid);
                }
                None => {
                    if asked.take().is_some() {
                        silent += self.count_probe(Input::Silent);
                    }
                    prober.handle_timeout(self.now());
                }
            }
        }
    }

    /// One OPTIONS and what came of it.
    async fn ask_target(self: &Arc<Shared>, watched: &Watched, silent: usize) -> Input {
        if !self.cluster.cluster().may_speak() {
            return Input::Unsaid;
        }
        let Some(home) = self.home(watched.home).filter(|home| home.epoch == watched.epoch) else {
            return Input::Unsaid;
        };
        let answer = match self.options(&home, &watched.target, silent).await {
            Some(status) => Input::Answered(status),
            None => Input::Silent,
        };
        // What was held back here is no silence of the target's.
        if answer == Input::Silent && !self.cluster.cluster().may_speak() { Input::Unsaid } else { answer }
    }

    /// The status of a target's answer to OPTIONS.
    async fn options(self: &Arc<Shared>, home: &Arc<Home>, target: &SipTarget, silent: usize) -> Option<u16> {
        let flow = self.way_to(home, target, silent).await?;
        let id = self.errand_name()?;
        let context = home.context();
        // Each is asked for itself (RFC 3261 §11.1): its series has no other.
        let request = Errand { context: &context, id, flow, target, series: id, cseq: 1 }.options();
        add(&self.metrics.probes);
        self.errand(id, flow, request).await?.view().status()
    }

    /// Counts an OPTIONS that had no answer; gives how many those are.
    fn count_probe(&self, input: Input) -> usize {
        if input == Input::Silent {
            add(&self.metrics.probe_failures);
        }
        usize::from(input == Input::Silent)
    }

    /// Tells a quorum how a target is now; false if it is not this node's word any more.
    async fn note_turn(&self, watched: &Watched, turn: Turn) -> bool {
        let target = &watched.target;
        match turn {
            Turn::Up => tracing::info!(%target, "the target is up again"),
            Turn::Down { status, .. } => {
                tracing::warn!(%target, status, "the target is down: calls go to others first");
            }
        }
        let health = Turned { target: target.clone(), home: watched.home, epoch: watched.epoch, turn };
        let outcome = self.cluster.cluster().proposer().ask(Command::Health(Box::new(health))).await;
        outcome == Some(Outcome::Done)
    }
}

/// How often it is looked who has registered: with many accounts somebody always has.
const BINDINGS: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use call::{Epoch, HomeId, NodeId};
    use trunk::settings::Probe;

    use super::*;

    fn watched(last: u8, epoch: u64) -> Watched {
        let target = SipTarget::parse(&format!("sip:192.0.2.{last}")).expect("a target");
        Watched { target, probe: Probe::default(), home: HomeId(1), epoch: Epoch(epoch), node: NodeId(1) }
    }

    #[test]
    fn a_watch_begins_once_and_ends_when_it_is_not_ours_any_more() {
        let mut watching = Watching::default();
        let mut first = watching.turn(vec![watched(1, 1), watched(2, 1)]);
        assert_eq!(first.len(), 2);
        assert!(watching.turn(vec![watched(1, 1), watched(2, 1)]).is_empty());
        // Another epoch of its home is another watch; who names it no more, ends it.
        let second = watching.turn(vec![watched(1, 2)]);
        assert_eq!((second.len(), watching.tasks.len()), (1, 1));
        assert!(
            first.iter_mut().all(|(_, over)| over.try_recv() == Err(oneshot::error::TryRecvError::Closed))
        );
    }

    #[test]
    fn a_watch_that_ended_by_itself_begins_anew() {
        let mut watching = Watching::default();
        drop(watching.turn(vec![watched(1, 1)]));
        assert!(!watching.is_whole());
        let again = watching.turn(vec![watched(1, 1)]);
        assert!(again.len() == 1 && watching.is_whole());
    }
}

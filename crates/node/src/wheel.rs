//! One timer wheel per node: every call's next deadline in one ordered set, and one task that sleeps.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use call::CallId;
use env::{Clock, Spawn};
use futures::task::AtomicWaker;
use machine::Instant;

use crate::lock;

/// Deadlines of calls.
#[derive(Default)]
pub(crate) struct Wheel {
    set: Mutex<Set>,
    waker: AtomicWaker,
}

#[derive(Default)]
struct Set {
    deadlines: BTreeSet<(Instant, CallId)>,
    /// Until when the task sleeps; nothing earlier may be missed.
    asleep_until: Option<Instant>,
}

/// Deadlines this close together fire in one go: RFC 3261's shortest timer is 500 ms.
const SLACK: Duration = Duration::from_millis(2);

impl Wheel {
    /// Moves a call's deadline from `old` to `new`.
    pub(crate) fn set(&self, call: CallId, old: Option<Instant>, new: Option<Instant>) {
        let mut set = lock(&self.set);
        if let Some(old) = old {
            set.deadlines.remove(&(old, call));
        }
        let Some(new) = new else { return };
        set.deadlines.insert((new, call));
        if set.asleep_until.is_none_or(|until| new < until) {
            drop(set);
            self.waker.wake();
        }
    }

    /// How many deadlines are set.
    pub(crate) fn len(&self) -> usize {
        lock(&self.set).deadlines.len()
    }

    /// Gives every call whose deadline passed to `fire`, and sleeps until the next. Never ends.
    pub(crate) async fn run(
        self: Arc<Wheel>,
        clock: Arc<dyn Clock>,
        spawn: Arc<dyn Spawn>,
        fire: impl Fn(CallId) + Send,
    ) {
        loop {
            let next = self.turn(clock.now(), &fire);
            let mut sleep = next.map(|at| spawn.sleep_until(at + SLACK));
            poll_fn(|cx| {
                self.waker.register(cx.waker());
                if self.is_before(next) {
                    return Poll::Ready(());
                }
                match &mut sleep {
                    Some(sleep) => sleep.as_mut().poll(cx),
                    None => Poll::Pending,
                }
            })
            .await;
        }
    }

    /// Whether something is due before `next`.
    fn is_before(&self, next: Option<Instant>) -> bool {
        match (lock(&self.set).deadlines.first(), next) {
            (Some((first, _)), Some(next)) => *first < next,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }

    /// Fires what is due; gives the next deadline.
    fn turn(&self, now: Instant, fire: &impl Fn(CallId)) -> Option<Instant> {
        let mut set = lock(&self.set);
        while let Some(&(at, call)) = set.deadlines.first() {
            if at > now {
                break;
            }
            set.deadlines.pop_first();
            fire(call);
        }
        set.asleep_until = set.deadlines.first().map(|first| first.0);
        set.asleep_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemClock;
    use crate::world::TokioSpawn;
    use tokio::sync::mpsc;

    fn turning() -> (Arc<Wheel>, Arc<SystemClock>, mpsc::UnboundedReceiver<CallId>) {
        let clock = Arc::new(SystemClock::start());
        let wheel = Arc::new(Wheel::default());
        let (tell, told) = mpsc::unbounded_channel();
        let spawn = Arc::new(TokioSpawn::new(clock.clone()));
        tokio::spawn(wheel.clone().run(clock.clone(), spawn, move |call| {
            tell.send(call).expect("the test listens");
        }));
        (wheel, clock, told)
    }

    fn at(ms: u64) -> Option<Instant> {
        Some(Instant::ZERO + Duration::from_millis(ms))
    }

    #[tokio::test(start_paused = true)]
    async fn a_sooner_deadline_wakes_the_sleeper() {
        let (wheel, clock, mut told) = turning();
        wheel.set(CallId(1), None, at(60_000));
        tokio::task::yield_now().await;
        wheel.set(CallId(2), None, at(500));
        assert_eq!(told.recv().await, Some(CallId(2)));
        let late = clock.now().since(Instant::ZERO);
        assert!(late >= Duration::from_millis(500) && late < Duration::from_millis(510), "{late:?}");
        assert_eq!(told.recv().await, Some(CallId(1)));
        assert_eq!(wheel.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_moved_deadline_fires_once_and_a_cleared_one_never() {
        let (wheel, clock, mut told) = turning();
        wheel.set(CallId(1), None, at(100));
        wheel.set(CallId(2), None, at(200));
        wheel.set(CallId(1), at(100), at(300));
        wheel.set(CallId(2), at(200), None);
        assert_eq!(told.recv().await, Some(CallId(1)));
        assert!(clock.now().since(Instant::ZERO) >= Duration::from_millis(300));
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(told.try_recv().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_deadline_after_a_long_quiet_fires() {
        let (wheel, _, mut told) = turning();
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        wheel.set(CallId(7), None, at(3_600_500));
        assert_eq!(told.recv().await, Some(CallId(7)));
    }
}

//! Virtual time: tokio's paused clock, clocks of nodes that run wrong, and tasks on its one thread.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use env::{BoxFuture, Clock, Spawn, Task};
use machine::{Instant, WallTime};

use crate::life::Life;

/// The clock of a world: it stands still while anything has work to do, and leaps to the next deadline.
#[derive(Clone, Copy, Debug)]
pub struct VirtualClock {
    start: tokio::time::Instant,
}

/// When every world begins: 2026-01-01T00:00:00Z.
const EPOCH: WallTime = WallTime(1_767_225_600_000);

impl VirtualClock {
    /// A clock that reads zero now. Only inside a runtime that started paused.
    pub fn start() -> VirtualClock {
        VirtualClock { start: tokio::time::Instant::now() }
    }

    /// Waits until a point on this clock.
    pub fn sleep_until(&self, at: Instant) -> tokio::time::Sleep {
        tokio::time::sleep_until(self.start + Duration::from_nanos(at.as_nanos()))
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Instant {
        Instant::from_nanos(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn wall(&self) -> WallTime {
        WallTime(EPOCH.0 + i64::try_from(self.start.elapsed().as_millis()).unwrap_or(0))
    }
}

/// A node's own clocks: they follow the world's, too fast or too slow, and the civil one may jump.
#[derive(Clone, Debug)]
pub struct NodeClock {
    world: Arc<VirtualClock>,
    /// Parts in a million that it runs too fast.
    drift_ppm: i64,
    /// How far civil time has jumped, in milliseconds.
    wall_ms: Arc<AtomicI64>,
}

impl NodeClock {
    /// A clock that runs as the world's does.
    pub fn right(world: Arc<VirtualClock>) -> NodeClock {
        NodeClock { world, drift_ppm: 0, wall_ms: Arc::default() }
    }

    /// A clock that runs so many parts in a million too fast.
    #[must_use]
    pub fn drifting(mut self, ppm: i64) -> NodeClock {
        self.drift_ppm = ppm;
        self
    }

    /// Moves civil time.
    pub fn jump(&self, by_ms: i64) {
        self.wall_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    /// What this clock shows when the world's shows `at`.
    fn shown(&self, at: Instant) -> Instant {
        let nanos = i128::from(at.as_nanos());
        let shown = nanos + nanos * i128::from(self.drift_ppm) / MILLION;
        Instant::from_nanos(u64::try_from(shown).unwrap_or(0))
    }

    /// The first moment of the world's clock at which this one shows `at` or more.
    pub(crate) fn true_time(&self, at: Instant) -> Instant {
        let (nanos, rate) = (i128::from(at.as_nanos()), MILLION + i128::from(self.drift_ppm));
        let exact = (nanos * MILLION + rate - 1) / rate;
        // Division rounds twice; a nanosecond more is never too early.
        Instant::from_nanos(u64::try_from(exact + 1).unwrap_or(u64::MAX))
    }
}

impl Clock for NodeClock {
    fn now(&self) -> Instant {
        self.shown(self.world.now())
    }

    fn wall(&self) -> WallTime {
        let drifted = (self.now().as_nanos() / 1_000_000) as i64;
        WallTime(EPOCH.0 + drifted + self.wall_ms.load(Ordering::Relaxed))
    }
}

/// Tasks of a world: they end with the life that spawned them, and stand still while it does.
#[derive(Clone, Debug)]
pub struct VirtualSpawn {
    /// When they are.
    pub clock: Arc<NodeClock>,
    /// Whose they are.
    pub life: Arc<Life>,
}

struct VirtualTask(tokio::task::AbortHandle);

impl Task for VirtualTask {
    fn abort(&self) {
        self.0.abort();
    }
}

/// A task that is not polled while its life stands still.
struct Halting {
    life: Arc<Life>,
    task: BoxFuture<'static, ()>,
}

impl Future for Halting {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.life.halts(cx.waker()) {
            return Poll::Pending;
        }
        self.task.as_mut().poll(cx)
    }
}

impl Spawn for VirtualSpawn {
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) -> Box<dyn Task> {
        let handle = tokio::spawn(Halting { life: self.life.clone(), task }).abort_handle();
        self.life.keep(handle.clone());
        Box::new(VirtualTask(handle))
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        Box::pin(self.clock.world.sleep_until(self.clock.true_time(at)))
    }
}

const MILLION: i128 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_sleep_ends_when_the_wrong_clock_shows_its_end_and_no_sooner() {
        let world = Arc::new(VirtualClock::start());
        for ppm in [-10_000, -1, 0, 1, 10_000] {
            let clock = NodeClock::right(world.clone()).drifting(ppm);
            for at in [1, 999, 1_000_000, 60_000_000_001].map(Instant::from_nanos) {
                let truly = clock.true_time(at);
                assert!(clock.shown(truly) >= at, "{ppm} ppm, {at:?}");
                assert!(clock.shown(truly) <= at + Duration::from_nanos(3), "{ppm} ppm, {at:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn civil_time_jumps_and_the_monotonic_clock_does_not() {
        let clock = NodeClock::right(Arc::new(VirtualClock::start()));
        clock.jump(3_600_000);
        assert_eq!((clock.now(), clock.wall()), (Instant::ZERO, WallTime(EPOCH.0 + 3_600_000)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_halted_life_does_nothing_and_goes_on_where_it_stood() {
        let life = Life::new(1, 1);
        let clock = Arc::new(NodeClock::right(Arc::new(VirtualClock::start())));
        let spawn = VirtualSpawn { clock: clock.clone(), life: life.clone() };
        let done = Arc::new(AtomicI64::new(0));
        let (noted, sleeper) = (done.clone(), spawn.clone());
        let task = async move {
            sleeper.sleep_until(Instant::from_nanos(1_000_000_000)).await;
            noted.store(1, Ordering::Relaxed);
        };
        spawn.spawn("sleeper", Box::pin(task));
        tokio::time::sleep(Duration::from_millis(500)).await;
        life.halt();
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(done.load(Ordering::Relaxed), 0, "its time came while it stood still");
        life.go_on();
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(done.load(Ordering::Relaxed), 1);
    }
}

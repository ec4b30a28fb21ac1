//! Virtual time: tokio's paused clock, and tasks on its one thread.

use std::sync::Arc;
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

/// Tasks of a world: they end with the life that spawned them.
#[derive(Clone, Debug)]
pub struct VirtualSpawn {
    /// When they are.
    pub clock: Arc<VirtualClock>,
    /// Whose they are.
    pub life: Arc<Life>,
}

struct VirtualTask(tokio::task::AbortHandle);

impl Task for VirtualTask {
    fn abort(&self) {
        self.0.abort();
    }
}

impl Spawn for VirtualSpawn {
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) -> Box<dyn Task> {
        let handle = tokio::spawn(task).abort_handle();
        self.life.keep(handle.clone());
        Box::new(VirtualTask(handle))
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        Box::pin(self.clock.sleep_until(at))
    }
}

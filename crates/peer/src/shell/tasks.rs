//! Tasks and sleeping behind `env::Spawn`. Sleeps are exact to tens of microseconds (a timerfd), because tokio's
//! own timers round up to whole milliseconds, which would be added to every measured delay.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use env::{BoxFuture, Clock, Spawn, Task};
use machine::Instant;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;

use super::clock::SystemClock;

/// Tasks on the current tokio runtime. One sleep at a time: the newest owns the timer.
pub struct Tasks {
    clock: Arc<SystemClock>,
    timer: Arc<AsyncFd<OwnedFd>>,
}

impl Tasks {
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The system has no timer left.
    pub fn new(clock: Arc<SystemClock>) -> io::Result<Tasks> {
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        // Deprecated for types that may hand out another descriptor while registered; an OwnedFd cannot.
        #[expect(deprecated, reason = "its replacement is unsafe")]
        let timer = AsyncFd::new(timer)?;
        Ok(Tasks { clock, timer: Arc::new(timer) })
    }
}

impl Spawn for Tasks {
    fn spawn(&self, _: &'static str, task: BoxFuture<'static, ()>) -> Box<dyn Task> {
        Box::new(Running(tokio::spawn(task).abort_handle()))
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        let (timer, clock) = (self.timer.clone(), self.clock.clone());
        Box::pin(async move {
            loop {
                let left = at.since(clock.now());
                if left.is_zero() {
                    return;
                }
                let value = Timespec {
                    tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                    tv_nsec: i64::from(left.subsec_nanos()).max(1),
                };
                let spec = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
                if timerfd_settime(timer.get_ref(), TimerfdTimerFlags::empty(), &spec).is_err() {
                    return;
                }
                let Ok(mut ready) = timer.readable().await else { return };
                // Reading disarms it; WouldBlock means that an older expiry was reported.
                let mut expirations = [0; 8];
                let _ = rustix::io::read(timer.get_ref(), &mut expirations);
                ready.clear_ready();
            }
        })
    }
}

struct Running(tokio::task::AbortHandle);

impl Task for Running {
    fn abort(&self) {
        self.0.abort();
    }
}

//! The overload gate: new calls are refused before they cost anything, so that those let in complete.
//!
//! Pure. One measure is how long the sockets have not been emptied: a receive queue that never runs dry is
//! work that arrives faster than it is done, whatever the reason. The other is how late a task runs that is
//! woken at a known time: it waits as long as everything else does.

use std::time::Duration;

use cluster::Backlog;
use machine::Instant;

/// Why a new call is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// The receive queue has not run dry for too long.
    Busy,
    /// What is ready to run waits too long for its turn.
    Late,
    /// Too many commands wait for their commit.
    Backlog,
    /// As many calls as the node may carry.
    Calls,
    /// Too many calls that nobody has answered yet.
    Setup,
    /// The node has not started, or drains.
    Stopping,
    /// There is no majority of the nodes.
    NoQuorum,
}

impl Full {
    /// Every reason, with its label in the metrics.
    pub(crate) const ALL: [(Full, &'static str); 7] = [
        (Full::Busy, "busy"),
        (Full::Late, "late"),
        (Full::Backlog, "backlog"),
        (Full::Calls, "calls"),
        (Full::Setup, "setup"),
        (Full::Stopping, "stopping"),
        (Full::NoQuorum, "no_quorum"),
    ];
}

/// What the gate allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GateLimits {
    /// How long the receive queue may go without running dry.
    pub(crate) busy: Duration,
    /// How late a task may run.
    pub(crate) late: Duration,
    /// Commands that wait for their commit.
    pub(crate) backlog_max: usize,
    /// How long the oldest of them may have waited.
    pub(crate) commit_max: Duration,
    /// Live calls.
    pub(crate) calls_max: usize,
    /// Calls that nobody has answered yet: 500 a second that ring for 20 s.
    pub(crate) in_setup_max: usize,
}

/// What the node carries.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Load {
    /// What waits for its commit.
    pub(crate) backlog: Backlog,
    /// Live calls.
    pub(crate) calls: usize,
    /// Those that nobody has answered yet.
    pub(crate) in_setup: usize,
}

impl Default for GateLimits {
    fn default() -> GateLimits {
        GateLimits {
            busy: Duration::from_millis(100),
            late: Duration::from_millis(500),
            backlog_max: 8_192,
            commit_max: Duration::from_secs(3),
            calls_max: 200_000,
            in_setup_max: 10_000,
        }
    }
}

/// Decides whether one more call may begin.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    limits: GateLimits,
    busy_since: Option<Instant>,
    is_late: bool,
}

impl Gate {
    /// A batch was received; `full` if more may be waiting.
    pub(crate) fn batch(&mut self, now: Instant, full: bool) {
        match (full, self.busy_since) {
            (true, None) => self.busy_since = Some(now),
            (true, Some(_)) => {}
            (false, _) => self.busy_since = None,
        }
    }

    /// A task that was to run at `due` runs now.
    pub(crate) fn tick(&mut self, now: Instant, due: Instant) {
        self.is_late = now.since(due) > self.limits.late;
    }

    /// Why a new call can't begin now.
    pub(crate) fn full(&self, now: Instant, load: Load) -> Option<Full> {
        let Load { backlog, calls, in_setup } = load;
        if calls >= self.limits.calls_max {
            Some(Full::Calls)
        } else if in_setup >= self.limits.in_setup_max {
            Some(Full::Setup)
        } else if backlog.commands >= self.limits.backlog_max || backlog.oldest > self.limits.commit_max {
            Some(Full::Backlog)
        } else if self.busy_since.is_some_and(|since| now.since(since) > self.limits.busy) {
            Some(Full::Busy)
        } else if self.is_late {
            Some(Full::Late)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Load =
        Load { backlog: Backlog { commands: 0, oldest: Duration::ZERO }, calls: 0, in_setup: 0 };

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn a_receive_queue_that_never_runs_dry_closes_the_gate_until_it_does() {
        let mut gate = Gate::default();
        gate.batch(at(0), true);
        gate.batch(at(100), true);
        assert_eq!(gate.full(at(100), NONE), None);
        gate.batch(at(101), true);
        assert_eq!(gate.full(at(101), NONE), Some(Full::Busy));
        gate.batch(at(102), false);
        assert_eq!(gate.full(at(102), NONE), None);
        gate.batch(at(103), true);
        assert_eq!(gate.full(at(150), NONE), None);
    }

    #[test]
    fn a_late_task_closes_the_gate_until_one_is_on_time() {
        let mut gate = Gate::default();
        gate.tick(at(550), at(50));
        assert_eq!(gate.full(at(550), NONE), None);
        gate.tick(at(1_051), at(550));
        assert_eq!(gate.full(at(1_051), NONE), Some(Full::Late));
        gate.tick(at(1_101), at(1_100));
        assert_eq!(gate.full(at(1_101), NONE), None);
    }

    #[test]
    fn a_backlog_of_commits_and_a_full_house_close_the_gate() {
        let gate = Gate::default();
        let backlog =
            |commands, s| Load { backlog: Backlog { commands, oldest: Duration::from_secs(s) }, ..NONE };
        assert_eq!(gate.full(at(0), backlog(8_191, 3)), None);
        assert_eq!(gate.full(at(0), backlog(8_192, 1)), Some(Full::Backlog));
        assert_eq!(gate.full(at(0), backlog(1, 4)), Some(Full::Backlog));
        assert_eq!(gate.full(at(0), Load { calls: 200_000, ..NONE }), Some(Full::Calls));
        assert_eq!(gate.full(at(0), Load { in_setup: 9_999, ..NONE }), None);
        assert_eq!(gate.full(at(0), Load { in_setup: 10_000, ..NONE }), Some(Full::Setup));
    }
}

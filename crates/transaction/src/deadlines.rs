//! The at most two deadlines of a transaction, kept inline: a table entry must not allocate.

use machine::Instant;

use crate::Timer;

/// Named deadlines, at most two at once, as every state of RFC 3261 §17 and RFC 6026 needs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Deadlines {
    slots: [Option<(Timer, Instant)>; 2],
}

impl Deadlines {
    /// Sets or moves a timer.
    pub(crate) fn set(&mut self, timer: Timer, at: Instant) {
        let same = self.slots.iter().position(|s| matches!(s, Some((t, _)) if *t == timer));
        let free = self.slots.iter().position(Option::is_none);
        let slot = same.or(free).and_then(|i| self.slots.get_mut(i));
        *slot.expect("no state of a transaction has more than two timers") = Some((timer, at));
    }

    /// Clears both.
    pub(crate) fn clear_all(&mut self) {
        self.slots = [None; 2];
    }

    /// The earlier deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.slots.iter().flatten().map(|(_, at)| *at).min()
    }

    /// Removes and gives the earlier timer that is due.
    pub(crate) fn expired(&mut self, now: Instant) -> Option<Timer> {
        let slot = self.slots.iter_mut().filter(|s| matches!(s, Some((_, at)) if *at <= now));
        let (timer, _) = slot.min_by_key(|s| s.map(|(_, at)| at))?.take()?;
        Some(timer)
    }
}

//! Named timers of one machine: a short list, because a machine has few.

use crate::Instant;

/// A table of named deadlines. A name has at most one deadline; setting it again moves it.
#[derive(Clone, Debug)]
pub struct Timers<K> {
    set: Vec<(K, Instant)>,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Timers { set: Vec::new() }
    }
}

impl<K: Copy + PartialEq> Timers<K> {
    /// Sets or moves a timer.
    pub fn set(&mut self, name: K, at: Instant) {
        match self.set.iter_mut().find(|(k, _)| *k == name) {
            Some(slot) => slot.1 = at,
            None => self.set.push((name, at)),
        }
    }

    /// Clears a timer; nothing happens if it was not set.
    pub fn clear(&mut self, name: K) {
        self.set.retain(|(k, _)| *k != name);
    }

    /// Clears all timers.
    pub fn clear_all(&mut self) {
        self.set.clear();
    }

    /// The deadline of a timer.
    pub fn get(&self, name: K) -> Option<Instant> {
        self.set.iter().find(|(k, _)| *k == name).map(|(_, at)| *at)
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Instant> {
        self.set.iter().map(|(_, at)| *at).min()
    }

    /// Removes and gives the earliest timer that is due at `now`; on a tie, the one set first.
    pub fn expired(&mut self, now: Instant) -> Option<K> {
        let (i, _) = self
            .set
            .iter()
            .enumerate()
            .filter(|(_, (_, at))| *at <= now)
            .min_by_key(|(i, (_, at))| (*at, *i))?;
        Some(self.set.remove(i).0)
    }

    /// Whether no timer is set.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn timers_fire_in_order_once_and_move_when_set_again() {
        let at = |ms| Instant::ZERO + Duration::from_millis(ms);
        let mut timers = Timers::default();
        timers.set('g', at(20));
        timers.set('h', at(10));
        timers.set('g', at(5));
        assert_eq!(timers.expired(at(4)), None);
        assert_eq!(timers.expired(at(50)), Some('g'));
        assert_eq!(timers.next(), Some(at(10)));
        timers.clear('h');
        assert_eq!(timers.expired(at(50)), None);
        assert!(timers.is_empty());
    }
}

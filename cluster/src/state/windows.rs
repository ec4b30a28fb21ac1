//! Rate windows: how many calls a trunk was admitted in the last minute, hour, day and week.
//!
//! The minute slides exactly, over a ring of at most `limit` times. The longer ones slide in 60, 96 and 168
//! buckets; a bucket counts until it has wholly left the window, so a limit is never passed and reached early
//! by at most one bucket.

use std::collections::VecDeque;

use call::LimitedBy;
use machine::ClusterTime;
use serde::{Deserialize, Serialize};
use trunk::settings::Limits;

/// The windows of one trunk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Windows {
    /// When the latest calls were admitted, oldest first.
    minute: VecDeque<ClusterTime>,
    hour: Buckets,
    day: Buckets,
    week: Buckets,
}

/// Calls per bucket, oldest first; buckets without a call are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Buckets(VecDeque<(u64, u32)>);

/// The window that has no room, its limit, and when there is room again (1–60 s, for the minute).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exceeded {
    pub(super) kind: LimitedBy,
    pub(super) limit: u32,
    pub(super) retry_after_s: u32,
}

impl Windows {
    /// The first window that has no room for another call.
    pub(super) fn exceeded(&self, now: ClusterTime, limits: &Limits) -> Option<Exceeded> {
        if let Some(limit) = limits.per_minute {
            let oldest = self.minute.len().checked_sub(limit as usize).and_then(|at| self.minute.get(at));
            let leaves = match oldest {
                _ if limit == 0 => Some(now.0 + MINUTE),
                Some(oldest) => Some(oldest.0 + MINUTE).filter(|leaves| *leaves > now.0),
                None => None,
            };
            if let Some(leaves) = leaves {
                let retry_after_s = (leaves - now.0).div_ceil(1000).clamp(1, 60) as u32;
                return Some(Exceeded { kind: LimitedBy::Minute, limit, retry_after_s });
            }
        }
        let longer = [
            (limits.per_hour, &self.hour, HOUR, LimitedBy::Hour),
            (limits.per_day, &self.day, DAY, LimitedBy::Day),
            (limits.per_week, &self.week, WEEK, LimitedBy::Week),
        ];
        longer.into_iter().find_map(|(limit, buckets, shape, kind)| {
            let limit = limit?;
            (buckets.count(now, shape) >= limit).then_some(Exceeded { kind, limit, retry_after_s: 0 })
        })
    }

    /// Counts an admitted call.
    pub(super) fn count(&mut self, now: ClusterTime, limits: &Limits) {
        while self.minute.front().is_some_and(|at| at.0 + MINUTE <= now.0) {
            self.minute.pop_front();
        }
        if let Some(limit) = limits.per_minute {
            self.minute.push_back(now);
            while self.minute.len() > limit as usize {
                self.minute.pop_front();
            }
        }
        self.hour.add(now, HOUR);
        self.day.add(now, DAY);
        self.week.add(now, WEEK);
    }

    /// Calls in the minute (as far as its limit makes us look), hour, day and week.
    pub(super) fn counts(&self, now: ClusterTime) -> [u32; 4] {
        let minute = self.minute.iter().filter(|at| at.0 + MINUTE > now.0).count() as u32;
        let (hour, day, week) =
            (self.hour.count(now, HOUR), self.day.count(now, DAY), self.week.count(now, WEEK));
        [minute, hour, day, week]
    }
}

impl Buckets {
    fn count(&self, now: ClusterTime, shape: Shape) -> u32 {
        self.0.iter().filter(|(bucket, _)| shape.counts(*bucket, now)).map(|(_, calls)| calls).sum()
    }

    fn add(&mut self, now: ClusterTime, shape: Shape) {
        while self.0.front().is_some_and(|(bucket, _)| !shape.counts(*bucket, now)) {
            self.0.pop_front();
        }
        let bucket = now.0 / shape.bucket_ms;
        match self.0.back_mut() {
            Some((last, calls)) if *last == bucket => *calls = calls.saturating_add(1),
            _ => self.0.push_back((bucket, 1)),
        }
    }
}

#[derive(Clone, Copy)]
struct Shape {
    bucket_ms: u64,
    window_ms: u64,
}

impl Shape {
    /// Whether any moment of a bucket still lies in the window that ends now.
    fn counts(self, bucket: u64, now: ClusterTime) -> bool {
        (bucket + 1) * self.bucket_ms + self.window_ms > now.0
    }
}

const MINUTE: u64 = 60_000;
const HOUR: Shape = Shape { bucket_ms: 60_000, window_ms: 3_600_000 };
const DAY: Shape = Shape { bucket_ms: 900_000, window_ms: 86_400_000 };
const WEEK: Shape = Shape { bucket_ms: 3_600_000, window_ms: 604_800_000 };

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(minute: Option<u32>, hour: Option<u32>) -> Limits {
        Limits { per_minute: minute, per_hour: hour, ..Limits::default() }
    }

    #[test]
    fn the_minute_slides_exactly() {
        let limits = limits(Some(2), None);
        let mut windows = Windows::default();
        windows.count(ClusterTime(1_000), &limits);
        assert_eq!(windows.exceeded(ClusterTime(1_000), &limits), None);
        windows.count(ClusterTime(31_000), &limits);
        let full = |s| Some(Exceeded { kind: LimitedBy::Minute, limit: 2, retry_after_s: s });
        assert_eq!(windows.exceeded(ClusterTime(31_000), &limits), full(30));
        assert_eq!(windows.exceeded(ClusterTime(60_999), &limits), full(1));
        // The first call is a minute old: it has left.
        assert_eq!(windows.exceeded(ClusterTime(61_000), &limits), None);
        windows.count(ClusterTime(61_000), &limits);
        assert_eq!(windows.exceeded(ClusterTime(61_000), &limits), full(30));
        assert_eq!(windows.counts(ClusterTime(61_000))[0], 2);
    }

    #[test]
    fn a_limit_of_none_never_refuses_and_of_zero_always() {
        let mut windows = Windows::default();
        let none = limits(None, None);
        (0..1000).for_each(|_| windows.count(ClusterTime(5), &none));
        assert_eq!(windows.exceeded(ClusterTime(5), &none), None);
        let zero = limits(Some(0), None);
        assert_eq!(Windows::default().exceeded(ClusterTime(5), &zero).map(|e| e.retry_after_s), Some(60));
        assert_eq!(
            Windows::default().exceeded(ClusterTime(5), &limits(None, Some(0))).map(|e| e.kind),
            Some(LimitedBy::Hour)
        );
    }

    #[test]
    fn an_hours_bucket_counts_until_it_has_wholly_left() {
        let limits = limits(None, Some(1));
        let mut windows = Windows::default();
        windows.count(ClusterTime(59_999), &limits);
        // The call's bucket ends at 60 s; the hour after that ends at 3,660 s.
        let full = |at| windows.exceeded(ClusterTime(at), &limits).is_some();
        assert!(full(3_600_000) && full(3_659_999));
        assert!(!full(3_660_000));
    }

    #[test]
    fn buckets_never_outnumber_their_window() {
        let limits = limits(Some(10), Some(10));
        let mut windows = Windows::default();
        for minute in 0..20_000 {
            windows.count(ClusterTime(minute * 60_000), &limits);
        }
        assert!(windows.hour.0.len() <= 61 && windows.day.0.len() <= 97 && windows.week.0.len() <= 169);
        assert!(windows.minute.len() <= 10);
        // 20,000 minutes are more than a week: 168 hours and the one under way.
        assert_eq!(windows.counts(ClusterTime(19_999 * 60_000))[1..], [61, 96 * 15 + 5, 168 * 60 + 20]);
    }
}

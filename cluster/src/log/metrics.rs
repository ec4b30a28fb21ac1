//! How often the log was made durable, and how long that took.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of the buckets, in microseconds; above the last there is one more.
pub const SYNC_BOUNDS_US: [u64; 14] =
    [50, 100, 150, 200, 300, 400, 600, 1000, 2000, 4000, 8000, 20_000, 100_000, 1_000_000];

/// Counters that the log's thread writes and anybody reads.
#[derive(Debug, Default)]
pub struct SyncMetrics {
    buckets: [AtomicU64; SYNC_BOUNDS_US.len() + 1],
    sum_ns: AtomicU64,
    bytes: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncSample {
    /// How many writes fell into each bucket of [`SYNC_BOUNDS_US`], and how many above; not cumulative.
    pub buckets: [u64; SYNC_BOUNDS_US.len() + 1],
    /// All writes.
    pub count: u64,
    /// Their time in nanoseconds.
    pub sum_ns: u64,
    /// Their bytes, padding included.
    pub bytes: u64,
}

impl SyncMetrics {
    pub(crate) fn record(&self, took: Duration, bytes: usize) {
        let us = took.as_micros() as u64;
        let bucket = SYNC_BOUNDS_US.partition_point(|bound| *bound < us);
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.fetch_add(1, Relaxed);
        }
        self.sum_ns.fetch_add(took.as_nanos() as u64, Relaxed);
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// Reads the counters.
    pub fn sample(&self) -> SyncSample {
        let mut sample = SyncSample { sum_ns: self.sum_ns.load(Relaxed), ..SyncSample::default() };
        for (out, bucket) in sample.buckets.iter_mut().zip(&self.buckets) {
            *out = bucket.load(Relaxed);
            sample.count += *out;
        }
        sample.bytes = self.bytes.load(Relaxed);
        sample
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_falls_into_the_bucket_of_its_time() {
        let metrics = SyncMetrics::default();
        metrics.record(Duration::from_micros(50), 1);
        metrics.record(Duration::from_micros(51), 2);
        metrics.record(Duration::from_secs(9), 4);
        let sample = metrics.sample();
        assert_eq!((sample.buckets[0], sample.buckets[1], sample.buckets[14]), (1, 1, 1));
        assert_eq!((sample.count, sample.bytes, sample.sum_ns), (3, 7, 9_000_101_000));
    }
}

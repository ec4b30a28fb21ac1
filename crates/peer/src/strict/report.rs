//! What a strict run came to.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

/// What a strict run came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StrictReport {
    /// INVITEs sent.
    pub placed: u64,
    /// Calls in which everything came through.
    pub good: u64,
    /// Refusals by status.
    pub refused: BTreeMap<u64, u64>,
    /// Calls without a final answer.
    pub unanswered: u64,
    /// Answered calls whose BYE was not answered.
    pub unended: u64,
    /// Messages that came twice.
    pub duplicates: u64,
    /// Messages that belong to no call.
    pub unexpected: u64,
    /// INVITEs that reached the callee.
    pub callee_invites: u64,
    /// ACKs that reached the callee.
    pub callee_acks: u64,
    /// BYEs that reached the callee.
    pub callee_byes: u64,
    /// The most calls that were up at once.
    pub up_max: u64,
    /// INVITE due to first 18x or 200.
    pub pdd_us: Quantiles,
    /// INVITE due to 200.
    pub answer_us: Quantiles,
    /// BYE to its 200.
    pub bye_us: Quantiles,
    /// Good calls by the second in which they were due.
    pub good_by_second: Vec<u64>,
    /// How late the generator was at most; above a few milliseconds it measures itself.
    pub late_us_max: u64,
    /// Datagrams that the kernel did not take.
    pub refused_by_kernel: u64,
    /// CPU seconds of this process during the run.
    pub cpu_s: f64,
    /// Seconds from the first INVITE to the end.
    pub wall_s: f64,
}

/// A distribution in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Quantiles {
    /// Half are within.
    pub p50: u64,
    /// 99 % are within.
    pub p99: u64,
    /// 99.9 % are within.
    pub p999: u64,
    /// The largest.
    pub max: u64,
}

impl Quantiles {
    /// The quantiles of a histogram of microseconds.
    pub fn of(histogram: &Histogram<u64>) -> Quantiles {
        Quantiles {
            p50: histogram.value_at_quantile(0.5),
            p99: histogram.value_at_quantile(0.99),
            p999: histogram.value_at_quantile(0.999),
            max: histogram.max(),
        }
    }
}

//! What a run came to, as `banyan load -o json` prints it.

use std::collections::BTreeMap;

use serde::Serialize;

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// INVITEs sent.
    pub placed: u64,
    /// Calls answered.
    pub answered: u64,
    /// Failed ends of calls by status or reason; those of the callee's side start with `callee: `.
    pub failed: BTreeMap<String, u64>,
    /// Calls that were answered, held as long as planned and ended in order.
    pub completed: u64,
    /// Calls that were cancelled as planned.
    pub cancelled: u64,
    /// Calls that came back to us, and how many of them went as planned.
    pub received: u64,
    /// Of those that came back, how many were answered and acknowledged.
    pub received_answered: u64,
    /// Messages that were sent again.
    pub retransmissions: u64,
    /// Time from INVITE (when it was due) to the first 18x or 200.
    pub pdd_ms: PostDialDelay,
    /// Media.
    pub rtp: RtpReport,
    /// CPU seconds of this process during the run.
    pub cpu_s: f64,
    /// Seconds from the first INVITE to the end.
    pub wall_s: f64,
}

/// Post-dial delay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct PostDialDelay {
    /// Half of the calls rang within.
    pub p50: f64,
    /// 99 % of the calls rang within.
    pub p99: f64,
    /// The slowest.
    pub max: f64,
}

/// Media of a run, both directions together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct RtpReport {
    /// Packets sent.
    pub sent: u64,
    /// Packets heard.
    pub received: u64,
    /// Packets that never came.
    pub lost: u64,
    /// Packets at the wrong call's port.
    pub foreign: u64,
    /// The longest time without a packet in any call.
    pub longest_gap_ms: f64,
    /// Calls in which both ends heard each other, and nobody else.
    pub both_ways: u64,
}

impl Report {
    /// Whether every call went as planned.
    pub fn is_good(&self) -> bool {
        self.failed.is_empty()
    }

    /// How many ends of calls failed.
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }
}

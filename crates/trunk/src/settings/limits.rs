//! How many calls, where to, and what is said otherwise.

use serde::{Deserialize, Serialize};

use crate::words::words;

/// `[trunk.limits]`: all cluster-wide and exact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Calls at once.
    pub concurrent: Option<u32>,
    /// Calls in any minute.
    pub per_minute: Option<u32>,
    /// Calls in any hour.
    pub per_hour: Option<u32>,
    /// Calls in any day.
    pub per_day: Option<u32>,
    /// Calls in any week.
    pub per_week: Option<u32>,
    /// Slots of a call in and out on the same trunk: 1 or 2.
    pub hairpin: u8,
    /// The load that the operator expects; twice that many channels are advised.
    pub expected_peak: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            concurrent: None,
            per_minute: None,
            per_hour: None,
            per_day: None,
            per_week: None,
            hairpin: 2,
            expected_peak: None,
        }
    }
}

words! {
    /// A limit on a trunk, by its key.
    LimitKind {
        /// Calls at once.
        Concurrent = "concurrent",
        /// Calls in any minute.
        PerMinute = "per_minute",
        /// Calls in any hour.
        PerHour = "per_hour",
        /// Calls in any day.
        PerDay = "per_day",
        /// Calls in any week.
        PerWeek = "per_week",
    }
}

impl Limits {
    /// The value of one limit.
    pub const fn get(&self, kind: LimitKind) -> Option<u32> {
        match kind {
            LimitKind::Concurrent => self.concurrent,
            LimitKind::PerMinute => self.per_minute,
            LimitKind::PerHour => self.per_hour,
            LimitKind::PerDay => self.per_day,
            LimitKind::PerWeek => self.per_week,
        }
    }
}

/// `[trunk.destinations]`: where calls from it may go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destinations {
    /// ISO 3166 codes; empty: all.
    pub allow_countries: Vec<String>,
    /// Empty: all.
    pub allow_prefixes: Vec<String>,
    /// These are refused whatever is allowed.
    pub deny_prefixes: Vec<String>,
    /// Whether numbers that are not its own may be called.
    pub pstn: bool,
    /// To-users that are its queues.
    pub fallout: Vec<String>,
}

impl Default for Destinations {
    fn default() -> Self {
        Destinations {
            allow_countries: Vec::new(),
            allow_prefixes: Vec::new(),
            deny_prefixes: Vec::new(),
            pstn: true,
            fallout: Vec::new(),
        }
    }
}

/// `[trunk.answers]`: answers that differ from the usual ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Answers {
    /// The answer to a call beyond `limits.concurrent`; absent: 486 to it, 503 from it.
    pub concurrent: Option<u16>,
    /// Whether that answer carries Retry-After.
    pub retry_after: bool,
}

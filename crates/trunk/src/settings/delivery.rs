//! Where calls to a trunk's numbers go, and what follows a failed attempt.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::target::TargetSpec;
use crate::words::words;

/// `[trunk.delivery]`: where calls to its numbers go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Targets, in order.
    pub targets: Vec<TargetSpec>,
    /// Targets for when it is unreachable, malfunctioning or full.
    pub failover: Vec<TargetSpec>,
    /// Answers that mean malfunction.
    pub failover_on: Vec<StatusPattern>,
    /// Answers after which no further target is tried.
    pub stop_on: Vec<StatusPattern>,
    /// What happens once ringing was relayed.
    pub after_progress: AfterProgress,
    /// How often each target is tried.
    pub tries: u8,
    /// Whose number is shown on hand-back.
    pub caller_id: HandBack,
    /// The answer to a number that matches nothing.
    pub unmatched: u16,
    /// Longest call.
    pub max_duration: Duration,
}

impl Default for Delivery {
    fn default() -> Self {
        Delivery {
            targets: vec![TargetSpec::Account(1), TargetSpec::Account(2)],
            failover: Vec::new(),
            failover_on: vec![StatusPattern::Code(408), StatusPattern::Class(5)],
            stop_on: vec![StatusPattern::Code(486), StatusPattern::Code(600), StatusPattern::Code(603)],
            after_progress: AfterProgress::Stop,
            tries: 1,
            caller_id: HandBack::Original,
            unmatched: 404,
            max_duration: Duration::from_secs(4 * 3600),
        }
    }
}

/// A final status, or a class of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum StatusPattern {
    /// One status: `408`.
    Code(u16),
    /// A class: `5xx`.
    Class(u8),
}

impl StatusPattern {
    /// Reads `408` or `5xx`.
    pub fn parse(text: &str) -> Option<StatusPattern> {
        match text.as_bytes() {
            [class @ b'3'..=b'6', b'x', b'x'] => Some(StatusPattern::Class(class - b'0')),
            [b'3'..=b'6', b'0'..=b'9', b'0'..=b'9'] => text.parse().ok().map(StatusPattern::Code),
            _ => None,
        }
    }

    /// Whether a status is meant.
    pub const fn matches(self, status: u16) -> bool {
        match self {
            StatusPattern::Code(code) => code == status,
            StatusPattern::Class(class) => class as u16 == status / 100,
        }
    }
}

impl std::fmt::Display for StatusPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StatusPattern::Code(code) => write!(f, "{code}"),
            StatusPattern::Class(class) => write!(f, "{class}xx"),
        }
    }
}

words! {
    /// What happens to further targets once ringing was relayed.
    AfterProgress {
        /// No further target.
        Stop = "stop",
        /// They are tried.
        Continue = "continue",
    }
}

words! {
    /// Whose number is shown when a call is handed back.
    HandBack {
        /// The original caller's.
        Original = "original",
        /// The trunk's own.
        Own = "own",
    }
}

//! What follows a failed attempt.

use crate::settings::{AfterProgress, Delivery};

/// How an attempt ended, other than by an answer of the 2xx class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A final response.
    Status(u16),
    /// Nothing at all, or ringing without an end.
    NoAnswer,
    /// It could not be sent: no route, no connection, no address.
    Unreachable,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The next target is tried.
    NextTarget,
    /// No further target is tried; the caller gets this outcome.
    Stop,
}

impl Delivery {
    /// What follows an attempt that ended so. `progressed`: a provisional response other than 100 was relayed.
    ///
    /// A 6xx ends the search everywhere (RFC 3261 §16.7 step 5).
    pub fn after(&self, outcome: Outcome, progressed: bool) -> Next {
        // Ringing twice confuses the caller, and early media of two targets can't be merged.
        if progressed && self.after_progress == AfterProgress::Stop {
            return Next::Stop;
        }
        let status = match outcome {
            Outcome::NoAnswer | Outcome::Unreachable => return Next::NextTarget,
            Outcome::Status(status) => status,
        };
        let listed = |list: &[crate::settings::StatusPattern]| list.iter().any(|one| one.matches(status));
        if status >= 600 || listed(&self.stop_on) || !listed(&self.failover_on) {
            return Next::Stop;
        }
        Next::NextTarget
    }
}

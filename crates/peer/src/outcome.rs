//! How one end of a call ended.

use thiserror::Error;

use crate::violation::Violation;

/// How one end of a call ended. Its text is the reason in a report.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Error)]
pub enum Outcome {
    /// Answered, held as long as planned, ended by BYE and its 200.
    #[error("completed")]
    Completed,
    /// Cancelled as planned, 487 or a crossing answer included.
    #[error("cancelled")]
    Cancelled,
    /// We, the callee, refused as planned and the refusal was acknowledged.
    #[error("declined")]
    Declined,
    /// The far side refused with this status.
    #[error("{0}")]
    Refused(u16),
    /// The far side hung up before the planned time.
    #[error("hung up early")]
    HungUp,
    /// The far side broke a rule.
    #[error("{0}")]
    Broken(Violation),
    /// Something that must come did not: the final answer, the ACK, the answer to BYE, the BYE.
    #[error("no {0}")]
    TimedOut(&'static str),
}

impl Outcome {
    /// Whether the call went as planned.
    pub const fn is_good(&self) -> bool {
        matches!(self, Outcome::Completed | Outcome::Cancelled | Outcome::Declined)
    }
}

//! What can be wrong with a message in a dialog, and what can't be done now.

use thiserror::Error;

/// A request in a dialog that must be refused; each case has one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Reject {
    /// Its CSeq is lower than one seen before (RFC 3261 §12.2.2).
    #[error("CSeq out of order")]
    OutOfOrder {
        /// Seconds to wait, 0–10.
        retry_after_s: u8,
    },
    /// An INVITE of the peer has no final answer yet (RFC 3261 §14.2).
    #[error("INVITE in progress")]
    InvitePending {
        /// Seconds to wait, 0–10.
        retry_after_s: u8,
    },
    /// An offer or UPDATE of the peer has no answer yet (RFC 3311 §5.2).
    #[error("offer in progress")]
    OfferPending {
        /// Seconds to wait, 0–10.
        retry_after_s: u8,
    },
    /// An INVITE or offer of ours has no answer yet (RFC 3261 §14.2, RFC 3311 §5.2).
    #[error("request pending")]
    Glare,
    /// Its Session-Expires is too small (RFC 4028 §9).
    #[error("session interval too small")]
    IntervalTooSmall {
        /// What Min-SE says.
        min_se_s: u32,
    },
    /// Session timers are required here and the peer has none.
    #[error("session timer required")]
    TimerRequired,
    /// A PRACK that matches no provisional response without one (RFC 3262 §3).
    #[error("no such provisional response")]
    NoSuchProvisional,
    /// The tags or the Call-ID are those of no dialog here, or the dialog is over (RFC 3261 §12.2.2).
    #[error("no such dialog")]
    NoSuchDialog,
    /// The request breaks a rule that every request must keep.
    #[error(transparent)]
    Malformed(#[from] PeerError),
}

impl Reject {
    /// The status code of the answer.
    pub fn status(&self) -> u16 {
        match self {
            Reject::OutOfOrder { .. } | Reject::InvitePending { .. } | Reject::OfferPending { .. } => 500,
            Reject::Glare => 491,
            Reject::IntervalTooSmall { .. } => 422,
            Reject::TimerRequired => 421,
            Reject::NoSuchProvisional | Reject::NoSuchDialog => 481,
            Reject::Malformed(_) => 400,
        }
    }

    /// The Retry-After that goes with it.
    pub fn retry_after_s(&self) -> Option<u8> {
        match self {
            Reject::OutOfOrder { retry_after_s }
            | Reject::InvitePending { retry_after_s }
            | Reject::OfferPending { retry_after_s } => Some(*retry_after_s),
            _ => None,
        }
    }
}

/// A message that can't make a dialog, or take part in one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PeerError {
    /// It has no Contact, or one that is no single URI (RFC 3261 §8.1.1.8, §12.1).
    #[error("missing or unusable Contact")]
    Contact,
    /// A response without a To tag (RFC 3261 §12.1.2).
    #[error("missing To tag")]
    NoToTag,
    /// A header that identifies the dialog holds bytes that are not UTF-8 (RFC 3261 §7).
    #[error("{0} is not text")]
    NotText(sip::Name),
    /// A header can't be read.
    #[error(transparent)]
    Parse(#[from] sip::ParseError),
    /// A response for another dialog, or to a request that we never sent in this one.
    #[error("response matches no request of this dialog")]
    Unexpected,
}

/// A request that may not be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotNow {
    /// An INVITE of either side is in progress (RFC 3261 §14.1).
    #[error("an INVITE is in progress")]
    InvitePending,
    /// An offer or UPDATE of either side is in progress (RFC 3311 §5.1).
    #[error("an offer is in progress")]
    OfferPending,
    /// The callee may not end the call before its 2xx is acknowledged (RFC 3261 §15).
    #[error("the ACK is awaited")]
    AckAwaited,
    /// The callee may not end an early dialog by BYE (RFC 3261 §15).
    #[error("the dialog is early")]
    Early,
    /// A reliable provisional response has no PRACK yet (RFC 3262 §3).
    #[error("a PRACK is awaited")]
    PrackAwaited,
    /// BYE went one way or the other.
    #[error("the dialog is over")]
    Ended,
}

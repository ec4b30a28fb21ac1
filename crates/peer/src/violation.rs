//! What the far node can do wrong, as its callers and callees see it (RFC 3261 §8, §12–15, §18–20).

use thiserror::Error;

/// A rule that the far node broke. The call in which it happened counts as failed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Error)]
#[non_exhaustive]
pub enum Violation {
    /// rsip cannot read the message.
    #[error("unreadable message")]
    Unreadable,
    /// A header that every message of this kind carries is missing (RFC 3261 §8.1.1, §20).
    #[error("{header} is missing")]
    Missing {
        /// The header's name.
        header: &'static str,
    },
    /// A header is there, but rsip cannot read it.
    #[error("{header} is malformed")]
    Malformed {
        /// The header's name.
        header: &'static str,
    },
    /// Content-Length and the bytes that came disagree (RFC 3261 §18.3).
    #[error("Content-Length disagrees with the body")]
    ContentLength,
    /// The branch does not start with the magic cookie (RFC 3261 §8.1.1.7).
    #[error("branch without the magic cookie")]
    Branch,
    /// A response's Via is not exactly the one that the request carried (RFC 3261 §8.1.3.3).
    #[error("foreign Via in a response")]
    ForeignVia,
    /// The node shows a Via that is not its own: topology leaks, or a response would bypass it.
    #[error("more than one Via in a request")]
    SecondVia,
    /// A From or To tag differs from the dialog's (RFC 3261 §12.2).
    #[error("{header} tag changed")]
    TagChanged {
        /// From or To.
        header: &'static str,
    },
    /// A Call-ID differs from the dialog's.
    #[error("Call-ID changed")]
    CallIdChanged,
    /// A request's CSeq is not above the last one's (RFC 3261 §12.2.2).
    #[error("CSeq does not rise")]
    CSeqOrder,
    /// A CSeq names another method or number than its transaction's.
    #[error("CSeq of another transaction")]
    CSeqMismatch,
    /// An in-dialog request does not aim at our Contact (RFC 3261 §12.2.1.1).
    #[error("Request-URI is not our Contact")]
    RequestUri,
    /// The Route values of a request inside the dialog are not the dialog's route set.
    #[error("Route differs from the route set")]
    Route,
    /// No SDP where offer/answer needs one (RFC 3264 §4, RFC 3261 §13.2.1).
    #[error("SDP is missing")]
    NoSdp,
    /// The SDP has no audio line that can be read.
    #[error("SDP without audio")]
    NoAudio,
    /// The answer names no codec of our offer (RFC 3264 §6).
    #[error("no codec of the offer in the answer")]
    NoCodec,
    /// A body came without Content-Type (RFC 3261 §20.15), or with another than SDP's.
    #[error("unexpected Content-Type")]
    ContentType,
    /// Require names an extension that we never offered (RFC 3261 §8.1.3.5).
    #[error("Require of an extension that was not offered")]
    Require,
    /// A response whose status fits no state of its transaction.
    #[error("unexpected {status} to {method}")]
    UnexpectedResponse {
        /// The status.
        status: u16,
        /// The method that it answers.
        method: &'static str,
    },
    /// A request that fits no state of the call.
    #[error("unexpected {method}")]
    UnexpectedRequest {
        /// The method.
        method: &'static str,
    },
    /// A second 2xx with another To tag: a back-to-back user agent has one answer.
    #[error("second answer with another To tag")]
    SecondAnswer,
}

//! Every No becomes one answer here: status, Warning, Reason and Retry-After, in one total function for each
//! kind of blame (the contract's table "SIP answers that a user can rely on").

use trunk::{Reject, Side};

use crate::record::{Limited, LimitedBy};

/// A final answer of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Why: the rule's name first. Goes into Warning (399) and the CDR.
    pub text: String,
    /// The warn-code (RFC 3261 §20.43).
    pub warning: u16,
    /// Retry-After, in seconds.
    pub retry_after_s: Option<u32>,
    /// The Q.850 cause of the Reason header (RFC 3326).
    pub q850: Option<u8>,
    /// Min-SE, in seconds (RFC 4028 §9).
    pub min_se_s: Option<u32>,
    /// Whether the caller must have session timers (`Require: timer`).
    pub needs_timer: bool,
}

impl Answer {
    /// A status with its reason.
    pub fn new(status: u16, text: impl Into<String>) -> Answer {
        let text = text.into();
        Answer {
            status,
            text,
            warning: 399,
            retry_after_s: None,
            q850: None,
            min_se_s: None,
            needs_timer: false,
        }
    }

    const fn retry_after(mut self, seconds: u32) -> Answer {
        self.retry_after_s = Some(seconds);
        self
    }

    const fn cause(mut self, q850: u8) -> Answer {
        self.q850 = Some(q850);
        self
    }
}

/// The answer to a caller whom policy refuses.
pub fn policy(reject: &Reject) -> Answer {
    let text = reject.to_string();
    match reject {
        Reject::NotIdentified
        | Reject::WrongCredentials
        | Reject::BadPrefix
        | Reject::AccountHeaderMissing { .. }
        | Reject::AccountHeaderMismatch { .. }
        | Reject::FromDomain { .. }
        | Reject::ForeignTenant { .. }
        | Reject::RegisterRefused { .. }
        | Reject::Destination { .. }
        | Reject::CallerIdForeign { .. }
        | Reject::CallerIdMissing => Answer::new(403, text),
        Reject::Full { side: Side::Egress, .. } => Answer::new(486, text).cause(17),
        Reject::Full { side: Side::Ingress, .. } => Answer::new(503, text).cause(34),
        Reject::RatePerMinute { retry_after_s, .. } => {
            Answer::new(503, text).retry_after((*retry_after_s).clamp(1, 60))
        }
        Reject::RatePerWindow { .. } => Answer::new(403, text),
        Reject::NumberForm { .. } => Answer::new(484, text),
        Reject::UnknownNumber { unmatched, .. } => Answer::new(*unmatched, text),
        Reject::NoTarget { .. } => Answer::new(480, text),
        Reject::DeliveryLoop { .. } => Answer::new(482, text),
        Reject::Overload { retry_after_s } | Reject::NoQuorum { retry_after_s } => {
            Answer::new(503, text).retry_after((*retry_after_s).clamp(2, 10))
        }
        // A new kind of refusal without an answer of its own is still a refusal.
        _ => Answer::new(403, text),
    }
}

/// The answer to a caller whom a limit refuses.
pub fn limited(limited: &Limited) -> Answer {
    let Limited { kind, scope, limit, egress, retry_after_s } = limited;
    match (kind, egress) {
        (LimitedBy::Concurrent, true) => {
            Answer::new(486, format!("limits.concurrent: {scope} carries {limit} calls already")).cause(17)
        }
        // Without Retry-After: it would stop the whole PBX (contract).
        (LimitedBy::Concurrent, false) => {
            Answer::new(503, format!("limits.concurrent: {scope} carries {limit} calls already")).cause(34)
        }
        (LimitedBy::Minute, _) => {
            Answer::new(503, format!("limits.per_minute: {scope} had {limit} calls in a minute"))
                .retry_after((*retry_after_s).clamp(1, 60))
                .cause(34)
        }
        (LimitedBy::Hour, _) => window("hour", scope, *limit),
        (LimitedBy::Day, _) => window("day", scope, *limit),
        (LimitedBy::Week, _) => window("week", scope, *limit),
    }
}

fn window(name: &str, scope: &trunk::Name, limit: u32) -> Answer {
    Answer::new(403, format!("limits.per_{name}: {scope} had {limit} calls in a {name}")).cause(34)
}

/// The answer to a caller whose last target failed so: `status` is what the attempt counts as.
pub fn unreached(status: u16) -> Answer {
    match status {
        408 => Answer::new(408, "no target answered").cause(18),
        // A redirect that nobody may follow, or an address that nothing can be sent to.
        300..400 => Answer::new(480, "redirect.follow: the redirect is not followed").cause(20),
        503 => Answer::new(480, "no target is reachable").cause(20),
        502 => Answer::new(502, "the target answered nonsense"),
        504 => Answer::new(504, "the target's name has no address"),
        other => Answer::new(other, "the target refused"),
    }
}

/// The status with which a peer's refusal is passed on: its 503 would make the caller avoid us (RFC 3261
/// §16.7 step 6), and a challenge that the caller cannot answer is a refusal.
pub const fn relayed(status: u16) -> u16 {
    match status {
        503 => 500,
        300..400 => 480,
        other => other,
    }
}

/// The caller gave up (RFC 3261 §9.2).
pub fn cancelled() -> Answer {
    Answer::new(487, "cancelled")
}

/// The same request came by another way (RFC 3261 §8.2.2.2).
pub fn merged() -> Answer {
    Answer::new(482, "merged request")
}

/// No codec is allowed here and offered there.
pub fn no_common_codec() -> Answer {
    Answer { warning: 305, ..Answer::new(488, "media.codecs: no common codec") }
}

/// The session description cannot be carried.
pub fn media(text: impl Into<String>) -> Answer {
    Answer { warning: 304, ..Answer::new(488, text) }
}

/// The session description breaks its grammar.
pub fn malformed(text: impl Into<String>) -> Answer {
    Answer::new(400, text)
}

/// The session timer that the caller wants, or has not, is not served.
pub fn session(reject: &dialog::Reject) -> Answer {
    let mut answer = Answer::new(reject.status(), format!("timers.session: {reject}"));
    match reject {
        dialog::Reject::IntervalTooSmall { min_se_s } => answer.min_se_s = Some(*min_se_s),
        dialog::Reject::TimerRequired => answer.needs_timer = true,
        _ => {} // The others carry nothing.
    }
    answer
}

/// The home has no RTP ports left.
pub fn no_ports() -> Answer {
    Answer::new(503, "media.ports: none is free").retry_after(5).cause(34)
}

/// The commit that the caller waits for did not come. `draw` spreads the callers that come again.
pub fn no_quorum(draw: u64) -> Answer {
    // 2 to 10, by the contract.
    let retry_after_s = 2 + u32::try_from(draw % 9).unwrap_or_default();
    policy(&Reject::NoQuorum { retry_after_s })
}

/// The INVITE is larger than what a quorum keeps.
pub fn too_large() -> Answer {
    Answer::new(513, "the INVITE is larger than 8192 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> trunk::Name {
        trunk::Name::new(text).expect("a name")
    }

    #[test]
    fn a_full_trunk_answers_by_direction() {
        // Contract, "SIP answers": call to it 486 with cause 17, call from it 503 with cause 34, no Retry-After.
        let full = |egress| {
            limited(&Limited {
                kind: LimitedBy::Concurrent,
                scope: name("easy"),
                limit: 30,
                egress,
                retry_after_s: 0,
            })
        };
        assert_eq!((full(true).status, full(true).q850, full(true).retry_after_s), (486, Some(17), None));
        assert_eq!((full(false).status, full(false).q850, full(false).retry_after_s), (503, Some(34), None));
        assert!(full(true).text.contains("easy carries 30 calls"));
    }

    #[test]
    fn the_minute_says_when_and_the_day_says_never_mind() {
        let over =
            |kind| limited(&Limited { kind, scope: name("t"), limit: 2, egress: false, retry_after_s: 90 });
        assert_eq!((over(LimitedBy::Minute).status, over(LimitedBy::Minute).retry_after_s), (503, Some(60)));
        assert_eq!((over(LimitedBy::Day).status, over(LimitedBy::Day).retry_after_s), (403, None));
    }

    #[test]
    fn a_peers_503_becomes_500_and_its_486_stays() {
        assert_eq!((relayed(503), relayed(486), relayed(603), relayed(302)), (500, 486, 603, 480));
    }
}

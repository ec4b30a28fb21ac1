//! Every No becomes one answer here: status, Warning, Reason and Retry-After, in one total function for each
//! kind of blame (the contract's table "SIP answers that a user can rely on").

use trunk::settings::Answers;
use trunk::{Plan, Reject, Resources, Scope, Side};

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
    /// Header lines of a challenge, each with its CRLF.
    pub challenge: Vec<u8>,
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
            challenge: Vec::new(),
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
        | Reject::ForeignSource { .. }
        | Reject::ForeignAddress { .. }
        | Reject::Destination { .. }
        | Reject::CallerIdForeign { .. }
        | Reject::CallerIdMissing => Answer::new(403, text),
        Reject::Full { side, answers, .. } => full(text, *side, answers),
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

/// The answer to a caller whom a limit refuses: the usual one, or what the limit's owner wants said.
pub fn limited(limited: &Limited, resources: &Resources, plan: &Plan) -> Answer {
    let Limited { kind, scope, limit, egress, retry_after_s } = limited;
    match kind {
        LimitedBy::Concurrent => {
            let side = if *egress { Side::Egress } else { Side::Ingress };
            let text = format!("limits.concurrent: {scope} carries {limit} calls already");
            let owner = owner(limited, side, plan).map(|owner| resources.full(owner, side));
            match &owner {
                Some(Reject::Full { answers, .. }) => full(text, side, answers),
                _ => full(text, side, &Answers::default()),
            }
        }
        LimitedBy::Minute => {
            Answer::new(503, format!("limits.per_minute: {scope} had {limit} calls in a minute"))
                .retry_after((*retry_after_s).clamp(1, 60))
                .cause(34)
        }
        LimitedBy::Hour => window("hour", scope, *limit),
        LimitedBy::Day => window("day", scope, *limit),
        LimitedBy::Week => window("week", scope, *limit),
    }
}

/// Whose limit it is: the plan knows whether the name is a trunk's or a gateway's.
fn owner<'a>(limited: &Limited, side: Side, plan: &'a Plan) -> Option<&'a Scope> {
    let mut slots = plan.slots.iter().chain(plan.targets.iter().flat_map(|target| &target.slots));
    slots.find(|slot| slot.side == side && *slot.scope.name() == limited.scope).map(|slot| &slot.scope)
}

/// A concurrency limit is reached. Usually without Retry-After: it would stop the whole PBX (contract).
fn full(text: String, side: Side, answers: &Answers) -> Answer {
    let (status, cause) = match side {
        Side::Egress => (486, 17),
        Side::Ingress => (503, 34),
    };
    let answer = Answer::new(answers.concurrent.unwrap_or(status), text).cause(cause);
    if answers.retry_after { answer.retry_after(FULL_RETRY_AFTER_S) } else { answer }
}

/// Where a trunk wants Retry-After with its own limit: about when a call of a busy trunk has ended.
const FULL_RETRY_AFTER_S: u32 = 10;

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

/// The answer to a caller whose digest was used before (RFC 7616 §3.3: `stale`).
pub fn replayed(challenge: Vec<u8>) -> Answer {
    Answer { challenge, ..Answer::new(407, "") }
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

    /// A call of trunk `easy` through gateway `carrier`.
    fn plan() -> Plan {
        let slot = |scope, side| trunk::Slot { scope, side };
        Plan {
            called: "+31201234567".into(),
            direction: trunk::Direction::Out,
            tenant: None,
            slots: vec![
                slot(Scope::Trunk(name("easy")), Side::Ingress),
                slot(Scope::Gateway(name("carrier")), Side::Egress),
            ],
            windows: Vec::new(),
            targets: Vec::new(),
            emergency: false,
            max_duration: std::time::Duration::ZERO,
        }
    }

    fn full(scope: &str, egress: bool, answers: &Answers) -> Answer {
        let mut resources = Resources::default();
        let mut easy = trunk::Trunk::new(name("easy"));
        easy.settings.answers = answers.clone();
        let mut carrier = trunk::Gateway::new(name("carrier"));
        carrier.targets = vec![trunk::SipTarget::parse("sip:198.51.100.1").expect("a target")];
        carrier.settings.answers = answers.clone();
        let set = vec![trunk::Resource::Trunk(Box::new(easy)), trunk::Resource::Gateway(Box::new(carrier))];
        resources.apply(set).expect("good resources");
        let hit =
            Limited { kind: LimitedBy::Concurrent, scope: name(scope), limit: 30, egress, retry_after_s: 0 };
        limited(&hit, &resources, &plan())
    }

    #[test]
    fn a_full_trunk_answers_by_direction() {
        // Contract, "SIP answers": call to it 486 with cause 17, call from it 503 with cause 34, no Retry-After.
        let usual = Answers::default();
        let (to, from) = (full("carrier", true, &usual), full("easy", false, &usual));
        assert_eq!((to.status, to.q850, to.retry_after_s), (486, Some(17), None));
        assert_eq!((from.status, from.q850, from.retry_after_s), (503, Some(34), None));
        assert!(from.text.contains("easy carries 30 calls"));
    }

    #[test]
    fn the_owner_of_a_limit_chooses_its_answer() {
        // Contract, `[trunk.answers]`: overrides of the table, for the trunk and for the gateway that has them.
        let own = Answers { concurrent: Some(480), retry_after: true };
        for (scope, egress) in [("carrier", true), ("easy", false)] {
            let answer = full(scope, egress, &own);
            assert_eq!((answer.status, answer.retry_after_s), (480, Some(FULL_RETRY_AFTER_S)), "{scope}");
        }
        // Not another's: no slot of this call is counted there.
        assert_eq!(full("carrier", false, &own).status, 503);
        let reject = |answers: &Answers| {
            policy(&Reject::Full {
                scope: Scope::Trunk(name("easy")),
                limit: 1,
                side: Side::Egress,
                answers: answers.clone(),
            })
        };
        assert_eq!((reject(&own).status, reject(&Answers::default()).status), (480, 486));
    }

    #[test]
    fn the_minute_says_when_and_the_day_says_never_mind() {
        let over = |kind| {
            let hit = Limited { kind, scope: name("t"), limit: 2, egress: false, retry_after_s: 90 };
            limited(&hit, &Resources::default(), &plan())
        };
        assert_eq!((over(LimitedBy::Minute).status, over(LimitedBy::Minute).retry_after_s), (503, Some(60)));
        assert_eq!((over(LimitedBy::Day).status, over(LimitedBy::Day).retry_after_s), (403, None));
    }

    #[test]
    fn a_peers_503_becomes_500_and_its_486_stays() {
        assert_eq!((relayed(503), relayed(486), relayed(603), relayed(302)), (500, 486, 603, 480));
    }
}

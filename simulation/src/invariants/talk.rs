//! Media: who talks hears the other end of the call and nobody else, and goes without for no longer than a
//! successor takes.

use std::net::SocketAddr;
use std::time::Duration;

use machine::Instant;

use super::Oracle;
use crate::fault::{Effects, Kind};
use crate::peers::Society;
use crate::plan::{Plan, is_caller};
use crate::talk::{Air, Hearing};

const HEARD: &str = "liveness: surviving calls talk both ways";
const CROSSED: &str = "I-37 media goes to the other end of the call alone";
const BRIEF: &str = "I-8 a takeover is a short silence";

/// Whether the far end of this one forbids to be told where the call lives now: what it says is lost.
fn is_deaf(plan: &Plan, number: u32, peer: SocketAddr, effects: &Effects) -> bool {
    let far = if is_caller(peer.ip()) { plan.variety.gateways_forbid } else { plan.variety.trunk_forbids };
    far && effects.adoption(number).is_some()
}

/// Faults are over and all is well: every end of a call that talks must have heard the other of late.
pub fn all_hear(oracle: &Oracle, at: Instant, air: &Air, society: &Society, effects: &Effects, plan: &Plan) {
    let both = society.both_talk();
    for ((number, end), hearing) in &air.heard().ends {
        // A re-INVITE that names the new home may have gone into a connection that the peer had lost: over TCP it is
        // said once (RFC 3261 §17.1.1.2).
        let untold = effects.adoption(*number).is_some() && effects.is_unheard(*number);
        let exempt = effects.is_forged(*number) || is_deaf(plan, *number, *end, effects) || untold;
        let silent = hearing.silent(at);
        if both.contains(number) && !exempt && silent > hearing.every * 2 {
            oracle.found(
                at,
                HEARD,
                format!("call #{number}: {end} has heard nothing for {} ms", silent.as_millis()),
            );
        }
    }
}

/// Judges what all ends heard, when all is over.
pub fn judge(oracle: &Oracle, at: Instant, air: &Air, effects: &Effects, plan: &Plan) {
    let heard = air.heard();
    let corrupts = |at: Instant| {
        let mut corruptions = plan.faults.iter().filter(|fault| fault.kind == Kind::Corruption);
        corruptions.any(|fault| fault.from <= at && at < fault.until + AFTER)
    };
    let mut strange = heard.strange.iter();
    let strange = strange.find(|(at, number, _)| !effects.is_forged(*number) && !corrupts(*at));
    if let Some((_, _, said)) = strange {
        oracle.found(at, CROSSED, said.clone());
    }
    for ((number, end), hearing) in &heard.ends {
        if effects.is_harmed(*number) || is_deaf(plan, *number, *end, effects) {
            continue;
        }
        let long = hearing
            .gaps
            .iter()
            .find(|gap| bound(hearing, **gap, plan).is_some_and(|most| gap.1.since(gap.0) > most));
        if let Some((from, until)) = long {
            let (from, ms) = (from.as_nanos() / 1_000_000, until.since(*from).as_millis());
            oracle.found(
                at,
                BRIEF,
                format!("call #{number}: {end} hears nothing for {ms} ms from {from} ms on"),
            );
        }
    }
}

/// For how long an end may have heard nothing: `None` if more went wrong then than one death.
fn bound(hearing: &Hearing, (from, until): (Instant, Instant), plan: &Plan) -> Option<Duration> {
    let mut deaths = 0;
    for fault in &plan.faults {
        let over = if fault.kind == Kind::Crash { fault.from } else { fault.until };
        if fault.from > until || over + AFTER < from {
            continue;
        }
        match fault.kind {
            Kind::Crash | Kind::CrashAtSync => deaths += 1,
            Kind::Reapplication
            | Kind::LimitLowered
            | Kind::Overload
            | Kind::ClockJump
            | Kind::ClockDrift => {}
            _ => return None,
        }
    }
    let rests = [MOVE, TAKEOVER].get(deaths)?;
    Some(hearing.every * 2 + *rests)
}

/// Until what a fault has left behind is gone.
const AFTER: Duration = Duration::from_secs(4);
/// A home that moves in order.
const MOVE: Duration = Duration::from_millis(500);
/// The silence after which a node counts as dead, an election if it led, what is left of its lease, and a commit;
/// in a fixed home a re-INVITE to each peer as well.
const TAKEOVER: Duration = Duration::from_millis(2_500);

//! What callers and callees were promised, by their own account: I-8 an answered call survives; I-10 and I-11 both
//! legs end; I-15 a CANCEL that crosses an answer charges nobody; I-41 never two rings, never two answers.
//!
//! The network may lose what ends a call, so calls whose datagrams it has harmed are judged by their end alone:
//! there must be one.
//!
//! A node's own address is lost with it (ARCHITECTURE.md, "Fixed homes"): a call that rang there may end with 503,
//! what its callee says is lost, and so is what a peer was asking when the node died.

use std::time::Duration;

use machine::Instant;
use peer::{Outcome, Violation};

use super::Oracle;
use crate::fault::{Adoption, Effects, Fault, Kind};
use crate::peers::{End, Stories, Story};
use crate::plan::{self, Plan, is_caller, node_at};

/// Judges all calls, when all should be over.
pub fn judge(oracle: &Oracle, at: Instant, stories: &Stories, effects: &Effects, plan: &Plan) {
    let called = |number: u32| plan.calls.iter().find(|call| call.number == number);
    for (number, story) in &stories.calls {
        let (harmed, limited) = (effects.is_harmed(*number), effects.is_limited(*number));
        let node = called(*number).and_then(|call| node_at(call.to));
        let adoption = effects.adoption(*number);
        let judged = Judged { harmed, limited, effects, plan, node, adoption };
        for (clause, found) in of_story(story, &judged) {
            oracle.found(at, clause, format!("call #{number}: {found}"));
        }
    }
    let harmless = effects.counts().keys().all(|kind| *kind >= Kind::Isolation);
    // The INVITE of a lost home may be cancelled before it was sent.
    if let (true, Some(stray)) = (harmless && !effects.any_adopted(), stories.strays.first()) {
        oracle.found(at, STRAY, stray.clone());
    }
}

const SURVIVES: &str = "I-8 an answered call survives";
const ENDS: &str = "I-10 I-11 both legs end";
const RINGS: &str = "I-41 never two rings at once";
const PLANNED: &str = "I-15 I-16 I-41 a call ends as its ends decide";
const STRAY: &str = "I-11 nobody is spoken to out of the blue";

/// What a call is judged by.
struct Judged<'a> {
    harmed: bool,
    limited: bool,
    effects: &'a Effects,
    plan: &'a Plan,
    /// Whose own address was called.
    node: Option<u64>,
    /// How the call came to another home, if its own was lost.
    adoption: Option<Adoption>,
}

fn of_story(story: &Story, judged: &Judged<'_>) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    if let Some(end) = story.ends().find(|end| end.ended.is_none()) {
        found.push((ENDS, format!("at {} it goes on for ever", end.peer)));
    }
    // Where an attempt's INVITE went is not on record. A successor that finds the name leading elsewhere asks there,
    // or gives up, while a callee rings that has not been heard yet. Tolerated until the record says it.
    if judged.harmed
        || judged.plan.faults.iter().any(|fault| fault.kind.needs_names() && overlaps(story, fault))
    {
        return found;
    }
    let stranded = judged.adoption.is_some_and(|adoption| !adoption.answered);
    // The callee of a lost home rings on until its CANCEL comes.
    if let Some((first, second)) = two_rings(story).filter(|_| !stranded) {
        found.push((RINGS, format!("{} and {} ring at once", first.peer, second.peer)));
    }
    let declined = story.callees.iter().any(has_refused);
    let lost = story.ends().any(|end| is_lost(end, judged));
    for end in story.ends() {
        let Some((at, how)) = &end.ended else { continue };
        let is_caller = std::ptr::eq(end, story.caller.as_ref().unwrap_or(end)) && story.caller.is_some();
        let good = match how {
            Outcome::Completed | Outcome::Cancelled | Outcome::Declined => true,
            // What limits say is another invariant's matter.
            Outcome::Refused(_) => {
                let mute = story.callees.is_empty() && judged.effects.any_took_none(end.began, *at);
                // A node without a lease reaches no callee, and nobody need hold it dead meanwhile.
                is_caller && (declined || judged.limited || stranded || mute || is_excused(end, *at, judged))
            }
            Outcome::TimedOut(_) if is_unspoken(end, *at, judged) || is_crossed(end, story, judged) => true,
            Outcome::TimedOut("final after CANCEL") if declined && died_amid(story, judged, *at) => true,
            // It answered while it was given up, and who knew of the call was lost: nobody is left to say ACK and BYE.
            Outcome::TimedOut("ACK") if has_given_up(story) => {
                judged.effects.any_took_none(end.began, answered_by(*at))
            }
            Outcome::TimedOut("ACK of a refusal") if died_amid(story, judged, answered_by(*at)) => true,
            Outcome::TimedOut(_) if is_refused_a_stream(end, *at, judged) => true,
            Outcome::TimedOut(_) if judged.adoption.is_some() => is_lost(end, judged),
            // A BYE that comes again may find that its call has ended: its node was lost before it could say so, or
            // nobody heard the address that it went to, and who adopted the call learnt of its end from the re-INVITE.
            Outcome::Broken(Violation::UnexpectedResponse { status: 481, method: "BYE" }) => {
                judged.adoption.is_some_and(|adoption| at.since(adoption.at) < GIVE_UP)
                    || judged.effects.any_took_none(end.began, *at) && is_disturbed(story, judged)
            }
            Outcome::HungUp if lost || is_held_back(judged) => true,
            Outcome::Broken(violation) if is_challenge(violation, judged) => true,
            Outcome::Broken(Violation::UnexpectedResponse { status: 481, method: "INVITE" }) => {
                is_after_the_other(end, *at, story, judged)
            }
            Outcome::HungUp | Outcome::TimedOut(_) | Outcome::Broken(_) => false,
        };
        if !good {
            let clause = if end.answered.is_some() { SURVIVES } else { PLANNED };
            found.push((
                clause,
                format!("at {} it ends at {} ms: {how}", end.peer, at.as_nanos() / 1_000_000),
            ));
        }
    }
    found
}

/// Whether a re-INVITE was challenged by a far end that does so: nobody may answer that (I-35).
fn is_challenge(violation: &Violation, judged: &Judged<'_>) -> bool {
    *violation == Violation::UnexpectedResponse { status: 407, method: "INVITE" }
        && judged.plan.variety.accounts.is_some_and(|accounts| accounts.challenges)
}

/// Whether a fault was under way while a call was.
fn overlaps(story: &Story, fault: &Fault) -> bool {
    let began = story.ends().map(|end| end.began).min().unwrap_or_default();
    let ended =
        story.ends().filter_map(|end| end.ended.as_ref()).map(|(at, _)| *at).max().unwrap_or_default();
    began < fault.until + AFTER && fault.from <= ended
}

/// Whether a node may have died while a call was, up to a moment.
fn died_amid(story: &Story, judged: &Judged<'_>, until: Instant) -> bool {
    let kills = |fault: &Fault| fault.kind.kills() && fault.from <= until && overlaps(story, fault);
    judged.plan.faults.iter().any(kills)
}

/// Whether anything but an operator's orders went on while a call was: those leave no sentence unfinished.
fn is_disturbed(story: &Story, judged: &Judged<'_>) -> bool {
    let is_order = |kind: Kind| {
        matches!(
            kind,
            Kind::Restart
                | Kind::DrainAndResume
                | Kind::RollingUpgrade
                | Kind::MemberAdded
                | Kind::MemberRemoved
                | Kind::LimitLowered
                | Kind::Reapplication
        )
    };
    judged.plan.faults.iter().any(|fault| !is_order(fault.kind) && overlaps(story, fault))
}

/// When a callee that waited in vain for an ACK had answered, and its answer was surely heard where anybody was: what
/// happened later excuses nobody.
fn answered_by(gave_up: Instant) -> Instant {
    gave_up - (GIVE_UP - AFTER)
}

/// Whether a callee has refused, be that acknowledged or not.
fn has_refused(end: &End) -> bool {
    matches!(outcome(end), Some(Outcome::TimedOut("ACK of a refusal") | Outcome::Declined))
}

fn outcome(end: &End) -> Option<&Outcome> {
    end.ended.as_ref().map(|(_, outcome)| outcome)
}

/// Whether a refusal may have been right because a disk took nothing, a name led nowhere, or nobody could hear a
/// majority.
fn is_excused(end: &End, ended: Instant, judged: &Judged<'_>) -> bool {
    let full = |fault: &Fault| {
        let disk = matches!(fault.kind, Kind::DiskFull | Kind::FsyncError | Kind::ReadError);
        disk && end.began < fault.until + AFTER && fault.from < end.began + AFTER
    };
    let alone = judged.node.is_some_and(|node| judged.effects.took_none(node, end.began, ended));
    // Who was told to stop, or drained, and could not hand its homes over.
    let stops = |fault: &&Fault| {
        let stops = matches!(fault.kind, Kind::Restart | Kind::DrainAndResume);
        stops && fault.from <= ended && end.began <= fault.until + DRAINS
    };
    let stuck =
        judged.plan.faults.iter().filter(stops).enumerate().any(|(others, fault)| {
            others > 0 || judged.effects.lacked_quorum(fault.from, fault.until + DRAINS)
        });
    let unnamed =
        |fault: &Fault| fault.kind.needs_names() && end.began < fault.until + AFTER && fault.from <= ended;
    alone
        || stuck
        || judged.plan.faults.iter().any(unnamed)
        || judged.plan.faults.iter().any(full)
        || judged.effects.lacked_quorum(end.began, ended)
}

/// Whether a refusal was committed and its node was lost before it was spoken: the caller, if it gives up, hears 481, and
/// the callee's refusal is never acknowledged. Tolerated until a successor repeats the refusals of its home.
fn is_unspoken(end: &End, ended: Instant, judged: &Judged<'_>) -> bool {
    let until = match outcome(end) {
        Some(Outcome::TimedOut("final after CANCEL")) if is_caller(end.peer.ip()) => ended,
        Some(Outcome::TimedOut("ACK of a refusal")) => answered_by(ended),
        _ => return false,
    };
    end.answered.is_none() && judged.effects.any_took_none(end.began, until)
}

/// Whether an end that speaks SIP over TCP asked something while nobody took its connection: nothing repeats it.
fn is_refused_a_stream(end: &End, ended: Instant, judged: &Judged<'_>) -> bool {
    let variety = judged.plan.variety;
    let caller = (0..4).any(|place| plan::caller(place) == end.peer && variety.is_caller_over_tcp(place));
    let callee = (0..4).any(|place| plan::callee(place) == end.peer && variety.is_callee_over_tcp(place));
    (caller || callee) && judged.effects.any_took_none(end.began, ended)
}

/// Whether a probe crossed the other end's BYE; or it came after that, and the node that owed this end a BYE, for which it
/// waited for an ACK (RFC 3261 §15), was lost.
fn is_after_the_other(end: &End, at: Instant, story: &Story, judged: &Judged<'_>) -> bool {
    let others = story.ends().filter(|other| !std::ptr::eq(*other, end));
    let mut ended = others.filter_map(|other| other.ended.as_ref()).map(|(ended, _)| *ended);
    ended.any(|ended| {
        let crossed = ended.since(at).max(at.since(ended)) < CROSSES;
        crossed || ended < at && judged.effects.any_took_none(ended, at) && is_disturbed(story, judged)
    })
}

/// Whether ACK and BYE left together, since the caller had given up meanwhile, and came the other way round; or the ACK
/// came due while its node had no lease, and the callee's next copy of its answer was too late to ask for it.
fn is_crossed(end: &End, story: &Story, judged: &Judged<'_>) -> bool {
    let Some((at, Outcome::TimedOut("ACK before BYE"))) = &end.ended else { return false };
    has_given_up(story) || judged.effects.any_took_none(end.began, *at)
}

fn has_given_up(story: &Story) -> bool {
    let gave_up = |how: &Outcome| matches!(how, Outcome::Cancelled | Outcome::TimedOut("final after CANCEL"));
    story.caller.as_ref().and_then(outcome).is_some_and(gave_up)
}

/// Whether an end of an adopted call waited in vain for the lost home: a callee for the ACK of what it said there, any
/// for the answer to what it asked as the home was lost, or ever since, if its party forbids to tell it.
fn is_lost(end: &End, judged: &Judged<'_>) -> bool {
    let (Some(adoption), Some((at, Outcome::TimedOut(what)))) = (judged.adoption, &end.ended) else {
        return false;
    };
    let variety = judged.plan.variety;
    let forbids = if is_caller(end.peer.ip()) { variety.trunk_forbids } else { variety.gateways_forbid };
    // It asked 64·T1 before it gave up.
    let told = *at > adoption.at + GIVE_UP + AFTER;
    match *what {
        "ACK" | "ACK of a refusal" => !adoption.answered,
        "answer to BYE" | "answer to re-INVITE" => !told || forbids,
        _ => forbids,
    }
}

/// Whether the call stayed at a node that was told to stop, since a party forbids to tell it of another, until the
/// node would wait no longer.
fn is_held_back(judged: &Judged<'_>) -> bool {
    let forbids = judged.plan.variety.trunk_forbids || judged.plan.variety.gateways_forbid;
    let stops = judged.plan.faults.iter().any(|fault| fault.kind == Kind::Restart);
    judged.node.is_some() && forbids && stops
}

/// Two callees that ring, or talk, at the same time.
fn two_rings(story: &Story) -> Option<(&End, &End)> {
    // A callee rings no more once it has refused, or has sent the call elsewhere: the ACK of that may be long in coming,
    // where its node was lost.
    let ended = |end: &End| end.refused.or(end.ended.as_ref().map(|(at, _)| *at));
    let mut pairs =
        story.callees.iter().enumerate().flat_map(|(place, first)| {
            story.callees.iter().skip(place + 1).map(move |second| (first, second))
        });
    pairs.find(|(first, second)| {
        let over = ended(first).is_some_and(|at| at <= second.began + JITTER);
        let unborn = ended(second).is_some_and(|at| at <= first.began + JITTER);
        !over && !unborn
    })
}

/// How long a node that is told to stop tries to hand its homes over.
const DRAINS: Duration = Duration::from_secs(20);
const CROSSES: Duration = Duration::from_millis(200);
const JITTER: Duration = Duration::from_millis(5);
const AFTER: Duration = Duration::from_secs(3);
const GIVE_UP: Duration = Duration::from_secs(32);

//! What callers and callees were promised, by their own account: I-8 an answered call survives; I-10 and I-11 both
//! legs end; I-15 a CANCEL that crosses an answer charges nobody; I-41 never two rings, never two answers.
//!
//! The network may lose what ends a call, so calls whose datagrams it has harmed are judged by their end alone:
//! there must be one.

use std::time::Duration;

use machine::Instant;
use peer::Outcome;

use super::Oracle;
use crate::fault::{Effects, Fault, Kind};
use crate::peers::{End, Stories, Story};

/// Judges all calls, when all should be over.
pub fn judge(oracle: &Oracle, at: Instant, stories: &Stories, effects: &Effects, faults: &[Fault]) {
    for (number, story) in &stories.calls {
        let (harmed, limited) = (effects.is_harmed(*number), effects.is_limited(*number));
        let judged = Judged { harmed, limited, effects, faults };
        for (clause, found) in of_story(story, &judged) {
            oracle.found(at, clause, format!("call #{number}: {found}"));
        }
    }
    let harmless = effects.counts().keys().all(|kind| *kind >= Kind::Isolation);
    if let (true, Some(stray)) = (harmless, stories.strays.first()) {
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
    faults: &'a [Fault],
}

fn of_story(story: &Story, judged: &Judged<'_>) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    if let Some(end) = story.ends().find(|end| end.ended.is_none()) {
        found.push((ENDS, format!("at {} it goes on for ever", end.peer)));
    }
    if judged.harmed {
        return found;
    }
    if let Some((first, second)) = two_rings(story) {
        found.push((RINGS, format!("{} and {} ring at once", first.peer, second.peer)));
    }
    let declined = story.callees.iter().any(|end| outcome(end) == Some(&Outcome::Declined));
    for end in story.ends() {
        let Some((at, how)) = &end.ended else { continue };
        let is_caller = std::ptr::eq(end, story.caller.as_ref().unwrap_or(end)) && story.caller.is_some();
        let good = match how {
            Outcome::Completed | Outcome::Cancelled | Outcome::Declined => true,
            // What limits say is another invariant's matter.
            Outcome::Refused(_) => is_caller && (declined || judged.limited || is_excused(end, *at, judged)),
            _ => false,
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

fn outcome(end: &End) -> Option<&Outcome> {
    end.ended.as_ref().map(|(_, outcome)| outcome)
}

/// Whether a refusal may have been right because a disk took nothing, or nobody could hear a majority.
fn is_excused(end: &End, ended: Instant, judged: &Judged<'_>) -> bool {
    let full = |fault: &Fault| {
        fault.kind == Kind::DiskFull && end.began < fault.until + AFTER && fault.from < end.began + AFTER
    };
    judged.faults.iter().any(full) || judged.effects.lacked_quorum(end.began, ended)
}

/// Two callees that ring, or talk, at the same time.
fn two_rings(story: &Story) -> Option<(&End, &End)> {
    let ended = |end: &End| end.ended.as_ref().map(|(at, _)| *at);
    let mut pairs =
        story.callees.iter().enumerate().flat_map(|(place, first)| {
            story.callees.iter().skip(place + 1).map(move |second| (first, second))
        });
    pairs.find(|(first, second)| {
        let over = ended(first).is_some_and(|at| at <= second.began);
        let unborn = ended(second).is_some_and(|at| at <= first.began);
        !over && !unborn
    })
}

const AFTER: Duration = Duration::from_secs(3);

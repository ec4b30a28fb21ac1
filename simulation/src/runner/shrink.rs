//! A smaller run with the same failure: without a fault, with fewer calls, for as long as it still fails so.

use std::collections::BTreeSet;
use std::process::ExitCode;

use super::arguments::cut_words;
use super::report;
use super::sweep::ran;
use crate::{Cut, Plan};

/// Shrinks a bad seed.
pub fn shrink(seed: u64, cut: &Cut) -> ExitCode {
    let whole = Plan::of(seed, cut);
    let Some(first) = ran(seed, cut) else { return ExitCode::from(2) };
    if first.good {
        println!("seed {seed} is good");
        return ExitCode::SUCCESS;
    }
    let clauses = report::clauses(&first.said);
    let fails = |cut: &Cut| {
        let ran = ran(seed, cut);
        let same = ran.filter(|ran| !ran.good).is_some_and(|ran| {
            // A run that panics says no clause; then any panic is the same failure.
            let now = report::clauses(&ran.said);
            now.first() == clauses.first()
        });
        println!("{}{}: {}", seed, cut_words(cut), if same { "fails so too" } else { "does not" });
        same
    };
    let all = || Plan::of(seed, &Cut { only: cut.only, ..Cut::default() }).faults.len();
    let mut faults: BTreeSet<usize> = cut.faults.clone().unwrap_or_else(|| (0..all()).collect());
    for fault in faults.clone() {
        let mut fewer = faults.clone();
        fewer.remove(&fault);
        if fails(&Cut { faults: Some(fewer.clone()), ..cut.clone() }) {
            faults = fewer;
        }
    }
    let mut small = Cut { faults: Some(faults), calls: Some(whole.calls.len()), only: cut.only };
    let mut step = whole.calls.len() / 2;
    while step > 0 {
        let calls = small.calls.unwrap_or_default();
        let fewer = Cut { calls: Some(calls.saturating_sub(step)), ..small.clone() };
        if calls > step && fails(&fewer) {
            small = fewer;
        } else {
            step /= 2;
        }
    }
    println!("{}", report::of_plan(&Plan::of(seed, &small)));
    println!("replay: banyan-sim replay --seed {seed}{}", cut_words(&small));
    ExitCode::FAILURE
}

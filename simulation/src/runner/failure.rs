//! What a failing run says: which seed, at which step, which invariant; what was planned; the ladder of the call that
//! it befell, with virtual times; and the line that replays it.

use std::fmt::Write as _;

use super::arguments::cut_words;
use super::ladder::Ladder;
use super::report;
use crate::{Cut, Plan, Run};

/// A failure, for people.
pub fn of(plan: &Plan, run: &Run, cut: &Cut) -> String {
    let mut text = String::new();
    let seed = plan.seed;
    // Writing into a String can't fail.
    if let Some(first) = run.violations.first() {
        let (ms, us) = (first.at.as_nanos() / 1_000_000, first.at.as_nanos() / 1_000 % 1_000);
        let _ = writeln!(text, "seed {seed} fails at step {}, after {ms}.{us:03} ms", first.step);
        let _ = writeln!(text, "invariant: {}\n    found: {}", first.clause, first.found);
    }
    let _ = writeln!(text, "{}", report::of_plan(plan));
    let _ = writeln!(text, "{}", Ladder::of_failure(run).text());
    let _ = writeln!(text, "replay: banyan-sim replay --seed {seed}{}", cut_words(cut));
    text
}

#[cfg(test)]
mod tests {
    use machine::Instant;

    use super::*;
    use crate::invariants::Violation;

    #[test]
    fn a_failure_says_seed_step_invariant_ladder_and_the_line_that_replays_it() {
        let cut = Cut { faults: Some([].into()), calls: Some(4), only: None };
        let plan = Plan::of(42, &cut);
        let trace = "4000000 put@0 10.0.1.1:5060 > 10.0.9.1:5060 500 0123456789abcdef #3 INVITE sip:x SIP/2.0\n\
                     4100000 put@0 10.0.1.1:5060 > 10.0.9.1:5060 500 0123456789abcdee #2 INVITE sip:x SIP/2.0\n";
        let violation = Violation {
            at: Instant::from_nanos(4_200_000),
            step: 17,
            clause: "I-9 nothing early",
            found: "call #3: it rings".to_owned(),
        };
        let run = Run {
            trace: trace.to_owned(),
            hash: 1,
            violations: vec![violation],
            figures: Default::default(),
        };
        let said = of(&plan, &run, &cut);
        let lines: Vec<&str> = said.lines().map(str::trim_start).collect();
        assert_eq!(
            lines[..3],
            [
                "seed 42 fails at step 17, after 4.200 ms",
                "invariant: I-9 nothing early",
                "found: call #3: it rings",
            ]
        );
        assert_eq!(
            lines[lines.len() - 2..],
            [
                "4.000 ms    caller 1 -> home 1     INVITE sip:x SIP/2.0",
                "replay: banyan-sim replay --seed 42 --faults none --calls 4",
            ]
        );
    }
}

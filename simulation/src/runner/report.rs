//! What a run says of itself: lines that people read and a sweep reads back.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::fault::Kind;
use crate::{Plan, Run};

/// A run in a few lines.
pub fn of_run(seed: u64, run: &Run) -> String {
    let figures = &run.figures;
    let mut text = String::new();
    // Writing into a String can't fail.
    let _ = writeln!(
        text,
        "seed {seed} trace {:016x} placed {} answered {} survived {} cdrs {} steps {} lasted_ms {} healed_ms {}",
        run.hash,
        figures.placed,
        figures.answered,
        figures.survived,
        figures.cdrs,
        figures.steps,
        figures.lasted_ms,
        figures.healed_ms
    );
    let effects: Vec<String> =
        figures.effects.iter().map(|(kind, times)| format!("{kind}={times}")).collect();
    let _ = writeln!(text, "{EFFECTS}{}", effects.join(" "));
    let branches: Vec<String> =
        figures.branches.iter().map(|(branch, times)| format!("{branch}:{times}")).collect();
    let _ = writeln!(text, "{BRANCHES}{}", branches.join(" "));
    for violation in &run.violations {
        let _ = writeln!(text, "VIOLATION {violation}");
    }
    let _ = writeln!(text, "{}", if run.is_good() { "good" } else { "bad" });
    text
}

const EFFECTS: &str = "effects ";
const BRANCHES: &str = "branches ";

/// How often each kind took effect, read from such lines.
pub fn effects(said: &str) -> BTreeMap<Kind, u64> {
    let line = said.lines().find_map(|line| line.strip_prefix(EFFECTS)).unwrap_or_default();
    let pairs = line.split(' ').filter_map(|pair| pair.split_once('='));
    pairs.filter_map(|(kind, times)| Some((Kind::named(kind)?, times.parse().ok()?))).collect()
}

/// How often each branch was taken, read from such lines.
pub fn branches(said: &str) -> BTreeMap<String, u64> {
    let line = said.lines().find_map(|line| line.strip_prefix(BRANCHES)).unwrap_or_default();
    let pairs = line.split(' ').filter_map(|pair| pair.split_once(':'));
    pairs.filter_map(|(branch, times)| Some((branch.to_owned(), times.parse().ok()?))).collect()
}

/// A figure of the first line.
pub fn figure(said: &str, name: &str) -> u64 {
    let mut words = said.lines().next().unwrap_or_default().split(' ');
    words.find(|word| *word == name);
    words.next().and_then(|value| value.parse().ok()).unwrap_or_default()
}

/// The clauses that were breached.
pub fn clauses(said: &str) -> Vec<String> {
    let breaches = said.lines().filter_map(|line| line.strip_prefix("VIOLATION "));
    breaches.filter_map(|line| line.split(": ").nth(1)).map(str::to_owned).collect()
}

/// A plan in a few lines.
pub fn of_plan(plan: &Plan) -> String {
    let mut text = format!(
        "{} nodes, {} floating homes, {} callers, {} callees, limit {}, {} calls; {}",
        plan.nodes,
        plan.homes,
        plan.callers.len(),
        plan.callees.len(),
        plan.limit,
        plan.calls.len(),
        plan.variety
    );
    for (place, fault) in plan.faults.iter().enumerate() {
        // Writing into a String can't fail.
        let _ = write!(text, "\nfault {place}: {fault}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_reads_back_what_a_run_says() {
        let figures = crate::Figures {
            placed: 7,
            effects: vec![(Kind::Loss, 3), (Kind::Crash, 1)],
            branches: vec![("boot=booted".to_owned(), 3)],
            ..Default::default()
        };
        let found = "call #3: it rings".to_owned();
        let violation = crate::invariants::Violation {
            at: machine::Instant::ZERO,
            step: 9,
            clause: "I-9 nothing early",
            found,
        };
        let said = of_run(5, &Run { trace: String::new(), hash: 1, violations: vec![violation], figures });
        assert_eq!(figure(&said, "placed"), 7);
        assert_eq!(effects(&said), [(Kind::Loss, 3), (Kind::Crash, 1)].into());
        assert_eq!(branches(&said), [("boot=booted".to_owned(), 3)].into());
        assert_eq!(clauses(&said), ["I-9 nothing early"]);
    }
}

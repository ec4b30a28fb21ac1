//! What a run came to, and whether that is what was promised.

use comfy_table::{Table, presets};
use peer::load::Report;
use serde::Serialize;

use super::DemoCommand;
use super::kill::Killed;
use super::stage::DETECT;

/// The figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Figures {
    /// How many nodes made the cluster.
    pub(super) nodes: u32,
    /// INVITEs sent.
    pub(super) placed: u64,
    /// Calls answered.
    pub(super) answered: u64,
    /// Answered calls that did not last as long as planned.
    pub(super) lost: u64,
    /// Calls in which both ends heard each other.
    pub(super) audio_both_ways: u64,
    /// The longest time without audio in any call.
    pub(super) longest_gap_ms: f64,
    /// RTP packets that never came.
    pub(super) packets_lost: u64,
    /// Call detail records, asked of a node that lives.
    pub(super) cdrs: u64,
    /// INVITE to ringing: half of the calls within.
    pub(super) pdd_ms_p50: f64,
    /// INVITE to ringing: 99 % of the calls within.
    pub(super) pdd_ms_p99: f64,
    /// Failed ends of calls by reason.
    pub(super) failed: std::collections::BTreeMap<String, u64>,
    /// After how much silence a node is held dead.
    pub(super) detect_ms: Option<u64>,
    /// The node that was killed.
    pub(super) killed: Option<Killed>,
    /// Whether every other node ended with exit code 0 after SIGTERM.
    pub(super) node_ended_well: Option<bool>,
    #[serde(skip)]
    kill_wanted: bool,
}

impl Figures {
    pub(super) fn new(command: &DemoCommand, report: &Report, cdrs: u64, killed: Option<Killed>) -> Figures {
        Figures {
            nodes: command.nodes(),
            placed: report.placed,
            answered: report.answered,
            lost: report.answered.saturating_sub(report.completed),
            audio_both_ways: report.rtp.both_ways,
            longest_gap_ms: report.rtp.longest_gap_ms,
            packets_lost: report.rtp.lost,
            cdrs,
            pdd_ms_p50: report.pdd_ms.p50,
            pdd_ms_p99: report.pdd_ms.p99,
            failed: report.failed.clone(),
            detect_ms: (command.nodes() > 1).then_some(DETECT.as_millis() as u64),
            killed,
            node_ended_well: None,
            kill_wanted: command.kills(),
        }
    }

    /// The contract's condition for exit 0. A node that was to die and carried nothing proves nothing.
    pub(super) fn is_good(&self) -> bool {
        let same = |count| count == self.placed;
        let died = self.killed.as_ref().is_some_and(|killed| killed.calls > 0);
        same(self.answered)
            && same(self.cdrs)
            && same(self.audio_both_ways)
            && self.lost == 0
            && self.node_ended_well != Some(false)
            && (died || !self.kill_wanted)
    }
}

/// The figures for people.
pub(super) fn table(figures: &Figures) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    let mut row = |name: &str, value: String| {
        table.add_row([name.to_owned(), value]);
    };
    if let Some(detect) = figures.detect_ms {
        row("nodes", format!("{}; one is held dead after {detect} ms", figures.nodes));
    }
    if let Some(Killed { node, home, calls, after_s, .. }) = &figures.killed {
        row("killed", format!("node {node} after {after_s:.1} s, holding {home} and {calls} calls"));
    }
    row("placed", figures.placed.to_string());
    row("answered", figures.answered.to_string());
    row("lost", figures.lost.to_string());
    row("audio both ways", figures.audio_both_ways.to_string());
    row("longest audio gap", format!("{:.0} ms", figures.longest_gap_ms));
    row("RTP packets lost", figures.packets_lost.to_string());
    row("CDRs", figures.cdrs.to_string());
    row("post-dial delay", format!("p50 {:.1} ms, p99 {:.1} ms", figures.pdd_ms_p50, figures.pdd_ms_p99));
    for (reason, count) in &figures.failed {
        row(&format!("failed: {reason}"), count.to_string());
    }
    table.lines().map(|line| line.trim().to_owned() + "\n").collect()
}

pub(super) const NEXT_STEPS: &str = "\nThe nodes of this demo are gone. To look around in them:\n  banyan demo --keep\nTo run your own:\n  \
    banyan config init > node.toml\n  banyan server --config node.toml\n  banyan apply -f resources.toml";

#[cfg(test)]
mod tests {
    use super::super::tests::command;
    use super::*;

    fn report() -> Report {
        let mut report = Report { placed: 10, answered: 10, completed: 10, ..Report::default() };
        report.rtp.both_ways = 10;
        report
    }

    #[test]
    fn good_means_placed_answered_recorded_and_heard() {
        let alone = command(1, false);
        assert!(Figures::new(&alone, &report(), 10, None).is_good());
        assert!(!Figures::new(&alone, &report(), 9, None).is_good());
        assert!(!Figures::new(&alone, &report(), 11, None).is_good());
        for break_it in [
            |report: &mut Report| report.answered = 9,
            |report: &mut Report| report.completed = 9,
            |report: &mut Report| report.rtp.both_ways = 9,
        ] {
            let mut report = report();
            break_it(&mut report);
            assert!(!Figures::new(&alone, &report, 10, None).is_good());
        }
    }

    #[test]
    fn a_kill_counts_only_if_the_node_carried_calls() {
        let killing = command(3, true);
        let killed = |calls| Some(Killed { node: 2, home: "line-1".to_owned(), calls, after_s: 10.0 });
        assert!(Figures::new(&killing, &report(), 10, killed(4)).is_good());
        assert!(!Figures::new(&killing, &report(), 10, killed(0)).is_good());
        assert!(!Figures::new(&killing, &report(), 10, None).is_good());
    }
}

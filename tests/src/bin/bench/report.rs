//! The bench's words: conditions first, a line a round, one table at the end that can go into the README.

use std::collections::BTreeMap;

use crate::load::Outcome;
use crate::subject::Kind;

/// Medians at one rate.
#[derive(Debug, Clone, Default)]
pub struct AtRate {
    /// Calls a second.
    pub rate: f64,
    /// CPU seconds per thousand calls.
    pub cpu_s_per_thousand: f64,
    /// Post-dial delay, half of the calls.
    pub pdd_p50_ms: f64,
    /// Post-dial delay, 99 of 100.
    pub pdd_p99_ms: f64,
    /// Calls lost in all rounds.
    pub lost: u64,
    /// How often the log was made durable, for each call.
    pub syncs_per_call: f64,
    /// How often the log was made durable.
    pub syncs: f64,
    /// How long that took, half of the time.
    pub sync_p50_ms: f64,
    /// How long that took, 99 times of 100.
    pub sync_p99_ms: f64,
}

/// What is known of one subject.
#[derive(Debug, Clone, Default)]
pub struct Column {
    /// At fixed rates.
    pub rates: Vec<AtRate>,
    /// The highest loss-free rate.
    pub maximum: Option<f64>,
    /// KiB per held call, and per call afterwards.
    pub memory: Option<(f64, f64)>,
    /// The share of calls that complete after a flood.
    pub overload: Option<f64>,
}

/// What a reader must know before the figures.
pub fn conditions(real_time: bool, kamailio: &str, is_cluster: bool) {
    if is_cluster {
        println!(
            "cluster: three nodes, each with a home that takes a third of the calls, data on disk (fdatasync),"
        );
        println!("         media direct; CPU of all three, all on core 0; fdatasync of all three");
    } else {
        println!("banyan: one node, data on disk (fdatasync), media direct; core 0");
    }
    println!("kamailio: `{kamailio}` (tests/bench/kamailio.cfg), nothing on disk; core 0");
    println!("caller and callee: crates/peer, strict (a lost datagram is a lost call); core 1");
    if real_time {
        println!("all under `chrt -f 10`");
    } else {
        println!("warning: `chrt -f` is not permitted here, so neighbours show in the 99th percentiles");
    }
}

/// One round in one line.
pub fn line(outcome: &Outcome) -> String {
    let mut text = format!(
        "{} of {} calls, {:.3} CPU s per 1,000, delay {:.2} / {:.2} ms, generator {:.1} CPU s",
        outcome.completed,
        outcome.placed,
        outcome.cpu_s_per_thousand(),
        outcome.pdd_ms.0,
        outcome.pdd_ms.1,
        outcome.generator_cpu_s,
    );
    if outcome.refused > 0 {
        text.push_str(&format!(", {} refused", outcome.refused));
    }
    if outcome.late_ms_max > 5.0 {
        text.push_str(&format!(", generator late by {:.0} ms", outcome.late_ms_max));
    }
    if outcome.syncs.count > 0.0 {
        text.push_str(&format!(
            ", {} fdatasyncs of {:.2} / {:.2} ms",
            outcome.syncs.count,
            outcome.syncs.quantile_ms(0.5),
            outcome.syncs.quantile_ms(0.99)
        ));
    }
    text
}

/// The table, and what is odd about it.
pub fn print(columns: &BTreeMap<Kind, Column>) {
    let kinds: Vec<_> = columns.keys().copied().collect();
    let names: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
    println!("\n| | {} |\n| --- |{}", names.join(" | "), " --- |".repeat(kinds.len()));
    let row = |label: &str, cell: &dyn Fn(&Column) -> Option<String>| {
        let cells: Vec<_> = columns.values().map(|column| cell(column).unwrap_or_default()).collect();
        if cells.iter().any(|cell| !cell.is_empty()) {
            println!("| {label} | {} |", cells.join(" | "));
        }
    };
    let rates = columns.values().next().map(|column| column.rates.clone()).unwrap_or_default();
    for rate in rates.iter().map(|at| at.rate) {
        let at = |column: &Column| column.rates.iter().find(|at| at.rate == rate).cloned();
        row(&format!("CPU s per 1,000 calls at {rate}/s"), &|column| {
            at(column).map(|at| format!("{:.3}", at.cpu_s_per_thousand))
        });
        row(&format!("post-dial delay at {rate}/s, p50 / p99, ms"), &|column| {
            at(column).map(|at| format!("{:.2} / {:.2}", at.pdd_p50_ms, at.pdd_p99_ms))
        });
        row(&format!("calls lost at {rate}/s, all rounds"), &|column| {
            at(column).map(|at| at.lost.to_string())
        });
        row(&format!("fdatasync at {rate}/s: a call, p50 / p99 in ms"), &|column| {
            let at = at(column).filter(|at| at.syncs > 0.0);
            at.map(|at| format!("{:.2}, {:.2} / {:.2}", at.syncs_per_call, at.sync_p50_ms, at.sync_p99_ms))
                .or(Some("none".to_owned()))
        });
    }
    row("calls/s without loss, one core", &|column| column.maximum.map(|rate| format!("{rate}")));
    row("KiB per held call, 5,000 held", &|column| column.memory.map(|(held, _)| format!("{held:.1}")));
    row("KiB per call, 40 s after they ended", &|column| {
        column.memory.map(|(_, after)| format!("{after:.1}"))
    });
    row("calls that complete 2 s after a flood", &|column| {
        column.overload.map(|share| format!("{:.1} %", 100.0 * share))
    });
    warn(columns);
}

/// Kamailio well set up costs 0.12 to 0.25 CPU seconds per 1,000 calls on such machines; else it is no fair peer.
fn warn(columns: &BTreeMap<Kind, Column>) {
    for at in columns.get(&Kind::Kamailio).into_iter().flat_map(|column| &column.rates) {
        if !(0.12..=0.25).contains(&at.cpu_s_per_thousand) {
            println!(
                "warning: kamailio took {:.3} CPU s per 1,000 calls at {}/s, outside 0.12 to 0.25: \
                 it is mis-set, or this machine is not comparable",
                at.cpu_s_per_thousand, at.rate
            );
        }
    }
}

//! Finds the node that holds the live calls, and kills it.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use peer::load::Progress;
use serde::Serialize;
use serde_json::Value;

use super::POLL;
use super::nodes::Nodes;
use super::stage::Stage;
use crate::failure::{Failure, Result};

/// The node that was killed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Killed {
    /// Which.
    pub(super) node: u64,
    /// The home of the calls that it held.
    pub(super) home: String,
    /// How many those were.
    pub(super) calls: u64,
    /// How long after the first call.
    pub(super) after_s: f64,
}

/// Waits for the middle of the run, asks the cluster who holds the calls, and kills that node. None: the run was
/// over before.
///
/// # Errors
/// The cluster does not answer, or the node can't be killed.
#[allow(clippy::disallowed_methods)] // the real clock is what a stage is timed by
pub(super) fn in_the_middle(
    stage: &Stage,
    nodes: &Nodes,
    middle: Duration,
    progress: &Progress,
    over: &AtomicBool,
) -> Result<Option<Killed>> {
    let mut began = None;
    while !over.load(Ordering::Relaxed) {
        std::thread::sleep(POLL);
        if began.is_none() && progress.placed.load(Ordering::Relaxed) > 0 {
            began = Some(Instant::now());
        }
        let Some(elapsed) = began.map(|at| at.elapsed()).filter(|elapsed| *elapsed >= middle) else {
            continue;
        };
        let answer = stage.first().client().get("/v1/calls")?;
        let Some((node, home, calls)) = busiest(&answer) else { continue };
        nodes.kill(node)?;
        let after_s = (elapsed.as_secs_f64() * 10.0).round() / 10.0;
        announce(&format!(
            "{after_s} s: node {node} held {home} and {calls} live calls; it was killed with SIGKILL"
        ));
        return Ok(Some(Killed { node, home, calls, after_s }));
    }
    Ok(None)
}

/// Who holds most calls, with the home of one of them.
fn busiest(answer: &Value) -> Option<(u64, String, u64)> {
    let mut held = std::collections::BTreeMap::new();
    for call in answer.get("items")?.as_array()? {
        let (node, home) = (call.get("node")?.as_u64(), call.get("home")?.as_str());
        if let (Some(node), Some(home)) = (node, home) {
            *held.entry((node, home)).or_insert(0) += 1;
        }
    }
    let ((node, home), calls) = held.into_iter().max_by_key(|(_, calls)| *calls)?;
    Some((node, home.to_owned(), calls))
}

fn announce(line: &str) {
    // The progress bar draws itself anew below.
    let clear = if std::io::stderr().is_terminal() { "\r\u{1b}[2K" } else { "" };
    eprintln!("{clear}{line}");
}

/// A failure to find anybody to kill.
pub(super) fn unknown(node: u64) -> Failure {
    Failure::No(format!("node {node} holds the calls and is none of the demo's"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_holder_of_most_calls_is_found() {
        let call = |node, home| json!({"node": node, "home": home});
        let answer =
            json!({"items": [call(1, "a"), call(2, "b"), call(2, "b"), {"node": null, "home": null}]});
        assert_eq!(busiest(&answer), Some((2, "b".to_owned(), 2)));
        assert_eq!(busiest(&json!({"items": []})), None);
    }
}

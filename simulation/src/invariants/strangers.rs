//! I-36: a source that nobody knows hears nothing, and nothing is kept of it.

use super::{Invariant, Sent, View};
use crate::accounts::{self, STRANGERS_NUMBER};

/// I-36 on the wire and in the state. That no deadline and no task is left is asked when all is over (`scenario.rs`).
#[derive(Debug, Default)]
pub struct DeafToStrangers;

impl Invariant for DeafToStrangers {
    fn clause(&self) -> &'static str {
        "I-36 a stranger hears nothing and leaves nothing"
    }

    fn sent(&mut self, sent: &Sent<'_>) -> Option<String> {
        let is_answer = sent.to.ip() == accounts::stranger().ip();
        is_answer.then(|| format!("node {} answers the stranger", sent.life.node()))
    }

    fn look(&mut self, view: &View<'_>) -> Option<String> {
        view.moved.iter().find_map(|node| {
            let admitted = node.cluster().read(|state| {
                state.calls().any(|call| {
                    let facts = &call.admit.facts;
                    [&*facts.from, &*facts.to].iter().any(|it| it.contains(STRANGERS_NUMBER))
                })
            });
            admitted.then(|| format!("node {} has admitted the stranger's call", node.cluster().node()))
        })
    }
}

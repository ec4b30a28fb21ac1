//! I-30: no bill is negative, whatever civil time does: a call starts, rings, is answered and ends in this order.

use call::Cdr;

use super::{Invariant, View};

/// I-30, in every CDR that is made.
#[derive(Debug, Default)]
pub struct NoNegativeBill;

fn wrong(cdr: &Cdr) -> Option<String> {
    let times = [Some(cdr.started_at), cdr.ringing_at, cdr.answered_at, Some(cdr.ended_at)];
    let known: Vec<_> = times.into_iter().flatten().collect();
    let falls = known.windows(2).any(|pair| pair[0] > pair[1]);
    falls.then(|| format!("call {} has times {:?}", cdr.id, known.iter().map(|at| at.0).collect::<Vec<_>>()))
}

impl Invariant for NoNegativeBill {
    fn clause(&self) -> &'static str {
        "I-30 no bill is negative"
    }

    fn look(&mut self, view: &View<'_>) -> Option<String> {
        view.moved
            .iter()
            .find_map(|node| node.cluster().read(|state| state.cdrs().find_map(|(_, cdr)| wrong(cdr))))
    }
}

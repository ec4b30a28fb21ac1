//! I-1, the rates: a trunk's windows count each call that was admitted, once. A run is shorter than a day, so its
//! day's window must hold every call that it ever admitted.

use std::collections::BTreeSet;

use cluster::State;
use trunk::Scope;

use super::{Invariant, View};
use crate::plan::trunk_name;

/// The rates of I-1, when all calls have ended and their CDRs are known.
#[derive(Debug, Default)]
pub struct CountedOnce {
    /// The numbers of the CDRs of calls that were admitted: a refused one tried nobody.
    admitted: BTreeSet<u64>,
}

impl CountedOnce {
    fn see(&mut self, state: &State) {
        let tried = state.cdrs().filter(|(_, cdr)| !cdr.attempts.is_empty());
        self.admitted.extend(tried.map(|(number, _)| number));
    }

    fn compare(&self, counted: u32, live: usize) -> Option<String> {
        let admitted = self.admitted.len() + live;
        (counted as usize != admitted).then(|| format!("{admitted} calls were admitted, {counted} count"))
    }
}

impl Invariant for CountedOnce {
    fn clause(&self) -> &'static str {
        "I-1 each call counts once in its trunk's windows"
    }

    fn look(&mut self, view: &View<'_>) -> Option<String> {
        view.moved.iter().for_each(|node| node.cluster().read(|state| self.see(state)));
        None
    }

    fn end(&mut self, view: &View<'_>) -> Option<String> {
        self.look(view);
        let of = |state: &State| (state.usage(&Scope::Trunk(trunk_name())).day, state.calls().len());
        view.nodes.iter().find_map(|node| {
            let (counted, live) = node.cluster().read(of);
            self.compare(counted, live)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i1_a_call_that_counts_twice_or_not_at_all_is_found() {
        let windows = CountedOnce { admitted: [1, 2, 4].into() };
        assert_eq!(windows.compare(3, 0), None);
        assert_eq!(windows.compare(4, 1), None);
        assert!(windows.compare(4, 0).is_some());
        assert!(windows.compare(2, 0).is_some());
    }
}

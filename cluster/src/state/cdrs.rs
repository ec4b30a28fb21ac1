//! CDRs that too few nodes have on disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use call::Cdr;

/// CDRs by number, counted from 1 over the life of the cluster.
#[derive(Clone, Debug, Default)]
pub(super) struct Cdrs {
    made: u64,
    kept: BTreeMap<u64, Arc<Cdr>>,
}

impl Cdrs {
    /// Those of a snapshot.
    pub(super) fn restored(made: u64) -> Cdrs {
        Cdrs { made, kept: BTreeMap::new() }
    }

    /// Takes one from a snapshot.
    pub(super) fn restore(&mut self, number: u64, cdr: Arc<Cdr>) {
        self.kept.insert(number, cdr);
    }

    /// Keeps a new one; gives its number.
    pub(super) fn keep(&mut self, cdr: Arc<Cdr>) -> u64 {
        self.made += 1;
        self.kept.insert(self.made, cdr);
        self.made
    }

    /// Lets those up to a number go.
    pub(super) fn release(&mut self, up_to: u64) {
        while let Some(first) = self.kept.first_entry().filter(|first| *first.key() <= up_to) {
            first.remove();
        }
    }

    pub(super) fn made(&self) -> u64 {
        self.made
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (u64, &Arc<Cdr>)> {
        self.kept.iter().map(|(number, cdr)| (*number, cdr))
    }
}

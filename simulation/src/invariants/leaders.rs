//! I-32: at most one leader per term.

use std::collections::BTreeMap;

use super::{Invariant, View};

/// I-32, by what each node says of itself.
#[derive(Debug, Default)]
pub struct OneLeader {
    by_term: BTreeMap<u64, u64>,
}

impl OneLeader {
    fn leads(&mut self, node: u64, term: u64) -> Option<String> {
        let known = *self.by_term.entry(term).or_insert(node);
        (known != node).then(|| format!("nodes {known} and {node} both lead in term {term}"))
    }
}

impl Invariant for OneLeader {
    fn clause(&self) -> &'static str {
        "I-32 at most one leader per term"
    }

    fn look(&mut self, view: &View<'_>) -> Option<String> {
        view.moved.iter().find_map(|node| {
            let status = node.cluster().status();
            if status.leads { self.leads(node.cluster().node().0, status.term) } else { None }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i32_a_second_leader_of_a_term_is_found() {
        let mut leaders = OneLeader::default();
        assert_eq!(leaders.leads(1, 5), None);
        assert_eq!(leaders.leads(1, 5), None);
        assert_eq!(leaders.leads(2, 6), None);
        assert!(leaders.leads(2, 5).is_some());
    }
}

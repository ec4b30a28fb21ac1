//! I-32: at most one leader per term, and in one life: what a process that was restarted held of the log may be less
//! than what it said before, so that it must be elected anew.

use std::collections::BTreeMap;

use super::{Invariant, View};

/// I-32, by what each node says of itself.
#[derive(Debug, Default)]
pub struct OneLeader {
    /// By term, which node leads, and in which of its lives.
    by_term: BTreeMap<u64, (u64, u32)>,
}

impl OneLeader {
    fn leads(&mut self, node: u64, life: u32, term: u64) -> Option<String> {
        let (known, before) = *self.by_term.entry(term).or_insert((node, life));
        if known != node {
            return Some(format!("nodes {known} and {node} both lead in term {term}"));
        }
        (before != life).then(|| format!("node {node} leads on in term {term}, after a new start"))
    }
}

impl Invariant for OneLeader {
    fn clause(&self) -> &'static str {
        "I-32 at most one leader per term"
    }

    fn look(&mut self, view: &View<'_>) -> Option<String> {
        view.moved.iter().find_map(|node| {
            let status = node.cluster().status();
            let (id, life) = (node.cluster().node().0, node.cluster().booted().incarnation.0);
            if status.leads { self.leads(id, life, status.term) } else { None }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i32_a_second_leader_of_a_term_is_found() {
        let mut leaders = OneLeader::default();
        assert_eq!(leaders.leads(1, 1, 5), None);
        assert_eq!(leaders.leads(1, 1, 5), None);
        assert_eq!(leaders.leads(2, 2, 6), None);
        assert!(leaders.leads(2, 2, 5).is_some());
        assert!(leaders.leads(2, 3, 6).is_some(), "in another life");
    }
}

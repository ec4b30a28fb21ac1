//! I-34: no command means what some member's program does not know.

use cluster::State;

use super::{Invariant, View};

/// I-34, by each copy of the state.
#[derive(Clone, Copy, Debug)]
pub struct Understood;

fn misunderstood(version: u32, supports: impl IntoIterator<Item = (u64, u32)>) -> Option<String> {
    let mut known = supports.into_iter();
    let (node, knows) = known.find(|(_, knows)| *knows < version)?;
    Some(format!("commands are at version {version}, and node {node} knows {knows}"))
}

fn of_state(state: &State) -> Option<String> {
    misunderstood(state.apply_version(), state.nodes().map(|(id, node)| (id.0, node.supports)))
}

impl Invariant for Understood {
    fn clause(&self) -> &'static str {
        "I-34 every member knows what commands mean"
    }

    fn look(&mut self, view: &View<'_>) -> Option<String> {
        view.moved.iter().find_map(|node| node.cluster().read(of_state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i34_a_member_that_knows_less_is_found() {
        assert_eq!(misunderstood(1, [(1, 1), (2, 2)]), None);
        assert!(misunderstood(2, [(1, 2), (2, 1)]).is_some());
    }
}

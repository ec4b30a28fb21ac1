//! Where an account is registered is in the state: whoever has heard 200 is registered on every node, whatever dies,
//! without another REGISTER (contract, "accounts that register").

use std::sync::Arc;

use cluster::State;
use trunk::Name;

use super::{Invariant, View};
use crate::accounts::Desk;
use crate::plan::FIRST;

/// The PBX's binding, in every copy that has come so far.
#[derive(Debug)]
pub struct Bound {
    desk: Arc<Desk>,
    /// The least index at which any copy had it.
    since: Option<u64>,
}

impl Bound {
    /// Of this PBX.
    pub const fn new(desk: Arc<Desk>) -> Bound {
        Bound { desk, since: None }
    }

    fn has(&self, state: &State) -> bool {
        let contact = self.desk.contact();
        Name::new("desk")
            .is_ok_and(|name| state.binding(&name, 1).is_some_and(|it| it.place.contact == contact))
    }
}

impl Invariant for Bound {
    fn clause(&self) -> &'static str {
        "I-8 an account that was registered stays so on every node"
    }

    fn look(&mut self, view: &View<'_>) -> Option<String> {
        if self.desk.done().is_none() && view.at > FIRST {
            return Some("the PBX could not register while nothing was wrong".to_owned());
        }
        for node in view.moved {
            let applied = node.cluster().status().applied;
            if node.cluster().read(|state| self.has(state)) {
                self.since = Some(self.since.map_or(applied, |since| since.min(applied)));
            } else if self.since.is_some_and(|since| applied > since) {
                return Some(format!("node {} has no binding at {applied}", node.cluster().node()));
            }
        }
        (self.desk.done().is_some() && self.since.is_none())
            .then(|| "the PBX heard 200, and no node has its binding".to_owned())
    }
}

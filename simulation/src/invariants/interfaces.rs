//! I-7 of machines: a floating address is on one machine at a time, for as long as its guard lives.

use std::sync::Arc;

use super::{Invariant, View};
use crate::guards::Guards;

/// I-7 on interfaces.
pub struct OneInterface(Arc<Guards>);

impl OneInterface {
    /// Of these guards.
    pub const fn new(guards: Arc<Guards>) -> OneInterface {
        OneInterface(guards)
    }
}

impl Invariant for OneInterface {
    fn clause(&self) -> &'static str {
        "I-7 a floating address is on one machine"
    }

    fn look(&mut self, _: &View<'_>) -> Option<String> {
        self.0.double()
    }
}

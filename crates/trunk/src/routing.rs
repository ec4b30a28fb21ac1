//! From a called number to a plan.

use crate::party::Party;
use crate::plan::Plan;
use crate::reject::Reject;
use crate::resources::Resources;

impl Resources {
    /// Plans a call from `party` to `called`, the Request-URI's user without a tech prefix, as it was written (or
    /// the whole URI, for a service URN). `draw` decides among weights: the same draw gives the same plan.
    pub fn plan(&self, _party: &Party, called: &str, _draw: u64) -> Result<Plan, Reject> {
        Err(Reject::UnknownNumber { called: called.to_owned(), unmatched: 404 })
    }
}

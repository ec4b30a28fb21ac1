//! Look-up tables for the hot path, made from the resources and never stored.

use crate::resources::Resources;

/// Look-up tables over one snapshot of the resources.
#[derive(Debug, Default)]
pub struct Index {}

impl Index {
    pub(crate) fn build(_resources: &Resources) -> Index {
        Index {}
    }
}

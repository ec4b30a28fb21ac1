//! Where accounts are registered, for the plans of calls.

use std::fmt;

use cluster::Cluster;
use trunk::{Bindings, Name, Registered};

/// Looks into the replicated state.
pub(crate) struct Located(pub(crate) Cluster);

impl Bindings for Located {
    fn of(&self, trunk: &Name, account: u8) -> Option<Registered> {
        self.0.read(|state| {
            let place = &state.binding(trunk, account)?.place;
            Some(Registered {
                uri: place.contact.clone(),
                host: place.host.clone(),
                port: place.port,
                transport: place.transport,
                route: place.path.clone(),
            })
        })
    }
}

impl fmt::Debug for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Located")
    }
}

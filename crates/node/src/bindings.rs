//! Where accounts are registered and which targets are down, for the plans of calls.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use cluster::Cluster;
use machine::Instant;
use trunk::{Bindings, Name, Registered, SipTarget};

use crate::lock;
use crate::shared::Shared;

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

    fn is_down(&self, target: &SipTarget) -> bool {
        self.0.read(|state| state.down(target).is_some())
    }
}

/// The addresses at which accounts are registered, as they were a moment ago: whoever asks need not be anybody.
#[derive(Default)]
pub(crate) struct Whereabouts {
    seen: Option<Instant>,
    addresses: BTreeSet<IpAddr>,
}

impl Shared {
    /// Whether an account is registered at an address, a second ago or now.
    pub(crate) fn is_registered_at(&self, address: IpAddr) -> bool {
        let now = self.world.clock.now();
        let mut whereabouts = lock(&self.whereabouts);
        if whereabouts.seen.is_none_or(|seen| now.since(seen) >= REFRESH) {
            whereabouts.seen = Some(now);
            whereabouts.addresses = self.cluster.cluster().read(|state| {
                state.bindings().filter_map(|(_, _, binding)| binding.place.host.ip()).collect()
            });
        }
        whereabouts.addresses.contains(&address.to_canonical())
    }
}

/// How long the addresses are good for.
const REFRESH: Duration = Duration::from_secs(1);

impl fmt::Debug for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Located")
    }
}

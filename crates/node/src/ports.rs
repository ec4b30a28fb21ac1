//! A call takes its RTP ports as it begins, or takes them back when it is restored: pairs of the pool that can really
//! be bound.

use std::ops::RangeInclusive;
use std::sync::Arc;

use ::media::PortPair;
use call::{CallId, Ports, TakePorts};
use env::{RelayEntry, RelayKind, SideConfig};
use machine::Instant;
use std::net::SocketAddr;
use trunk::{Party, Resources};

use crate::actor::media::Session;
use crate::home::Home;
use crate::metrics::add;
use crate::shared::Shared;

/// How often other pairs are tried where one can't be bound: some other program has it.
const TRIES: usize = 16;

/// Where one call takes its ports from.
pub(crate) struct PortsOf<'a> {
    shared: &'a Arc<Shared>,
    home: &'a Home,
    call: CallId,
    party: &'a Party,
    ports: RangeInclusive<u16>,
    now: Instant,
}

impl<'a> PortsOf<'a> {
    /// The ports of the caller's trunk or gateway, as far as the home has them.
    pub(crate) fn new(
        shared: &'a Arc<Shared>,
        home: &'a Home,
        call: CallId,
        party: &'a Party,
        resources: &Resources,
        now: Instant,
    ) -> PortsOf<'a> {
        let settings = match party {
            Party::Trunk { name, .. } => resources.trunks.get(name).map(|trunk| &trunk.settings),
            Party::Gateway { name } => resources.gateways.get(name).map(|gateway| &gateway.settings),
        };
        let all = &home.media_ports;
        let own = settings.and_then(|settings| settings.media.ports);
        // `check` warns of a range that is not within the home's; such a one says nothing here.
        let own = own.filter(|own| all.contains(&own.first) && all.contains(&own.last));
        let ports = own.map_or_else(|| all.clone(), |own| own.first..=own.last);
        PortsOf { shared, home, call, party, ports, now }
    }

    /// Binds every pair, so that what is promised in SDP can be kept; false if another program has one.
    fn install(&self, session: Session, ports: &Ports) -> bool {
        let relay = &self.shared.world.relay;
        let side = |port: u16| SideConfig {
            local: SocketAddr::new(self.home.media, port),
            remote: None,
            latch: None,
            sends: false,
            receives: false,
            keys: None,
        };
        for (index, (ingress, egress)) in (0..16u8).zip(ports.ingress.iter().zip(&ports.egress)) {
            let entry = RelayEntry {
                kind: RelayKind::Rtp { clock_rate: 8_000 },
                ingress: side(*ingress),
                egress: side(*egress),
                unleased: false,
                resumed: None,
                silence: None,
            };
            if let Err(error) = relay.install(session.stream(index), entry) {
                add(&self.shared.metrics.media_failed);
                tracing::debug!(%error, ingress, egress, "media ports can't be bound; trying others");
                for index in 0..index {
                    relay.remove(session.stream(index));
                }
                return false;
            }
        }
        true
    }
}

impl PortsOf<'_> {
    /// Binds the pairs and gives the call a media session over them; false if another program has one.
    fn open(&self, taken: Vec<PortPair>, ports: &Ports) -> bool {
        let session = self.shared.session(self.call);
        if !self.install(session, ports) {
            // They rest before they are tried again.
            self.home.release_ports(self.now, &taken);
            return false;
        }
        self.shared.hold_ports(self.call, taken);
        let installed = (0..ports.ingress.len().min(16)).fold(0, |set, index| set | 1u16 << index);
        self.shared.spawn_media(session, self.party.name(), self.home.media, installed);
        true
    }
}

impl TakePorts for PortsOf<'_> {
    fn take(&mut self, streams: usize) -> Option<Ports> {
        for _ in 0..TRIES {
            let taken = self.home.take_ports(self.now, streams * 2, &self.ports)?;
            let ports = Ports {
                ingress: taken.iter().take(streams).map(|pair| pair.rtp()).collect(),
                egress: taken.iter().skip(streams).map(|pair| pair.rtp()).collect(),
            };
            if self.open(taken, &ports) {
                return Some(ports);
            }
        }
        None
    }

    fn keep(&mut self, ports: &Ports) -> bool {
        if self.shared.has_ports(self.call) {
            return true; // Its actor failed; the ports are its own still.
        }
        let pairs = ports.ingress.iter().chain(&ports.egress);
        let Some(pairs) = pairs.map(|port| PortPair::new(*port)).collect::<Option<Vec<_>>>() else {
            return false;
        };
        let claimed = self.home.claim_ports(pairs.iter().copied());
        if claimed.len() == pairs.len() {
            return self.open(claimed, ports);
        }
        self.home.release_ports(self.now, &claimed);
        false
    }
}

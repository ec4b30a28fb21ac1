//! The homes that this node holds: service addresses with their sockets, media ports and calls.
//!
//! A home comes with a boot or with an eviction, and goes when another node gets it. Everything that belongs
//! to it (sockets, ports, what its calls share) stands here, so that it comes and goes whole.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ::media::{PortPair, PortPool};
use call::{Context, Epoch, HomeId};
use env::{Datagrams, Listener, Task};
use machine::Instant;
use trunk::{Name, Resources, Transport};

use crate::{HomeConfig, StartError, World, lock};

/// The sockets of a home, bound and not yet listened to.
pub(crate) struct Sockets {
    pub(crate) datagrams: Vec<Arc<dyn Datagrams>>,
    /// Streams, and whether they are under TLS.
    pub(crate) listeners: Vec<(Box<dyn Listener>, bool)>,
    pub(crate) addresses: Vec<(Transport, SocketAddr)>,
}

impl Sockets {
    /// Takes a home's addresses.
    ///
    /// # Errors
    /// One is taken, or not this machine's, or TLS is wanted where there is no certificate.
    pub(crate) fn bind(world: &World, config: &HomeConfig, has_tls: bool) -> Result<Sockets, StartError> {
        let mut sockets = Sockets { datagrams: Vec::new(), listeners: Vec::new(), addresses: Vec::new() };
        for &(transport, at) in &config.listen {
            let failed = |error| StartError::Listen { transport, at, error };
            let local = match transport {
                Transport::Udp => {
                    let socket = world.network.bind(at).map_err(failed)?;
                    let local = socket.local();
                    sockets.datagrams.push(socket);
                    local
                }
                Transport::Tls if !has_tls => return Err(StartError::NoCertificate { at }),
                Transport::Tcp | Transport::Tls => {
                    let listener = world.network.listen(at).map_err(failed)?;
                    let local = listener.local();
                    sockets.listeners.push((listener, transport == Transport::Tls));
                    local
                }
            };
            sockets.addresses.push((transport, local));
        }
        if sockets.addresses.is_empty() { Err(StartError::NothingToListenOn) } else { Ok(sockets) }
    }
}

/// A home in this node's hands.
pub(crate) struct Home {
    /// Its number in the replicated state.
    pub(crate) id: HomeId,
    /// Its name.
    pub(crate) name: Name,
    /// The epoch in which it is held.
    pub(crate) epoch: Epoch,
    /// The address that RTP is bound to.
    pub(crate) media: IpAddr,
    /// The ports that RTP and RTCP use.
    pub(crate) media_ports: RangeInclusive<u16>,
    context: Mutex<Arc<Context>>,
    ports: Mutex<PortPool>,
    ears: Mutex<Vec<Box<dyn Task>>>,
    open_ends: AtomicUsize,
}

/// A call that is over, and of which a callee that was given up has said nothing final yet (`Call::has_open_end`).
pub(crate) struct OpenEnd(Arc<Home>);

impl OpenEnd {
    pub(crate) fn at(home: &Arc<Home>) -> OpenEnd {
        home.open_ends.fetch_add(1, Ordering::Relaxed);
        OpenEnd(home.clone())
    }
}

impl Drop for OpenEnd {
    fn drop(&mut self) {
        self.0.open_ends.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Home {
    /// A home whose calls share `context`.
    pub(crate) fn new(config: &HomeConfig, context: Context, ports: PortPool) -> Home {
        Home {
            id: context.home,
            name: config.name.clone(),
            epoch: context.epoch,
            media: config.media,
            media_ports: config.media_ports.clone(),
            context: Mutex::new(Arc::new(context)),
            ports: Mutex::new(ports),
            ears: Mutex::default(),
            open_ends: AtomicUsize::new(0),
        }
    }

    /// Whether a callee would be left alone by who takes this home.
    pub(crate) fn has_open_ends(&self) -> bool {
        self.open_ends.load(Ordering::Relaxed) > 0
    }

    /// What all calls that begin now share.
    pub(crate) fn context(&self) -> Arc<Context> {
        lock(&self.context).clone()
    }

    /// New resources, for calls that begin from now on.
    pub(crate) fn set_resources(&self, resources: Arc<Resources>) {
        let mut context = lock(&self.context);
        *context = Arc::new(Context { resources, ..Context::clone(&context) });
    }

    /// Takes `count` port pairs within `range`; none if there are not as many.
    pub(crate) fn take_ports(
        &self,
        now: Instant,
        count: usize,
        range: &RangeInclusive<u16>,
    ) -> Option<Vec<PortPair>> {
        let mut pool = lock(&self.ports);
        let mut taken = Vec::with_capacity(count);
        while taken.len() < count {
            match pool.allocate_within(now, range) {
                Some(pair) => taken.push(pair),
                None => {
                    taken.iter().for_each(|pair| pool.release(now, *pair));
                    return None;
                }
            }
        }
        Some(taken)
    }

    /// Takes these very pairs, as far as they are free.
    pub(crate) fn claim_ports(&self, pairs: impl Iterator<Item = PortPair>) -> Vec<PortPair> {
        let mut pool = lock(&self.ports);
        pairs.filter(|pair| pool.claim(*pair)).collect()
    }

    /// Ports rest.
    pub(crate) fn release_ports(&self, now: Instant, pairs: &[PortPair]) {
        if pairs.is_empty() {
            return;
        }
        let mut pool = lock(&self.ports);
        pairs.iter().for_each(|pair| pool.release(now, *pair));
    }

    /// How many port pairs are free, and how many there are.
    pub(crate) fn free_ports(&self, now: Instant) -> (usize, usize) {
        let mut pool = lock(&self.ports);
        (pool.free(now), pool.size())
    }

    /// A task that listens for this home.
    pub(crate) fn listens(&self, task: Box<dyn Task>) {
        lock(&self.ears).push(task);
    }

    /// Listens no longer.
    pub(crate) fn deafen(&self) {
        lock(&self.ears).drain(..).for_each(|task| task.abort());
    }
}

/// The homes in this node's hands.
#[derive(Default)]
pub(crate) struct Homes {
    by_id: BTreeMap<HomeId, Arc<Home>>,
    by_address: BTreeMap<SocketAddr, HomeId>,
}

impl Homes {
    /// Takes in a home.
    pub(crate) fn insert(&mut self, home: Arc<Home>) {
        for (_, at) in &home.context().addresses {
            self.by_address.insert(*at, home.id);
        }
        self.by_id.insert(home.id, home);
    }

    /// Gives a home up.
    pub(crate) fn remove(&mut self, id: HomeId) -> Option<Arc<Home>> {
        self.by_address.retain(|_, home| *home != id);
        self.by_id.remove(&id)
    }

    /// A home that this node holds.
    pub(crate) fn get(&self, id: HomeId) -> Option<&Arc<Home>> {
        self.by_id.get(&id)
    }

    /// The home of which this is an address.
    pub(crate) fn at(&self, local: SocketAddr) -> Option<&Arc<Home>> {
        self.by_id.get(self.by_address.get(&local)?)
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Home>> {
        self.by_id.values()
    }
}

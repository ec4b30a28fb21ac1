//! Which connections are open, who opened them, and who must go when it gets tight.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use crate::StreamLimits;
use crate::connection::Connection;
use crate::streams::Peer;

/// All open connections. Ids rise, so the smallest id is the oldest connection.
#[derive(Default)]
pub(crate) struct Table {
    last: u64,
    by_id: BTreeMap<u64, Arc<Connection>>,
    by_peer: BTreeSet<(SocketAddr, SocketAddr, u64)>,
    strangers: BTreeSet<u64>,
    strangers_by_address: BTreeMap<IpAddr, BTreeSet<u64>>,
}

impl Table {
    /// The id for a new connection.
    pub(crate) fn draw(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// The oldest strangers that must go before one more from `address` may come in; `None` if even that
    /// makes no room.
    pub(crate) fn make_room(&self, limits: &StreamLimits, address: IpAddr) -> Option<Vec<Arc<Connection>>> {
        let mut out: Vec<u64> = Vec::new();
        let same = self.strangers_by_address.get(&neighbourhood(address));
        if let Some(same) = same.filter(|same| same.len() >= limits.strangers_per_address_max) {
            out.extend(same.first());
        } else if self.strangers.len() >= limits.strangers_max {
            out.extend(self.strangers.first());
        }
        if self.by_id.len() >= limits.connections_max && out.is_empty() {
            out.push(*self.strangers.first()?);
        }
        Some(out.iter().filter_map(|id| self.by_id.get(id).cloned()).collect())
    }

    /// Takes in a connection.
    pub(crate) fn insert(&mut self, connection: Arc<Connection>, known: bool) {
        let id = connection.id;
        self.by_peer.insert((connection.local, connection.remote, id));
        if !known {
            self.strangers.insert(id);
            let address = neighbourhood(connection.remote.ip());
            self.strangers_by_address.entry(address).or_default().insert(id);
        }
        self.by_id.insert(id, connection);
    }

    /// A message of a known source came on it: it no longer has to make room for others.
    pub(crate) fn promote(&mut self, connection: &Connection) {
        if !self.strangers.remove(&connection.id) {
            return;
        }
        let address = neighbourhood(connection.remote.ip());
        if let Some(same) = self.strangers_by_address.get_mut(&address) {
            same.remove(&connection.id);
            if same.is_empty() {
                self.strangers_by_address.remove(&address);
            }
        }
    }

    /// Forgets a connection.
    pub(crate) fn remove(&mut self, connection: &Connection) {
        self.promote(connection);
        self.by_id.remove(&connection.id);
        self.by_peer.remove(&(connection.local, connection.remote, connection.id));
    }

    /// An open connection by its id.
    pub(crate) fn by_id(&self, id: u64) -> Option<&Arc<Connection>> {
        self.by_id.get(&id)
    }

    /// The open connections between two addresses, newest first.
    fn between(&self, peer: Peer) -> impl Iterator<Item = &Arc<Connection>> {
        let (local, remote) = (peer.local, peer.remote);
        let all = self.by_peer.range((local, remote, 0)..=(local, remote, u64::MAX)).rev();
        all.filter_map(|(_, _, id)| self.by_id.get(id))
    }

    /// The connection for a message to a peer. A number that was another connection's, in another process, may not
    /// lead to a stranger.
    pub(crate) fn find(&self, peer: Peer, message: &[u8]) -> Option<&Arc<Connection>> {
        let is_its = |it: &&Arc<Connection>| {
            it.is_secure() == peer.secure && it.local == peer.local && it.remote.ip() == peer.remote.ip()
        };
        let its = self.by_id(peer.connection).filter(is_its);
        its.or_else(|| self.between(peer).find(|connection| connection.carries(peer, message)))
    }

    /// All of them, oldest first.
    pub(crate) fn all(&self) -> Vec<Arc<Connection>> {
        self.by_id.values().cloned().collect()
    }

    /// How many are open, and how many of them are strangers.
    pub(crate) fn len(&self) -> (usize, usize) {
        (self.by_id.len(), self.strangers.len())
    }
}

/// Whose connections count together: an IPv4 address, or an IPv6 /64, since one subscriber has a whole one.
fn neighbourhood(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX))),
    }
}

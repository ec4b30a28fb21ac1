//! Addresses that float between nodes, as one node brings them to its machine and lets them go.

use std::io;
use std::net::IpAddr;

use machine::Instant;

use crate::BoxFuture;

/// The floating addresses of a machine. Those that it need not bring are there already: nothing happens then.
///
/// An address stands no longer than the node may speak: whoever implements this takes it away when the time of
/// the last [`Addresses::renew`] is over, and brings it back with the next, even if the node itself stands still.
pub trait Addresses: Send + Sync + 'static {
    /// Brings an address here and announces it. Its sockets are bound before; nothing sent from it leaves before
    /// this is done. Where the node may not speak yet, it comes when the node may.
    ///
    /// # Errors
    /// The system refuses; the address is not wanted any more then.
    fn add(&self, address: IpAddr) -> BoxFuture<'static, io::Result<()>>;

    /// Takes an address away; it is gone when this is done.
    fn remove(&self, address: IpAddr) -> BoxFuture<'static, ()>;

    /// The node may speak until then; `None`: not now.
    fn renew(&self, until: Option<Instant>);
}

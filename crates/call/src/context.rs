//! What all calls of one home share.

use std::hash::Hasher;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use siphasher::sip128::{Hasher128, SipHasher24};
use trunk::{Bindings, Resources, Transport};

use crate::id::{Epoch, HomeId};

/// What all calls of one home share, as of one version of the resources.
#[derive(Clone, Debug)]
pub struct Context {
    /// The home that peers see.
    pub home: HomeId,
    /// How often it changed hands.
    pub epoch: Epoch,
    /// The resources.
    pub resources: Arc<Resources>,
    /// Where accounts are registered.
    pub bindings: Arc<dyn Bindings>,
    /// The cluster's key.
    pub secret: Secret,
    /// Opens the passwords that are kept for carriers.
    pub seal: Arc<auth::Seal>,
    /// The domain of our URIs and of Warning.
    pub domain: Arc<str>,
    /// The home's signalling addresses, as bound.
    pub addresses: Vec<(Transport, SocketAddr)>,
    /// What Via and Contact say instead of the bound address.
    pub advertise: Option<Arc<str>>,
    /// The lengths of the SIP timers.
    pub times: transaction::Times,
    /// The address in our session descriptions.
    pub media: IpAddr,
}

impl Context {
    /// The home's address for a transport of the same family as `peer`.
    pub fn address(&self, transport: Transport, peer: SocketAddr) -> Option<SocketAddr> {
        self.addresses
            .iter()
            .find(|(t, at)| *t == transport && at.is_ipv4() == peer.is_ipv4())
            .map(|(_, at)| *at)
    }
}

/// The cluster's key, under which tags, branches and Call-IDs are derived. Prints as `***`.
#[derive(Clone, Copy)]
pub struct Secret([u8; 16]);

impl Secret {
    /// A key.
    pub const fn new(key: [u8; 16]) -> Secret {
        Secret(key)
    }

    /// The key itself, for whoever derives others from it.
    pub const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// A keyed digest (SipHash-2-4, 128 bit) of `parts`; lengths are hashed too, so that parts can't be shifted.
    pub fn digest(&self, parts: &[&[u8]]) -> u128 {
        self.digest_of(parts.iter().copied())
    }

    /// As `digest`, of parts that lie in several places.
    pub(crate) fn digest_of<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> u128 {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        for part in parts {
            hasher.write_u64(part.len() as u64);
            hasher.write(part);
        }
        hasher.finish128().as_u128()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

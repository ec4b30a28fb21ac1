//! Where accounts of trunks are registered and which targets are down, as far as a plan has to know it.

use std::fmt::Debug;

use crate::name::Name;
use crate::party::Transport;
use crate::target::{Host, SipTarget};

/// Where an account is registered: what a call to it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// The Contact: the Request-URI.
    pub uri: String,
    /// Where requests to it are sent: its own host, that of its Path, or where it was seen behind NAT.
    pub host: Host,
    /// To which port.
    pub port: Option<u16>,
    /// By which transport.
    pub transport: Transport,
    /// The Route that leads to it (RFC 3327 §5.2): its Path, next hop first.
    pub route: Vec<String>,
}

/// Looks up where accounts are registered now, and what is down.
pub trait Bindings: Debug + Send + Sync {
    /// Where this account of a trunk, counted from one, is registered.
    fn of(&self, trunk: &Name, account: u8) -> Option<Registered>;

    /// Whether a target, whoever is called there, is known to be down.
    fn is_down(&self, target: &SipTarget) -> bool;
}

/// Nobody is registered anywhere, and nothing is known to be down.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoBindings;

impl Bindings for NoBindings {
    fn of(&self, _: &Name, _: u8) -> Option<Registered> {
        None
    }

    fn is_down(&self, _: &SipTarget) -> bool {
        false
    }
}

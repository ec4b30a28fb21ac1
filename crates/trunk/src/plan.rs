//! The plan of a call: what is counted, and where it is tried, in order.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::name::Name;
use crate::party::{Direction, Party, Slot, Transport};
use crate::redirect::Redirected;
use crate::target::Host;

/// What a call may do: made once, at admission, and carried in its record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The called number, in canonical form, unescaped.
    pub called: String,
    /// Its direction.
    pub direction: Direction,
    /// The customer whose call it is.
    pub tenant: Option<Name>,
    /// Slots held from admission to end. Each must be free, or the call is refused.
    pub slots: Vec<Slot>,
    /// Trunks whose rate windows count this call, each once.
    pub windows: Vec<Name>,
    /// Where it is tried, in order; never empty. A target whose slots are not free is passed over.
    pub targets: Vec<Target>,
    /// An emergency call: limits are not asked.
    pub emergency: bool,
    /// The longest that it may last.
    pub max_duration: Duration,
}

/// One attempt of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Who it leads to.
    pub party: Party,
    /// The Request-URI to send.
    pub uri: String,
    /// Where to send it.
    pub host: Host,
    /// To which port; without one, RFC 3263 decides.
    pub port: Option<u16>,
    /// By which transport.
    pub transport: Transport,
    /// Slots held from this attempt on, instead of those of the one before.
    pub slots: Vec<Slot>,
    /// Whether it stands in a failover list.
    pub is_failover: bool,
    /// Where it is registered: what leads there, and whom the call is for.
    pub registered: Option<Registration>,
    /// The redirect that led there.
    pub redirected: Option<Box<Redirected>>,
}

/// A target that is where an account is registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// The Route (RFC 3327 §5.2), next hop first.
    pub route: Vec<String>,
    /// The called user, escaped, for To: the Request-URI is the Contact, which may name nobody.
    pub user: String,
}

//! When a peer's media address may be learned from its packets (a trunk's `nat` setting).

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// Whether a peer may sit behind a NAT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Nat {
    /// It may, if its SDP names another address than its SIP came from.
    #[default]
    Auto,
    /// It does: even if the addresses agree, its ports may not.
    Always,
    /// It does not: media goes where it was signalled, and nowhere else.
    Never,
}

impl Nat {
    /// The one address from which the peer's media address may be learned: that of its SIP, which was
    /// admitted and authenticated. Never any other, else a stranger could draw a call's media to himself.
    pub fn latch(self, signalled: Option<SocketAddr>, sip_source: IpAddr) -> Option<IpAddr> {
        match (self, signalled) {
            (Nat::Never, _) | (_, None) => None,
            (Nat::Always, Some(_)) => Some(sip_source),
            (Nat::Auto, Some(signalled)) if signalled.ip() == sip_source => None,
            (Nat::Auto, Some(_)) => Some(sip_source),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fl27_only_the_sip_source_can_be_latched_and_only_where_it_differs() {
        let sip = IpAddr::from([198, 51, 100, 9]);
        let same = Some(SocketAddr::from(([198, 51, 100, 9], 4000)));
        let private = Some(SocketAddr::from(([10, 0, 0, 5], 4000)));
        for (nat, signalled, expected) in [
            (Nat::Auto, private, Some(sip)),
            (Nat::Auto, same, None),
            (Nat::Always, private, Some(sip)),
            (Nat::Always, same, Some(sip)),
            (Nat::Never, private, None),
            (Nat::Never, same, None),
            (Nat::Always, None, None),
        ] {
            assert_eq!(nat.latch(signalled, sip), expected, "{nat:?} {signalled:?}");
        }
    }
}

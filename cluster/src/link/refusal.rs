//! Why there is no link to a peer.

use quinn::{ConnectionError, VarInt};
use thiserror::Error;

/// Why there is no link to a peer. Each says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It does not answer.
    #[error("it does not answer; is it running, and may UDP pass?")]
    Silent,
    /// It, or we, are not of the same cluster.
    #[error(
        "it and we are not of one cluster; is secret_file (or ca) the same on both, and is it the node it should be?"
    )]
    Stranger,
    /// It, or we, do not know the other as a member.
    #[error("one of us does not count the other among its peers (yet)")]
    NotPeer,
    /// Another process with the same id took the link's place.
    #[error("another process with the same node id is linked in its place; stop one of them")]
    Twin,
    /// It speaks another version of the protocol.
    #[error("it speaks another version of the protocol; are both of a release that can be mixed?")]
    Version,
    /// It broke the protocol.
    #[error("it broke the protocol of links; please report it")]
    Protocol,
    /// There is a link already: both dialled at once.
    #[error("there is a link already")]
    Linked,
    /// One side stopped.
    #[error("it has been stopped")]
    Stopped,
}

impl Refusal {
    /// The code under which a connection is closed.
    pub(super) const fn code(self) -> VarInt {
        VarInt::from_u32(match self {
            Refusal::Stopped => 0,
            Refusal::Stranger => 1,
            Refusal::NotPeer => 2,
            Refusal::Twin => 3,
            Refusal::Version => 4,
            Refusal::Protocol => 5,
            Refusal::Silent => 6,
            Refusal::Linked => 7,
        })
    }

    const ALL: [Refusal; 8] = [
        Refusal::Stopped,
        Refusal::Stranger,
        Refusal::NotPeer,
        Refusal::Twin,
        Refusal::Version,
        Refusal::Protocol,
        Refusal::Silent,
        Refusal::Linked,
    ];
}

impl From<&ConnectionError> for Refusal {
    fn from(error: &ConnectionError) -> Refusal {
        match error {
            ConnectionError::ApplicationClosed(closed) => {
                let known = Refusal::ALL.into_iter().find(|it| it.code() == closed.error_code);
                known.unwrap_or(Refusal::Protocol)
            }
            ConnectionError::ConnectionClosed(closed) => transport(u64::from(closed.error_code)),
            ConnectionError::TransportError(error) => transport(u64::from(error.code)),
            ConnectionError::VersionMismatch => Refusal::Version,
            ConnectionError::TimedOut | ConnectionError::Reset | ConnectionError::CidsExhausted => {
                Refusal::Silent
            }
            ConnectionError::LocallyClosed => Refusal::Stopped,
        }
    }
}

/// RFC 9001 §4.8: alerts of TLS are codes from 0x100; RFC 9000 §20.1 has the others.
fn transport(code: u64) -> Refusal {
    match code {
        0 => Refusal::Stopped,
        // CONNECTION_REFUSED: too many at once.
        2 => Refusal::Silent,
        NO_APPLICATION_PROTOCOL | PROTOCOL_VERSION => Refusal::Version,
        0x100..0x200 => Refusal::Stranger,
        _ => Refusal::Protocol,
    }
}

/// RFC 7301 §3.2.
const NO_APPLICATION_PROTOCOL: u64 = 0x100 + 120;
/// RFC 8446 §6.2.
const PROTOCOL_VERSION: u64 = 0x100 + 70;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_told_apart() {
        for (place, one) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(one.code(), VarInt::from_u32(place as u32));
        }
        // RFC 8446 §6: unknown_ca 48, decrypt_error 51, certificate_required 116.
        for alert in [48, 51, 116] {
            assert_eq!(transport(0x100 + alert), Refusal::Stranger);
        }
        assert_eq!(transport(0x100 + 120), Refusal::Version);
        assert_eq!(transport(0x0a), Refusal::Protocol);
    }
}

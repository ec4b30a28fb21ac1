//! What a dialog is, as plain data that outlives the node which holds it (RFC 3261 §12).

use serde::{Deserialize, Serialize};

use crate::{LocalCseq, Session};

/// Which side of the first INVITE we were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// The INVITE came to us.
    Uas,
    /// The INVITE was ours, and so is the Call-ID.
    Uac,
}

/// A dialog: everything about it that must survive. Session descriptions are the call's to keep.
///
/// Encoded by position: fields are never reordered or removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DialogState {
    /// Which side of the first INVITE we were.
    pub role: Role,
    /// Whether a 2xx made it more than early.
    pub confirmed: bool,
    /// Whether every hop must be secure (RFC 3261 §12.1.1: a SIPS Request-URI over TLS).
    pub secure: bool,
    /// Call-ID.
    pub call_id: Box<str>,
    /// Our tag.
    pub local_tag: Box<str>,
    /// The peer's tag; empty where the peer gave none (RFC 2543).
    pub remote_tag: Box<str>,
    /// Our From, or To where the peer called: `"name" <uri>`, no tag.
    pub local: Box<str>,
    /// The peer's, in the same form.
    pub remote: Box<str>,
    /// The URI that requests go to (from the peer's Contact).
    pub remote_target: Box<str>,
    /// The Route values of our requests, in the order in which they are written: as recorded where the peer
    /// called, reversed where we did.
    pub route_set: Box<[Box<str>]>,
    /// The CSeq numbers of our requests.
    pub cseq: LocalCseq,
    /// The highest CSeq of the peer's requests.
    pub remote_cseq: Option<u32>,
    /// The CSeq of the INVITE that made the dialog, whoever sent it.
    pub invite_cseq: u32,
    /// Whether that INVITE carried the offer (RFC 3261 §13.2.1).
    pub invite_offered: bool,
    /// Whether a reliable response to it has answered, or offered where it did not.
    pub invite_exchanged: bool,
    /// Reliable provisional responses.
    pub provisional: Provisionals,
    /// The session timer, if one runs.
    pub session: Option<Session>,
    /// The highest Min-SE heard in this dialog, in seconds (RFC 4028 §5).
    pub min_se_s: u32,
    /// What the peer said that it can do.
    pub peer: Peer,
}

/// Where the numbering of reliable provisional responses stands (RFC 3262).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provisionals {
    /// The last RSeq that we gave out; 0 before the first.
    pub sent: u32,
    /// Whether its PRACK came.
    pub acknowledged: bool,
    /// The last RSeq of the peer that was in order; 0 before the first.
    pub received: u32,
}

/// What the peer said that it can do, in Allow, Supported and Require.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// UPDATE (RFC 3311).
    pub update: bool,
    /// Session timers (RFC 4028).
    pub timer: bool,
    /// Reliable provisional responses (RFC 3262).
    pub reliable: bool,
}

impl DialogState {
    /// The URI of the first hop of a request in this dialog (RFC 3261 §12.2.1.1, §8.1.2).
    pub fn next_hop(&self) -> &[u8] {
        let uri = self.route_set.first().map(|route| uri_of(route));
        uri.unwrap_or(&self.remote_target).as_bytes()
    }
}

/// The URI in `name <uri>;params` or `uri;params`.
pub(crate) fn uri_of(address: &str) -> &str {
    // A display name may hold '<' only within quotes.
    let mut quoted = false;
    let mut escaped = false;
    for (i, byte) in address.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'<' if !quoted => {
                let rest = address.get(i + 1..).unwrap_or_default();
                return rest.split_once('>').map_or(rest, |(uri, _)| uri);
            }
            _ => {}
        }
    }
    // Without brackets, parameters belong to the header, not to the URI (RFC 3261 §20).
    address.split_once(';').map_or(address, |(uri, _)| uri).trim()
}

//! What a dialog is, as plain data that outlives the node which holds it (RFC 3261 §12).

use std::sync::Arc;

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
    pub call_id: Arc<str>,
    /// Our tag.
    pub local_tag: Arc<str>,
    /// The peer's tag; empty where the peer gave none (RFC 2543).
    pub remote_tag: Arc<str>,
    /// Our From, or To where the peer called: `"name" <uri>`, no tag.
    pub local: Arc<str>,
    /// The peer's, in the same form.
    pub remote: Arc<str>,
    /// The URI that requests go to (from the peer's Contact).
    pub remote_target: Arc<str>,
    /// The Route values of our requests, in the order in which they are written: as recorded where the peer
    /// called, reversed where we did.
    pub route_set: Box<[Arc<str>]>,
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixture::{uac, uas};
    use crate::{Refresher, SessionMode};

    #[test]
    fn the_uri_of_an_address_is_found_in_each_of_its_forms() {
        // RFC 3261 §20.10.
        for (address, uri) in [
            ("<sip:p1.example;lr>", "sip:p1.example;lr"),
            ("\"a < b\" <sip:p@x>;r=1", "sip:p@x"),
            ("\"a \\\" <\" <sip:q@x>", "sip:q@x"),
            ("sip:p1.example;lr", "sip:p1.example"),
        ] {
            assert_eq!(uri_of(address), uri);
        }
    }

    #[test]
    fn the_next_hop_is_the_first_route_or_the_target() {
        // RFC 3261 §12.2.1.1, §8.1.2.
        assert_eq!(uas("").state().next_hop(), b"sip:alice@192.0.2.1:5070");
        let routed = uas("Record-Route: <sip:p1.example;lr>, <sip:p2.example;lr>\r\n");
        assert_eq!(routed.state().next_hop(), b"sip:p1.example;lr");
    }

    #[test]
    fn a_typical_state_is_below_a_kilobyte() {
        let dialog = uac("Record-Route: <sip:p1.example;lr>\r\nSession-Expires: 1800;refresher=uac\r\n");
        let state = dialog.state();
        let texts = [
            &state.call_id,
            &state.local_tag,
            &state.remote_tag,
            &state.local,
            &state.remote,
            &state.remote_target,
        ];
        let heap: usize =
            texts.iter().map(|t| t.len()).chain(state.route_set.iter().map(|r| r.len() + 16)).sum();
        assert!(size_of::<DialogState>() + heap < 1024, "{} + {heap}", size_of::<DialogState>());
        // A held call has two machines besides; both have to fit many times into its 12 KiB.
        assert!(size_of::<crate::Dialog>() <= 640, "{}", size_of::<crate::Dialog>());
    }

    fn any_text() -> impl Strategy<Value = Arc<str>> {
        "[ -~é]{0,40}".prop_map(Arc::<str>::from)
    }

    fn any_session() -> impl Strategy<Value = Option<Session>> {
        let refresher = prop_oneof![Just(Refresher::Us), Just(Refresher::Peer)];
        proptest::option::of(
            (any::<u32>(), refresher).prop_map(|(interval_s, refresher)| Session { interval_s, refresher }),
        )
    }

    prop_compose! {
        fn any_state()(
            texts in proptest::collection::vec(any_text(), 6),
            route_set in proptest::collection::vec(any_text(), 0..4),
            uas: bool, confirmed: bool, secure: bool, invite_offered: bool, invite_exchanged: bool,
            first in 0u32..1 << 30, remote_cseq: Option<u32>, invite_cseq: u32, min_se_s: u32,
            sent: u32, acknowledged: bool, received: u32, session in any_session(),
            update: bool, timer: bool, reliable: bool,
        ) -> DialogState {
            let mut texts = texts.into_iter();
            let mut next = || texts.next().unwrap_or_default();
            DialogState {
                role: if uas { Role::Uas } else { Role::Uac },
                confirmed, secure,
                call_id: next(), local_tag: next(), remote_tag: next(),
                local: next(), remote: next(), remote_target: next(),
                route_set: route_set.into_boxed_slice(),
                cseq: LocalCseq::starting_at(first),
                remote_cseq, invite_cseq, invite_offered, invite_exchanged,
                provisional: Provisionals { sent, acknowledged, received },
                session, min_se_s,
                peer: Peer { update, timer, reliable },
            }
        }
    }

    proptest! {
        #[test]
        fn state_survives_encoding(state in any_state()) {
            // OpenSIPS/opensips#3707: a field written twice was never read back.
            let text = serde_json::to_string(&state).expect("plain data");
            prop_assert_eq!(serde_json::from_str::<DialogState>(&text).expect("its own encoding"), state);
        }

        #[test]
        fn i12_identity_is_unchanged_by_a_takeover(state in any_state(), left in proptest::option::of(0u64..4000)) {
            let left = left.map(std::time::Duration::from_secs);
            let restored =
                crate::Dialog::restore(machine::Instant::ZERO, state.clone(), crate::Settings::default(), left);
            let expected = DialogState { cseq: state.cseq.for_successor(), ..state };
            prop_assert_eq!(restored.state(), &expected);
        }
    }

    #[test]
    fn policies_are_plain_data_too() {
        let text = serde_json::to_string(&crate::SessionPolicy::default()).expect("plain data");
        let policy: crate::SessionPolicy = serde_json::from_str(&text).expect("its own encoding");
        assert_eq!(policy.mode, SessionMode::Optional);
    }
}

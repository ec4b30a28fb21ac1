//! Which transaction a message belongs to (RFC 3261 §17.1.3, §17.2.3, §9.2), as a key of 128 bits.

use std::hash::Hasher;

use sip::{Message, Method, Name, ParseError};
use siphasher::sip128::{Hasher128, SipHasher13};

/// The secret that keeps strangers from forging two messages with one key. Drawn once by each node.
#[derive(Clone, Copy, Debug)]
pub struct KeySeed(pub [u8; 16]);

/// A transaction's identity: a keyed digest, cheap to compare, order and keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(u128);

impl Key {
    /// The key of a client transaction that we start: its branch and method (§17.1.3).
    pub fn client(seed: &KeySeed, branch: &[u8], method: Method<'_>) -> Key {
        Digest::new(seed, Kind::Client).part(branch).part(method.as_bytes()).key()
    }

    /// The client transaction that a response belongs to (§17.1.3).
    pub fn of_response(seed: &KeySeed, response: &Message<'_>) -> Result<Key, ParseError> {
        let branch = response.top_via()?.branch.ok_or(ParseError::Branch)?;
        let (_, method) = response.cseq()?;
        Ok(Key::client(seed, branch, method))
    }

    /// The server transaction that a request belongs to, or creates (§17.2.3). The ACK to a refusal has the key
    /// of its INVITE; the ACK to a 2xx has one of its own, except from peers of RFC 2543.
    pub fn of_request(seed: &KeySeed, request: &Message<'_>) -> Result<Key, ParseError> {
        let method = request.method().ok_or(ParseError::StartLine)?;
        Key::server(seed, request, if method == Method::Ack { Method::Invite } else { method })
    }

    /// The server transaction that a CANCEL wants to end: an INVITE with the rest of its key (§9.2).
    pub fn of_cancelled(seed: &KeySeed, cancel: &Message<'_>) -> Result<Key, ParseError> {
        Key::server(seed, cancel, Method::Invite)
    }

    fn server(seed: &KeySeed, request: &Message<'_>, method: Method<'_>) -> Result<Key, ParseError> {
        let via = request.top_via()?;
        if let Some(branch) = via.branch.filter(|_| via.has_rfc3261_branch()) {
            let digest = Digest::new(seed, Kind::Server).part(branch).folded(via.host);
            return Ok(digest.number(via.port_or_default().into()).part(method.as_bytes()).key());
        }
        // RFC 2543: the branch, if any, identifies nothing; these fields together do.
        let (number, _) = request.cseq()?;
        let digest = Digest::new(seed, Kind::Server2543)
            .part(request.uri().unwrap_or_default())
            .part(request.from_tag()?.unwrap_or_default())
            .part(request.get(Name::CallId).unwrap_or_default())
            .number(number)
            .part(via.raw)
            .part(method.as_bytes());
        // The To tag of an ACK is the one that our response gave, which its INVITE did not have; so for an INVITE
        // and what follows it the tag is left out. Call-ID and CSeq already tell two INVITEs of a peer apart.
        Ok(match method {
            Method::Invite | Method::Cancel => digest,
            _ => digest.part(request.to_tag()?.unwrap_or_default()),
        }
        .key())
    }
}

/// What keeps keys of different kinds apart.
#[derive(Clone, Copy)]
enum Kind {
    Client,
    Server,
    Server2543,
}

/// A digest over parts that can't run into each other.
struct Digest(SipHasher13);

impl Digest {
    fn new(seed: &KeySeed, kind: Kind) -> Digest {
        let mut hasher = SipHasher13::new_with_key(&seed.0);
        hasher.write_u8(kind as u8);
        Digest(hasher)
    }

    fn part(mut self, bytes: &[u8]) -> Digest {
        self.0.write_usize(bytes.len());
        self.0.write(bytes);
        self
    }

    /// A part whose letters' case does not matter.
    fn folded(mut self, bytes: &[u8]) -> Digest {
        self.0.write_usize(bytes.len());
        for b in bytes {
            self.0.write_u8(b.to_ascii_lowercase());
        }
        self
    }

    fn number(mut self, number: u32) -> Digest {
        self.0.write_u32(number);
        self
    }

    fn key(self) -> Key {
        Key(self.0.finish128().as_u128())
    }
}

#[cfg(test)]
mod tests {
    use sip::Framing;

    use super::*;

    const SEED: KeySeed = KeySeed([7; 16]);

    /// A request with these variable parts.
    fn request(method: &str, uri: &str, via: &str, to: &str, cseq: u32) -> String {
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {via}\r\nFrom: <sip:a@a.example>;tag=f1\r\n\
             To: <sip:b@b.example>{to}\r\nCall-ID: c1@a\r\nCSeq: {cseq} {method}\r\nContent-Length: 0\r\n\r\n"
        )
    }

    fn key(text: &str) -> Key {
        let message = Message::parse(text.as_bytes(), Framing::Datagram).expect("well formed");
        Key::of_request(&SEED, &message).expect("a key")
    }

    fn cancelled(text: &str) -> Key {
        let message = Message::parse(text.as_bytes(), Framing::Datagram).expect("well formed");
        Key::of_cancelled(&SEED, &message).expect("a key")
    }

    const NEW: &str = "h.example:5060;branch=z9hG4bKaa";
    const OLD: &str = "h.example:5060;branch=1";

    #[test]
    fn a_retransmission_matches_and_nothing_but_branch_sent_by_and_method_counts() {
        // RFC 3261 §17.2.3, rules 1 to 3.
        let invite = key(&request("INVITE", "sip:b@b.example", NEW, "", 1));
        assert_eq!(invite, key(&request("INVITE", "sip:other@b.example", NEW, ";tag=9", 2)));
        assert_ne!(
            invite,
            key(&request("INVITE", "sip:b@b.example", "h.example:5060;branch=z9hG4bKab", "", 1))
        );
        assert_ne!(
            invite,
            key(&request("INVITE", "sip:b@b.example", "i.example:5060;branch=z9hG4bKaa", "", 1))
        );
        assert_ne!(
            invite,
            key(&request("INVITE", "sip:b@b.example", "h.example:5070;branch=z9hG4bKaa", "", 1))
        );
        assert_ne!(invite, key(&request("BYE", "sip:b@b.example", NEW, "", 1)));
        // A host's case and a default port spelled out are the same sent-by (§18.1.1, §19.1.4).
        assert_eq!(invite, key(&request("INVITE", "sip:b@b.example", "H.Example;branch=z9hG4bKaa", "", 1)));
    }

    #[test]
    fn an_ack_to_a_refusal_matches_its_invite() {
        // RFC 3261 §17.2.3, rule 3: except for ACK, where the method of the transaction is INVITE.
        let invite = key(&request("INVITE", "sip:b@b.example", NEW, "", 1));
        assert_eq!(invite, key(&request("ACK", "sip:b@b.example", NEW, ";tag=t", 1)));
    }

    #[test]
    fn a_cancel_is_its_own_transaction_and_names_its_invite() {
        // RFC 3261 §9.2.
        for via in [NEW, OLD] {
            let invite = key(&request("INVITE", "sip:b@b.example", via, "", 1));
            let cancel = request("CANCEL", "sip:b@b.example", via, "", 1);
            assert_ne!(invite, key(&cancel));
            assert_eq!(invite, cancelled(&cancel));
        }
    }

    #[test]
    fn an_rfc_2543_request_matches_on_its_fields() {
        // RFC 3261 §17.2.3, second half: Request-URI, From tag, Call-ID, CSeq and topmost Via.
        let invite = key(&request("INVITE", "sip:b@b.example", OLD, "", 1));
        assert_eq!(invite, key(&request("INVITE", "sip:b@b.example", OLD, "", 1)));
        assert_ne!(invite, key(&request("INVITE", "sip:c@b.example", OLD, "", 1)));
        assert_ne!(invite, key(&request("INVITE", "sip:b@b.example", OLD, "", 2)));
        assert_ne!(invite, key(&request("INVITE", "sip:b@b.example", "h.example:5060;branch=2", "", 1)));
        assert_eq!(invite, key(&request("ACK", "sip:b@b.example", OLD, ";tag=ours", 1)));
        let bye = key(&request("BYE", "sip:b@b.example", OLD, ";tag=ours", 2));
        assert_ne!(bye, key(&request("BYE", "sip:b@b.example", OLD, ";tag=theirs", 2)));
        // A branch that is the cookie alone says nothing, and no branch at all is of RFC 2543 too.
        let bare = key(&request("INVITE", "sip:b@b.example", "h.example:5060", "", 1));
        assert_ne!(bare, key(&request("INVITE", "sip:b@b.example", "h.example:5060", "", 2)));
    }

    #[test]
    fn a_response_matches_by_branch_and_cseq_method() {
        // RFC 3261 §17.1.3: the CSeq method tells CANCEL's 200 from INVITE's.
        let text = "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP us;branch=z9hG4bKq;received=1.2.3.4\r\n\
                    From: <sip:a@a>;tag=f\r\nTo: <sip:b@b>;tag=t\r\nCall-ID: c\r\nCSeq: 4 CANCEL\r\n\r\n";
        let message = Message::parse(text.as_bytes(), Framing::Datagram).expect("well formed");
        let found = Key::of_response(&SEED, &message).expect("a key");
        assert_eq!(found, Key::client(&SEED, b"z9hG4bKq", Method::Cancel));
        assert_ne!(found, Key::client(&SEED, b"z9hG4bKq", Method::Invite));
    }

    #[test]
    fn keys_depend_on_the_seed_and_parts_do_not_run_together() {
        let ours = Key::client(&SEED, b"ab", Method::Other(b"C"));
        assert_ne!(ours, Key::client(&KeySeed([8; 16]), b"ab", Method::Other(b"C")));
        assert_ne!(ours, Key::client(&SEED, b"a", Method::Other(b"bC")));
    }
}

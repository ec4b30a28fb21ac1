//! Whose message is this? Our branches and tags name their call, so that any node can tell, without a table.
//!
//! A branch of ours is `z9hG4bKb`, 16 digits of call, 16 of digest; a tag is 16 digits of call, `i` or `e`,
//! 16 of digest. The digests are keyed: a stranger who guesses a call still has no tag of it.

use sip::{Message, StartLine};

use crate::context::Secret;
use crate::id::{CallId, hex};
use crate::record::{InviteKey, Side};

const BRANCH: &[u8] = b"z9hG4bKb";
/// Requests that belong to no call.
const ERRAND: &[u8] = b"z9hG4bKr";

/// The call whose request this response answers.
pub fn response(message: &Message<'_>) -> Option<CallId> {
    let via = message.top_via().ok()?;
    let rest = via.branch?.strip_prefix(BRANCH)?;
    if rest.len() != 32 {
        return None;
    }
    CallId::from_hex(rest.get(..16)?)
}

/// The call in whose dialog this request was sent.
pub fn request(message: &Message<'_>) -> Option<CallId> {
    call_of_tag(message.to().ok()?.tag()?).map(|(call, _)| call)
}

/// The call and the leg that a tag of ours belongs to.
pub fn call_of_tag(tag: &[u8]) -> Option<(CallId, Side)> {
    if tag.len() != 33 {
        return None;
    }
    let side = match tag.get(16)? {
        b'i' => Side::Ingress,
        b'e' => Side::Egress,
        _ => return None,
    };
    Some((CallId::from_hex(tag.get(..16)?)?, side))
}

/// What makes an INVITE the same INVITE; also finds it for its CANCEL and for the ACK of a refusal.
pub fn invite_key(secret: &Secret, message: &Message<'_>) -> Option<InviteKey> {
    let via = message.top_via().ok()?;
    let (number, _) = message.cseq().ok()?;
    let from = message.from().ok()?;
    let tag = from.tag().unwrap_or_default();
    let dialog = secret.digest(&[message.call_id().ok()?, tag, &number.to_be_bytes()]);
    let port = via.port.unwrap_or_default().to_be_bytes();
    let branch = secret.digest(&[via.branch.unwrap_or_default(), via.host, &port]) as u64;
    Some(InviteKey { dialog, branch })
}

/// A message's key among all of a node's (RFC 3261 §17.1.3, §17.2.3): for answers kept after their call. An ACK is
/// not its INVITE: an answer to it would be acknowledged, and answered, without end.
pub fn transaction_key(secret: &Secret, message: &Message<'_>) -> Option<u64> {
    let via = message.top_via().ok()?;
    let (number, method) = message.cseq().ok()?;
    let direction: &[u8] = match message.start() {
        StartLine::Request { .. } => b"q",
        StartLine::Response { .. } => b"s",
    };
    let port = via.port.unwrap_or_default().to_be_bytes();
    let parts = [
        direction,
        via.branch.unwrap_or_default(),
        via.host,
        &port,
        method.as_bytes(),
        &number.to_be_bytes(),
        message.call_id().ok()?,
    ];
    Some(secret.digest(&parts) as u64)
}

/// The branch of a request of ours. The same parts give the same branch, on any node.
pub fn branch(secret: &Secret, call: CallId, parts: &[&[u8]]) -> Branch {
    let mut out = [0; 40];
    fill(&mut out, [BRANCH, &hex(call.0), &hex(keyed(secret, b"branch", call, parts))]);
    out
}

/// The branch of a request of ours that belongs to no call.
pub fn errand_branch(secret: &Secret, id: CallId) -> Branch {
    let mut out = [0; 40];
    fill(&mut out, [ERRAND, &hex(id.0), &hex(keyed(secret, b"errand", id, &[]))]);
    out
}

/// The request of ours outside of calls that this response answers, or that this is.
pub fn errand(secret: &Secret, message: &Message<'_>) -> Option<CallId> {
    let branch = message.top_via().ok()?.branch?;
    let id = CallId::from_hex(branch.strip_prefix(ERRAND)?.get(..16)?)?;
    (*branch == errand_branch(secret, id)).then_some(id)
}

/// A tag of ours on one leg.
pub fn tag(secret: &Secret, call: CallId, side: Side, parts: &[&[u8]]) -> Tag {
    let mut out = [0; 33];
    let side: &[u8] = match side {
        Side::Ingress => b"i",
        Side::Egress => b"e",
    };
    fill(&mut out, [&hex(call.0), side, &hex(keyed(secret, b"tag", call, parts))]);
    out
}

/// The Call-ID of an egress attempt: says nothing of the caller's.
pub fn call_id(secret: &Secret, call: CallId, seed: u64, attempt: u16) -> [u8; 32] {
    let mut out = [0; 32];
    let parts: [&[u8]; 2] = [&seed.to_be_bytes(), &attempt.to_be_bytes()];
    let (first, second) =
        (keyed(secret, b"call-id-1", call, &parts), keyed(secret, b"call-id-2", call, &parts));
    fill(&mut out, [&hex(first), &hex(second), b""]);
    out
}

/// A branch of ours, as text.
pub type Branch = [u8; 40];

/// A tag of ours, as text.
pub type Tag = [u8; 33];

/// Puts parts one after another.
fn fill(out: &mut [u8], parts: [&[u8]; 3]) {
    let bytes = parts.into_iter().flatten();
    out.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
}

fn keyed(secret: &Secret, purpose: &[u8], call: CallId, parts: &[&[u8]]) -> u64 {
    let id = call.0.to_be_bytes();
    secret.digest_of([purpose, &id].into_iter().chain(parts.iter().copied())) as u64
}

#[cfg(test)]
mod tests {
    use sip::Framing;

    use super::*;

    fn key(method: &str, branch: &str) -> Option<u64> {
        let text = format!(
            "{method} sip:us SIP/2.0\r\nVia: SIP/2.0/UDP p;branch={branch}\r\nFrom: <sip:a@a>;tag=a1\r\n\
             To: <sip:b@b>;tag=b1\r\nCall-ID: c1\r\nCSeq: 2 {method}\r\n\r\n"
        );
        let message = Message::parse(text.as_bytes(), Framing::Datagram).expect("good SIP");
        transaction_key(&Secret::new([1; 16]), &message)
    }

    #[test]
    fn a_copy_has_the_key_of_its_original_and_the_ack_has_another() {
        assert_eq!(key("INVITE", "z9hG4bK1"), key("INVITE", "z9hG4bK1"));
        assert_ne!(key("INVITE", "z9hG4bK1"), key("INVITE", "z9hG4bK2"));
        // A kept refusal that answered its own ACK would be acknowledged again, without end.
        assert_ne!(key("INVITE", "z9hG4bK1"), key("ACK", "z9hG4bK1"));
    }

    #[test]
    fn an_errand_is_known_by_its_branch_and_nobody_can_make_one_up() {
        let (secret, id) = (Secret::new([1; 16]), CallId(7));
        let found = |branch: &[u8]| {
            let branch = String::from_utf8_lossy(branch);
            let text = format!("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP p;branch={branch}\r\n\r\n");
            errand(&secret, &Message::parse(text.as_bytes(), Framing::Datagram).expect("good SIP"))
        };
        let branch = errand_branch(&secret, id);
        assert_eq!(found(&branch), Some(id));
        assert_eq!(found(&errand_branch(&Secret::new([2; 16]), id)), None);
        assert_eq!(found(&branch[..39]), None);
        // It is no call's, and a call's is none.
        assert_eq!(found(&super::branch(&secret, id, &[])), None);
    }

    #[test]
    fn what_we_write_names_its_call() {
        let (secret, call) = (Secret::new([1; 16]), CallId(0x0102_0304_0506_0708));
        let tag = tag(&secret, call, Side::Egress, &[b"x"]);
        assert_eq!(call_of_tag(&tag), Some((call, Side::Egress)));
        assert!(branch(&secret, call, &[b"x"]).starts_with(b"z9hG4bKb0102030405060708"));
        assert!(errand_branch(&secret, call).starts_with(b"z9hG4bKr0102030405060708"));
        assert_ne!(branch(&secret, call, &[b"x", b"y"]), branch(&secret, call, &[b"xy"]));
    }
}

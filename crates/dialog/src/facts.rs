//! What a dialog reads of a message: parties, sequence, target, routes, abilities.

use std::sync::Arc;

use sip::{Message, Name, NameAddr, ParseError};
use smallvec::SmallVec;

use crate::PeerError;
use crate::state::Peer;

/// One side of a dialog, as From or To says it.
pub(crate) struct Party {
    /// `"name" <uri>`.
    pub(crate) address: Arc<str>,
    /// Empty where there is none.
    pub(crate) tag: Arc<str>,
}

/// From or To.
pub(crate) fn party(message: &Message<'_>, name: Name) -> Result<Party, PeerError> {
    let read = message.address(name)?.ok_or(ParseError::Missing(name))?;
    let uri = text(read.uri, name)?;
    // Most addresses fit on the stack, and only what is kept is allocated.
    let mut address = SmallVec::<[u8; 128]>::with_capacity(read.display.len() + uri.len() + 3);
    // A display name that is not UTF-8 is left out: it identifies nothing, and we could not repeat it safely.
    if let Ok(display) = std::str::from_utf8(read.display)
        && !display.is_empty()
    {
        let mut utf8 = [0; 4];
        for character in display.chars().map(unfolded) {
            address.extend_from_slice(character.encode_utf8(&mut utf8).as_bytes());
        }
        address.push(b' ');
    }
    address.push(b'<');
    address.extend_from_slice(uri.as_bytes());
    address.push(b'>');
    let address = text_folded(&address, name)?;
    let tag = text(read.tag().unwrap_or_default(), name)?.into();
    Ok(Party { address: address.into(), tag })
}

/// The tag of From or To, empty where there is none.
pub(crate) fn tag<'a>(message: &Message<'a>, name: Name) -> &'a [u8] {
    message.address(name).ok().flatten().and_then(|read| read.tag()).unwrap_or_default()
}

/// Call-ID as text.
pub(crate) fn call_id<'a>(message: &Message<'a>) -> Result<&'a str, PeerError> {
    text(message.call_id()?, Name::CallId)
}

/// The URI of Contact, fit to be a Request-URI: without header fields and method (RFC 3261 §19.1.1).
pub(crate) fn contact(message: &Message<'_>) -> Result<Option<Arc<str>>, PeerError> {
    if message.get(Name::Contact).is_none() {
        return Ok(None);
    }
    let read = message.contact()?.filter(|c| c.uri.contains(&b':')).ok_or(PeerError::Contact)?;
    Ok(Some(request_uri(text(read.uri, Name::Contact)?)))
}

/// A URI without what may not stand in a Request-URI (RFC 3261 §19.1.1, table 1).
pub(crate) fn request_uri(uri: &str) -> Arc<str> {
    let sip = uri.get(..4).is_some_and(|s| s.eq_ignore_ascii_case("sip:") || s.eq_ignore_ascii_case("sips"));
    // A user part may hold `?` and `;` (RFC 3261 §25.1), so only what follows it is looked at.
    let after_user = uri.find('@').map_or(0, |at| at + 1);
    let (user, host) = uri.split_at(after_user);
    let forbidden = |param: &str| param.get(..7).is_some_and(|name| name.eq_ignore_ascii_case("method="));
    if !sip || !(host.contains('?') || host.split(';').any(forbidden)) {
        return uri.into();
    }
    let host = host.split_once('?').map_or(host, |(host, _)| host);
    let mut kept = String::with_capacity(uri.len());
    kept.push_str(user);
    for (i, param) in host.split(';').filter(|param| !forbidden(param)).enumerate() {
        if i > 0 {
            kept.push(';');
        }
        kept.push_str(param);
    }
    kept.into()
}

/// The values of Record-Route, in their order.
pub(crate) fn record_route(message: &Message<'_>) -> Result<Vec<Arc<str>>, PeerError> {
    let mut routes = Vec::new();
    for value in message.values(Name::RecordRoute) {
        NameAddr::parse(value).ok_or(ParseError::Malformed(Name::RecordRoute))?;
        let value = text_folded(value, Name::RecordRoute)?;
        routes.push(value.chars().map(unfolded).collect::<String>().into());
    }
    Ok(routes)
}

/// Updates what is known of the peer by what this message says; silence changes nothing.
pub(crate) fn abilities(peer: &mut Peer, message: &Message<'_>) {
    if message.get(Name::Allow).is_some() {
        peer.update = message.has_token(Name::Allow, b"UPDATE");
    }
    if message.get(Name::Supported).is_some() || message.get(Name::Require).is_some() {
        let can =
            |option| message.has_token(Name::Supported, option) || message.has_token(Name::Require, option);
        peer.timer = can(b"timer");
        peer.reliable = can(b"100rel");
    }
}

/// Text within one line: what is stored is written again, so no line end may hide in it.
fn text(bytes: &[u8], name: Name) -> Result<&str, PeerError> {
    let text = text_folded(bytes, name)?;
    if text.bytes().any(|b| b == b'\r' || b == b'\n') { Err(PeerError::NotText(name)) } else { Ok(text) }
}

fn text_folded(bytes: &[u8], name: Name) -> Result<&str, PeerError> {
    std::str::from_utf8(bytes).map_err(|_| PeerError::NotText(name))
}

/// A fold means a space (RFC 3261 §7.3.1).
fn unfolded(c: char) -> char {
    if matches!(c, '\r' | '\n') { ' ' } else { c }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{invite, parse};

    #[test]
    fn a_contact_becomes_fit_for_a_request_line() {
        // RFC 3261 §19.1.1, table 1: no headers and no method in a Request-URI.
        for (contact, uri) in [
            ("sip:a@b;transport=tcp;method=BYE?Subject=x", "sip:a@b;transport=tcp"),
            ("sips:a;method=x@b;lr", "sips:a;method=x@b;lr"),
            ("sip:what?ever@b:5070", "sip:what?ever@b:5070"),
            ("sip:b;Method=INFO", "sip:b"),
            ("tel:+3120;phone-context=x?y", "tel:+3120;phone-context=x?y"),
        ] {
            assert_eq!(&*request_uri(contact), uri);
        }
    }

    #[test]
    fn parties_lose_folds_foreign_bytes_and_header_parameters() {
        let text =
            invite("").replace("\"Alice\" <sip:alice@a.example>;tag=a1", "\"A\r\n B\" <sip:a@x>;x=y;tag=a1");
        let party = party(&parse(&text), Name::From).expect("an address");
        assert_eq!((&*party.address, &*party.tag), ("\"A   B\" <sip:a@x>", "a1"));
        let mut bytes = invite("").into_bytes();
        let name = bytes.windows(7).position(|w| w == b"\"Alice\"").expect("her name");
        bytes[name + 1] = 0xe9; // Latin-1, as old exchanges send it.
        let message = Message::parse(&bytes, sip::Framing::Datagram).expect("well formed");
        assert_eq!(
            &*super::party(&message, Name::From).expect("an address").address,
            "<sip:alice@a.example>"
        );
    }

    #[test]
    fn bare_addresses_get_brackets() {
        // RFC 3261 §20: parameters of a bare URI are the header's.
        let text = invite("").replace("\"Alice\" <sip:alice@a.example>;tag=a1", "sip:alice@a.example;tag=a1");
        assert_eq!(&*party(&parse(&text), Name::From).expect("an address").address, "<sip:alice@a.example>");
    }

    #[test]
    fn abilities_change_only_where_a_message_speaks_of_them() {
        let mut peer = Peer::default();
        abilities(&mut peer, &parse(&invite("Allow: INVITE, UPDATE\r\nk: timer, 100rel\r\n")));
        assert_eq!(peer, Peer { update: true, timer: true, reliable: true });
        abilities(&mut peer, &parse(&invite("")));
        assert_eq!(peer, Peer { update: true, timer: true, reliable: true });
        abilities(&mut peer, &parse(&invite("Allow: INVITE\r\nSupported: replaces\r\n")));
        assert_eq!(peer, Peer::default());
    }
}

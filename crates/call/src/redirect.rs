//! A 3xx: its Contacts, as policy wants to see them, and what follows for the call (RFC 3261 §8.1.3.4).

use std::str;

use sip::{Contact, Message, NameAddr, OwnedMessage};
use trunk::{Host, Offered, Target, Transport, Word as _};

use crate::admission::settings;
use crate::call::Call;

impl Call {
    /// The targets to which a response of the current one sends the call on. Where a redirect is not followed, the CDR
    /// says why.
    pub(crate) fn sent_on(
        &mut self,
        current: u16,
        status: u16,
        response: Option<&OwnedMessage>,
    ) -> Vec<Target> {
        let response = response.filter(|_| (300..400).contains(&status));
        let (Some(response), Some(setup)) = (response, self.setup.as_ref()) else { return Vec::new() };
        let plan = setup.admit.as_ref().map(|admit| &admit.plan);
        let Some((tried, waiting)) =
            plan.and_then(|plan| plan.targets.split_at_checked(usize::from(current) + 1))
        else {
            return Vec::new();
        };
        let Some(target) = tried.last() else { return Vec::new() };
        let Some(settings) = settings(&self.context.resources, &target.party) else { return Vec::new() };
        // A URI to which the call was sent before, and whose turn will come, is in the target set (RFC 3261 §8.1.3.4).
        let waiting = waiting.iter().filter(|target| target.redirected.is_some());
        let known: Vec<&str> = tried.iter().chain(waiting).map(|target| target.uri.as_str()).collect();
        let followed =
            settings.redirect.follow(status, setup.progressed, target, offered(&response.view()), &known);
        followed.unwrap_or_else(|unfollowed| {
            if let Some(event) = unfollowed.event() {
                self.note(event);
            }
            Vec::new()
        })
    }

    /// Something that the CDR mentions, once.
    fn note(&mut self, event: &str) {
        if !self.events.iter().any(|known| known == event) {
            self.events.push(event.to_owned());
        }
    }
}

/// The Contacts that can be called at all.
fn offered(response: &Message<'_>) -> Vec<Offered> {
    let contacts = response.contacts().take(CONTACTS_MAX).filter_map(|contact| match contact.ok()? {
        Contact::Address(address) => read(&address),
        Contact::All => None,
    });
    contacts.collect()
}

fn read(contact: &NameAddr<'_>) -> Option<Offered> {
    let uri = contact.parse_uri().ok().filter(|uri| uri.is_sip())?;
    // It would go elsewhere than to the host that is judged (RFC 3261 §19.1.1).
    if uri.param(b"maddr").is_some() {
        return None;
    }
    let host = str::from_utf8(uri.host).ok()?;
    let secure = uri.scheme == sip::Scheme::Sips;
    let transport = match uri.param(b"transport") {
        Some(word) => Transport::from_word(&str::from_utf8(word).ok()?.to_ascii_lowercase())?,
        None if secure => Transport::Tls,
        None => Transport::Udp,
    };
    let mut text = String::from(if secure { "sips:" } else { "sip:" });
    if let Some(user) = uri.user {
        text.push_str(str::from_utf8(user).ok()?);
        text.push('@');
    }
    text.push_str(host);
    if let Some(port) = uri.port {
        text.push_str(&format!(":{port}"));
    }
    // Header fields are dropped, and so is the method, which no Request-URI has (RFC 3261 §19.1.1).
    for param in str::from_utf8(uri.params).ok()?.split(';').skip(1) {
        if !param.split('=').next().is_some_and(|name| name.eq_ignore_ascii_case("method")) {
            text.push(';');
            text.push_str(param);
        }
    }
    let transport = if secure { Transport::Tls } else { transport };
    Some(Offered { uri: text, host: Host::parse(host)?, port: uri.port, transport, q: preference(contact) })
}

/// `q=`, in thousandths; what can't be read counts as absent (RFC 3261 §20.10).
fn preference(contact: &NameAddr<'_>) -> u16 {
    let q = contact.params.get(b"q").and_then(|q| str::from_utf8(q).ok()?.trim().parse::<f32>().ok());
    q.filter(|q| (0.0..=1.0).contains(q)).map_or(1_000, |q| (q * 1_000.0).round() as u16)
}

/// Most Contacts of one response that are looked at.
const CONTACTS_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use sip::Framing;

    use super::*;

    fn contacts(lines: &str) -> Vec<Offered> {
        let text = format!(
            "SIP/2.0 302 Moved Temporarily\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
             From: <sip:a@192.0.2.1>;tag=1\r\nTo: <sip:b@192.0.2.2>;tag=2\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n\
             {lines}Content-Length: 0\r\n\r\n"
        );
        offered(&OwnedMessage::parse(text.into_bytes().into(), Framing::Datagram).unwrap().view())
    }

    #[test]
    fn ps8_ps12_a_contact_becomes_a_request_uri_with_its_preference() {
        let found = contacts(
            "Contact: \"PBX\" <sip:12035554433@193.148.210.22:5070;transport=TCP;user=phone>;q=0.7;expires=60, \
             <sip:+31201234567@pbx.example.com>\r\n",
        );
        let seen: Vec<_> = found.iter().map(|it| (it.uri.as_str(), it.port, it.transport, it.q)).collect();
        let tcp = "sip:12035554433@193.148.210.22:5070;transport=TCP;user=phone";
        assert_eq!(
            seen,
            [
                (tcp, Some(5070), Transport::Tcp, 700),
                ("sip:+31201234567@pbx.example.com", None, Transport::Udp, 1_000)
            ]
        );
        assert_eq!(found.last().map(|it| it.host.to_string()).as_deref(), Some("pbx.example.com"));
    }

    #[test]
    fn ps15_embedded_header_fields_and_a_method_are_dropped() {
        let found = contacts("Contact: <sip:1@192.0.2.9;method=REFER;user=phone?Route=%3Csip:evil%3E>\r\n");
        assert_eq!(
            found.iter().map(|it| it.uri.as_str()).collect::<Vec<_>>(),
            ["sip:1@192.0.2.9;user=phone"]
        );
    }

    #[test]
    fn ps14_what_cannot_be_called_is_no_contact() {
        for line in [
            "Contact: *\r\n",
            "Contact: <tel:+31201234567>\r\n",
            "Contact: <sip:1@192.0.2.9;maddr=10.0.0.1>\r\n",
            "Contact: <sip:1@192.0.2.9;transport=sctp>\r\n",
            "Contact: <sip:1@999.1.1.1>\r\n",
            "",
        ] {
            assert_eq!(contacts(line), Vec::new(), "{line}");
        }
    }
}

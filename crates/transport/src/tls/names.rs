//! By which names a message calls its next hop: one of them its certificate must have.

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use sip::{Framing, Message};

/// Names of a peer, the most telling first.
///
/// A request goes to the host of its first Route, else of its Request-URI (RFC 3261 §8.1.2), a response to where its Via
/// says (§18.2.2). Within a dialog that host is whatever the peer wrote into its Contact, most often an address, which
/// no certificate has; so the host of To, which is whom we called, counts too.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Names(Vec<String>);

impl Names {
    /// The names in a message of ours.
    pub(crate) fn of(bytes: &[u8]) -> Names {
        let Ok(message) = Message::parse(bytes, Framing::Stream) else { return Names::default() };
        let mut names = Names::default();
        if !message.is_request() {
            message.top_via().into_iter().for_each(|via| names.push(via.host));
            return names;
        }
        let route = message.routes().next().and_then(Result::ok);
        let next = match &route {
            Some(route) => route.parse_uri(),
            None => message.request_uri(),
        };
        next.into_iter().for_each(|uri| names.push(uri.host));
        let to = message.to().and_then(|to| to.parse_uri());
        to.into_iter().for_each(|uri| names.push(uri.host));
        names
    }

    /// Of a host.
    pub(crate) fn host(host: &str) -> Names {
        let mut names = Names::default();
        names.push(host.as_bytes());
        names
    }

    fn push(&mut self, host: &[u8]) {
        let Ok(host) = std::str::from_utf8(host) else { return };
        let host = host.trim_start_matches('[').trim_end_matches([']', '.']).to_ascii_lowercase();
        if ServerName::try_from(host.as_str()).is_ok() && !self.0.contains(&host) {
            self.0.push(host);
        }
    }

    /// The one that the peer is asked for.
    pub(crate) fn first(&self) -> Option<ServerName<'static>> {
        self.iter().next()
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = ServerName<'static>> {
        self.0.iter().filter_map(|name| ServerName::try_from(name.clone()).ok())
    }

    /// Whether a certificate, which an authority vouched for, has one of them.
    pub(crate) fn are_proved_by(&self, certificate: &CertificateDer<'_>) -> bool {
        let Ok(parsed) = ParsedCertificate::try_from(certificate) else { return false };
        self.iter().any(|name| verify_server_name(&parsed, &name).is_ok())
    }

    /// For people.
    pub(crate) fn words(&self) -> String {
        self.0.join(" or ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(message: &str) -> Vec<String> {
        let rest =
            "From: <sip:a@from.example>;tag=1\r\nCall-ID: 1\r\nCSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n";
        Names::of(format!("{message}{rest}").as_bytes()).0
    }

    #[test]
    fn a_request_names_its_route_else_its_uri_and_whom_it_was_for() {
        // RFC 3261 §8.1.2; the Contact of a carrier is most often an address.
        let head = "BYE sip:7@192.0.2.9:5061;transport=tls SIP/2.0\r\nVia: SIP/2.0/TLS 192.0.2.1;branch=z9hG4bK1\r\n\
            To: <sip:7@Carrier.Example>;tag=2\r\n";
        assert_eq!(names(head), ["192.0.2.9", "carrier.example"]);
        let routed = format!("{head}Route: <sip:edge.example;lr>, <sip:core.example;lr>\r\n");
        assert_eq!(names(&routed), ["edge.example", "carrier.example"]);
    }

    #[test]
    fn one_name_is_said_once_and_nonsense_is_none() {
        let head = "OPTIONS sip:carrier.example SIP/2.0\r\nVia: SIP/2.0/TLS 192.0.2.1;branch=z9hG4bK1\r\n\
            To: <sip:carrier.example>\r\n";
        assert_eq!(names(head), ["carrier.example"]);
        let six = head.replace("OPTIONS sip:carrier.example", "OPTIONS sip:[2001:db8::1]");
        assert_eq!(names(&six), ["2001:db8::1", "carrier.example"]);
        assert_eq!(Names::of(b"nonsense"), Names::default());
        assert!(Names::default().first().is_none());
    }

    #[test]
    fn a_response_names_who_sent_the_request() {
        // RFC 3261 §18.2.2: where the connection is gone, one is opened to the Via's sent-by.
        let head = "SIP/2.0 200 OK\r\nVia: SIP/2.0/TLS edge.example:5061;branch=z9hG4bK1;received=192.0.2.9\r\n\
            To: <sip:a@b.example>;tag=2\r\n";
        assert_eq!(names(head), ["edge.example"]);
    }
}

//! SIP as a telephone writes and reads it: plain text, headers found by their names.

/// A message that was heard.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    pub(super) text: String,
}

impl Heard {
    /// What a ladder calls it: its method or its status.
    pub(super) fn name(&self) -> &str {
        let mut words = self.text.split(' ');
        match words.next() {
            Some("SIP/2.0") => words.next().unwrap_or_default(),
            first => first.unwrap_or_default(),
        }
    }

    pub(super) fn is_response(&self) -> bool {
        self.text.starts_with("SIP/2.0 ")
    }

    /// All values of a header, in their order.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let head = self.text.split("\r\n\r\n").next().unwrap_or_default();
        head.split("\r\n")
            .filter_map(move |line| line.split_once(": ").filter(|(it, _)| *it == name))
            .map(|(_, it)| it)
    }

    /// The first value of a header; empty if there is none.
    pub(super) fn first(&self, name: &str) -> String {
        self.all(name).next().unwrap_or_default().to_owned()
    }

    /// The method in its CSeq, and the number.
    pub(super) fn cseq(&self) -> (u32, String) {
        let cseq = self.first("CSeq");
        let (number, method) = cseq.split_once(' ').unwrap_or_default();
        (number.parse().unwrap_or_default(), method.to_owned())
    }

    /// The URI of its Contact.
    pub(super) fn contact(&self) -> String {
        let contact = self.first("Contact");
        contact.split('<').nth(1).and_then(|rest| rest.split('>').next()).unwrap_or_default().to_owned()
    }

    pub(super) fn direction(&self) -> &'static str {
        // What answers a hold is the other half of it (RFC 3264 §6.1).
        if self.text.contains("a=sendonly") { "recvonly" } else { "sendrecv" }
    }

    pub(super) fn has_body(&self) -> bool {
        !self.text.ends_with("\r\n\r\n")
    }
}

/// A message of this start line, these headers and this body.
pub(super) fn message(start: &str, headers: &[String], body: &str) -> String {
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!("{start}\r\n{}\r\n{kind}Content-Length: {}\r\n\r\n{body}", headers.join("\r\n"), body.len())
}

/// A description of one stream of G.711.
pub(super) fn sdp(ip: std::net::IpAddr, version: u32, direction: &str) -> String {
    format!(
        "v=0\r\no=- 1 {version} IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0 8\r\n\
         a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na={direction}\r\n"
    )
}

//! Writing challenges and their answers (RFC 3261 §20.7, §20.27, §20.28, §20.44; RFC 7616 §3.3, §3.4). Reading
//! them is [`Credentials`](crate::Credentials)'s: both have the same shape.

use crate::{Name, Writer};

/// A digest challenge, one header line.
#[derive(Debug, Clone, Copy)]
pub struct Challenge<'a> {
    /// Whose users are asked for.
    pub realm: &'a [u8],
    /// What must be in the answer.
    pub nonce: &'a [u8],
    /// The algorithm's name.
    pub algorithm: &'a [u8],
    /// Whether the answer before it was right, but for a nonce that is too old.
    pub stale: bool,
}

impl Challenge<'_> {
    /// Appends it as WWW-Authenticate or Proxy-Authenticate.
    pub fn write(&self, writer: &mut Writer<'_>, name: Name) {
        let (realm, nonce) = (quoted(self.realm), quoted(self.nonce));
        let stale: &[u8] = if self.stale { b", stale=true" } else { b"" };
        let parts: [&[u8]; 7] =
            [b"Digest realm=", &realm, b", nonce=", &nonce, b", algorithm=", self.algorithm, stale];
        let mut parts = parts.to_vec();
        parts.push(b", qop=\"auth\"");
        writer.header(name, &parts);
    }
}

/// A digest answer, one header line.
#[derive(Debug, Clone, Copy)]
pub struct Authorization<'a> {
    /// Who answers.
    pub username: &'a [u8],
    /// The challenge's realm.
    pub realm: &'a [u8],
    /// The challenge's nonce.
    pub nonce: &'a [u8],
    /// The Request-URI.
    pub uri: &'a [u8],
    /// The digest, in hexadecimal digits.
    pub response: &'a [u8],
    /// The algorithm's name, where the challenge gave one.
    pub algorithm: Option<&'a [u8]>,
    /// `nc` and `cnonce`, where the challenge offered `qop=auth`.
    pub counted: Option<(u32, &'a [u8])>,
    /// What the challenge wants back as it is.
    pub opaque: Option<&'a [u8]>,
}

impl Authorization<'_> {
    /// Appends it as Authorization or Proxy-Authorization.
    pub fn write(&self, writer: &mut Writer<'_>, name: Name) {
        let mut value = b"Digest username=".to_vec();
        value.extend(quoted(self.username));
        for (field, text) in
            [(&b", realm="[..], self.realm), (b", nonce=", self.nonce), (b", uri=", self.uri)]
        {
            value.extend_from_slice(field);
            value.extend(quoted(text));
        }
        value.extend_from_slice(b", response=");
        value.extend(quoted(self.response));
        if let Some(algorithm) = self.algorithm {
            value.extend_from_slice(b", algorithm=");
            value.extend_from_slice(algorithm);
        }
        if let Some((count, cnonce)) = self.counted {
            value.extend_from_slice(b", qop=auth, nc=");
            value.extend(format!("{count:08x}").into_bytes());
            value.extend_from_slice(b", cnonce=");
            value.extend(quoted(cnonce));
        }
        if let Some(opaque) = self.opaque {
            value.extend_from_slice(b", opaque=");
            value.extend(quoted(opaque));
        }
        writer.header(name, &[&value]);
    }
}

/// A quoted string (RFC 3261 §25.1): quotes and backslashes are escaped.
fn quoted(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    out.push(b'"');
    for byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out.push(b'"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Framing, Message};

    fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = Writer::response(&mut out, 407, b"");
        write(&mut writer);
        writer.end();
        out
    }

    #[test]
    fn a_challenge_is_read_as_it_was_written() {
        let challenge = Challenge { realm: b"a \"b\" \\c", nonce: b"n1", algorithm: b"SHA-256", stale: true };
        let bytes = written(|writer| challenge.write(writer, Name::ProxyAuthenticate));
        let text = String::from_utf8_lossy(&bytes);
        let line = "Proxy-Authenticate: Digest realm=\"a \\\"b\\\" \\\\c\", nonce=\"n1\", algorithm=SHA-256, \
                    stale=true, qop=\"auth\"\r\n";
        assert!(text.contains(line), "{text}");
        let message = Message::parse(&bytes, Framing::Datagram).expect("well formed");
        let read = message.credentials(Name::ProxyAuthenticate).next().expect("a challenge");
        assert!(read.is_digest());
        assert_eq!(read.realm().as_deref(), Some(challenge.realm));
        assert_eq!(read.get(b"qop").as_deref(), Some(&b"auth"[..]));
    }

    #[test]
    fn an_answer_is_read_as_it_was_written() {
        let answer = Authorization {
            username: b"al\"ice",
            realm: b"r",
            nonce: b"n",
            uri: b"sip:bob@example.net",
            response: b"0123",
            algorithm: Some(b"MD5"),
            counted: Some((26, b"c")),
            opaque: Some(b"o"),
        };
        let bytes = written(|writer| answer.write(writer, Name::Authorization));
        let message = Message::parse(&bytes, Framing::Datagram).expect("well formed");
        let read = message.credentials(Name::Authorization).next().expect("credentials");
        for (field, expected) in [
            (&b"username"[..], &b"al\"ice"[..]),
            (b"uri", b"sip:bob@example.net"),
            (b"nc", b"0000001a"),
            (b"cnonce", b"c"),
            (b"qop", b"auth"),
            (b"opaque", b"o"),
        ] {
            assert_eq!(read.get(field).as_deref(), Some(expected));
        }
    }

    /// What a peer made us repeat can't begin a line of its own.
    #[test]
    fn a_line_break_in_a_field_stays_in_its_line() {
        let challenge = Challenge { realm: b"r\r\nX: y", nonce: b"n", algorithm: b"MD5", stale: false };
        let bytes = written(|writer| challenge.write(writer, Name::WwwAuthenticate));
        let message = Message::parse(&bytes, Framing::Datagram).expect("well formed");
        assert_eq!(message.find(b"X"), None);
    }
}

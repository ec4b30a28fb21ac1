//! A device that knows its password and speaks SIP by hand, over UDP.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use auth::{Ha1, Offered};

use crate::wait;

/// One account at one socket.
#[derive(Debug)]
pub struct Device {
    socket: UdpSocket,
    at: SocketAddr,
    username: String,
    password: String,
}

impl Device {
    /// A device that listens there.
    ///
    /// # Panics
    /// When the address is not free.
    pub fn new(at: SocketAddr, username: &str, password: &str) -> Self {
        let socket = UdpSocket::bind(at).expect("the device's address is free");
        socket.set_nonblocking(true).expect("a socket need not block");
        Self { socket, at, username: username.to_owned(), password: password.to_owned() }
    }

    /// Where it is.
    pub fn at(&self) -> SocketAddr {
        self.at
    }

    /// Sends a request: its method, the user that it is for, its name, its CSeq, further lines.
    ///
    /// # Panics
    /// When it can't be sent.
    pub fn send(&self, to: SocketAddr, method: &str, user: &str, name: &str, cseq: u32, lines: &str) {
        let (at, caller) = (self.at, &self.username);
        let uri = if method == "REGISTER" { REALM.to_owned() } else { format!("{user}@{REALM}") };
        let message = format!(
            "{method} sip:{uri} SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bK-{name}-{cseq}\r\nMax-Forwards: 70\r\n\
             From: <sip:{caller}@{REALM}>;tag=t-{name}\r\nTo: <sip:{user}@{REALM}>\r\nCall-ID: {name}@{at}\r\n\
             CSeq: {cseq} {method}\r\nContact: <sip:{caller}@{at}>\r\n{lines}Content-Length: 0\r\n\r\n"
        );
        self.socket.send_to(message.as_bytes(), to).expect("sent");
    }

    /// The next message that begins so; others are passed over.
    ///
    /// # Panics
    /// When none comes.
    pub fn expect(&self, start: &str) -> String {
        self.hears(start, PATIENCE).unwrap_or_else(|others| {
            assert!(start.is_empty(), "no {start:?}, only {others:#?}");
            String::new()
        })
    }

    /// The next message that begins so, if it comes in time.
    ///
    /// # Errors
    /// It does not; what came instead.
    pub fn hears(&self, start: &str, within: Duration) -> Result<String, Vec<String>> {
        let (mut others, mut buffer) = (Vec::new(), vec![0; 65_536]);
        let heard = wait::for_some(within, || {
            let (length, _) = self.socket.recv_from(&mut buffer).ok()?;
            let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
            if text.starts_with(start) {
                return Some(text);
            }
            others.push(text);
            None
        });
        heard.ok_or(others)
    }

    /// The line that answers a challenge, as the `count`th use of its nonce.
    ///
    /// # Panics
    /// When the message is no challenge.
    pub fn answer(&self, challenge: &str, method: &str, count: u32) -> String {
        let (asks, says) = match method {
            "REGISTER" => ("WWW-Authenticate: ", "Authorization"),
            _ => ("Proxy-Authenticate: ", "Proxy-Authorization"),
        };
        let line = challenge.lines().find_map(|line| line.strip_prefix(asks)).expect("a challenge");
        let (realm, nonce) = (field(line, "realm"), field(line, "nonce"));
        let offered = Offered {
            realm: realm.as_bytes(),
            nonce: nonce.as_bytes(),
            algorithm: None,
            qop: Some(b"auth"),
            opaque: None,
            stale: false,
        };
        let (username, uri) = (&self.username, format!("sip:{REALM}"));
        let ha1 = Ha1::new(username, realm, &self.password);
        let said =
            auth::respond(username, &ha1, &offered, method.as_bytes(), uri.as_bytes(), count, b"c0ffee");
        let response = said.expect("MD5 is offered").response;
        format!(
            "{says}: Digest username=\"{username}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", \
             response=\"{}\", algorithm=MD5, qop=auth, nc={count:08x}, cnonce=\"c0ffee\"\r\n",
            String::from_utf8_lossy(&response)
        )
    }
}

/// The domain of every node that the tests start.
const REALM: &str = "banyan.test";
const PATIENCE: Duration = Duration::from_secs(10);

/// A field of a challenge, without quotes.
fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let fields = line.trim_start_matches("Digest ").split(", ");
    let found = fields.into_iter().find_map(|it| it.strip_prefix(name)?.strip_prefix('='));
    found.expect("the challenge has the field").trim_matches('"')
}

//! rtpengine as a party, driven through its `ng` protocol: a cookie and a bencoded dictionary per datagram.

use std::fmt::Write as _;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use super::generator::{EGRESS, INGRESS};
use super::party::Party;
use crate::system::SUBJECT_CORE;

const CONTROL: &str = "127.50.0.1:2223";

/// Starts rtpengine with `calls` calls between the generator's two ends; gives the generator's targets. With `srtp`
/// there are two in a row for each, which speak SRTP with each other.
pub fn start(calls: usize, srtp: bool) -> io::Result<(Party, String)> {
    syscall::raise_open_files(20_000)?;
    let arguments = [
        "--foreground",
        "--config-file=none",
        "--table=-1",
        "--interface=127.50.0.7",
        "--listen-ng=127.50.0.1:2223",
        "--port-min=20000",
        "--port-max=60000",
        "--num-threads=1",
        "--log-level=3",
        "--log-stderr",
        "--timeout=600",
        "--offer-timeout=600",
    ];
    let party = Party::program("rtpengine", &arguments, SUBJECT_CORE)?;
    let mut control = Control::open()?;
    let mut targets = String::new();
    for call in 0..calls {
        let (id, next) = (format!("bench-{call}"), format!("bench-{call}-next"));
        let (offer, answer) = (sdp_of(INGRESS), sdp_of(EGRESS));
        // What the answer carries is where the caller sends; the offer's is where the callee does.
        let (offered, answered) = if srtp {
            let secured = with_suite(&control.ask(&id, "offer", "RTP/SAVP", &offer)?);
            let offered = control.ask(&next, "offer", "RTP/AVP", &secured)?;
            let secured = control.ask(&next, "answer", "", &answer)?;
            (offered, control.ask(&id, "answer", "", &secured)?)
        } else {
            let offered = control.ask(&id, "offer", "RTP/AVP", &offer)?;
            (offered, control.ask(&id, "answer", "", &answer)?)
        };
        let unreadable = || io::Error::other("rtpengine refused a call");
        let to_egress = media_address(&offered).ok_or_else(unreadable)?;
        let to_ingress = media_address(&answered).ok_or_else(unreadable)?;
        let _ = writeln!(targets, "{to_ingress} {to_egress}");
    }
    Ok((party, targets))
}

struct Control {
    socket: UdpSocket,
    cookie: u32,
}

impl Control {
    /// Waits until rtpengine answers a ping.
    fn open() -> io::Result<Control> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(CONTROL)?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        let mut control = Control { socket, cookie: 0 };
        for _ in 0..50 {
            if control.exchange("d7:command4:pinge").is_ok_and(|answer| answer.contains("4:pong")) {
                control.socket.set_read_timeout(Some(Duration::from_secs(5)))?;
                return Ok(control);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Err(io::Error::other("rtpengine does not answer; is it installed?"))
    }

    /// Sends an offer or an answer, an offer for this profile; gives what rtpengine makes of it for the other side.
    fn ask(&mut self, call: &str, command: &str, profile: &str, sdp: &str) -> io::Result<String> {
        // Bencode wants the keys in order.
        let mut fields = vec![
            ("DTLS", text("off")),
            ("ICE", text("remove")),
            ("call-id", text(call)),
            ("command", text(command)),
            ("flags", format!("l{}{}e", text("trust-address"), text("asymmetric"))),
            ("from-tag", text("f")),
            ("replace", format!("l{}{}e", text("origin"), text("session-connection"))),
            ("sdp", text(sdp)),
        ];
        match command {
            "answer" => fields.push(("to-tag", text("t"))),
            _ => fields.push(("transport-protocol", text(profile))),
        }
        let mut request = String::from("d");
        for (key, value) in fields {
            request.push_str(&text(key));
            request.push_str(&value);
        }
        request.push('e');
        let answer = self.exchange(&request)?;
        sdp_in(&answer).ok_or_else(|| io::Error::other("rtpengine refused a call"))
    }

    fn exchange(&mut self, request: &str) -> io::Result<String> {
        self.cookie += 1;
        let cookie = format!("{}_{} ", std::process::id(), self.cookie);
        self.socket.send(format!("{cookie}{request}").as_bytes())?;
        let mut buffer = [0; 8192];
        loop {
            let length = self.socket.recv(&mut buffer)?;
            let answer = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
            if let Some(answer) = answer.strip_prefix(&cookie) {
                return Ok(answer.to_owned());
            }
        }
    }
}

/// A bencoded string.
fn text(value: &str) -> String {
    format!("{}:{value}", value.len())
}

/// G.711 at this end.
fn sdp_of(end: SocketAddr) -> String {
    let (ip, port) = (end.ip(), end.port());
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na=ptime:20\r\n"
    )
}

/// The SDP in a bencoded answer.
fn sdp_in(answer: &str) -> Option<String> {
    let (length, rest) = answer.split_once("3:sdp")?.1.split_once(':')?;
    rest.get(..length.parse().ok()?).map(str::to_owned)
}

/// An offer that is left one suite: the one that is measured.
fn with_suite(sdp: &str) -> String {
    let kept = |line: &&str| !line.starts_with("a=crypto:") || line.contains(" AES_CM_128_HMAC_SHA1_80 ");
    sdp.lines().filter(kept).flat_map(|line| [line, "\r\n"]).collect()
}

/// Where the first `c=` and `m=audio` lines in an answer point.
fn media_address(answer: &str) -> Option<SocketAddr> {
    let after = |mark: &str| answer.split_once(mark).map(|(_, rest)| rest);
    let ip = after("c=IN IP4 ")?.split(['\r', '\n']).next()?.parse().ok()?;
    let port = after("m=audio ")?.split(' ').next()?.parse().ok()?;
    Some(SocketAddr::new(ip, port))
}

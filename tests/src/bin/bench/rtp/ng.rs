//! rtpengine as a party, driven through its `ng` protocol: a cookie and a bencoded dictionary per datagram.

use std::fmt::Write as _;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use super::generator::{EGRESS, INGRESS};
use super::party::Party;
use crate::system::SUBJECT_CORE;

const CONTROL: &str = "127.50.0.1:2223";

/// Starts rtpengine with `calls` calls between the generator's two ends; gives the generator's targets.
pub fn start(calls: usize) -> io::Result<(Party, String)> {
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
        let id = format!("bench-{call}");
        let to_egress = control.ask(&id, "offer", INGRESS)?;
        let to_ingress = control.ask(&id, "answer", EGRESS)?;
        // What the answer carries is where the caller sends; the offer's is where the callee does.
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

    /// Sends an offer or an answer whose media is at `end`; gives where rtpengine wants the other side's.
    fn ask(&mut self, call: &str, command: &str, end: SocketAddr) -> io::Result<SocketAddr> {
        let (ip, port) = (end.ip(), end.port());
        let sdp = format!(
            "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na=ptime:20\r\n"
        );
        // Bencode wants the keys in order.
        let mut fields = vec![
            ("ICE", text("remove")),
            ("call-id", text(call)),
            ("command", text(command)),
            ("flags", format!("l{}{}e", text("trust-address"), text("asymmetric"))),
            ("from-tag", text("f")),
            ("replace", format!("l{}{}e", text("origin"), text("session-connection"))),
            ("sdp", text(&sdp)),
        ];
        match command {
            "answer" => fields.push(("to-tag", text("t"))),
            _ => fields.push(("transport-protocol", text("RTP/AVP"))),
        }
        let mut request = String::from("d");
        for (key, value) in fields {
            request.push_str(&text(key));
            request.push_str(&value);
        }
        request.push('e');
        let answer = self.exchange(&request)?;
        media_address(&answer).ok_or_else(|| io::Error::other("rtpengine refused a call"))
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

/// Where the first `c=` and `m=audio` lines in an answer point.
fn media_address(answer: &str) -> Option<SocketAddr> {
    let after = |mark: &str| answer.split_once(mark).map(|(_, rest)| rest);
    let ip = after("c=IN IP4 ")?.split(['\r', '\n']).next()?.parse().ok()?;
    let port = after("m=audio ")?.split(' ').next()?.parse().ok()?;
    Some(SocketAddr::new(ip, port))
}

//! What these tests share: a node with one trunk and one gateway, and sockets that speak for them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use call::{CallId, NodeId};
use config::{Notation, Passwords, Source};
use tokio::net::UdpSocket;
use tokio::time::timeout;
use trunk::Transport;

use crate::disk::FileDisk;
use crate::relay::SocketRelay;
use crate::{Node, NodeConfig, NodeHandle, SystemClock, World};

/// Nothing on loopback takes this long, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running node and its peers.
pub(crate) struct Bench {
    pub(crate) node: NodeHandle,
    pub(crate) sip: SocketAddr,
    pub(crate) caller: Peer,
    pub(crate) callee: Peer,
    _directory: tempfile::TempDir,
}

impl Bench {
    /// A node that takes calls from the caller's address and sends them to the callee, without media.
    pub(crate) async fn start() -> Bench {
        Bench::with("").await
    }

    /// The same, with further resources.
    pub(crate) async fn with(more: &str) -> Bench {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let clock = Arc::new(SystemClock::start());
        let disk = FileDisk::open(directory.path()).expect("the directory is ours");
        let relay = SocketRelay::start(1, clock.clone()).expect("a thread");
        let world = World::system(clock, Arc::new(disk), Arc::new(relay));
        let at = |ip: [u8; 4]| SocketAddr::new(IpAddr::from(ip), 0);
        let listen = vec![(Transport::Udp, at([127, 0, 0, 1])), (Transport::Tcp, at([127, 0, 0, 1]))];
        let config = NodeConfig::new(NodeId(1), "test", listen);
        let node = Node::start(world, config).await.expect("a node on free ports");
        let (caller, callee) = (Peer::bind(at([127, 0, 0, 2])).await, Peer::bind(at([127, 0, 0, 3])).await);
        let sip = node.addresses().first().expect("UDP is first").1;
        let bench = Bench { node, sip, caller, callee, _directory: directory };
        bench.apply(more).await;
        bench
    }

    /// Applies the usual resources and `more`.
    pub(crate) async fn apply(&self, more: &str) {
        let text = format!(
            "[[tenant]]\nname = \"house\"\n\n\
             [[gateway]]\nname = \"carrier\"\ntargets = [\"sip:{callee}\"]\nnetworks = [\"127.0.0.3/32\"]\n\
             [gateway.media]\nmode = \"direct\"\n\n\
             [[trunk]]\nname = \"office\"\ntenant = \"house\"\ncaller_ids = [\"+31201234567\"]\n\
             default_caller_id = \"+31201234567\"\n[trunk.access]\nnetworks = [\"127.0.0.2/32\"]\n\
             auth = [\"address\"]\n[trunk.media]\nmode = \"direct\"\n{more}",
            callee = self.callee.at
        );
        let source = Source { path: "test.toml".to_owned(), text };
        let set = config::read_resources(&[source], Notation::Toml, &Passwords::Refuse).expect("valid");
        let kept = self.node.with_passwords_kept(set.resources);
        self.node.cluster().put(kept).await.expect("not fenced").expect("applied");
    }

    /// Places a call and has it answered; gives what is needed to go on with it.
    pub(crate) async fn answered(&self, name: &str) -> Dialog {
        let invite = request("INVITE", name, 1, self.caller.at, "<sip:+493012345678@127.0.0.1>", SDP);
        self.caller.send(self.sip, &invite).await;
        let offered = self.callee.expect("INVITE ").await;
        self.callee.answer(self.sip, &offered, "200 OK", SDP).await;
        let answer = self.caller.expect("SIP/2.0 200").await;
        self.callee.expect("ACK ").await;
        let to = header(&answer, "To").to_owned();
        let ack = request("ACK", name, 1, self.caller.at, &to, "");
        self.caller.send(self.sip, &ack).await;
        let tag = to.split(";tag=").nth(1).expect("a tag of ours");
        let call = CallId::from_hex(&tag.as_bytes()[..16]).expect("the tag names its call");
        Dialog { name: name.to_owned(), to, call }
    }

    /// The caller hangs up; both sides must hear of it.
    pub(crate) async fn hang_up(&self, dialog: &Dialog) {
        let bye = request("BYE", &dialog.name, 2, self.caller.at, &dialog.to, "");
        self.caller.send(self.sip, &bye).await;
        let relayed = self.callee.expect("BYE ").await;
        self.callee.answer(self.sip, &relayed, "200 OK", "").await;
        self.caller.expect("SIP/2.0 200").await;
    }

    /// The caller's BYE once more.
    pub(crate) async fn resend_bye(&self, dialog: &Dialog) {
        let bye = request("BYE", &dialog.name, 2, self.caller.at, &dialog.to, "");
        self.caller.send(self.sip, &bye).await;
    }

    /// Waits until something holds.
    pub(crate) async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let turns = async {
            while !holds() {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, turns).await.unwrap_or_else(|_| panic!("waited in vain: {what}"));
    }
}

/// A call that the caller holds.
pub(crate) struct Dialog {
    name: String,
    to: String,
    pub(crate) call: CallId,
}

/// A socket that speaks SIP by hand.
pub(crate) struct Peer {
    pub(crate) at: SocketAddr,
    socket: UdpSocket,
}

impl Peer {
    pub(crate) async fn bind(at: SocketAddr) -> Peer {
        let socket = UdpSocket::bind(at).await.expect("loopback");
        Peer { at: socket.local_addr().expect("bound"), socket }
    }

    pub(crate) async fn send(&self, to: SocketAddr, message: &str) {
        self.socket.send_to(message.as_bytes(), to).await.expect("sent");
    }

    /// The next message that begins so. Others are copies or provisional, and passed over.
    pub(crate) async fn expect(&self, start: &str) -> String {
        let mut buffer = vec![0; 65_536];
        let mut others = Vec::new();
        loop {
            let received = timeout(PATIENCE, self.socket.recv_from(&mut buffer)).await;
            let Ok(received) = received else { panic!("no {start:?}, only {others:#?}") };
            let (length, _) = received.expect("received");
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if text.starts_with(start) {
                return text;
            }
            others.push(text);
        }
    }

    /// Whether nothing but this has arrived by now.
    pub(crate) fn is_silent(&self) -> bool {
        self.socket.try_recv_from(&mut [0; 65_536]).is_err()
    }

    async fn answer(&self, to: SocketAddr, request: &str, status: &str, body: &str) {
        let mut out = format!("SIP/2.0 {status}\r\n");
        for name in ["Via", "From", "Call-ID", "CSeq"] {
            out += &format!("{name}: {}\r\n", header(request, name));
        }
        let tag = if header(request, "To").contains(";tag=") { "" } else { ";tag=callee" };
        out += &format!("To: {}{tag}\r\nContact: <sip:callee@{}>\r\n", header(request, "To"), self.at);
        self.send(to, &with_body(out, body)).await;
    }
}

/// The value of a header that stands on one line.
pub(crate) fn header<'a>(message: &'a str, name: &str) -> &'a str {
    let found = message.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    found.unwrap_or_else(|| panic!("no {name} in {message}")).trim()
}

/// A request of the caller's (RFC 3261 §8.1.1).
pub(crate) fn request(method: &str, name: &str, cseq: u32, from: SocketAddr, to: &str, body: &str) -> String {
    let branch = if method == "ACK" { "ack".to_owned() } else { cseq.to_string() };
    let head = format!(
        "{method} sip:+493012345678@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK-{name}-{branch}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:+31201234567@127.0.0.2>;tag=caller-{name}\r\nTo: {to}\r\n\
         Call-ID: {name}@test\r\nCSeq: {cseq} {method}\r\nContact: <sip:caller@{from}>\r\n"
    );
    with_body(head, body)
}

fn with_body(head: String, body: &str) -> String {
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!("{head}{kind}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// What a telephone offers.
const SDP: &str = "v=0\r\no=- 3972817263 3972817263 IN IP4 127.0.0.2\r\ns=call\r\nc=IN IP4 127.0.0.2\r\nt=0 0\r\n\
                   m=audio 40000 RTP/AVP 8 0 18 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n\
                   a=rtpmap:18 G729/8000\r\na=fmtp:18 annexb=no\r\na=rtpmap:101 telephone-event/8000\r\n\
                   a=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n";

//! Carriers that are names, as Debian's knot tells them: NAPTR, SRV, addresses, and what a node does when they change, when a
//! host is dead, and when the name server is.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use tests::dns::NameServer;
use tests::node::Node;
use tests::sipp::{Running, Sipp, Transport};
use tests::wait;

const PATIENCE: Duration = Duration::from_secs(30);
/// How long the address of `move` is good.
const TTL: Duration = Duration::from_secs(3);

fn peer(node: &Node, number: u8) -> SocketAddr {
    (node.place().address(number), 5080).into()
}

const DNS: u8 = 53;
const CALLER: u8 = 21;
const HOSTS: [u8; 3] = [31, 32, 33];
const NOBODY: u8 = 39;

fn zone(node: &Node, moving: u8) -> String {
    let [a, b, c] = HOSTS.map(|host| peer(node, host).ip());
    let (nobody, moving) = (peer(node, NOBODY).ip(), peer(node, moving).ip());
    let ttl = TTL.as_secs();
    format!(
        "@ 60 NAPTR 20 10 \"s\" \"SIP+D2T\" \"\" _sip._tcp\n@ 60 NAPTR 10 10 \"s\" \"SIP+D2U\" \"\" _sip._udp\n\
         _sip._tcp 60 SRV 1 0 5080 nobody\n\
         _sip._udp 60 SRV 10 75 5080 a\n_sip._udp 60 SRV 10 25 5080 b\n_sip._udp 60 SRV 20 0 5080 c\n\
         _sip._udp.dead 60 SRV 1 0 5080 nobody\n_sip._udp.dead 60 SRV 2 0 5080 c\n\
         a 60 A {a}\nb 60 A {b}\nc 60 A {c}\nnobody 60 A {nobody}\nmove {ttl} A {moving}\n"
    )
}

fn resources(node: &Node) -> String {
    let gateway = |name: &str, target: &str, prefix: &str| {
        format!(
            "[[gateway]]\nname = \"{name}\"\ntargets = [\"{target}\"]\nprefixes = [\"{prefix}\"]\n\
             [gateway.probe]\ninterval = \"0s\"\n[gateway.timers]\nno_response = \"500ms\"\n\
             [gateway.media]\nmode = \"direct\"\n\n"
        )
    };
    format!(
        "{}{}{}[[trunk]]\nname = \"office\"\ncaller_ids = [\"+31201234567\"]\ndefault_caller_id = \"+31201234567\"\n\
         [trunk.access]\nnetworks = [\"{}/32\"]\nauth = [\"address\"]\n[trunk.media]\nmode = \"direct\"\n\
         [trunk.limits]\nper_minute = 1000\n",
        gateway("share", "sip:carrier.test", "+491"),
        gateway("dead", "sip:dead.carrier.test", "+492"),
        gateway("move", "sip:move.carrier.test:5080", "+493"),
        peer(node, CALLER).ip()
    )
}

/// A node that asks a name server of these records.
fn asking(records: impl FnOnce(&Node) -> String) -> (Node, NameServer) {
    let mut node = Node::new();
    let dns: SocketAddr = (node.place().address(DNS), 5353).into();
    let file = node.default_node_file();
    node.write_node_file(
        &file.replace("domain = \"banyan.test\"", &format!("domain = \"banyan.test\"\ndns = [\"{dns}\"]")),
    );
    let server = NameServer::start(dns, "carrier.test", &records(&node));
    node.start();
    (node, server)
}

/// So many calls to a number; each must be answered.
fn call(node: &Node, calls: u32, number: &str) {
    let mut caller = Sipp::caller(node.dir(), "uac", peer(node, CALLER), node.sip(), Transport::Udp)
        .load(60, calls, Duration::from_millis(50), number)
        .start();
    let counts = caller.finish(PATIENCE);
    assert_eq!((counts.successful, counts.failed), (u64::from(calls), 0), "{}", caller.errors());
}

/// FR30: order, priority, weight, a dead host, a host that moves, a name server that dies.
#[test]
fn fr30_a_call_goes_where_dns_says_and_past_hosts_that_are_dead() {
    let (node, mut server) = asking(|node| zone(node, HOSTS[0]));
    node.apply(&resources(&node));
    let mut hosts: Vec<Running> =
        HOSTS.map(|host| Sipp::callee(node.dir(), "uas", peer(&node, host), Transport::Udp).start()).into();

    call(&node, 60, "+4910001");
    call(&node, 3, "+4920001");
    let tried = |number: &str| -> Vec<Vec<u64>> {
        let status = |it: &serde_json::Value| it["status"].as_u64().unwrap_or_default();
        let records = node.settle(0).into_iter().filter(|it| it.text("to").contains(number));
        records
            .map(|it| it.0["attempts"].as_array().expect("attempts").iter().map(status).collect())
            .collect()
    };
    assert_eq!(tried("4920001"), vec![vec![408, 200]; 3], "the dead host, then the next");

    // It is asked for again when its time is over, and not before; without a server the last word counts.
    call(&node, 1, "+4930001");
    let asked = wait::now();
    server.say(&zone(&node, HOSTS[2]));
    call(&node, 1, "+4930001");
    assert!(asked.elapsed() < TTL, "the machine was too slow for this test");
    wait::pass(TTL.saturating_sub(asked.elapsed()) + Duration::from_millis(300));
    call(&node, 1, "+4930001");
    server.stop();
    wait::pass(TTL);
    call(&node, 1, "+4930001");

    let [a, b, c] = [0, 1, 2].map(|host: usize| hosts[host].stop().created);
    println!("weights 75 and 25: {} and {b} of 60", a.saturating_sub(2));
    assert_eq!(
        (a + b, c),
        (60 + 2, 3 + 2),
        "no call by TCP or to the second priority; two at each place of `move`"
    );
    // Of 60 by chance: 45 and 15, with a standard deviation of 3.4.
    assert!((5..=28).contains(&b), "{a} and {b}");
    assert!(!node.log().contains("panicked"), "{}", node.log_tail());
}

/// EX15: a trunk that is known by a host name is whoever the name leads to, for as long as it does; while no server answers,
/// whoever it led to last.
#[test]
fn ex15_a_trunk_that_is_known_by_name_moves_with_it() {
    let leads_to = |at: SocketAddr| format!("office {} A {}\n", TTL.as_secs(), at.ip());
    let (node, mut server) = asking(|node| leads_to(peer(node, CALLER)));
    let known = format!("networks = [\"{}/32\"]", peer(&node, CALLER).ip());
    let resources = resources(&node);
    assert!(resources.contains(&known));
    node.apply(
        &resources
            .replace(&known, "hosts = [\"office.carrier.test\"]")
            .replace("sip:move.carrier.test:5080", &format!("sip:{}", peer(&node, HOSTS[0]))),
    );
    let mut carrier = Sipp::callee(node.dir(), "uas", peer(&node, HOSTS[0]), Transport::Udp).start();
    let answers = |number: u8| {
        let (from, at) = (peer(&node, number), node.sip());
        let socket = UdpSocket::bind(from).expect("the peer's port is free");
        socket.set_read_timeout(Some(Duration::from_millis(300))).expect("a socket has a timeout");
        let request = format!(
            "OPTIONS sip:{at} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK-{number}\r\nMax-Forwards: 70\r\n\
             From: <sip:a@{from}>;tag=1\r\nTo: <sip:{at}>\r\nCall-ID: {number}\r\nCSeq: 1 OPTIONS\r\n\
             Content-Length: 0\r\n\r\n"
        );
        socket.send_to(request.as_bytes(), at).expect("loopback takes a datagram");
        let mut buffer = [0; 2_048];
        socket.recv(&mut buffer).is_ok_and(|length| buffer[..length].starts_with(b"SIP/2.0 200"))
    };
    wait::until("the name is followed", PATIENCE, || answers(CALLER));
    call(&node, 1, "+4930001");
    assert!(!answers(NEXT), "nobody knows this one yet");

    server.say(&leads_to(peer(&node, NEXT)));
    wait::until("the name leads to another", PATIENCE, || answers(NEXT));
    assert!(!answers(CALLER), "the name leads there no more");
    server.stop();
    wait::pass(TTL + Duration::from_secs(2));
    assert!(answers(NEXT), "no server: the last word counts");
    assert_eq!(carrier.stop().created, 1);
    assert!(!node.log().contains("panicked"), "{}", node.log_tail());
}

const NEXT: u8 = 22;

//! Floods and idlers: bounded memory, and every good call completes beside them.

use std::io::Write;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use machine::Rng;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tests::node::Node;
use tests::resources::{FAR_NUMBER, callee, caller, office_and_carrier};
use tests::sipp::{Sipp, Transport};

const CONNECTIONS: usize = 10_000;

#[test]
fn t50_ten_thousand_slow_connections_do_not_disturb_calls() {
    raise_open_files();
    let mut node = Node::with_resources(|node| office_and_carrier(node, Transport::Udp, 1_000));
    let before = node.resident_kib();
    let held: Vec<_> = (0..CONNECTIONS).filter_map(|number| slow_connection(node.sip(), number)).collect();
    assert!(held.len() > CONNECTIONS / 2, "only {} connections were taken", held.len());
    every_call_completes(&node, Transport::Udp, 50, 300);
    // Over TCP too: whoever is known finds a place beside the strangers.
    every_call_completes(&node, Transport::Tcp, 50, 200);
    let grown = node.resident_kib().saturating_sub(before);
    println!("{} slow connections: {grown} KiB more", held.len());
    // Half a message each: the frame's start and the connection's own state, not a 64 KiB buffer each.
    assert!(grown < 300 * 1_024, "{grown} KiB for {} connections", held.len());
    drop(held);
    every_call_completes(&node, Transport::Tcp, 50, 100);
    assert!(node.stop().success());
}

#[test]
fn t50_a_flood_of_junk_datagrams_does_not_disturb_calls() {
    let node = Node::with_resources(|node| office_and_carrier(node, Transport::Udp, 1_000));
    every_call_completes(&node, Transport::Udp, 100, 100);
    let before = node.resident_kib();
    let stop = Arc::new(AtomicBool::new(false));
    let sent = Arc::new(AtomicU64::new(0));
    // One stranger, and one whose address the trunk admits.
    let floods: Vec<_> = [9, 2]
        .map(|last| {
            let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
            let (from, to) = (SocketAddr::from((node.place().address(last), 0)), node.sip());
            thread::spawn(move || flood(from, to, &stop, &sent))
        })
        .into_iter()
        .collect();
    every_call_completes(&node, Transport::Udp, 100, 500);
    stop.store(true, Ordering::Relaxed);
    for flood in floods {
        flood.join().expect("the flood ends when told");
    }
    let sent = sent.load(Ordering::Relaxed);
    let grown = node.resident_kib().saturating_sub(before);
    println!("{sent} junk datagrams: {grown} KiB more");
    assert!(sent > 5_000, "only {sent} junk datagrams were sent");
    assert!(grown < 100 * 1_024, "{grown} KiB more after {sent} junk datagrams");
    assert!(!node.log().contains("panicked"), "{}", node.log_tail());
}

fn every_call_completes(node: &Node, transport: Transport, rate: u32, calls: u32) {
    let dir = node.dir().join(format!("load-{transport:?}-{calls}"));
    std::fs::create_dir_all(&dir).expect("a directory for the load");
    let mut callees = Sipp::callee(&dir, "callee", callee(node), Transport::Udp).start();
    let mut callers = Sipp::caller(&dir, "caller", caller(node), node.sip(), transport)
        .load(rate, calls, Duration::from_millis(200), FAR_NUMBER)
        .start();
    let counts = callers.finish(Duration::from_secs(90));
    callees.stop();
    assert_eq!((counts.successful, counts.failed), (calls.into(), 0), "{}", callers.errors());
    let answered = callers.logged().iter().filter(|line| line.contains("answered ")).count();
    assert_eq!(answered, calls as usize, "every call is answered; the node's log ends:\n{}", node.log_tail());
}

/// A connection that begins a message and never ends it.
fn slow_connection(node: SocketAddr, number: usize) -> Option<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&node, Duration::from_secs(5)).ok()?;
    // Half a start line, half a header, or a body that never comes: three places to be stuck in.
    let start: &[u8] = match number % 3 {
        0 => b"INVITE sip:+4930",
        1 => b"OPTIONS sip:x@y SIP/2.0\r\nVia: SIP/2.0/TCP 127.",
        _ => b"MESSAGE sip:x@y SIP/2.0\r\nContent-Length: 60000\r\n\r\nhello",
    };
    stream.write_all(start).ok()?;
    Some(stream)
}

/// Junk of every kind: noise, near-SIP, keep-alives, responses to nothing.
fn flood(from: SocketAddr, to: SocketAddr, stop: &AtomicBool, sent: &AtomicU64) {
    let socket = UdpSocket::bind(from).expect("an address of the block is ours");
    let mut rng = Rng::from_u64(0x5ca1_ab1e);
    let mut buffer = [0_u8; 1_400];
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..20 {
            let kind = rng.below(4);
            let len = 1 + usize::try_from(rng.below(1_399)).unwrap_or(1);
            for byte in &mut buffer {
                *byte = u8::try_from(rng.below(256)).unwrap_or(0);
            }
            let head: &[u8] = match kind {
                0 => b"",
                1 => b"INVITE sip:x SIP/2.0\r\nVia: SIP/2.0/UDP ",
                2 => b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKnone\r\n",
                _ => b"\r\n\r\n",
            };
            buffer.iter_mut().zip(head).for_each(|(to, from)| *to = *from);
            if socket.send_to(buffer.get(..len.max(head.len())).unwrap_or_default(), to).is_ok() {
                sent.fetch_add(1, Ordering::Relaxed);
            }
        }
        // About ten thousand a second from each, which leaves the two cores of a small machine some air.
        thread::sleep(Duration::from_millis(2));
    }
}

fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let maximum = limit.maximum.unwrap_or(u64::MAX).min(100_000);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(maximum), maximum: limit.maximum });
    assert!(
        raised.is_ok() && maximum > CONNECTIONS as u64 + 200,
        "`ulimit -n` is {maximum}: too few for this test"
    );
}

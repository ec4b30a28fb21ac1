//! A node that is left without a majority: its own address says 503 to new calls, a floating one says nothing, and its
//! calls fall silent or go on as `on_quorum_loss` says. When the others are back, everything goes on.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use peer::Mix;
use peer::load::{LoadArgs, Progress, Report, run_with};
use tests::orders::{NUMBER, office};
use tests::trio::{Setup, Trio};
use tests::wait;

const DETECT: Duration = Duration::from_secs(1);
/// Longer than an election may take, after which a caller is told.
const CUT_OFF: Duration = Duration::from_secs(6);
const HOLD: Duration = Duration::from_secs(14);

/// Contract, "SIP answers": no quorum is 503 with Retry-After 2 to 10. Media is silent (I-33).
#[test]
fn t20_without_a_majority_a_node_refuses_new_calls_and_its_media_is_mute() {
    let report = one_call_through_a_cut(false);
    assert!(report.rtp.longest_gap_ms > 3_000.0, "the call fell silent: {:?}", report.rtp);
}

/// The twin: the node's own address is nobody else's, so its calls may go on.
#[test]
fn t20_without_a_majority_kept_calls_of_a_nodes_own_address_go_on() {
    let report = one_call_through_a_cut(true);
    assert!(report.rtp.longest_gap_ms < 2_000.0, "the call went on: {:?}", report.rtp);
}

/// A call with audio at a node's own address, while the two others are gone for a while.
fn one_call_through_a_cut(keeps: bool) -> Report {
    let mut trio = Trio::start(&Setup { detect: DETECT, keeps, ..Setup::default() }, office);
    let alone = 1;
    let own = trio.node(alone).sip();
    let pbx = trio.pbx();
    let progress = Arc::new(Progress::default());
    let args = LoadArgs {
        calls: 1,
        to: NUMBER.to_owned(),
        from: NUMBER.to_owned(),
        media: true,
        mix: Mix { hold: HOLD, ..Mix::default() },
        ..LoadArgs::new(own, pbx)
    };
    let watched = progress.clone();
    let load = thread::spawn(move || run_with(&args, &watched));
    let patience = Duration::from_secs(20);
    wait::until("the call is up", patience, || progress.answered.load(Ordering::Relaxed) == 1);
    let stranger = SocketAddr::new(pbx.ip(), 5999);
    let held = (1..=3).find(|home| trio.holder(trio.node(alone), *home) == Some(alone));
    let floating = trio.home(held.expect("each node holds a home"));

    for id in [2, 3] {
        trio.node_mut(id).kill();
    }
    wait::pass(CUT_OFF);
    assert!(!trio.node(alone).ready());
    let answer = first_answer(stranger, own, "cut-own").expect("its own address says something");
    assert!(answer.starts_with("SIP/2.0 503 "), "{answer}");
    let retry = answer.lines().find_map(|line| line.strip_prefix("Retry-After: "));
    let retry: u32 = retry.and_then(|text| text.trim().parse().ok()).expect("Retry-After");
    assert!((2..=10).contains(&retry), "{answer}");
    assert_eq!(
        first_answer(stranger, floating, "cut-floating"),
        None,
        "a floating home may be another's by now"
    );

    for id in [2, 3] {
        trio.node_mut(id).start();
    }
    wait::until("a majority is back", patience, || trio.node(alone).ready());
    let report = load.join().expect("the load ends").expect("the load can be made");
    assert_eq!((report.answered, report.completed), (1, 1), "{report:?}");
    let records = trio.settle(1);
    assert_eq!(records.iter().filter(|record| record.answered()).count(), 1, "{records:?}");
    trio.assert_no_panic();
    report
}

/// What comes back to an INVITE within a second and a half.
fn first_answer(from: SocketAddr, to: SocketAddr, name: &str) -> Option<String> {
    let socket = UdpSocket::bind(from).expect("a free address");
    socket.set_read_timeout(Some(Duration::from_millis(1_500))).expect("a socket takes a timeout");
    let invite = format!(
        "INVITE sip:{NUMBER}@{to} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK{name}\r\nMax-Forwards: 70\r\n\
         From: <sip:{NUMBER}@{from}>;tag={name}\r\nTo: <sip:{NUMBER}@{to}>\r\nCall-ID: {name}@{from}\r\n\
         CSeq: 1 INVITE\r\nContact: <sip:{from}>\r\nContent-Length: 0\r\n\r\n"
    );
    socket.send_to(invite.as_bytes(), to).expect("a datagram leaves");
    let mut buffer = [0; 4_096];
    let length = socket.recv(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(buffer.get(..length)?).into_owned())
}

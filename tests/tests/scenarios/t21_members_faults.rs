//! Members that fail, and what an operator sees and does: no majority, a lost voter, a stranger, an id that is taken.

use std::fs;
use std::net::UdpSocket;
use std::time::Duration;

use serde_json::Value;
use tests::orders::{Load, NUMBER, office};
use tests::trio::{Setup, Trio};
use tests::wait;

/// Nothing here asserts a time: a busy machine is no dead node.
const DETECT: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(30);

fn trio() -> Trio {
    Trio::start(&Setup { detect: DETECT, ..Setup::default() }, office)
}

#[test]
fn t21_without_a_majority_status_says_so_and_new_calls_hear_503() {
    let mut cluster = trio();
    wait::until("all are well", PATIENCE, || {
        let (code, words) = cluster.order(1, &["status"]);
        code == 0 && words.contains("all voters answer")
    });
    cluster.node_mut(2).kill();
    cluster.node_mut(3).kill();
    wait::until("the status says that there is no majority", PATIENCE, || {
        let (code, words) = cluster.order(1, &["status"]);
        code == 1 && words.contains("no quorum: node 1 reaches 1 of 3 voters and 2 are needed")
    });
    // At its own address nobody else can speak: whoever calls hears where he stands, and when to try again.
    let pbx = UdpSocket::bind((cluster.pbx().ip(), 5090)).expect("the PBX has more than one port");
    let answer = answer_to_an_invite(&cluster, &pbx);
    assert!(answer.starts_with("SIP/2.0 503 "), "{answer}");
    assert!(answer.contains("\r\nRetry-After: "), "{answer}");
    drop(pbx);
    let ready = tests::http::get(cluster.node(1).http(), "/readyz").expect("it answers");
    assert_eq!((ready.status, ready.body.contains("no majority")), (503, true), "{}", ready.body);
    // An order is not decided now, and counts when a majority is back.
    let (code, words) = cluster.order(1, &["drain", "3"]);
    assert!(code == 3 && words.contains("no majority"), "{code} {words}");

    // The twin: with two of three all is as before.
    cluster.node_mut(2).start();
    cluster.node_mut(1).wait_ready();
    wait::until("the status is good", PATIENCE, || cluster.order(1, &["status"]).0 == 0);
    wait::until("the order counts", PATIENCE, || cluster.row(1, 3)["drained"] == true);
    let figures = Load::start(cluster.node(1).sip(), cluster.pbx(), (5, 10), 0.2).figures();
    assert_eq!((&figures["completed"], &figures["failed"]), (&5.into(), &serde_json::json!({})), "{figures}");
    cluster.assert_no_panic();
}

/// What the PBX hears first when it calls at node 1's own address; repeated as RFC 3261 §17.1.1.2 has it.
fn answer_to_an_invite(cluster: &Trio, pbx: &UdpSocket) -> String {
    let (from, to) = (pbx.local_addr().expect("it is bound"), cluster.node(1).sip());
    let sdp = format!(
        "v=0\r\no=- 1 1 IN IP4 {0}\r\ns=-\r\nc=IN IP4 {0}\r\nt=0 0\r\nm=audio 40000 RTP/AVP 8\r\n",
        from.ip()
    );
    let invite = format!(
        "INVITE sip:{NUMBER}@{to} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKt21\r\nMax-Forwards: 70\r\n\
         From: <sip:{NUMBER}@{from}>;tag=t21\r\nTo: <sip:{NUMBER}@{to}>\r\nCall-ID: t21@{from}\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:{from}>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    );
    pbx.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
    let mut buffer = [0; 4096];
    let heard = wait::for_some(PATIENCE, || {
        pbx.send_to(invite.as_bytes(), to).expect("loopback takes it");
        let (len, _) = pbx.recv_from(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..len]).into_owned())
    });
    heard.expect("an answer to INVITE")
}

/// Its machine is gone with its disk. The new one has its id, the lowest, and an empty directory.
#[test]
fn t21_a_voter_that_is_lost_for_good_is_replaced() {
    let mut cluster = trio();
    cluster.node_mut(1).kill();
    cluster.nodes.retain(|node| node.id() != 1);
    wait::until("it is held dead", PATIENCE, || cluster.row(2, 1)["state"] == "dead");
    let sum = |name: &str| [2, 3].iter().filter_map(|id| cluster.node(*id).metric(name)).sum::<f64>();
    // Both saw it; one of them took its home.
    wait::until("its home was taken", PATIENCE, || {
        (sum("banyan_evictions_total"), sum("banyan_takeovers_total")) >= (2.0, 1.0)
    });
    let (code, words) = cluster.order(2, &["remove", "1"]);
    assert!(code == 1 && words.contains("--force"), "{code} {words}");
    cluster.ordered(2, &["remove", "1", "--force"]);
    for of in [2, 3] {
        wait::until("it is forgotten", PATIENCE, || cluster.row(of, 1) == Value::Null);
    }

    cluster.add(1, false).spawn();
    let at = cluster.link(1);
    let words = cluster.ordered(2, &["join", &format!("1@{at}")]);
    assert!(words.contains("node 1 joined and votes"), "{words}");
    cluster.node_mut(1).wait_ready();
    cluster.spread();
    assert_eq!(cluster.floating(1, 1), 1);
    // A majority that needs it: it votes indeed.
    cluster.node_mut(3).kill();
    let figures = Load::start(cluster.node(2).sip(), cluster.pbx(), (5, 10), 0.2).figures();
    assert_eq!((&figures["completed"], &figures["failed"]), (&5.into(), &serde_json::json!({})), "{figures}");
    cluster.assert_no_panic();
}

#[test]
fn t21_a_stranger_and_an_id_that_is_taken_are_told_apart() {
    let mut cluster = trio();
    // Files that others can read are warned of.
    assert!(cluster.node(1).log().contains("can be read by others"), "{}", cluster.node(1).log_tail());
    let (code, words) = cluster.order(1, &["join", &format!("2@{}", cluster.link(9))]);
    assert!(code == 1 && words.contains("node 2 is a member already"), "{code} {words}");
    let (code, words) = cluster.order(1, &["join", "4"]);
    assert!(code == 2 && words.contains("ID@ADDR:PORT"), "{code} {words}");

    let leader = cluster.await_leader();
    let node = cluster.add(4, false);
    fs::write(node.dir().join("cluster.key"), "the key of some other cluster, as long as ours is\n")
        .expect("written");
    node.spawn();
    let at = cluster.link(4);
    let (code, words) = cluster.order(1, &["join", &format!("4@{at}")]);
    assert!(code == 1 && words.contains(&format!("node 4 does not answer at {at}")), "{code} {words}");
    assert!(cluster.node(leader).log().contains("not of one cluster"), "{}", cluster.node(leader).log_tail());
    assert_eq!(cluster.row(1, 4), Value::Null, "nobody waits for it");
    let starting = tests::http::get(cluster.node(4).http(), "/readyz").expect("it answers while it waits");
    assert_eq!(starting.status, 503, "{}", starting.body);
    assert_eq!(cluster.node_mut(4).stop().code(), Some(0), "SIGTERM ends it while it waits");
}

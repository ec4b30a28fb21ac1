//! What the switch answers by itself, and what it does not.

use super::bench::{header, request};
use super::{Bench, Peer};
use crate::Drop;

#[tokio::test]
async fn options_are_answered_with_what_the_node_can_do() {
    let bench = Bench::start().await;
    let options = request("OPTIONS", "ping", 1, bench.caller.at, "<sip:127.0.0.1>", "");
    bench.caller.send(bench.sip, &options).await;
    let answer = bench.caller.expect("SIP/2.0 200").await;
    assert!(header(&answer, "Allow").contains("INVITE"));
    assert_eq!(header(&answer, "Accept"), "application/sdp");
    assert!(header(&answer, "Supported").contains("timer"));
}

#[tokio::test]
async fn strangers_hear_nothing_and_leave_nothing() {
    let bench = Bench::start().await;
    let stranger = Peer::bind("127.0.0.4:0".parse().expect("literal")).await;
    for method in ["INVITE", "OPTIONS", "REGISTER"] {
        let message = request(method, method, 1, stranger.at, "<sip:127.0.0.1>", "");
        stranger.send(bench.sip, &message).await;
    }
    stranger.send(bench.sip, "INVITE junk\r\n\r\n").await;
    stranger.send(bench.sip, "\0\u{1}junk").await;
    let metrics = bench.node.counters();
    bench.until("five datagrams are dropped", || metrics.drops(Drop::UnknownSource) == 5).await;
    assert!(stranger.is_silent());
    assert_eq!(bench.node.calls(), 0);
}

#[tokio::test]
async fn malformed_requests_of_known_sources_hear_what_is_wrong() {
    let bench = Bench::start().await;
    // RFC 3261 §8.1.1: no Call-ID.
    let broken = request("INVITE", "broken", 1, bench.caller.at, "<sip:127.0.0.1>", "");
    let broken = broken.replace("Call-ID: broken@test\r\n", "");
    bench.caller.send(bench.sip, &broken).await;
    let answer = bench.caller.expect("SIP/2.0 400").await;
    assert!(answer.lines().next().is_some_and(|line| line.contains("Call-ID")), "{answer}");
    // Max-Forwards 0: §16.3.
    let spent = request("INVITE", "spent", 1, bench.caller.at, "<sip:127.0.0.1>", "");
    bench.caller.send(bench.sip, &spent.replace("Max-Forwards: 70", "Max-Forwards: 0")).await;
    bench.caller.expect("SIP/2.0 483").await;
}

#[tokio::test]
async fn requests_of_no_dialog_are_481_and_methods_not_served_405() {
    let bench = Bench::start().await;
    let gone = "<sip:127.0.0.1>;tag=0000010000000007i0123456789abcdef";
    // RFC 3261 §12.2.2.
    bench.caller.send(bench.sip, &request("BYE", "gone", 2, bench.caller.at, gone, "")).await;
    bench.caller.expect("SIP/2.0 481").await;
    // §9.2: nothing to cancel.
    bench.caller.send(bench.sip, &request("CANCEL", "none", 1, bench.caller.at, "<sip:127.0.0.1>", "")).await;
    bench.caller.expect("SIP/2.0 481").await;
    // §8.2.1, with Allow.
    bench
        .caller
        .send(bench.sip, &request("MESSAGE", "text", 1, bench.caller.at, "<sip:127.0.0.1>", ""))
        .await;
    let answer = bench.caller.expect("SIP/2.0 405").await;
    assert!(header(&answer, "Allow").contains("BYE"));
    // An ACK is never answered (§17.1.1.3).
    bench.caller.send(bench.sip, &request("ACK", "lost", 1, bench.caller.at, gone, "")).await;
    let metrics = bench.node.counters();
    bench.until("the ACK is counted", || metrics.drops(Drop::Unmatched) == 1).await;
    assert!(bench.caller.is_silent());
}

#[tokio::test]
async fn a_copy_of_an_answered_bye_gets_the_same_answer() {
    let bench = Bench::start().await;
    let dialog = bench.answered("twice").await;
    bench.hang_up(&dialog).await;
    bench.until("no call is left", || bench.node.calls() == 0).await;
    // RFC 3261 §17.2.2, timer J: our 200 was lost.
    bench.resend_bye(&dialog).await;
    bench.caller.expect("SIP/2.0 200").await;
}

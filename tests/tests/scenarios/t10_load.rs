//! SIPp's built-in caller and callee through the node: every call answered and ended, slots back to zero, one record each.

use std::collections::BTreeSet;
use std::time::Duration;

use tests::length;
use tests::node::Node;
use tests::resources::{FAR_NUMBER, callee, caller, office_and_carrier};
use tests::sipp::{Sipp, Transport};

#[test]
fn t10_two_hundred_calls_a_second_over_udp() {
    every_call_is_answered_ended_and_recorded_once(Transport::Udp);
}

#[test]
fn t10_two_hundred_calls_a_second_over_tcp() {
    every_call_is_answered_ended_and_recorded_once(Transport::Tcp);
}

/// The twin of the two above: with a trunk that admits nothing, the same load ends in refusals, each recorded once.
#[test]
fn t10_a_trunk_without_slots_refuses_every_call_and_records_each() {
    let node = Node::with_resources(|node| office_and_carrier(node, Transport::Udp, 0));
    let mut caller = Sipp::caller(node.dir(), "caller", caller(&node), node.sip(), Transport::Udp)
        .load(50, 50, Duration::from_millis(100), FAR_NUMBER)
        .start();
    let counts = caller.finish(Duration::from_secs(45));
    assert_eq!((counts.successful, counts.failed), (50, 0), "{}", caller.errors());
    assert_eq!(caller.logged(), Vec::<String>::new(), "no call is answered");
    let records = node.settle(50);
    assert_eq!(records.len(), 50);
    // From a full trunk: 503 without Retry-After (contract, "SIP answers").
    assert!(records.iter().all(|record| record.status() == 503 && !record.answered()));
}

fn every_call_is_answered_ended_and_recorded_once(transport: Transport) {
    let seconds = length(10, 60);
    let calls = 200 * seconds;
    let mut node = Node::with_resources(|node| office_and_carrier(node, transport, 1_000));
    let mut callees = Sipp::callee(node.dir(), "uas", callee(&node), transport).start();
    let mut callers = Sipp::caller(node.dir(), "uac", caller(&node), node.sip(), transport)
        .load(200, calls, Duration::from_millis(200), FAR_NUMBER)
        .start();

    let placed = callers.finish(Duration::from_secs(u64::from(seconds) + 60));
    assert_eq!((placed.successful, placed.failed), (calls.into(), 0), "{}", callers.errors());
    let records = node.settle(calls as usize);
    let taken = callees.stop();
    assert_eq!((taken.successful, taken.failed), (calls.into(), 0), "{}", callees.errors());

    assert_eq!(records.len(), calls as usize, "one record a call");
    let ids: BTreeSet<_> = records.iter().map(|record| record.text("id")).collect();
    let calls_placed: BTreeSet<_> = records.iter().map(|record| record.text("call_id_a")).collect();
    assert_eq!((ids.len(), calls_placed.len()), (calls as usize, calls as usize), "no record twice");
    for record in &records {
        assert!(record.answered() && record.status() == 200, "{}", record.0);
        assert_eq!((record.text("trunk"), record.text("gateway")), ("office", "carrier"), "{}", record.0);
    }
    assert!(node.stop().success(), "SIGTERM with no call up ends in exit 0");
}

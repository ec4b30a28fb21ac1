//! The load's caller and callee against each other over loopback, without a node in between: what the peers
//! promise each other, the node has to keep.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use peer::load::{LoadArgs, Report, run};
use peer::{Mix, Transport};

/// A free address on loopback, for UDP and most likely for TCP.
fn free() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").expect("bind").local_addr().expect("bound")
}

fn pair(calls: u64, mix: Mix) -> LoadArgs {
    let callee = free();
    LoadArgs {
        rate: 400.0,
        calls,
        callee_listen: Some(callee),
        mix: Mix { hold: Duration::from_millis(100), ..mix },
        ..LoadArgs::new(callee, free())
    }
}

fn good(args: &LoadArgs) -> Report {
    let report = run(args).expect("a run");
    assert!(report.is_good(), "{report:?}");
    assert_eq!((report.placed, report.received), (args.calls, args.calls));
    report
}

#[test]
fn two_hundred_calls_over_udp() {
    let report = good(&pair(200, Mix::default()));
    assert_eq!((report.answered, report.completed, report.received_answered), (200, 200, 200));
    assert!(report.pdd_ms.p50 > 0.0);
}

#[test]
fn two_hundred_calls_over_tcp() {
    let report = good(&LoadArgs { transport: Transport::Tcp, ..pair(200, Mix::default()) });
    assert_eq!((report.answered, report.completed, report.received_answered), (200, 200, 200));
}

#[test]
fn one_address_can_be_both_ends() {
    let address = free();
    for transport in [Transport::Udp, Transport::Tcp] {
        let args = LoadArgs { transport, callee_listen: None, ..pair(20, Mix::default()) };
        assert_eq!(good(&LoadArgs { target: address, listen: address, ..args }).answered, 20);
    }
}

#[test]
fn every_call_has_media_both_ways_and_each_packet_is_checked() {
    let mix = Mix { reinvite: 0.5, ..Mix::default() };
    let mut args = LoadArgs { media: true, ..pair(20, mix) };
    args.mix.hold = Duration::from_millis(500);
    let report = good(&args);
    assert_eq!((report.rtp.both_ways, report.rtp.foreign), (20, 0), "{report:?}");
    // 25 packets each way in each call; far fewer only where the machine had no time for us.
    assert!(report.rtp.sent >= 20 * 2 * 10, "{report:?}");
    assert_eq!(good(&pair(20, Mix::default())).rtp, peer::load::RtpReport::default());
}

#[test]
fn races_end_in_order() {
    let mix = Mix {
        answer: Duration::from_millis(200),
        cancel: 0.3,
        answer_late: 0.5,
        glare: 0.3,
        reinvite: 0.2,
        ..Mix::default()
    };
    let report = good(&pair(300, mix));
    // About 90 callers want to CANCEL; on a busy machine the answer overtakes some of them.
    assert!(report.cancelled >= 20 && report.answered >= 200, "{report:?}");
    assert_eq!(report.cancelled + report.answered, 300);
}

#[test]
fn a_lost_ack_is_healed_by_the_answers_retransmission() {
    let mut args = pair(20, Mix { lose_ack: 1.0, ..Mix::default() });
    args.mix.hold = Duration::from_millis(700); // above T1 (RFC 3261 §13.3.1.4)
    let report = good(&args);
    assert_eq!((report.answered, report.received_answered), (20, 20));
    assert!(report.retransmissions >= 20, "{report:?}");
}

#[test]
fn refusals_are_failures_by_their_status() {
    let report = run(&pair(50, Mix { refuse: 1.0, refuse_status: 503, ..Mix::default() })).expect("a run");
    assert_eq!(report.failed.get("503"), Some(&50), "{report:?}");
    assert_eq!((report.answered, report.failures()), (0, 50));
}

#[test]
fn without_retransmission_nobody_there_is_a_failure_at_once_when_patience_ends() {
    let args = pair(3, Mix::default());
    let nobody = free();
    let args = LoadArgs {
        target: nobody,
        callee_listen: None,
        retransmit: false,
        patience: Duration::from_millis(50),
        ..args
    };
    let report = run(&args).expect("a run");
    assert_eq!((report.placed, report.failures(), report.retransmissions), (3, 3, 0), "{report:?}");
}

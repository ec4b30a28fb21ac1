//! Our caller and callee against SIPp's built-in scenarios: a third implementation says that ours speak SIP.
//! Needs `sipp` (Debian: sip-tester).

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use peer::load::{LoadArgs, run};
use peer::{Mix, Transport};

/// A port of loopback that is free for UDP and TCP.
fn free() -> SocketAddr {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("bound");
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

/// SIPp in the foreground with these words; ended when dropped.
struct Sipp(Child);

impl Sipp {
    fn start(words: &str) -> Sipp {
        let child = Command::new("sipp")
            .args(words.split_whitespace())
            .args(["-i", "127.0.0.1", "-nostdin", "-max_socket", "500"])
            .current_dir(std::env::temp_dir())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Sipp(child.expect("these tests need SIPp: install the package sip-tester"))
    }
}

impl Drop for Sipp {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// SIPp's `uas` answers at once and waits for BYE; over UDP it may not listen yet when the first INVITE comes,
/// which the INVITE's retransmission heals.
fn our_caller(transport: Transport) {
    let uas = free();
    let mode = if transport == Transport::Tcp { "t1" } else { "u1" };
    let _sipp = Sipp::start(&format!("-sn uas -p {} -t {mode}", uas.port()));
    if transport == Transport::Tcp {
        await_listener(uas);
    }
    let args = LoadArgs {
        rate: 100.0,
        calls: 100,
        transport,
        mix: Mix { hold: Duration::from_millis(200), ..Mix::default() },
        ..LoadArgs::new(uas, free())
    };
    let report = run(&args).expect("a run");
    assert!(report.is_good(), "{report:?}");
    assert_eq!((report.placed, report.answered, report.completed), (100, 100, 100));
}

/// SIPp's `uac` places 100 calls and exits 0 if all of them went well.
fn our_callee(transport: Transport) {
    let callee = free();
    let mode = if transport == Transport::Tcp { "t1" } else { "u1" };
    let runner = std::thread::spawn(move || {
        let args = LoadArgs {
            calls: 0,
            awaits: 100,
            transport,
            mix: Mix { ring: Duration::from_millis(20), answer: Duration::from_millis(30), ..Mix::default() },
            ..LoadArgs::new(callee, callee)
        };
        run(&args).expect("a run")
    });
    if transport == Transport::Tcp {
        await_listener(callee);
    }
    let port = free().port();
    let mut sipp = Sipp::start(&format!("-sn uac {callee} -p {port} -t {mode} -r 100 -m 100 -d 200"));
    let status = sipp.0.wait().expect("ran");
    assert!(status.success(), "SIPp says {status}");
    let report = runner.join().expect("no panic");
    assert!(report.is_good(), "{report:?}");
    assert_eq!((report.received, report.received_answered), (100, 100));
}

fn await_listener(address: SocketAddr) {
    while std::net::TcpStream::connect(address).is_err() {
        std::thread::yield_now();
    }
}

#[test]
fn our_caller_calls_sipp_over_udp() {
    our_caller(Transport::Udp);
}

#[test]
fn our_caller_calls_sipp_over_tcp() {
    our_caller(Transport::Tcp);
}

#[test]
fn sipp_calls_our_callee_over_udp() {
    our_callee(Transport::Udp);
}

#[test]
fn sipp_calls_our_callee_over_tcp() {
    our_callee(Transport::Tcp);
}

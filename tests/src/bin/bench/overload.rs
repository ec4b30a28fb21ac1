//! Overload: ten times what anybody sends, for thirty seconds, and then the question whether it still works.

use std::net::{SocketAddr, UdpSocket};
use std::process::Stdio;
use std::time::Duration;

use tests::process::Process;
use tests::wait;

use crate::BenchError;
use crate::load::{self, Load};
use crate::report;
use crate::subject::{Kind, Subject};
use crate::system::{self, GENERATOR_CORE};

/// What is offered in ordinary times.
const ORDINARY: f64 = 500.0;
/// What is offered in bad times, beside the ordinary: INVITEs that nobody follows up.
const FLOOD: f64 = 10.0 * 4_000.0;
const SECONDS: f64 = 30.0;

/// Goodput (calls a second that complete) from two seconds after a flood, as a share of what is offered.
///
/// # Errors
/// When the subject does not start or the generator fails.
pub fn measure(kind: Kind, real_time: bool) -> Result<f64, BenchError> {
    let subject = Subject::start(kind, real_time)?;
    load::measure(&subject, Load::of(ORDINARY, 2.0), real_time)?;
    let this = std::env::current_exe()
        .map_err(|error| BenchError::System { what: "the bench's own path", error })?;
    let mut command = system::pinned(GENERATOR_CORE, real_time, &this.to_string_lossy());
    for lane in subject.lanes().iter().take(1) {
        command.arg("flood").args([lane.target, lane.caller].map(|address| address.to_string()));
    }
    command.args([FLOOD.to_string(), SECONDS.to_string()]).stdin(Stdio::null());
    let log = std::env::temp_dir().join(format!("banyan-bench-flood-{}", std::process::id()));
    let mut flood = Process::start(&mut command, &log)
        .map_err(|error| BenchError::System { what: "starting the flood", error })?;
    let ended = flood.wait(Duration::from_secs_f64(SECONDS + 20.0));
    println!("{:>8} flood: {}", kind.name(), flood.output().trim());
    // The log is a file of the bench's own making.
    let _ = std::fs::remove_file(log);
    if !ended.is_some_and(|status| status.success()) {
        return Err(BenchError::Generator("the flood did not end".to_owned()));
    }
    wait::pass(Duration::from_secs(2));
    let outcome = load::measure(&subject, Load::of(ORDINARY, 5.0), real_time)?;
    println!("{:>8} 2 s after the flood, {ORDINARY}/s: {}", kind.name(), report::line(&outcome));
    Ok(outcome.completed as f64 / outcome.placed.max(1) as f64)
}

/// `bench flood TARGET FROM RATE SECONDS`: INVITEs of new calls at a fixed rate, answers read and forgotten.
///
/// # Errors
/// When the words make no sense or the socket can't be had.
pub fn main(words: &[&str]) -> Result<(), BenchError> {
    let usage = || BenchError::Usage(format!("flood: {words:?}"));
    let [target, from, rate, seconds] = words else { return Err(usage()) };
    let target: SocketAddr = target.parse().map_err(|_| usage())?;
    let from: SocketAddr = from.parse().map_err(|_| usage())?;
    let rate: f64 = rate.parse().map_err(|_| usage())?;
    let seconds: f64 = seconds.parse().map_err(|_| usage())?;
    let socket = |error| BenchError::System { what: "the flood's socket", error };
    let udp = UdpSocket::bind(from).map_err(socket)?;
    udp.set_nonblocking(true).map_err(socket)?;
    let begun = wait::now();
    let (mut sent, mut answered) = (0_u64, 0_u64);
    let mut buffer = [0_u8; 4_096];
    while begun.elapsed().as_secs_f64() < seconds {
        let due = (begun.elapsed().as_secs_f64() * rate) as u64;
        while sent < due {
            sent += 1;
            // A full send buffer is an INVITE less; the next is due at once.
            let _ = udp.send_to(invite(sent, target, from).as_bytes(), target);
        }
        while udp.recv_from(&mut buffer).is_ok() {
            answered += 1;
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    println!("{sent} INVITEs in {seconds} s, {answered} answers");
    Ok(())
}

fn invite(number: u64, target: SocketAddr, from: SocketAddr) -> String {
    let sdp = format!(
        "v=0\r\no=f 1 1 IN IP4 {0}\r\ns=-\r\nc=IN IP4 {0}\r\nt=0 0\r\nm=audio 6000 RTP/AVP 8\r\n",
        from.ip()
    );
    format!(
        "INVITE sip:+493012345678@{target} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKf{number}\r\n\
         From: <sip:+31201234567@{from}>;tag=f{number}\r\nTo: <sip:+493012345678@{target}>\r\n\
         Call-ID: flood-{number}@{from}\r\nCSeq: 1 INVITE\r\nContact: <sip:f@{from}>\r\nMax-Forwards: 70\r\n\
         Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    )
}

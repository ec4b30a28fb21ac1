//! One end's media: what it sends and what it hears, as a machine.

use std::net::SocketAddr;
use std::time::Duration;

use machine::Instant;

use super::label::{Label, PACKET_BYTES};
use crate::local::CallRef;

/// One end's media.
#[derive(Debug)]
pub struct Stream {
    run: u32,
    call: CallRef,
    remote: Option<(SocketAddr, u8)>,
    interval: Duration,
    next_at: Instant,
    /// When the silence that is measured began; `None` while nothing is expected.
    silent_since: Option<Instant>,
    /// The sequence number that is expected next, and which of the 128 below it came.
    next_expected: u64,
    seen: u128,
    report: StreamReport,
}

/// What one end sent and heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamReport {
    /// Packets sent.
    pub sent: u64,
    /// Packets heard, each counted once.
    pub received: u64,
    /// Packets that the far end sent and that never came.
    pub lost: u64,
    /// Packets that came again.
    pub duplicates: u64,
    /// Packets that belong to another call, or to nobody: crosstalk.
    pub foreign: u64,
    /// The longest time without a packet while one was due.
    pub longest_gap: Duration,
    /// The number of the far end that is heard.
    pub far: Option<u32>,
    /// Whether the far end says that it hears us.
    pub heard: bool,
}

impl Stream {
    /// A silent stream of this end; it will send every `interval` (20 ms is G.711's).
    pub fn new(run: u32, call: CallRef, interval: Duration) -> Stream {
        Stream {
            run,
            call,
            remote: None,
            interval,
            next_at: Instant::ZERO,
            silent_since: None,
            next_expected: 0,
            seen: 0,
            report: StreamReport::default(),
        }
    }

    /// Sends to `remote` from now on, and expects to hear.
    pub fn start(&mut self, now: Instant, remote: SocketAddr, payload: u8) {
        if self.remote.is_none() {
            self.next_at = now;
            self.silent_since = Some(now);
        }
        self.remote = Some((remote, payload));
    }

    /// Sends no more, and expects nothing: hold, or the end.
    pub fn stop(&mut self, now: Instant) {
        self.remote = None;
        let Some(since) = self.silent_since.take() else { return };
        let gap = now.since(since);
        self.report.longest_gap = self.report.longest_gap.max(gap);
        // What was still on its way when the far end stopped is not lost; a long silence is.
        let due = gap.saturating_sub(IN_FLIGHT).as_nanos() / self.interval.as_nanos().max(1);
        self.report.lost += u64::try_from(due).unwrap_or(u64::MAX);
    }

    /// When `poll_send` has something to send.
    pub fn next(&self) -> Option<Instant> {
        self.remote.map(|_| self.next_at)
    }

    /// The next packet, if it is due by `now`.
    pub fn poll_send(&mut self, now: Instant) -> Option<(SocketAddr, [u8; PACKET_BYTES])> {
        let (remote, payload) = self.remote.filter(|_| self.next_at <= now)?;
        let label =
            Label { run: self.run, call: self.call, heard: self.report.far, sequence: self.report.sent };
        self.report.sent += 1;
        self.next_at += self.interval;
        Some((remote, label.write(payload)))
    }

    /// Takes a packet that came to this end's port.
    pub fn receive(&mut self, now: Instant, packet: &[u8]) {
        let label = Label::read(packet).filter(|label| {
            label.run == self.run
                && label.call.side != self.call.side
                && self.report.far.is_none_or(|far| far == label.call.number)
                && label.heard.is_none_or(|heard| heard == self.call.number)
        });
        let Some(label) = label else {
            self.report.foreign += 1;
            return;
        };
        self.report.far = Some(label.call.number);
        self.report.heard |= label.heard.is_some();
        if let Some(since) = &mut self.silent_since {
            self.report.longest_gap = self.report.longest_gap.max(now.since(*since));
            *since = now;
        }
        self.count(label.sequence);
    }

    /// What was sent and heard up to now.
    pub fn report(&self) -> StreamReport {
        self.report
    }

    fn count(&mut self, sequence: u64) {
        if sequence >= self.next_expected {
            let step = sequence - self.next_expected;
            self.seen = if step >= 127 { 1 } else { (self.seen << (step + 1)) | 1 };
            self.next_expected = sequence + 1;
            self.report.lost += step;
            self.report.received += 1;
            return;
        }
        let behind = self.next_expected - 1 - sequence;
        let bit = 1_u128.checked_shl(u32::try_from(behind).unwrap_or(u32::MAX)).unwrap_or(0);
        if bit == 0 || self.seen & bit != 0 {
            self.report.duplicates += 1;
        } else {
            // Late, not lost.
            self.seen |= bit;
            self.report.lost = self.report.lost.saturating_sub(1);
            self.report.received += 1;
        }
    }
}

/// What may be under way when the far end stops.
const IN_FLIGHT: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    fn pair() -> (Stream, Stream) {
        let address = "127.0.0.1:4000".parse().expect("literal");
        let mut caller = Stream::new(1, CallRef::caller(5), Duration::from_millis(20));
        let mut callee = Stream::new(1, CallRef::callee(9), Duration::from_millis(20));
        caller.start(at(0), address, 8);
        callee.start(at(0), address, 8);
        (caller, callee)
    }

    #[test]
    fn two_streams_learn_each_others_number() {
        let (mut caller, mut callee) = pair();
        for ms in [0, 20, 40] {
            let (_, packet) = caller.poll_send(at(ms)).expect("due");
            assert_eq!(caller.poll_send(at(ms)), None);
            callee.receive(at(ms), &packet);
            let (_, packet) = callee.poll_send(at(ms)).expect("due");
            caller.receive(at(ms), &packet);
        }
        caller.stop(at(40));
        assert_eq!((caller.report().far, callee.report().far), (Some(9), Some(5)));
        assert!(caller.report().heard && callee.report().heard);
        let expected = StreamReport {
            sent: 3,
            received: 3,
            far: Some(9),
            heard: true,
            longest_gap: Duration::from_millis(20),
            ..StreamReport::default()
        };
        assert_eq!(caller.report(), expected);
    }

    #[test]
    fn loss_duplicates_and_late_packets_are_told_apart() {
        let (mut caller, mut callee) = pair();
        let packets: Vec<_> =
            (0..6).filter_map(|i| caller.poll_send(at(i * 20))).map(|(_, packet)| packet).collect();
        for i in [0, 1, 4, 4, 2] {
            callee.receive(at(0), &packets[i]);
        }
        let report = callee.report();
        assert_eq!((report.received, report.lost, report.duplicates), (4, 1, 1)); // 3 is lost
    }

    #[test]
    fn a_silence_at_the_end_is_loss_and_a_gap() {
        let (mut caller, mut callee) = pair();
        let (_, packet) = caller.poll_send(at(0)).expect("due");
        callee.receive(at(0), &packet);
        callee.stop(at(1100));
        let report = callee.report();
        assert_eq!((report.longest_gap, report.lost), (Duration::from_millis(1100), 50));
    }

    #[test]
    fn packets_of_another_call_are_foreign() {
        let (mut caller, mut callee) = pair();
        let (_, packet) = caller.poll_send(at(0)).expect("due");
        callee.receive(at(0), &packet);
        let mut stranger = Stream::new(1, CallRef::caller(6), Duration::from_millis(20));
        stranger.start(at(0), "127.0.0.1:4000".parse().expect("literal"), 8);
        let (_, packet) = stranger.poll_send(at(0)).expect("due");
        callee.receive(at(0), &packet);
        callee.receive(at(0), b"junk");
        assert_eq!((callee.report().received, callee.report().foreign), (1, 2));
    }
}

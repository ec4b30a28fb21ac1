//! What can be told from the packets of one sender: how many never came (RFC 3550 A.1, A.3), and how
//! unevenly the others did (A.8).

use machine::Instant;

use crate::packet::RtpHeader;

/// A gap in sequence numbers up to this counts as loss; a larger one as a new beginning (RFC 3550 A.1).
const DROPOUT_MAX: u16 = 3000;
/// A packet up to this far behind the newest is late, not a new beginning (RFC 3550 A.1).
const MISORDER_MAX: u16 = 100;

/// The reception state of one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reception {
    source: Option<Source>,
    received: u64,
    /// Expected and received of the sources before this one.
    expected_before: u64,
    received_before: u64,
    /// Jitter in 1/16 of a tick, as A.8 keeps it.
    jitter_x16: u32,
    clock_rate: u32,
}

/// Where the current source's sequence stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Source {
    ssrc: u32,
    /// The first sequence number, extended.
    base: u64,
    /// The newest one, extended by how often it wrapped.
    newest: u64,
    /// The last packet's transit time in ticks, modulo 2³².
    transit: u32,
    timestamp: u32,
    /// The number that would confirm a new beginning (RFC 3550 A.1).
    confirming: Option<u16>,
}

impl Reception {
    /// Counts a packet that arrived at `now`; `clock_rate` is in ticks per second.
    pub fn received(&mut self, now: Instant, header: &RtpHeader, clock_rate: u32) {
        self.clock_rate = clock_rate.max(1);
        let arrival = ticks(now, self.clock_rate);
        let transit = arrival.wrapping_sub(header.timestamp);
        self.received += 1;
        match &mut self.source {
            Some(source) if source.ssrc == header.ssrc => {
                if !source.advance(header.sequence) {
                    self.begin(header, transit);
                    return;
                }
                // Packets of one frame or one telephone event share a timestamp: their spacing is no jitter.
                if header.timestamp != source.timestamp {
                    let difference = transit.wrapping_sub(source.transit).cast_signed().unsigned_abs();
                    source.transit = transit;
                    source.timestamp = header.timestamp;
                    // A jump of the sender's clock is no jitter either.
                    if difference < self.clock_rate * 2 {
                        self.jitter_x16 = self.jitter_x16 + difference - ((self.jitter_x16 + 8) >> 4);
                    }
                }
            }
            _ => self.begin(header, transit),
        }
    }

    /// How many packets came.
    pub fn packets(&self) -> u64 {
        self.received
    }

    /// How many never came; duplicates can hide losses, never make it negative.
    pub fn lost(&self) -> u64 {
        let expected = self.expected_before + self.source.map_or(0, |source| source.expected());
        expected.saturating_sub(self.received)
    }

    /// Interarrival jitter in microseconds.
    pub fn jitter_us(&self) -> u32 {
        let ticks = u64::from(self.jitter_x16 >> 4);
        u32::try_from(ticks * 1_000_000 / u64::from(self.clock_rate.max(1))).unwrap_or(u32::MAX)
    }

    /// A new source, or the same one begins anew.
    fn begin(&mut self, header: &RtpHeader, transit: u32) {
        if let Some(source) = self.source {
            // Losses of the last source stay; its duplicates do not pay for the next one's losses.
            let received = self.received - 1 - self.received_before;
            self.expected_before += source.expected().max(received);
            self.received_before += received;
        }
        let base = u64::from(header.sequence);
        self.source = Some(Source {
            ssrc: header.ssrc,
            base,
            newest: base,
            transit,
            timestamp: header.timestamp,
            confirming: None,
        });
    }
}

impl Source {
    fn expected(&self) -> u64 {
        self.newest - self.base + 1
    }

    /// Takes the next sequence number; false if the sender began anew (A.1: two in a row far away).
    fn advance(&mut self, sequence: u16) -> bool {
        let step = sequence.wrapping_sub(self.newest as u16);
        if step < DROPOUT_MAX {
            self.newest += u64::from(step);
            self.confirming = None;
        } else if step <= u16::MAX - MISORDER_MAX {
            if self.confirming == Some(sequence) {
                return false;
            }
            self.confirming = Some(sequence.wrapping_add(1));
        }
        true
    }
}

/// A point in time in ticks of a clock, modulo 2³².
fn ticks(now: Instant, clock_rate: u32) -> u32 {
    let ns = now.as_nanos();
    let rate = u64::from(clock_rate);
    let whole = (ns / 1_000_000_000).wrapping_mul(rate);
    let part = (ns % 1_000_000_000) * rate / 1_000_000_000;
    whole.wrapping_add(part) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const G711: u32 = 8000;

    /// A G.711 stream: packet i has timestamp 160·i and arrives at 20·i ms, plus a delay.
    struct Stream {
        reception: Reception,
        ssrc: u32,
    }

    impl Stream {
        fn new() -> Stream {
            Stream { reception: Reception::default(), ssrc: 1 }
        }

        fn packet(&mut self, i: u32, delay_ms: u64) -> &mut Stream {
            let header = RtpHeader {
                payload: 8,
                sequence: (65_530 + i) as u16,
                timestamp: i.wrapping_mul(160),
                ssrc: self.ssrc,
            };
            let at = Instant::ZERO + Duration::from_millis(u64::from(i) * 20 + delay_ms);
            self.reception.received(at, &header, G711);
            self
        }
    }

    #[test]
    fn an_even_stream_has_neither_loss_nor_jitter_across_the_wrap() {
        let mut stream = Stream::new();
        for i in 0..100 {
            stream.packet(i, 5);
        }
        assert_eq!(stream.reception.packets(), 100);
        assert_eq!(stream.reception.lost(), 0);
        assert_eq!(stream.reception.jitter_us(), 0);
    }

    #[test]
    fn gaps_are_lost_and_late_packets_are_not() {
        let mut stream = Stream::new();
        // 3 and 4 are missing when 5 comes; 4 comes late.
        stream.packet(0, 0).packet(1, 0).packet(2, 0).packet(5, 0);
        assert_eq!(stream.reception.lost(), 2);
        stream.packet(4, 0);
        assert_eq!(stream.reception.lost(), 1);
        // A duplicate makes up for it in RFC 3550's arithmetic, but never goes below zero.
        stream.packet(5, 0).packet(5, 0);
        assert_eq!(stream.reception.lost(), 0);
    }

    #[test]
    fn jitter_follows_the_formula_of_rfc_3550() {
        // A.8: one packet 10 ms late: D = 80 ticks, J = 80/16 = 5 ticks = 625 us. The next one on time:
        // D = 80 again, J = 5 + (80 - 5)/16 = 9.69 -> 9 whole ticks = 1,125 us.
        let mut stream = Stream::new();
        stream.packet(0, 0).packet(1, 10);
        assert_eq!(stream.reception.jitter_us(), 625);
        stream.packet(2, 0);
        assert_eq!(stream.reception.jitter_us(), 1_125);
    }

    #[test]
    fn a_new_source_or_a_far_jump_begins_anew_without_loss() {
        let mut stream = Stream::new();
        stream.packet(0, 0).packet(2, 0); // one lost
        stream.ssrc = 2;
        stream.packet(30_000, 0).packet(30_001, 0);
        assert_eq!(stream.reception.lost(), 1);
        // The same source jumps by 10,000: the first is taken for a stray, two in a row for a new beginning.
        stream.packet(40_000, 0).packet(40_001, 0).packet(40_002, 0);
        assert_eq!(stream.reception.lost(), 1);
        assert_eq!(stream.reception.packets(), 7);
    }

    #[test]
    fn packets_of_one_telephone_event_are_no_jitter() {
        let mut reception = Reception::default();
        for i in 0..10_u16 {
            // RFC 4733 §2.5.1.2: every packet of an event carries the timestamp of its start.
            let header = RtpHeader { payload: 101, sequence: i, timestamp: 1600, ssrc: 9 };
            reception.received(Instant::ZERO + Duration::from_millis(u64::from(i) * 20), &header, G711);
        }
        assert_eq!(reception.jitter_us(), 0);
    }
}

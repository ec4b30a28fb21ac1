//! What SRTP costs a packet of 20 ms of G.711: opened, secured, and relayed from one to the other.

#![allow(missing_docs)] // criterion's macro makes a public function.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use env::{SrtpCount, SrtpKey, SrtpMark, SrtpSuite};
use media::{GROWTH_MAX, Receiver, RtpHeader, Sender};

/// A header and 160 octets of speech.
const LENGTH: usize = 172;

fn key(suite: SrtpSuite, fill: u8) -> SrtpKey {
    let bytes = vec![fill; suite.key_length() + suite.salt_length()];
    SrtpKey::new(suite, &bytes).expect("the suite's length")
}

/// The next packet of a source.
fn next(sequence: &mut u16) -> ([u8; LENGTH + GROWTH_MAX], RtpHeader) {
    *sequence = sequence.wrapping_add(1);
    let mut packet = [0xd5; LENGTH + GROWTH_MAX];
    let [s0, s1] = sequence.to_be_bytes();
    packet[..12].copy_from_slice(&[0x80, 8, s0, s1, 0, 0, 0, 160, 0, 0, 0, 7]);
    (packet, RtpHeader { payload: 8, sequence: *sequence, timestamp: 160, ssrc: 7 })
}

/// Secures a packet; whatever has to be recorded is.
fn seal(sender: &mut Sender, packet: &mut [u8], header: &RtpHeader) -> usize {
    sender.recorded(SrtpMark { count: SrtpCount::Sent(7), value: u32::MAX });
    sender.seal_rtp(packet, LENGTH, header).expect("sent")
}

fn packets(criterion: &mut Criterion) {
    for suite in SrtpSuite::ALL {
        let (mut sender, mut sequence) = (Sender::new(key(suite, 1), None), 0);
        criterion.bench_function(&format!("{} seals a packet", suite.name()), |b| {
            b.iter_batched(
                || next(&mut sequence),
                |(mut packet, header)| black_box(seal(&mut sender, &mut packet, &header)),
                BatchSize::SmallInput,
            );
        });
        let (mut peer, mut sequence) = (Sender::new(key(suite, 1), None), 0);
        let mut receiver = Receiver::new(key(suite, 1), Vec::new());
        criterion.bench_function(&format!("{} opens a packet", suite.name()), |b| {
            b.iter_batched(
                || {
                    let (mut packet, header) = next(&mut sequence);
                    let length = seal(&mut peer, &mut packet, &header);
                    (packet, length, header)
                },
                |(mut packet, length, header)| {
                    let opened = receiver.open_rtp(&mut packet[..length], &header);
                    black_box(opened.expect("ours"));
                },
                BatchSize::SmallInput,
            );
        });
    }
}

criterion_group!(benches, packets);
criterion_main!(benches);

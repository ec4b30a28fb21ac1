//! Streams of packets, good and damaged, through the relay machine.

#[path = "support/probe.rs"]
mod probe;

use media::{is_rtcp, read_rtp};

const SEED: &[u8] = include_bytes!("../../../tests/fuzz/seeds/rtp/both-ways");

#[test]
fn the_seed_holds_valid_rtp_and_rtcp() {
    assert!(read_rtp(&SEED[2..]).is_some());
    assert!(SEED.windows(8).any(is_rtcp));
    probe::packets(SEED);
}

#[test]
fn no_damage_breaks_a_promise() {
    // A fixed course of damage: xorshift from a constant.
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut next = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % bound as u64) as usize
    };
    for _ in 0..20_000 {
        let mut stream = SEED.repeat(1 + next(3));
        for _ in 0..=next(6) {
            let at = next(stream.len());
            stream[at] = next(256) as u8;
        }
        stream.truncate(1 + next(stream.len()));
        probe::packets(&stream);
    }
}

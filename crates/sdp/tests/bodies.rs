//! Bodies as they are met, and the same ones damaged: all may be refused, none may break a promise.

#[path = "support/probe.rs"]
mod probe;

use sdp::Session;

/// The bodies that the fuzz target starts from.
const SEEDS: [&[u8]; 4] = [
    include_bytes!("../../../tests/fuzz/seeds/sdp/two-streams"),
    include_bytes!("../../../tests/fuzz/seeds/sdp/fax"),
    include_bytes!("../../../tests/fuzz/seeds/sdp/browser"),
    include_bytes!("../../../tests/fuzz/seeds/sdp/hold"),
];

#[test]
fn every_seed_is_a_description() {
    for seed in SEEDS {
        assert!(Session::parse(seed).is_ok(), "{}", String::from_utf8_lossy(seed));
        probe::session(seed);
    }
}

#[test]
fn fr37_no_damage_breaks_a_promise() {
    // A fixed course of damage: xorshift from a constant.
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % bound.max(1) as u64) as usize
    };
    for _ in 0..5_000 {
        let mut body = SEEDS[next(SEEDS.len())].to_vec();
        for _ in 0..=next(4) {
            let at = next(body.len());
            match next(5) {
                0 => body[at] = next(256) as u8,
                1 => body.truncate(at),
                2 => body.insert(at, b"0 /:=\r\n\0"[next(8)]),
                3 => {
                    body.remove(at);
                }
                _ => {
                    let piece = body[at..body.len().min(at + next(60))].to_vec();
                    let to = next(body.len());
                    body.splice(to..to, piece);
                }
            }
            if body.is_empty() {
                body.push(b'v');
            }
        }
        probe::session(&body);
    }
}

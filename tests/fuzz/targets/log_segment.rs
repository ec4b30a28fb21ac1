//! Any bytes as what a node finds on its disk: a segment of the log, a log entry, a snapshot.

#![no_main]

use cluster::State;
use cluster::codec::{decode_entry, encode_entry};
use libfuzzer_sys::fuzz_target;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

fuzz_target!(
    init: {
        bound_memory();
        the_frame_is_the_one_that_is_written();
    },
    |bytes: &[u8]| {
        cluster::log::fuzz(bytes);
        entry(bytes);
        snapshot(bytes);
        snapshot(&framed(bytes));
    }
);

/// What is read as an entry is written as one that reads the same. No other bytes of it are shorter.
fn entry(bytes: &[u8]) {
    let Ok(stamped) = decode_entry(bytes) else { return };
    let mut again = Vec::new();
    encode_entry(&stamped, &mut again);
    assert!(again.len() <= bytes.len(), "{stamped:?}");
    assert_eq!(decode_entry(&again).as_ref(), Ok(&stamped));
}

/// What is read as a snapshot is written as one that reads the same.
fn snapshot(bytes: &[u8]) {
    let Ok((label, state)) = State::from_snapshot(bytes) else { return };
    let digest = state.full_digest();
    let again: Vec<u8> = state.into_snapshot(label.clone()).flatten().collect();
    let (label_again, state) = State::from_snapshot(&again).expect("what was written can be read");
    assert_eq!(label, label_again);
    assert_eq!(digest, state.full_digest());
}

/// A snapshot of one chunk with a sound CRC: chance alone never finds one.
fn framed(chunk: &[u8]) -> Vec<u8> {
    let (len, crc) = (chunk.len() as u32, crc32c::crc32c(chunk));
    [b"BANYANSN\x02", &len.to_le_bytes()[..], &crc.to_le_bytes(), chunk].concat()
}

/// Else the format has changed, and `framed` finds nothing any more.
fn the_frame_is_the_one_that_is_written() {
    let written: Vec<u8> = State::default().into_snapshot(b"label".to_vec()).flatten().collect();
    let chunk = written.get(17..).expect("magic, version, length and CRC stand before the chunk");
    assert_eq!(framed(chunk), written);
    snapshot(&written);
}

/// A length that is believed before it is checked asks for more memory than there is, and ends the run.
fn bound_memory() {
    let now = getrlimit(Resource::As);
    setrlimit(Resource::As, Rlimit { current: Some(ADDRESS_SPACE), ..now }).expect("less is always allowed");
}

/// Far above what one input needs, corpus included; below what a careless length of 32 bits asks for.
const ADDRESS_SPACE: u64 = 1 << 30;

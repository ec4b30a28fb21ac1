//! Torture messages, mutated: whatever the bytes are, nothing panics and what must hold holds.
//!
//! The seed is fixed, so a failure comes back. The fuzz targets go on where this ends.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

#[path = "support/probe.rs"]
mod probe;

fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/torture");
    let mut files: Vec<_> =
        fs::read_dir(folder).expect("the folder exists").flatten().map(|e| e.path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "sip"));
    files.sort();
    files.iter().map(|path| fs::read(path).expect("the file is there")).collect()
}

#[derive(Debug, Clone)]
enum Change {
    Set(u16, u8),
    Insert(u16, Vec<u8>),
    Remove(u16, u8),
    /// Puts a piece of the message somewhere else.
    Move(u16, u16, u8),
}

fn change() -> impl Strategy<Value = Change> {
    let pieces: &[&[u8]] = &[
        b"\r\n",
        b"\r\n ",
        b"\"",
        b"<",
        b">",
        b";",
        b",",
        b":",
        b"@",
        b"%",
        b"%00",
        b"\\",
        b"\n",
        b"\r",
        b"\0",
        b"l: 5\r\n",
    ];
    prop_oneof![
        (any::<u16>(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (any::<u16>(), proptest::sample::select(pieces))
            .prop_map(|(at, piece)| Change::Insert(at, piece.to_vec())),
        (any::<u16>(), 1..40u8).prop_map(|(at, count)| Change::Remove(at, count)),
        (any::<u16>(), any::<u16>(), 1..80u8).prop_map(|(from, to, count)| Change::Move(from, to, count)),
    ]
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    let at = |place: u16, bytes: &[u8]| usize::from(place) % (bytes.len() + 1);
    match change {
        Change::Set(place, byte) => {
            let at = at(*place, bytes);
            if let Some(target) = bytes.get_mut(at) {
                *target = *byte;
            }
        }
        Change::Insert(place, piece) => {
            let at = at(*place, bytes);
            bytes.splice(at..at, piece.iter().copied());
        }
        Change::Remove(place, count) => {
            let from = at(*place, bytes);
            let to = (from + usize::from(*count)).min(bytes.len());
            bytes.drain(from..to);
        }
        Change::Move(from, to, count) => {
            let from = at(*from, bytes);
            let end = (from + usize::from(*count)).min(bytes.len());
            let piece: Vec<u8> = bytes[from..end].to_vec();
            let to = at(*to, bytes);
            bytes.splice(to..to, piece);
        }
    }
}

fn run<S: Strategy>(cases: u32, strategy: S, test: impl Fn(S::Value)) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]));
    let result = runner.run(&strategy, |value| {
        test(value);
        Ok(())
    });
    assert!(result.is_ok(), "{result:?}");
}

#[test]
fn mutated_messages_never_panic_and_answers_can_be_read() {
    let corpus = corpus();
    assert!(corpus.len() > 100);
    corpus.iter().for_each(|bytes| probe::message(bytes));
    let strategy = (proptest::sample::select(corpus), proptest::collection::vec(change(), 1..6));
    run(4000, strategy, |(mut bytes, changes)| {
        changes.iter().for_each(|change| apply(&mut bytes, change));
        probe::message(&bytes);
    });
}

#[test]
fn streams_of_mutated_messages_are_cut_the_same_in_any_pieces() {
    let messages = proptest::collection::vec(proptest::sample::select(corpus()), 1..5);
    let cuts = proptest::collection::vec(any::<u8>(), 1..8);
    run(1000, (messages, proptest::collection::vec(change(), 0..4), cuts), |(messages, changes, cuts)| {
        let mut stream = messages.concat();
        changes.iter().for_each(|change| apply(&mut stream, change));
        probe::framer(&cuts, &stream);
    });
}

#[test]
fn odd_uris_never_panic() {
    let alphabet: Vec<char> = "sipstel:@;?<>[]%01aZ.,&=+-_\"\\ /*#".chars().collect();
    let text = proptest::collection::vec(proptest::sample::select(alphabet), 0..40);
    run(
        20_000,
        (proptest::sample::select(vec!["", "sip:", "sips:", "tel:", "SIP/2.0/UDP "]), text),
        |(head, tail)| {
            probe::uri(format!("{head}{}", tail.into_iter().collect::<String>()).as_bytes());
        },
    );
}

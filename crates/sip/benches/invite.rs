//! Parse, the fields a call needs, rewrite: an INVITE of 862 bytes. The bar is 1.5 µs.

#![allow(missing_docs)] // criterion's macro makes a public function.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use sip::{Framing, Message};

#[path = "../tests/support/mod.rs"]
mod support;

fn invite(criterion: &mut Criterion) {
    let bytes = support::INVITE.as_bytes();
    assert_eq!(bytes.len(), 862);
    let mut out = Vec::with_capacity(2048);
    criterion.bench_function("parse an INVITE of 862 bytes", |b| {
        b.iter(|| Message::parse(black_box(bytes), Framing::Datagram).is_ok());
    });
    criterion.bench_function("parse, read and rewrite an INVITE of 862 bytes", |b| {
        b.iter(|| support::rewrite(black_box(bytes), &mut out).is_ok());
    });
    let rules = sip::verdict::Rules::default();
    criterion.bench_function("judge an INVITE of 862 bytes", |b| {
        let message = Message::parse(bytes, Framing::Datagram).expect("well formed");
        b.iter(|| sip::verdict::request(black_box(&message), &rules));
    });
}

criterion_group!(benches, invite);
criterion_main!(benches);

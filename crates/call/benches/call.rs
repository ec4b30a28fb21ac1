//! The machine's share of a whole call: INVITE, 100, 180, 200, ACK, BYE, 200 on both legs. The bar is 25 µs.

#![allow(missing_docs)] // criterion's macro makes a public function.

use criterion::{Criterion, criterion_group, criterion_main};
use trunk::settings::MediaMode;

#[path = "../tests/course/mod.rs"]
mod course;
#[path = "../tests/ladder/mod.rs"]
mod ladder;

fn whole_call(criterion: &mut Criterion) {
    for (name, mode) in [("direct", MediaMode::Direct), ("anchored", MediaMode::Anchored)] {
        let course = course::Course::new(mode);
        criterion.bench_function(&format!("a whole call, {name} media"), |b| b.iter(|| course.play()));
    }
}

criterion_group!(benches, whole_call);
criterion_main!(benches);

//! Three whole nodes, a caller and a callee in virtual time: the node that carries the calls dies, and they go on.

use std::process::Command;

use simulation::{Run, interpose};

#[test]
fn ten_seeds_of_a_dying_node_lose_no_call() {
    survives(1..=10);
}

#[test]
fn ten_more_seeds_of_a_dying_node_lose_no_call() {
    survives(11..=20);
}

fn survives(seeds: std::ops::RangeInclusive<u64>) {
    interpose(1);
    for seed in seeds {
        let run = Run::of(seed);
        assert!(run.violations.is_empty(), "seed {seed}: {}", run.violations[0]);
        assert!(run.figures.is_good(), "seed {seed}: {:#?}", run.figures);
        assert!(run.figures.held > 0, "seed {seed}: the node that died carried no calls: {:?}", run.figures);
        assert_ne!(run.figures.successor, run.figures.killed, "seed {seed}: nobody took the home");
    }
}

/// One seed per process: a world's chance is its process's.
#[test]
fn a_seed_is_one_world_in_any_process_and_another_seed_another() {
    let trace = |seed: &str| {
        let run = Command::new(env!("CARGO_BIN_EXE_banyan-sim")).args(["run", "--seed", seed]).output();
        let out = run.expect("the program runs").stdout;
        let text = String::from_utf8(out).expect("it writes text");
        text.lines().next().and_then(|line| line.split(" trace ").nth(1)).expect("a trace").to_owned()
    };
    let first = trace("7");
    assert_eq!(first, trace("7"));
    assert_ne!(first, trace("8"));
}

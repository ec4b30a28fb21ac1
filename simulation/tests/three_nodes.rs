//! Three whole nodes, a caller and a callee in virtual time: the node that carries the calls dies, and they go on.

use std::process::Command;

/// What the program writes, and whether it found all good.
fn sim(arguments: &[&str]) -> (String, bool) {
    let run = Command::new(env!("CARGO_BIN_EXE_banyan-sim")).args(arguments).output();
    let run = run.expect("the program runs");
    (String::from_utf8(run.stdout).expect("it writes text"), run.status.success())
}

#[test]
fn twenty_seeds_of_a_dying_node_lose_no_call() {
    let (said, good) = sim(&["sweep", "--seeds", "1..21"]);
    assert!(good, "{said}");
}

/// One seed per process: a world's chance is its process's.
#[test]
fn a_seed_is_one_world_in_any_process_and_another_seed_another() {
    let trace = |seed: &str| {
        let (said, good) = sim(&["run", "--seed", seed]);
        assert!(good, "{said}");
        said.lines().next().and_then(|line| line.split(" trace ").nth(1)).expect("a trace").to_owned()
    };
    let first = trace("7");
    assert_eq!(first, trace("7"));
    assert_ne!(first, trace("8"));
}

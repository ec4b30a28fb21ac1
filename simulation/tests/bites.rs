//! Every kind of fault bites: it is delivered, and the same world without it goes another way.

use std::process::Command;
use std::sync::Mutex;

/// What a world in a process of its own says.
fn world(seed: u64, kind: &str, without: bool) -> String {
    let mut run = Command::new(env!("CARGO_BIN_EXE_banyan-sim"));
    run.args(["run", "--digest", "--only", kind, "--seed", &seed.to_string()]);
    if without {
        run.args(["--faults", "none"]);
    }
    let run = run.output().expect("the program runs");
    let said = String::from_utf8(run.stdout).expect("it writes text");
    assert!(run.status.success(), "seed {seed} --only {kind}, without: {without}\n{said}");
    said
}

fn effects(said: &str, kind: &str) -> u64 {
    let line = said.lines().find_map(|line| line.strip_prefix("effects ")).expect("a line of effects");
    let pairs = line.split(' ').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(name, _)| *name == kind).filter_map(|(_, times)| times.parse::<u64>().ok()).sum()
}

fn trace(said: &str) -> &str {
    said.split(" trace ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a digest")
}

/// Whether one of some worlds shows the kind at work, and another outcome than without it.
fn bites(kind: &str) -> bool {
    (1..=SEEDS).any(|seed| {
        let with = world(seed, kind, false);
        if effects(&with, kind) == 0 {
            return false;
        }
        let without = world(seed, kind, true);
        // A probe of the end of a run is a re-INVITE too.
        assert!(kind == "reinvite" || effects(&without, kind) == 0, "{kind} without {kind}");
        trace(&with) != trace(&without)
    })
}

#[test]
fn every_kind_of_fault_is_delivered_and_changes_what_happens() {
    let catalogue = Command::new(env!("CARGO_BIN_EXE_banyan-sim")).arg("faults").output();
    let catalogue = String::from_utf8(catalogue.expect("the program runs").stdout).expect("it writes text");
    let kinds: Vec<&str> = catalogue.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(kinds.len() >= 40, "{} kinds", kinds.len());
    let (left, toothless) = (Mutex::new(kinds), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let Some(kind) = left.lock().expect("nobody panics with it").pop() else { return };
            if !bites(kind) {
                toothless.lock().expect("nobody panics with it").push(kind);
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
    assert_eq!(toothless.into_inner().expect("nobody panics with it"), [""; 0]);
}

/// In so many worlds of its own a kind must show once.
const SEEDS: u64 = 4;

//! Worlds with accounts are what they are drawn as: what meets nothing proves nothing.

use std::process::Command;

/// The trace of a seed's world, which must be a good one.
fn trace(seed: u64) -> String {
    let file = std::env::temp_dir().join(format!("banyan-accounts-{}-{seed}", std::process::id()));
    let mut run = Command::new(env!("CARGO_BIN_EXE_banyan-sim"));
    run.args(["run", "--seed", &seed.to_string(), "--trace"]).arg(&file);
    let said = run.output().expect("the program runs");
    assert!(said.status.success(), "seed {seed}: {}", String::from_utf8_lossy(&said.stdout));
    let text = std::fs::read_to_string(&file).expect("it has written its trace");
    std::fs::remove_file(&file).expect("it is ours");
    text
}

/// How many lines have all of these words, in order.
fn count(trace: &str, words: &[&str]) -> usize {
    let has = |line: &&str| {
        let mut rest = *line;
        words.iter().all(|word| rest.split_once(word).map(|(_, after)| rest = after).is_some())
    };
    trace.lines().filter(has).count()
}

#[test]
fn nodes_register_callees_challenge_the_pbx_is_called_and_the_stranger_knocks_in_vain() {
    let all: String = SEEDS.into_iter().map(trace).collect();
    for (what, words) in [
        ("node 1 registers", &["put@1 ", "> 10.0.4.1:5060", "REGISTER"][..]),
        ("node 2 registers", &["put@2 ", "> 10.0.4.1:5060", "REGISTER"]),
        ("node 3 registers", &["put@3 ", "> 10.0.4.1:5060", "REGISTER"]),
        ("the registrar challenges", &["put@0 10.0.4.1:5060", "401 Unauthorized"]),
        ("the registrar grants", &["put@0 10.0.4.1:5060", "200 OK"]),
        ("the registrar is busy", &["put@0 10.0.4.1:5060", "503 Service"]),
        ("a PBX registers", &["put@0 10.0.2.", ":5070", "REGISTER"]),
        ("it is called where it is", &["put@", "INVITE sip:desk-1@10.0.2."]),
        ("a callee challenges", &["put@0 10.0.2.", "407 Proxy"]),
        ("the stranger knocks", &["put@0 10.0.6.66", "INVITE"]),
        ("and somebody is there", &["got@1 10.0.6.66"]),
    ] {
        assert!(count(&all, words) > 0, "{what}");
    }
    assert_eq!(count(&all, &["put@", "> 10.0.6.66"]), 0, "nobody answers the stranger");
}

/// Two accounts, each trouble of the registrar, and every sort of peer among them.
const SEEDS: [u64; 4] = [9, 23, 34, 97];

//! The house rules of ARCHITECTURE.md that a machine can hold: who may use whom, what is absent where,
//! and how large things may grow.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use tests::manifest::{self, Manifest};
use tests::ratchet;
use tests::source::{self, Source};

/// The layer of each crate; a crate may name crates of lower layers only.
const LAYERS: &[(u8, &[&str])] = &[
    (0, &["machine", "env", "syscall"]),
    (1, &["auth", "sip", "sdp"]),
    (2, &["transaction", "dialog", "media", "trunk", "peer"]),
    (3, &["call"]),
    (4, &["cluster", "transport", "config"]),
    (5, &["node"]),
    (6, &["api", "simulation"]),
    (7, &["banyan", "tests", "xtask"]),
];

/// Pairs inside one layer that the rule above would forbid, each with its reason.
const SAME_LAYER: &[(&str, &str)] = &[
    // Seams speak of instants.
    ("env", "machine"),
];

/// Crates of layers 0 to 3 that touch nothing: no sockets, files, threads, clocks, chance, locks, async.
const PURE: &[&str] =
    &["machine", "env", "auth", "sip", "sdp", "transaction", "dialog", "media", "trunk", "call"];

/// Words that betray a system call, a clock, chance, a lock or an order that differs from run to run.
const IMPURE: &[&str] = &[
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "UnixStream",
    "fs",
    "File",
    "thread",
    "process",
    "SystemTime",
    "tokio",
    "ractor",
    "rustix",
    "libc",
    "socket2",
    "async",
    "await",
    "Mutex",
    "RwLock",
    "Condvar",
    "thread_rng",
    "HashMap",
    "HashSet",
    "println",
    "eprintln",
    "unsafe",
];

/// The few impure words that a pure crate may use, each with its reason.
const PURE_EXCEPTIONS: &[(&str, &str)] = &[
    // The seams are the declaration of what a shell must bring.
    ("env", "async"),
    ("env", "await"),
];

/// What each crate does not know (ARCHITECTURE.md, "Absences"): words that its product code may not contain.
const ABSENT: &[(&str, &[&str])] = &[
    ("sip", &["Udp", "Tcp", "datagram_socket", "socket"]),
    ("dialog", &["ingress", "egress", "Leg", "leg"]),
    ("transaction", &["Dialog", "dialog"]),
    ("trunk", &["leader", "Leader", "raft"]),
    ("call", &["replica", "replicated", "raft", "quorum", "cluster"]),
];

/// Crates that one place alone may name: the crate, the folders or files, and how many files at most.
const CONFINED: &[(&str, &[&str], usize)] = &[
    ("openraft", &["cluster/src/raft/"], usize::MAX),
    ("quinn", &["cluster/src/link/"], usize::MAX),
    ("bincode", &["cluster/src"], 1),
    ("rsip", &["crates/peer/src"], usize::MAX),
    ("ractor", &["crates/node/src"], usize::MAX),
];

/// Where `unsafe` may stand: the listed syscall crate, the simulation's interposed entropy, and tests that count
/// allocations (`GlobalAlloc` is an unsafe trait).
const UNSAFE: &[&str] = &[
    "crates/syscall/src/",
    "simulation/src/entropy.rs",
    "crates/sip/tests/allocations.rs",
    "crates/call/tests/allocations.rs",
];

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;

#[test]
fn every_crate_names_only_crates_of_lower_layers() {
    let members = manifest::members();
    let mut wrong = Vec::new();
    for member in &members {
        let layer = layer(&member.name);
        for used in member.dependencies.iter().filter(|used| is_member(&members, used)) {
            let same = SAME_LAYER.contains(&(member.name.as_str(), used.as_str()));
            if layer <= self::layer(used) && !same {
                wrong.push(format!(
                    "{} (layer {layer}) names {used} (layer {})",
                    member.name,
                    self::layer(used)
                ));
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn every_member_has_a_layer_and_every_layer_its_members() {
    let mut members: Vec<_> = manifest::members().into_iter().map(|member| member.name).collect();
    let mut layered: Vec<_> =
        LAYERS.iter().flat_map(|(_, names)| names.iter().map(|name| (*name).to_owned())).collect();
    members.sort();
    layered.sort();
    assert_eq!(members, layered);
}

#[test]
fn the_product_is_what_a_plain_build_builds() {
    let root = fs::read_to_string(source::root().join("Cargo.toml")).expect("the root manifest");
    assert!(root.contains("default-members = [\"crates/banyan\"]"));
}

/// Tests are built with all crates at once, where features unify; users build the product alone.
#[test]
fn no_feature_of_a_test_crate_reaches_the_product() {
    let tree = |package: &str| {
        let cargo = Command::new(env!("CARGO"))
            .args(["tree", "--offline", "--edges", "features,normal,build", "--package", package])
            .current_dir(source::root())
            .output();
        String::from_utf8(cargo.expect("cargo runs").stdout).expect("names of crates are text")
    };
    let tests_time = "tokio feature \"test-util\"";
    assert!(tree("simulation").contains(tests_time), "the sign that this looks for");
    assert!(!tree("banyan").contains(tests_time));
}

#[test]
fn only_tests_and_xtask_use_the_simulation() {
    let wrong: Vec<_> = manifest::members()
        .into_iter()
        .filter(|member| !["tests", "xtask", "simulation"].contains(&member.name.as_str()))
        .filter(|member| member.dependencies.iter().chain(&member.for_tests).any(|used| used == "simulation"))
        .map(|member| format!("{} names simulation", member.name))
        .collect();
    assert_none(&wrong);
}

#[test]
fn versions_and_lints_come_from_the_root() {
    let mut wrong = Vec::new();
    for member in manifest::members() {
        wrong.extend(
            member.own_versions.iter().map(|used| format!("{}: {used} has its own version", member.name)),
        );
        if !member.lints {
            wrong.push(format!("{} does not take the workspace's lints", member.name));
        }
    }
    assert_none(&wrong);
}

#[test]
fn pure_crates_touch_no_system() {
    let mut wrong = Vec::new();
    for member in manifest::members().iter().filter(|member| PURE.contains(&member.name.as_str())) {
        let allowed = |word: &str| PURE_EXCEPTIONS.contains(&(member.name.as_str(), word));
        for file in product(member) {
            let code = file.product();
            for (line, word) in source::words(&code) {
                if IMPURE.contains(&word) && !allowed(word) {
                    wrong.push(format!("{}:{line}: {word}", file.path));
                }
            }
            for pattern in ["Instant::now", "rand::rng(", "rand::random"] {
                wrong.extend(
                    lines_with(&code, pattern).map(|line| format!("{}:{line}: {pattern}", file.path)),
                );
            }
        }
    }
    assert_none(&wrong);
}

/// `peer` may be async, but only its shell and its cheap generator touch sockets and clocks.
#[test]
fn peers_touch_the_system_in_their_shell_alone() {
    let mut wrong = Vec::new();
    for file in source::below("crates/peer/src") {
        if file.path.contains("/src/shell/") || file.path.contains("/src/strict/") {
            continue;
        }
        for (line, word) in source::words(&file.product()) {
            if ["UdpSocket", "TcpStream", "TcpListener", "fs", "thread", "SystemTime"].contains(&word) {
                wrong.push(format!("{}:{line}: {word}", file.path));
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn crates_do_not_know_what_they_must_not() {
    let mut wrong = Vec::new();
    for member in manifest::members() {
        let Some((_, absent)) = ABSENT.iter().find(|(name, _)| *name == member.name) else { continue };
        for file in product(&member) {
            for (line, word) in source::words(&file.product()) {
                if absent.contains(&word) {
                    wrong.push(format!("{}:{line}: {word}", file.path));
                }
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn cluster_never_parses_sip() {
    let members = manifest::members();
    let cluster = members.iter().find(|member| member.name == "cluster").expect("cluster is a member");
    assert!(!cluster.dependencies.iter().any(|used| used == "sip"));
}

#[test]
fn confined_crates_stay_where_they_are_listed() {
    let files: Vec<_> = manifest::members().iter().flat_map(product).collect();
    let wrong: Vec<_> = CONFINED
        .iter()
        .flat_map(|(name, places, files_max)| outside(&files, name, places, *files_max))
        .collect();
    assert_none(&wrong);
}

#[test]
fn a_crate_named_outside_its_place_is_found() {
    let files = [
        Source::new("cluster/src/link/streams.rs", "use quinn::Connection;"),
        Source::new("cluster/src/links.rs", "fn f(c: quinn::Connection) {}"),
        Source::new("crates/node/src/node.rs", "// quinn\nconst WORD: &str = \"quinn\";"),
    ];
    let link = ["cluster/src/link/"];
    assert_eq!(outside(&files, "quinn", &link, usize::MAX), ["cluster/src/links.rs names quinn"]);
    assert_eq!(
        outside(&files, "quinn", &["cluster/src"], 1),
        ["quinn is named in 2 files: cluster/src/link/streams.rs, cluster/src/links.rs"]
    );
}

/// The transport between nodes is behind a seam: whoever depends on it at all is the crate that holds the link.
#[test]
fn only_cluster_depends_on_the_transport_between_nodes() {
    let wrong: Vec<_> = manifest::members()
        .into_iter()
        .filter(|member| member.name != "cluster")
        .flat_map(|member| {
            let named: Vec<_> = member.dependencies.iter().chain(&member.for_tests).cloned().collect();
            named.into_iter().map(move |used| (member.name.clone(), used))
        })
        .filter(|(_, used)| used.starts_with("quinn"))
        .map(|(member, used)| format!("{member} depends on {used}"))
        .collect();
    assert_none(&wrong);
}

#[test]
fn unsafe_code_stays_in_the_listed_places() {
    let wrong: Vec<_> = all()
        .iter()
        .filter(|file| !UNSAFE.iter().any(|place| file.path.starts_with(place)))
        .flat_map(|file| {
            source::words(&file.code)
                .filter(|(_, word)| ["unsafe", "unsafe_code"].contains(word))
                .map(|(line, word)| format!("{}:{line}: {word}", file.path))
                .collect::<Vec<_>>()
        })
        .collect();
    assert_none(&wrong);
}

#[test]
fn every_file_says_what_it_is() {
    let wrong: Vec<_> =
        all().iter().filter(|file| !file.text.starts_with("//!")).map(|file| file.path.clone()).collect();
    assert_none(&wrong);
}

#[test]
fn no_test_is_ignored_and_no_work_is_left_in_a_macro() {
    let mut wrong = Vec::new();
    for file in all() {
        for pattern in ["#[ignore", "todo!(", "unimplemented!(", "dbg!("] {
            wrong.extend(
                lines_with(&file.code, pattern).map(|line| format!("{}:{line}: {pattern}", file.path)),
            );
        }
    }
    assert_none(&wrong);
}

/// A bug that is planted nowhere proves nothing, and one that is not in the table is never hunted.
#[test]
fn planted_bugs_are_those_of_the_museum() {
    let mut planted: Vec<String> = Vec::new();
    for file in all().iter().filter(|file| !file.path.contains("/museum/")) {
        let calls = file.text.split("planted(\"").skip(1);
        planted.extend(calls.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
    }
    planted.sort();
    planted.dedup();
    let mut listed: Vec<_> = machine::museum::PLANTS.iter().map(|plant| plant.name).collect();
    listed.sort_unstable();
    assert_eq!(planted, listed);
}

#[test]
fn files_and_functions_grow_no_further() {
    let mut actual = ratchet::Excess::new();
    for file in all() {
        let lines = file.text.lines().count();
        if lines > FILE_LINES_MAX {
            actual.insert(format!("file {}", file.path), lines);
        }
        for function in file.functions().iter().filter(|function| function.lines > FUNCTION_LINES_MAX) {
            actual.insert(format!("fn {}::{}", file.path, function.name), function.lines);
        }
    }
    let path = source::root().join("tests/tests/ratchet.txt");
    let listed = ratchet::parse(&fs::read_to_string(&path).expect("the ratchet's list"));
    if std::env::var("BANYAN_RATCHET").as_deref() == Ok("shrink") {
        let shrunk = ratchet::print(&ratchet::shrink(&listed, &actual));
        fs::write(&path, shrunk).expect("the ratchet's list is writable");
        return;
    }
    assert_none(&ratchet::judge(&listed, &actual));
}

fn layer(name: &str) -> u8 {
    LAYERS.iter().find(|(_, names)| names.contains(&name)).map_or(u8::MAX, |(layer, _)| *layer)
}

fn is_member(members: &[Manifest], name: &str) -> bool {
    members.iter().any(|member| member.name == name)
}

/// The files that end up in the crate: its `src`.
fn product(member: &Manifest) -> Vec<Source> {
    source::below(&format!("{}/src", member.folder))
}

/// Every Rust file that somebody wrote.
fn all() -> Vec<Source> {
    ["crates", "cluster", "simulation", "tests"].iter().flat_map(|folder| source::below(folder)).collect()
}

/// Where a crate is named that belongs to `places` alone, and whether it is named in too many files.
fn outside(files: &[Source], name: &str, places: &[&str], files_max: usize) -> Vec<String> {
    let names = |file: &&Source| source::words(&file.code).any(|(_, word)| word == name);
    let named: Vec<_> = files.iter().filter(names).map(|file| file.path.as_str()).collect();
    let strays = named.iter().filter(|path| !places.iter().any(|place| path.starts_with(place)));
    let mut wrong: Vec<_> = strays.map(|path| format!("{path} names {name}")).collect();
    if named.len() > files_max {
        wrong.push(format!("{name} is named in {} files: {}", named.len(), named.join(", ")));
    }
    wrong
}

fn lines_with<'a>(code: &'a str, pattern: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.lines().enumerate().filter(move |(_, line)| line.contains(pattern)).map(|(index, _)| index + 1)
}

/// Fails with every finding, grouped by nothing: a list is what one works through.
fn assert_none(findings: &[String]) {
    let distinct: BTreeMap<_, ()> = findings.iter().map(|finding| (finding, ())).collect();
    let text: Vec<_> = distinct.keys().map(|finding| finding.as_str()).collect();
    assert!(text.is_empty(), "{} finding(s):\n{}", text.len(), text.join("\n"));
}

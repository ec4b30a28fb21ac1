//! The suite: the same stages for `test` (what continuous integration runs) and `prove` (full lengths).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::shell::{self, Failure, PROFILE, Run};
use crate::stages::Stages;
use crate::{corpus, deny, fuzz, lint, museum, packages};

/// How long the stages with a length take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// Short: seconds each.
    Test,
    /// As long as the shows say.
    Prove,
}

impl Length {
    fn suite(self) -> &'static str {
        match self {
            Self::Test => "test",
            Self::Prove => "prove",
        }
    }

    fn fuzz_seconds(self) -> u32 {
        match self {
            Self::Test => 12,
            Self::Prove => 300,
        }
    }
}

/// All stages, cheapest answer first; `corpus` is where the messages of RFC 4475 and 5118 are, for who has them.
pub fn stages(length: Length, corpus: Option<PathBuf>) -> Stages {
    let stages = Stages::new(length.suite())
        .stage("packages", packages::tests)
        .stage("format", lint::format)
        .stage("build", build)
        .stage("unit", unit)
        .stage("docs-examples", doc_tests)
        .stage("architecture", || tests_of("architecture").run())
        .stage("simulation", simulation)
        .stage("clippy", lint::clippy)
        .stage("docs", lint::docs)
        .stage("deny", deny::check)
        .stage("scenarios", move || scenarios(length));
    let stages = match corpus {
        Some(corpus) => stages.stage("corpus", move || corpus::check(&corpus)),
        None => stages,
    };
    let stages = match length {
        // Building it takes minutes, and it proves the tests, not the product.
        Length::Test => stages,
        Length::Prove => stages.stage("museum", museum::all),
    };
    stages.stage("fuzz", move || fuzz::run(length.fuzz_seconds(), &[]))
}

/// The node as users get it: alone, so that no feature of a test crate reaches it.
pub fn product() -> Result<(), Failure> {
    Run::cargo("build").args(["--profile", PROFILE, "--package", "banyan"]).run()
}

/// Everything at once, as all stages after this one want it. The product alone would have other features, and its
/// crates would be built twice; that none of a test crate reaches it, the architecture test holds. Benches are not run
/// here: stage `clippy` reads them.
fn build() -> Result<(), Failure> {
    let targets = ["--lib", "--bins", "--tests", "--examples"];
    Run::cargo("build").args(["--profile", PROFILE, "--workspace"]).args(targets).run()
}

fn unit() -> Result<(), Failure> {
    workspace_test().args(["--lib", "--bins"]).run()
}

fn doc_tests() -> Result<(), Failure> {
    workspace_test().args(["--doc"]).run()
}

/// Whole nodes in virtual time, and the crates' tests from outside. Ladders run the same nodes.
fn simulation() -> Result<(), Failure> {
    let names = outside_tests()?;
    let chosen = names.iter().map(String::as_str).chain(["ladders"]).flat_map(|name| ["--test", name]);
    workspace_test().args(chosen).run()
}

/// The names of all crates' tests from outside but those of `tests`. Not `--exclude`: that is another selection of packages.
fn outside_tests() -> Result<BTreeSet<String>, Failure> {
    let root = shell::root();
    let crates = entries(&root.join("crates"))?;
    let mut names = BTreeSet::new();
    for home in crates.into_iter().chain([root.join("cluster"), root.join("simulation")]) {
        let folder = home.join("tests");
        let files = if folder.is_dir() { entries(&folder)? } else { Vec::new() };
        let tests = files
            .iter()
            .filter(|it| it.extension().is_some_and(|it| it == "rs") || it.join("main.rs").is_file());
        names.extend(tests.filter_map(|it| Some(it.file_stem()?.to_string_lossy().into_owned())));
    }
    Ok(names)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error| Failure::File { path: folder.to_owned(), error };
    let entries = std::fs::read_dir(folder).map_err(failed)?;
    entries.map(|entry| Ok(entry.map_err(failed)?.path())).collect()
}

/// Scenarios against the binary that stage `build` left. Those that load the machine, or use an address that there is
/// only one of, have it to themselves; the others mostly wait, so two of them share it.
fn scenarios(length: Length) -> Result<(), Failure> {
    let run = |threads: &str| scenario_run(length).args(["--test-threads", threads]);
    let apart = ONE_ADDRESS.iter().chain(&ALONE).flat_map(|name| ["--skip", name]);
    run("2").args(apart).run()?;
    run("1").args(ONE_ADDRESS.iter().chain(&ALONE)).run()
}

fn scenario_run(length: Length) -> Run {
    let run = tests_of("scenarios").args(["--"]).env("BANYAN_BIN", shell::banyan());
    match length {
        Length::Test => run,
        // Uncaptured: two hundred kills take minutes, and each says that it was survived.
        Length::Prove => run.args(["--nocapture"]).env("BANYAN_PROVE", "1"),
    }
}

/// Scenarios whose telephones speak from 127.0.0.1, by the start of their module's name.
const ONE_ADDRESS: [&str; 5] = ["t30_audio", "t30_digest", "t30_srtp", "t30_takeover", "t30_tls"];

/// Scenarios that want the machine to themselves.
const ALONE: [&str; 4] = ["t10_", "t50_flood", "t60_exact", "t60_held"];

/// One file of `tests/tests`.
fn tests_of(name: &str) -> Run {
    workspace_test().args(["--test", name])
}

/// Always the whole workspace: another selection of packages would unify features in another way and build
/// the same crates again.
fn workspace_test() -> Run {
    Run::cargo("test").args(["--profile", PROFILE, "--workspace"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corpus_is_a_stage_only_where_there_is_one() {
        let only = ["corpus".to_owned()];
        assert!(stages(Length::Prove, None).select(&only, &[]).is_err());
        assert!(stages(Length::Prove, Some("/nowhere".into())).select(&only, &[]).is_ok());
    }

    #[test]
    fn tests_from_outside_are_found_by_their_files_and_those_of_the_process_are_not_among_them() {
        let names = outside_tests().expect("the repository can be read");
        for name in ["three_nodes", "suite", "http", "t30_redirect"] {
            assert!(names.contains(name), "{names:?}");
        }
        // What a test has beside itself is no test.
        assert!(!names.contains("scenarios") && !names.contains("support"), "{names:?}");
    }

    #[test]
    fn the_museum_is_a_stage_of_prove_alone() {
        let only = ["museum".to_owned()];
        assert!(stages(Length::Test, None).select(&only, &[]).is_err());
        assert!(stages(Length::Prove, None).select(&only, &[]).is_ok());
    }

    #[test]
    fn prove_runs_each_fuzz_target_for_five_minutes() {
        assert_eq!((Length::Test.fuzz_seconds(), Length::Prove.fuzz_seconds()), (12, 300));
    }
}

//! `cargo deny`: one pinned version, built once and kept below the target folder.

use std::path::PathBuf;

use crate::shell::{self, Failure, Run};

/// Licences, bans and sources of every dependency.
///
/// The advisory database needs a network of its own, so `cargo deny check advisories` is not a stage.
pub fn check() -> Result<(), Failure> {
    let program = installed()?;
    Run::new(program).args(["check", "bans", "licenses", "sources"]).run()
}

/// The path of the pinned version, building it first where it is missing.
fn installed() -> Result<PathBuf, Failure> {
    let tools = shell::target().join("tools");
    let program = tools.join("bin/cargo-deny");
    if is_pinned(&program) {
        return Ok(program);
    }
    // A debug build: it takes a third of the time, and one check takes three seconds either way.
    Run::cargo("install")
        .args(["--locked", "--debug", "--force", "--quiet", &format!("cargo-deny@{VERSION}"), "--root"])
        .args([&tools])
        .env("CARGO_TARGET_DIR", tools.join("build"))
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .run()?;
    let build = tools.join("build");
    std::fs::remove_dir_all(&build).map_err(|error| Failure::File { path: build, error })?;
    Ok(program)
}

fn is_pinned(program: &PathBuf) -> bool {
    program.is_file()
        && Run::new(program)
            .args(["--version"])
            .read()
            .is_ok_and(|answer| answer.split_whitespace().any(|word| word == VERSION))
}

const VERSION: &str = "0.20.2";

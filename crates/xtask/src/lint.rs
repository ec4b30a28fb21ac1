//! Stages that only read: format, clippy, documentation, dependency policy.

use crate::deny;
use crate::shell::{Failure, PROFILE, Run};
use crate::stages::Stages;

/// `cargo xtask lint`.
pub fn run() -> Result<(), Failure> {
    Stages::new("lint")
        .stage("format", format)
        .stage("clippy", clippy)
        .stage("docs", docs)
        .stage("deny", deny::check)
        .run()
}

/// The formatter agrees with every file.
pub fn format() -> Result<(), Failure> {
    Run::cargo("fmt").args(["--all", "--check"]).run()?;
    // A workspace of its own.
    Run::cargo("fmt").args(["--manifest-path", "tests/fuzz/Cargo.toml", "--check"]).run()
}

/// Clippy finds nothing, tests and benches included.
pub fn clippy() -> Result<(), Failure> {
    Run::cargo("clippy")
        .args(["--profile", PROFILE, "--workspace", "--all-targets", "--", "-D", "warnings"])
        .run()
}

/// Every public item is documented and every link leads somewhere.
pub fn docs() -> Result<(), Failure> {
    Run::cargo("doc")
        .args(["--profile", PROFILE, "--workspace", "--no-deps"])
        .env("RUSTDOCFLAGS", "-D warnings")
        .run()
}

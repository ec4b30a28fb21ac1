//! `cargo xtask bench`: build what is measured and what measures, then measure.

use crate::packages;
use crate::shell::{self, Failure, Run};

/// Builds the node and the bench binary with the release profile and runs the bench.
///
/// Release, not `ci`: assertions and overflow checks are not what users run.
pub fn run(arguments: &[String]) -> Result<(), Failure> {
    packages::bench()?;
    Run::cargo("build").args(["--release", "--package", "banyan"]).run()?;
    Run::cargo("build").args(["--release", "--package", "tests", "--bin", "bench"]).run()?;
    let release = shell::target().join("release");
    Run::new(release.join("bench"))
        .args(arguments)
        .env("BANYAN_BIN", release.join("banyan"))
        .speaks_for_itself()
        .run()
}

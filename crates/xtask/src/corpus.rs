//! `cargo xtask explain-corpus`: the messages of RFC 4475 and 5118, which the repository does not hold.

use std::path::Path;

use crate::shell::{self, Failure, PROFILE, Run};
use crate::suite;

/// Builds the node, then what compares.
pub fn run(corpus: &Path) -> Result<(), Failure> {
    suite::product()?;
    check(corpus)
}

/// Compares what `banyan explain` says of each message below `corpus` with the tables of `tests/torture`.
pub fn check(corpus: &Path) -> Result<(), Failure> {
    // The whole workspace, as for the tests: what they have built serves here, too.
    Run::cargo("build").args(["--profile", PROFILE, "--workspace", "--bin", "corpus"]).run()?;
    // Commands run at the root of the repository; the user may stand elsewhere.
    let corpus =
        std::path::absolute(corpus).map_err(|error| Failure::File { path: corpus.to_owned(), error })?;
    Run::new(shell::target().join(PROFILE).join("corpus"))
        .args([corpus])
        .env("BANYAN_BIN", shell::banyan())
        .run()
}

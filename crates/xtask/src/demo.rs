//! `cargo xtask demo`: build the node, then let it show itself.

use crate::shell::{self, Failure, Run};
use crate::suite;

/// Builds the node and hands the rest of the line to `banyan demo`.
pub fn run(arguments: &[String]) -> Result<(), Failure> {
    suite::product()?;
    Run::new(shell::banyan()).args(["demo"]).args(arguments).speaks_for_itself().run()
}

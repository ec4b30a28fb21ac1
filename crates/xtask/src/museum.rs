//! `cargo xtask museum`: a simulation that can plant bugs, and the hunt for each of them.

use crate::shell::{self, Failure, PROFILE, Run};

/// Builds the simulation with its museum open, and lets it hunt.
///
/// A folder of its own: the flag reaches every crate, and would have the usual build begin anew.
pub fn run(arguments: &[String]) -> Result<(), Failure> {
    let target = shell::target().join("museum");
    Run::cargo("build")
        .args(["--profile", PROFILE, "--package", "simulation", "--target-dir"])
        .args([&target])
        .env("RUSTFLAGS", "--cfg banyan_museum")
        .run()?;
    Run::new(target.join(PROFILE).join("banyan-sim"))
        .args(["museum"])
        .args(arguments)
        .speaks_for_itself()
        .run()
}

/// The whole of it, as many seeds at once as there are cores.
pub fn all() -> Result<(), Failure> {
    let at_once = std::thread::available_parallelism().map_or(1, usize::from);
    run(&["--jobs".to_owned(), at_once.to_string()])
}

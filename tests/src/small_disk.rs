//! A node whose data directory is a small file system that only it sees, in a mount namespace of its own.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use crate::node::{Node, binary};
use crate::process::Process;

/// The words to put before a node's command line.
pub fn launcher(size: &str) -> Vec<String> {
    let mut words = vec!["unshare".to_owned()];
    if !rustix::process::geteuid().is_root() {
        words.push("--map-root-user".to_owned());
    }
    // What follows is `binary server --config FILE`.
    let script = format!(
        "data=$(dirname \"$4\")/data && mkdir -p \"$data\" && mount -t tmpfs -o size={size} none \"$data\" && exec \"$@\""
    );
    words.extend(["--mount", "--propagation", "private", "sh", "-c"].map(str::to_owned));
    words.extend([script, "sh".to_owned()]);
    words
}

/// Starts a node so.
///
/// # Panics
/// When `unshare` can't be started.
pub fn start(node: &mut Node, size: &str) {
    let words = launcher(size);
    let (program, words) = words.split_first().expect("the launcher has a name");
    let mut command = Command::new(program);
    let config = node.dir().join("node.toml");
    command.args(words).arg(binary()).args(["server", "--config"]).arg(config);
    node.spawn_command(&mut command);
}

/// Fills the node's file system, through the kernel's view of the process.
///
/// # Panics
/// When it can't be seen.
pub fn fill(node: &Node) {
    let mut filler = File::create(filler(node)).expect("the node's file system can be seen");
    let block = [1_u8; 65_536];
    while filler.write_all(&block).is_ok() {}
}

/// Makes room again.
///
/// # Panics
/// When it was not filled.
pub fn empty(node: &Node) {
    fs::remove_file(filler(node)).expect("it was filled");
}

fn filler(node: &Node) -> PathBuf {
    let id = node.process().map_or(0, Process::id);
    format!("/proc/{id}/root{}/filler", node.data_dir().display()).into()
}

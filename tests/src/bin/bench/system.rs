//! What `/proc` says of a process and all its children, and how a command is pinned.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::BenchError;

/// The core of what is measured.
pub const SUBJECT_CORE: u32 = 0;
/// The core of what measures.
pub const GENERATOR_CORE: u32 = 1;

/// What stands before a command line that is to run on one core, in real time where that is permitted.
pub fn pin(core: u32, real_time: bool) -> Vec<String> {
    let mut words = vec!["taskset".to_owned(), "-c".to_owned(), core.to_string()];
    if real_time {
        words.extend(["chrt", "-f", "10"].map(str::to_owned));
    }
    words
}

/// A command line that runs `program` on one core, in real time where that is permitted.
pub fn pinned(core: u32, real_time: bool, program: &str) -> Command {
    let words = pin(core, real_time);
    let mut words = words.iter().map(String::as_str).chain([program]);
    let mut command = Command::new(words.next().unwrap_or(program));
    command.args(words);
    command
}

/// Whether `chrt -f` is permitted here.
pub fn real_time_permitted() -> bool {
    Command::new("chrt").args(["-f", "10", "true"]).output().is_ok_and(|output| output.status.success())
}

/// The process and all its descendants.
pub fn tree(root: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if let Some(parent) = stat(id).and_then(|fields| fields.get(1)?.parse().ok()) {
            children.entry(parent).or_default().push(id);
        }
    }
    let (mut found, mut left) = (Vec::new(), vec![root]);
    while let Some(id) = left.pop() {
        found.push(id);
        left.extend(children.remove(&id).unwrap_or_default());
    }
    found
}

/// User and system CPU of processes, in seconds.
pub fn cpu_s(processes: &[u32]) -> f64 {
    let ticks: u64 = processes
        .iter()
        .filter_map(|id| {
            let fields = stat(*id)?;
            // Fields 14 and 15 of proc(5), counted from the state, which is field 3.
            Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
        })
        .sum();
    ticks as f64 / TICKS_PER_SECOND
}

/// Proportional memory of processes, in KiB: what is shared counts once.
pub fn memory_kib(processes: &[u32]) -> u64 {
    let of = |id: &u32| {
        let rollup = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).ok()?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    processes.iter().filter_map(of).sum()
}

/// Refuses a directory that is in memory.
///
/// # Errors
/// When it is.
pub fn refuse_memory(dir: &Path) -> Result<(), BenchError> {
    let system = rustix::fs::statfs(dir)
        .map_err(|error| BenchError::System { what: "statfs of the data directory", error: error.into() })?;
    // linux/magic.h: TMPFS_MAGIC, RAMFS_MAGIC.
    if [0x0102_1994_u64, 0x8584_58f6].contains(&(system.f_type as u64)) {
        return Err(BenchError::Memory(dir.display().to_string()));
    }
    Ok(())
}

/// The fields of `/proc/ID/stat` from the state on (the name before it may hold spaces).
fn stat(id: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    Some(fields.split(' ').map(str::to_owned).collect())
}

/// What `/proc` counts CPU time in, on every architecture (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

//! Fuzz targets without cargo-fuzz: libFuzzer needs coverage flags and a loop, and both are here.
//!
//! The targets are the `[[bin]]`s of `tests/fuzz`, a workspace of its own so that instrumented
//! crates never mix with ours. The code under test has no `unsafe`, so no address sanitizer is
//! needed, and the stable compiler does.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use crate::shell::{self, Failure, Run};

/// Builds the targets and runs each for `seconds`, as many at once as there are cores.
pub fn run(seconds: u32, wanted: &[String]) -> Result<(), Failure> {
    let folder = shell::root().join("tests/fuzz");
    let known = targets(&read(&folder.join("Cargo.toml"))?);
    if let Some(name) = wanted.iter().find(|name| !known.contains(name)) {
        return Err(Failure::Unknown { what: "fuzz target", name: name.clone(), known });
    }
    let chosen = if wanted.is_empty() { known } else { wanted.to_vec() };
    let binaries = build(&folder)?;
    let at_once = std::thread::available_parallelism().map_or(1, usize::from);
    for batch in chosen.chunks(at_once) {
        let running: Result<Vec<_>, _> =
            batch.iter().map(|target| Fuzzing::start(&folder, &binaries, target, seconds)).collect();
        // All of them, before the first failure is told: none is left running alone.
        let outcomes: Vec<_> = running?.into_iter().map(Fuzzing::finish).collect();
        outcomes.into_iter().collect::<Result<(), _>>()?;
    }
    Ok(())
}

/// One target that runs.
struct Fuzzing {
    target: String,
    child: Child,
    line: String,
    log: PathBuf,
    binary: PathBuf,
    artifacts: PathBuf,
}

impl Fuzzing {
    fn start(folder: &Path, binaries: &Path, target: &str, seconds: u32) -> Result<Self, Failure> {
        let corpus = folder.join("corpus").join(target);
        let seeds = folder.join("seeds").join(target);
        let artifacts = folder.join("artifacts").join(target);
        for dir in [&corpus, &artifacts] {
            fs::create_dir_all(dir).map_err(|error| Failure::File { path: dir.clone(), error })?;
        }
        let binary = binaries.join(target);
        let mut run = Run::new(&binary).args([&corpus]);
        if seeds.is_dir() {
            run = run.args([&seeds]);
        }
        let run = run.args([
            format!("-max_total_time={seconds}"),
            "-max_len=65536".to_owned(),
            "-timeout=10".to_owned(),
            "-rss_limit_mb=2048".to_owned(),
            "-print_final_stats=1".to_owned(),
            format!("-artifact_prefix={}/", artifacts.display()),
        ]);
        let log = binaries.join(format!("{target}.log"));
        let output = File::create(&log).map_err(|error| Failure::File { path: log.clone(), error })?;
        let errors = output.try_clone().map_err(|error| Failure::File { path: log.clone(), error })?;
        let line = run.line();
        println!("   $ {line}");
        let child = run
            .command()
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(|error| Failure::Unstarted { line: line.clone(), error })?;
        Ok(Self { target: target.to_owned(), child, line, log, binary, artifacts })
    }

    fn finish(mut self) -> Result<(), Failure> {
        let status = self.wait()?;
        let log = read(&self.log)?;
        if status.success() {
            println!("   fuzz {}: no crash; {}", self.target, statistics(&log));
            return Ok(());
        }
        let lines: Vec<_> = log.lines().collect();
        println!("{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        let artifact = log
            .lines()
            .find_map(|line| line.split_once("Test unit written to ").map(|(_, path)| path.trim().to_owned()))
            .unwrap_or_else(|| self.artifacts.join("*").display().to_string());
        Err(Failure::Fuzz { target: self.target, replay: format!("{} {artifact}", self.binary.display()) })
    }
}

impl Fuzzing {
    /// Waits for the end, and says each minute how far it is.
    fn wait(&mut self) -> Result<ExitStatus, Failure> {
        for second in 1_u32.. {
            let ended = self.child.try_wait();
            let ended = ended.map_err(|error| Failure::Unstarted { line: self.line.clone(), error })?;
            if let Some(status) = ended {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_secs(1));
            if second.is_multiple_of(60) {
                println!("   fuzz {}: {}", self.target, progress(&read(&self.log)?));
            }
        }
        unreachable!("the seconds of a run fit 32 bits")
    }
}

/// Builds every target with coverage, and returns the folder of the binaries.
fn build(folder: &Path) -> Result<PathBuf, Failure> {
    let host = host()?;
    let target = shell::target().join("fuzz");
    // `--target` keeps the flags away from build scripts and procedural macros.
    Run::cargo("build")
        .args(["--release", "--bins", "--manifest-path"])
        .args([folder.join("Cargo.toml")])
        .args(["--target", &host, "--target-dir"])
        .args([&target])
        .env("RUSTFLAGS", COVERAGE)
        .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true")
        .env("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "true")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "2")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .run()?;
    Ok(target.join(host).join("release"))
}

fn host() -> Result<String, Failure> {
    let version = Run::new("rustc").args(["-vV"]).read()?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.unwrap_or("x86_64-unknown-linux-gnu").to_owned())
}

/// The names of the `[[bin]]` tables of a manifest.
fn targets(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == "[[bin]]";
        } else if let (true, Some((key, value))) = (inside, line.split_once('='))
            && key.trim() == "name"
        {
            names.push(value.trim().trim_matches('"').to_owned());
        }
    }
    names
}

/// The two figures of libFuzzer's final statistics that say how hard it tried.
fn statistics(log: &str) -> String {
    let of =
        |key: &str| log.lines().find_map(|line| line.strip_prefix(key)).map_or("?", str::trim).to_owned();
    format!(
        "{} inputs, {} a second",
        of("stat::number_of_executed_units:"),
        of("stat::average_exec_per_sec:")
    )
}

/// The last line in which libFuzzer says how many inputs it has run and what they covered.
fn progress(log: &str) -> &str {
    log.lines().rev().find(|line| line.starts_with('#')).unwrap_or("no input yet")
}

fn read(path: &Path) -> Result<String, Failure> {
    let bytes = fs::read(path).map_err(|error| Failure::File { path: path.to_owned(), error })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What libFuzzer asks of the compiler: counters on every edge, a table of their places, and the operands of comparisons.
const COVERAGE: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_the_names_of_bin_tables_only() {
        let manifest = "[package]\nname = \"fuzz\"\n[[bin]]\nname = \"message\"\npath = \"a.rs\"\n[[bin]]\nname=\"sdp\"\n[dependencies]\nname = \"no\"\n";
        assert_eq!(targets(manifest), ["message", "sdp"]);
    }

    #[test]
    fn statistics_are_read_from_the_final_lines() {
        let log = "#1 INITED\nstat::number_of_executed_units: 120\nstat::average_exec_per_sec:     60\n";
        assert_eq!(statistics(log), "120 inputs, 60 a second");
    }

    #[test]
    fn progress_is_the_last_line_that_counts() {
        let log = "INFO: seed corpus\n#2\tINITED cov: 5\n#64\tpulse  cov: 9\nslow unit\n";
        assert_eq!(progress(log), "#64\tpulse  cov: 9");
        assert_eq!(progress("INFO"), "no input yet");
    }
}

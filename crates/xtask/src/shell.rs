//! Running commands of others: where they run, what they print, how they fail.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// One command to run at the root of the repository.
#[derive(Debug)]
pub struct Run {
    program: OsString,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    quiet_failure: bool,
}

impl Run {
    /// A command by name or path.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            quiet_failure: false,
        }
    }

    /// The cargo that started us, so that a chosen toolchain stays chosen.
    pub fn cargo(subcommand: &str) -> Self {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        Self::new(cargo).args([subcommand])
    }

    /// Appends arguments.
    pub fn args<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(mut self, arguments: I) -> Self {
        self.arguments.extend(arguments.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Sets one variable for the command.
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Lets the command's own words stand alone when it fails: its exit code is handed on.
    pub fn speaks_for_itself(mut self) -> Self {
        self.quiet_failure = true;
        self
    }

    /// Prints the command, runs it with our own input and output, and waits.
    ///
    /// # Errors
    /// When it can't be started or ends with anything but 0.
    pub fn run(&self) -> Result<(), Failure> {
        println!("   $ {}", self.line());
        let status = self.command().status().map_err(|error| self.unstarted(error))?;
        self.judge(status)
    }

    /// Runs the command and returns what it wrote to standard output; its errors go to ours.
    ///
    /// # Errors
    /// When it can't be started or ends with anything but 0.
    pub fn read(&self) -> Result<String, Failure> {
        let output =
            self.command().stderr(Stdio::inherit()).output().map_err(|error| self.unstarted(error))?;
        self.judge(output.status)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The command as the standard library knows it.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir(root());
        command.envs(self.environment.iter().map(|(key, value)| (key, value)));
        command
    }

    /// The command as a person would type it.
    pub fn line(&self) -> String {
        let program = Path::new(&self.program);
        // `cargo` reads better than the path of the toolchain's copy.
        let shown = if program.file_name() == Some(OsStr::new("cargo")) {
            "cargo".into()
        } else {
            program.to_string_lossy()
        };
        let mut line = String::new();
        for (key, value) in &self.environment {
            line.push_str(&format!("{}={} ", key.to_string_lossy(), quoted(&value.to_string_lossy())));
        }
        line.push_str(&shown);
        for argument in &self.arguments {
            line.push(' ');
            line.push_str(&quoted(&argument.to_string_lossy()));
        }
        line
    }

    fn judge(&self, status: ExitStatus) -> Result<(), Failure> {
        if status.success() {
            return Ok(());
        }
        Err(Failure::Ended {
            line: self.line(),
            status: status.to_string(),
            code: status.code(),
            quiet: self.quiet_failure,
        })
    }

    fn unstarted(&self, error: io::Error) -> Failure {
        Failure::Unstarted { line: self.line(), error }
    }
}

/// Why a stage did not succeed.
#[derive(Debug)]
pub enum Failure {
    /// The command could not be started.
    Unstarted { line: String, error: io::Error },
    /// The command ran and said no.
    Ended { line: String, status: String, code: Option<i32>, quiet: bool },
    /// A file of the repository could not be read or written.
    File { path: PathBuf, error: io::Error },
    /// A program that the stage needs is missing, and what to do about it.
    Missing { programs: Vec<&'static str>, remedy: String },
    /// A name on the command line that we do not know.
    Unknown { what: &'static str, name: String, known: Vec<String> },
    /// A fuzz target found an input that breaks the code.
    Fuzz { target: String, replay: String },
    /// A stage of a suite failed; the table has been printed.
    Stage { suite: &'static str, stage: &'static str, cause: Box<Failure> },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unstarted { line, error } => write!(f, "`{line}` could not be started: {error}"),
            Self::Ended { line, status, .. } => write!(f, "`{line}` ended with {status}"),
            Self::File { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Missing { programs, remedy } => write!(f, "missing: {}. {remedy}", programs.join(", ")),
            Self::Unknown { what, name, known } => {
                write!(f, "there is no {what} `{name}`; known are: {}", known.join(", "))
            }
            Self::Fuzz { target, replay } => {
                write!(f, "fuzz target {target} found a crashing input; replay it with `{replay}`")
            }
            Self::Stage { suite, stage, cause } => {
                write!(
                    f,
                    "{suite} stopped at stage `{stage}`: {cause}\nRun that stage alone: cargo xtask {suite} --only {stage}"
                )
            }
        }
    }
}

/// The root of the repository: where `cargo run` says our manifest is, two folders up.
pub fn root() -> PathBuf {
    let manifest =
        std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let manifest = PathBuf::from(manifest);
    manifest.ancestors().nth(2).map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Where cargo puts what it builds.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// The node's binary in the profile that demo, tests and simulation share.
pub fn banyan() -> PathBuf {
    target().join(PROFILE).join("banyan")
}

/// Whether a program can be found in the search path (and where Debian keeps its daemons).
pub fn exists(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain(["/usr/sbin".into()]).any(|dir| dir.join(program).is_file())
}

fn quoted(word: &str) -> String {
    if word.is_empty() || word.contains([' ', '*', '$', ';', '\'']) {
        format!("'{}'", word.replace('\'', "'\\''"))
    } else {
        word.to_owned()
    }
}

/// One profile for everything that runs: nothing is built twice.
pub const PROFILE: &str = "ci";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_can_be_pasted_into_a_shell() {
        let run = Run::new("prog").args(["a b", "c"]).env("K", "v w");
        assert_eq!(run.line(), "K='v w' prog 'a b' c");
    }

    #[test]
    fn a_failed_command_names_itself_and_its_status() {
        let failure = Run::new("false").run().expect_err("false fails");
        assert_eq!(failure.to_string(), "`false` ended with exit status: 1");
    }

    #[test]
    fn a_missing_command_is_a_failure_and_not_a_panic() {
        let failure = Run::new("/nowhere/at-all").run().expect_err("no such file");
        assert!(failure.to_string().starts_with("`/nowhere/at-all` could not be started"), "{failure}");
    }
}

//! A process that takes part in the bench: started pinned, heard through its output, its CPU time read from
//! the kernel.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::system;

/// A running process; it is killed when dropped.
pub struct Party {
    child: Child,
}

impl Party {
    /// This program again, in another role.
    pub fn this(words: &[&str], core: u32) -> io::Result<Party> {
        let program = std::env::current_exe()?;
        Party::program(program.to_str().ok_or(io::ErrorKind::InvalidInput)?, words, core)
    }

    /// A program, pinned to a core.
    pub fn program(name: &str, words: &[&str], core: u32) -> io::Result<Party> {
        let mut command = system::pinned(core, system::real_time_permitted(), name);
        command.args(words);
        Party::start(command)
    }

    fn start(mut command: Command) -> io::Result<Party> {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        Ok(Party { child })
    }

    /// Writes to its input and closes it.
    pub fn say(&mut self, text: &str) -> io::Result<()> {
        let mut input = self.child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        input.write_all(text.as_bytes())
    }

    /// Its output up to an empty line; it goes on.
    pub fn hear_block(&mut self) -> io::Result<String> {
        let mut output = BufReader::new(self.child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?);
        let mut text = String::new();
        loop {
            let before = text.len();
            if output.read_line(&mut text)? == 0 {
                return Err(io::Error::other("a party ended before it was ready"));
            }
            if text.get(before..) == Some("\n") {
                return Ok(text);
            }
        }
    }

    /// Its whole output, once it has ended.
    pub fn hear_all(&mut self) -> io::Result<String> {
        let mut text = String::new();
        self.child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?.read_to_string(&mut text)?;
        if self.child.wait()?.success() { Ok(text) } else { Err(io::Error::other("a party failed")) }
    }

    /// CPU time of all its threads so far, to the nanosecond, as the scheduler counts it.
    pub fn cpu(&self) -> io::Result<Duration> {
        let mut total = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let account = fs::read_to_string(task?.path().join("schedstat"))?;
            total += account.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(Duration::from_nanos(total))
    }

    /// Ends it and waits until it is gone, so that its ports are free.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Party {
    fn drop(&mut self) {
        self.end();
    }
}

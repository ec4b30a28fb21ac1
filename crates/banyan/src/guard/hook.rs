//! An address that a program of the operator's brings: `path add|del ADDRESS`.
//!
//! Nothing fences it: a server that stood still keeps the address until the program has moved it elsewhere.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Runs the hook and waits for it; at most ten seconds.
#[allow(clippy::disallowed_methods)] // a process of the system lives in real time
pub(super) fn run(path: &Path, verb: &'static str, address: IpAddr) -> io::Result<()> {
    let failed = |what: String| io::Error::other(format!("{} {verb} {address}: {what}", path.display()));
    let mut child = Command::new(path)
        .args([verb, &address.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(failed(status.to_string())),
            None if Instant::now() >= deadline => {
                child.kill()?;
                child.wait()?;
                return Err(failed(format!("not done after {} s", PATIENCE.as_secs())));
            }
            None => thread::sleep(POLL),
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_hook_is_told_what_to_do_with_which_address() {
        let dir = tempfile::tempdir().expect("a directory");
        let (hook, log) = (dir.path().join("hook"), dir.path().join("log"));
        let script = format!("#!/bin/sh\necho \"$@\" >> {}\n[ \"$1\" = add ]\n", log.display());
        fs::write(&hook, script).expect("written");
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).expect("executable");
        let address = IpAddr::from([192, 0, 2, 1]);
        run(&hook, "add", address).expect("it says yes");
        let error = run(&hook, "del", address).expect_err("it says no");
        assert!(error.to_string().contains("del 192.0.2.1: exit status: 1"), "{error}");
        assert_eq!(fs::read_to_string(&log).expect("it ran"), "add 192.0.2.1\ndel 192.0.2.1\n");
        assert!(run(&dir.path().join("none"), "add", address).is_err());
    }
}

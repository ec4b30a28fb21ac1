//! The limit on open files: getrlimit(2), RLIMIT_NOFILE.

use std::io;

/// The limit on open files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFiles {
    /// What the process may open now.
    pub now: u64,
    /// How far it may raise that without privileges.
    pub ceiling: u64,
}

/// The limit as it stands.
///
/// # Errors
/// The system refuses to say.
pub fn open_files() -> io::Result<OpenFiles> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is ours and of the type that the call fills.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(OpenFiles { now: limit.rlim_cur, ceiling: limit.rlim_max })
}

/// Raises the limit to at least `wanted`, beyond the ceiling where we are privileged, else to the ceiling;
/// gives the limit that holds afterwards. Never lowers it.
///
/// # Errors
/// The system refuses to say or to set.
pub fn raise_open_files(wanted: u64) -> io::Result<OpenFiles> {
    let have = open_files()?;
    if have.now >= wanted {
        return Ok(have);
    }
    if wanted > have.ceiling && set(wanted, wanted).is_ok() {
        return open_files();
    }
    set(wanted.min(have.ceiling), have.ceiling)?;
    open_files()
}

fn set(now: u64, ceiling: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: now, rlim_max: ceiling };
    // SAFETY: the call only reads `limit`.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_rises_to_what_is_wanted_and_never_falls() {
        let before = open_files().expect("get");
        let wanted = before.ceiling.min(before.now + 1);
        let after = raise_open_files(wanted).expect("raise");
        assert!(after.now >= wanted);
        assert_eq!(raise_open_files(1).expect("raise"), after);
    }
}

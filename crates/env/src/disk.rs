//! The disk: the files of one directory, written by queued operations, each durable when its completion runs.
//!
//! A lane performs its operations in the order of their submission; two lanes know nothing of each other.
//! The log has a lane to itself, so that no snapshot and no CDR file makes a commit wait.

use std::io;
use std::sync::Arc;

/// Which queue an operation goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// The log: short, and somebody waits.
    Log,
    /// Everything else: snapshots, CDR files, preparing and removing segments.
    Bulk,
}

/// A file of the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub len: u64,
}

/// Gives the chunks of a file one after the other; it runs wherever the lane runs, away from signalling.
pub type Chunks = Box<dyn Iterator<Item = Vec<u8>> + Send>;

/// Something to be made durable.
pub enum DiskOp {
    /// Writes bytes at an offset, growing the file or making it.
    Write {
        /// The file.
        file: Arc<str>,
        /// Where.
        at: u64,
        /// What.
        bytes: Vec<u8>,
    },
    /// Makes a file of zeros whose blocks are allocated; it appears under its name whole or not at all.
    Allocate {
        /// The file.
        file: Arc<str>,
        /// How long.
        len: u64,
    },
    /// Writes a file from its chunks; it appears under its name whole or not at all.
    WriteWhole {
        /// The file.
        file: Arc<str>,
        /// What is in it.
        chunks: Chunks,
    },
    /// Cuts a file.
    Truncate {
        /// The file.
        file: Arc<str>,
        /// Its new length.
        len: u64,
    },
    /// Gives a file another name, replacing what had it.
    Rename {
        /// The old name.
        from: Arc<str>,
        /// The new name.
        to: Arc<str>,
    },
    /// Removes a file; one that is not there counts as removed.
    Remove {
        /// The file.
        file: Arc<str>,
    },
}

/// Told once, from any thread, that an operation is durable or failed. A `Write` gives its bytes back, so
/// that their memory is used again or the write repeated.
pub type DiskDone = Box<dyn FnOnce(io::Result<()>, Vec<u8>) + Send>;

/// One directory of a node's disk.
pub trait Disk: Send + Sync + 'static {
    /// The files by name. Blocks; for start-up.
    ///
    /// # Errors
    /// The directory can't be read.
    fn list(&self) -> io::Result<Vec<FileEntry>>;
    /// At most `max` bytes of a file, from `at`; fewer only at its end. Blocks; for start-up and rare reads.
    ///
    /// # Errors
    /// The file is not there or can't be read.
    fn read(&self, file: &str, at: u64, max: usize) -> io::Result<Vec<u8>>;
    /// Queues an operation. `done` always runs, unless the process or the simulated node dies first.
    fn submit(&self, lane: Lane, op: DiskOp, done: DiskDone);
}

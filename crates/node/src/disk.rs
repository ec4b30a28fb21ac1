//! A directory of the operating system behind [`env::Disk`]: two threads, one for the log and one for the rest.
//!
//! Blocks of the log lie in files of zeros made in advance, so that making one durable moves no metadata, and
//! go past the page cache where the file system allows: measured on ext4, half the processor time of appending
//! and `fdatasync`.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use env::{Disk, DiskDone, DiskOp, FileEntry, Lane};
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::{ReadWriteFlags, pwritev2};

/// The files of one directory. Dropped, it first finishes what was submitted.
pub struct FileDisk {
    directory: PathBuf,
    log: Worker,
    bulk: Worker,
    /// Held as long as this process uses the directory.
    _lock: File,
}

impl FileDisk {
    /// Opens a directory, making it if need be, for this process alone.
    ///
    /// # Errors
    /// It can't be made or read, or another process uses it (`WouldBlock`).
    pub fn open(directory: &Path) -> io::Result<FileDisk> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let lock = private().create(true).write(true).truncate(false).open(directory.join("lock"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
            let text = format!("{} is in use by another process", directory.display());
            if error == rustix::io::Errno::WOULDBLOCK {
                io::Error::new(io::ErrorKind::WouldBlock, text)
            } else {
                error.into()
            }
        })?;
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            // What was being made when a process before this one ended.
            if path.extension().is_some_and(|extension| extension == "tmp") {
                fs::remove_file(path)?;
            }
        }
        Ok(FileDisk {
            log: Worker::start("banyan-log", directory)?,
            bulk: Worker::start("banyan-disk", directory)?,
            directory: directory.to_owned(),
            _lock: lock,
        })
    }
}

impl Disk for FileDisk {
    fn list(&self) -> io::Result<Vec<FileEntry>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string()) {
                files.push(FileEntry { name, len: metadata.len() });
            }
        }
        files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(files)
    }

    fn read(&self, file: &str, at: u64, max: usize) -> io::Result<Vec<u8>> {
        let file = File::open(self.directory.join(file))?;
        let rest = file.metadata()?.len().saturating_sub(at);
        let mut bytes = vec![0; max.min(usize::try_from(rest).unwrap_or(max))];
        let mut filled = 0;
        while let Some(space) = bytes.get_mut(filled..).filter(|space| !space.is_empty()) {
            match file.read_at(space, at + filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    fn submit(&self, lane: Lane, op: DiskOp, done: DiskDone) {
        match lane {
            Lane::Log => self.log.submit(op, done),
            Lane::Bulk => self.bulk.submit(op, done),
        }
    }
}

/// A thread and its queue.
struct Worker {
    queue: Mutex<Option<Sender<(DiskOp, DiskDone)>>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    fn start(name: &str, directory: &Path) -> io::Result<Worker> {
        let (queue, ops) = channel();
        let mut desk = Desk { directory: directory.to_owned(), open: VecDeque::new(), aligned: Vec::new() };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || desk.run(&ops))?;
        Ok(Worker { queue: Mutex::new(Some(queue)), thread: Some(thread) })
    }

    fn submit(&self, op: DiskOp, done: DiskDone) {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Err(lost)) = queue.as_ref().map(|queue| queue.send((op, done))) {
            drop(queue);
            let (_, done) = lost.0;
            done(Err(io::ErrorKind::BrokenPipe.into()), Vec::new());
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        *self.queue.lock().unwrap_or_else(PoisonError::into_inner) = None;
        // The last handle may go away in a completion, on the very thread.
        if let Some(thread) = self.thread.take().filter(|it| it.thread().id() != thread::current().id()) {
            // A thread that panicked has said so.
            drop(thread.join());
        }
    }
}

/// What a thread works with.
struct Desk {
    directory: PathBuf,
    /// Files in use, the newest last.
    open: VecDeque<(Arc<str>, OpenFile)>,
    /// Memory for writes past the page cache.
    aligned: Vec<u8>,
}

struct OpenFile {
    file: File,
    /// The same file, past the page cache.
    direct: Option<File>,
}

impl Desk {
    fn run(&mut self, ops: &Receiver<(DiskOp, DiskDone)>) {
        while let Ok((op, done)) = ops.recv() {
            match op {
                DiskOp::Write { file, at, bytes } => done(self.write(&file, at, &bytes), bytes),
                DiskOp::Allocate { file, len } => done(self.make(&file, zeros(len)), Vec::new()),
                DiskOp::WriteWhole { file, chunks } => done(self.make(&file, chunks), Vec::new()),
                DiskOp::Truncate { file, len } => done(self.truncate(&file, len), Vec::new()),
                DiskOp::Rename { from, to } => done(self.rename(&from, &to), Vec::new()),
                DiskOp::Remove { file } => done(self.remove(&file), Vec::new()),
            }
        }
    }

    fn write(&mut self, name: &Arc<str>, at: u64, bytes: &[u8]) -> io::Result<()> {
        let place = match self.open.iter().position(|(open, _)| open == name) {
            Some(place) => place,
            None => self.open(name)?,
        };
        let Some((_, open)) = self.open.get_mut(place) else { return Err(io::ErrorKind::NotFound.into()) };
        let in_blocks = at.is_multiple_of(BLOCK as u64) && bytes.len().is_multiple_of(BLOCK);
        if let Some(direct) = open.direct.as_ref().filter(|_| in_blocks) {
            let block = align(&mut self.aligned, bytes);
            match write_durably(direct, block, at) {
                // A file system may refuse at the first write rather than at opening.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => open.direct = None,
                result => return result,
            }
        }
        write_durably(&open.file, bytes, at)
    }

    /// Opens a file for writing, making it if need be; gives its place among the open ones.
    fn open(&mut self, name: &Arc<str>) -> io::Result<usize> {
        let path = self.directory.join(&**name);
        let file = match private().write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = private().write(true).create(true).truncate(false).open(&path)?;
                self.sync_directory()?;
                file
            }
            Err(error) => return Err(error),
        };
        let direct = private().write(true).custom_flags(OFlags::DIRECT.bits().cast_signed()).open(&path).ok();
        if self.open.len() >= OPEN_MAX {
            self.open.pop_front();
        }
        self.open.push_back((name.clone(), OpenFile { file, direct }));
        Ok(self.open.len() - 1)
    }

    /// Makes a file under another name and, once it is whole and durable, gives it its own.
    fn make(&mut self, name: &str, chunks: impl Iterator<Item = Vec<u8>>) -> io::Result<()> {
        let (path, unfinished) = (self.directory.join(name), self.directory.join(format!("{name}.tmp")));
        let written = (|| {
            let mut file = private().write(true).create(true).truncate(true).open(&unfinished)?;
            for chunk in chunks {
                file.write_all(&chunk)?;
                // In small portions and with pauses: the log's writes share the device.
                file.sync_data()?;
                thread::sleep(BETWEEN_CHUNKS);
            }
            file.sync_all()
        })();
        if let Err(error) = written {
            // What can't be removed now is removed at the next start.
            let _ = fs::remove_file(&unfinished);
            return Err(error);
        }
        fs::rename(&unfinished, &path)?;
        self.sync_directory()
    }

    fn truncate(&mut self, name: &str, len: u64) -> io::Result<()> {
        let file = private().write(true).open(self.directory.join(name))?;
        file.set_len(len)?;
        file.sync_all()
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.open.retain(|(name, _)| **name != *from && **name != *to);
        fs::rename(self.directory.join(from), self.directory.join(to))?;
        self.sync_directory()
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.open.retain(|(open, _)| **open != *name);
        match fs::remove_file(self.directory.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn sync_directory(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }
}

/// Writes bytes and makes them durable in the same system call.
fn write_durably(file: &File, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match pwritev2(file, &[IoSlice::new(bytes)], at, ReadWriteFlags::DSYNC) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                bytes = bytes.get(n..).unwrap_or_default();
                at += n as u64;
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The bytes at an address that devices can read from.
fn align<'a>(memory: &'a mut Vec<u8>, bytes: &[u8]) -> &'a [u8] {
    if memory.len() < bytes.len() + BLOCK {
        memory.resize(bytes.len().next_power_of_two() + BLOCK, 0);
    }
    let start = memory.as_ptr().align_offset(BLOCK).min(BLOCK);
    match memory.get_mut(start..start + bytes.len()) {
        Some(block) => {
            block.copy_from_slice(bytes);
            block
        }
        None => &[],
    }
}

fn zeros(len: u64) -> impl Iterator<Item = Vec<u8>> {
    let chunks = len.div_ceil(CHUNK as u64);
    (0..chunks).map(move |n| vec![0; (len - n * CHUNK as u64).min(CHUNK as u64) as usize])
}

/// Files that only this user reads: they hold numbers and, encrypted or not, secrets.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

const BLOCK: usize = 4096;
const CHUNK: usize = 1 << 20;
const OPEN_MAX: usize = 4;
const BETWEEN_CHUNKS: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn perform(disk: &FileDisk, op: DiskOp) -> io::Result<()> {
        let (tell, told) = mpsc::channel();
        disk.submit(Lane::Log, op, Box::new(move |result, _| drop(tell.send(result))));
        told.recv().expect("every operation is answered")
    }

    fn write(disk: &FileDisk, file: &str, at: u64, bytes: &[u8]) -> io::Result<()> {
        perform(disk, DiskOp::Write { file: file.into(), at, bytes: bytes.to_vec() })
    }

    #[test]
    fn bytes_written_past_the_page_cache_and_through_it_are_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let disk = FileDisk::open(directory.path()).unwrap();
        perform(&disk, DiskOp::Allocate { file: "a".into(), len: 3 * BLOCK as u64 }).unwrap();
        write(&disk, "a", BLOCK as u64, &[7; BLOCK]).unwrap();
        write(&disk, "a", 2 * BLOCK as u64 + 1, b"odd").unwrap();
        let bytes = disk.read("a", 0, 1 << 20).unwrap();
        assert_eq!(bytes.len(), 3 * BLOCK);
        assert!(bytes[..BLOCK].iter().all(|b| *b == 0) && bytes[BLOCK..2 * BLOCK].iter().all(|b| *b == 7));
        assert_eq!(&bytes[2 * BLOCK..2 * BLOCK + 5], b"\0odd\0");
        assert_eq!(disk.read("a", 3 * BLOCK as u64 - 2, 10).unwrap(), [0, 0]);
    }

    #[test]
    fn a_file_of_chunks_appears_whole() {
        let directory = tempfile::tempdir().unwrap();
        let disk = FileDisk::open(directory.path()).unwrap();
        let chunks = Box::new(vec![b"one ".to_vec(), b"two".to_vec()].into_iter());
        perform(&disk, DiskOp::WriteWhole { file: "s".into(), chunks }).unwrap();
        assert_eq!(disk.read("s", 0, 100).unwrap(), b"one two");
        perform(&disk, DiskOp::Rename { from: "s".into(), to: "t".into() }).unwrap();
        perform(&disk, DiskOp::Truncate { file: "t".into(), len: 3 }).unwrap();
        let names: Vec<_> = disk.list().unwrap().into_iter().map(|f| (f.name, f.len)).collect();
        assert_eq!(names, [("lock".to_owned(), 0), ("t".to_owned(), 3)]);
        perform(&disk, DiskOp::Remove { file: "t".into() }).unwrap();
        perform(&disk, DiskOp::Remove { file: "t".into() }).unwrap();
        assert!(disk.read("t", 0, 1).is_err());
    }

    #[test]
    fn a_directory_belongs_to_one_process_and_loses_what_was_unfinished() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("log.tmp"), b"x").unwrap();
        let disk = FileDisk::open(directory.path()).unwrap();
        let error = FileDisk::open(directory.path()).err().expect("it is taken");
        assert!(error.to_string().ends_with("is in use by another process"), "{error}");
        assert!(!directory.path().join("log.tmp").exists());
        drop(disk);
        assert!(FileDisk::open(directory.path()).is_ok());
    }

    #[test]
    fn what_was_submitted_is_finished_before_the_disk_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let disk = FileDisk::open(directory.path()).unwrap();
        for n in 0..20 {
            let op = DiskOp::Write { file: "f".into(), at: n, bytes: vec![n as u8] };
            disk.submit(Lane::Bulk, op, Box::new(|result, _| result.expect("there is room")));
        }
        drop(disk);
        assert_eq!(fs::read(directory.path().join("f")).unwrap(), (0..20).collect::<Vec<u8>>());
    }
}

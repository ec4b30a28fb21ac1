//! A disk in memory that loses, tears and refuses what a real one may. Nothing happens by itself: operations
//! wait in their lanes until somebody performs them, so a crash can come between any two, or amid one.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use env::{Disk, DiskDone, DiskOp, FileEntry, Lane};
use machine::Rng;

/// A directory in memory. A clone is the same directory; [`MemDisk::crash`] gives the next process's.
#[derive(Clone)]
pub struct MemDisk {
    shared: Arc<Mutex<Shared>>,
    /// Which process's handle this is; those of dead ones do nothing.
    life: u64,
}

struct Shared {
    files: BTreeMap<String, Vec<u8>>,
    lanes: [VecDeque<(DiskOp, DiskDone)>; 2],
    capacity: u64,
    /// Whether nothing can be written, be there room in a file or not.
    full: bool,
    /// Lanes whose next write the device fails at, amid it.
    failing: [Option<Rng>; 2],
    /// Whether nothing can be read.
    unreadable: bool,
    /// How long an operation takes, at least and at most.
    pace: (Duration, Duration),
    life: u64,
    performed: u64,
    refused: u64,
    torn: u64,
    failed: u64,
    unread: u64,
    /// Told whenever something is submitted.
    woken: Option<Arc<dyn Fn(Lane) + Send + Sync>>,
}

/// What a disk has done, so that a test can prove that its faults were delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskCounts {
    /// Operations performed whole.
    pub performed: u64,
    /// Operations refused because the disk was full.
    pub refused: u64,
    /// Operations that a crash left in part.
    pub torn: u64,
    /// Operations that the device failed at.
    pub failed: u64,
    /// Reads that the device failed at.
    pub unread: u64,
}

impl Default for MemDisk {
    fn default() -> MemDisk {
        let shared = Shared {
            files: BTreeMap::new(),
            lanes: [VecDeque::new(), VecDeque::new()],
            capacity: u64::MAX,
            full: false,
            failing: [None, None],
            unreadable: false,
            pace: PACE,
            life: 0,
            performed: 0,
            refused: 0,
            torn: 0,
            failed: 0,
            unread: 0,
            woken: None,
        };
        MemDisk { shared: Arc::new(Mutex::new(shared)), life: 0 }
    }
}

impl MemDisk {
    /// Performs the next operation of a lane; gives whether there was one.
    pub fn step(&self, lane: Lane) -> bool {
        let mut shared = self.lock();
        if shared.life != self.life {
            return false;
        }
        let Some((op, done)) = shared.lane(lane).pop_front() else { return false };
        let (result, bytes) = match shared.failing[index(lane)].take() {
            Some(rng) => shared.fail(op, rng),
            None => shared.perform(op),
        };
        drop(shared);
        done(result, bytes);
        true
    }

    /// Performs everything that waits, and what comes of it.
    pub fn settle(&self) {
        while self.step(Lane::Log) || self.step(Lane::Bulk) {}
    }

    /// How many operations wait in a lane.
    pub fn waiting(&self, lane: Lane) -> usize {
        self.lock().lane(lane).len()
    }

    /// The process dies. Of each lane's first operation a part may survive, of the others nothing. Gives the
    /// disk as the next process finds it.
    pub fn crash(&self, rng: &mut Rng) -> MemDisk {
        let mut shared = self.lock();
        for lane in [Lane::Log, Lane::Bulk] {
            let first = shared.lane(lane).pop_front();
            shared.lane(lane).clear();
            if let Some((op, _)) = first {
                shared.tear(op, rng);
            }
        }
        shared.life += 1;
        shared.woken = None;
        MemDisk { shared: self.shared.clone(), life: shared.life }
    }

    /// From now on the directory holds at most so many bytes.
    pub fn limit(&self, capacity: u64) {
        self.lock().capacity = capacity;
    }

    /// From now on nothing can be written, or everything again: a copying file system that is full refuses
    /// even what overwrites.
    pub fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    /// The next write of a lane fails, as an fsync does on a bad device: any part of it may be there. With `None` it
    /// does not, if it has not yet.
    pub fn fail_next(&self, lane: Lane, rng: Option<Rng>) {
        self.lock().failing[index(lane)] = rng;
    }

    /// From now on nothing can be read, or everything again.
    pub fn set_unreadable(&self, unreadable: bool) {
        self.lock().unreadable = unreadable;
    }

    /// A bit of a file flips while nobody looks, in a part of the file that was long written: the newest write is
    /// left alone, since nothing tells its damage from a torn one. Gives the file and the byte.
    pub fn flip(&self, file: &str, rng: &mut Rng) -> Option<(String, usize)> {
        let mut shared = self.lock();
        let bytes = shared.files.get_mut(file)?;
        let used = bytes.iter().rposition(|byte| *byte != 0)? + 1;
        let from = usize::try_from(rng.below(used as u64 / 2)).unwrap_or(0);
        // Between what is written there are zeros that mean nothing.
        let place = from + bytes.get(from..)?.iter().position(|byte| *byte != 0)?;
        *bytes.get_mut(place)? ^= 1 << rng.below(8);
        Some((file.to_owned(), place))
    }

    /// From now on an operation takes this long, at least and at most; without, as long as usual.
    pub fn set_pace(&self, pace: Option<(Duration, Duration)>) {
        self.lock().pace = pace.unwrap_or(PACE);
    }

    /// How long the next operation takes.
    pub fn takes(&self, rng: &mut Rng) -> Duration {
        let (min, max) = self.lock().pace;
        let spread = max.saturating_sub(min).as_nanos() as u64;
        min + Duration::from_nanos(if spread > 0 { rng.below(spread) } else { 0 })
    }

    /// What it has done.
    pub fn counts(&self) -> DiskCounts {
        let shared = self.lock();
        let Shared { performed, refused, torn, failed, unread, .. } = *shared;
        DiskCounts { performed, refused, torn, failed, unread }
    }

    /// The bytes of a file.
    pub fn file(&self, name: &str) -> Option<Vec<u8>> {
        self.lock().files.get(name).cloned()
    }

    /// Puts a file there, or takes it away.
    pub fn set_file(&self, name: &str, bytes: Option<Vec<u8>>) {
        let mut shared = self.lock();
        match bytes {
            Some(bytes) => drop(shared.files.insert(name.to_owned(), bytes)),
            None => drop(shared.files.remove(name)),
        }
    }

    /// Calls `woken` whenever something is submitted: whoever gives the disk its time performs it later.
    pub fn on_submit(&self, woken: Arc<dyn Fn(Lane) + Send + Sync>) {
        self.lock().woken = Some(woken);
    }

    /// A directory of its own with the same files.
    pub fn copy(&self) -> MemDisk {
        let files = self.lock().files.clone();
        let copy = MemDisk::default();
        copy.lock().files = files;
        copy
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for MemDisk {
    fn list(&self) -> io::Result<Vec<FileEntry>> {
        let shared = self.lock();
        let entry =
            |(name, bytes): (&String, &Vec<u8>)| FileEntry { name: name.clone(), len: bytes.len() as u64 };
        Ok(shared.files.iter().map(entry).collect())
    }

    fn read(&self, file: &str, at: u64, max: usize) -> io::Result<Vec<u8>> {
        let mut shared = self.lock();
        if shared.unreadable && shared.life == self.life {
            shared.unread += 1;
            return Err(io_error());
        }
        let bytes = shared.files.get(file).ok_or(io::ErrorKind::NotFound)?;
        let tail = bytes.get(usize::try_from(at).unwrap_or(usize::MAX)..).unwrap_or_default();
        Ok(tail.get(..max.min(tail.len())).unwrap_or_default().to_vec())
    }

    fn submit(&self, lane: Lane, op: DiskOp, done: DiskDone) {
        let mut shared = self.lock();
        if shared.life != self.life {
            return;
        }
        shared.lane(lane).push_back((op, done));
        let woken = shared.woken.clone();
        drop(shared);
        if let Some(woken) = woken {
            woken(lane);
        }
    }
}

impl Shared {
    fn lane(&mut self, lane: Lane) -> &mut VecDeque<(DiskOp, DiskDone)> {
        &mut self.lanes[index(lane)]
    }

    fn room_for(&mut self, file: &str, len: usize) -> io::Result<()> {
        let others: u64 = self.files.iter().filter(|(n, _)| *n != file).map(|(_, b)| b.len() as u64).sum();
        let own = self.files.get(file).map_or(0, Vec::len);
        if self.full || len > own && others + len as u64 > self.capacity {
            self.refused += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn perform(&mut self, op: DiskOp) -> (io::Result<()>, Vec<u8>) {
        let (result, bytes) = match op {
            DiskOp::Write { file, at, bytes } => {
                let at = usize::try_from(at).unwrap_or(usize::MAX);
                let result = self.room_for(&file, at.saturating_add(bytes.len()));
                if result.is_ok() {
                    overwrite(self.files.entry(file.to_string()).or_default(), at, &bytes);
                }
                (result, bytes)
            }
            DiskOp::Allocate { file, len } => {
                let len = usize::try_from(len).unwrap_or(usize::MAX);
                let result = self.room_for(&file, len);
                if result.is_ok() {
                    self.files.insert(file.to_string(), vec![0; len]);
                }
                (result, Vec::new())
            }
            DiskOp::WriteWhole { file, chunks } => {
                let bytes: Vec<u8> = chunks.flatten().collect();
                let result = self.room_for(&file, bytes.len());
                if result.is_ok() {
                    self.files.insert(file.to_string(), bytes);
                }
                (result, Vec::new())
            }
            DiskOp::Truncate { file, len } => {
                let len = usize::try_from(len).unwrap_or(usize::MAX);
                let cut = self.files.get_mut(&*file).map(|bytes| bytes.truncate(len));
                (cut.ok_or_else(|| io::ErrorKind::NotFound.into()), Vec::new())
            }
            DiskOp::Rename { from, to } => {
                let moved =
                    self.files.remove(&*from).map(|bytes| drop(self.files.insert(to.to_string(), bytes)));
                (moved.ok_or_else(|| io::ErrorKind::NotFound.into()), Vec::new())
            }
            DiskOp::Remove { file } => {
                self.files.remove(&*file);
                (Ok(()), Vec::new())
            }
        };
        self.performed += u64::from(result.is_ok());
        (result, bytes)
    }

    /// The device fails amid an operation.
    fn fail(&mut self, op: DiskOp, mut rng: Rng) -> (io::Result<()>, Vec<u8>) {
        self.failed += 1;
        let torn = self.torn;
        let bytes = match &op {
            DiskOp::Write { bytes, .. } => bytes.clone(),
            _ => Vec::new(),
        };
        self.tear(op, &mut rng);
        self.torn = torn;
        (Err(io_error()), bytes)
    }

    /// Leaves what a crash amid an operation may leave: of a write any blocks, and any part of its last one;
    /// of the others all or nothing.
    fn tear(&mut self, op: DiskOp, rng: &mut Rng) {
        let DiskOp::Write { file, at, bytes } = op else {
            if rng.below(2) == 0 {
                // Nobody hears of it any more.
                drop(self.perform(op));
            }
            return;
        };
        self.torn += 1;
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let in_order = rng.below(2) == 0;
        let survives = usize::try_from(rng.below(bytes.len() as u64 + 1)).unwrap_or(0);
        for (n, block) in bytes.chunks(BLOCK).enumerate() {
            let start = n * BLOCK;
            // A device may write blocks in any order.
            let kept = match in_order {
                true => survives.saturating_sub(start).min(block.len()),
                false => usize::try_from(rng.below(2)).unwrap_or(0) * block.len(),
            };
            if let Some(part) = block.get(..kept).filter(|part| !part.is_empty()) {
                overwrite(self.files.entry(file.to_string()).or_default(), at + start, part);
            }
        }
    }
}

const fn index(lane: Lane) -> usize {
    match lane {
        Lane::Log => 0,
        Lane::Bulk => 1,
    }
}

fn overwrite(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if file.len() < at + bytes.len() {
        file.resize(at + bytes.len(), 0);
    }
    if let Some(place) = file.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// EIO, as a failing device gives it.
fn io_error() -> io::Error {
    io::Error::other("input/output error")
}

const BLOCK: usize = 4096;
/// A good device under some load.
const PACE: (Duration, Duration) = (Duration::from_micros(200), Duration::from_millis(4));

#[cfg(test)]
mod tests {
    use super::*;

    type Answer = Arc<Mutex<Option<(bool, Vec<u8>)>>>;

    fn write(disk: &MemDisk, bytes: &[u8]) -> Answer {
        let heard = Arc::new(Mutex::new(None));
        let (told, file) = (heard.clone(), Arc::from("f"));
        let done: DiskDone = Box::new(move |result, bytes| {
            *told.lock().expect("nobody panics") = Some((result.is_ok(), bytes))
        });
        disk.submit(Lane::Log, DiskOp::Write { file, at: 0, bytes: bytes.to_vec() }, done);
        disk.settle();
        heard
    }

    #[test]
    fn a_write_that_the_device_fails_at_is_told_and_the_next_is_whole() {
        let disk = MemDisk::default();
        disk.fail_next(Lane::Log, Some(Rng::from_u64(1)));
        let heard = write(&disk, b"abc");
        assert_eq!(
            *heard.lock().expect("nobody panics"),
            Some((false, b"abc".to_vec())),
            "its bytes come back"
        );
        assert_eq!((disk.counts().failed, disk.counts().torn, disk.counts().performed), (1, 0, 0));
        let heard = write(&disk, b"abc");
        assert_eq!(heard.lock().expect("nobody panics").as_ref().map(|(good, _)| *good), Some(true));
        assert_eq!(disk.file("f").as_deref(), Some(&b"abc"[..]));
    }

    #[test]
    fn what_cannot_be_read_is_an_error_and_counted() {
        let disk = MemDisk::default();
        write(&disk, b"abc");
        disk.set_unreadable(true);
        assert!(disk.read("f", 0, 9).is_err());
        disk.set_unreadable(false);
        assert_eq!(disk.read("f", 0, 9).ok(), Some(b"abc".to_vec()));
        assert_eq!(disk.counts().unread, 1);
    }

    #[test]
    fn a_flipped_bit_is_one_bit_of_what_was_written() {
        let disk = MemDisk::default();
        let bytes = [0, 0, 7, 0, 9, 9, 9, 9, 0, 0];
        write(&disk, &bytes);
        let (file, place) = disk.flip("f", &mut Rng::from_u64(3)).expect("there is something");
        let now = disk.file(&file).expect("it is there");
        let changed: Vec<usize> = (0..bytes.len()).filter(|at| now[*at] != bytes[*at]).collect();
        assert_eq!(changed, [place]);
        assert_ne!(bytes[place], 0);
        assert_eq!((now[place] ^ bytes[place]).count_ones(), 1);
        assert_eq!(disk.flip("none", &mut Rng::from_u64(3)), None);
    }
}

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
    /// How long an operation takes, at least and at most.
    pace: (Duration, Duration),
    life: u64,
    performed: u64,
    refused: u64,
    torn: u64,
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
}

impl Default for MemDisk {
    fn default() -> MemDisk {
        let shared = Shared {
            files: BTreeMap::new(),
            lanes: [VecDeque::new(), VecDeque::new()],
            capacity: u64::MAX,
            full: false,
            pace: PACE,
            life: 0,
            performed: 0,
            refused: 0,
            torn: 0,
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
        let (result, bytes) = shared.perform(op);
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
        DiskCounts { performed: shared.performed, refused: shared.refused, torn: shared.torn }
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
        let shared = self.lock();
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
        let [log, bulk] = &mut self.lanes;
        match lane {
            Lane::Log => log,
            Lane::Bulk => bulk,
        }
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

fn overwrite(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if file.len() < at + bytes.len() {
        file.resize(at + bytes.len(), 0);
    }
    if let Some(place) = file.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

const BLOCK: usize = 4096;
/// A good device under some load.
const PACE: (Duration, Duration) = (Duration::from_micros(200), Duration::from_millis(4));

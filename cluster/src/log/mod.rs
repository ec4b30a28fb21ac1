//! The log on disk: entries, vote and committed index in one stream of groups, made durable together.
//!
//! One write is under way at a time; what comes meanwhile goes into the next one. So whoever commits alone
//! pays one write, and a crowd shares one.

mod format;
mod fuzz;
mod metrics;
mod recover;

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use env::{Clock, Disk, DiskOp, Lane};
use machine::Instant;
use machine::museum::planted;

pub use format::{Header, Position, Record, Scan, ScanError, Vote, scan};
pub use fuzz::fuzz;
pub use metrics::{SYNC_BOUNDS_US, SyncMetrics, SyncSample};
pub use recover::LogError;
pub(crate) use recover::{perform, read_file};

use format::{BLOCK, begin_group, header_block, push_entry, push_record, seal_group};

/// Told once, from any thread, how a write ended.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// Whether the log takes writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogHealth {
    /// It does.
    Writing,
    /// The disk is full: what is to be written waits and is tried again.
    Full,
    /// A write failed for good; nothing after it is durable.
    Failed(io::ErrorKind),
}

/// An append-only log in segments over [`env::Disk`].
#[derive(Clone)]
pub struct Log {
    shared: Arc<Shared>,
}

struct Shared {
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    segment_len: u64,
    syncs: Arc<SyncMetrics>,
    inner: Mutex<Inner>,
}

/// One segment that is in use.
struct Segment {
    number: u64,
    /// The highest index of an entry in it.
    last: Option<u64>,
}

/// Where an entry's payload lies.
#[derive(Clone, Copy)]
struct Place {
    at: Position,
    segment: u64,
    offset: u64,
    len: u32,
}

/// Whether the next segment's file is ready.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Missing,
    UnderWay,
    Ready,
}

struct Inner {
    salt: u64,
    segment: u64,
    /// Where the next group goes; 0 while the segment has no header.
    end: u64,
    next_group: u64,
    next: Next,
    segments: VecDeque<Segment>,
    /// The group being filled, and who waits for it.
    filling: Vec<u8>,
    waiting: Vec<Done>,
    /// The group being written, and who waits for it.
    writing: Option<Instant>,
    flushing: Vec<Done>,
    /// The first group of a segment, while the header is being written.
    follows: Option<DiskOp>,
    /// A write that the full disk refused.
    stalled: Option<DiskOp>,
    health: LogHealth,
    /// A buffer whose memory is used again.
    spare: Vec<u8>,
    places: VecDeque<Place>,
    /// How many of `places`, from the back, still lie in `filling`.
    unplaced: usize,
    /// Entries below this index are on disk; those below the second will be, once the write under way is done.
    durable: u64,
    written: u64,
    vote: Option<Vote>,
    committed: Option<Position>,
    purged: Option<Position>,
}

impl Log {
    /// How the log's writes went.
    pub fn syncs(&self) -> Arc<SyncMetrics> {
        self.shared.syncs.clone()
    }

    /// Whether the log takes writes.
    pub fn health(&self) -> LogHealth {
        self.shared.lock().health.clone()
    }

    /// The last vote that was saved.
    pub fn vote(&self) -> Option<Vote> {
        self.shared.lock().vote
    }

    /// The highest entry known to be committed.
    pub fn committed(&self) -> Option<Position> {
        self.shared.lock().committed
    }

    /// Entries up to this one are gone.
    pub fn purged(&self) -> Option<Position> {
        self.shared.lock().purged
    }

    /// The last entry, or the last purged one.
    pub fn last(&self) -> Option<Position> {
        let inner = self.shared.lock();
        inner.places.back().map(|place| place.at).or(inner.purged)
    }

    /// Entries below this index can be read back from disk.
    pub fn durable(&self) -> u64 {
        self.shared.lock().durable
    }

    /// Adds entries; `fill` pushes each. `done` runs when they are durable.
    pub fn append(&self, fill: impl FnOnce(&mut Appender<'_>), mut done: Done) {
        if planted("durable-before-the-sync") {
            std::mem::replace(&mut done, Box::new(|_| {}))(Ok(()));
        }
        let mut inner = self.shared.lock();
        fill(&mut Appender(&mut inner));
        self.shared.flush_with(inner, done);
    }

    /// Saves a vote.
    pub fn save_vote(&self, vote: Vote, done: Done) {
        let mut inner = self.shared.lock();
        inner.vote = Some(vote);
        push_record(&mut inner.filling, &Record::Vote(vote));
        self.shared.flush_with(inner, done);
    }

    /// Notes what is committed. Rides along with the next write; lost with a crash, it is found again.
    pub fn save_committed(&self, at: Position) {
        let mut inner = self.shared.lock();
        if inner.committed.is_none_or(|known| known < at) {
            inner.committed = Some(at);
            push_record(&mut inner.filling, &Record::Committed(at));
        }
    }

    /// Voids the entries from index `from` on.
    pub fn truncate(&self, from: u64, done: Done) {
        let mut inner = self.shared.lock();
        inner.truncate(from);
        push_record(&mut inner.filling, &Record::Truncated(from));
        self.shared.flush_with(inner, done);
    }

    /// Lets go of the entries up to `at`, which a durable snapshot holds; their segments are removed once
    /// that is on disk.
    pub fn purge(&self, at: Position, done: Done) {
        let mut inner = self.shared.lock();
        inner.purge(at);
        push_record(&mut inner.filling, &Record::Purged(at));
        let shared = self.shared.clone();
        let removing: Done = Box::new(move |result| {
            if result.is_ok() {
                shared.remove_purged();
            }
            done(result);
        });
        self.shared.flush_with(inner, removing);
    }

    /// Reads durable entries back, from disk.
    ///
    /// # Errors
    /// A segment can't be read, or is shorter than it was.
    pub fn read(&self, first: u64, last: u64) -> io::Result<Vec<(Position, Vec<u8>)>> {
        let places: Vec<Place> = {
            let inner = self.shared.lock();
            let from = inner.places.partition_point(|place| place.at.index < first);
            let inside = inner.places.iter().skip(from);
            inside.take_while(|it| it.at.index <= last && it.at.index < inner.durable).copied().collect()
        };
        let mut entries = Vec::with_capacity(places.len());
        for place in places {
            let name = recover::segment_name(place.segment);
            let payload = self.shared.disk.read(&name, place.offset, place.len as usize)?;
            if payload.len() != place.len as usize {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            entries.push((place.at, payload));
        }
        Ok(entries)
    }

    /// Tries again what the full disk refused.
    pub fn retry(&self) {
        let mut inner = self.shared.lock();
        if let Some(op) = inner.stalled.take() {
            self.shared.submit(op);
        }
    }
}

/// Takes the entries of one append.
pub struct Appender<'a>(&'a mut Inner);

impl Appender<'_> {
    /// Adds an entry whose payload `fill` writes.
    pub fn push(&mut self, at: Position, fill: impl FnOnce(&mut Vec<u8>)) {
        let inner = &mut *self.0;
        let range = push_entry(&mut inner.filling, at, fill);
        // Its place is final when the group gets one; until then the offset is relative to the group.
        inner.places.push_back(Place {
            at,
            segment: 0,
            offset: range.start as u64,
            len: (range.end - range.start) as u32,
        });
        inner.unplaced += 1;
    }
}

impl Inner {
    fn truncate(&mut self, from: u64) {
        while self.places.back().is_some_and(|place| place.at.index >= from) {
            self.places.pop_back();
            self.unplaced = self.unplaced.saturating_sub(1);
        }
        (self.durable, self.written) = (self.durable.min(from), self.written.min(from));
    }

    fn purge(&mut self, at: Position) {
        self.purged = self.purged.max(Some(at));
        while self.places.front().is_some_and(|place| place.at.index <= at.index) {
            self.places.pop_front();
        }
        self.unplaced = self.unplaced.min(self.places.len());
    }

    /// Gives the filled group its place and completes its bytes. The write of a fresh segment's header comes
    /// before it.
    fn take_group(&mut self, segment_len: u64) -> (Option<DiskOp>, DiskOp) {
        let spare = std::mem::take(&mut self.spare);
        let mut bytes = std::mem::replace(&mut self.filling, spare);
        begin_group(&mut self.filling);
        let needed = bytes.len().next_multiple_of(BLOCK) as u64;
        if self.end + needed > segment_len && self.next == Next::Ready {
            (self.segment, self.end, self.next) = (self.segment + 1, 0, Next::Missing);
            self.segments.push_back(Segment { number: self.segment, last: None });
        }
        let file: Arc<str> = recover::segment_name(self.segment).into();
        let header = (self.end == 0).then(|| {
            self.end = BLOCK as u64;
            DiskOp::Write { file: file.clone(), at: 0, bytes: header_block(&self.header()) }
        });
        let at = self.end;
        seal_group(&mut bytes, self.salt, self.segment, self.next_group);
        self.next_group += 1;
        self.end += bytes.len() as u64;
        let placed = self.places.len() - self.unplaced;
        for place in self.places.iter_mut().skip(placed) {
            (place.segment, place.offset) = (self.segment, place.offset + at);
        }
        self.unplaced = 0;
        let last = self.places.back().map(|place| place.at.index);
        self.written = last.map_or(self.written, |last| last + 1);
        if let Some(segment) = self.segments.back_mut() {
            segment.last = segment.last.max(last);
        }
        (header, DiskOp::Write { file, at, bytes })
    }

    fn header(&self) -> Header {
        Header {
            salt: self.salt,
            segment: self.segment,
            first_group: self.next_group,
            vote: self.vote,
            committed: self.committed,
            purged: self.purged,
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flush_with(self: &Arc<Self>, mut inner: MutexGuard<'_, Inner>, done: Done) {
        if let LogHealth::Failed(kind) = inner.health {
            drop(inner);
            return done(Err(kind.into()));
        }
        inner.waiting.push(done);
        if inner.writing.is_none() {
            self.start_write(&mut inner);
        }
    }

    fn start_write(self: &Arc<Self>, inner: &mut Inner) {
        let (header, group) = inner.take_group(self.segment_len);
        inner.flushing = std::mem::take(&mut inner.waiting);
        inner.writing = Some(self.clock.now());
        match header {
            Some(header) => {
                inner.follows = Some(group);
                self.submit(header);
            }
            None => self.submit(group),
        }
        if inner.next == Next::Missing && inner.end > self.segment_len / 2 {
            inner.next = Next::UnderWay;
            let file = recover::segment_name(inner.segment + 1).into();
            let (shared, len) = (self.clone(), self.segment_len);
            let done = move |result: io::Result<()>, _| {
                // Without a next segment this one grows; the next write asks again.
                shared.lock().next = if result.is_ok() { Next::Ready } else { Next::Missing };
            };
            self.disk.submit(Lane::Bulk, DiskOp::Allocate { file, len }, Box::new(done));
        }
    }

    fn submit(self: &Arc<Self>, op: DiskOp) {
        let DiskOp::Write { file, at, bytes } = op else { return };
        let (shared, name) = (self.clone(), file.clone());
        let done = move |result, bytes| shared.written(&name, at, result, bytes);
        self.disk.submit(Lane::Log, DiskOp::Write { file, at, bytes }, Box::new(done));
    }

    fn written(self: &Arc<Self>, file: &Arc<str>, at: u64, result: io::Result<()>, mut bytes: Vec<u8>) {
        let mut inner = self.lock();
        let result = match result {
            Ok(()) if inner.follows.is_some() => {
                inner.health = LogHealth::Writing;
                return inner.follows.take().map_or((), |group| self.submit(group));
            }
            Ok(()) => {
                let began = inner.writing.take().unwrap_or_default();
                self.syncs.record(self.clock.now().since(began), bytes.len());
                inner.health = LogHealth::Writing;
                inner.durable = inner.written;
                bytes.clear();
                bytes.shrink_to(SPARE_MAX);
                inner.spare = bytes;
                Ok(())
            }
            Err(error) if is_full(error.kind()) => {
                inner.health = LogHealth::Full;
                inner.stalled = Some(DiskOp::Write { file: file.clone(), at, bytes });
                return;
            }
            Err(error) => {
                tracing::error!(%file, %error, "the log can't be written");
                inner.health = LogHealth::Failed(error.kind());
                Err(error)
            }
        };
        let mut told = std::mem::take(&mut inner.flushing);
        if result.is_err() {
            told.append(&mut inner.waiting);
        } else if !inner.waiting.is_empty() {
            self.start_write(&mut inner);
        }
        drop(inner);
        for done in told {
            done(result.as_ref().copied().map_err(|error| io::Error::new(error.kind(), error.to_string())));
        }
    }

    fn remove_purged(&self) {
        let mut inner = self.lock();
        let Some(purged) = inner.purged else { return };
        while inner.segments.len() > 1
            && inner.segments.front().is_some_and(|s| s.last.is_none_or(|last| last <= purged.index))
        {
            if let Some(segment) = inner.segments.pop_front() {
                let file = recover::segment_name(segment.number).into();
                let done = move |result: io::Result<()>, _| {
                    if let Err(error) = result {
                        tracing::warn!(%error, segment = segment.number, "an old log segment stays");
                    }
                };
                self.disk.submit(Lane::Bulk, DiskOp::Remove { file }, Box::new(done));
            }
        }
    }
}

/// Whether an error passes once somebody makes room.
pub(crate) fn is_full(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A buffer that grew for a large group is not kept whole.
const SPARE_MAX: usize = 256 << 10;

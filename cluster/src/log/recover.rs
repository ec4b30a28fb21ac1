//! Opening a log: its segments are read, a torn tail is cut off, anything worse is an error.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};

use env::{Clock, Disk, DiskOp, Lane};
use futures::channel::oneshot;
use thiserror::Error;

use super::format::{BLOCK, GROUP_HEADER, Record, Scan, ScanError, begin_group, read_header, scan};
use super::{Inner, Log, LogHealth, Next, Place, Segment, Shared, SyncMetrics};

/// Why a log can't be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LogError {
    /// The disk said no.
    #[error("the log can't be opened: {file}: {error}")]
    Disk {
        /// Which file.
        file: String,
        /// Why.
        error: io::Error,
    },
    /// A segment is damaged where no crash can have damaged it.
    #[error("the log is damaged: {file}: {error}; restore this node from its peers or from a backup")]
    Damaged {
        /// Which file.
        file: String,
        /// How.
        error: ScanError,
    },
    /// A segment does not follow the one before it.
    #[error(
        "the log is damaged: {file} does not follow the segment before it; restore this node from its peers or from a backup"
    )]
    Order {
        /// Which file.
        file: String,
    },
    /// Entries are missing between the snapshot and the log's first entry.
    #[error(
        "the log is damaged: entry {index} is missing; restore this node from its peers or from a backup"
    )]
    Gap {
        /// The first that is missing.
        index: u64,
    },
}

impl Log {
    /// Opens the log of a disk, or makes one. `salt` is used only then.
    ///
    /// # Errors
    /// The disk fails, or the log is damaged in a way that no crash explains.
    pub async fn open(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        segment_len: u64,
        salt: u64,
    ) -> Result<Log, LogError> {
        let mut inner = Inner {
            salt,
            segment: 1,
            end: 0,
            next_group: 1,
            next: Next::Missing,
            segments: VecDeque::new(),
            filling: Vec::new(),
            waiting: Vec::new(),
            writing: None,
            flushing: Vec::new(),
            follows: None,
            stalled: None,
            health: LogHealth::Writing,
            spare: Vec::new(),
            places: VecDeque::new(),
            unplaced: 0,
            durable: 0,
            written: 0,
            vote: None,
            committed: None,
            purged: None,
        };
        begin_group(&mut inner.filling);
        let segment_len = segment_len.max(MIN_SEGMENT);
        let numbers = segment_numbers(&*disk)?;
        let torn = replay(&*disk, &mut inner, &numbers)?;
        if let Some((file, at, len)) = torn {
            // Nothing of a torn write may lie behind the groups to come.
            let bytes = vec![0; len];
            perform(&*disk, Lane::Log, DiskOp::Write { file: file.clone().into(), at, bytes })
                .await
                .map_err(|error| LogError::Disk { file, error })?;
        }
        if inner.segments.is_empty() {
            inner.segments.push_back(Segment { number: inner.segment, last: None });
        }
        if inner.end == 0 && !numbers.contains(&inner.segment) {
            let file = segment_name(inner.segment);
            let op = DiskOp::Allocate { file: file.as_str().into(), len: segment_len };
            perform(&*disk, Lane::Bulk, op).await.map_err(|error| LogError::Disk { file, error })?;
        }
        if numbers.contains(&(inner.segment + 1)) {
            inner.next = Next::Ready;
        }
        check_gap(&inner)?;
        inner.durable = inner.places.back().map_or(0, |place| place.at.index + 1);
        inner.written = inner.durable;
        let syncs = Arc::new(SyncMetrics::default());
        Ok(Log { shared: Arc::new(Shared { disk, clock, segment_len, syncs, inner: Mutex::new(inner) }) })
    }
}

/// Performs an operation and waits for it.
pub(crate) async fn perform(disk: &dyn Disk, lane: Lane, op: DiskOp) -> io::Result<()> {
    let (tell, told) = oneshot::channel();
    // A receiver that is gone means that nobody waits any more.
    disk.submit(lane, op, Box::new(move |result, _| drop(tell.send(result))));
    told.await.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
}

/// The whole of a file.
pub(crate) fn read_file(disk: &dyn Disk, file: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let part = disk.read(file, bytes.len() as u64, READ_CHUNK)?;
        if part.is_empty() {
            return Ok(bytes);
        }
        bytes.extend_from_slice(&part);
    }
}

/// The file of a segment.
pub(super) fn segment_name(number: u64) -> String {
    format!("log-{number:010}.seg")
}

fn segment_numbers(disk: &dyn Disk) -> Result<Vec<u64>, LogError> {
    let files = disk.list().map_err(|error| LogError::Disk { file: ".".to_owned(), error })?;
    let mut numbers: Vec<u64> = files
        .iter()
        .filter_map(|file| file.name.strip_prefix("log-")?.strip_suffix(".seg")?.parse().ok())
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Reads all segments into `inner`; gives the place and length of a torn tail.
fn replay(
    disk: &dyn Disk,
    inner: &mut Inner,
    numbers: &[u64],
) -> Result<Option<(String, u64, usize)>, LogError> {
    let mut torn = None;
    if let Some(first) = numbers.first() {
        inner.segment = *first;
    }
    for (n, number) in numbers.iter().enumerate() {
        let file = segment_name(*number);
        let bytes = read_file(disk, &file).map_err(|error| LogError::Disk { file: file.clone(), error })?;
        if n == 0
            && let Ok(Some(header)) = read_header(&bytes)
        {
            (inner.vote, inner.committed) = (header.vote, header.committed);
            header.purged.iter().for_each(|at| inner.purge(*at));
        }
        let found = scan(&bytes, |record, at| inner.replay(&record, *number, at))
            .map_err(|error| LogError::Damaged { file: file.clone(), error })?;
        let Scan { header: Some(header), end, next_group, .. } = found else {
            if found.torn {
                torn = Some((file, 0, used(&bytes, 0)));
            }
            continue;
        };
        // The first group of the first segment may have any number; all others follow without a hole, and
        // no segment follows a torn one.
        let follows = n == 0
            || header.salt == inner.salt
                && header.first_group == inner.next_group
                && numbers.get(n - 1).is_some_and(|last| last + 1 == *number && inner.segment == *last);
        if header.segment != *number || !follows || torn.is_some() {
            return Err(LogError::Order { file });
        }
        (inner.salt, inner.segment, inner.end, inner.next_group) = (header.salt, *number, end, next_group);
        let last = inner.places.back().map(|place| place.at.index);
        inner.segments.push_back(Segment { number: *number, last });
        if found.torn {
            torn = Some((file, end, used(&bytes, end as usize)));
        }
    }
    Ok(torn)
}

/// How many bytes from `from` on are in use, in whole blocks.
fn used(bytes: &[u8], from: usize) -> usize {
    let tail = bytes.get(from..).unwrap_or_default();
    tail.iter().rposition(|b| *b != 0).map_or(0, |at| (at + 1).next_multiple_of(BLOCK))
}

fn check_gap(inner: &Inner) -> Result<(), LogError> {
    let expected = inner.purged.map_or(0, |purged| purged.index + 1)..;
    match expected.zip(&inner.places).find(|(index, place)| place.at.index != *index) {
        Some((index, _)) => Err(LogError::Gap { index }),
        None => Ok(()),
    }
}

impl Inner {
    fn replay(&mut self, record: &Record<'_>, segment: u64, offset: u64) {
        match *record {
            Record::Entry(at, payload) => {
                self.truncate(at.index);
                if self.purged.is_none_or(|purged| purged.index < at.index) {
                    self.places.push_back(Place { at, segment, offset, len: payload.len() as u32 });
                }
            }
            Record::Vote(vote) => self.vote = Some(vote),
            Record::Committed(at) => self.committed = Some(at),
            Record::Truncated(from) => self.truncate(from),
            Record::Purged(at) => self.purge(at),
        }
    }
}

const MIN_SEGMENT: u64 = 4 * BLOCK as u64;
const READ_CHUNK: usize = 1 << 20;
const _: () = assert!(GROUP_HEADER < BLOCK);

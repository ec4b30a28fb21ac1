//! CDR files: each node writes the CDRs that `apply` makes into files of its own, one JSON line each, in the
//! order of their numbers. A number is written once: after a crash the torn tail is cut off and writing goes
//! on behind the last whole line.

mod line;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use call::Cdr;
use env::{Disk, DiskOp, Lane};
use machine::WallTime;
use serde_json::Value;
use thiserror::Error;

use crate::log::{perform, read_file};

/// Why the CDR files can't be used.
#[derive(Debug, Error)]
#[error("the CDR file {file} can't be used: {error}")]
pub struct ProjectionError {
    /// Which file.
    file: String,
    /// Why.
    error: io::Error,
}

/// Which CDRs are wanted.
#[derive(Clone, Debug, Default)]
pub struct CdrFilter {
    /// Those of calls that started then or later.
    pub since: Option<WallTime>,
    /// Those of a trunk.
    pub trunk: Option<String>,
    /// Those whose id, or Call-ID on either leg, is this.
    pub call_id: Option<String>,
    /// The newest so many.
    pub limit: Option<usize>,
}

/// The writer of CDR files.
pub struct Projection {
    disk: Arc<dyn Disk>,
    /// A file that has grown to this is followed by the next.
    file_len: u64,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// All files, oldest first; the last is written to.
    files: Vec<Arc<str>>,
    /// The length of the last file.
    len: u64,
    /// Lines not yet handed to the disk, and the number of the last of all lines.
    pending: Vec<u8>,
    last: u64,
    /// Memory of lines that are on disk, to be used again.
    spare: Vec<u8>,
    writing: bool,
    /// Lines up to this number are on disk.
    durable: u64,
}

impl Projection {
    /// Opens the CDR files of a disk and cuts off a torn tail.
    ///
    /// # Errors
    /// A file can't be read or cut.
    pub async fn open(disk: Arc<dyn Disk>, file_len: u64) -> Result<Arc<Projection>, ProjectionError> {
        let failed = |file: &str, error| ProjectionError { file: file.to_owned(), error };
        let listed = disk.list().map_err(|error| failed(".", error))?;
        let mut files: Vec<Arc<str>> = listed
            .iter()
            .filter(|file| first_number(&file.name).is_some())
            .map(|file| file.name.as_str().into())
            .collect();
        files.sort_unstable();
        let mut inner = Inner::default();
        if let Some(file) = files.last() {
            let bytes = read_file(&*disk, file).map_err(|error| failed(file, error))?;
            let (whole, last) = whole_lines(&bytes, first_number(file).unwrap_or(1));
            if whole < bytes.len() {
                tracing::warn!(%file, cut = bytes.len() - whole, "the torn tail of a CDR file is cut off");
                let op = DiskOp::Truncate { file: file.clone(), len: whole as u64 };
                perform(&*disk, Lane::Bulk, op).await.map_err(|error| failed(file, error))?;
            }
            (inner.len, inner.last, inner.durable) = (whole as u64, last, last);
        }
        inner.files = files;
        Ok(Arc::new(Projection { disk, file_len, inner: Mutex::new(inner) }))
    }

    /// Takes the next CDR. One that is in the files already is passed over.
    pub fn add(&self, number: u64, cdr: &Cdr) {
        let mut inner = self.lock();
        if number > inner.last {
            line::push(number, cdr, &mut inner.pending);
            inner.pending.push(b'\n');
            inner.last = number;
        }
    }

    /// Hands what was taken to the disk. Called now and then: CDRs stay in the state meanwhile.
    pub fn flush(self: &Arc<Self>) {
        let mut inner = self.lock();
        if inner.writing || inner.pending.is_empty() {
            return;
        }
        if inner.files.is_empty() || inner.len >= self.file_len {
            let first = inner.durable + 1;
            inner.files.push(format!("cdrs-{first:012}.jsonl").into());
            inner.len = 0;
        }
        let Some(file) = inner.files.last().cloned() else { return };
        let spare = std::mem::take(&mut inner.spare);
        let bytes = std::mem::replace(&mut inner.pending, spare);
        let (at, last, len) = (inner.len, inner.last, bytes.len() as u64);
        inner.writing = true;
        let projection = self.clone();
        let done = move |result: io::Result<()>, mut bytes: Vec<u8>| {
            let mut inner = projection.lock();
            inner.writing = false;
            match result {
                Ok(()) => {
                    (inner.len, inner.durable) = (at + len, last);
                    bytes.clear();
                    inner.spare = bytes;
                }
                Err(error) => {
                    // The state keeps them too, so nothing is lost while the disk is full.
                    tracing::error!(%error, "CDRs can't be written; trying again");
                    bytes.append(&mut inner.pending);
                    inner.pending = bytes;
                }
            }
        };
        self.disk.submit(Lane::Bulk, DiskOp::Write { file, at, bytes }, Box::new(done));
    }

    /// Lines up to this number are on disk.
    pub fn durable(&self) -> u64 {
        self.lock().durable
    }

    /// CDRs from the files, oldest first. Blocks while it reads.
    ///
    /// # Errors
    /// A file can't be read.
    pub fn find(&self, filter: &CdrFilter) -> Result<Vec<Value>, ProjectionError> {
        let (files, durable) = {
            let inner = self.lock();
            (inner.files.clone(), inner.durable)
        };
        let limit = filter.limit.unwrap_or(usize::MAX);
        let mut found = Vec::new();
        for file in files.iter().rev() {
            if found.len() >= limit {
                break;
            }
            // A file that was named and not yet written is not there.
            let bytes = match read_file(&*self.disk, file) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(ProjectionError { file: file.to_string(), error }),
            };
            let lines = bytes.split(|byte| *byte == b'\n').rev().filter(|line| filter.may_match(line));
            let parsed = lines.filter_map(|line| serde_json::from_slice::<Value>(line).ok());
            let matching = parsed.filter(|cdr| {
                cdr.get("seq").and_then(Value::as_u64).is_some_and(|seq| seq <= durable)
                    && filter.matches(cdr)
            });
            found.extend(matching.take(limit - found.len()));
        }
        found.reverse();
        Ok(found)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CdrFilter {
    /// Whether a CDR, in its JSON form, is wanted; the limit aside.
    pub fn matches(&self, cdr: &Value) -> bool {
        let text = |field| cdr.get(field).and_then(Value::as_str);
        self.since.is_none_or(|since| text("started_at").is_some_and(|at| at >= since.to_rfc3339().as_str()))
            && self.trunk.as_deref().is_none_or(|trunk| text("trunk") == Some(trunk))
            && self.call_id.as_deref().is_none_or(|id| {
                ["id", "call_id_a", "call_id_b"].into_iter().any(|field| text(field) == Some(id))
            })
    }

    /// Spares the parsing of lines that can't match: names and ids hold nothing that JSON escapes.
    fn may_match(&self, line: &[u8]) -> bool {
        let holds = |wanted: &Option<String>| match wanted {
            Some(text) if text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\')) => {
                line.windows(text.len().max(1)).any(|part| part == text.as_bytes()) || text.is_empty()
            }
            _ => true,
        };
        !line.is_empty() && holds(&self.trunk) && holds(&self.call_id)
    }
}

/// A CDR in the form that the files give it.
pub fn to_json(number: u64, cdr: &Cdr) -> Value {
    let mut line = Vec::new();
    line::push(number, cdr, &mut line);
    serde_json::from_slice(&line).unwrap_or(Value::Null)
}

/// How many bytes are whole lines whose numbers rise from `first` on, and the number of the last. A number is
/// passed over where this node took a snapshot instead of the entries: others have those CDRs.
fn whole_lines(bytes: &[u8], first: u64) -> (usize, u64) {
    let (mut whole, mut last) = (0, first.saturating_sub(1));
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let is_whole = line.ends_with(b"}\n") && !line.contains(&0);
        match number_of(line).filter(|number| is_whole && *number > last) {
            Some(number) => (whole, last) = (whole + line.len(), number),
            None => break,
        }
    }
    (whole, last)
}

fn number_of(line: &[u8]) -> Option<u64> {
    let digits = line.strip_prefix(b"{\"seq\":")?.split(|byte| *byte == b',').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The number of the first CDR in a file of this name.
fn first_number(name: &str) -> Option<u64> {
    name.strip_prefix("cdrs-")?.strip_suffix(".jsonl")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_or_repeated_line_ends_the_file_and_a_gap_does_not() {
        // 16 bytes each.
        let line = |number: u64| format!("{{\"seq\":{number},\"a\":1}}\n");
        let lines = |text: &str| whole_lines(text.as_bytes(), 3);
        assert_eq!(lines(&(line(3) + &line(7))), (32, 7));
        assert_eq!(lines(&(line(3) + "{\"seq\":4,\"a\":1}")), (16, 3));
        assert_eq!(lines(&(line(3) + &line(3))), (16, 3));
        assert_eq!(lines(&line(2)), (0, 2));
        assert_eq!(lines(&(line(3) + "\0\0}\n")), (16, 3));
    }
}

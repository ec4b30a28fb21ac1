//! CDR files: each node writes the CDRs that `apply` makes into files of its own, one JSON line each, in the
//! order of their numbers. A number is written once: after a crash the torn tail is cut off and writing goes
//! on behind the last whole line. What a node never applied it asks of others ([`gaps`]).

mod gaps;
mod line;
mod reader;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use call::Cdr;
use env::{Disk, DiskOp, Lane};
use gaps::Gaps;
pub(crate) use gaps::{Lines, Span};
use machine::museum::planted;
use machine::{Instant, WallTime};
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
    /// All files by the number of their first CDR; the last is written to.
    files: BTreeMap<u64, File>,
    /// Lines not yet handed to the disk, and the number of the last of all lines.
    pending: Vec<u8>,
    last: u64,
    /// Where numbers were passed over among the pending lines: a file ends there, and another begins.
    breaks: VecDeque<Break>,
    /// Memory of lines that are on disk, to be used again.
    spare: Vec<u8>,
    writing: bool,
    /// Lines up to this number are on disk, those aside that this node never applied.
    durable: u64,
    gaps: Gaps,
}

#[derive(Clone)]
struct File {
    name: Arc<str>,
    len: u64,
}

/// A jump in the numbers of the pending lines.
struct Break {
    /// How many bytes of them come before.
    at: usize,
    /// The number before it, and the one after.
    before: u64,
    after: u64,
}

impl Projection {
    /// Opens the CDR files of a disk and cuts off a torn tail.
    ///
    /// # Errors
    /// A file can't be read or cut.
    pub async fn open(disk: Arc<dyn Disk>, file_len: u64) -> Result<Arc<Projection>, ProjectionError> {
        let failed = |file: &str, error| ProjectionError { file: file.to_owned(), error };
        let listed = disk.list().map_err(|error| failed(".", error))?;
        let numbered = listed.iter().filter_map(|file| Some((first_number(&file.name)?, file)));
        let files = numbered.map(|(first, it)| (first, File { name: it.name.as_str().into(), len: it.len }));
        let mut inner = Inner { files: files.collect(), ..Inner::default() };
        if let Some((first, newest)) = inner.files.last_key_value() {
            let (first, name) = (*first, newest.name.clone());
            let bytes = read_file(&*disk, &name).map_err(|error| failed(&name, error))?;
            let (whole, last) = whole_lines(&bytes, first);
            if whole < bytes.len() {
                tracing::warn!(file = %name, cut = bytes.len() - whole, "the torn tail of a CDR file is cut off");
                let op = DiskOp::Truncate { file: name.clone(), len: whole as u64 };
                perform(&*disk, Lane::Bulk, op).await.map_err(|error| failed(&name, error))?;
            }
            inner.files.insert(first, File { name, len: whole as u64 });
            (inner.last, inner.durable) = (last, last);
        }
        for (from, to) in missing(&*disk, &inner.files).map_err(|error| failed(".", error))? {
            inner.gaps.open(from, to);
        }
        Ok(Arc::new(Projection { disk, file_len, inner: Mutex::new(inner) }))
    }

    /// Takes the next CDR. One that is in the files already is passed over.
    pub fn add(&self, number: u64, cdr: &Cdr) {
        let mut inner = self.lock();
        if number <= inner.last {
            return;
        }
        if number > inner.last + 1 {
            let (at, before) = (inner.pending.len(), inner.last);
            inner.breaks.push_back(Break { at, before, after: number });
            inner.gaps.open(before + 1, number - 1);
        }
        line::push(number, cdr, &mut inner.pending);
        inner.pending.push(b'\n');
        inner.last = number;
    }

    /// Hands what was taken to the disk. Called now and then: CDRs stay in the state meanwhile.
    pub fn flush(self: &Arc<Self>) {
        let mut inner = self.lock();
        if inner.writing || inner.pending.is_empty() {
            return;
        }
        let begins = inner.breaks.pop_front_if(|jump| jump.at == 0).map(|jump| jump.after);
        let is_full = inner.files.last_key_value().is_none_or(|(_, file)| file.len >= self.file_len);
        if let Some(first) = begins.or(is_full.then_some(inner.durable + 1)) {
            let name = name_of(first);
            inner.files.insert(first, File { name, len: 0 });
        }
        let Some((first, File { name: file, len: at })) =
            inner.files.last_key_value().map(|(first, file)| (*first, file.clone()))
        else {
            return;
        };
        let spare = std::mem::take(&mut inner.spare);
        let mut bytes = std::mem::replace(&mut inner.pending, spare);
        let mut last = inner.last;
        if let Some(jump) = inner.breaks.front() {
            let (cut, before) = (jump.at, jump.before);
            inner.pending.extend_from_slice(bytes.get(cut..).unwrap_or_default());
            bytes.truncate(cut);
            last = before;
            inner.breaks.iter_mut().for_each(|jump| jump.at -= cut);
        }
        let len = bytes.len() as u64;
        inner.writing = true;
        let projection = self.clone();
        let done = move |result: io::Result<()>, mut bytes: Vec<u8>| {
            let mut inner = projection.lock();
            inner.writing = false;
            match result {
                Ok(()) => {
                    if let Some(file) = inner.files.get_mut(&first) {
                        file.len = at + len;
                    }
                    inner.durable = last;
                    bytes.clear();
                    inner.spare = bytes;
                }
                Err(_) if planted("cdr-lost-on-a-full-disk") => inner.durable = last,
                Err(error) => {
                    // The state keeps them too, so nothing is lost while the disk is full.
                    tracing::error!(%error, "CDRs can't be written; trying again");
                    inner.breaks.iter_mut().for_each(|jump| jump.at += bytes.len());
                    bytes.append(&mut inner.pending);
                    inner.pending = bytes;
                }
            }
        };
        self.disk.submit(Lane::Bulk, DiskOp::Write { file, at, bytes }, Box::new(done));
    }

    /// What to ask of which other node: CDRs that this one never applied.
    pub(crate) fn wants(&self, now: Instant, peers: &[u64]) -> Option<(u64, Span)> {
        self.lock().gaps.ask(now, peers)
    }

    /// The lines of a span that are in the files, as many as fit into an answer.
    pub(crate) fn lines(&self, span: Span) -> Lines {
        let (files, durable) = {
            let inner = self.lock();
            (inner.files.clone(), inner.durable)
        };
        let begin = files.range(..=span.from).next_back().map_or(span.from, |(first, _)| *first);
        let mut bytes = Vec::new();
        for (_, file) in files.range(begin..=span.to.max(begin)) {
            let wanted = |number: u64| (span.from..=span.to.min(durable)).contains(&number);
            // A file that was named and not yet written has nothing.
            let found =
                reader::from(&*self.disk, &file.name, file.len, span.from, ANSWER_MAX).unwrap_or_default();
            let lines = found.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
            for line in lines.filter(|line| number_of(line).is_some_and(wanted)) {
                if bytes.len() + line.len() > ANSWER_MAX {
                    return Lines { span, bytes };
                }
                bytes.extend_from_slice(line);
            }
            if found.len() > ANSWER_MAX {
                // There is more in this file: what follows it is for another answer.
                break;
            }
        }
        Lines { span, bytes }
    }

    /// Takes what another node had of what was asked of it.
    pub(crate) fn fill(self: &Arc<Self>, from: u64, lines: Lines) {
        let mut inner = self.lock();
        if !inner.gaps.awaits(from, lines.span) {
            return;
        }
        let Lines { span, bytes } = lines;
        let numbers: Vec<u64> =
            bytes.split_inclusive(|byte| *byte == b'\n').map_while(whole_number).collect();
        let rise = numbers.is_sorted_by(|one, next| one < next);
        let within = numbers.iter().all(|number| (span.from..=span.to).contains(number));
        let count = bytes.iter().filter(|byte| **byte == b'\n').count();
        let Some(first) = numbers.first().copied().filter(|_| rise && within && count == numbers.len())
        else {
            return inner.gaps.filled(&[]);
        };
        let (file, len) = (name_of(first), bytes.len() as u64);
        let op = DiskOp::WriteWhole { file: file.clone(), chunks: Box::new(std::iter::once(bytes)) };
        let projection = self.clone();
        let done = move |result: io::Result<()>, _: Vec<u8>| {
            let mut inner = projection.lock();
            match result {
                Ok(()) => {
                    inner.files.insert(first, File { name: file, len });
                    inner.gaps.filled(&numbers);
                }
                Err(error) => {
                    tracing::error!(%error, "CDRs of another node can't be written; trying again");
                    inner.gaps.again();
                }
            }
        };
        drop(inner);
        self.disk.submit(Lane::Bulk, op, Box::new(done));
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
            let names: Vec<_> = inner.files.values().map(|file| file.name.clone()).collect();
            (names, inner.durable)
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

/// How many bytes are whole lines whose numbers rise from `first` on, and the number of the last.
fn whole_lines(bytes: &[u8], first: u64) -> (usize, u64) {
    let (mut whole, mut last) = (0, first.saturating_sub(1));
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        match whole_number(line).filter(|number| *number > last) {
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

/// The number of a line that is whole.
fn whole_number(line: &[u8]) -> Option<u64> {
    number_of(line).filter(|_| line.ends_with(b"}\n") && !line.contains(&0))
}

/// What lies between the files, and before the first: CDRs that this node never applied.
fn missing(disk: &dyn Disk, files: &BTreeMap<u64, File>) -> io::Result<Vec<(u64, u64)>> {
    let mut spans = Vec::new();
    let mut next = 1;
    for (first, file) in files {
        if *first > next {
            spans.push((next, first - 1));
        }
        let last = reader::last(disk, &file.name, file.len)?;
        next = last.unwrap_or(first - 1).max(first - 1) + 1;
    }
    Ok(spans)
}

/// The file whose first CDR has this number.
fn name_of(first: u64) -> Arc<str> {
    format!("cdrs-{first:012}.jsonl").into()
}

/// One answer to a node that misses CDRs.
const ANSWER_MAX: usize = 512 << 10;

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

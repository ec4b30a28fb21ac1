//! Parts of a CDR file, found without reading all of it: its lines' numbers rise.

use std::io;

use env::Disk;

use super::whole_number;

/// The number of the last whole line.
pub(super) fn last(disk: &dyn Disk, file: &str, len: u64) -> io::Result<Option<u64>> {
    let mut size = LINES;
    loop {
        let at = len.saturating_sub(size);
        let bytes = disk.read(file, at, usize::try_from(size).unwrap_or(usize::MAX))?;
        let last = bytes.split_inclusive(|byte| *byte == b'\n').rev().find_map(whole_number);
        // The first piece may be the rest of a line, which has no number.
        if last.is_some() || at == 0 {
            return Ok(last);
        }
        size *= 2;
    }
}

/// Bytes of the file, at most so many, that begin with a line, at most a few lines before the one with this number.
pub(super) fn from(disk: &dyn Disk, file: &str, len: u64, number: u64, max: usize) -> io::Result<Vec<u8>> {
    let (mut low, mut high) = (0, len);
    while high.saturating_sub(low) > LINES {
        let middle = low + (high - low) / 2;
        let bytes = disk.read(file, middle, LINES as usize)?;
        let begin = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
        let found = bytes.get(begin..).unwrap_or_default().split_inclusive(|byte| *byte == b'\n').next();
        match found.and_then(whole_number) {
            Some(there) if there <= number => low = middle + begin as u64,
            _ => high = middle,
        }
    }
    disk.read(file, low, max + LINES as usize)
}

/// Several lines: what is read where one is looked for.
const LINES: u64 = 16 << 10;

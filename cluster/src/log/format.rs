//! The bytes of a log segment: a header block, then groups. A group is what one write made durable: it
//! begins on a block boundary and holds records under one CRC32C, so it is there whole or not at all.

use std::ops::Range;

use machine::museum::planted;
use thiserror::Error;

/// Groups begin on multiples of this, so that a torn write can't reach into what was durable before.
pub const BLOCK: usize = 4096;

/// Bytes before the records of a group.
pub const GROUP_HEADER: usize = 20;

/// Identifies an entry: Raft's log id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The leader's term.
    pub term: u64,
    /// The leader.
    pub node: u64,
    /// The entry's index.
    pub index: u64,
}

/// Raft's vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vote {
    /// The term voted in.
    pub term: u64,
    /// The node voted for.
    pub node: u64,
    /// Whether a quorum granted it.
    pub committed: bool,
}

/// One record of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// An entry and its payload.
    Entry(Position, &'a [u8]),
    /// A vote.
    Vote(Vote),
    /// The highest entry known to be committed.
    Committed(Position),
    /// Entries from this index on are void.
    Truncated(u64),
    /// Entries up to this one are in a snapshot.
    Purged(Position),
}

/// Where a segment stands in the log, and what older segments, soon removed, said last. It is durable before
/// the first group is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Drawn when the log was made; mixed into every CRC, so that payloads can't pose as groups.
    pub salt: u64,
    /// The segment's number.
    pub segment: u64,
    /// The number of its first group.
    pub first_group: u64,
    /// The last vote.
    pub vote: Option<Vote>,
    /// The highest entry known to be committed.
    pub committed: Option<Position>,
    /// Entries up to this one are in a snapshot.
    pub purged: Option<Position>,
}

/// Why a segment can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ScanError {
    /// The header block is damaged, yet there is something behind it.
    #[error("the segment's header is damaged")]
    Header,
    /// A version of the format that this program does not know.
    #[error("format version {0} is not known")]
    Version(u32),
    /// A damaged group with a sound one behind it: no torn write looks like this.
    #[error("damaged at byte {0}, with sound data behind it")]
    Middle(u64),
    /// A group whose CRC holds but whose records make no sense.
    #[error("nonsense at byte {0}")]
    Nonsense(u64),
}

/// What a segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    /// The header; absent in a segment that was prepared and not yet used.
    pub header: Option<Header>,
    /// Where the next group goes.
    pub end: u64,
    /// The number of the next group.
    pub next_group: u64,
    /// Whether bytes of a torn write lie behind the end.
    pub torn: bool,
}

/// Starts a group in an empty buffer: room for its header.
pub fn begin_group(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.resize(GROUP_HEADER, 0);
}

/// Adds an entry whose payload `fill` writes; gives the payload's place in the buffer.
pub fn push_entry(buffer: &mut Vec<u8>, at: Position, fill: impl FnOnce(&mut Vec<u8>)) -> Range<usize> {
    buffer.push(KIND_ENTRY);
    let len_at = buffer.len();
    buffer.extend_from_slice(&[0; 4]);
    push_position(buffer, at);
    let payload = buffer.len();
    fill(buffer);
    let len = (buffer.len() - len_at - 4) as u32;
    if let Some(slot) = buffer.get_mut(len_at..len_at + 4) {
        slot.copy_from_slice(&len.to_le_bytes());
    }
    payload..buffer.len()
}

/// Adds a record that is not an entry.
pub fn push_record(buffer: &mut Vec<u8>, record: &Record<'_>) {
    let mut header = |kind: u8, len: u32| {
        buffer.push(kind);
        buffer.extend_from_slice(&len.to_le_bytes());
    };
    match *record {
        Record::Entry(at, payload) => {
            push_entry(buffer, at, |out| out.extend_from_slice(payload));
        }
        Record::Vote(vote) => {
            header(KIND_VOTE, 17);
            buffer.extend_from_slice(&vote.term.to_le_bytes());
            buffer.extend_from_slice(&vote.node.to_le_bytes());
            buffer.push(u8::from(vote.committed));
        }
        Record::Committed(at) => {
            header(KIND_COMMITTED, 24);
            push_position(buffer, at);
        }
        Record::Truncated(from) => {
            header(KIND_TRUNCATED, 8);
            buffer.extend_from_slice(&from.to_le_bytes());
        }
        Record::Purged(at) => {
            header(KIND_PURGED, 24);
            push_position(buffer, at);
        }
    }
}

/// Completes a group: header and CRC in front, zeros up to the block boundary behind.
pub fn seal_group(buffer: &mut Vec<u8>, salt: u64, segment: u64, number: u64) {
    let len = (buffer.len() - GROUP_HEADER) as u32;
    let crc = group_crc(salt, segment, number, buffer.get(GROUP_HEADER..).unwrap_or_default());
    let mut head = [0; GROUP_HEADER];
    head[..4].copy_from_slice(&GROUP_MAGIC.to_le_bytes());
    head[4..8].copy_from_slice(&len.to_le_bytes());
    head[8..16].copy_from_slice(&number.to_le_bytes());
    head[16..].copy_from_slice(&crc.to_le_bytes());
    if let Some(slot) = buffer.get_mut(..GROUP_HEADER) {
        slot.copy_from_slice(&head);
    }
    buffer.resize(buffer.len().next_multiple_of(BLOCK), 0);
}

/// The header block of a segment.
pub fn header_block(header: &Header) -> Vec<u8> {
    let mut block = Vec::with_capacity(BLOCK);
    block.extend_from_slice(SEGMENT_MAGIC);
    block.extend_from_slice(&VERSION.to_le_bytes());
    block.extend_from_slice(&header.salt.to_le_bytes());
    block.extend_from_slice(&header.segment.to_le_bytes());
    block.extend_from_slice(&header.first_group.to_le_bytes());
    let vote = header.vote.unwrap_or(Vote { term: 0, node: 0, committed: false });
    block.push(u8::from(header.vote.is_some()) | u8::from(vote.committed) << 1);
    block.extend_from_slice(&vote.term.to_le_bytes());
    block.extend_from_slice(&vote.node.to_le_bytes());
    for at in [header.committed, header.purged] {
        block.push(u8::from(at.is_some()));
        push_position(&mut block, at.unwrap_or(Position { term: 0, node: 0, index: 0 }));
    }
    let crc = crc32c::crc32c(&block);
    block.extend_from_slice(&crc.to_le_bytes());
    block.resize(BLOCK, 0);
    block
}

/// Reads a segment and shows each record with the offset of its payload. The records of a torn group at the
/// end are not shown.
///
/// # Errors
/// Anything that a torn write does not explain.
pub fn scan(bytes: &[u8], mut see: impl FnMut(Record<'_>, u64)) -> Result<Scan, ScanError> {
    let Some(header) = read_header(bytes)? else {
        return match first_group_at_or_after(bytes, BLOCK, None) {
            Some(_) => Err(ScanError::Header),
            None => {
                let torn = bytes.iter().any(|b| *b != 0);
                Ok(Scan { header: None, end: 0, next_group: 0, torn })
            }
        };
    };
    let (mut end, mut next_group) = (BLOCK, header.first_group);
    while let Some((number, body)) = read_group(bytes, end, &header) {
        if number != next_group {
            break;
        }
        let nonsense = ScanError::Nonsense(end as u64);
        show_records(bytes, body.clone(), &mut see).ok_or(nonsense)?;
        end = body.end.next_multiple_of(BLOCK);
        next_group = next_group.checked_add(1).ok_or(nonsense)?;
    }
    // Only one write is ever under way, so behind a torn group there can be no sound one.
    if first_group_at_or_after(bytes, end, Some((&header, next_group))).is_some() {
        return Err(ScanError::Middle(end as u64));
    }
    let torn = bytes.get(end..).unwrap_or_default().iter().any(|b| *b != 0);
    Ok(Scan { header: Some(header), end: end as u64, next_group, torn })
}

/// The header of a segment, if it is whole.
pub(super) fn read_header(bytes: &[u8]) -> Result<Option<Header>, ScanError> {
    let Some(block) = bytes.get(..HEADER_LEN) else { return Ok(None) };
    let mut fields = Fields(block);
    let (Some(magic), Some(version)) = (fields.take(8), fields.u32()) else { return Ok(None) };
    if magic != SEGMENT_MAGIC {
        return Ok(None);
    }
    let (covered, crc) = block.split_at(HEADER_LEN - 4);
    if crc != crc32c::crc32c(covered).to_le_bytes() {
        return Ok(None);
    }
    if version != VERSION {
        return Err(ScanError::Version(version));
    }
    Ok(fields.header())
}

/// The number and the records' range of the group at `at`, if it is whole.
fn read_group(bytes: &[u8], at: usize, header: &Header) -> Option<(u64, Range<usize>)> {
    let mut fields = Fields(bytes.get(at..)?);
    if fields.u32()? != GROUP_MAGIC {
        return None;
    }
    let (len, number, crc) = (fields.u32()? as usize, fields.u64()?, fields.u32()?);
    let body = fields.take(len)?;
    (crc == group_crc(header.salt, header.segment, number, body) || planted("torn-tail-believed"))
        .then_some((number, at + GROUP_HEADER..at + GROUP_HEADER + len))
}

/// Looks for a sound group: with a header, one that this segment may still hold; without, anything that
/// looks like one.
fn first_group_at_or_after(bytes: &[u8], from: usize, header: Option<(&Header, u64)>) -> Option<usize> {
    (from..bytes.len()).step_by(BLOCK).find(|at| match header {
        Some((header, next)) => read_group(bytes, *at, header).is_some_and(|(number, _)| number >= next),
        None => bytes.get(*at..*at + 4) == Some(&GROUP_MAGIC.to_le_bytes()[..]),
    })
}

fn show_records(bytes: &[u8], body: Range<usize>, see: &mut impl FnMut(Record<'_>, u64)) -> Option<()> {
    let mut at = body.start;
    while at < body.end {
        let mut fields = Fields(bytes.get(at..body.end)?);
        let (kind, len) = (fields.u8()?, fields.u32()? as usize);
        let mut inner = Fields(fields.take(len)?);
        let record = match kind {
            KIND_ENTRY => {
                let position = inner.position()?;
                Record::Entry(position, inner.0)
            }
            KIND_VOTE => {
                let (term, node) = (inner.u64()?, inner.u64()?);
                Record::Vote(Vote { term, node, committed: inner.u8()? != 0 })
            }
            KIND_COMMITTED => Record::Committed(inner.position()?),
            KIND_TRUNCATED => Record::Truncated(inner.u64()?),
            KIND_PURGED => Record::Purged(inner.position()?),
            _ => return None,
        };
        let payload = at + 5 + if kind == KIND_ENTRY { 24 } else { 0 };
        see(record, payload as u64);
        at += 5 + len;
    }
    Some(())
}

fn push_position(buffer: &mut Vec<u8>, at: Position) {
    buffer.extend_from_slice(&at.term.to_le_bytes());
    buffer.extend_from_slice(&at.node.to_le_bytes());
    buffer.extend_from_slice(&at.index.to_le_bytes());
}

fn group_crc(salt: u64, segment: u64, number: u64, body: &[u8]) -> u32 {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&salt.to_le_bytes());
    seed[8..16].copy_from_slice(&segment.to_le_bytes());
    seed[16..24].copy_from_slice(&number.to_le_bytes());
    seed[24..].copy_from_slice(&(body.len() as u64).to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&seed), body)
}

/// Reads fixed-size fields off the front of a slice.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn position(&mut self) -> Option<Position> {
        Some(Position { term: self.u64()?, node: self.u64()?, index: self.u64()? })
    }

    fn header(&mut self) -> Option<Header> {
        let (salt, segment, first_group) = (self.u64()?, self.u64()?, self.u64()?);
        let flags = self.u8()?;
        let vote = Vote { term: self.u64()?, node: self.u64()?, committed: flags & 2 != 0 };
        let vote = (flags & 1 != 0).then_some(vote);
        let mut maybe = || {
            let there = self.u8()? != 0;
            let position = self.position()?;
            Some(there.then_some(position))
        };
        let (committed, purged) = (maybe()?, maybe()?);
        Some(Header { salt, segment, first_group, vote, committed, purged })
    }
}

const SEGMENT_MAGIC: &[u8; 8] = b"BANYANLG";
const GROUP_MAGIC: u32 = u32::from_le_bytes(*b"BGRP");
const VERSION: u32 = 1;
const HEADER_LEN: usize = 8 + 4 + 3 * 8 + 17 + 2 * 25 + 4;
const KIND_ENTRY: u8 = 1;
const KIND_VOTE: u8 = 2;
const KIND_COMMITTED: u8 = 3;
const KIND_TRUNCATED: u8 = 4;
const KIND_PURGED: u8 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header {
        salt: 0x5A17,
        segment: 3,
        first_group: 7,
        vote: Some(Vote { term: 5, node: 6, committed: true }),
        committed: None,
        purged: Some(Position { term: 1, node: 2, index: 3 }),
    };

    fn position(index: u64) -> Position {
        Position { term: 1, node: 1, index }
    }

    /// A segment of three groups: an entry each, the second of three blocks.
    fn segment() -> Vec<u8> {
        let mut bytes = header_block(&HEADER);
        for (n, len) in [(0, 10), (1, 9000), (2, 10)] {
            let mut group = Vec::new();
            begin_group(&mut group);
            push_entry(&mut group, position(n), |out| out.extend(std::iter::repeat_n(b'x', len)));
            seal_group(&mut group, HEADER.salt, HEADER.segment, 7 + n);
            bytes.extend_from_slice(&group);
        }
        bytes
    }

    fn indexes(bytes: &[u8]) -> Result<(Vec<u64>, Scan), ScanError> {
        let mut seen = Vec::new();
        let scan = scan(bytes, |record, _| {
            if let Record::Entry(at, _) = record {
                seen.push(at.index);
            }
        })?;
        Ok((seen, scan))
    }

    #[test]
    fn every_record_survives_its_bytes() {
        let records = [
            Record::Entry(position(9), b"payload"),
            Record::Vote(Vote { term: 2, node: 3, committed: true }),
            Record::Committed(position(8)),
            Record::Truncated(10),
            Record::Purged(position(4)),
        ];
        let mut bytes = header_block(&HEADER);
        let mut group = Vec::new();
        begin_group(&mut group);
        records.iter().for_each(|record| push_record(&mut group, record));
        seal_group(&mut group, HEADER.salt, HEADER.segment, 7);
        bytes.extend_from_slice(&group);
        let mut n = 0;
        let scan = scan(&bytes, |record, at| {
            assert_eq!(record, records[n]);
            if let Record::Entry(_, payload) = record {
                assert_eq!(&bytes[at as usize..at as usize + payload.len()], payload);
            }
            n += 1;
        });
        assert_eq!(n, records.len());
        assert_eq!(scan, Ok(Scan { header: Some(HEADER), end: 8192, next_group: 8, torn: false }));
    }

    #[test]
    fn a_segment_cut_at_any_byte_keeps_every_whole_group() {
        let whole = segment();
        assert_eq!(whole.len(), 6 * BLOCK);
        for cut in 0..whole.len() {
            let (seen, scan) = indexes(&whole[..cut]).unwrap();
            // Each group is whole once its last record byte is there: the zeros behind may be missing.
            let expected: Vec<u64> = [BLOCK + 20 + 39, 2 * BLOCK + 20 + 9029, 5 * BLOCK + 20 + 39]
                .iter()
                .enumerate()
                .filter(|(_, end)| cut >= **end)
                .map(|(n, _)| n as u64)
                .collect();
            assert_eq!(seen, expected, "cut at {cut}");
            assert_eq!(scan.end % BLOCK as u64, 0);
        }
    }

    #[test]
    fn a_last_group_with_any_byte_flipped_is_a_torn_tail() {
        let whole = segment();
        for at in 5 * BLOCK..5 * BLOCK + 59 {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x40;
            let (seen, scan) = indexes(&bytes).unwrap();
            assert_eq!((seen, scan.end, scan.torn), (vec![0, 1], 5 * BLOCK as u64, true), "flip at {at}");
        }
    }

    #[test]
    fn damage_with_sound_data_behind_it_is_an_error() {
        let whole = segment();
        for at in (BLOCK..BLOCK + 59).chain(2 * BLOCK..2 * BLOCK + 9000) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            let broken = if at < 2 * BLOCK { BLOCK } else { 2 * BLOCK };
            assert_eq!(indexes(&bytes), Err(ScanError::Middle(broken as u64)), "flip at {at}");
        }
        let mut bytes = whole;
        bytes[9] ^= 1;
        assert_eq!(indexes(&bytes), Err(ScanError::Header));
    }

    #[test]
    fn groups_of_a_former_life_of_the_file_are_not_taken_for_the_log() {
        let mut bytes = segment();
        let header = Header { segment: 4, first_group: 10, ..HEADER };
        bytes[..BLOCK].copy_from_slice(&header_block(&header));
        let (seen, scan) = indexes(&bytes).unwrap();
        assert_eq!((seen, scan.end, scan.next_group), (vec![], BLOCK as u64, 10));
    }

    #[test]
    fn golden_bytes_of_a_group() {
        let mut group = Vec::new();
        begin_group(&mut group);
        push_record(&mut group, &Record::Truncated(0x0102));
        seal_group(&mut group, 0, 1, 2);
        // Magic, length 13, number 2, CRC, then kind 4, length 8, the index; little-endian throughout.
        assert_eq!(&group[..8], b"BGRP\x0D\0\0\0");
        assert_eq!(&group[8..16], &[2, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(&group[20..33], &[4, 8, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(group.len(), BLOCK);
        let crc = u32::from_le_bytes(group[16..20].try_into().unwrap());
        assert_eq!(crc, group_crc(0, 1, 2, &group[20..33]));
    }
}

//! What must hold for any bytes taken as a segment. A CRC keeps chance out of the records, so the bytes are
//! read three times: as a segment, as the records of sealed groups, and as what a torn write left behind.

use super::format::{
    BLOCK, Header, Position, Record, Scan, ScanError, begin_group, header_block, push_record, scan,
    seal_group,
};

/// Scans arbitrary bytes; whatever is accepted must come out the same when it is written again: for fuzzing.
pub fn fuzz(bytes: &[u8]) {
    let _ = check(bytes);
    let Some((number, body)) = bytes.split_first_chunk::<8>() else { return };
    let number = u64::from_le_bytes(*number);
    let (first, second) = body.split_at(body.len() / 2);
    let at = |index| Position { term: 1, node: 2, index };
    let header =
        Header { salt: 3, segment: 4, first_group: number, committed: Some(at(5)), ..Header::default() };
    let whole = [header_block(&header), group(&header, number, body)].concat();
    let accepted = check(&whole).is_ok();
    let two = [header_block(&header), group(&header, number, first)];
    let two = [two.concat(), group(&header, number.wrapping_add(1), second)].concat();
    let _ = check(&two);
    let torn = [&whole, bytes].concat();
    // Sound groups behind the first are ours to refuse or to show; a torn tail never hides what was durable.
    if let (true, Ok((scan, _))) = (accepted, check(&torn)) {
        assert!(scan.end as usize >= whole.len(), "a tail hides a durable group");
    }
}

/// Scans a segment twice: as it is, and as what it holds is written again.
fn check(bytes: &[u8]) -> Result<(Scan, usize), ScanError> {
    let mut group = Vec::new();
    begin_group(&mut group);
    let mut records = 0;
    let found = scan(bytes, |record, at| {
        records += 1;
        if let Record::Entry(_, payload) = record {
            let at = at as usize;
            assert_eq!(
                bytes.get(at..at + payload.len()),
                Some(payload),
                "the payload is not where it is said"
            );
        }
        push_record(&mut group, &record);
    })?;
    assert!(found.end as usize <= bytes.len().next_multiple_of(BLOCK), "the end lies outside");
    assert_eq!(found.end as usize % BLOCK, 0, "groups begin on block boundaries");
    let Some(header) = found.header else { return Ok((found, records)) };
    let body = group.clone();
    seal_group(&mut group, header.salt, header.segment, header.first_group);
    let mut again = Vec::new();
    begin_group(&mut again);
    let written = [header_block(&header), group].concat();
    let rescan = scan(&written, |record, _| push_record(&mut again, &record)).map(|scan| scan.header);
    assert_eq!(rescan, Ok(Some(header)), "the header is written as it was read");
    assert_eq!(again, body, "the records are written as they were read");
    Ok((found, records))
}

fn group(header: &Header, number: u64, body: &[u8]) -> Vec<u8> {
    let mut group = Vec::new();
    begin_group(&mut group);
    group.extend_from_slice(body);
    seal_group(&mut group, header.salt, header.segment, number);
    group
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A group number, then a record: kind, length, fields.
    fn numbered(number: u64, record: &Record<'_>) -> Vec<u8> {
        let mut bytes = number.to_le_bytes().to_vec();
        push_record(&mut bytes, record);
        bytes
    }

    #[test]
    fn records_behind_a_group_number_are_read_and_written() {
        fuzz(&[]);
        fuzz(&numbered(7, &Record::Truncated(9)));
        fuzz(&numbered(7, &Record::Entry(Position { term: 1, node: 2, index: 3 }, b"payload")));
    }

    #[test]
    fn the_last_group_number_of_all_is_no_reason_to_stop() {
        fuzz(&numbered(u64::MAX, &Record::Truncated(9)));
    }
}

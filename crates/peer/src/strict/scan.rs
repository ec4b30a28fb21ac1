//! Header lines of messages that are trusted: one pass, no checks beyond the bounds of the bytes.

/// The headers that the generator knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Via,
    From,
    To,
    CallId,
    CSeq,
    Contact,
    RecordRoute,
    Other,
}

/// One header line: its name, its value, and the whole line with its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    pub(super) name: Name,
    pub(super) value: &'a [u8],
    pub(super) whole: &'a [u8],
}

/// The header lines after the first line, up to the blank one.
pub(super) fn lines(message: &[u8]) -> impl Iterator<Item = Line<'_>> {
    let mut rest = end_of_line(message).map_or(&[][..], |(_, rest)| rest);
    std::iter::from_fn(move || {
        let (line, next) = end_of_line(rest)?;
        let whole = rest.get(..rest.len() - next.len())?;
        rest = next;
        if line.is_empty() {
            return None;
        }
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = line.split_at(colon);
        Some(Line { name: known(name.trim_ascii_end()), value: value.get(1..)?.trim_ascii(), whole })
    })
}

/// The value between `<` and `>`, or all of it.
pub(super) fn angled(value: &[u8]) -> &[u8] {
    let Some(open) = value.iter().position(|byte| *byte == b'<') else { return value };
    let inner = value.get(open + 1..).unwrap_or_default();
    let close = inner.iter().position(|byte| *byte == b'>').unwrap_or(inner.len());
    inner.get(..close).unwrap_or_default()
}

/// A line without its end, and what follows.
fn end_of_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let line = bytes.get(..end)?;
    Some((line.strip_suffix(b"\r").unwrap_or(line), bytes.get(end + 1..)?))
}

fn known(name: &[u8]) -> Name {
    let is = |long: &[u8], short: &[u8]| name.eq_ignore_ascii_case(long) || name.eq_ignore_ascii_case(short);
    match name.len() {
        1..=4 if is(b"Via", b"v") => Name::Via,
        1..=4 if is(b"From", b"f") => Name::From,
        1..=4 if is(b"To", b"t") => Name::To,
        1..=4 if is(b"CSeq", b"CSeq") => Name::CSeq,
        1 | 7 if is(b"Call-ID", b"i") => Name::CallId,
        1 | 7 if is(b"Contact", b"m") => Name::Contact,
        12 if is(b"Record-Route", b"Record-Route") => Name::RecordRoute,
        _ => Name::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_with_name_value_and_whole() {
        let message =
            b"SIP/2.0 200 OK\r\nv: a\r\nCall-ID : 7\r\nX: y\r\nm: \"A\" <sip:b@c>;q=1\r\n\r\nTo: body\r\n";
        let lines: Vec<Line> = lines(message).collect();
        let names: Vec<Name> = lines.iter().map(|line| line.name).collect();
        assert_eq!(names, [Name::Via, Name::CallId, Name::Other, Name::Contact]);
        assert_eq!((lines[1].value, lines[0].whole), (&b"7"[..], &b"v: a\r\n"[..]));
        assert_eq!(angled(lines[3].value), b"sip:b@c");
        assert_eq!(angled(b"sip:x"), b"sip:x");
    }
}

//! Torture: messages with the verdict that an RFC wants for each, in tables written by hand.
//!
//! Our own set is in `tests/torture`. The messages of RFC 4475 and RFC 5118 themselves are not ours to copy:
//! `cargo xtask explain-corpus DIR` checks those.

use std::fs;
use std::path::{Path, PathBuf};

use sip::verdict::{Rules, read};
use sip::{Frame, Framer, Framing, Message};

struct Row {
    name: String,
    verdict: String,
    clause: String,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/torture")
}

fn table(name: &str) -> Vec<Row> {
    let text = fs::read_to_string(folder().join(name)).expect("the table is in the repository");
    text.lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| {
            let columns: Vec<&str> = line.split(" | ").collect();
            assert_eq!(columns.len(), 4, "name | verdict | clause | why: {line}");
            Row { name: columns[0].into(), verdict: columns[1].into(), clause: columns[2].into() }
        })
        .collect()
}

/// The verdict for a file, compared with the row; the text of the difference if there is one.
fn difference(row: &Row, file: &Path) -> Option<String> {
    let bytes = fs::read(file).expect("every row has its file");
    let actual = read(&bytes, Framing::Datagram, &Rules::default()).verdict.to_string();
    let meets =
        actual == row.verdict || actual.strip_prefix(&row.verdict).is_some_and(|tail| tail.starts_with(' '));
    (!meets).then(|| format!("{}: {actual}, but {} wants {}", row.name, row.clause, row.verdict))
}

#[track_caller]
fn check(rows: &[Row], file_of: impl Fn(&Row) -> PathBuf) {
    let differences: Vec<String> = rows.iter().filter_map(|row| difference(row, &file_of(row))).collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder exists").flatten().map(|entry| entry.path());
    entries.filter(|path| path.extension().is_some_and(|e| e == extension)).collect()
}

#[test]
fn every_message_of_our_own_set_gets_the_verdict_of_its_row() {
    let rows = table("own.table");
    assert_eq!(files(&folder(), "sip").len(), rows.len(), "every file has a row and every row a file");
    check(&rows, |row| folder().join(format!("{}.sip", row.name)));
}

/// Framer and parser agree on the length of all that both accept.
#[test]
fn the_framer_cuts_every_accepted_message_where_the_parser_ends_it() {
    let mut agreed = 0;
    for file in files(&folder(), "sip") {
        let bytes = fs::read(&file).expect("the file is there");
        let Ok(message) = Message::parse(&bytes, Framing::Stream) else { continue };
        let mut framer = Framer::new();
        framer.push(&bytes);
        let mut frame = framer.next();
        while frame == Some(Ok(Frame::Ping)) {
            frame = framer.next();
        }
        let Some(Ok(Frame::Message(framed))) = frame else { panic!("{}: {frame:?}", file.display()) };
        assert_eq!(framed.as_ref(), message.bytes(), "{}", file.display());
        agreed += 1;
    }
    assert!(agreed > 50, "{agreed}");
}

//! `banyan explain` meets the hand-written verdicts of `tests/torture`, message by message, as a user would ask.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::{node, source};

struct Row {
    name: String,
    verdict: String,
    clause: String,
}

#[test]
fn t30_explain_prints_the_verdict_of_every_message_of_our_own_set() {
    let folder = source::root().join("tests/torture");
    let rows = table("own.table");
    assert!(rows.len() > 50, "the table has {} rows", rows.len());
    check(&rows, &files(&folder, "sip"));
}

/// The messages of RFC 4475 and 5118 themselves, where `BANYAN_CORPUS` says where they are.
#[test]
fn t30_explain_prints_the_verdict_of_every_message_of_rfc_4475_and_5118() {
    let Some(corpus) = std::env::var_os("BANYAN_CORPUS").map(PathBuf::from) else {
        println!("BANYAN_CORPUS is not set: our own set alone is checked");
        return;
    };
    for rfc in ["rfc4475", "rfc5118"] {
        let rows = table(&format!("{rfc}.table"));
        let files = files(&corpus.join(rfc), "dat");
        assert_eq!(files.len(), rows.len(), "{rfc}: every message has a row");
        check(&rows, &files);
    }
}

#[test]
fn t30_explain_ends_with_0_1_or_2_as_the_verdict_says() {
    let folder = source::root().join("tests/torture");
    for row in table("own.table") {
        let file = folder.join(format!("{}.sip", row.name));
        let expected = if row.verdict.starts_with("accept") { 0 } else { 1 };
        assert_eq!(explain(&file).1, Some(expected), "{}: {}", row.name, row.verdict);
    }
    assert_eq!(explain(Path::new("/nowhere/at-all.sip")).1, Some(2), "an unreadable file");
}

fn check(rows: &[Row], files: &[PathBuf]) {
    let mut wrong = Vec::new();
    for row in rows {
        let file = files.iter().find(|path| stem(path) == row.name);
        let Some(file) = file else {
            wrong.push(format!("{}: no such file", row.name));
            continue;
        };
        let (line, _) = explain(file);
        let actual = line.strip_prefix("verdict: ").unwrap_or(&line);
        let rest = actual.strip_prefix(&row.verdict);
        if rest.is_none_or(|rest| !rest.is_empty() && !rest.starts_with(' ')) {
            wrong.push(format!("{}: {line}, but {} wants {}", row.name, row.clause, row.verdict));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

/// The first line that `banyan explain` prints, and its exit code.
fn explain(file: &Path) -> (String, Option<i32>) {
    let output = Command::new(node::binary()).arg("explain").arg(file).output().expect("the binary starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (text.lines().next().unwrap_or_default().to_owned(), output.status.code())
}

fn table(name: &str) -> Vec<Row> {
    let path = source::root().join("tests/torture").join(name);
    let text = fs::read_to_string(path).expect("the table is in the repository");
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .filter_map(|line| {
            let mut columns = line.split(" | ").map(str::to_owned);
            Some(Row { name: columns.next()?, verdict: columns.next()?, clause: columns.next()? })
        })
        .collect()
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder exists").flatten().map(|entry| entry.path());
    entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}

/// The message's name: some copies of the corpora mark in the file's name whether they hold it for valid.
fn stem(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    stem.strip_suffix("_v").or(stem.strip_suffix("_i")).unwrap_or(&stem).to_owned()
}

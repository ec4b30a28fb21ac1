//! The tables of `tests/torture`: which verdict an RFC wants for which message, and what `banyan explain` says.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{node, source};

/// A line of a table: a message and the verdict that its clause wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The message's name: that of its file, without extension.
    pub name: String,
    /// The verdict, or how it begins.
    pub verdict: String,
    /// The clause that wants it.
    pub clause: String,
}

/// The rows of a table.
///
/// # Panics
/// When the table is not in the repository.
pub fn table(name: &str) -> Vec<Row> {
    let text = fs::read_to_string(folder().join(name)).expect("the table is in the repository");
    rows(&text)
}

/// Where the tables and our own messages are.
pub fn folder() -> PathBuf {
    source::root().join("tests/torture")
}

/// The files of a folder with an extension.
///
/// # Errors
/// The folder can't be read.
pub fn files(folder: &Path, extension: &str) -> io::Result<Vec<PathBuf>> {
    let paths: io::Result<Vec<_>> =
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect();
    Ok(paths?.into_iter().filter(|path| path.extension().is_some_and(|found| found == extension)).collect())
}

/// What is wrong with the verdicts on `files`: a line for each row that is not met, and for each file without a
/// row.
pub fn differences(rows: &[Row], files: &[PathBuf]) -> Vec<String> {
    let mut wrong = Vec::new();
    for row in rows {
        let Some(file) = files.iter().find(|path| stem(path) == row.name) else {
            wrong.push(format!("{}: no such file", row.name));
            continue;
        };
        let (line, _) = explain(file);
        if !row.is_met_by(line.strip_prefix("verdict: ").unwrap_or(&line)) {
            wrong.push(format!("{}: {line}, but {} wants {}", row.name, row.clause, row.verdict));
        }
    }
    let unknown =
        files.iter().map(|path| stem(path)).filter(|name| !rows.iter().any(|row| row.name == *name));
    wrong.extend(unknown.map(|name| format!("{name}: no row for this file")));
    wrong
}

/// The first line that `banyan explain` prints, and its exit code.
///
/// # Panics
/// When the binary does not start.
pub fn explain(file: &Path) -> (String, Option<i32>) {
    let output = Command::new(node::binary()).arg("explain").arg(file).output().expect("the binary starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (text.lines().next().unwrap_or_default().to_owned(), output.status.code())
}

impl Row {
    /// Whether a verdict begins as wanted, by whole words.
    pub fn is_met_by(&self, actual: &str) -> bool {
        actual.strip_prefix(&self.verdict).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    }
}

fn rows(text: &str) -> Vec<Row> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let columns: Vec<&str> = line.split(" | ").collect();
            let [name, verdict, clause, _why] = columns.as_slice() else {
                unreachable!("name | verdict | clause | why: {line}")
            };
            Row { name: (*name).into(), verdict: (*verdict).into(), clause: (*clause).into() }
        })
        .collect()
}

/// The message's name: some copies of the corpora mark in the file's name whether they hold it for valid.
fn stem(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    stem.strip_suffix("_v").or(stem.strip_suffix("_i")).unwrap_or(&stem).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_met_by_whole_words() {
        let rows = rows("# comment\n\ncut | reject 400 | §7.3 | no end\n");
        let expected = Row { name: "cut".into(), verdict: "reject 400".into(), clause: "§7.3".into() };
        assert_eq!(rows, std::slice::from_ref(&expected));
        assert!(expected.is_met_by("reject 400"));
        assert!(expected.is_met_by("reject 400 Bad Request"));
        assert!(!expected.is_met_by("reject 4000"));
        assert!(!expected.is_met_by("accept"));
    }

    #[test]
    fn files_and_rows_without_each_other_are_told() {
        let row = Row { name: "cut".into(), verdict: "reject".into(), clause: "§7.3".into() };
        let told = differences(&[row], &[PathBuf::from("/nowhere/other_v.dat")]);
        assert_eq!(told, ["cut: no such file", "other: no row for this file"]);
    }
}

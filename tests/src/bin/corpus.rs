//! `cargo xtask explain-corpus DIR`: `banyan explain` on the messages of RFC 4475 and RFC 5118, which we do not
//! copy, beside the hand-written verdicts of `tests/torture`.
//!
//! A program and not a test, so that no plain run lists as passed what it could not read.

use std::path::PathBuf;
use std::process::ExitCode;

use tests::torture::{differences, files, table};

fn main() -> ExitCode {
    let Some(corpus) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("which directory? It has rfc4475/*.dat and rfc5118/*.dat");
        return ExitCode::from(2);
    };
    let (mut met, mut all) = (0, 0);
    for rfc in ["rfc4475", "rfc5118"] {
        let rows = table(&format!("{rfc}.table"));
        let folder = corpus.join(rfc);
        let files = match files(&folder, "dat") {
            Ok(files) => files,
            Err(error) => {
                eprintln!("{}: {error}", folder.display());
                return ExitCode::from(2);
            }
        };
        let wrong = differences(&rows, &files);
        wrong.iter().for_each(|line| println!("{rfc}/{line}"));
        all += rows.len().max(files.len());
        met += rows.len().max(files.len()).saturating_sub(wrong.len());
    }
    println!("{met} of {all} messages of RFC 4475 and RFC 5118 get the verdict of their row");
    if met == all && all > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

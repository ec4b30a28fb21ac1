//! `banyan explain` meets the hand-written verdicts of `tests/torture`, message by message, as a user would ask.
//!
//! The messages of RFC 4475 and 5118 themselves are not ours to copy: `cargo xtask explain-corpus DIR`.

use std::path::Path;

use tests::torture::{differences, explain, files, folder, table};

#[test]
fn t30_explain_prints_the_verdict_of_every_message_of_our_own_set() {
    let rows = table("own.table");
    assert!(rows.len() > 50, "the table has {} rows", rows.len());
    let wrong = differences(&rows, &files(&folder(), "sip").expect("our own set is in the repository"));
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

#[test]
fn t30_explain_ends_with_0_1_or_2_as_the_verdict_says() {
    for row in table("own.table") {
        let file = folder().join(format!("{}.sip", row.name));
        let expected = if row.verdict.starts_with("accept") { 0 } else { 1 };
        assert_eq!(explain(&file).1, Some(expected), "{}: {}", row.name, row.verdict);
    }
    assert_eq!(explain(Path::new("/nowhere/at-all.sip")).1, Some(2), "an unreadable file");
}

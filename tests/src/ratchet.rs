//! The ratchet: sizes that are over their limit today are listed, and the list may only shrink.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What is over its limit, and by its size in lines.
pub type Excess = BTreeMap<String, usize>;

/// Reads a list: one `key lines` a line, `#` comments apart.
pub fn parse(text: &str) -> Excess {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(key, lines)| Some((key.to_owned(), lines.parse().ok()?)))
        .collect()
}

/// What is wrong with today's sizes, in sentences; empty when they are exactly as listed.
pub fn judge(listed: &Excess, actual: &Excess) -> Vec<String> {
    let grown = actual.iter().filter_map(|(key, lines)| match listed.get(key) {
        None => Some(format!("{key} has {lines} lines: split it by concern")),
        Some(before) if lines > before => {
            Some(format!("{key} grew from {before} to {lines} lines: it may only shrink"))
        }
        Some(_) => None,
    });
    let shrunk = listed.iter().filter_map(|(key, before)| match actual.get(key) {
        Some(lines) if lines >= before => None,
        Some(lines) => Some(format!("{key} shrank from {before} to {lines} lines: {SHRINK}")),
        None => Some(format!("{key} is within its limit now: {SHRINK}")),
    });
    grown.chain(shrunk).collect()
}

/// The list after a shrink: nothing is added, nothing grows.
pub fn shrink(listed: &Excess, actual: &Excess) -> Excess {
    let least =
        |(key, before): (&String, &usize)| actual.get(key).map(|lines| (key.clone(), *lines.min(before)));
    listed.iter().filter_map(least).collect()
}

/// The text of a list.
pub fn print(excess: &Excess) -> String {
    let mut text = String::from(
        "# What is over its limit (files: 800 lines, functions: 70), in lines. It may only shrink:\n\
         # BANYAN_RATCHET=shrink cargo test -p tests --test architecture\n",
    );
    for (key, lines) in excess {
        // Writing to a String can't fail.
        let _ = writeln!(text, "{key} {lines}");
    }
    text
}

const SHRINK: &str = "run BANYAN_RATCHET=shrink cargo test -p tests --test architecture";

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[(&str, usize)]) -> Excess {
        entries.iter().map(|(key, lines)| ((*key).to_owned(), *lines)).collect()
    }

    #[test]
    fn growth_and_news_are_refused_and_a_shrink_must_be_written_down() {
        let listed = list(&[("a", 900), ("b", 90), ("c", 80)]);
        assert_eq!(judge(&listed, &listed), Vec::<String>::new());
        let actual = list(&[("a", 901), ("b", 85), ("d", 71)]);
        let sentences = judge(&listed, &actual);
        assert_eq!(sentences.len(), 4);
        assert!(sentences[0].starts_with("a grew from 900 to 901"), "{sentences:?}");
        assert!(sentences[1].starts_with("d has 71 lines"), "{sentences:?}");
        assert!(sentences[2].starts_with("b shrank from 90 to 85"), "{sentences:?}");
        assert!(sentences[3].starts_with("c is within its limit now"), "{sentences:?}");
    }

    #[test]
    fn a_shrink_never_adds_and_never_raises() {
        let listed = list(&[("a", 900), ("b", 90), ("c", 80)]);
        let actual = list(&[("a", 950), ("b", 85), ("d", 71)]);
        assert_eq!(shrink(&listed, &actual), list(&[("a", 900), ("b", 85)]));
    }

    #[test]
    fn a_list_survives_being_written_and_read() {
        let listed = list(&[("file a/b.rs", 900), ("fn a/b.rs::long", 90)]);
        assert_eq!(parse(&print(&listed)), listed);
    }
}

//! Any text as the files of an operator: up to three, with a NUL between them, as resources in both
//! notations and as a node file. Every mistake lies where it is said to lie.

#![no_main]

use config::{Notation, Passwords, Problem, Source, check, read_node, read_resources};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    config::fuzz(bytes);
    let text = String::from_utf8_lossy(bytes);
    let sources: Vec<Source> = text
        .splitn(3, '\0')
        .zip(["a.toml", "b.toml", "c.toml"])
        .map(|(text, path)| Source { path: path.to_owned(), text: text.to_owned() })
        .collect();
    let checked = check(&sources);
    places(&checked.problems, &sources);
    for notation in [Notation::Toml, Notation::Json] {
        match read_resources(&sources, notation, &PASSWORDS) {
            Ok(set) => {
                places(&set.warnings, &sources);
                places(&set.unresolved(|_, _| false), &sources);
            }
            Err(problems) => places(&problems, &sources),
        }
    }
    for source in &sources {
        let (Ok((_, problems)) | Err(problems)) = read_node(source);
        places(&problems, std::slice::from_ref(source));
    }
});

/// Every problem is at a character of its file, or right behind the last one of its line.
fn places(problems: &[Problem], sources: &[Source]) {
    for problem in problems {
        let source = sources.iter().find(|source| source.path == problem.path);
        let source = source.unwrap_or_else(|| panic!("no such file: {problem}"));
        let line = source.text.split('\n').nth(problem.line.wrapping_sub(1));
        let line = line.unwrap_or_else(|| panic!("no such line: {problem}"));
        assert!((1..=line.chars().count() + 1).contains(&problem.column), "no such column: {problem}");
        assert!(!problem.message.is_empty(), "nothing is said");
    }
}

/// Every variable is set and every file is there, so that what stands behind is read, too.
const PASSWORDS: Passwords<'_> =
    Passwords::Read { env: &|name| Some(name.to_owned()), file: &|path| Ok(format!("{path}\n")) };

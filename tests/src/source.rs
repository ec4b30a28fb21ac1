//! Reading the workspace's own source as text: enough Rust to tell code from comments, literals and tests.
//!
//! Absent by design: a parser. What the architecture test asks is about words, lines and braces.

use std::fs;
use std::path::{Path, PathBuf};

/// One file of Rust source.
#[derive(Debug, Clone)]
pub struct Source {
    /// The path below the root of the repository, with forward slashes.
    pub path: String,
    /// The text as it stands in the file.
    pub text: String,
    /// The text with comments and literals blanked, line breaks kept.
    pub code: String,
}

impl Source {
    /// Wraps a text that came from `path`.
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        let code = blank_words(&text);
        Self { path: path.into(), text, code }
    }

    /// The code without its `#[cfg(test)]` items: what the crate's users get.
    pub fn product(&self) -> String {
        blank_tests(&self.code)
    }

    /// The functions with a body: name, first line (from 1) and number of lines.
    pub fn functions(&self) -> Vec<Function> {
        functions(&self.code)
    }
}

/// A function with a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// The line of its `fn`, counted from 1.
    pub line: usize,
    /// Lines from `fn` to the closing brace.
    pub lines: usize,
}

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, Path::to_path_buf)
}

/// Every Rust file below `folder` of the repository, in order of path.
///
/// # Panics
/// When the tree can't be read: then no rule about it can be checked.
pub fn below(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    walk(&root().join(folder), &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// The words (identifiers) of a piece of code, with the line of each, counted from 1.
pub fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    code.lines().enumerate().flat_map(|(index, line)| {
        line.split(|c: char| !is_word(c)).filter(|word| !word.is_empty()).map(move |word| (index + 1, word))
    })
}

fn walk(folder: &Path, found: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            // Build output of any tool; nobody wrote it.
            if !name.starts_with('.')
                && !name.starts_with("target")
                && name != "corpus"
                && name != "artifacts"
            {
                walk(&path, found);
            }
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path).expect("a source file of the repository is readable UTF-8");
            let relative = path.strip_prefix(root()).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            found.push(Source::new(relative, text));
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Replaces comments and literals by spaces, so that braces and words are those of the code.
fn blank_words(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        let end = literal_end(&chars, at);
        if end == at {
            out.push(c);
            at += 1;
        } else {
            out.extend(
                chars.get(at..end).unwrap_or_default().iter().map(|&c| if c == '\n' { c } else { ' ' }),
            );
            at = end;
        }
    }
    out
}

/// Where the comment or literal that begins at `at` ends; `at` itself if none begins there.
fn literal_end(chars: &[char], at: usize) -> usize {
    let get = |index: usize| chars.get(index).copied().unwrap_or('\0');
    let after_word = at > 0 && is_word(get(at - 1));
    match (get(at), get(at + 1)) {
        ('/', '/') => (at..chars.len()).find(|&i| get(i) == '\n').unwrap_or(chars.len()),
        ('/', '*') => block_comment_end(chars, at),
        ('"', _) => string_end(chars, at + 1),
        ('b' | 'c', '"') if !after_word => string_end(chars, at + 2),
        ('r', '"' | '#') if !after_word => raw_string_end(chars, at + 1).unwrap_or(at),
        ('b' | 'c', 'r') if !after_word => raw_string_end(chars, at + 2).unwrap_or(at),
        ('\'', '\\') => (at + 3..chars.len()).find(|&i| get(i) == '\'').map_or(chars.len(), |i| i + 1),
        // A lifetime has no closing quote two characters on.
        ('\'', _) if get(at + 2) == '\'' => at + 3,
        _ => at,
    }
}

fn string_end(chars: &[char], mut at: usize) -> usize {
    while let Some(c) = chars.get(at) {
        match c {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

fn raw_string_end(chars: &[char], at: usize) -> Option<usize> {
    let hashes = chars.get(at..)?.iter().take_while(|&&c| c == '#').count();
    if chars.get(at + hashes) != Some(&'"') {
        return None;
    }
    let mut end = at + hashes + 1;
    while end < chars.len() {
        let closing = chars.get(end + 1..end + 1 + hashes);
        if chars.get(end) == Some(&'"') && closing.is_some_and(|c| c.iter().all(|&c| c == '#')) {
            return Some(end + 1 + hashes);
        }
        end += 1;
    }
    Some(chars.len())
}

fn block_comment_end(chars: &[char], at: usize) -> usize {
    let mut depth = 0;
    let mut i = at;
    while i < chars.len() {
        match (chars.get(i), chars.get(i + 1)) {
            (Some('/'), Some('*')) => {
                depth += 1;
                i += 2;
            }
            (Some('*'), Some('/')) => {
                depth -= 1;
                i += 2;
                if depth == 0 {
                    return i;
                }
            }
            _ => i += 1,
        }
    }
    chars.len()
}

/// Blanks each item under `#[cfg(test)]`, to its closing brace or semicolon.
fn blank_tests(code: &str) -> String {
    let mut out = code.to_owned();
    let mut from = 0;
    while let Some(found) = out.get(from..).and_then(|rest| rest.find("#[cfg(test)]")) {
        let begin = from + found;
        let end = item_end(&out, begin);
        let blank: String = out
            .get(begin..end)
            .unwrap_or_default()
            .chars()
            .map(|c| if c == '\n' { c } else { ' ' })
            .collect();
        out.replace_range(begin..end, &blank);
        from = begin + blank.len();
    }
    out
}

/// The byte after the item at `begin`: after its semicolon, or after the brace that closes its first one.
fn item_end(code: &str, begin: usize) -> usize {
    let mut depth = 0_usize;
    for (offset, c) in code.get(begin..).unwrap_or_default().char_indices() {
        match c {
            ';' if depth == 0 => return begin + offset + 1,
            '{' => depth += 1,
            '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return begin + offset + 1;
                }
            }
            _ => {}
        }
    }
    code.len()
}

fn functions(code: &str) -> Vec<Function> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(next) = code.get(at..).and_then(|rest| rest.find("fn ")) {
        let begin = at + next;
        at = begin + 3;
        let before = code.get(..begin).and_then(|head| head.chars().next_back());
        let name: String = code.get(at..).unwrap_or_default().chars().take_while(|&c| is_word(c)).collect();
        if before.is_some_and(is_word) || name.is_empty() {
            continue;
        }
        if let Some((open, close)) = body(code, at) {
            let count = |to: usize| code.get(..to).unwrap_or_default().matches('\n').count();
            found.push(Function { name, line: count(begin) + 1, lines: count(close) - count(begin) + 1 });
            // A function inside a function counts too, so go on just inside the body.
            at = open + 1;
        }
    }
    found
}

/// The braces of the body of the function whose name begins at `at`; none for a declaration.
fn body(code: &str, at: usize) -> Option<(usize, usize)> {
    let rest = code.get(at..)?;
    // An array type in a signature holds a semicolon of its own: count brackets.
    let mut nested = 0_i32;
    let mut open = None;
    for (offset, c) in rest.char_indices() {
        match c {
            '(' | '[' => nested += 1,
            ')' | ']' => nested -= 1,
            ';' if nested == 0 => return None,
            '{' if nested == 0 => {
                open = Some(at + offset);
                break;
            }
            _ => {}
        }
    }
    let open = open?;
    Some((open, item_end(code, open) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_not_code() {
        let source = Source::new(
            "a.rs",
            "let a = \"fn { \\\" x\"; // fn {\nlet b = r#\"}\"}\"#; /* { /* */ } */ '}' 'a b\n",
        );
        assert_eq!(source.code.matches(['{', '}']).count(), 0);
        assert_eq!(source.code.matches('\n').count(), 2);
        let words: Vec<_> = words(&source.code).map(|(_, word)| word).collect();
        assert_eq!(words, ["let", "a", "let", "b", "a", "b"]);
    }

    #[test]
    fn items_under_cfg_test_are_not_product() {
        let text =
            "fn a() {}\n#[cfg(test)]\nmod tests { fn b() { c(); } }\nfn d() {}\n#[cfg(test)] use x::y;\n";
        let product = Source::new("a.rs", text).product();
        let words: Vec<_> = words(&product).map(|(_, word)| word).collect();
        assert_eq!(words, ["fn", "a", "fn", "d"]);
    }

    #[test]
    fn functions_are_measured_from_fn_to_brace() {
        let text =
            "trait T { fn declared(&self) -> [u8; 4]; }\n\nfn one() {}\nfn three(\n) -> u8 {\n    { 1 } }\n";
        let found = Source::new("a.rs", text).functions();
        let expected = [("one", 3, 1), ("three", 4, 3)];
        let found: Vec<_> = found.iter().map(|f| (f.name.as_str(), f.line, f.lines)).collect();
        assert_eq!(found, expected);
    }
}

//! Mistakes and warnings, each at a place in a file.

use std::fmt;
use std::ops::Range;

/// A file as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The name under which mistakes are reported.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is applied.
    Error,
    /// It works, but is hardly what is wanted.
    Warning,
}

/// A mistake or a warning: prints as `file:line:column: message (hint)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub path: String,
    /// The line, from one.
    pub line: usize,
    /// The column in characters, from one.
    pub column: usize,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.path, self.line, self.column)?;
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// The problems of a set of files, in the making.
#[derive(Debug)]
pub(crate) struct Problems<'a> {
    sources: &'a [Source],
    found: Vec<(usize, usize, Problem)>,
}

/// More mistakes than anyone reads at once.
const PROBLEMS_MAX: usize = 100;

impl<'a> Problems<'a> {
    pub(crate) fn new(sources: &'a [Source]) -> Problems<'a> {
        Problems { sources, found: Vec::new() }
    }

    pub(crate) fn error(&mut self, file: usize, span: &Range<usize>, message: String, hint: Option<String>) {
        self.push(file, span, Severity::Error, message, hint);
    }

    pub(crate) fn warning(
        &mut self,
        file: usize,
        span: &Range<usize>,
        message: String,
        hint: Option<String>,
    ) {
        self.push(file, span, Severity::Warning, message, hint);
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.found.iter().any(|(_, _, problem)| problem.severity == Severity::Error)
    }

    pub(crate) fn count(&self) -> usize {
        self.found.len()
    }

    /// `file:line:column` of a place, for messages that point at a second one.
    pub(crate) fn place(&self, file: usize, span: &Range<usize>) -> String {
        let Some(source) = self.sources.get(file) else { return String::new() };
        let (line, column) = line_and_column(&source.text, span.start);
        format!("{}:{line}:{column}", source.path)
    }

    /// Every problem, in the order of files and lines.
    pub(crate) fn finish(mut self) -> Vec<Problem> {
        self.found.sort_by_key(|(file, at, _)| (*file, *at));
        self.found.into_iter().map(|(_, _, problem)| problem).collect()
    }

    fn push(
        &mut self,
        file: usize,
        span: &Range<usize>,
        severity: Severity,
        message: String,
        hint: Option<String>,
    ) {
        let Some(source) = self.sources.get(file) else { return };
        if self.found.len() >= PROBLEMS_MAX {
            return;
        }
        let (line, column) = line_and_column(&source.text, span.start);
        let problem = Problem { path: source.path.clone(), line, column, severity, message, hint };
        let is_new = !self.found.iter().any(|(_, _, known)| *known == problem);
        if is_new {
            self.found.push((file, span.start, problem));
        }
    }
}

fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let before = text.get(..at).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
    let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
    (line, column)
}

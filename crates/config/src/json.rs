//! JSON (RFC 8259) into the tree: the same keys as in TOML. A reader of our own, because mistakes are reported by
//! line and column.

use std::ops::Range;

use crate::problem::Problems;
use crate::tree::{Entry, Node, Table, Value};

/// Deepest nesting: flows are the deepest tables, and need less.
const DEPTH_MAX: usize = 32;

/// Reads a JSON document; the first mistake ends it.
pub(crate) fn read(text: &str, file: usize, problems: &mut Problems<'_>) -> Node {
    let mut reader = Reader { text, at: 0 };
    let result = reader.value(0).and_then(|node| {
        reader.skip_blanks();
        if reader.at < text.len() {
            Err(reader.complaint("nothing may follow the document"))
        } else {
            Ok(node)
        }
    });
    match result {
        Ok(node) => node,
        Err((span, message)) => {
            problems.error(file, &span, message.to_owned(), None);
            Node { span: 0..0, value: Value::Table(Table::default()) }
        }
    }
}

type Complaint = (Range<usize>, &'static str);

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Result<Node, Complaint> {
        self.skip_blanks();
        if depth > DEPTH_MAX {
            return Err(self.complaint("nested too deeply"));
        }
        let start = self.at;
        let value = match self.peek() {
            Some(b'{') => self.table(depth)?,
            Some(b'[') => self.list(depth)?,
            Some(b'"') => Value::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Value::Truth(true))?,
            Some(b'f') => self.word("false", Value::Truth(false))?,
            Some(b'n') => self.word("null", Value::Null)?,
            _ => return Err(self.complaint("expected a value")),
        };
        Ok(Node { span: start..self.at, value })
    }

    fn table(&mut self, depth: usize) -> Result<Value, Complaint> {
        self.at += 1;
        let mut table = Table::default();
        self.skip_blanks();
        if self.take(b'}') {
            return Ok(Value::Table(table));
        }
        loop {
            self.skip_blanks();
            let start = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.complaint("expected a key in quotes"));
            }
            let key = self.string()?;
            let key_span = start..self.at;
            if table.entries.iter().any(|entry| entry.key == key) {
                return Err((key_span, "the same key twice"));
            }
            self.skip_blanks();
            if !self.take(b':') {
                return Err(self.complaint("expected `:`"));
            }
            let node = self.value(depth + 1)?;
            table.entries.push(Entry { key, key_span, node });
            self.skip_blanks();
            if self.take(b'}') {
                return Ok(Value::Table(table));
            }
            if !self.take(b',') {
                return Err(self.complaint("expected `,` or `}`"));
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, Complaint> {
        self.at += 1;
        let mut items = Vec::new();
        self.skip_blanks();
        if self.take(b']') {
            return Ok(Value::List(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.skip_blanks();
            if self.take(b']') {
                return Ok(Value::List(items));
            }
            if !self.take(b',') {
                return Err(self.complaint("expected `,` or `]`"));
            }
        }
    }

    fn string(&mut self) -> Result<String, Complaint> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let Some(next) = rest.chars().next() else { return Err((start..self.at, "text without an end")) };
            self.at += next.len_utf8();
            match next {
                '"' => return Ok(text),
                '\\' => text.push(self.escape()?),
                '\0'..='\u{1f}' => return Err((self.at - 1..self.at, "a control character in text")),
                other => text.push(other),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Complaint> {
        let kind = self.peek();
        self.at += usize::from(kind.is_some());
        match kind {
            Some(b'"') => Ok('"'),
            Some(b'\\') => Ok('\\'),
            Some(b'/') => Ok('/'),
            Some(b'b') => Ok('\u{8}'),
            Some(b'f') => Ok('\u{c}'),
            Some(b'n') => Ok('\n'),
            Some(b'r') => Ok('\r'),
            Some(b't') => Ok('\t'),
            Some(b'u') => self.unicode(),
            _ => {
                self.at -= usize::from(kind.is_some());
                Err(self.complaint("no such escape"))
            }
        }
    }

    /// `\uXXXX`, or two of them for a character beyond the first plane.
    fn unicode(&mut self) -> Result<char, Complaint> {
        let start = self.at.saturating_sub("\\u".len());
        let wrong = |reader: &Self| (start..reader.at, "no such character");
        let first = self.four_digits().ok_or_else(|| wrong(self))?;
        let code = if (0xd800..0xdc00).contains(&first) {
            let marked = self.take(b'\\') && self.take(b'u');
            let second = if marked { self.four_digits() } else { None };
            let second = second.filter(|low| (0xdc00..0xe000).contains(low)).ok_or_else(|| wrong(self))?;
            0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)
        } else {
            first
        };
        char::from_u32(code).ok_or_else(|| wrong(self))
    }

    fn four_digits(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        self.at += 4;
        u32::from_str_radix(digits, 16).ok()
    }

    fn number(&mut self) -> Value {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let is_part = |b: &u8| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
        let length = rest.bytes().take_while(is_part).count();
        self.at += length;
        let digits = rest.get(..length).unwrap_or_default();
        digits.parse().map_or(Value::Float, Value::Integer)
    }

    fn word(&mut self, word: &'static str, value: Value) -> Result<Value, Complaint> {
        if !self.text.get(self.at..).unwrap_or_default().starts_with(word) {
            return Err(self.complaint("expected a value"));
        }
        self.at += word.len();
        Ok(value)
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn complaint(&self, message: &'static str) -> Complaint {
        (self.at..self.at, message)
    }
}

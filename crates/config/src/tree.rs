//! One tree for both notations: values with the bytes that they stand at.

use std::ops::Range;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) span: Range<usize>,
    pub(crate) value: Value,
}

/// A value.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Text(String),
    Integer(i64),
    /// A number that is no whole one of 64 bits: no key takes it.
    Float,
    Truth(bool),
    /// TOML's dates and times: no key takes one.
    Moment,
    /// JSON's null: the same as leaving the key out.
    Null,
    List(Vec<Node>),
    Table(Table),
}

/// A table, in the order of its keys in the notation.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    pub(crate) entries: Vec<Entry>,
}

/// A key and its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Range<usize>,
    pub(crate) node: Node,
}

impl Node {
    /// What kind of value it is, in an operator's words.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Text(_) => "text",
            Value::Integer(_) => "a number",
            Value::Float => "a decimal number",
            Value::Truth(_) => "true or false",
            Value::Moment => "a date or time",
            Value::Null => "null",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }

    /// The span of the value at a path of keys, or of the nearest table above it.
    pub(crate) fn span_at(&self, path: &[&str], item: Option<usize>) -> Range<usize> {
        let mut node = self;
        let mut span = self.span.clone();
        for key in path {
            let Value::Table(table) = &node.value else { return span };
            let Some(entry) = table.get(key) else { return span };
            node = &entry.node;
            span = node.span.clone();
        }
        match (&node.value, item) {
            (Value::List(items), Some(item)) => items.get(item).map_or(span, |node| node.span.clone()),
            _ => span,
        }
    }

    /// The span of the key at the end of a path, if it is written.
    pub(crate) fn key_span_at(&self, path: &[&str]) -> Option<Range<usize>> {
        let (last, above) = path.split_last()?;
        let mut node = self;
        for key in above {
            let Value::Table(table) = &node.value else { return None };
            node = &table.get(key)?.node;
        }
        let Value::Table(table) = &node.value else { return None };
        table.get(last).map(|entry| entry.key_span.clone())
    }
}

impl Table {
    /// The entry of a key; null counts as absent.
    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key && !matches!(entry.node.value, Value::Null))
    }
}

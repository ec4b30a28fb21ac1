//! TOML into the tree.

use std::ops::Range;

use ::toml::de::{DeArray, DeTable, DeValue};

use crate::problem::Problems;
use crate::tree::{Entry, Node, Table, Value};

/// Reads a TOML document; what can't be read is reported, the rest is returned.
pub(crate) fn read(text: &str, file: usize, problems: &mut Problems<'_>) -> Node {
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        // The first line says what is wrong; the rest repeats it for a terminal.
        let message = error.message().lines().next().unwrap_or("not TOML").to_owned();
        problems.error(file, &span, message, None);
    }
    let span = document.span();
    Node { span, value: Value::Table(table(document.get_ref())) }
}

fn table(source: &DeTable<'_>) -> Table {
    let entry = |(key, value): (&::toml::Spanned<_>, &::toml::Spanned<DeValue<'_>>)| {
        let key: &::toml::Spanned<std::borrow::Cow<'_, str>> = key;
        Entry {
            key: key.get_ref().to_string(),
            key_span: key.span(),
            node: node(value.span(), value.get_ref()),
        }
    };
    let mut entries: Vec<Entry> = source.iter().map(entry).collect();
    entries.sort_by_key(|entry| entry.key_span.start);
    Table { entries }
}

fn list(source: &DeArray<'_>) -> Vec<Node> {
    source.iter().map(|item| node(item.span(), item.get_ref())).collect()
}

fn node(span: Range<usize>, value: &DeValue<'_>) -> Node {
    let value = match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_or(Value::Float, Value::Integer)
        }
        DeValue::Float(_) => Value::Float,
        DeValue::Boolean(truth) => Value::Truth(*truth),
        DeValue::Datetime(_) => Value::Moment,
        DeValue::Array(items) => Value::List(list(items)),
        DeValue::Table(entries) => Value::Table(table(entries)),
    };
    Node { span, value }
}

//! What is written: a tree of values, as TOML and as JSON.

use serde_json::Value;

/// A value to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Out {
    /// Not there: left out of TOML, null in JSON.
    Absent,
    Text(String),
    Integer(i64),
    Truth(bool),
    List(Vec<Out>),
    /// A table in one line.
    Inline(Vec<(String, Out)>),
    /// A table under a header of its own.
    Table(Vec<(String, Out)>),
    /// Tables under a double header each.
    Tables(Vec<Vec<(String, Out)>>),
}

impl Out {
    /// The same without everything that equals `base`: what an operator has to write.
    pub(crate) fn without(self, base: &Out) -> Out {
        let (Out::Table(entries), Out::Table(base)) = (self, base) else { return Out::Absent };
        let kept = entries.into_iter().filter_map(|(key, value)| {
            let usual = base.iter().find(|(known, _)| *known == key).map(|(_, usual)| usual);
            match usual {
                Some(usual) if *usual == value => None,
                Some(usual @ Out::Table(_)) if matches!(value, Out::Table(_)) => {
                    Some((key, value.without(usual)))
                }
                _ => Some((key, value)),
            }
        });
        Out::Table(kept.collect())
    }

    /// As JSON.
    pub(crate) fn to_json(&self) -> Value {
        let object = |entries: &[(String, Out)]| {
            Value::Object(entries.iter().map(|(key, value)| (key.clone(), value.to_json())).collect())
        };
        match self {
            Out::Absent => Value::Null,
            Out::Text(text) => Value::String(text.clone()),
            Out::Integer(number) => Value::from(*number),
            Out::Truth(truth) => Value::Bool(*truth),
            Out::List(items) => Value::Array(items.iter().map(Out::to_json).collect()),
            Out::Inline(entries) | Out::Table(entries) => object(entries),
            Out::Tables(tables) => Value::Array(tables.iter().map(|entries| object(entries)).collect()),
        }
    }
}

/// How a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Under `[header]`, with the keys that have a value.
    Present,
    /// Under `[header]`, every key; those without a value as comments, since TOML has no null.
    WithAbsent,
    /// Under `[[header]]`.
    Repeated,
}

/// Writes a table as TOML: its own values, then the tables below it.
pub(crate) fn to_toml(header: &str, shown: Shown, entries: &[(String, Out)], text: &mut String) {
    let (open, close) = if shown == Shown::Repeated { ("[[", "]]") } else { ("[", "]") };
    let is_shown = |value: &Out| match value {
        Out::Table(_) | Out::Tables(_) => false,
        Out::Absent => shown == Shown::WithAbsent,
        _ => true,
    };
    let own: Vec<&(String, Out)> = entries.iter().filter(|(_, value)| is_shown(value)).collect();
    if shown == Shown::Repeated || !own.is_empty() {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&format!("{open}{header}{close}\n"));
    }
    for (key, value) in own {
        if *value == Out::Absent {
            text.push_str(&format!("# {key} is not set\n"));
            continue;
        }
        text.push_str(&format!("{} = ", quoted_key(key)));
        inline(value, text);
        text.push('\n');
    }
    let below = if shown == Shown::WithAbsent { shown } else { Shown::Present };
    for (key, value) in entries {
        let header = format!("{header}.{}", quoted_key(key));
        match value {
            Out::Table(entries) => to_toml(&header, below, entries, text),
            Out::Tables(tables) => tables.iter().for_each(|it| to_toml(&header, Shown::Repeated, it, text)),
            _ => {}
        }
    }
}

/// A value in one line, as TOML.
pub(crate) fn inline(value: &Out, text: &mut String) {
    match value {
        Out::Absent => {}
        Out::Text(it) => quote(it, text),
        Out::Integer(it) => text.push_str(&it.to_string()),
        Out::Truth(it) => text.push_str(if *it { "true" } else { "false" }),
        Out::List(items) => {
            text.push('[');
            for (place, item) in items.iter().enumerate() {
                text.push_str(if place == 0 { "" } else { ", " });
                inline(item, text);
            }
            text.push(']');
        }
        Out::Inline(entries) | Out::Table(entries) => inline_table(entries, text),
        Out::Tables(tables) => {
            text.push('[');
            for (place, entries) in tables.iter().enumerate() {
                text.push_str(if place == 0 { "" } else { ", " });
                inline_table(entries, text);
            }
            text.push(']');
        }
    }
}

fn inline_table(entries: &[(String, Out)], text: &mut String) {
    text.push('{');
    let written = entries.iter().filter(|(_, value)| *value != Out::Absent);
    for (place, (key, value)) in written.enumerate() {
        text.push_str(if place == 0 { " " } else { ", " });
        text.push_str(&quoted_key(key));
        text.push_str(" = ");
        inline(value, text);
    }
    text.push_str(if entries.is_empty() { "}" } else { " }" });
}

fn quoted_key(key: &str) -> String {
    let is_bare = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    if !key.is_empty() && key.bytes().all(is_bare) {
        return key.to_owned();
    }
    let mut text = String::new();
    quote(key, &mut text);
    text
}

fn quote(it: &str, text: &mut String) {
    text.push('"');
    for c in it.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            control if control.is_control() => text.push_str(&format!("\\u{:04X}", u32::from(control))),
            other => text.push(other),
        }
    }
    text.push('"');
}

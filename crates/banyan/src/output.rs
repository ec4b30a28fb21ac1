//! Printing: tables for people, JSON, CSV and TOML for machines.

use std::io::{self, Write};

use comfy_table::{Table, presets};
use serde_json::Value;

use crate::cli::Format;
use crate::failure::{Failure, Result};

/// What one column shows.
pub struct Column {
    /// Its heading.
    pub title: &'static str,
    /// Where its value stands: names with dots between them.
    pub path: &'static str,
}

/// Prints a list. A closed pipe is no failure: `| head` has seen enough.
pub fn list(items: &[Value], format: Format, columns: &[Column]) -> Result {
    let text = match format {
        Format::Table => table(items, columns),
        Format::Json => json(&Value::Array(items.to_vec())),
        Format::Csv => csv(items, columns),
        Format::Toml => return Err(Failure::Usage("-o toml works for resources and profiles".to_owned())),
    };
    say(&text);
    Ok(())
}

/// Prints one thing.
pub fn item(item: &Value, format: Format, columns: &[Column]) -> Result {
    let text = match format {
        Format::Table => fields(item),
        Format::Json => json(item),
        Format::Csv => csv(std::slice::from_ref(item), columns),
        Format::Toml => return Err(Failure::Usage("-o toml works for resources and profiles".to_owned())),
    };
    say(&text);
    Ok(())
}

/// Prints text.
pub fn say(text: &str) {
    let mut out = io::stdout().lock();
    // A reader that went away has seen enough.
    let _ = out
        .write_all(text.as_bytes())
        .and_then(|()| if text.ends_with('\n') { Ok(()) } else { out.write_all(b"\n") });
}

fn json(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// A table without lines, as `kubectl` prints it.
pub fn table(items: &[Value], columns: &[Column]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(columns.iter().map(|column| column.title));
    for item in items {
        table.add_row(columns.iter().map(|column| cell(at(item, column.path))));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// Every field of an object on a line of its own, nested ones with dots.
fn fields(value: &Value) -> String {
    let mut rows = Vec::new();
    flatten("", value, &mut rows);
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter().map(|(name, value)| format!("{name:width$}  {value}\n")).collect()
}

fn flatten(prefix: &str, value: &Value, rows: &mut Vec<(String, String)>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                flatten(&name, value, rows);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (index, value) in items.iter().enumerate() {
                flatten(&format!("{prefix}[{index}]"), value, rows);
            }
        }
        other => rows.push((prefix.to_owned(), cell(Some(other)))),
    }
}

fn csv(items: &[Value], columns: &[Column]) -> String {
    // The columns of a table are for people; a file has every field.
    let names: Vec<String> = match items.first().and_then(Value::as_object) {
        Some(first) => first.keys().cloned().collect(),
        None => columns.iter().map(|column| column.path.to_owned()).collect(),
    };
    let mut out = names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(",") + "\n";
    for item in items {
        let row: Vec<String> = names.iter().map(|name| quoted(&cell_csv(item.get(name)))).collect();
        out += &(row.join(",") + "\n");
    }
    out
}

/// Quoted where needed (RFC 4180); what a spreadsheet would run as a formula becomes text.
fn quoted(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']) && text.parse::<f64>().is_err()
        || text.starts_with('+');
    let text = if formula { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

fn cell_csv(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// A value for people: control characters are shown, never sent to the terminal.
fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "-".to_owned(),
        Some(Value::String(text)) => text.chars().flat_map(visible).collect(),
        Some(Value::Array(items)) if items.is_empty() => "-".to_owned(),
        Some(Value::Array(items)) => items.iter().map(|item| cell(Some(item))).collect::<Vec<_>>().join(", "),
        Some(Value::Object(map)) => map
            .iter()
            .map(|(key, value)| format!("{key}={}", cell(Some(value))))
            .collect::<Vec<_>>()
            .join(" "),
        Some(other) => other.to_string(),
    }
}

fn visible(c: char) -> Vec<char> {
    if c.is_control() { c.escape_default().collect() } else { vec![c] }
}

fn at<'a>(item: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(item, |value, name| value.get(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_csv_cell_can_neither_run_nor_break_out() {
        // OWASP "CSV injection"; RFC 4180 §2.
        let items = [json!({"from": "=cmd()", "to": "+31201234567", "name": "a \"b\", c", "n": -5})];
        assert_eq!(csv(&items, &[]), "from,to,name,n\n'=cmd(),'+31201234567,\"a \"\"b\"\", c\",-5\n");
    }

    #[test]
    fn an_empty_list_is_an_array_and_a_header() {
        let columns = [Column { title: "NAME", path: "name" }];
        assert_eq!(json(&Value::Array(Vec::new())), "[]");
        assert_eq!(csv(&[], &columns), "name\n");
        assert_eq!(table(&[], &columns), "NAME\n");
    }

    #[test]
    fn a_terminal_never_gets_control_characters() {
        let items = [json!({"name": "a\u{1b}[31mb\u{7}"})];
        let text = table(&items, &[Column { title: "NAME", path: "name" }]);
        assert!(!text.contains('\u{1b}') && !text.contains('\u{7}'));
    }
}

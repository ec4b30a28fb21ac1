//! Fills in a value from a table; every mistake on the way is reported, and the value keeps its default there.

use std::ops::{Range, RangeInclusive};

use trunk::{FlowValue, Kind, Secret, Word};

use crate::field::{Field, Sink};
use crate::load::Passwords;
use crate::nearest;
use crate::tree::{Entry, Node, Table, Value};
use crate::visit::{Complaint, Rule, Visit};

/// Reads one table.
pub(crate) struct Reader<'t, 'r, 'p, 's> {
    table: &'t Table,
    span: Range<usize>,
    /// The table's name, as messages say it: `trunk.access`.
    path: String,
    /// Keys asked for so far: any other is unknown.
    known: Vec<&'static str>,
    sink: &'r mut Sink<'p, 's>,
    passwords: &'r Passwords<'r>,
}

/// Deepest nesting of flow steps.
const STEPS_DEPTH_MAX: usize = 16;

/// Reads a table, and reports the keys that `visit` did not ask for.
pub(crate) fn read(
    node: &Node,
    path: &str,
    sink: &mut Sink<'_, '_>,
    passwords: &Passwords<'_>,
    visit: impl FnOnce(&mut Reader<'_, '_, '_, '_>),
) {
    let Value::Table(table) = &node.value else {
        sink.wrong_type(node, "a table", "");
        return;
    };
    let span = node.span.clone();
    let mut reader = Reader { table, span, path: path.to_owned(), known: Vec::new(), sink, passwords };
    visit(&mut reader);
    reader.report_unknown();
}

impl<'t> Reader<'t, '_, '_, '_> {
    fn entry(&mut self, key: &'static str) -> Option<&'t Entry> {
        self.known.push(key);
        self.table.get(key)
    }

    fn report_unknown(&mut self) {
        for entry in &self.table.entries {
            if !self.known.contains(&entry.key.as_str()) {
                let place = if self.path.is_empty() { String::new() } else { format!("[{}]", self.path) };
                let is_resource = self.path.is_empty() && Kind::from_word(&entry.key).is_some();
                let complaint = if is_resource {
                    let message = format!("`{}` belongs into a resource file", entry.key);
                    Complaint::new(message, "which has no [node]")
                } else {
                    nearest::unknown_key(&entry.key, &place, &self.known)
                };
                self.sink.error(&entry.key_span, complaint);
            }
        }
    }

    /// Reads a table below this one with the same sink, then comes back.
    fn within(&mut self, key: &str, node: &'t Node, visit: impl FnOnce(&mut Self)) {
        let Value::Table(table) = &node.value else {
            let hint = format!("[{}]", self.join(key));
            self.sink.wrong_type(node, "a table", &hint);
            return;
        };
        let path = self.join(key);
        let above = (
            std::mem::replace(&mut self.table, table),
            std::mem::replace(&mut self.span, node.span.clone()),
            std::mem::replace(&mut self.path, path),
            std::mem::take(&mut self.known),
        );
        visit(self);
        self.report_unknown();
        (self.table, self.span, self.path, self.known) = above;
    }

    fn join(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn missing(&mut self, key: &str) {
        let place = if self.path.is_empty() { "the file".to_owned() } else { format!("[{}]", self.path) };
        let span = self.span.clone();
        self.sink.error(&span, Complaint::new(format!("{place} needs `{key}`"), ""));
    }

    fn ruled(&mut self, node: &Node, rule: Rule) -> Option<String> {
        let text = String::read(node, self.sink)?;
        match rule(&text) {
            None => Some(text),
            Some(complaint) => {
                self.sink.error(&node.span, complaint);
                None
            }
        }
    }
}

impl Visit for Reader<'_, '_, '_, '_> {
    fn field<T: Field>(&mut self, key: &'static str, value: &mut T) {
        if let Some(entry) = self.entry(key)
            && let Some(read) = T::read(&entry.node, self.sink)
        {
            *value = read;
        }
    }

    fn needed<T: Field>(&mut self, key: &'static str, value: &mut T) {
        match self.entry(key) {
            None => self.missing(key),
            Some(entry) => {
                if let Some(read) = T::read(&entry.node, self.sink) {
                    *value = read;
                }
            }
        }
    }

    fn text(&mut self, key: &'static str, value: &mut Option<String>, rule: Rule) {
        if let Some(entry) = self.entry(key)
            && let Some(read) = self.ruled(&entry.node, rule)
        {
            *value = Some(read);
        }
    }

    fn texts(&mut self, key: &'static str, value: &mut Vec<String>, rule: Rule) {
        let Some(entry) = self.entry(key) else { return };
        let Value::List(items) = &entry.node.value else {
            self.sink.wrong_type(&entry.node, "a list", "in square brackets");
            return;
        };
        let read: Vec<Option<String>> = items.iter().map(|item| self.ruled(item, rule)).collect();
        if let Some(read) = read.into_iter().collect() {
            *value = read;
        }
    }

    fn number<T: Field + Copy + Into<i64>>(
        &mut self,
        key: &'static str,
        value: &mut T,
        bounds: RangeInclusive<i64>,
    ) {
        let Some(entry) = self.entry(key) else { return };
        match &entry.node.value {
            Value::Integer(number) if !bounds.contains(number) => {
                let message = format!("{key} = {number} is not from {} to {}", bounds.start(), bounds.end());
                self.sink.error(&entry.node.span, Complaint::new(message, ""));
            }
            _ => {
                if let Some(read) = T::read(&entry.node, self.sink) {
                    *value = read;
                }
            }
        }
    }

    fn table(&mut self, key: &'static str, visit: impl FnOnce(&mut Self)) {
        if let Some(entry) = self.entry(key) {
            self.within(key, &entry.node, visit);
        }
    }

    fn checked(&mut self, key: &'static str, value: &mut String, rule: Rule) {
        match self.entry(key) {
            Some(entry) => {
                if let Some(read) = self.ruled(&entry.node, rule) {
                    *value = read;
                }
            }
            // A value that breaks the rule by default is one that has to be written.
            None if rule(value).is_some() => self.missing(key),
            None => {}
        }
    }

    fn alias<T: Field>(&mut self, key: &'static str, value: &mut T) {
        self.field(key, value);
    }

    fn maybe_table<T>(
        &mut self,
        key: &'static str,
        value: &mut Option<T>,
        new: fn() -> T,
        visit: impl FnOnce(&mut T, &mut Self),
    ) {
        if let Some(entry) = self.entry(key) {
            let mut read = new();
            self.within(key, &entry.node, |v| visit(&mut read, v));
            *value = Some(read);
        }
    }

    fn tables<T>(
        &mut self,
        key: &'static str,
        values: &mut Vec<T>,
        new: fn() -> T,
        visit: impl Fn(&mut T, &mut Self),
    ) {
        let Some(entry) = self.entry(key) else { return };
        let Value::List(items) = &entry.node.value else {
            let hint = format!("[[{}]], in two brackets", self.join(key));
            self.sink.wrong_type(&entry.node, "a list of tables", &hint);
            return;
        };
        values.clear();
        for item in items {
            let mut read = new();
            self.within(key, item, |v| visit(&mut read, v));
            values.push(read);
        }
    }

    fn password(&mut self, password: &mut Secret) {
        let forms = ["password", "password_env", "password_file", "password_stored"];
        let written: Vec<(&str, &Entry)> =
            forms.into_iter().filter_map(|key| self.entry(key).map(|entry| (key, entry))).collect();
        let [(form, entry)] = written.as_slice() else {
            let hint = "one of password, password_env, password_file";
            let complaint = match written.get(1) {
                Some((_, second)) => {
                    let span = second.key_span.clone();
                    self.sink.error(&span, Complaint::new("the password is given twice", hint));
                    return;
                }
                None => Complaint::new("the account has no password", hint),
            };
            let span = self.span.clone();
            self.sink.error(&span, complaint);
            return;
        };
        if *form == "password_stored" {
            match bool::read(&entry.node, self.sink) {
                Some(true) | None => {}
                Some(false) => {
                    let complaint =
                        Complaint::new("password_stored is only ever true", "it keeps the stored one");
                    self.sink.error(&entry.node.span, complaint);
                }
            }
            return;
        }
        let Some(text) = self.ruled(&entry.node, crate::rules::something) else { return };
        let read = match *form {
            "password" => Ok(Secret::given(text)),
            "password_env" => self.passwords.read_env(&text),
            _ => self.passwords.read_file(&text),
        };
        match read {
            Ok(secret) => *password = secret,
            Err(complaint) => self.sink.error(&entry.node.span, complaint),
        }
    }

    fn steps(&mut self, key: &'static str, steps: &mut Vec<FlowValue>) {
        let Some(entry) = self.entry(key) else { return };
        let Value::List(items) = &entry.node.value else {
            self.sink.wrong_type(&entry.node, "a list", "in square brackets");
            return;
        };
        steps.clear();
        for item in items {
            if !matches!(item.value, Value::Table(_)) {
                self.sink.wrong_type(item, "a table", "such as { play = \"welcome.wav\" }");
            } else if let Some(step) = flow_value(item, 0, self.sink) {
                steps.push(step);
            }
        }
    }

    fn complain(&mut self, key: &'static str, complaint: Complaint) {
        // Only a value that is written here can be wrong here; a profile's are checked with the profile.
        if let Some(entry) = self.table.get(key) {
            self.sink.error(&entry.node.span, complaint);
        }
    }
}

fn flow_value(node: &Node, depth: usize, sink: &mut Sink<'_, '_>) -> Option<FlowValue> {
    if depth > STEPS_DEPTH_MAX {
        sink.error(&node.span, Complaint::new("nested too deeply", ""));
        return None;
    }
    match &node.value {
        Value::Text(_) => String::read(node, sink).map(FlowValue::Text),
        Value::Integer(number) => Some(FlowValue::Number(*number)),
        Value::Truth(truth) => Some(FlowValue::Truth(*truth)),
        Value::List(items) => {
            let read: Vec<_> = items.iter().map(|item| flow_value(item, depth + 1, sink)).collect();
            read.into_iter().collect::<Option<_>>().map(FlowValue::List)
        }
        Value::Table(table) => {
            let read: Vec<_> = table
                .entries
                .iter()
                .map(|entry| Some((entry.key.clone(), flow_value(&entry.node, depth + 1, sink)?)))
                .collect();
            read.into_iter().collect::<Option<_>>().map(FlowValue::Table)
        }
        Value::Float | Value::Moment | Value::Null => {
            sink.wrong_type(node, "text, a number, true or false, a list or a table", "");
            None
        }
    }
}

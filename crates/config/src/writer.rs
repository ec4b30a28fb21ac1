//! Prints a value into a tree, with every key.

use std::ops::RangeInclusive;

use trunk::{FlowValue, Secret};

use crate::field::Field;
use crate::out::Out;
use crate::visit::{Complaint, Rule, Visit};

/// Collects the keys of one table.
#[derive(Default)]
pub(crate) struct Writer {
    entries: Vec<(String, Out)>,
    /// Whether passwords are written out, for the way from `banyan apply` to the cluster.
    reveals: bool,
}

impl Writer {
    pub(crate) fn new(reveals: bool) -> Writer {
        Writer { entries: Vec::new(), reveals }
    }

    pub(crate) fn finish(self) -> Vec<(String, Out)> {
        self.entries
    }

    fn put(&mut self, key: &str, value: Out) {
        self.entries.push((key.to_owned(), value));
    }

    fn within(&self, visit: impl FnOnce(&mut Writer)) -> Vec<(String, Out)> {
        let mut below = Writer::new(self.reveals);
        visit(&mut below);
        below.entries
    }
}

impl Visit for Writer {
    fn field<T: Field>(&mut self, key: &'static str, value: &mut T) {
        self.put(key, value.write());
    }

    fn needed<T: Field>(&mut self, key: &'static str, value: &mut T) {
        self.put(key, value.write());
    }

    fn text(&mut self, key: &'static str, value: &mut Option<String>, _rule: Rule) {
        self.put(key, value.write());
    }

    fn texts(&mut self, key: &'static str, value: &mut Vec<String>, _rule: Rule) {
        self.put(key, value.write());
    }

    fn number<T: Field + Copy + Into<i64>>(
        &mut self,
        key: &'static str,
        value: &mut T,
        _bounds: RangeInclusive<i64>,
    ) {
        self.put(key, value.write());
    }

    fn table(&mut self, key: &'static str, visit: impl FnOnce(&mut Self)) {
        let entries = self.within(visit);
        self.put(key, Out::Table(entries));
    }

    fn checked(&mut self, key: &'static str, value: &mut String, _rule: Rule) {
        self.put(key, value.write());
    }

    fn alias<T: Field>(&mut self, _key: &'static str, _value: &mut T) {}

    fn maybe_table<T>(
        &mut self,
        key: &'static str,
        value: &mut Option<T>,
        _new: fn() -> T,
        visit: impl FnOnce(&mut T, &mut Self),
    ) {
        let out = match value {
            Some(value) => Out::Table(self.within(|v| visit(value, v))),
            None => Out::Absent,
        };
        self.put(key, out);
    }

    fn tables<T>(
        &mut self,
        key: &'static str,
        values: &mut Vec<T>,
        _new: fn() -> T,
        visit: impl Fn(&mut T, &mut Self),
    ) {
        let tables = values.iter_mut().map(|value| self.within(|v| visit(value, v))).collect();
        self.put(key, Out::Tables(tables));
    }

    fn password(&mut self, password: &mut Secret) {
        match password.reveal() {
            Some(text) if self.reveals => self.put("password", Out::Text(text.to_owned())),
            _ => self.put("password_stored", Out::Truth(true)),
        }
    }

    fn steps(&mut self, key: &'static str, steps: &mut Vec<FlowValue>) {
        self.put(key, Out::List(steps.iter().map(flow_value).collect()));
    }

    fn complain(&mut self, _key: &'static str, _complaint: Complaint) {}
}

fn flow_value(value: &FlowValue) -> Out {
    match value {
        FlowValue::Text(text) => Out::Text(text.clone()),
        FlowValue::Number(number) => Out::Integer(*number),
        FlowValue::Truth(truth) => Out::Truth(*truth),
        FlowValue::List(items) => Out::List(items.iter().map(flow_value).collect()),
        FlowValue::Table(entries) => {
            Out::Inline(entries.iter().map(|(key, value)| (key.clone(), flow_value(value))).collect())
        }
    }
}

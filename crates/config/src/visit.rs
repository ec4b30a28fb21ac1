//! One description of each table, walked by a reader, which fills it in, and a writer, which prints it.

use std::ops::RangeInclusive;

use crate::field::Field;

/// Says what is wrong with a text, and what to do; `None` where nothing is.
pub(crate) type Rule = fn(&str) -> Option<Complaint>;

/// What is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Complaint {
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Complaint {
    pub(crate) fn new(message: impl Into<String>, hint: &str) -> Complaint {
        Complaint { message: message.into(), hint: (!hint.is_empty()).then(|| hint.to_owned()) }
    }
}

/// Walks the keys of a table.
pub(crate) trait Visit: Sized {
    /// A key with a default.
    fn field<T: Field>(&mut self, key: &'static str, value: &mut T);

    /// A key that must be written.
    fn needed<T: Field>(&mut self, key: &'static str, value: &mut T);

    /// A text, or none, under a rule.
    fn text(&mut self, key: &'static str, value: &mut Option<String>, rule: Rule);

    /// A list of texts, each under a rule.
    fn texts(&mut self, key: &'static str, value: &mut Vec<String>, rule: Rule);

    /// A number within bounds.
    fn number<T: Field + Copy + Into<i64>>(
        &mut self,
        key: &'static str,
        value: &mut T,
        bounds: RangeInclusive<i64>,
    );

    /// A table below this one.
    fn table(&mut self, key: &'static str, visit: impl FnOnce(&mut Self));

    /// A text that is always there, under a rule.
    fn checked(&mut self, key: &'static str, value: &mut String, rule: Rule);

    /// A key that can be written here, but is printed in another place.
    fn alias<T: Field>(&mut self, key: &'static str, value: &mut T);

    /// A table below this one that may be left out.
    fn maybe_table<T>(
        &mut self,
        key: &'static str,
        value: &mut Option<T>,
        new: fn() -> T,
        visit: impl FnOnce(&mut T, &mut Self),
    );

    /// Any number of tables below this one.
    fn tables<T>(
        &mut self,
        key: &'static str,
        values: &mut Vec<T>,
        new: fn() -> T,
        visit: impl Fn(&mut T, &mut Self),
    );

    /// A password, in one of its forms.
    fn password(&mut self, password: &mut trunk::Secret);

    /// Flow steps: any tree.
    fn steps(&mut self, key: &'static str, steps: &mut Vec<trunk::FlowValue>);

    /// Anything that is wrong with the table as a whole.
    fn complain(&mut self, key: &'static str, complaint: Complaint);
}

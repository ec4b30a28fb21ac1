//! Profiles: sets of defaults, and nothing more. All of them are data, in `profiles.toml`.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use trunk::Settings;

use crate::field::Sink;
use crate::load::Passwords;
use crate::out::{Out, Shown, to_toml};
use crate::problem::{Problems, Source};
use crate::reader::read;
use crate::schema::{self, Owner};
use crate::toml;
use crate::tree::Value;
use crate::writer::Writer;

const FILE: &str = include_str!("profiles.toml");

static PROFILES: OnceLock<BTreeMap<String, Settings>> = OnceLock::new();

/// A profile's values.
pub fn profile(name: &str) -> Option<&'static Settings> {
    all().get(name)
}

/// The names of all profiles.
pub fn names() -> Vec<&'static str> {
    all().keys().map(String::as_str).collect()
}

/// Every profile with every key, as TOML.
pub fn profiles_to_toml() -> String {
    let mut text = String::new();
    for (name, settings) in all() {
        let mut writer = Writer::default();
        schema::settings(&mut settings.clone(), Owner::Trunk, &mut writer);
        to_toml(name, Shown::WithAbsent, &writer.finish(), &mut text);
    }
    text
}

/// One profile with every key, as JSON.
pub fn profile_to_json(name: &str) -> Option<serde_json::Value> {
    let settings = profile(name)?;
    let mut writer = Writer::default();
    schema::settings(&mut settings.clone(), Owner::Trunk, &mut writer);
    let mut entries = vec![("name".to_owned(), Out::Text(name.to_owned()))];
    entries.extend(writer.finish());
    Some(Out::Table(entries).to_json())
}

fn all() -> &'static BTreeMap<String, Settings> {
    PROFILES.get_or_init(|| load(FILE).expect("the profiles are part of the program, and tested"))
}

/// Reads profiles, each over the defaults of `generic`.
fn load(text: &str) -> Result<BTreeMap<String, Settings>, Vec<String>> {
    let sources = [Source { path: "profiles.toml".to_owned(), text: text.to_owned() }];
    let mut problems = Problems::new(&sources);
    let root = toml::read(text, 0, &mut problems);
    let mut profiles = BTreeMap::new();
    if let Value::Table(table) = &root.value {
        for entry in &table.entries {
            let mut settings = Settings::default();
            let mut sink = Sink { problems: &mut problems, file: 0 };
            read(&entry.node, &entry.key, &mut sink, &Passwords::Refuse, |v| {
                schema::settings(&mut settings, Owner::Trunk, v);
            });
            profiles.insert(entry.key.clone(), settings);
        }
    }
    let found = problems.finish();
    if found.is_empty() { Ok(profiles) } else { Err(found.iter().map(ToString::to_string).collect()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profiles_file_has_no_mistake_and_six_profiles() {
        assert_eq!(load(FILE).map(|profiles| profiles.len()), Ok(6));
        assert_eq!(names(), ["exotel", "flip", "flowroute", "generic", "kwebbl", "portasip"]);
    }

    /// The file states every key of `generic`, and it states what the types' defaults are.
    #[test]
    fn generic_is_what_the_types_default_to() {
        assert_eq!(profile("generic"), Some(&Settings::default()));
        let mut writer = Writer::default();
        schema::settings(&mut Settings::default(), Owner::Trunk, &mut writer);
        let mut expected = String::new();
        to_toml("generic", Shown::Present, &writer.finish(), &mut expected);
        for line in expected.lines() {
            assert!(FILE.lines().any(|stated| stated == line), "profiles.toml lacks: {line}");
        }
    }

    #[test]
    fn printed_profiles_can_be_read_again() {
        assert_eq!(load(&profiles_to_toml()).as_ref(), Ok(all()));
    }
}

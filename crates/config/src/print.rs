//! Resources as TOML that can be applied again, as JSON, and the difference between two of them.

use trunk::Resource;

use crate::load::blank_of;
use crate::out::{Out, Shown, inline, to_toml};
use crate::profiles;
use crate::schema;
use crate::writer::Writer;

/// A resource as TOML: what differs from its profile. Passwords are printed as `password_stored = true`.
pub fn resource_to_toml(resource: &Resource) -> String {
    let mut text = String::new();
    if let Out::Table(entries) = brief(resource) {
        let kind = resource.kind();
        let shown = if kind.is_single() { Shown::Present } else { Shown::Repeated };
        to_toml(&kind.to_string(), shown, &entries, &mut text);
    }
    text
}

/// Several resources as one file.
pub fn resources_to_toml<'r>(resources: impl IntoIterator<Item = &'r Resource>) -> String {
    let all: Vec<String> = resources.into_iter().map(resource_to_toml).collect();
    all.join("\n")
}

/// A resource as JSON, with every key: what it is, defaults included.
pub fn resource_to_json(resource: &Resource) -> serde_json::Value {
    whole(resource, false).to_json()
}

/// Resources as a file in JSON, with their passwords: for the way from `banyan apply` to the cluster alone.
pub fn resources_to_wire_json<'r>(resources: impl IntoIterator<Item = &'r Resource>) -> serde_json::Value {
    let mut file = serde_json::Map::new();
    for resource in resources {
        let tree = whole(resource, true).to_json();
        let kind = resource.kind();
        if kind.is_single() {
            file.insert(kind.to_string(), tree);
            continue;
        }
        let list = file.entry(kind.to_string()).or_insert_with(|| serde_json::Value::Array(Vec::new()));
        if let serde_json::Value::Array(list) = list {
            list.push(tree);
        }
    }
    serde_json::Value::Object(file)
}

/// One key that an apply would change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The key, from the resource's table down: `limits.concurrent`.
    pub key: String,
    /// Its value until now, as TOML; `None`: it had none.
    pub old: Option<String>,
    /// Its value afterwards; `None`: none.
    pub new: Option<String>,
}

/// What putting `new` in the place of `old` changes. A new password shows as a change, never as itself.
pub fn diff(old: Option<&Resource>, new: &Resource) -> Vec<Difference> {
    let base = match old {
        Some(old) => whole(old, false),
        None => Out::Table(Vec::new()),
    };
    let mut found = Vec::new();
    compare("", &base, &whole(new, false), &mut found);
    if let Some(old) = old
        && has_new_password(old, new)
    {
        let hidden = Some("***".to_owned());
        found.push(Difference { key: "account.password".to_owned(), old: hidden.clone(), new: hidden });
    }
    found
}

/// Whether an account has another password than before; one that is kept is none.
fn has_new_password(old: &Resource, new: &Resource) -> bool {
    let mut pairs = passwords(old).into_iter().zip(passwords(new));
    pairs.any(|(old, new)| *new != trunk::Secret::Keep && old != new)
}

fn passwords(resource: &Resource) -> Vec<&trunk::Secret> {
    let accounts = match resource {
        Resource::Trunk(trunk) => &trunk.accounts,
        Resource::Gateway(gateway) => &gateway.accounts,
        _ => return Vec::new(),
    };
    accounts.iter().map(|account| &account.password).collect()
}

fn compare(path: &str, old: &Out, new: &Out, found: &mut Vec<Difference>) {
    let (Out::Table(before), Out::Table(after)) = (old, new) else { return };
    let join = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    let value = |entries: &[(String, Out)], key: &str| {
        entries.iter().find(|(known, _)| known == key).map_or(Out::Absent, |(_, value)| value.clone())
    };
    let mut keys: Vec<&String> = after.iter().map(|(key, _)| key).collect();
    keys.extend(
        before.iter().map(|(key, _)| key).filter(|key| !after.iter().any(|(known, _)| known == *key)),
    );
    for key in keys {
        let (was, is) = (value(before, key), value(after, key));
        if was == is {
            continue;
        }
        match (&was, &is) {
            (Out::Table(_), Out::Table(_)) => compare(&join(key), &was, &is, found),
            (Out::Absent, Out::Table(_)) => compare(&join(key), &Out::Table(Vec::new()), &is, found),
            _ => found.push(Difference { key: join(key), old: text(&was), new: text(&is) }),
        }
    }
}

fn text(value: &Out) -> Option<String> {
    if *value == Out::Absent {
        return None;
    }
    let mut text = String::new();
    inline(value, &mut text);
    Some(text)
}

/// The whole tree of a resource.
fn whole(resource: &Resource, reveals: bool) -> Out {
    let mut writer = Writer::new(reveals);
    schema::resource(&mut resource.clone(), &mut writer);
    Out::Table(writer.finish())
}

/// What differs from a resource of which nothing but its name and profile is written.
fn brief(resource: &Resource) -> Out {
    let mut base = blank_of(resource.kind());
    if let (Resource::Trunk(trunk), Resource::Trunk(base)) = (resource, &mut base)
        && let Some(settings) = profiles::profile(&trunk.profile)
    {
        base.settings = settings.clone();
    }
    whole(resource, false).without(&whole(&base, false))
}

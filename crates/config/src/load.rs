//! Files into resources and a node: each table read on its own, so that one mistake hides no other.

use std::ops::Range;

use trunk::{
    Cnam, Emergency, FalloutVia, Flow, Gateway, Kind, Name, Number, Region, Resource, Secret, Stir, Tariff,
    Tenant, Trunk, Word,
};

use crate::field::Sink;
use crate::nearest;
use crate::node::NodeFile;
use crate::problem::{Problems, Source};
use crate::profiles;
use crate::reader::read;
use crate::schema;
use crate::tree::{Entry, Node, Value};
use crate::visit::Complaint;
use crate::{json, toml};

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notation {
    /// TOML.
    Toml,
    /// The same tree in JSON.
    Json,
}

/// Reads an environment variable.
pub type ReadEnv<'a> = &'a dyn Fn(&str) -> Option<String>;
/// Reads a file, or says why it can't.
pub type ReadFile<'a> = &'a dyn Fn(&str) -> Result<String, String>;

/// What `password_env` and `password_file` mean here.
#[derive(Clone, Copy)]
pub enum Passwords<'a> {
    /// They are read: `banyan apply`, on the operator's machine.
    Read {
        /// Reads a variable.
        env: ReadEnv<'a>,
        /// Reads a file.
        file: ReadFile<'a>,
    },
    /// They are left alone: `banyan check`, which may run anywhere.
    Ignore,
    /// They are refused: the cluster must not read its own files for a client.
    Refuse,
}

impl Passwords<'_> {
    pub(crate) fn read_env(&self, name: &str) -> Result<Secret, Complaint> {
        match self {
            Passwords::Ignore => Ok(Secret::Keep),
            Passwords::Refuse => Err(refused("password_env")),
            Passwords::Read { env, .. } => match env(name).filter(|text| !text.is_empty()) {
                Some(text) => Ok(Secret::given(text)),
                None => Err(Complaint::new(format!("the variable {name} is not set"), "")),
            },
        }
    }

    pub(crate) fn read_file(&self, path: &str) -> Result<Secret, Complaint> {
        match self {
            Passwords::Ignore => Ok(Secret::Keep),
            Passwords::Refuse => Err(refused("password_file")),
            Passwords::Read { file, .. } => match file(path) {
                Ok(text) if text.trim_end().is_empty() => Err(Complaint::new(format!("{path} is empty"), "")),
                Ok(text) => Ok(Secret::given(text.trim_end_matches(['\r', '\n']))),
                Err(reason) => Err(Complaint::new(format!("{path} can't be read: {reason}"), "")),
            },
        }
    }
}

fn refused(key: &str) -> Complaint {
    Complaint::new(format!("{key} is read by `banyan apply`, not by the cluster"), "send the password itself")
}

/// One resource and where it is written.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) resource: Resource,
    pub(crate) file: usize,
    pub(crate) node: Node,
}

impl Item {
    /// Where its name stands; its table, where there is none.
    pub(crate) fn name_span(&self) -> Range<usize> {
        let key = if self.resource.kind() == Kind::Number { "e164" } else { "name" };
        self.node.span_at(&[key], None)
    }
}

/// A set of files, read.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) items: Vec<Item>,
    pub(crate) nodes: Vec<(usize, NodeFile, Node)>,
    /// Resources whose names are known although they could not be read: nothing that names them is at fault.
    pub(crate) broken: Vec<(Kind, String)>,
}

/// Reads files. What can't be read is reported; the rest is returned.
pub(crate) fn load(
    sources: &[Source],
    notation: Notation,
    passwords: &Passwords<'_>,
    problems: &mut Problems<'_>,
) -> Loaded {
    let mut loaded = Loaded::default();
    for (file, source) in sources.iter().enumerate() {
        let root = match notation {
            Notation::Toml => toml::read(&source.text, file, problems),
            Notation::Json => json::read(&source.text, file, problems),
        };
        let mut sink = Sink { problems, file };
        let Value::Table(table) = &root.value else {
            sink.wrong_type(&root, "a table", "");
            continue;
        };
        if table.get("node").is_some() {
            let mut node = NodeFile::new(1);
            read(&root, "", &mut sink, passwords, |v| node.visit(v));
            loaded.nodes.push((file, node, root.clone()));
            continue;
        }
        for entry in &table.entries {
            load_entry(entry, &mut sink, passwords, &mut loaded);
        }
    }
    loaded
}

fn load_entry(entry: &Entry, sink: &mut Sink<'_, '_>, passwords: &Passwords<'_>, loaded: &mut Loaded) {
    let Some(kind) = Kind::from_word(&entry.key) else {
        let mut known: Vec<&str> = Kind::ALL.iter().map(|kind| kind.word()).collect();
        known.push("node");
        let complaint = if ["sip", "media", "cluster", "home", "http", "log"].contains(&entry.key.as_str()) {
            Complaint::new(format!("`{}` belongs into a node file", entry.key), "which has [node]")
        } else {
            nearest::unknown_key(&entry.key, "", &known)
        };
        sink.error(&entry.key_span, complaint);
        return;
    };
    if kind.is_single() {
        load_one(kind, &entry.node, sink, passwords, loaded);
        return;
    }
    match &entry.node.value {
        Value::List(items) => items.iter().for_each(|item| load_one(kind, item, sink, passwords, loaded)),
        Value::Table(_) => {
            let message = format!("[{kind}] stands for one, and there may be many");
            sink.error(&entry.key_span, Complaint::new(message, &format!("write [[{kind}]]")));
        }
        _ => sink.wrong_type(&entry.node, "tables", &format!("[[{kind}]]")),
    }
}

fn load_one(
    kind: Kind,
    node: &Node,
    sink: &mut Sink<'_, '_>,
    passwords: &Passwords<'_>,
    loaded: &mut Loaded,
) {
    let before = sink.problems.count();
    let mut resource = blank_of(kind);
    if let Resource::Trunk(trunk) = &mut resource {
        start_from_profile(trunk, node, sink);
    }
    read(node, kind.word(), sink, passwords, |v| schema::resource(&mut resource, v));
    if resource.name() == PLACEHOLDER {
        return;
    }
    if sink.problems.count() > before {
        loaded.broken.push((kind, resource.name().to_owned()));
    }
    loaded.items.push(Item { resource, file: sink.file, node: node.clone() });
}

/// A trunk's defaults are those of the profile that it names.
fn start_from_profile(trunk: &mut Trunk, node: &Node, sink: &mut Sink<'_, '_>) {
    let Value::Table(table) = &node.value else { return };
    let Some(Entry { node, .. }) = table.get("profile") else { return };
    let Value::Text(name) = &node.value else { return };
    match profiles::profile(name) {
        Some(settings) => trunk.settings = settings.clone(),
        None => sink.error(&node.span, nearest::no_such_word(name, &profiles::names())),
    }
}

/// The name of a resource that has none yet.
const PLACEHOLDER: &str = "0-unnamed-0";

/// A resource of which nothing is written.
pub(crate) fn blank_of(kind: Kind) -> Resource {
    let name = Name::new(PLACEHOLDER).expect("letters, digits and dashes make a name");
    match kind {
        Kind::Region => Resource::Region(Region { name, signalling: Vec::new(), media: Vec::new() }),
        Kind::Tenant => Resource::Tenant(Tenant { name, account_sid: None, domain: None }),
        Kind::Gateway => Resource::Gateway(Box::new(Gateway::new(name))),
        Kind::Trunk => Resource::Trunk(Box::new(Trunk::new(name))),
        Kind::Number => Resource::Number(Number {
            e164: name.clone(),
            trunk: name,
            delivery: Vec::new(),
            cnam: None,
            cnam_lookup: false,
        }),
        Kind::Flow => {
            Resource::Flow(Flow { name, fallout: None, fallout_via: FalloutVia::Trunk, steps: Vec::new() })
        }
        Kind::Tariff => {
            Resource::Tariff(Tariff { name, currency: String::new(), increments: [1, 1], rates: Vec::new() })
        }
        Kind::Emergency => Resource::Emergency(Emergency { numbers: Vec::new(), gateways: Vec::new() }),
        Kind::Cnam => {
            Resource::Cnam(Cnam { url: String::new(), timeout: std::time::Duration::from_millis(500) })
        }
        Kind::Stir => Resource::Stir(Stir { key: String::new(), certificate_url: String::new() }),
    }
}

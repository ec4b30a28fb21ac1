//! `check`, `apply`, `get`, `describe`, `delete`: what operators put into the cluster.

use std::fs;
use std::path::{Path, PathBuf};

use config::{Notation, Passwords, Problem, Severity, Source};
use serde_json::Value;

use crate::cli::{ApplyArgs, Format, GetArgs};
use crate::client::Client;
use crate::failure::{Failure, Result};
use crate::output::{self, Column, say};

/// `banyan check`.
pub fn check(files: &[PathBuf]) -> Result {
    let sources = files.iter().map(|path| read(path)).collect::<Result<Vec<_>>>()?;
    let mut checked = config::check(&sources);
    if !checked.has_errors() {
        checked.problems.extend(sources.iter().filter_map(certificates));
    }
    for problem in &checked.problems {
        match problem.severity {
            Severity::Error => eprintln!("{problem}"),
            Severity::Warning => println!("{problem}"),
        }
    }
    if checked.has_errors() {
        return Err(Failure::Said(2));
    }
    let nodes = usize::from(checked.node.is_some());
    say(&format!("ok: {nodes} node file(s), {} resource(s)", checked.resources.len()));
    Ok(())
}

/// What is wrong with the certificate that a node file names.
fn certificates(source: &Source) -> Option<Problem> {
    let (node, _) = config::read_node(source).ok()?;
    let (severity, key, words) = match crate::tls::check(node.sip.tls.as_ref()?) {
        Ok(said) => (Severity::Warning, "certificate", said?),
        Err(mistake) => (Severity::Error, mistake.key, mistake.words),
    };
    let found = config::problem_at(source, &["sip", "tls", key], words)?;
    Some(Problem { severity, ..found })
}

/// `banyan apply`.
pub fn apply(client: &Client, args: &ApplyArgs) -> Result {
    let mut paths = Vec::new();
    for path in &args.files {
        collect(path, &mut paths)?;
    }
    let sources = paths.iter().map(|path| read(path)).collect::<Result<Vec<_>>>()?;
    let env = |name: &str| std::env::var(name).ok();
    let file = |path: &str| fs::read_to_string(path).map_err(|error| error.to_string());
    let set = config::read_resources(&sources, Notation::Toml, &Passwords::Read { env: &env, file: &file });
    let set = set.map_err(|problems| {
        problems.iter().for_each(|problem| eprintln!("{problem}"));
        Failure::Said(2)
    })?;
    set.warnings.iter().for_each(|warning| eprintln!("{warning}"));
    let body = config::resources_to_wire_json(&set.resources).to_string();
    let path = if args.dry_run { "/v1/apply?dry_run=true" } else { "/v1/apply" };
    let answer = client.post(path, "application/json", body.as_bytes()).map_err(|failure| match failure {
        // The cluster names its own view of the file; the operator has the real one.
        Failure::Usage(text) => {
            let exists = |kind: trunk::Kind, name: &str| !text.contains(&format!("{kind} `{name}`"));
            let unresolved = set.unresolved(exists);
            if unresolved.is_empty() {
                Failure::Usage(text)
            } else {
                unresolved.iter().for_each(|problem| eprintln!("{problem}"));
                Failure::Said(2)
            }
        }
        other => other,
    })?;
    let results = answer.get("results").and_then(Value::as_array).cloned().unwrap_or_default();
    match args.output {
        Format::Table => {
            for result in &results {
                say(&summary(result, args.dry_run));
            }
            Ok(())
        }
        format => output::list(&results, format, APPLIED),
    }
}

fn summary(result: &Value, dry_run: bool) -> String {
    let member = |name: &str| result.get(name).and_then(Value::as_str).unwrap_or_default();
    let would = if dry_run && member("change") != "unchanged" { "would be " } else { "" };
    let mut text = format!("{}/{} {would}{}", member("kind"), member("name"), member("change"));
    for difference in result.get("differences").and_then(Value::as_array).into_iter().flatten() {
        let member = |name: &str| difference.get(name).and_then(Value::as_str).unwrap_or("-");
        text += &format!("\n  {}: {} -> {}", member("key"), member("old"), member("new"));
    }
    text
}

/// `banyan get`.
pub fn get(client: &Client, args: &GetArgs) -> Result {
    let kind = kind_of(&args.kind)?;
    let filtered =
        args.since.is_some() || args.limit.is_some() || args.trunk.is_some() || args.call_id.is_some();
    if filtered && kind.name != "cdrs" {
        return Err(Failure::Usage("--since, --limit, --trunk and --call-id are for cdrs".to_owned()));
    }
    if args.output == Format::Toml {
        return print_toml(client, kind, args.name.as_deref());
    }
    let Some(name) = &args.name else {
        let items = client.get(&format!("/v1/{}{}", kind.name, query(args)))?;
        let items = items.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
        return output::list(&items, args.output, kind.columns);
    };
    match client.find(&format!("/v1/{}/{}", kind.name, escape(name)))? {
        Some(found) => output::item(&found, args.output, kind.columns),
        None => Err(Failure::No(format!(
            "no {} is called {name}; `banyan get {}` lists them",
            args.kind, kind.name
        ))),
    }
}

fn print_toml(client: &Client, kind: &Kind, name: Option<&str>) -> Result {
    if kind.name == "profiles" {
        say(&config::profiles_to_toml());
        return Ok(());
    }
    if !kind.is_resource {
        return Err(Failure::Usage("-o toml works for resources and profiles".to_owned()));
    }
    let path = match name {
        Some(name) => format!("/v1/{}/{}?format=toml", kind.name, escape(name)),
        None => format!("/v1/{}?format=toml", kind.name),
    };
    let answer = client.find(&path)?;
    match answer.as_ref().and_then(|answer| answer.get("toml")).and_then(Value::as_str) {
        Some(text) => {
            say(text);
            Ok(())
        }
        None => Err(Failure::No(format!("no {} is called {}", kind.name, name.unwrap_or_default()))),
    }
}

/// `banyan describe`.
pub fn describe(client: &Client, kind: &str, name: &str) -> Result {
    let kind = kind_of(kind)?;
    if !["trunks", "gateways", "numbers"].contains(&kind.name) {
        return Err(Failure::Usage("describe knows trunk, gateway and number".to_owned()));
    }
    match client.find(&format!("/v1/{}/{}?describe=true", kind.name, escape(name)))? {
        Some(found) => output::item(&found, Format::Table, &[]),
        None => Err(Failure::No(format!("{name} is not there; `banyan get {}` lists what is", kind.name))),
    }
}

/// `banyan delete`.
pub fn delete(client: &Client, kind: &str, name: &str) -> Result {
    let kind = kind_of(kind)?;
    if !kind.is_resource {
        return Err(Failure::Usage(format!("{} can't be deleted", kind.name)));
    }
    client.delete(&format!("/v1/{}/{}", kind.name, escape(name)))?;
    say(&format!("{} {name} deleted", kind.singular));
    Ok(())
}

/// Percent-encodes what may not stand in a path segment.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out += &format!("%{byte:02X}");
        }
    }
    out
}

fn query(args: &GetArgs) -> String {
    let mut parts = Vec::new();
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            parts.push(format!("{name}={}", escape(&value)));
        }
    };
    add("since", args.since.clone());
    add("limit", args.limit.map(|limit| limit.to_string()));
    add("trunk", args.trunk.clone());
    add("call_id", args.call_id.clone());
    if parts.is_empty() { String::new() } else { format!("?{}", parts.join("&")) }
}

/// Reads a file, or says why not.
pub fn read(path: &Path) -> Result<Source> {
    match fs::read(path) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Ok(Source { path: path.display().to_string(), text }),
            Err(_) => Err(Failure::Usage(format!("{}: not UTF-8 text", path.display()))),
        },
        Err(error) => Err(Failure::Usage(format!("{}: {error}", path.display()))),
    }
}

fn collect(path: &Path, into: &mut Vec<PathBuf>) -> Result {
    if !path.is_dir() {
        into.push(path.to_owned());
        return Ok(());
    }
    let entries = fs::read_dir(path).map_err(|e| Failure::Usage(format!("{}: {e}", path.display())))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    if files.is_empty() {
        return Err(Failure::Usage(format!("{}: no .toml file in it", path.display())));
    }
    files.sort();
    into.append(&mut files);
    Ok(())
}

struct Kind {
    name: &'static str,
    singular: &'static str,
    is_resource: bool,
    columns: &'static [Column],
}

pub const fn column(title: &'static str, path: &'static str) -> Column {
    Column { title, path }
}

const APPLIED: &[Column] = &[column("KIND", "kind"), column("NAME", "name"), column("CHANGE", "change")];
/// What `calls` shows of a call.
pub const CALLS: &[Column] = &[
    column("ID", "id"),
    column("STATE", "state"),
    column("DIRECTION", "direction"),
    column("TRUNK", "trunk"),
    column("FROM", "from"),
    column("TO", "to"),
    column("GATEWAY", "gateway"),
    column("STARTED", "started_at"),
    column("ANSWERED", "answered_at"),
];
const KINDS: &[Kind] = &[
    Kind {
        name: "tenants",
        singular: "tenant",
        is_resource: true,
        columns: &[column("NAME", "name"), column("DOMAIN", "domain"), column("ACCOUNT SID", "account_sid")],
    },
    Kind {
        name: "trunks",
        singular: "trunk",
        is_resource: true,
        columns: &[
            column("NAME", "name"),
            column("TENANT", "tenant"),
            column("PROFILE", "profile"),
            column("CONCURRENT", "limits.concurrent"),
            column("NETWORKS", "access.networks"),
            column("TARGETS", "delivery.targets"),
        ],
    },
    Kind {
        name: "numbers",
        singular: "number",
        is_resource: true,
        columns: &[column("E164", "e164"), column("TRUNK", "trunk"), column("DELIVERY", "delivery")],
    },
    Kind {
        name: "gateways",
        singular: "gateway",
        is_resource: true,
        columns: &[
            column("NAME", "name"),
            column("TARGETS", "targets"),
            column("PREFIXES", "prefixes"),
            column("PRIORITY", "priority"),
            column("WEIGHT", "weight"),
            column("CONCURRENT", "concurrent"),
        ],
    },
    Kind { name: "flows", singular: "flow", is_resource: true, columns: &[column("NAME", "name")] },
    Kind {
        name: "tariffs",
        singular: "tariff",
        is_resource: true,
        columns: &[column("NAME", "name"), column("CURRENCY", "currency")],
    },
    Kind {
        name: "regions",
        singular: "region",
        is_resource: true,
        columns: &[column("NAME", "name"), column("SIGNALLING", "signalling"), column("MEDIA", "media")],
    },
    Kind { name: "profiles", singular: "profile", is_resource: false, columns: &[column("NAME", "name")] },
    Kind {
        name: "nodes",
        singular: "node",
        is_resource: false,
        columns: &[
            column("ID", "id"),
            column("NAME", "name"),
            column("STATE", "state"),
            column("ROLE", "role"),
            column("HOMES", "homes"),
            column("CALLS", "calls"),
            column("ADDRESS", "cluster_address"),
            column("INCARNATION", "incarnation"),
        ],
    },
    Kind {
        name: "homes",
        singular: "home",
        is_resource: false,
        columns: &[
            column("NAME", "name"),
            column("KIND", "kind"),
            column("ADDRESS", "address"),
            column("HOLDER", "holder"),
            column("EPOCH", "epoch"),
            column("CALLS", "calls"),
        ],
    },
    Kind {
        name: "registrations",
        singular: "registration",
        is_resource: false,
        columns: &[
            column("ACCOUNT", "name"),
            column("DIRECTION", "direction"),
            column("TRUNK", "trunk"),
            column("GATEWAY", "gateway"),
            column("NUMBER", "account"),
            column("STATE", "state"),
            column("CONTACT", "contact"),
            column("SOURCE", "source"),
            column("EXPIRES S", "expires_s"),
            column("NODE", "node"),
        ],
    },
    Kind { name: "calls", singular: "call", is_resource: false, columns: CALLS },
    Kind {
        name: "cdrs",
        singular: "cdr",
        is_resource: false,
        columns: &[
            column("ID", "id"),
            column("STARTED", "started_at"),
            column("TRUNK", "trunk"),
            column("FROM", "from"),
            column("TO", "to"),
            column("STATUS", "sip_status"),
            column("MS", "duration_ms"),
            column("REASON", "reason"),
        ],
    },
];

fn kind_of(word: &str) -> Result<&'static Kind> {
    if let Some(kind) = KINDS.iter().find(|kind| kind.name == word || kind.singular == word) {
        return Ok(kind);
    }
    let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
    Err(Failure::Usage(format!("{word} is not a kind; kinds are {}", names.join(", "))))
}

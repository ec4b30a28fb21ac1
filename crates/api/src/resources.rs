//! Resources: what operators put into the cluster.

use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, header};
use axum::response::Json;
use cluster::Usage;
use config::{Notation, Passwords, Source};
use node::NodeHandle;
use serde::Deserialize;
use serde_json::{Value, json};
use trunk::{ApplyError, DeleteError, Kind, Party, Resource, Scope};

use crate::live::items;
use crate::problem::Problem;

type Answer = Result<Json<Value>, Problem>;

/// How resources are asked for.
#[derive(Debug, Deserialize)]
pub(crate) struct View {
    format: Option<String>,
    #[serde(default)]
    describe: bool,
}

/// How a file is applied.
#[derive(Debug, Deserialize)]
pub(crate) struct Apply {
    #[serde(default)]
    dry_run: bool,
}

/// GET /v1/{kind}.
pub(crate) async fn list(
    State(node): State<NodeHandle>,
    Path(kind): Path<String>,
    Query(view): Query<View>,
) -> Answer {
    if kind == "profiles" {
        return Ok(items(config::profile_names().into_iter().filter_map(config::profile_to_json).collect()));
    }
    let kind = parse(&kind)?;
    let resources = node.cluster().read(|state| state.resources().clone());
    let all = resources.all(kind);
    if view.format.as_deref() == Some("toml") {
        return Ok(Json(json!({"toml": config::resources_to_toml(&all)})));
    }
    Ok(items(all.iter().map(config::resource_to_json).collect()))
}

/// GET /v1/{kind}/{name}.
pub(crate) async fn get(
    State(node): State<NodeHandle>,
    Path((kind, name)): Path<(String, String)>,
    Query(view): Query<View>,
) -> Answer {
    if kind == "profiles" {
        let found = config::profile_to_json(&name);
        return found.map(Json).ok_or_else(|| Problem::not_found(format!("no profile is called {name}")));
    }
    let kind = parse(&kind)?;
    let found = node.cluster().read(|state| state.resources().get(kind, &name));
    let resource = found.ok_or_else(|| Problem::not_found(format!("no {kind} is called {name}")))?;
    if view.format.as_deref() == Some("toml") {
        return Ok(Json(json!({"toml": config::resource_to_toml(&resource)})));
    }
    let mut value = config::resource_to_json(&resource);
    if let (true, Some(object)) = (view.describe, value.as_object_mut()) {
        for (key, fact) in facts(&node, &resource) {
            object.insert(key.to_owned(), fact);
        }
    }
    Ok(Json(value))
}

/// How a resource is doing: calls and rates in use, recent failures.
fn facts(node: &NodeHandle, resource: &Resource) -> Vec<(&'static str, Value)> {
    let (scope, trunk) = match resource {
        Resource::Trunk(it) => (Scope::Trunk(it.name.clone()), Some(it.name.clone())),
        Resource::Gateway(it) => (Scope::Gateway(it.name.clone()), None),
        Resource::Number(it) => (Scope::Trunk(it.trunk.clone()), Some(it.trunk.clone())),
        _ => return Vec::new(),
    };
    let (usage, calls) = node.cluster().read(|state| {
        let has = |party: &Party| party.scope() == scope;
        let involved = |record: &&std::sync::Arc<call::CallRecord>| {
            has(&record.admit.party) || record.attempts.last().is_some_and(|tried| has(&tried.party))
        };
        (state.usage(&scope), state.calls().filter(involved).count())
    });
    let Usage { concurrent, minute, hour, day, week } = usage;
    let mut facts = Vec::new();
    match resource {
        Resource::Trunk(it) => facts.push(("registrations", crate::registrations::of(node, it))),
        Resource::Gateway(it) => facts.push(("registrations", crate::registrations::with(node, it))),
        _ => {}
    }
    facts.push(("health", node.cluster().read(|state| crate::health::of(state, resource))));
    facts.push((
        "in_use",
        json!({
            "calls": calls, "slots": concurrent, "minute": minute, "hour": hour, "day": day, "week": week,
        }),
    ));
    let filter = cluster::CdrFilter {
        trunk: trunk.map(|name| name.to_string()),
        limit: Some(200),
        ..cluster::CdrFilter::default()
    };
    if let Ok(records) = node.cluster().cdrs(&filter) {
        let text = |cdr: &Value, name: &str| cdr.get(name).cloned().unwrap_or(Value::Null);
        let failed = records.iter().rev().filter(|cdr| cdr.get("answered_at").is_some_and(Value::is_null));
        let ours = failed.filter(|cdr| match &scope {
            Scope::Gateway(name) => cdr.get("gateway").and_then(Value::as_str) == Some(name.as_str()),
            Scope::Trunk(_) => true,
        });
        let recent: Vec<Value> = ours
            .take(5)
            .map(|cdr| {
                json!({
                    "ended_at": text(cdr, "ended_at"), "to": text(cdr, "to"),
                    "sip_status": text(cdr, "sip_status"), "reason": text(cdr, "reason"),
                })
            })
            .collect();
        facts.push(("recent_failures", Value::from(recent)));
    }
    facts
}

/// PUT /v1/{kind}/{name}.
pub(crate) async fn put(
    State(node): State<NodeHandle>,
    Path((kind, name)): Path<(String, String)>,
    Query(apply): Query<Apply>,
    headers: HeaderMap,
    body: String,
) -> Answer {
    let kind = parse(&kind)?;
    let set = read(&headers, &wrap(kind, &headers, body)?)?;
    match set.resources.as_slice() {
        [one] if one.kind() == kind && (kind.is_single() || one.name() == name) => {}
        _ => return Err(Problem::bad(format!("the body must be the {kind} {name} and nothing else"))),
    }
    put_all(&node, set, apply.dry_run).await
}

/// A bare resource in JSON becomes a file with one resource in it.
fn wrap(kind: Kind, headers: &HeaderMap, body: String) -> Result<String, Problem> {
    if notation(headers) == Notation::Toml {
        return Ok(body);
    }
    let tree: Value =
        serde_json::from_str(&body).map_err(|error| Problem::bad(format!("the body is no JSON: {error}")))?;
    if tree.get(kind.to_string()).is_some() {
        return Ok(body);
    }
    let tree = if kind.is_single() { tree } else { json!([tree]) };
    Ok(json!({kind.to_string(): tree}).to_string())
}

/// DELETE /v1/{kind}/{name}.
pub(crate) async fn delete(
    State(node): State<NodeHandle>,
    Path((kind, name)): Path<(String, String)>,
) -> Answer {
    let kind = parse(&kind)?;
    match decided(node.cluster().delete(kind, name.clone())).await? {
        Some(Ok(())) => Ok(Json(json!({"kind": kind.to_string(), "name": name, "change": "deleted"}))),
        Some(Err(error @ DeleteError::Unknown { .. })) => Err(Problem::not_found(error.to_string())),
        Some(Err(error)) => Err(Problem::conflict(error.to_string())),
        None => Err(fenced()),
    }
}

/// POST /v1/apply.
pub(crate) async fn apply(
    State(node): State<NodeHandle>,
    Query(apply): Query<Apply>,
    headers: HeaderMap,
    body: String,
) -> Answer {
    let set = read(&headers, &body)?;
    put_all(&node, set, apply.dry_run).await
}

async fn put_all(node: &NodeHandle, mut set: config::ResourceSet, dry_run: bool) -> Answer {
    set.resources = node.with_passwords_kept(set.resources);
    let resources = node.cluster().read(|state| state.resources().clone());
    let unresolved = set.unresolved(|kind, name| resources.get(kind, name).is_some());
    if !unresolved.is_empty() {
        return Err(Problem::file(unresolved.iter().map(ToString::to_string).collect()));
    }
    let before: Vec<Option<Resource>> =
        set.resources.iter().map(|new| resources.get(new.kind(), new.name())).collect();
    let outcome = if dry_run {
        node.cluster().rehearse(set.resources.clone())
    } else {
        decided(node.cluster().put(set.resources.clone())).await?.ok_or_else(fenced)?
    };
    let applied = outcome.map_err(|error| match error {
        ApplyError::Dangling { .. } => Problem::file(vec![error.to_string()]),
        other => Problem::conflict(other.to_string()),
    })?;
    let results: Vec<Value> = applied
        .iter()
        .zip(before.iter().zip(&set.resources))
        .map(|(one, (old, new))| {
            let mut row = json!({
                "kind": one.kind.to_string(), "name": one.name, "change": one.change.to_string(),
            });
            if let (true, Some(row)) = (dry_run, row.as_object_mut()) {
                row.insert("differences".to_owned(), differences(old.as_ref(), new));
            }
            row
        })
        .collect();
    let warnings: Vec<String> = set.warnings.iter().map(ToString::to_string).collect();
    Ok(Json(json!({"results": results, "warnings": warnings})))
}

fn differences(old: Option<&Resource>, new: &Resource) -> Value {
    // Of a new resource everything is a difference: its name says enough.
    if old.is_none() {
        return Value::Array(Vec::new());
    }
    config::diff(old, new).iter().map(|one| json!({"key": one.key, "old": one.old, "new": one.new})).collect()
}

fn read(headers: &HeaderMap, body: &str) -> Result<config::ResourceSet, Problem> {
    let notation = notation(headers);
    let path = if notation == Notation::Json { "body.json" } else { "body.toml" };
    let source = Source { path: path.to_owned(), text: body.to_owned() };
    config::read_resources(&[source], notation, &Passwords::Refuse)
        .map_err(|problems| Problem::file(problems.iter().map(ToString::to_string).collect()))
}

fn notation(headers: &HeaderMap) -> Notation {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if kind.contains("json") { Notation::Json } else { Notation::Toml }
}

fn parse(kind: &str) -> Result<Kind, Problem> {
    let found = Kind::parse(kind).filter(|found| found.plural() == kind);
    found.ok_or_else(|| Problem::not_found(format!("there is no kind {kind}")))
}

/// What the cluster decides, if it can.
pub(crate) async fn decided<T>(order: impl Future<Output = T>) -> Result<T, Problem> {
    tokio::time::timeout(DECIDED_MAX, order).await.map_err(|_| {
        Problem::unavailable(
            "no majority of the voters can be reached, so nothing is decided; the order stands and counts if one \
             comes back",
        )
    })
}

pub(crate) fn fenced() -> Problem {
    Problem::unavailable("another process runs as this node, or it is no part of the cluster any more")
}

const DECIDED_MAX: Duration = Duration::from_secs(10);

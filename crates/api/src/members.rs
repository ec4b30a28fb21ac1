//! The members of the cluster: how each is, and the orders of an operator about them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::response::Json;
use call::{HomeId, NodeId};
use cluster::ChangeError;
use cluster::detector::Light;
use cluster::state::Node;
use node::{MemberError, NodeHandle, Reports};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::live::{items, named};
use crate::problem::Problem;

type Answer = Result<Json<Value>, Problem>;

/// A node that has said nothing for longer is not heard any more.
const FRESH: Duration = Duration::from_secs(3);

/// GET /v1/nodes.
pub(crate) async fn nodes(State(node): State<NodeHandle>) -> Answer {
    Ok(items(rows(&node)))
}

/// GET /v1/nodes/{name}.
pub(crate) async fn node_by_name(State(node): State<NodeHandle>, Path(name): Path<String>) -> Answer {
    named(rows(&node), "node", &name)
}

/// GET /v1/status.
pub(crate) async fn status(State(node): State<NodeHandle>) -> Answer {
    let status = node.cluster().status();
    let reports = node.reports();
    let voters: Vec<NodeId> = status.members.iter().filter(|it| it.is_voter).map(|it| it.node).collect();
    let is_seen = |id: &&NodeId| **id == node.config().id || is_heard(&node, &reports, **id);
    let (voters, seen) = (voters.len(), voters.iter().filter(is_seen).count());
    let leader = status.leader.map(|leader| leader.0);
    let has_quorum = node.cluster().may_speak() || (leader.is_some() && seen * 2 > voters);
    let (calls, homes, version, is_alive) = node.cluster().read(|state| {
        let is_alive = state.node(node.config().id).is_some_and(|it| it.alive);
        (state.calls().len(), state.homes().len(), state.apply_version(), is_alive)
    });
    let own = node.config().id;
    let message = if !has_quorum {
        format!(
            "no quorum: node {own} reaches {seen} of {voters} voters and {} are needed. Nothing is committed and no \
             new call is taken until they answer",
            voters / 2 + 1
        )
    } else if !is_alive {
        format!("node {own} was held dead and asks to count again")
    } else if seen < voters {
        format!("{seen} of {voters} voters answer")
    } else {
        "all voters answer".to_owned()
    };
    Ok(Json(json!({
        "node": own.0,
        "quorum": has_quorum,
        "message": message,
        "leader": leader,
        "term": status.term,
        "voters": voters,
        "voters_seen": seen,
        "apply_version": version,
        "homes": homes,
        "calls": calls,
        "nodes": rows(&node),
    })))
}

fn is_heard(node: &NodeHandle, reports: &Reports, id: NodeId) -> bool {
    reports.get(&id).is_some_and(|(_, age)| *age < FRESH) && node.cluster().is_linked(id)
}

/// A row per node, whether the state knows it, the members, or both.
fn rows(node: &NodeHandle) -> Vec<Value> {
    let (own, status, reports) = (node.config().id, node.cluster().status(), node.reports());
    let known: BTreeMap<NodeId, Node> =
        node.cluster().read(|state| state.nodes().map(|(id, it)| (id, it.clone())).collect());
    let mut ids: Vec<NodeId> = known.keys().copied().chain(status.members.iter().map(|it| it.node)).collect();
    ids.sort_unstable();
    ids.dedup();
    let newest = reports.values().map(|(report, _)| report.applied).max().unwrap_or(status.applied);
    let lights = leader_lights(status.leader, &reports);
    let row = |id: &NodeId| {
        let (it, load) = (known.get(id), node.load_of(*id));
        let member = status.members.iter().find(|member| member.node == *id);
        let heard = reports.get(id).filter(|_| *id == own || is_heard(node, &reports, *id));
        let report = heard.map(|(report, _)| report);
        let word = match (it.is_some_and(|it| it.alive), it.is_some_and(|it| it.drained.is_some()), report) {
            (false, true, _) => "stopped",
            (false, false, _) => "dead",
            (true, true, _) if load.floating > 0 || load.calls > 0 => "draining",
            (true, true, _) => "drained",
            (true, false, Some(_)) if *id == own && !node.is_ready() => "not ready",
            (true, false, Some(report)) if report.ready || *id == own => "ready",
            (true, false, Some(_)) => "not ready",
            (true, false, None) => "silent",
        };
        let role = match member {
            _ if status.leader == Some(*id) => "leader",
            Some(member) if member.is_voter => "voter",
            Some(_) => "learner",
            None => "none",
        };
        json!({
            "id": id.0,
            "name": it.map(|it| it.name.clone()),
            "state": word,
            "role": role,
            "alive": it.is_some_and(|it| it.alive),
            "drained": it.is_some_and(|it| it.drained.is_some()),
            "leader": status.leader == Some(*id),
            "voter": member.is_some_and(|member| member.is_voter),
            "cluster_address": member.and_then(|member| member.at).map(|at| at.to_string()),
            "version": report.map(|report| report.version.clone()),
            "up_s": report.map(|report| report.up_s),
            "light": if *id == own { Some("green") } else { lights.get(id).copied() },
            "lease": report.map(|report| report.lease),
            "applied": report.map(|report| report.applied),
            "lag": report.map(|report| newest.saturating_sub(report.applied)),
            "commit_p50_ms": report.and_then(|report| ms(report.commit_p50_us)),
            "commit_p99_ms": report.and_then(|report| ms(report.commit_p99_us)),
            "waiting": report.map(|report| report.waiting),
            "homes": load.homes,
            "floating_homes": load.floating,
            "calls": load.calls,
            "incarnation": it.map(|it| it.incarnation.0),
            "cdrs_durable": it.map(|it| it.cdrs_durable),
        })
    };
    ids.iter().map(row).collect()
}

/// How the nodes seem to whoever leads: it alone hears them all.
fn leader_lights(leader: Option<NodeId>, reports: &Reports) -> BTreeMap<NodeId, &'static str> {
    let Some((report, _)) = leader.and_then(|leader| reports.get(&leader)) else { return BTreeMap::new() };
    let word = |light: &Light| match light {
        Light::Green => "green",
        Light::Yellow => "yellow",
        Light::Red => "red",
    };
    let mut lights: BTreeMap<_, _> = report.lights.iter().map(|(id, light)| (*id, word(light))).collect();
    lights.extend(leader.map(|leader| (leader, "green")));
    lights
}

/// Milliseconds, where there was anything to measure.
fn ms(us: u64) -> Option<f64> {
    #[allow(clippy::cast_precision_loss)] // at most a second
    (us > 0).then_some(us as f64 / 1_000.0)
}

/// One pass over the calls for all homes.
pub(crate) fn calls_by_home(state: &cluster::State) -> BTreeMap<HomeId, usize> {
    let mut calls = BTreeMap::new();
    for record in state.calls() {
        *calls.entry(record.home).or_insert(0) += 1;
    }
    calls
}

/// Who joins.
#[derive(Debug, Deserialize)]
struct Join {
    id: u64,
    address: SocketAddr,
}

/// POST /v1/nodes.
pub(crate) async fn join(State(node): State<NodeHandle>, body: Bytes) -> Answer {
    let wanted: Join = serde_json::from_slice(&body).map_err(|error| {
        Problem::bad(format!("the body must be {{\"id\": 4, \"address\": \"IP:PORT\"}}: {error}"))
    })?;
    if wanted.id == 0 {
        return Err(Problem::bad("0 is no id of a node"));
    }
    let id = NodeId(wanted.id);
    let votes = node.join(id, wanted.address).await.map_err(problem)?;
    Ok(Json(json!({"id": id.0, "voter": votes, "change": "joined"})))
}

/// POST /v1/nodes/{name}/drain.
pub(crate) async fn drain(State(node): State<NodeHandle>, Path(name): Path<String>) -> Answer {
    let id = id_of(&node, &name)?;
    node.drain_node(id).await.map_err(problem)?;
    named(rows(&node), "node", &id.0.to_string())
}

/// POST /v1/nodes/{name}/resume.
pub(crate) async fn resume(State(node): State<NodeHandle>, Path(name): Path<String>) -> Answer {
    let id = id_of(&node, &name)?;
    node.resume_node(id).await.map_err(problem)?;
    named(rows(&node), "node", &id.0.to_string())
}

/// How a node is removed.
#[derive(Debug, Deserialize)]
pub(crate) struct Remove {
    #[serde(default)]
    force: bool,
}

/// DELETE /v1/nodes/{name}.
pub(crate) async fn remove(
    State(node): State<NodeHandle>,
    Path(name): Path<String>,
    Query(query): Query<Remove>,
) -> Answer {
    let id = id_of(&node, &name)?;
    node.remove(id, query.force).await.map_err(problem)?;
    Ok(Json(json!({"id": id.0, "change": "removed"})))
}

/// A node by its id or its name.
fn id_of(node: &NodeHandle, name: &str) -> Result<NodeId, Problem> {
    if let Ok(id) = name.parse() {
        return Ok(NodeId(id));
    }
    let found = node.cluster().read(|state| state.nodes().find(|(_, it)| it.name == name).map(|(id, _)| id));
    found.ok_or_else(|| Problem::not_found(format!("no node is called {name}")))
}

fn problem(error: MemberError) -> Problem {
    match error {
        MemberError::Unknown(_) | MemberError::Change(ChangeError::Unknown(_)) => {
            Problem::not_found(error.to_string())
        }
        MemberError::NoQuorum
        | MemberError::Fenced
        | MemberError::Change(ChangeError::NoLeader | ChangeError::Stopped) => {
            Problem::unavailable(error.to_string())
        }
        _ => Problem::conflict(error.to_string()),
    }
}

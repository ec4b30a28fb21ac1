//! What is going on: calls and homes, and what has been: call detail records.

use std::net::IpAddr;

use axum::extract::{Path, Query, State};
use axum::response::Json;
use call::{CallId, CallRecord, HomeId, Phase};
use cluster::CdrFilter;
use machine::WallTime;
use node::NodeHandle;
use serde::Deserialize;
use serde_json::{Value, json};
use trunk::{Party, Word};

use crate::members::calls_by_home;
use crate::problem::Problem;

type Answer = Result<Json<Value>, Problem>;

/// `{"items": […], "next": null}`.
pub(crate) fn items(items: Vec<Value>) -> Json<Value> {
    Json(json!({"items": items, "next": null}))
}

/// GET /v1/calls.
pub(crate) async fn calls(State(node): State<NodeHandle>) -> Answer {
    let records: Vec<_> = node.cluster().read(|state| state.calls().cloned().collect());
    Ok(items(records.iter().map(|record| call(&node, record)).collect()))
}

/// GET /v1/calls/{id}.
pub(crate) async fn call_by_id(State(node): State<NodeHandle>, Path(id): Path<String>) -> Answer {
    let record = CallId::from_hex(id.as_bytes())
        .and_then(|id| node.cluster().read(|state| state.call(id).cloned()))
        .ok_or_else(|| Problem::not_found(format!("no call has the id {id}")))?;
    Ok(Json(call(&node, &record)))
}

/// DELETE /v1/calls/{id}.
pub(crate) async fn hang_up(State(node): State<NodeHandle>, Path(id): Path<String>) -> Answer {
    let found = CallId::from_hex(id.as_bytes()).filter(|id| node.cluster().read(|it| it.call(*id).is_some()));
    let found = found.ok_or_else(|| Problem::not_found(format!("no call has the id {id}")))?;
    if node.hang_up(found) {
        Ok(Json(json!({"id": id, "state": "ending"})))
    } else {
        Err(Problem::unavailable("the node that carries the call can't be reached"))
    }
}

fn call(node: &NodeHandle, record: &CallRecord) -> Value {
    let plan = &record.admit.plan;
    let party = &record.admit.party;
    let callee = record.attempts.last().map(|tried| &tried.party);
    let trunk = party.trunk().or_else(|| callee.and_then(Party::trunk));
    let gateway = [Some(party), callee].into_iter().flatten().find_map(|party| match party {
        Party::Gateway { name } => Some(name),
        Party::Trunk { .. } => None,
    });
    let account = match party {
        Party::Trunk { account, .. } => *account,
        Party::Gateway { .. } => None,
    };
    let (state, answered_at) = match &record.phase {
        Phase::Ringing { .. } => ("ringing", None),
        Phase::Answered { confirm, .. } => ("answered", Some(confirm.answered_at.to_rfc3339())),
    };
    let (holder, home) = node.cluster().read(|state| {
        let home = state.home(record.home);
        (home.and_then(|home| Some(home.holder?.0)), home.map(|home| home.name.to_string()))
    });
    let slots: Vec<Value> = record
        .slots
        .iter()
        .map(|slot| json!({"scope": slot.scope.kind(), "name": slot.scope.name().as_str()}))
        .collect();
    json!({
        "id": record.id.to_string(),
        "trunk": trunk.map(|name| name.as_str()),
        "tenant": plan.tenant.as_ref().map(|name| name.as_str()),
        "direction": plan.direction.word(),
        "state": state,
        "from": record.admit.facts.from,
        "to": record.admit.facts.to,
        "account": account,
        "gateway": gateway.map(|name| name.as_str()),
        "node": holder,
        "home": home,
        "started_at": record.admit.started_at.to_rfc3339(),
        "answered_at": answered_at,
        "slots": slots,
    })
}

/// GET /v1/homes.
pub(crate) async fn homes(State(node): State<NodeHandle>) -> Answer {
    Ok(items(all_homes(&node)))
}

/// GET /v1/homes/{name}.
pub(crate) async fn home_by_name(State(node): State<NodeHandle>, Path(name): Path<String>) -> Answer {
    named(all_homes(&node), "home", &name)
}

fn all_homes(node: &NodeHandle) -> Vec<Value> {
    let listening = node.addresses();
    let own = node.config().id;
    node.cluster().read(|state| {
        let calls = calls_by_home(state);
        let floats = |ip: IpAddr| {
            let mut floating = state.homes().filter_map(|(_, home)| home.floating());
            floating.any(|spec| spec.address == ip)
        };
        let row = |(id, home): (HomeId, &cluster::state::Home)| {
            let floating = home.floating();
            let is_of_home = |ip: IpAddr| floating.map_or_else(|| !floats(ip), |spec| spec.address == ip);
            // Where it is listened to, only the holder knows.
            let addresses = (home.holder == Some(own)).then(|| {
                let mine = listening.iter().filter(|(_, at)| is_of_home(at.ip()));
                mine.map(|(transport, at)| format!("{transport}://{at}")).collect::<Vec<_>>()
            });
            json!({
                "name": home.name.as_str(),
                "kind": if floating.is_some() { "floating" } else { "fixed" },
                "address": floating.map(|spec| spec.address.to_string()),
                "holder": home.holder.map(|holder| holder.0),
                "epoch": home.epoch.0,
                "calls": calls.get(&id).copied().unwrap_or(0),
                "addresses": addresses,
            })
        };
        state.homes().map(row).collect()
    })
}

pub(crate) fn named(all: Vec<Value>, kind: &str, name: &str) -> Answer {
    let found = all.into_iter().find(|item| {
        let is = |field: &str| match item.get(field) {
            Some(Value::String(text)) => text == name,
            Some(Value::Number(number)) => number.to_string() == name,
            _ => false,
        };
        is("name") || is("id")
    });
    found.map(Json).ok_or_else(|| Problem::not_found(format!("no {kind} is called {name}")))
}

/// Which records are wanted.
#[derive(Debug, Deserialize)]
pub(crate) struct CdrQuery {
    since: Option<String>,
    limit: Option<usize>,
    trunk: Option<String>,
    call_id: Option<String>,
}

/// How many records are given where nobody says how many.
const CDRS_DEFAULT: usize = 1_000;

/// GET /v1/cdrs.
pub(crate) async fn cdrs(State(node): State<NodeHandle>, Query(query): Query<CdrQuery>) -> Answer {
    let since = match &query.since {
        None => None,
        Some(text) => {
            Some(time(text).ok_or_else(|| Problem::bad("since: a time looks like 2026-11-21T05:00:00Z"))?)
        }
    };
    let filter = CdrFilter {
        since,
        trunk: query.trunk,
        call_id: query.call_id,
        limit: Some(query.limit.unwrap_or(CDRS_DEFAULT)),
    };
    let found = node.cluster().cdrs(&filter).map_err(|error| Problem::internal(error.to_string()))?;
    Ok(items(found))
}

/// GET /v1/cdrs/{id}.
pub(crate) async fn cdr_by_id(State(node): State<NodeHandle>, Path(id): Path<String>) -> Answer {
    let filter = CdrFilter { call_id: Some(id.clone()), limit: Some(1), ..CdrFilter::default() };
    let found = node.cluster().cdrs(&filter).map_err(|error| Problem::internal(error.to_string()))?;
    let first = found.into_iter().next();
    first.map(Json).ok_or_else(|| Problem::not_found(format!("no call detail record has the id {id}")))
}

/// Reads a time of RFC 3339 in UTC: a date, or date and time, with or without fractions.
fn time(text: &str) -> Option<WallTime> {
    let (date, clock) = text.split_once(['T', 't', ' ']).unwrap_or((text, "00:00:00Z"));
    let mut parts = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let clock = clock.strip_suffix(['Z', 'z']).or_else(|| clock.strip_suffix("+00:00"))?;
    let mut parts = clock.splitn(3, ':');
    let (hour, minute) = (parts.next()?.parse::<i64>().ok()?, parts.next()?.parse::<i64>().ok()?);
    let seconds: f64 = parts.next()?.parse().ok()?;
    let fits = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0.0..61.0).contains(&seconds)
        && (0..10_000).contains(&year);
    if !fits {
        return None;
    }
    let ms = (seconds * 1_000.0) as i64;
    Some(WallTime(WallTime::midnight(year, month, day).0 + hour * 3_600_000 + minute * 60_000 + ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_reads_back_as_it_was_written() {
        for ms in [0, 951_782_400_000, 1_709_251_199_999, 1_795_237_980_123] {
            assert_eq!(time(&WallTime(ms).to_rfc3339()), Some(WallTime(ms)));
        }
        assert_eq!(time("2026-11-21"), Some(WallTime(1_795_219_200_000)));
        for wrong in ["yesterday", "2026-13-01", "2026-11-21T25:00:00Z", "2026-11-21T05:00:00", ""] {
            assert_eq!(time(wrong), None, "{wrong}");
        }
    }
}

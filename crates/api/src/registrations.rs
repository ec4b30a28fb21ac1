//! Where accounts of trunks are registered, and with which carriers ours are.

use axum::extract::{Path, State};
use axum::response::Json;
use cluster::{Binding, Enrolment, State as Replicated};
use node::NodeHandle;
use serde_json::{Value, json};
use trunk::{Gateway, Name, Trunk};

use crate::live::{items, named};
use crate::problem::Problem;

type Answer = Result<Json<Value>, Problem>;

/// GET /v1/registrations.
pub(crate) async fn list(State(node): State<NodeHandle>) -> Answer {
    Ok(items(all(&node)))
}

/// GET /v1/registrations/{username}.
pub(crate) async fn by_name(State(node): State<NodeHandle>, Path(name): Path<String>) -> Answer {
    named(all(&node), "account", &name)
}

fn all(node: &NodeHandle) -> Vec<Value> {
    let mut all = inbound(node);
    all.extend(outbound(node));
    all
}

/// Those of trunks' accounts with us.
fn inbound(node: &NodeHandle) -> Vec<Value> {
    let bound: Vec<_> = node.cluster().read(|state| {
        let owned = |(trunk, account, binding): (&Name, u8, &std::sync::Arc<Binding>)| {
            (
                trunk.clone(),
                account,
                binding.clone(),
                state.home(binding.place.home).map(|it| it.name.clone()),
            )
        };
        state.bindings().map(owned).collect()
    });
    let now = node.cluster().time();
    let row = |(trunk, account, binding, home): &(Name, u8, std::sync::Arc<Binding>, Option<Name>)| {
        let place = &binding.place;
        json!({
            "name": binding.username,
            "direction": "in",
            "state": "registered",
            "status": 200,
            "trunk": trunk.as_str(),
            "gateway": null,
            "target": null,
            "account": account,
            "contact": place.contact,
            "path": place.path,
            "source": place.flow.remote.to_string(),
            "transport": place.flow.transport.to_string(),
            "behind_nat": place.behind_nat,
            "expires_s": left(binding, now),
            "registered_at": place.at.to_rfc3339(),
            "node": binding.node.0,
            "home": home.as_ref().map(|home| home.as_str()),
            "user_agent": place.user_agent,
        })
    };
    bound.iter().map(row).collect()
}

/// Ours with carriers.
fn outbound(node: &NodeHandle) -> Vec<Value> {
    let now = node.cluster().time();
    let row = |state: &Replicated, gateway: &Name, account: u8, it: &Enrolment| {
        json!({
            "name": it.username,
            "direction": "out",
            "state": word(it, now),
            "status": it.status,
            "trunk": null,
            "gateway": gateway.as_str(),
            "target": it.target,
            "account": account,
            "contact": it.contact,
            "path": [],
            "source": null,
            "transport": null,
            "behind_nat": false,
            "expires_s": it.is_bound(now).then(|| seconds(it.expires, now)),
            "registered_at": it.at.map(|at| at.to_rfc3339()),
            "node": it.node.0,
            "home": state.home(it.home).map(|home| home.name.as_str().to_owned()),
            "user_agent": null,
        })
    };
    node.cluster().read(|state| {
        state.enrolments().map(|(gateway, account, it)| row(state, gateway, account, it)).collect()
    })
}

/// How a registration of ours is: `registered`, `failed`, or `trying` as long as nothing was heard.
fn word(it: &Enrolment, now: machine::ClusterTime) -> &'static str {
    match it.status {
        _ if it.is_bound(now) => "registered",
        None | Some(200) => "trying",
        Some(_) => "failed",
    }
}

/// Both accounts that we have with a carrier, registered or not.
pub(crate) fn with(node: &NodeHandle, gateway: &Gateway) -> Value {
    let now = node.cluster().time();
    let accounts = gateway.accounts.iter().zip(1u8..).map(|(account, number)| {
        let known = node.cluster().read(|state| state.enrolment(&gateway.name, number).cloned());
        json!({
            "account": number,
            "name": account.username,
            "registered": known.as_ref().is_some_and(|it| it.is_bound(now)),
            "status": known.as_ref().and_then(|it| it.status),
            "target": known.as_ref().and_then(|it| it.target.clone()),
            "contact": known.as_ref().map(|it| it.contact.clone()),
            "expires_s": known.as_ref().filter(|it| it.is_bound(now)).map(|it| seconds(it.expires, now)),
            "node": known.as_ref().map(|it| it.node.0),
        })
    });
    accounts.collect()
}

/// Both accounts of a trunk, registered or not.
pub(crate) fn of(node: &NodeHandle, trunk: &Trunk) -> Value {
    let now = node.cluster().time();
    let accounts = trunk.accounts.iter().zip(1u8..).map(|(account, number)| {
        let binding = node.cluster().read(|state| state.binding(&trunk.name, number).cloned());
        json!({
            "account": number,
            "name": account.username,
            "registered": binding.is_some(),
            "contact": binding.as_ref().map(|it| it.place.contact.clone()),
            "source": binding.as_ref().map(|it| it.place.flow.remote.to_string()),
            "expires_s": binding.as_ref().map(|it| left(it, now)),
            "node": binding.as_ref().map(|it| it.node.0),
        })
    });
    accounts.collect()
}

/// How long a binding has left, in seconds, rounded up.
fn left(binding: &Binding, now: machine::ClusterTime) -> u64 {
    seconds(binding.expires, now)
}

fn seconds(until: machine::ClusterTime, now: machine::ClusterTime) -> u64 {
    until.since(now).as_millis().div_ceil(1000) as u64
}

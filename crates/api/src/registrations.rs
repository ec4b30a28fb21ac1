//! Where accounts of trunks are registered.

use axum::extract::{Path, State};
use axum::response::Json;
use cluster::Binding;
use node::NodeHandle;
use serde_json::{Value, json};
use trunk::{Name, Trunk};

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
            "trunk": trunk.as_str(),
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
    binding.expires.since(now).as_millis().div_ceil(1000) as u64
}

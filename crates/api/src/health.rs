//! How the targets of a gateway or trunk are, as OPTIONS say.

use cluster::State;
use serde_json::{Value, json};
use trunk::{Resource, SipTarget, TargetSpec};

/// Each target of a resource that has some, and where accounts of a trunk are registered: `up`, `down` since when, or
/// `unwatched` where nobody asks.
pub(crate) fn of(state: &State, resource: &Resource) -> Value {
    let targets: Vec<SipTarget> = match resource {
        Resource::Gateway(it) => it.targets.clone(),
        Resource::Trunk(it) => {
            let listed = it.delivery.targets.iter().chain(&it.delivery.failover).filter_map(at);
            let bound = state.bindings().filter(|(trunk, ..)| **trunk == it.name);
            listed.chain(bound.filter_map(|(_, _, binding)| binding.place.asked_at())).collect()
        }
        Resource::Number(it) => it.delivery.iter().filter_map(at).collect(),
        _ => Vec::new(),
    };
    let watched = state.watched();
    let row = |target: &SipTarget| {
        let watcher = watched.iter().find(|it| it.target == target.peer()).map(|it| it.node.0);
        let down = state.down(target);
        let word = match (down, watcher) {
            (Some(_), _) => "down",
            (None, Some(_)) => "up",
            (None, None) => "unwatched",
        };
        json!({
            "target": target.to_string(),
            "state": word,
            "status": down.map(|it| it.status),
            "since": down.map(|it| it.since.to_rfc3339()),
            "node": watcher,
        })
    };
    targets.iter().map(row).collect()
}

fn at(spec: &TargetSpec) -> Option<SipTarget> {
    match spec {
        TargetSpec::Sip(target) => Some(target.clone()),
        TargetSpec::Srv(domain) => Some(SipTarget::of_domain(domain)),
        _ => None,
    }
}

//! Liveness: what must hold again soon after faults have stopped.

use std::collections::BTreeSet;

use cluster::State;
use node::NodeHandle;

/// What is not yet as it should be; `None` if all is well. A call that was refused, and whose refusal nobody has
/// acknowledged, has an actor for 64·T1 and no record: `lingering` allows that.
pub fn ails(nodes: &[NodeHandle], members: &[u64], lingering: bool) -> Option<String> {
    let is_up = |id: &u64| nodes.iter().any(|node| node.cluster().node().0 == *id);
    if let Some(down) = members.iter().find(|id| !is_up(id)) {
        return Some(format!("node {down} is not up"));
    }
    if let Some(node) = nodes.iter().find(|node| !node.is_ready()) {
        return Some(format!("node {} is not ready: {}", node.cluster().node(), node.why_not_ready()));
    }
    let leaders: BTreeSet<_> = nodes.iter().map(|node| node.cluster().status().leader).collect();
    if leaders.len() != 1 || leaders.contains(&None) {
        return Some(format!("the nodes follow {leaders:?}"));
    }
    nodes.iter().find_map(|node| {
        of_node(node, nodes, lingering).map(|what| format!("node {}: {what}", node.cluster().node()))
    })
}

fn of_node(node: &NodeHandle, nodes: &[NodeHandle], lingering: bool) -> Option<String> {
    let cluster = node.cluster();
    let (live, cdrs) = cluster.read(|state| (state.calls().len(), state.cdrs().len()));
    if let Some(home) = cluster.read(homeless) {
        return Some(format!("nobody holds {home}"));
    }
    let actors: usize = nodes.iter().map(NodeHandle::calls).sum();
    if actors < live || (actors > live && !lingering) {
        return Some(format!("{live} calls live, {actors} actors do"));
    }
    let digest = |node: &NodeHandle| (node.cluster().status().applied, node.cluster().read(State::digest));
    let others = nodes.iter().map(digest).collect::<BTreeSet<_>>();
    if others.len() > 1 {
        return Some("copies differ, or some lag".to_owned());
    }
    (cdrs > 0).then(|| format!("{cdrs} CDRs are not on two disks"))
}

fn homeless(state: &State) -> Option<String> {
    let home = state.homes().find(|(_, home)| home.floating().is_some() && home.holder.is_none());
    let node = || state.nodes().find(|(id, _)| state.is_homeless(*id));
    home.map(|(_, home)| home.name.to_string())
        .or_else(|| node().map(|(id, _)| format!("node {id}'s own address")))
}

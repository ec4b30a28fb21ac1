//! What single tables of node files can't show: members of a cluster that are none, homes that nobody or
//! everybody could hold, and files of one cluster that contradict each other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use trunk::Transport;

use crate::load::Loaded;
use crate::node::{ClusterSection, Home, NodeFile};
use crate::problem::Problems;
use crate::tree::{Node, Value};

/// `[cluster]`.
pub(crate) fn section(file: usize, node: &NodeFile, tree: &Node, problems: &mut Problems<'_>) {
    let Some(cluster) = &node.cluster else { return };
    let span = |key: &str| tree.span_at(&["cluster", key], None);
    if !(DETECT_MIN..=DETECT_MAX).contains(&cluster.detect) {
        let hint = Some("500ms where the network is calm".to_owned());
        problems.error(file, &span("detect"), "detect is not from 100ms to 1m".to_owned(), hint);
    }
    peers(file, node, cluster, tree, problems);
    identity(file, cluster, tree, problems);
}

fn peers(file: usize, node: &NodeFile, cluster: &ClusterSection, tree: &Node, problems: &mut Problems<'_>) {
    let whole = tree.span_at(&["cluster", "peers"], None);
    let peers = &cluster.peers;
    if !peers.is_empty() && !peers.iter().any(|peer| peer.id == node.node.id) {
        let message = format!("node {} is not among its own peers", node.node.id);
        problems.error(file, &whole, message, None);
    }
    if peers.len() == 2 {
        let message = "two nodes can do nothing without each other".to_owned();
        problems.warning(file, &whole, message, Some("three survive the loss of one".to_owned()));
    }
    for (at, peer) in peers.iter().enumerate() {
        let span = tree.span_at(&["cluster", "peers"], Some(at));
        let before = peers.get(..at).unwrap_or_default();
        if peer.id == 0 {
            problems.error(file, &span, "id 0 is none".to_owned(), Some("1 or more".to_owned()));
        }
        if before.iter().any(|other| other.id == peer.id) {
            problems.error(file, &span, format!("node {} is there twice", peer.id), None);
            continue;
        }
        if let Some(other) = before.iter().find(|other| other.address == peer.address) {
            let message = format!("nodes {} and {} have one address", other.id, peer.id);
            problems.error(file, &span, message, Some("each process has its own".to_owned()));
        }
        let listen = cluster.listen;
        let is_elsewhere = peer.address.parse::<SocketAddr>().is_ok_and(|address| address != listen);
        if peer.id == node.node.id && is_elsewhere && !listen.ip().is_unspecified() {
            let message = format!("node {} listens on {listen}, and is to be dialled here", peer.id);
            let hint = "the same, unless addresses are translated";
            problems.warning(file, &span, message, Some(hint.to_owned()));
        }
    }
}

/// A secret, or the three files of certificates; not both, and no part.
fn identity(file: usize, cluster: &ClusterSection, tree: &Node, problems: &mut Problems<'_>) {
    let hint = || Some("set secret_file, or certificate, key and ca".to_owned());
    let files = [("certificate", &cluster.certificate), ("key", &cluster.key), ("ca", &cluster.ca)];
    let given: Vec<&str> = files.iter().filter(|(_, it)| it.is_some()).map(|(key, _)| *key).collect();
    let missing: Vec<&str> = files.iter().filter(|(_, it)| it.is_none()).map(|(key, _)| *key).collect();
    match (cluster.secret_file.is_some(), given.first()) {
        (true, None) => {}
        (false, None) => {
            let span = tree.span_at(&["cluster"], None);
            problems.error(file, &span, "nodes must know each other".to_owned(), hint());
        }
        (true, Some(first)) => {
            let span = tree.span_at(&["cluster", first], None);
            problems.error(
                file,
                &span,
                format!("{first} beside secret_file"),
                Some("one or the other".to_owned()),
            );
        }
        (false, Some(first)) if !missing.is_empty() => {
            let span = tree.span_at(&["cluster", first], None);
            problems.error(file, &span, format!("{first} without {}", missing.join(" and ")), hint());
        }
        (false, Some(_)) => {}
    }
}

/// `[[home]]`.
pub(crate) fn homes(file: usize, node: &NodeFile, tree: &Node, problems: &mut Problems<'_>) {
    for (at, home) in node.homes.iter().enumerate() {
        let table = table_of(tree, at);
        let before = node.homes.get(..at).unwrap_or_default();
        let is_same = |other: &&Home| other.address.addr() == home.address.addr() || other.name == home.name;
        if let Some(other) = before.iter().find(is_same) {
            let message = format!("home `{}` and home `{}` are the same", home.name, other.name);
            problems.error(file, &table.span, message, None);
        }
        if home.address.prefix_len() != home.address.max_prefix_len() {
            let message = format!("home `{}` must be one address", home.name);
            let hint = format!("such as {}/{}", home.address.addr(), home.address.max_prefix_len());
            problems.error(file, &table.span, message, Some(hint));
        } else if home.address.addr().is_unspecified() {
            let message = format!("{} is no address that a peer can send to", home.address.addr());
            problems.error(file, &table.span_at(&["address"], None), message, None);
        }
        if home.interface.is_some() && home.hook.is_some() {
            let message = format!("home `{}` has both an interface and a hook", home.name);
            problems.error(file, &table.span, message, None);
        }
        if home.media_ports.last - home.media_ports.first < 3 {
            let span = table.span_at(&["media_ports"], None);
            problems.error(file, &span, "a call needs four ports".to_owned(), None);
        }
        holders(file, node, home, table, problems);
        ports(file, node, home, table, problems);
    }
}

/// Who may hold a home.
fn holders(file: usize, node: &NodeFile, home: &Home, table: &Node, problems: &mut Problems<'_>) {
    let distinct: BTreeSet<u64> = home.nodes.iter().copied().collect();
    if distinct.len() == 1 {
        let message = format!("home `{}` can be held by one node alone, and dies with it", home.name);
        problems.warning(file, &table.span, message, Some("list at least two".to_owned()));
    }
    let peers = node.cluster.as_ref().map(|it| it.peers.as_slice()).unwrap_or_default();
    for (at, id) in home.nodes.iter().enumerate() {
        let span = table.span_at(&["nodes"], Some(at));
        if *id == 0 {
            problems.error(file, &span, "id 0 is none".to_owned(), Some("1 or more".to_owned()));
        } else if !peers.is_empty() && !peers.iter().any(|peer| peer.id == *id) {
            let message = format!("node {id} is not among the peers");
            problems.warning(file, &span, message, Some("fine if it joins later".to_owned()));
        }
    }
}

/// A home's SIP ports, against each other and against the node's own.
fn ports(file: usize, node: &NodeFile, home: &Home, table: &Node, problems: &mut Problems<'_>) {
    if home.sip.is_empty() {
        let span = table.span_at(&["sip"], None);
        let message = format!("home `{}` has no port", home.name);
        problems.error(file, &span, message, Some("udp:5060".to_owned()));
    }
    for (at, one) in home.sip.iter().enumerate() {
        let span = table.span_at(&["sip"], Some(at));
        let before = home.sip.get(..at).unwrap_or_default();
        // TCP and TLS share a port space; UDP has its own.
        let is_stream = |transport: Transport| transport != Transport::Udp;
        let clash = before
            .iter()
            .find(|other| other.port == one.port && is_stream(other.transport) == is_stream(one.transport));
        match clash {
            Some(other) if other == one => {
                problems.error(file, &span, format!("{}:{} is there twice", one.transport, one.port), None);
            }
            Some(_) => {
                problems.error(file, &span, format!("tcp and tls can't share port {}", one.port), None)
            }
            None => {}
        }
        if one.transport == Transport::Tls && node.sip.tls.is_none() {
            let hint = Some("add [sip.tls] with certificate and key".to_owned());
            problems.error(file, &span, "tls without a certificate".to_owned(), hint);
        }
        let address = SocketAddr::new(home.address.addr(), one.port);
        let is_own = |it: &crate::node::Listen| it.address == address && it.transport == one.transport;
        // Without an address, that it is missing has been said.
        let has_address = table.key_span_at(&["address"]).is_some();
        if has_address && node.sip.listen.iter().any(is_own) {
            let message = format!("{}://{address} is also in [sip] listen", one.transport);
            let hint = "a home has its sockets where it is held; take it out of listen";
            problems.warning(file, &span, message, Some(hint.to_owned()));
        }
    }
}

/// Node files of one set are of one cluster: ids differ, and what must be the same is.
pub(crate) fn alike(loaded: &Loaded, problems: &mut Problems<'_>) {
    let mut ids: BTreeMap<u64, (usize, Range<usize>)> = BTreeMap::new();
    for (file, node, tree) in &loaded.nodes {
        let span = tree.span_at(&["node", "id"], None);
        if let Some((first, first_span)) = ids.get(&node.node.id) {
            let place = problems.place(*first, first_span);
            let message = format!("node {} is there twice", node.node.id);
            problems.error(*file, &span, message, Some(format!("first at {place}")));
        }
        ids.entry(node.node.id).or_insert((*file, span));
    }
    let Some((_, first, _)) = loaded.nodes.first() else { return };
    for (file, node, tree) in loaded.nodes.iter().skip(1) {
        if node.homes != first.homes {
            let span = tree.key_span_at(&["home"]).or_else(|| tree.key_span_at(&["node"]));
            let message = format!("its homes are not those of node {}", first.node.id);
            let hint = Some("the same [[home]] list belongs into every node's file".to_owned());
            problems.error(*file, &span.unwrap_or(0..0), message, hint);
        }
        let (Some(cluster), Some(other)) = (&node.cluster, &first.cluster) else { continue };
        let span = |key: &str| tree.span_at(&["cluster", key], None);
        if cluster.peers.iter().any(|peer| !other.peers.contains(peer))
            || cluster.peers.len() != other.peers.len()
        {
            let message = format!("its peers are not those of node {}", first.node.id);
            problems.warning(*file, &span("peers"), message, None);
        }
        if cluster.detect != other.detect {
            let message = format!("its detect is not that of node {}", first.node.id);
            let hint = Some("leases are safe only if all agree".to_owned());
            problems.error(*file, &span("detect"), message, hint);
        }
    }
}

fn table_of(tree: &Node, at: usize) -> &Node {
    let Value::Table(top) = &tree.value else { return tree };
    match top.get("home").map(|entry| &entry.node.value) {
        Some(Value::List(homes)) => homes.get(at).unwrap_or(tree),
        _ => tree,
    }
}

/// Below, a pause of the scheduler looks like a death.
const DETECT_MIN: Duration = Duration::from_millis(100);
const DETECT_MAX: Duration = Duration::from_secs(60);

//! What single tables can't show: names that are used twice or not at all, and settings that contradict each other.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use ipnet::IpNet;
use trunk::settings::{Access, AuthMethod, MediaMode, PortRange, Reinvite, Settings, Srtp};
use trunk::{Kind, Resource, SipTarget, TargetSpec, Transport};

use crate::cluster;
use crate::load::{Item, Loaded};
use crate::nearest;
use crate::node::NodeFile;
use crate::problem::Problems;
use crate::tree::Node;

/// A reference that the set itself does not meet.
#[derive(Debug, Clone)]
pub(crate) struct Unmet {
    pub(crate) file: usize,
    pub(crate) span: Range<usize>,
    pub(crate) kind: Kind,
    pub(crate) name: String,
}

/// Names used twice, and user names.
pub(crate) fn duplicates(loaded: &Loaded, problems: &mut Problems<'_>) {
    let mut names: BTreeMap<(Kind, &str), &Item> = BTreeMap::new();
    let mut users: BTreeMap<&str, (&Item, Range<usize>)> = BTreeMap::new();
    for item in &loaded.items {
        let (kind, name) = (item.resource.kind(), item.resource.name());
        if let Some(first) = names.insert((kind, name), item) {
            let what = if kind.is_single() { format!("[{kind}]") } else { format!("{kind} `{name}`") };
            let place = problems.place(first.file, &first.name_span());
            problems.error(
                item.file,
                &item.name_span(),
                format!("{what} is there twice"),
                Some(format!("first at {place}")),
            );
            continue;
        }
        let Resource::Trunk(trunk) = &item.resource else { continue };
        for (at, account) in trunk.accounts.iter().enumerate() {
            let span = account_span(&item.node, at);
            if let Some((first, first_span)) = users.insert(&account.username, (item, span.clone())) {
                let place = problems.place(first.file, &first_span);
                let message = format!("two accounts have the username `{}`", account.username);
                problems.error(item.file, &span, message, Some(format!("first at {place}")));
            }
        }
    }
}

fn account_span(node: &Node, at: usize) -> Range<usize> {
    node.span_at(&["account"], Some(at))
}

/// References that no resource of the set meets.
pub(crate) fn unmet(loaded: &Loaded) -> Vec<Unmet> {
    let mut there: BTreeSet<(Kind, &str)> =
        loaded.items.iter().map(|item| (item.resource.kind(), item.resource.name())).collect();
    there.extend(loaded.broken.iter().map(|(kind, name)| (*kind, name.as_str())));
    let mut found = Vec::new();
    for item in &loaded.items {
        for reference in item.resource.references() {
            if !there.contains(&(reference.kind, reference.name.as_str())) {
                let span = item.node.span_at(&reference.path, reference.item);
                found.push(Unmet { file: item.file, span, kind: reference.kind, name: reference.name });
            }
        }
    }
    found
}

/// Reports references that must be met by the set.
pub(crate) fn report_unmet(unmet: &[Unmet], loaded: &Loaded, problems: &mut Problems<'_>) {
    for one in unmet {
        let known: Vec<&str> = loaded
            .items
            .iter()
            .filter(|item| item.resource.kind() == one.kind)
            .map(|item| item.resource.name())
            .collect();
        let hint = match nearest::nearest(&one.name, &known) {
            Some((best, true)) => format!("did you mean `{best}`?"),
            _ => format!("add a [[{}]] of this name", one.kind),
        };
        problems.error(one.file, &one.span, format!("there is no {} `{}`", one.kind, one.name), Some(hint));
    }
}

/// Settings that contradict each other, and those that are hardly meant.
pub(crate) fn resources(loaded: &Loaded, problems: &mut Problems<'_>) {
    // Trunks with a number that has no delivery of its own.
    let numbered: BTreeSet<&str> = loaded
        .items
        .iter()
        .filter_map(|item| match &item.resource {
            Resource::Number(number) if number.delivery.is_empty() => Some(number.trunk.as_str()),
            _ => None,
        })
        .collect();
    for item in &loaded.items {
        match &item.resource {
            Resource::Trunk(trunk) => {
                peak(item, problems);
                proofs(item, &trunk.settings.access, !trunk.accounts.is_empty(), problems);
                if numbered.contains(trunk.name.as_str()) {
                    deliveries(item, &trunk.settings.delivery.targets, trunk.accounts.len(), problems);
                }
                media_ports(item, trunk.settings.media.ports, loaded, problems);
                stays_put(item, trunk.settings.media.reinvite, loaded, problems);
                secured(item, &trunk.settings, trunk.settings.delivery.targets.iter().map(sip_of), problems);
            }
            Resource::Gateway(gateway) => {
                peak(item, problems);
                media_ports(item, gateway.settings.media.ports, loaded, problems);
                stays_put(item, gateway.settings.media.reinvite, loaded, problems);
                secured(item, &gateway.settings, gateway.targets.iter().map(Some), problems);
                if gateway.targets.is_empty() && item.node.key_span_at(&["targets"]).is_some() {
                    let span = item.node.span_at(&["targets"], None);
                    problems.error(item.file, &span, "a gateway without a target".to_owned(), None);
                }
            }
            _ => {}
        }
    }
    ties(loaded, problems);
}

/// FL4: a channel limit below twice the expected peak.
fn peak(item: &Item, problems: &mut Problems<'_>) {
    let limits = match &item.resource {
        Resource::Trunk(trunk) => &trunk.settings.limits,
        Resource::Gateway(gateway) => &gateway.settings.limits,
        _ => return,
    };
    let (Some(concurrent), Some(peak)) = (limits.concurrent, limits.expected_peak) else { return };
    let advised = u64::from(peak) * 2;
    if u64::from(concurrent) < advised {
        let path = if item.node.key_span_at(&["concurrent"]).is_some() {
            vec!["concurrent"]
        } else {
            vec!["limits", "concurrent"]
        };
        let span = item.node.span_at(&path, None);
        let message = format!("concurrent = {concurrent} is less than twice the expected peak of {peak}");
        problems.warning(item.file, &span, message, Some(format!("{advised} or more")));
    }
}

/// Proofs that nobody can give.
fn proofs(item: &Item, access: &Access, has_accounts: bool, problems: &mut Problems<'_>) {
    if item.node.key_span_at(&["access", "auth"]).is_none() {
        return;
    }
    let span = item.node.span_at(&["access", "auth"], None);
    let has_networks = !access.networks.is_empty() || !access.hosts.is_empty();
    let possible = |method: &AuthMethod| match method {
        AuthMethod::Digest => has_accounts,
        AuthMethod::Address => has_networks,
        AuthMethod::Prefix => has_networks && access.tech_prefix.is_some(),
    };
    if !access.auth.iter().any(possible) {
        let hint = "digest needs [[trunk.account]], address needs networks, prefix needs both networks and tech_prefix";
        problems.warning(
            item.file,
            &span,
            "nobody can call from this trunk".to_owned(),
            Some(hint.to_owned()),
        );
    }
}

/// Numbers whose calls can't arrive.
fn deliveries(item: &Item, targets: &[TargetSpec], accounts: usize, problems: &mut Problems<'_>) {
    let is_missing = |target: &TargetSpec| match target {
        TargetSpec::Account(number) => usize::from(*number) > accounts,
        _ => false,
    };
    if targets.iter().all(is_missing) {
        let hint = "add [[trunk.account]] or delivery.targets".to_owned();
        let message = "calls to its numbers have no target".to_owned();
        problems.warning(item.file, &item.name_span(), message, Some(hint));
    }
}

/// FL12, EX12: a trunk's RTP ports lie within every node's, and within those of every home.
fn media_ports(item: &Item, ports: Option<PortRange>, loaded: &Loaded, problems: &mut Problems<'_>) {
    let Some(ports) = ports else { return };
    let span = item.node.span_at(&["media", "ports"], None);
    for (_, node, _) in &loaded.nodes {
        let own = (node.media.ports, format!("node {}", node.node.id), "[media] ports");
        let homes =
            node.homes.iter().map(|it| (it.media_ports, format!("home `{}`", it.name), "its media_ports"));
        for (outer, whose, key) in std::iter::once(own).chain(homes) {
            if !outer.contains(&ports) {
                let message = format!("ports {ports} are not within the {outer} of {whose}");
                problems.error(item.file, &span, message, Some(format!("widen {key} in the node file")));
            }
        }
    }
}

/// A party that may not be told when a call moves wants homes that move with their calls.
fn stays_put(item: &Item, reinvite: Reinvite, loaded: &Loaded, problems: &mut Problems<'_>) {
    let fixed = loaded.nodes.iter().find(|(_, node, _)| node.cluster.is_some() && node.homes.is_empty());
    let (Some((_, node, _)), Reinvite::Never) = (fixed, reinvite) else { return };
    let path = ["media", "reinvite"];
    let given = item.node.key_span_at(&path).is_some();
    let span = if given { item.node.span_at(&path, None) } else { item.name_span() };
    let id = node.node.id;
    let message = format!("its calls can't leave node {id} without a re-INVITE, which `never` forbids");
    let hint = "add a [[home]] that floats to the node files, or say `failover`".to_owned();
    problems.warning(item.file, &span, message, Some(hint));
}

/// EX11: keys travel under TLS and in no other way, so media that must be secured wants it on every way.
fn secured<'a>(
    item: &Item,
    settings: &Settings,
    targets: impl Iterator<Item = Option<&'a SipTarget>>,
    problems: &mut Problems<'_>,
) {
    if settings.media.srtp != Srtp::Required {
        return;
    }
    let path = ["media", "srtp"];
    let given = item.node.key_span_at(&path).is_some();
    let here = if given { item.node.span_at(&path, None) } else { item.name_span() };
    if settings.media.mode == MediaMode::Direct {
        let message = "media that goes from end to end can't be required to be secured".to_owned();
        problems.error(item.file, &here, message, Some("say `anchored`, or `optional`".to_owned()));
    }
    if !settings.access.transports.contains(&Transport::Tls) {
        let message = "keys travel under TLS, which access.transports does not name".to_owned();
        problems.error(item.file, &here, message, Some("add \"tls\" to it, or say `optional`".to_owned()));
    }
    let is_bare = |target: &SipTarget| !target.secure && target.transport != Some(Transport::Tls);
    for (at, _) in targets.enumerate().filter(|(_, target)| target.is_some_and(is_bare)) {
        let path: &[&str] = if matches!(item.resource, Resource::Gateway(_)) {
            &["targets"]
        } else {
            &["delivery", "targets"]
        };
        let message = "media must be secured, and this target is not reached over TLS".to_owned();
        let hint = Some("add ;transport=tls, or say media.srtp = \"optional\"".to_owned());
        problems.error(item.file, &item.node.span_at(path, Some(at)), message, hint);
    }
}

/// The address that a target is, if it is one.
fn sip_of(target: &TargetSpec) -> Option<&SipTarget> {
    match target {
        TargetSpec::Sip(target) => Some(target),
        _ => None,
    }
}

/// Trunks and gateways that one address identifies alike.
fn ties(loaded: &Loaded, problems: &mut Problems<'_>) {
    let mut seen: BTreeMap<IpNet, Vec<(&Item, usize)>> = BTreeMap::new();
    for item in &loaded.items {
        let Some(access) = by_address(item) else { continue };
        for (at, network) in access.networks.iter().enumerate() {
            let others = seen.entry(*network).or_default();
            let tied = others.iter().find(|(other, _)| {
                other.resource.name() != item.resource.name()
                    && by_address(other).is_some_and(|it| overlap(it, access))
            });
            if let Some((other, other_at)) = tied {
                let (kind, name) = (other.resource.kind(), other.resource.name());
                let place = problems.place(other.file, &network_span(other, *other_at));
                let message =
                    format!("{network} is also {kind} `{name}`: an address alone can't tell them apart");
                let span = network_span(item, at);
                problems.warning(item.file, &span, message, Some(format!("the other is at {place}")));
            }
            others.push((item, at));
        }
    }
}

/// The access table of a party that is identified by its address and nothing else.
fn by_address(item: &Item) -> Option<&Access> {
    match &item.resource {
        Resource::Trunk(trunk) => {
            let access = &trunk.settings.access;
            (access.takes(AuthMethod::Address) && access.account_header.is_none()).then_some(access)
        }
        Resource::Gateway(gateway) => Some(&gateway.settings.access),
        _ => None,
    }
}

fn network_span(item: &Item, at: usize) -> Range<usize> {
    let top = item.node.key_span_at(&["networks"]).is_some();
    let path: &[&str] = if top { &["networks"] } else { &["access", "networks"] };
    item.node.span_at(path, Some(at))
}

fn overlap(a: &Access, b: &Access) -> bool {
    let transports = a.transports.iter().any(|transport| b.transports.contains(transport));
    let ports = a.ports.is_empty() || b.ports.is_empty() || a.ports.iter().any(|port| b.ports.contains(port));
    transports && ports
}

/// A node file's settings against each other.
pub(crate) fn node(file: usize, node: &NodeFile, tree: &Node, problems: &mut Problems<'_>) {
    let span = |path: &[&str]| tree.span_at(path, None);
    if node.node.id == 0 {
        problems.error(file, &span(&["node", "id"]), "id 0 is none".to_owned(), Some("1 or more".to_owned()));
    }
    if !node.http.listen.ip().is_loopback() && node.http.token_file.is_none() {
        let message = "the API may not listen beyond loopback without a token".to_owned();
        problems.error(file, &span(&["http", "listen"]), message, Some("set token_file".to_owned()));
    }
    listens(file, node, tree, problems);
    if node.media.address.is_unspecified() && node.media.advertise.is_none() {
        let message = format!("{} is no address that a peer can send to", node.media.address);
        problems.error(file, &span(&["media", "address"]), message, Some("set advertise".to_owned()));
    }
    if node.media.ports.last - node.media.ports.first < 3 {
        problems.error(file, &span(&["media", "ports"]), "a call needs four ports".to_owned(), None);
    }
    cluster::section(file, node, tree, problems);
    cluster::homes(file, node, tree, problems);
}

fn listens(file: usize, node: &NodeFile, tree: &Node, problems: &mut Problems<'_>) {
    let listen = &node.sip.listen;
    if listen.is_empty() {
        let span = tree.span_at(&["sip", "listen"], None);
        problems.error(
            file,
            &span,
            "a node without a socket".to_owned(),
            Some("udp://127.0.0.1:5060".to_owned()),
        );
    }
    for (at, one) in listen.iter().enumerate() {
        let span = tree.span_at(&["sip", "listen"], Some(at));
        if listen.iter().take(at).any(|other| other == one) {
            problems.error(file, &span, format!("{}://{} is there twice", one.transport, one.address), None);
        }
        // TCP and TLS share a port space; UDP has its own.
        let clash = listen.iter().take(at).any(|other| {
            other.address == one.address
                && other.transport != one.transport
                && other.transport != Transport::Udp
                && one.transport != Transport::Udp
        });
        if clash {
            problems.error(file, &span, format!("tcp and tls can't share {}", one.address), None);
        }
        if one.transport == Transport::Tls && node.sip.tls.is_none() {
            let hint = Some("add [sip.tls] with certificate and key".to_owned());
            problems.error(file, &span, "tls without a certificate".to_owned(), hint);
        }
        if one.address.ip().is_unspecified() && node.sip.advertise.is_none() {
            let message = format!("{} is no address that a peer can send to", one.address.ip());
            problems.error(file, &span, message, Some("set advertise".to_owned()));
        }
    }
}

//! Look-up tables for the hot path, made from the resources and never stored.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use smallvec::SmallVec;

use crate::name::Name;
use crate::party::Transport;
use crate::resource::{Gateway, Trunk};
use crate::resources::Resources;
use crate::settings::Settings;
use crate::target::Host;

/// Addresses of host names, as DNS last gave them.
pub type Hosts = BTreeMap<String, Vec<IpAddr>>;

/// Look-up tables over one snapshot of the resources.
#[derive(Debug, Default)]
pub struct Index {
    /// Every trunk, then every gateway.
    candidates: Vec<Candidate>,
    /// Candidates by the networks that admit a source, for each length, the longest first.
    v4: Vec<(u8, BTreeMap<u32, Places>)>,
    v6: Vec<(u8, BTreeMap<u128, Places>)>,
    /// Trunks without networks: any source that authenticates.
    open: Places,
    /// Gateways by the addresses of their targets.
    targets: BTreeMap<IpAddr, SmallVec<[(usize, u16); 2]>>,
    /// Accounts of trunks by user name.
    accounts: BTreeMap<String, (Name, u8)>,
    /// Gateways by the prefixes that they carry; those that carry any stand under the empty one.
    prefixes: BTreeMap<String, Vec<Arc<Gateway>>>,
    prefix_bytes_max: usize,
    /// Numbers by trunk, in order.
    numbers: BTreeMap<Name, Vec<Name>>,
    /// Tenants by domain, in lower case.
    domains: BTreeMap<String, Name>,
}

type Places = SmallVec<[usize; 2]>;

/// A trunk or gateway that a source may be.
#[derive(Debug, Clone)]
pub(crate) enum Candidate {
    Trunk(Arc<Trunk>),
    Gateway(Arc<Gateway>),
}

impl Candidate {
    fn settings(&self) -> &Settings {
        match self {
            Candidate::Trunk(trunk) => &trunk.settings,
            Candidate::Gateway(gateway) => &gateway.settings,
        }
    }

    fn serves(&self, source: IpAddr, transport: Transport, local_port: u16) -> bool {
        let access = &self.settings().access;
        (access.ipv6 || source.is_ipv4())
            && access.transports.contains(&transport)
            && (access.ports.is_empty() || access.ports.contains(&local_port))
    }
}

/// Why a candidate is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Admitted {
    /// It has no networks: any source may try to authenticate.
    Open,
    /// The source is the host of a gateway's target.
    Target,
    /// A network of this length holds the source.
    Network(u8),
}

/// One candidate and why.
pub(crate) type Found<'a> = SmallVec<[(&'a Candidate, Admitted); 4]>;

impl Index {
    pub(crate) fn build(resources: &Resources, hosts: &Hosts) -> Index {
        let mut index = Index::default();
        for trunk in resources.trunks.values() {
            index.add_trunk(trunk, hosts);
        }
        for gateway in resources.gateways.values() {
            index.add_gateway(gateway, hosts);
        }
        for number in resources.numbers.values() {
            index.numbers.entry(number.trunk.clone()).or_default().push(number.e164.clone());
        }
        for tenant in resources.tenants.values() {
            if let Some(domain) = &tenant.domain {
                index.domains.insert(domain.to_ascii_lowercase(), tenant.name.clone());
            }
        }
        index.v4.sort_by_key(|(length, _)| Reverse(*length));
        index.v6.sort_by_key(|(length, _)| Reverse(*length));
        index
    }

    /// Whoever admits this source, the longest network first; trunks before gateways, then by name.
    pub(crate) fn candidates(&self, source: IpAddr, transport: Transport, local_port: u16) -> Found<'_> {
        let source = source.to_canonical();
        let mut found = Found::new();
        let mut add = |places: &[usize], admitted: Admitted| {
            for place in places {
                let Some(candidate) = self.candidates.get(*place) else { continue };
                let is_new = !found.iter().any(|(known, _)| std::ptr::eq(*known, candidate));
                if is_new && candidate.serves(source, transport, local_port) {
                    found.push((candidate, admitted));
                }
            }
        };
        match source {
            IpAddr::V4(ip) => {
                for (length, table) in &self.v4 {
                    if let Some(places) = table.get(&mask_v4(ip, *length)) {
                        add(places, Admitted::Network(*length));
                    }
                }
            }
            IpAddr::V6(ip) => {
                for (length, table) in &self.v6 {
                    if let Some(places) = table.get(&mask_v6(ip, *length)) {
                        add(places, Admitted::Network(*length));
                    }
                }
            }
        }
        if let Some(targets) = self.targets.get(&source) {
            // With networks of its own, a gateway is admitted by those alone.
            let of_targets: Places = targets
                .iter()
                .map(|(place, _)| *place)
                .filter(|place| self.has_no_networks(*place))
                .collect();
            add(&of_targets, Admitted::Target);
        }
        add(&self.open, Admitted::Open);
        found
    }

    /// Whether a gateway has a target at this address and port.
    pub(crate) fn is_target(&self, gateway: &Gateway, source: IpAddr, port: Option<u16>) -> bool {
        self.targets.get(&source.to_canonical()).is_some_and(|targets| {
            targets.iter().any(|(place, at)| {
                let same = matches!(self.candidates.get(*place), Some(Candidate::Gateway(it)) if it.name == gateway.name);
                same && port.is_none_or(|port| port == *at)
            })
        })
    }

    /// The trunk and account of a user name.
    pub(crate) fn account(&self, username: &str) -> Option<&(Name, u8)> {
        self.accounts.get(username)
    }

    /// The tenant whose domain this is.
    pub(crate) fn tenant_of_domain(&self, domain: &str) -> Option<&Name> {
        if self.domains.is_empty() {
            return None;
        }
        self.domains.get(&domain.to_ascii_lowercase())
    }

    /// A trunk's own numbers.
    pub(crate) fn numbers_of(&self, trunk: &Name) -> &[Name] {
        self.numbers.get(trunk).map_or(&[], Vec::as_slice)
    }

    /// Gateways that carry a number, with the length of the prefix that says so, the longest first.
    pub(crate) fn carriers<'a>(
        &'a self,
        called: &'a str,
    ) -> impl Iterator<Item = (usize, &'a [Arc<Gateway>])> {
        let longest = self.prefix_bytes_max.min(called.len());
        (0..=longest).rev().filter_map(move |length| {
            let prefix = called.get(..length)?;
            self.prefixes.get(prefix).map(|gateways| (length, gateways.as_slice()))
        })
    }

    fn add_trunk(&mut self, trunk: &Arc<Trunk>, hosts: &Hosts) {
        let place = self.candidates.len();
        self.candidates.push(Candidate::Trunk(Arc::clone(trunk)));
        if trunk.access.networks.is_empty() && trunk.access.hosts.is_empty() {
            self.open.push(place);
        }
        self.add_networks(place, &trunk.settings, hosts);
        for (account, number) in trunk.accounts.iter().zip(1u8..) {
            self.accounts.insert(account.username.clone(), (trunk.name.clone(), number));
        }
    }

    fn add_gateway(&mut self, gateway: &Arc<Gateway>, hosts: &Hosts) {
        let place = self.candidates.len();
        self.candidates.push(Candidate::Gateway(Arc::clone(gateway)));
        self.add_networks(place, &gateway.settings, hosts);
        for target in &gateway.targets {
            let port = target.port.unwrap_or_else(|| target.transport().default_port());
            let addresses = match &target.host {
                Host::Ip(ip) => std::slice::from_ref(ip),
                Host::Name(name) => hosts.get(name).map_or(&[][..], Vec::as_slice),
            };
            for ip in addresses {
                self.targets.entry(ip.to_canonical()).or_default().push((place, port));
            }
        }
        let any = [String::new()];
        let prefixes = if gateway.prefixes.is_empty() { &any[..] } else { &gateway.prefixes };
        for prefix in prefixes {
            self.prefix_bytes_max = self.prefix_bytes_max.max(prefix.len());
            self.prefixes.entry(prefix.clone()).or_default().push(Arc::clone(gateway));
        }
    }

    fn add_networks(&mut self, place: usize, settings: &Settings, hosts: &Hosts) {
        for network in &settings.access.networks {
            self.add_network(place, *network);
        }
        for host in &settings.access.hosts {
            match Host::parse(host) {
                Some(Host::Ip(ip)) => self.add_network(place, IpNet::from(ip)),
                Some(Host::Name(name)) => {
                    for ip in hosts.get(&name).into_iter().flatten() {
                        self.add_network(place, IpNet::from(*ip));
                    }
                }
                None => {}
            }
        }
    }

    fn add_network(&mut self, place: usize, network: IpNet) {
        match network {
            IpNet::V4(net) => {
                let places =
                    table(&mut self.v4, net.prefix_len()).entry(u32::from(net.network())).or_default();
                push_new(places, place);
            }
            IpNet::V6(net) => {
                let places =
                    table(&mut self.v6, net.prefix_len()).entry(u128::from(net.network())).or_default();
                push_new(places, place);
            }
        }
    }

    fn has_no_networks(&self, place: usize) -> bool {
        self.candidates.get(place).is_some_and(|candidate| {
            let access = &candidate.settings().access;
            access.networks.is_empty() && access.hosts.is_empty()
        })
    }
}

fn table<K>(tables: &mut Vec<(u8, BTreeMap<K, Places>)>, length: u8) -> &mut BTreeMap<K, Places> {
    let at = match tables.iter().position(|(known, _)| *known == length) {
        Some(at) => at,
        None => {
            tables.push((length, BTreeMap::new()));
            tables.len() - 1
        }
    };
    &mut tables[at].1
}

fn push_new(places: &mut Places, place: usize) {
    if !places.contains(&place) {
        places.push(place);
    }
}

fn mask_v4(ip: Ipv4Addr, length: u8) -> u32 {
    u32::from(ip) & u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)
}

fn mask_v6(ip: Ipv6Addr, length: u8) -> u128 {
    u128::from(ip) & u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)
}

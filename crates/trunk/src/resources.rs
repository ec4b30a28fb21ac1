//! All resources of the cluster, as one snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::index::{Hosts, Index};
use crate::name::Name;
use crate::party::{Scope, Side};
use crate::reject::Reject;
use crate::resource::{
    Cnam, Emergency, Flow, Gateway, Kind, Number, Region, Resource, Stir, Tariff, Tenant, Trunk,
};
use crate::target::Host;
use crate::words::words;

/// Everything that operators have put into the cluster. Cloning copies maps of `Arc`s.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(from = "Stored")]
pub struct Resources {
    /// Rises by one with each change.
    pub version: u64,
    /// Customers.
    pub tenants: BTreeMap<Name, Arc<Tenant>>,
    /// Their lines.
    pub trunks: BTreeMap<Name, Arc<Trunk>>,
    /// Carriers.
    pub gateways: BTreeMap<Name, Arc<Gateway>>,
    /// Numbers, by E.164.
    pub numbers: BTreeMap<Name, Arc<Number>>,
    /// Flows.
    pub flows: BTreeMap<Name, Arc<Flow>>,
    /// Tariffs.
    pub tariffs: BTreeMap<Name, Arc<Tariff>>,
    /// Regions.
    pub regions: BTreeMap<Name, Arc<Region>>,
    /// Emergency numbers.
    pub emergency: Option<Arc<Emergency>>,
    /// Name look-up.
    pub cnam: Option<Arc<Cnam>>,
    /// Signing.
    pub stir: Option<Arc<Stir>>,
    /// Look-up tables made from all of the above; never stored.
    #[serde(skip)]
    pub(crate) index: Arc<Index>,
    /// What DNS says of host names; this node's view, never stored.
    #[serde(skip)]
    hosts: Arc<Hosts>,
}

/// The stored fields of [`Resources`], in the same order.
#[derive(Deserialize)]
struct Stored {
    version: u64,
    tenants: BTreeMap<Name, Arc<Tenant>>,
    trunks: BTreeMap<Name, Arc<Trunk>>,
    gateways: BTreeMap<Name, Arc<Gateway>>,
    numbers: BTreeMap<Name, Arc<Number>>,
    flows: BTreeMap<Name, Arc<Flow>>,
    tariffs: BTreeMap<Name, Arc<Tariff>>,
    regions: BTreeMap<Name, Arc<Region>>,
    emergency: Option<Arc<Emergency>>,
    cnam: Option<Arc<Cnam>>,
    stir: Option<Arc<Stir>>,
}

impl From<Stored> for Resources {
    fn from(stored: Stored) -> Resources {
        let mut resources = Resources {
            version: stored.version,
            tenants: stored.tenants,
            trunks: stored.trunks,
            gateways: stored.gateways,
            numbers: stored.numbers,
            flows: stored.flows,
            tariffs: stored.tariffs,
            regions: stored.regions,
            emergency: stored.emergency,
            cnam: stored.cnam,
            stir: stored.stir,
            index: Arc::default(),
            hosts: Arc::default(),
        };
        resources.reindex();
        resources
    }
}

/// Two snapshots are equal if what is stored is.
impl PartialEq for Resources {
    fn eq(&self, other: &Resources) -> bool {
        self.version == other.version && self.same_content(other)
    }
}

words! {
    /// What an apply did to a resource.
    Change {
        /// It is new.
        Created = "created",
        /// It was there, and differs.
        Changed = "changed",
        /// It was there, the same.
        Unchanged = "unchanged",
    }
}

/// What an apply did to one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// What happened to it.
    pub change: Change,
}

/// One resource, as another names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mention {
    /// The kind of the one that names.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

/// Why resources can't be applied. Nothing is then.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ApplyError {
    /// A resource names one that is neither in the set nor in the cluster.
    #[error("{by_kind} {by_name} names {kind} {name}, which does not exist", by_kind = by.kind, by_name = by.name)]
    Dangling {
        /// The one that names.
        by: Mention,
        /// The kind named.
        kind: Kind,
        /// The name.
        name: String,
    },
    /// Two trunks have an account of the same name.
    #[error("trunks {first} and {second} both have the account {username}")]
    SharedUsername {
        /// The account's name.
        username: String,
        /// One trunk.
        first: Name,
        /// The other.
        second: Name,
    },
    /// `password_stored = true`, but none is.
    #[error("{kind} {name} has no stored password for {username}")]
    NoStoredPassword {
        /// The resource's kind.
        kind: Kind,
        /// Its name.
        name: String,
        /// The account's name.
        username: String,
    },
}

/// Why a resource can't be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum DeleteError {
    /// There is none of this name.
    #[error("there is no {kind} {name}")]
    Unknown {
        /// The kind.
        kind: Kind,
        /// The name.
        name: String,
    },
    /// Others name it.
    #[error("{kind} {name} is named by {}", list(by))]
    Named {
        /// The kind.
        kind: Kind,
        /// The name.
        name: String,
        /// Which others.
        by: Vec<Mention>,
    },
}

fn list(mentions: &[Mention]) -> String {
    let all: Vec<String> = mentions.iter().map(|m| format!("{} {}", m.kind, m.name)).collect();
    all.join(", ")
}

impl Resources {
    /// Puts a set of resources in place, all or nothing. Each replaces the one of its name whole.
    pub fn apply(&mut self, set: Vec<Resource>) -> Result<Vec<Applied>, ApplyError> {
        let mut next = self.clone();
        let mut applied = Vec::with_capacity(set.len());
        for resource in set {
            let resource = next.keep_stored_passwords(resource)?;
            let (kind, name) = (resource.kind(), resource.name().to_owned());
            let change = next.insert(resource);
            applied.push(Applied { kind, name, change });
        }
        next.check_references()?;
        if applied.iter().any(|one| one.change != Change::Unchanged) {
            next.version += 1;
            next.reindex();
            *self = next;
        }
        Ok(applied)
    }

    /// Puts one resource in place.
    pub fn put(&mut self, resource: Resource) -> Result<Change, ApplyError> {
        let applied = self.apply(vec![resource])?;
        Ok(applied.first().map_or(Change::Unchanged, |one| one.change))
    }

    /// Removes a resource, unless others name it.
    pub fn delete(&mut self, kind: Kind, name: &str) -> Result<(), DeleteError> {
        if self.get(kind, name).is_none() {
            return Err(DeleteError::Unknown { kind, name: name.to_owned() });
        }
        let by = self.mentions(kind, name);
        if !by.is_empty() {
            return Err(DeleteError::Named { kind, name: name.to_owned(), by });
        }
        self.remove(kind, name);
        self.version += 1;
        self.reindex();
        Ok(())
    }

    /// A copy of one resource.
    pub fn get(&self, kind: Kind, name: &str) -> Option<Resource> {
        match kind {
            Kind::Region => self.regions.get(name).map(|it| Resource::Region((**it).clone())),
            Kind::Tenant => self.tenants.get(name).map(|it| Resource::Tenant((**it).clone())),
            Kind::Gateway => self.gateways.get(name).map(|it| Resource::Gateway(Box::new((**it).clone()))),
            Kind::Trunk => self.trunks.get(name).map(|it| Resource::Trunk(Box::new((**it).clone()))),
            Kind::Number => self.numbers.get(name).map(|it| Resource::Number((**it).clone())),
            Kind::Flow => self.flows.get(name).map(|it| Resource::Flow((**it).clone())),
            Kind::Tariff => self.tariffs.get(name).map(|it| Resource::Tariff((**it).clone())),
            Kind::Emergency => self.emergency.as_ref().map(|it| Resource::Emergency((**it).clone())),
            Kind::Cnam => self.cnam.as_ref().map(|it| Resource::Cnam((**it).clone())),
            Kind::Stir => self.stir.as_ref().map(|it| Resource::Stir((**it).clone())),
        }
    }

    /// Every resource of a kind, by name.
    pub fn all(&self, kind: Kind) -> Vec<Resource> {
        let names: Vec<Name> = match kind {
            Kind::Region => self.regions.keys().cloned().collect(),
            Kind::Tenant => self.tenants.keys().cloned().collect(),
            Kind::Gateway => self.gateways.keys().cloned().collect(),
            Kind::Trunk => self.trunks.keys().cloned().collect(),
            Kind::Number => self.numbers.keys().cloned().collect(),
            Kind::Flow => self.flows.keys().cloned().collect(),
            Kind::Tariff => self.tariffs.keys().cloned().collect(),
            Kind::Emergency | Kind::Cnam | Kind::Stir => return self.get(kind, "").into_iter().collect(),
        };
        names.iter().filter_map(|name| self.get(kind, name)).collect()
    }

    /// The same resources, seen with these addresses of host names: a node's own view, for [`Resources::identify`]
    /// and [`Resources::admits`]. Plans never depend on it.
    pub fn with_hosts(&self, hosts: Hosts) -> Resources {
        let mut seen = self.clone();
        seen.hosts = Arc::new(hosts);
        seen.reindex();
        seen
    }

    /// The host names whose addresses [`Resources::with_hosts`] wants: those that are admitted, and those of gateways'
    /// targets.
    pub fn host_names(&self) -> BTreeSet<String> {
        let trunks = self.trunks.values().map(|it| &it.settings);
        let admitted = trunks.chain(self.gateways.values().map(|it| &it.settings));
        let admitted = admitted.flat_map(|it| &it.access.hosts).filter_map(|host| Host::parse(host));
        let targets = self.gateways.values().flat_map(|it| &it.targets).map(|target| target.host.clone());
        let name = |host| match host {
            Host::Name(name) => Some(name),
            Host::Ip(_) => None,
        };
        admitted.chain(targets).filter_map(name).collect()
    }

    /// The refusal of a call that finds this limit reached, with what its owner wants said.
    pub fn full(&self, scope: &Scope, side: Side) -> Reject {
        let settings = match scope {
            Scope::Trunk(name) => self.trunks.get(name).map(|trunk| &trunk.settings),
            Scope::Gateway(name) => self.gateways.get(name).map(|gateway| &gateway.settings),
        };
        Reject::Full {
            scope: scope.clone(),
            limit: settings.and_then(|it| it.limits.concurrent).unwrap_or_default(),
            side,
            answers: settings.map(|it| it.answers.clone()).unwrap_or_default(),
        }
    }

    /// The value of the limit that a slot is counted against; `None`: there is none.
    pub fn concurrent(&self, scope: &Scope) -> Option<u32> {
        match scope {
            Scope::Trunk(name) => self.trunks.get(name)?.limits.concurrent,
            Scope::Gateway(name) => self.gateways.get(name)?.limits.concurrent,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.same_content(&Resources::default())
    }

    fn same_content(&self, other: &Resources) -> bool {
        self.tenants == other.tenants
            && self.trunks == other.trunks
            && self.gateways == other.gateways
            && self.numbers == other.numbers
            && self.flows == other.flows
            && self.tariffs == other.tariffs
            && self.regions == other.regions
            && self.emergency == other.emergency
            && self.cnam == other.cnam
            && self.stir == other.stir
    }

    fn insert(&mut self, resource: Resource) -> Change {
        match resource {
            Resource::Region(it) => put_in(&mut self.regions, it.name.clone(), it),
            Resource::Tenant(it) => put_in(&mut self.tenants, it.name.clone(), it),
            Resource::Gateway(it) => put_in(&mut self.gateways, it.name.clone(), *it),
            Resource::Trunk(it) => put_in(&mut self.trunks, it.name.clone(), *it),
            Resource::Number(it) => put_in(&mut self.numbers, it.e164.clone(), it),
            Resource::Flow(it) => put_in(&mut self.flows, it.name.clone(), it),
            Resource::Tariff(it) => put_in(&mut self.tariffs, it.name.clone(), it),
            Resource::Emergency(it) => put_one(&mut self.emergency, it),
            Resource::Cnam(it) => put_one(&mut self.cnam, it),
            Resource::Stir(it) => put_one(&mut self.stir, it),
        }
    }

    fn remove(&mut self, kind: Kind, name: &str) {
        match kind {
            Kind::Region => drop(self.regions.remove(name)),
            Kind::Tenant => drop(self.tenants.remove(name)),
            Kind::Gateway => drop(self.gateways.remove(name)),
            Kind::Trunk => drop(self.trunks.remove(name)),
            Kind::Number => drop(self.numbers.remove(name)),
            Kind::Flow => drop(self.flows.remove(name)),
            Kind::Tariff => drop(self.tariffs.remove(name)),
            Kind::Emergency => self.emergency = None,
            Kind::Cnam => self.cnam = None,
            Kind::Stir => self.stir = None,
        }
    }

    fn reindex(&mut self) {
        self.index = Arc::new(Index::build(self, &self.hosts));
    }
}

fn put_in<T: PartialEq>(map: &mut BTreeMap<Name, Arc<T>>, name: Name, value: T) -> Change {
    match map.get(&name) {
        Some(old) if **old == value => Change::Unchanged,
        Some(_) => {
            map.insert(name, Arc::new(value));
            Change::Changed
        }
        None => {
            map.insert(name, Arc::new(value));
            Change::Created
        }
    }
}

fn put_one<T: PartialEq>(place: &mut Option<Arc<T>>, value: T) -> Change {
    let change = match place {
        Some(old) if **old == value => return Change::Unchanged,
        Some(_) => Change::Changed,
        None => Change::Created,
    };
    *place = Some(Arc::new(value));
    change
}

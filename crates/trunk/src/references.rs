//! Which resource names which: nothing may be left pointing at nothing.

use crate::name::Name;
use crate::resource::{Account, FalloutVia, Gateway, Kind, Resource, Trunk};
use crate::resources::{ApplyError, Mention, Resources};
use crate::secret::Secret;
use crate::target::TargetSpec;

/// One name inside a resource, of another resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The kind named.
    pub kind: Kind,
    /// The name.
    pub name: String,
    /// Where it stands: keys, then the place in a list.
    pub path: Vec<&'static str>,
    /// The place in the list that the last key holds.
    pub item: Option<usize>,
}

impl Resource {
    /// Every other resource that this one names. A `number:` target may be a number of the PSTN, so it is none.
    pub fn references(&self) -> Vec<Reference> {
        let mut found = Vec::new();
        match self {
            Resource::Trunk(trunk) => {
                one(&mut found, Kind::Tenant, trunk.tenant.as_ref(), &["tenant"]);
                one(&mut found, Kind::Region, trunk.region.as_ref(), &["region"]);
                one(&mut found, Kind::Tariff, trunk.tariff.as_ref(), &["tariff"]);
                settings(&mut found, &trunk.settings);
            }
            Resource::Gateway(gateway) => settings(&mut found, &gateway.settings),
            Resource::Number(number) => {
                one(&mut found, Kind::Trunk, Some(&number.trunk), &["trunk"]);
                targets(&mut found, &number.delivery, &["delivery"]);
            }
            Resource::Flow(flow) => {
                if let FalloutVia::Gateway(name) = &flow.fallout_via {
                    one(&mut found, Kind::Gateway, Some(name), &["fallout_via"]);
                }
            }
            Resource::Emergency(emergency) => {
                for (item, name) in emergency.gateways.iter().enumerate() {
                    found.push(Reference {
                        kind: Kind::Gateway,
                        name: name.to_string(),
                        path: vec!["gateways"],
                        item: Some(item),
                    });
                }
            }
            Resource::Region(_)
            | Resource::Tenant(_)
            | Resource::Tariff(_)
            | Resource::Cnam(_)
            | Resource::Stir(_) => {}
        }
        found
    }
}

fn settings(found: &mut Vec<Reference>, settings: &crate::settings::Settings) {
    targets(found, &settings.delivery.targets, &["delivery", "targets"]);
    targets(found, &settings.delivery.failover, &["delivery", "failover"]);
    one(found, Kind::Trunk, settings.redirect.reauthorize_as.as_ref(), &["redirect", "reauthorize_as"]);
}

fn one(found: &mut Vec<Reference>, kind: Kind, name: Option<&Name>, path: &[&'static str]) {
    if let Some(name) = name {
        found.push(Reference { kind, name: name.to_string(), path: path.to_vec(), item: None });
    }
}

fn targets(found: &mut Vec<Reference>, targets: &[TargetSpec], path: &[&'static str]) {
    for (item, target) in targets.iter().enumerate() {
        let (kind, name) = match target {
            TargetSpec::Flow(name) => (Kind::Flow, name),
            TargetSpec::Trunk { name, .. } => (Kind::Trunk, name),
            TargetSpec::Account(_) | TargetSpec::Sip(_) | TargetSpec::Srv(_) | TargetSpec::Number(_) => {
                continue;
            }
        };
        found.push(Reference { kind, name: name.to_string(), path: path.to_vec(), item: Some(item) });
    }
}

impl Resources {
    /// Who names this resource. A resource that names only itself is in nobody's way.
    pub fn mentions(&self, kind: Kind, name: &str) -> Vec<Mention> {
        let mut by = Vec::new();
        self.each(&mut |resource| {
            let names_it = resource.references().iter().any(|r| r.kind == kind && r.name == name);
            if names_it && !(resource.kind() == kind && resource.name() == name) {
                by.push(Mention { kind: resource.kind(), name: resource.name().to_owned() });
            }
        });
        by
    }

    /// Whether there is such a resource.
    pub fn contains(&self, kind: Kind, name: &str) -> bool {
        match kind {
            Kind::Region => self.regions.contains_key(name),
            Kind::Tenant => self.tenants.contains_key(name),
            Kind::Gateway => self.gateways.contains_key(name),
            Kind::Trunk => self.trunks.contains_key(name),
            Kind::Number => self.numbers.contains_key(name),
            Kind::Flow => self.flows.contains_key(name),
            Kind::Tariff => self.tariffs.contains_key(name),
            Kind::Emergency => self.emergency.is_some(),
            Kind::Cnam => self.cnam.is_some(),
            Kind::Stir => self.stir.is_some(),
        }
    }

    pub(crate) fn check_references(&self) -> Result<(), ApplyError> {
        let mut wrong = None;
        self.each(&mut |resource| {
            if wrong.is_some() {
                return;
            }
            wrong = resource.references().into_iter().find(|r| !self.contains(r.kind, &r.name)).map(|r| {
                let by = Mention { kind: resource.kind(), name: resource.name().to_owned() };
                ApplyError::Dangling { by, kind: r.kind, name: r.name }
            });
        });
        match wrong {
            Some(error) => Err(error),
            None => self.check_usernames(),
        }
    }

    fn check_usernames(&self) -> Result<(), ApplyError> {
        let mut owners: std::collections::BTreeMap<&str, &Name> = std::collections::BTreeMap::new();
        for trunk in self.trunks.values() {
            for account in &trunk.accounts {
                match owners.insert(&account.username, &trunk.name) {
                    Some(first) if *first != trunk.name => {
                        return Err(ApplyError::SharedUsername {
                            username: account.username.clone(),
                            first: first.clone(),
                            second: trunk.name.clone(),
                        });
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Replaces each `password_stored = true` by the password that is stored.
    pub(crate) fn keep_stored_passwords(&self, mut resource: Resource) -> Result<Resource, ApplyError> {
        let (kind, name) = (resource.kind(), resource.name().to_owned());
        let (accounts, stored): (&mut Vec<Account>, &[Account]) = match &mut resource {
            Resource::Trunk(trunk) => {
                let stored =
                    self.trunks.get(&trunk.name).map_or(&[][..], |old: &std::sync::Arc<Trunk>| &old.accounts);
                (&mut trunk.accounts, stored)
            }
            Resource::Gateway(gateway) => {
                let stored = self
                    .gateways
                    .get(&gateway.name)
                    .map_or(&[][..], |old: &std::sync::Arc<Gateway>| &old.accounts);
                (&mut gateway.accounts, stored)
            }
            _ => return Ok(resource),
        };
        for account in accounts {
            if account.password != Secret::Keep {
                continue;
            }
            match stored.iter().find(|old| old.username == account.username) {
                Some(old) => account.password = old.password.clone(),
                None => {
                    let username = account.username.clone();
                    return Err(ApplyError::NoStoredPassword { kind, name, username });
                }
            }
        }
        Ok(resource)
    }

    /// Calls `visit` with every resource that can name another.
    fn each(&self, visit: &mut dyn FnMut(&Resource)) {
        for kind in [Kind::Trunk, Kind::Gateway, Kind::Number, Kind::Flow, Kind::Emergency] {
            for resource in self.all(kind) {
                visit(&resource);
            }
        }
    }
}

//! A small cluster's resources, for tests.

use std::sync::Arc;

use crate::name::Name;
use crate::resource::{Emergency, Gateway, Number, Resource, Tenant, Trunk};
use crate::resources::Resources;
use crate::settings::parse_network;
use crate::target::{SipTarget, TargetSpec};

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).expect("a test's name")
}

/// A trunk that is known by a network, with its PBX at 127.0.0.2:5080.
pub(crate) fn trunk(text: &str, network: &str) -> Trunk {
    let mut trunk = Trunk::new(name(text));
    trunk.settings.access.networks = vec![parse_network(network).expect("a test's network")];
    trunk.settings.delivery.targets = vec![spec("sip:127.0.0.2:5080")];
    trunk
}

pub(crate) fn spec(text: &str) -> TargetSpec {
    TargetSpec::parse(text).expect("a test's target")
}

pub(crate) fn gateway(text: &str, target: &str, prefixes: &[&str]) -> Gateway {
    let mut gateway = Gateway::new(name(text));
    gateway.targets = vec![SipTarget::parse(target).expect("a test's target")];
    gateway.prefixes = prefixes.iter().map(|prefix| (*prefix).to_owned()).collect();
    gateway
}

pub(crate) fn number(e164: &str, trunk: &str) -> Number {
    Number { e164: name(e164), trunk: name(trunk), delivery: Vec::new(), cnam: None, cnam_lookup: false }
}

pub(crate) fn tenant(text: &str, sid: &str) -> Tenant {
    Tenant {
        name: name(text),
        account_sid: Some(sid.to_owned()),
        domain: Some(format!("{text}.example.net")),
    }
}

/// A snapshot with these resources.
pub(crate) struct Set(Vec<Resource>);

impl Set {
    pub(crate) fn new() -> Set {
        Set(Vec::new())
    }

    pub(crate) fn trunk(mut self, trunk: Trunk) -> Set {
        self.0.push(Resource::Trunk(Box::new(trunk)));
        self
    }

    pub(crate) fn gateway(mut self, gateway: Gateway) -> Set {
        self.0.push(Resource::Gateway(Box::new(gateway)));
        self
    }

    pub(crate) fn number(mut self, number: Number) -> Set {
        self.0.push(Resource::Number(number));
        self
    }

    pub(crate) fn tenant(mut self, tenant: Tenant) -> Set {
        self.0.push(Resource::Tenant(tenant));
        self
    }

    pub(crate) fn emergency(mut self, numbers: &[&str], gateways: &[&str]) -> Set {
        let numbers = numbers.iter().map(|number| (*number).to_owned()).collect();
        let gateways = gateways.iter().map(|gateway| name(gateway)).collect();
        self.0.push(Resource::Emergency(Emergency { numbers, gateways }));
        self
    }

    pub(crate) fn build(self) -> Arc<Resources> {
        let mut resources = Resources::default();
        resources.apply(self.0).expect("a test's resources");
        Arc::new(resources)
    }
}

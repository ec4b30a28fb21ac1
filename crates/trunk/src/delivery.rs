//! From a number of ours to targets: the words of `delivery` one by one, with the slots that each needs.

use crate::name::Name;
use crate::number::escape;
use crate::order::Order;
use crate::party::{Party, Scope, Side, Slot};
use crate::plan::{Registration, Target};
use crate::reject::Reject;
use crate::resource::{Number, Trunk};
use crate::resources::Resources;
use crate::routing::{Draw, at};
use crate::target::{Host, SipTarget, TargetSpec};

/// Longest way from number to number.
const HOPS_MAX: usize = 8;
/// Most targets of one call: more than anyone waits for.
const TARGETS_MAX: usize = 64;

/// One call's targets in the making.
pub(crate) struct Expansion<'a> {
    resources: &'a Resources,
    ingress: &'a Party,
    draw: Draw<'a>,
    targets: Order,
    /// The trunks and numbers on the way to here; meeting one again is a circle.
    way: Vec<Step>,
    met_circle: bool,
}

#[derive(PartialEq, Eq)]
enum Step {
    Number(Name),
    Trunk(Name, String),
}

impl<'a> Expansion<'a> {
    pub(crate) fn new(resources: &'a Resources, ingress: &'a Party, draw: Draw<'a>) -> Expansion<'a> {
        Expansion { resources, ingress, draw, targets: Order::default(), way: Vec::new(), met_circle: false }
    }

    /// The targets, in order, or why there are none.
    pub(crate) fn finish(self, called: &str) -> Result<Vec<Target>, Reject> {
        match (self.targets.is_empty(), self.met_circle) {
            (false, _) => Ok(self.targets.into_targets(TARGETS_MAX)),
            (true, true) => Err(Reject::DeliveryLoop { called: called.to_owned() }),
            (true, false) => Err(Reject::NoTarget { called: called.to_owned() }),
        }
    }

    /// A number: its own delivery, else its trunk's, then the trunk's failover.
    pub(crate) fn add_number(&mut self, number: &Number, owner: &Trunk, is_failover: bool) {
        if !self.enter(Step::Number(number.e164.clone())) {
            return;
        }
        let user = escape(&number.e164).into_owned();
        let own = if number.delivery.is_empty() { &owner.delivery.targets } else { &number.delivery };
        for spec in own {
            self.add(spec, owner, &user, is_failover);
        }
        for spec in &owner.delivery.failover {
            self.add(spec, owner, &user, true);
        }
        self.way.pop();
    }

    fn add(&mut self, spec: &TargetSpec, owner: &Trunk, user: &str, is_failover: bool) {
        match spec {
            TargetSpec::Sip(target) => self.push(target, owner, user, is_failover),
            TargetSpec::Srv(domain) => {
                self.push(&SipTarget::of_domain(domain), owner, user, is_failover);
            }
            TargetSpec::Number(called) => self.add_called(called, is_failover),
            TargetSpec::Trunk { name, user } => self.add_trunk(name, user, is_failover),
            TargetSpec::Account(account) => self.add_account(*account, owner, user, is_failover),
            // No flow runs yet: such a target can't be reached, and the next is tried.
            TargetSpec::Flow(_) => {}
        }
    }

    /// One of our numbers, else the PSTN.
    fn add_called(&mut self, called: &str, is_failover: bool) {
        let resources = self.resources;
        let found = resources.number(called);
        match found.and_then(|number| Some((number, resources.trunks.get(&number.trunk)?))) {
            Some((number, owner)) => self.add_number(number, owner, is_failover),
            None => self.targets.append(resources.carried(called, self.draw), is_failover),
        }
    }

    /// Another trunk, with exactly this user.
    fn add_trunk(&mut self, name: &Name, user: &str, is_failover: bool) {
        let resources = self.resources;
        let Some(trunk) = resources.trunks.get(name) else { return };
        if !self.enter(Step::Trunk(name.clone(), user.to_owned())) {
            return;
        }
        for spec in &trunk.delivery.targets {
            self.add(spec, trunk, user, is_failover);
        }
        self.way.pop();
    }

    /// Where one of the trunk's accounts is registered; one that is not can't be reached, and the next is tried.
    fn add_account(&mut self, account: u8, owner: &Trunk, user: &str, is_failover: bool) {
        let Some(found) = self.draw.bindings.of(&owner.name, account) else { return };
        let is_down =
            self.draw.bindings.is_down(&SipTarget::at(found.host.clone(), found.port, found.transport));
        let target = Target {
            party: Party::Trunk { name: owner.name.clone(), account: Some(account) },
            uri: found.uri,
            host: found.host,
            port: found.port,
            transport: found.transport,
            slots: self.slots(owner),
            is_failover,
            registered: Some(Registration { route: found.route, user: user.to_owned() }),
            redirected: None,
        };
        for _ in 0..owner.delivery.tries.max(1) {
            self.put(target.clone(), is_down);
        }
    }

    fn push(&mut self, target: &SipTarget, owner: &Trunk, user: &str, is_failover: bool) {
        if !owner.access.ipv6 && matches!(target.host, Host::Ip(std::net::IpAddr::V6(_))) {
            return;
        }
        let party = Party::Trunk { name: owner.name.clone(), account: None };
        let slots = self.slots(owner);
        let is_down = self.draw.bindings.is_down(target);
        for _ in 0..owner.delivery.tries.max(1) {
            self.put(at(target, party.clone(), user, slots.clone(), is_failover), is_down);
        }
    }

    /// What a call to this trunk holds. The caller's slot is counted already; whether a call back to the same trunk
    /// needs another one is its owner's choice.
    fn slots(&self, owner: &Trunk) -> Vec<Slot> {
        let is_hairpin = self.ingress.trunk() == Some(&owner.name);
        if is_hairpin && owner.limits.hairpin < 2 {
            return Vec::new();
        }
        vec![Slot { scope: Scope::Trunk(owner.name.clone()), side: Side::Egress }]
    }

    fn put(&mut self, target: Target, is_down: bool) {
        if self.targets.len() < TARGETS_MAX {
            self.targets.push(target, is_down);
        }
    }

    fn enter(&mut self, step: Step) -> bool {
        if self.way.len() >= HOPS_MAX || self.way.contains(&step) {
            self.met_circle = true;
            return false;
        }
        self.way.push(step);
        true
    }
}

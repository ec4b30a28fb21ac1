//! From a called number to a plan: numbers of ours to their delivery, other numbers to gateways by the longest
//! prefix, then priority, then weight.

use std::sync::Arc;

use crate::bindings::{Bindings, NoBindings};
use crate::delivery::Expansion;
use crate::name::Name;
use crate::number::{canonical, escape, unescape};
use crate::order::Order;
use crate::party::{Direction, Party, Scope, Side, Slot};
use crate::plan::{Plan, Target};
use crate::reject::{NumberField, Reject};
use crate::resource::{Gateway, Number, Trunk};
use crate::resources::Resources;
use crate::settings::NumberFormat;
use crate::target::{Host, SipTarget};

impl Resources {
    /// Plans a call from `party` to `called`: the Request-URI's user without a tech prefix, as it was written, or
    /// the whole URI of a service URN. `draw` decides among weights: the same draw gives the same plan. No account is
    /// registered anywhere.
    pub fn plan(&self, party: &Party, called: &str, draw: u64) -> Result<Plan, Reject> {
        self.plan_with(party, called, draw, &NoBindings)
    }

    /// As [`Resources::plan`], with the accounts that are registered now.
    pub fn plan_with(
        &self,
        party: &Party,
        called: &str,
        draw: u64,
        bindings: &dyn Bindings,
    ) -> Result<Plan, Reject> {
        let called = unescape(called);
        let draw = Draw { draw, bindings };
        match party {
            Party::Trunk { name, .. } => match self.trunks.get(name) {
                Some(trunk) => self.plan_from_trunk(party, trunk, &called, draw),
                None => Err(Reject::NotIdentified),
            },
            Party::Gateway { name } => match self.gateways.get(name) {
                Some(gateway) => self.plan_from_gateway(party, gateway, &called, draw),
                None => Err(Reject::NotIdentified),
            },
        }
    }

    /// A number of ours, with or without its plus.
    pub fn number(&self, called: &str) -> Option<&Arc<Number>> {
        self.numbers.get(called).or_else(|| {
            let all_digits = !called.is_empty()
                && called.len() < Name::BYTES_MAX
                && called.bytes().all(|b| b.is_ascii_digit());
            if !all_digits {
                return None;
            }
            let mut with_plus = smallvec::SmallVec::<[u8; 64]>::from_slice(b"+");
            with_plus.extend_from_slice(called.as_bytes());
            self.numbers.get(std::str::from_utf8(&with_plus).ok()?)
        })
    }

    fn plan_from_gateway(
        &self,
        party: &Party,
        gateway: &Gateway,
        called: &str,
        draw: Draw<'_>,
    ) -> Result<Plan, Reject> {
        let called = in_form(called, gateway.identity.number_format)?;
        let Some(number) = self.number(&called) else {
            return Err(Reject::UnknownNumber { called, unmatched: gateway.delivery.unmatched });
        };
        let owner = self.owner(number)?;
        Ok(Plan {
            called: number.e164.to_string(),
            direction: Direction::In,
            tenant: owner.tenant.clone(),
            slots: Vec::new(),
            windows: vec![owner.name.clone()],
            targets: self.delivered(party, number, owner, draw)?,
            emergency: false,
            max_duration: owner.delivery.max_duration,
        })
    }

    fn plan_from_trunk(
        &self,
        party: &Party,
        trunk: &Trunk,
        called: &str,
        draw: Draw<'_>,
    ) -> Result<Plan, Reject> {
        let mut plan = Plan {
            called: String::new(),
            direction: Direction::Out,
            tenant: trunk.tenant.clone(),
            slots: vec![Slot { scope: Scope::Trunk(trunk.name.clone()), side: Side::Ingress }],
            windows: vec![trunk.name.clone()],
            targets: Vec::new(),
            emergency: false,
            max_duration: trunk.delivery.max_duration,
        };
        // Emergency calls come before every rule, number form included (I-27).
        if let Some(targets) = self.emergency_targets(called, draw) {
            plan.called = called.to_owned();
            plan.emergency = true;
            plan.targets = targets;
            return if plan.targets.is_empty() {
                Err(Reject::NoTarget { called: plan.called })
            } else {
                Ok(plan)
            };
        }
        plan.called = in_form(called, trunk.identity.number_format)?;
        match self.number(&plan.called) {
            Some(number) => {
                let owner = self.owner(number)?;
                if owner.name != trunk.name {
                    trunk.destinations.check(&number.e164, trunk.identity.number_format)?;
                    plan.windows.push(owner.name.clone());
                }
                plan.called = number.e164.to_string();
                plan.targets = self.delivered(party, number, owner, draw)?;
            }
            None => {
                trunk.destinations.check(&plan.called, trunk.identity.number_format)?;
                plan.targets = self.carried(&plan.called, draw).into_targets(usize::MAX);
                if plan.targets.is_empty() {
                    let unmatched = trunk.delivery.unmatched;
                    return Err(Reject::UnknownNumber { called: plan.called, unmatched });
                }
            }
        }
        Ok(plan)
    }

    fn owner(&self, number: &Number) -> Result<&Arc<Trunk>, Reject> {
        // References are checked at apply, so the owner exists; a snapshot without it must still not panic.
        self.trunks
            .get(&number.trunk)
            .ok_or_else(|| Reject::UnknownNumber { called: number.e164.to_string(), unmatched: 404 })
    }

    fn delivered(
        &self,
        ingress: &Party,
        number: &Number,
        owner: &Trunk,
        draw: Draw<'_>,
    ) -> Result<Vec<Target>, Reject> {
        let mut expansion = Expansion::new(self, ingress, draw);
        expansion.add_number(number, owner, false);
        expansion.finish(&number.e164)
    }

    /// Targets on gateways that carry a number, in the order in which they are tried.
    pub(crate) fn carried(&self, called: &str, draw: Draw<'_>) -> Order {
        let mut targets = Order::default();
        let mut draws = Draws(draw.draw);
        let mut chosen: Vec<&Name> = Vec::new();
        let user = escape(called);
        for (_, gateways) in self.index.carriers(called) {
            let mut waiting: Vec<&Arc<Gateway>> =
                gateways.iter().filter(|it| !chosen.contains(&&it.name)).collect();
            waiting.sort_by(|a, b| (a.priority, &a.name).cmp(&(b.priority, &b.name)));
            while let Some(first) = waiting.first() {
                let peers = waiting.iter().take_while(|it| it.priority == first.priority);
                let at = draws.weighted(peers.map(|it| it.weight));
                let gateway = waiting.remove(at);
                chosen.push(&gateway.name);
                push_gateway(&mut targets, gateway, &user, None, draw);
            }
        }
        targets
    }

    /// Whether a call to this number, or service URN, is an emergency call.
    pub fn is_emergency(&self, called: &str) -> bool {
        let numbers = self.emergency.as_ref().map(|emergency| emergency.numbers.as_slice());
        numbers.unwrap_or_default().iter().any(|number| {
            // RFC 5031 §4.2: `urn:service:sos.fire` is a kind of `urn:service:sos`.
            let is_service = number.starts_with("urn:") && called.len() > number.len();
            let below = is_service && called.get(number.len()..).is_some_and(|rest| rest.starts_with('.'));
            let head = called.get(..number.len()).unwrap_or(called);
            head.eq_ignore_ascii_case(number) && (head.len() == called.len() || below)
        })
    }

    /// Targets of an emergency call; `None` for any other.
    fn emergency_targets(&self, called: &str, draw: Draw<'_>) -> Option<Vec<Target>> {
        let emergency = self.emergency.as_ref().filter(|_| self.is_emergency(called))?;
        let urn = called.get(..4).filter(|head| head.eq_ignore_ascii_case("urn:")).map(|_| called);
        let user = escape(called);
        let mut targets = Order::default();
        for gateway in emergency.gateways.iter().filter_map(|name| self.gateways.get(name)) {
            push_gateway(&mut targets, gateway, &user, urn, draw);
        }
        Some(targets.into_targets(usize::MAX))
    }
}

/// What a plan is drawn from beside the resources.
#[derive(Clone, Copy)]
pub(crate) struct Draw<'a> {
    /// Decides among weights.
    pub(crate) draw: u64,
    /// Who is registered where, and what is down.
    pub(crate) bindings: &'a dyn Bindings,
}

/// The number in canonical form, or 484.
fn in_form(called: &str, format: NumberFormat) -> Result<String, Reject> {
    canonical(called, format)
        .map(|number| number.into_owned())
        .ok_or(Reject::NumberForm { field: NumberField::RequestUri, format })
}

fn push_gateway(targets: &mut Order, gateway: &Gateway, user: &str, urn: Option<&str>, draw: Draw<'_>) {
    let slot = Slot { scope: Scope::Gateway(gateway.name.clone()), side: Side::Egress };
    for target in &gateway.targets {
        if !gateway.access.ipv6 && matches!(target.host, Host::Ip(std::net::IpAddr::V6(_))) {
            continue;
        }
        let party = Party::Gateway { name: gateway.name.clone() };
        let mut one = at(target, party, user, vec![slot.clone()], false);
        if let Some(urn) = urn {
            urn.clone_into(&mut one.uri);
        }
        let is_down = draw.bindings.is_down(target);
        let tries = usize::from(gateway.delivery.tries.max(1));
        std::iter::repeat_n(one, tries).for_each(|one| targets.push(one, is_down));
    }
}

/// A target at a static address, for a party that is held by these slots.
pub(crate) fn at(
    target: &SipTarget,
    party: Party,
    user: &str,
    slots: Vec<Slot>,
    is_failover: bool,
) -> Target {
    Target {
        party,
        uri: target.uri(user),
        host: target.host.clone(),
        port: target.port,
        transport: target.transport(),
        slots,
        is_failover,
        registered: None,
        redirected: None,
    }
}

/// A sequence of draws from one: SplitMix64, so that every node orders the same gateways alike.
pub(crate) struct Draws(u64);

impl Draws {
    pub(crate) fn new(draw: u64) -> Draws {
        Draws(draw)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A place among these weights, each as likely as its share; the first, where none has any.
    fn weighted(&mut self, weights: impl Iterator<Item = u32> + Clone) -> usize {
        let total: u64 = weights.clone().map(u64::from).sum();
        let draw = self.next();
        if total == 0 {
            return 0;
        }
        let mut left = draw % total;
        for (place, weight) in weights.enumerate() {
            match left.checked_sub(u64::from(weight)) {
                Some(rest) => left = rest,
                None => return place,
            }
        }
        0
    }
}

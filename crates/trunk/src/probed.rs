//! Which targets are asked by OPTIONS, and as whose `probe` says.

use std::collections::BTreeMap;

use crate::name::Name;
use crate::resources::Resources;
use crate::settings::Probe;
use crate::target::{SipTarget, TargetSpec};

/// How a target is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// How often, and what counts.
    pub probe: Probe,
    /// The gateway that we register with there: its calls, REGISTERs and OPTIONS come from one address.
    pub registrar: Option<Name>,
}

impl Resources {
    /// The targets of gateways and delivery lists whose owner probes, each once, without its user. Where several own it, it
    /// is asked as the most eager of them says.
    pub fn probed(&self) -> BTreeMap<SipTarget, Probed> {
        let mut probed = BTreeMap::new();
        for gateway in self.gateways.values() {
            let registrar = gateway.register.then_some(&gateway.name);
            for target in &gateway.targets {
                add(&mut probed, target, &gateway.probe, registrar);
            }
        }
        for trunk in self.trunks.values() {
            for spec in trunk.delivery.targets.iter().chain(&trunk.delivery.failover) {
                add_spec(&mut probed, spec, &trunk.probe);
            }
        }
        for number in self.numbers.values() {
            let Some(owner) = self.trunks.get(&number.trunk) else { continue };
            for spec in &number.delivery {
                add_spec(&mut probed, spec, &owner.probe);
            }
        }
        probed
    }
}

fn add_spec(probed: &mut BTreeMap<SipTarget, Probed>, spec: &TargetSpec, probe: &Probe) {
    match spec {
        TargetSpec::Sip(target) => add(probed, target, probe, None),
        TargetSpec::Srv(domain) => add(probed, &SipTarget::of_domain(domain), probe, None),
        TargetSpec::Account(_) | TargetSpec::Flow(_) | TargetSpec::Number(_) | TargetSpec::Trunk { .. } => {}
    }
}

fn add(
    probed: &mut BTreeMap<SipTarget, Probed>,
    target: &SipTarget,
    probe: &Probe,
    registrar: Option<&Name>,
) {
    if probe.interval.is_zero() {
        return;
    }
    let known = probed
        .entry(target.peer())
        .or_insert_with(|| Probed { probe: probe.clone(), registrar: registrar.cloned() });
    if probe.interval < known.probe.interval {
        known.probe = probe.clone();
    }
    known.registrar = known.registrar.take().or_else(|| registrar.cloned());
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fixture::{Set, gateway, name, number, spec, trunk};

    fn probe(seconds: u64) -> Probe {
        Probe { interval: Duration::from_secs(seconds), ..Probe::default() }
    }

    #[test]
    fn each_target_is_asked_once_as_the_most_eager_of_its_owners_says() {
        let mut pbx = trunk("pbx", "10.0.0.0/8");
        pbx.settings.delivery.targets =
            vec![spec("sip:desk@192.0.2.1"), spec("srv:pbx.example"), spec("account:1")];
        pbx.settings.delivery.failover = vec![spec("sip:192.0.2.3;transport=tcp")];
        pbx.settings.probe = probe(20);
        let mut carrier = gateway("carrier", "sip:192.0.2.1", &[]);
        carrier.register = true;
        carrier.settings.probe = probe(60);
        let mut own = number("+31207000001", "pbx");
        own.delivery = vec![spec("sip:192.0.2.4")];
        // One that probes nothing.
        let mut quiet = gateway("quiet", "sip:192.0.2.5", &[]);
        quiet.settings.probe = probe(0);
        let resources = Set::new().trunk(pbx).gateway(carrier).gateway(quiet).number(own).build();
        let probed = resources.probed();
        let targets: Vec<String> = probed.keys().map(ToString::to_string).collect();
        let expected = ["sip:192.0.2.1", "sip:192.0.2.3;transport=tcp", "sip:192.0.2.4", "sip:pbx.example"];
        assert_eq!(targets, expected);
        let shared = &probed[&SipTarget::parse("sip:192.0.2.1").unwrap()];
        assert_eq!(
            (shared.probe.interval, shared.registrar.clone()),
            (Duration::from_secs(20), Some(name("carrier")))
        );
    }
}

//! Worlds with redirect servers: callees that answer some INVITEs by 302. Some of the Contacts may be followed, some lead to a
//! stranger, straight or under a name that sounds trusted, and some back to where the call has been.
//!
//! Beyond the gateways' targets there are callees that only redirects lead to.

use std::net::IpAddr;

use machine::Rng;
use trunk::settings::{HostPattern, Redirect};

use crate::names::{DOMAIN, callee_of, name_of};
use crate::plan::{self, Plan};

/// How calls are sent elsewhere in a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redirects {
    /// How many callees are no gateway's target.
    pub beyond: u8,
    /// How long a chain gateways allow.
    pub max_hops: u8,
    /// How many of a hundred calls a gateway's target sends elsewhere.
    pub share: u8,
}

/// What a Contact is, by the settings of these worlds. Not the node's way to see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It may be called.
    Good,
    /// Its name is trusted, and where it leads is denied: nobody is called.
    Nowhere,
    /// Nobody trusts it.
    Strange,
}

impl Redirects {
    /// How calls are sent elsewhere in the world of a seed; in most they never are. Drawn from a chance of its own.
    pub fn of(seed: u64) -> Option<Redirects> {
        let mut rng = Rng::from_u64(seed ^ SALT);
        let mut below = |bound: u64| u8::try_from(rng.below(bound)).unwrap_or(0);
        (below(6) == 0 && !KEPT.contains(&seed)).then(|| Redirects {
            beyond: 1 + below(2),
            max_hops: 1 + below(3),
            share: 30 + below(60),
        })
    }

    /// What gateways allow: the callees' network, and names of which one leads elsewhere.
    pub fn settings(&self) -> Redirect {
        let read = |text: &str| HostPattern::parse(text).expect("a pattern of hosts");
        let mut trusted = vec![read("10.0.2.0/24"), read(&rebound())];
        trusted.extend((0..CALLEES_MAX).flat_map(|place| [read(&name_of(place)), read(&mixed(place))]));
        Redirect {
            follow: true,
            trusted,
            deny: vec![read("10.0.4.0/24")],
            max_hops: self.max_hops,
            ..Redirect::default()
        }
    }
}

/// The callees that only redirects lead to join the others, with the ways of those.
pub fn widen(plan: &mut Plan) {
    let beyond = plan.variety.redirects.map_or(0, |it| usize::from(it.beyond));
    let more: Vec<_> = plan.callees.iter().cycle().take(beyond).cloned().collect();
    plan.callees.extend(more);
}

/// Callees get to know where they send calls.
pub fn lure(plan: &mut Plan) {
    let Some(Redirects { share, .. }) = plan.variety.redirects else { return };
    let gateways = plan.gateways();
    let lists: Vec<_> = (0..plan.callees.len()).map(|place| contacts(plan, place)).collect();
    for ((place, mix), lists) in plan.callees.iter_mut().enumerate().zip(lists) {
        // Chains are longer than one now and then.
        mix.redirect = f64::from(share) / if place < gateways { 100.0 } else { 300.0 };
        mix.contacts = lists;
    }
}

/// The lists of Contacts of which a callee draws.
fn contacts(plan: &Plan, me: usize) -> Vec<String> {
    let over = |place| if plan.variety.is_callee_over_tcp(place) { ";transport=tcp" } else { "" };
    let at = |host: &str, more: &str, q: &str| format!("<sip:{{user}}@{host}{more}>;q={q}");
    let callee = |place: usize, more: &str, q: &str| {
        at(&plan::callee(place).to_string(), &format!("{}{more}", over(place)), q)
    };
    let others = (plan.gateways()..plan.callees.len()).chain(0..plan.gateways()).filter(|place| *place != me);
    let others: Vec<usize> = others.collect();
    let near = others.first().copied().unwrap_or(me);
    let far = others.get(1).copied().unwrap_or(near);
    let (stranger, other) = (plan::stranger().ip().to_string(), plan::other_stranger().ip().to_string());
    let myself = at(&plan.host_of(me), over(me), "0.9");
    let under = |name: &str, q| at(name, over(near), q);
    vec![
        // The later one is preferred.
        format!("{}, {}", callee(near, "", "0.3"), callee(far, "", "0.8")),
        callee(far, "", "1"),
        format!("{}, {}", callee(near, "", "0.7"), callee(near, "", "0.9")),
        under(&name_of(near), "0.5"),
        under(&mixed(near), "0.5"),
        // Nobody trusts these.
        at(&stranger, "", "1"),
        format!("{}, {}", callee(near, "", "0.1"), at(&other, "", "1")),
        format!("{}, {}", at(&sounds(near), "", "0.9"), callee(near, "", "0.5")),
        callee(near, &format!(";maddr={stranger}"), "1"),
        // This one is trusted by its name alone.
        at(&rebound(), "", "1"),
        format!("{}, {}", at(&rebound(), "", "0.9"), callee(near, "", "0.5")),
        // In circles: under the same URI, and under another each time.
        format!("{myself}, {}", callee(near, "", "0.2")),
        callee(me, ";turn={turn}", "1"),
    ]
}

/// What a URI in a Contact is.
pub fn fate(uri: &str) -> Fate {
    let host = uri.split_once('@').map_or("", |(_, rest)| rest).split([':', ';']).next().unwrap_or_default();
    let is_callee = host.parse::<IpAddr>().is_ok_and(plan::is_callee);
    let is_name = callee_of(host).or_else(|| mixed_of(host)).is_some_and(|place| place < CALLEES_MAX);
    match (uri.contains(";maddr="), is_callee || is_name) {
        (false, true) => Fate::Good,
        (false, false) if host == rebound() => Fate::Nowhere,
        _ => Fate::Strange,
    }
}

/// Where a name leads that only redirects know.
pub fn addresses_of(host: &str) -> Option<Vec<IpAddr>> {
    if let Some(place) = mixed_of(host) {
        return Some(vec![plan::stranger().ip(), plan::callee(place).ip()]);
    }
    let sounds_trusted = host.split_once('.').is_some_and(|(_, rest)| callee_of(rest).is_some());
    match (host == rebound(), sounds_trusted) {
        (true, _) => Some(vec![plan::stranger().ip()]),
        (false, true) => Some(vec![plan::other_stranger().ip()]),
        (false, false) => None,
    }
}

/// A name that is trusted and leads to the stranger.
fn rebound() -> String {
    format!("rebound{DOMAIN}")
}

/// A name that is trusted and leads to the stranger, and to a callee as well.
fn mixed(callee: usize) -> String {
    format!("mixed{callee}{DOMAIN}")
}

fn mixed_of(host: &str) -> Option<usize> {
    host.strip_prefix("mixed")?.strip_suffix(DOMAIN)?.parse().ok()
}

/// A name that ends as a trusted one does, and leads to the stranger.
fn sounds(callee: usize) -> String {
    format!("a.{}", name_of(callee))
}

/// Keeps what is drawn here apart from what is drawn for the plan and its variety.
const SALT: u64 = 0x3020_0B5E_55ED_0A3E;
/// Seeds that have found something before there were redirects keep the worlds in which they did.
const KEPT: [u64; 3] = [11, 288, 950];
/// How many callees a world has at most.
const CALLEES_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Cut;

    fn world() -> Plan {
        let seed = (1..).find(|seed| Redirects::of(*seed).is_some()).expect("one of six");
        Plan::of(seed, &Cut::default())
    }

    #[test]
    fn one_seed_of_six_has_redirects_and_others_have_none() {
        let seeds = 600;
        let with = (0..seeds).filter(|seed| Redirects::of(*seed).is_some()).count();
        assert!((75..125).contains(&with), "{with}");
        let without = (1..).find(|seed| Redirects::of(*seed).is_none()).expect("five of six");
        let plan = Plan::of(without, &Cut::default());
        assert!(plan.callees.iter().all(|mix| mix.redirect == 0.0 && mix.contacts.is_empty()));
        assert_eq!(plan.gateways(), plan.callees.len());
    }

    #[test]
    fn a_node_and_the_oracle_agree_on_which_hosts_are_trusted() {
        let plan = world();
        let settings = plan.variety.redirects.expect("it has them").settings();
        let mut fates = Vec::new();
        for list in plan.callees.iter().flat_map(|mix| &mix.contacts) {
            for uri in list.split(", ").filter_map(|one| one.strip_prefix('<')?.split('>').next()) {
                let host = uri.split(['@', ';']).nth(1).expect("a host").split(':').next().expect("a host");
                let host = trunk::Host::parse(host).expect("a host");
                // What has an maddr is no Contact for the node at all.
                let trusted = settings.trusted.iter().any(|it| it.covers(&host)) && !uri.contains("maddr");
                assert_eq!(trusted, fate(uri) != Fate::Strange, "{uri}");
                fates.push(fate(uri));
            }
        }
        assert!([Fate::Good, Fate::Nowhere, Fate::Strange].iter().all(|fate| fates.contains(fate)));
    }

    #[test]
    fn names_of_redirects_lead_where_their_fate_says() {
        let stranger = plan::stranger().ip();
        assert_eq!(addresses_of(&rebound()), Some(vec![stranger]));
        assert_eq!(addresses_of(&sounds(1)), Some(vec![plan::other_stranger().ip()]));
        assert_eq!(addresses_of(&mixed(1)), Some(vec![stranger, plan::callee(1).ip()]));
        assert_eq!(addresses_of(&name_of(1)), None);
    }
}

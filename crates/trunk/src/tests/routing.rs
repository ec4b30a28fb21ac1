//! From called numbers to plans, and what follows failed attempts.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::bindings::{Bindings, NoBindings, Registered};
use crate::failover::{Next, Outcome};
use crate::fixture::{Set, gateway, name, number, spec, trunk};
use crate::name::Name;
use crate::party::{Direction, Party, Scope, Side, Slot, Transport};
use crate::plan::Plan;
use crate::reject::{DestinationRule, NumberField, Reject};
use crate::resources::Resources;
use crate::settings::{AfterProgress, Delivery, NumberFormat};
use crate::target::{Host, SipTarget};

fn from(text: &str) -> Party {
    Party::Trunk { name: name(text), account: None }
}

fn carrier(text: &str) -> Party {
    Party::Gateway { name: name(text) }
}

fn slot(text: &str, side: Side) -> Slot {
    Slot { scope: Scope::Trunk(name(text)), side }
}

fn uris(plan: &Plan) -> Vec<&str> {
    plan.targets.iter().map(|target| target.uri.as_str()).collect()
}

fn plan(resources: &Resources, party: &Party, called: &str) -> Plan {
    resources.plan(party, called, 1).unwrap()
}

fn unknown(called: &str) -> Result<Plan, Reject> {
    Err(Reject::UnknownNumber { called: called.to_owned(), unmatched: 404 })
}

/// KW14: each of a trunk's numbers reaches it, with the number in the Request-URI.
#[test]
fn kw14_every_number_reaches_its_trunk_with_the_number_in_the_uri() {
    let resources = Set::new()
        .trunk(trunk("a", "10.0.0.0/24"))
        .number(number("+31201234567", "a"))
        .number(number("+31201234568", "a"))
        .gateway(gateway("g", "sip:192.0.2.1", &[]))
        .build();
    for called in ["+31201234567", "+31201234568"] {
        let plan = plan(&resources, &carrier("g"), called);
        assert_eq!(uris(&plan), [format!("sip:{called}@127.0.0.2:5080")]);
        assert_eq!(plan.targets[0].party, from("a"));
        assert_eq!(plan.targets[0].slots, [slot("a", Side::Egress)]);
        assert_eq!((plan.direction, plan.slots, plan.windows), (Direction::In, vec![], vec![name("a")]));
    }
    // With or without the plus; a number that is not ours is unknown.
    assert_eq!(plan(&resources, &carrier("g"), "31201234567").called, "+31201234567");
    assert_eq!(resources.plan(&carrier("g"), "+31201234569", 1), unknown("+31201234569"));
}

#[test]
fn a_call_from_a_trunk_leaves_by_the_longest_prefix_then_priority() {
    let mut second = gateway("second", "sip:192.0.2.2", &["+31"]);
    second.priority = 20;
    let resources = Set::new()
        .trunk(trunk("a", "10.0.0.0/24"))
        .gateway(gateway("any", "sip:192.0.2.9", &[]))
        .gateway(gateway("first", "sip:192.0.2.1;transport=tcp", &["+31", "+3"]))
        .gateway(second)
        .gateway(gateway("ams", "sip:192.0.2.3:5070", &["+3120"]))
        .gateway(gateway("de", "sip:192.0.2.4", &["+49"]))
        .build();
    let plan = plan(&resources, &from("a"), "+31201234567");
    assert_eq!(
        uris(&plan),
        [
            "sip:+31201234567@192.0.2.3:5070",
            "sip:+31201234567@192.0.2.1;transport=tcp",
            "sip:+31201234567@192.0.2.2",
            "sip:+31201234567@192.0.2.9",
        ]
    );
    assert_eq!((plan.direction, &plan.slots), (Direction::Out, &vec![slot("a", Side::Ingress)]));
    assert_eq!(
        plan.targets[0].slots,
        [Slot { scope: Scope::Gateway(name("ams")), side: Side::Egress }],
        "gateway slots are per attempt"
    );
    assert_eq!(plan.max_duration, Duration::from_secs(4 * 3600));
}

#[test]
fn weights_share_calls_and_the_same_draw_gives_the_same_plan() {
    let weighted = |text: &str, target: &str, weight: u32| {
        let mut one = gateway(text, target, &[]);
        one.weight = weight;
        one
    };
    let resources = Set::new()
        .trunk(trunk("a", "10.0.0.0/24"))
        .gateway(weighted("three", "sip:192.0.2.3", 300))
        .gateway(weighted("one", "sip:192.0.2.1", 100))
        .gateway(weighted("never", "sip:192.0.2.9", 0))
        .build();
    let mut firsts: BTreeMap<String, u32> = BTreeMap::new();
    for draw in 0..4000 {
        let once = resources.plan(&from("a"), "+31201234567", draw).unwrap();
        assert_eq!(resources.plan(&from("a"), "+31201234567", draw), Ok(once.clone()));
        assert_eq!(once.targets.len(), 3, "every gateway is there, as failover");
        *firsts.entry(once.targets[0].party.name().to_string()).or_default() += 1;
    }
    // Three to one: 3,000 and 1,000 expected, four standard deviations are 110.
    assert!((2890..=3110).contains(&firsts["three"]), "{firsts:?}");
    assert_eq!(firsts.get("never"), None);
}

#[test]
fn a_call_to_one_of_our_numbers_never_leaves() {
    let resources = Set::new()
        .trunk(trunk("a", "10.0.0.0/24"))
        .trunk(trunk("b", "10.0.1.0/24"))
        .number(number("+31201234567", "b"))
        .gateway(gateway("g", "sip:192.0.2.1", &[]))
        .build();
    let plan = plan(&resources, &from("a"), "+31201234567");
    assert_eq!(uris(&plan), ["sip:+31201234567@127.0.0.2:5080"]);
    assert_eq!(plan.slots, [slot("a", Side::Ingress)]);
    assert_eq!(plan.targets[0].slots, [slot("b", Side::Egress)]);
    assert_eq!(plan.windows, [name("a"), name("b")]);
}

/// FL23: a call in and out on the same trunk takes one slot or two, as the profile says.
#[test]
fn fl23_a_hairpin_takes_one_slot_or_two() {
    let set = |hairpin| {
        let mut trunk = trunk("a", "10.0.0.0/24");
        trunk.settings.limits.hairpin = hairpin;
        Set::new().trunk(trunk).number(number("+31201234567", "a")).build()
    };
    let two = plan(&set(2), &from("a"), "+31201234567");
    assert_eq!(
        (two.slots, two.targets[0].slots.clone()),
        (vec![slot("a", Side::Ingress)], vec![slot("a", Side::Egress)])
    );
    let one = plan(&set(1), &from("a"), "+31201234567");
    assert_eq!((one.slots, one.targets[0].slots.clone()), (vec![slot("a", Side::Ingress)], vec![]));
    assert_eq!(one.windows, [name("a")], "counted once");
}

/// FR2: with and without the plus, both route identically; the twin takes numbers as they are.
#[test]
fn fr2_the_plus_is_optional() {
    let set = |format| {
        let mut trunk = trunk("a", "10.0.0.0/24");
        trunk.settings.identity.number_format = format;
        Set::new().trunk(trunk).gateway(gateway("g", "sip:192.0.2.1", &["+1"])).build()
    };
    let e164 = set(NumberFormat::E164);
    assert_eq!(plan(&e164, &from("a"), "12066418000"), plan(&e164, &from("a"), "+12066418000"));
    assert_eq!(plan(&e164, &from("a"), "12066418000").called, "+12066418000");
    let any = set(NumberFormat::Any);
    assert_eq!(plan(&any, &from("a"), "+12066418000").called, "+12066418000");
    assert_eq!(any.plan(&from("a"), "12066418000", 1), unknown("12066418000"));
}

/// FR1, KW23: a number in the wrong form is refused as such; the twin takes it.
#[test]
fn fr1_kw23_a_number_in_the_wrong_form_is_refused() {
    let set = |format| {
        let mut trunk = trunk("a", "10.0.0.0/24");
        trunk.settings.identity.number_format = format;
        Set::new().trunk(trunk).gateway(gateway("g", "sip:192.0.2.1", &[])).build()
    };
    let refused = |format| Err(Reject::NumberForm { field: NumberField::RequestUri, format });
    assert_eq!(set(NumberFormat::E164).plan(&from("a"), "0201234567", 1), refused(NumberFormat::E164));
    assert_eq!(
        set(NumberFormat::PlusE164).plan(&from("a"), "31201234567", 1),
        refused(NumberFormat::PlusE164)
    );
    assert!(set(NumberFormat::E164).plan(&from("a"), "31201234567", 1).is_ok());
    assert_eq!(uris(&plan(&set(NumberFormat::Any), &from("a"), "0201234567")), ["sip:0201234567@192.0.2.1"]);
}

/// FR3, FL20: any text is routed under `any`, escapes and all.
#[test]
fn escapes_are_undone_for_looking_up_and_done_again_for_sending() {
    let resources =
        Set::new().trunk(trunk("a", "10.0.0.0/24")).gateway(gateway("g", "sip:192.0.2.1", &[])).build();
    let plan = plan(&resources, &from("a"), "%2b31201234567%23");
    assert_eq!(plan.called, "+31201234567#");
    assert_eq!(uris(&plan), ["sip:+31201234567%23@192.0.2.1"]);
}

/// FL9: with the PSTN off another's number is refused, its own is not; the twin has it on.
#[test]
fn fl9_pstn_off_leaves_only_its_own_numbers() {
    let set = |pstn| {
        let mut trunk = trunk("a", "10.0.0.0/24");
        trunk.settings.destinations.pstn = pstn;
        Set::new()
            .trunk(trunk)
            .number(number("+31201234567", "a"))
            .gateway(gateway("g", "sip:192.0.2.1", &[]))
            .build()
    };
    let called = "+31207654321".to_owned();
    let refused = Err(Reject::Destination { called: called.clone(), rule: DestinationRule::Pstn });
    assert_eq!(set(false).plan(&from("a"), &called, 1), refused);
    assert!(set(false).plan(&from("a"), "+31201234567", 1).is_ok());
    assert!(set(true).plan(&from("a"), &called, 1).is_ok());
}

/// KW12: refused before any gateway is planned; the twin allows it.
#[test]
fn kw12_a_destination_is_refused_before_any_gateway() {
    let set = |allowed: &[&str]| {
        let mut trunk = trunk("a", "10.0.0.0/24");
        trunk.settings.destinations.allow_countries = allowed.iter().map(|iso| (*iso).to_owned()).collect();
        Set::new().trunk(trunk).gateway(gateway("g", "sip:192.0.2.1", &[])).build()
    };
    let called = "+33142345678".to_owned();
    let refused = Err(Reject::Destination { called: called.clone(), rule: DestinationRule::Country });
    assert_eq!(set(&["NL"]).plan(&from("a"), &called, 1), refused);
    assert!(set(&["NL", "FR"]).plan(&from("a"), &called, 1).is_ok());
}

/// KW4, KW6, FR41: after the trunk's own targets come those of its failover list, without its slot.
#[test]
fn kw6_failover_targets_do_not_need_the_trunks_slot() {
    let mut full = trunk("a", "10.0.0.0/24");
    full.settings.delivery.targets = vec![spec("account:1"), spec("sip:127.0.0.2:5080")];
    full.settings.delivery.failover =
        vec![spec("number:+31207654321"), spec("number:+4930123456"), spec("trunk:b:Queue")];
    let resources = Set::new()
        .trunk(full)
        .trunk(trunk("b", "10.0.1.0/24"))
        .number(number("+31201234567", "a"))
        .number(number("+31207654321", "b"))
        .gateway(gateway("g", "sip:192.0.2.1", &[]))
        .build();
    let plan = plan(&resources, &carrier("g"), "+31201234567");
    let found: Vec<(&str, &str, bool)> = plan
        .targets
        .iter()
        .map(|target| (target.uri.as_str(), target.slots[0].scope.name().as_str(), target.is_failover))
        .collect();
    assert_eq!(
        found,
        [
            ("sip:+31201234567@127.0.0.2:5080", "a", false),
            ("sip:+31207654321@127.0.0.2:5080", "b", true),
            ("sip:+4930123456@192.0.2.1", "g", true),
            ("sip:Queue@127.0.0.2:5080", "b", true),
        ]
    );
}

#[test]
fn a_number_without_a_reachable_target_says_so() {
    let mut silent = trunk("a", "10.0.0.0/24");
    silent.settings.delivery.targets = vec![spec("account:1"), spec("account:2")];
    let resources = Set::new().trunk(silent).number(number("+31201234567", "a")).build();
    let called = "+31201234567".to_owned();
    assert_eq!(resources.plan(&from("a"), &called, 1), Err(Reject::NoTarget { called }));
}

#[test]
fn numbers_that_lead_in_a_circle_end() {
    let lead = |text: &str, to: &str| {
        let mut one = trunk(text, "10.0.0.0/24");
        one.settings.delivery.targets = vec![spec(to)];
        one
    };
    let resources = Set::new()
        .trunk(lead("a", "number:+31207654321"))
        .trunk(lead("b", "trunk:a:x"))
        .number(number("+31201234567", "a"))
        .number(number("+31207654321", "b"))
        .build();
    let called = "+31201234567".to_owned();
    assert_eq!(resources.plan(&from("a"), &called, 1), Err(Reject::DeliveryLoop { called }));
}

#[test]
fn a_circle_adds_no_target_twice() {
    let mut pbx = trunk("a", "10.0.0.0/24");
    pbx.settings.delivery.targets = vec![spec("sip:127.0.0.2:5080"), spec("number:+31201234567")];
    let resources = Set::new().trunk(pbx).number(number("+31201234567", "a")).build();
    assert_eq!(uris(&plan(&resources, &from("a"), "+31201234567")), ["sip:+31201234567@127.0.0.2:5080"]);
}

#[test]
fn a_number_may_have_a_delivery_of_its_own() {
    let mut own = number("+31201234567", "a");
    own.delivery = vec![spec("sip:reception@127.0.0.9"), spec("srv:example.net")];
    let resources = Set::new()
        .trunk(trunk("a", "10.0.0.0/24"))
        .number(own)
        .gateway(gateway("g", "sip:192.0.2.1", &[]))
        .build();
    let plan = plan(&resources, &carrier("g"), "+31201234567");
    assert_eq!(uris(&plan), ["sip:reception@127.0.0.9", "sip:+31201234567@example.net"]);
}

#[test]
fn each_target_is_tried_as_often_as_the_trunk_says() {
    let mut twice = trunk("a", "10.0.0.0/24");
    twice.settings.delivery.tries = 2;
    let resources = Set::new().trunk(twice).number(number("+31201234567", "a")).build();
    assert_eq!(plan(&resources, &from("a"), "+31201234567").targets.len(), 2);
}

/// I-27: emergency calls come before every rule; the same number from a cluster without the list is refused.
#[test]
fn emergency_calls_bypass_every_rule() {
    let set = |numbers: &[&str]| {
        let mut strict = trunk("a", "10.0.0.0/24");
        strict.settings.destinations.pstn = false;
        strict.settings.identity.number_format = NumberFormat::PlusE164;
        Set::new()
            .trunk(strict)
            .gateway(gateway("g", "sip:192.0.2.1", &["+31"]))
            .emergency(numbers, &["g"])
            .build()
    };
    let listed = set(&["112", "urn:service:sos"]);
    let call = plan(&listed, &from("a"), "112");
    assert!(call.emergency);
    assert_eq!(uris(&call), ["sip:112@192.0.2.1"]);
    assert_eq!(uris(&plan(&listed, &from("a"), "urn:service:sos.fire")), ["urn:service:sos.fire"]);
    assert!(set(&["911"]).plan(&from("a"), "112", 1).is_err());
    assert!(listed.plan(&from("a"), "1123", 1).is_err());
    assert!(listed.plan(&from("a"), "urn:service:sosx", 1).is_err());
}

/// KW5, PS23: malfunction goes on to the next target; busy, declined and unlisted answers stop.
#[test]
fn kw5_malfunction_goes_on_and_busy_stops() {
    let delivery = Delivery::default();
    let after = |status| delivery.after(Outcome::Status(status), false);
    for status in [408, 500, 503, 504] {
        assert_eq!(after(status), Next::NextTarget, "{status}");
    }
    for status in [404, 480, 486, 487, 488, 302, 600, 603, 604] {
        assert_eq!(after(status), Next::Stop, "{status}");
    }
    assert_eq!(delivery.after(Outcome::NoAnswer, false), Next::NextTarget);
    assert_eq!(delivery.after(Outcome::Unreachable, false), Next::NextTarget);
    // A 6xx ends every search, even where the list says otherwise (RFC 3261 §16.7 step 5).
    let all = ["4xx", "5xx", "6xx"].into_iter().filter_map(crate::settings::StatusPattern::parse).collect();
    let eager = Delivery { failover_on: all, stop_on: Vec::new(), ..Delivery::default() };
    assert_eq!(eager.after(Outcome::Status(404), false), Next::NextTarget);
    assert_eq!(eager.after(Outcome::Status(604), false), Next::Stop);
    // A code in both lists stops: the hunt-stop list is the narrower rule.
    let both =
        Delivery { stop_on: crate::settings::StatusPattern::parse("503").into_iter().collect(), ..delivery };
    assert_eq!(both.after(Outcome::Status(503), false), Next::Stop);
}

/// KW7: once ringing was relayed nothing else rings; the twin continues.
#[test]
fn kw7_after_ringing_was_relayed_nothing_else_rings() {
    let stop = Delivery::default();
    let on = Delivery { after_progress: AfterProgress::Continue, ..Delivery::default() };
    for outcome in [Outcome::Status(503), Outcome::NoAnswer, Outcome::Unreachable] {
        assert_eq!(stop.after(outcome, true), Next::Stop);
        assert_eq!(on.after(outcome, true), Next::NextTarget);
    }
}

/// Where accounts are registered, by trunk and number, and what is down.
#[derive(Debug)]
struct Bound(Vec<(&'static str, u8, Registered)>, &'static [&'static str]);

impl Bindings for Bound {
    fn of(&self, trunk: &Name, account: u8) -> Option<Registered> {
        let found = self.0.iter().find(|(name, number, _)| *name == trunk.as_str() && *number == account);
        found.map(|(_, _, registered)| registered.clone())
    }

    fn is_down(&self, target: &SipTarget) -> bool {
        Down(self.1).is_down(target)
    }
}

/// Targets that are known to be down.
#[derive(Debug)]
struct Down(&'static [&'static str]);

impl Bindings for Down {
    fn of(&self, _: &Name, _: u8) -> Option<Registered> {
        None
    }

    fn is_down(&self, target: &SipTarget) -> bool {
        self.0.contains(&target.peer().to_string().as_str())
    }
}

/// I-24, KW3: what is down comes after what is not, and goes back to its place for the next call when it is up.
#[test]
fn i24_targets_that_are_down_are_tried_when_no_other_is_left() {
    let mut owner = trunk("pbx", "10.0.0.0/8");
    owner.settings.delivery.targets = vec![spec("sip:desk@192.0.2.1"), spec("sip:192.0.2.2")];
    owner.settings.delivery.failover = vec![spec("number:+4930555")];
    let mut first = gateway("first", "sip:192.0.2.11", &[]);
    first.targets.push(SipTarget::parse("sip:192.0.2.12").unwrap());
    let mut second = gateway("second", "sip:192.0.2.13", &[]);
    second.priority = 20;
    let resources = Set::new()
        .trunk(owner)
        .gateway(first)
        .gateway(second)
        .number(number("+31207000001", "pbx"))
        .emergency(&["112"], &["first"])
        .build();
    let hosts = |party: &Party, called: &str, down: &Down| -> Vec<u8> {
        let plan = resources.plan_with(party, called, 7, down).unwrap();
        let last = |host: &Host| match host.ip() {
            Some(std::net::IpAddr::V4(ip)) => ip.octets()[3],
            _ => 0,
        };
        plan.targets.iter().map(|target| last(&target.host)).collect()
    };
    let (pbx, gateway) = (from("pbx"), carrier("first"));
    let inbound = |down: &Down| hosts(&gateway, "+31207000001", down);
    assert_eq!(inbound(&Down(&[])), [1, 2, 11, 12, 13]);
    assert_eq!(inbound(&Down(&["sip:192.0.2.1", "sip:192.0.2.12"])), [2, 11, 13, 1, 12]);
    let all = Down(&["sip:192.0.2.1", "sip:192.0.2.2", "sip:192.0.2.11", "sip:192.0.2.12", "sip:192.0.2.13"]);
    assert_eq!(inbound(&all), [1, 2, 11, 12, 13]);
    let outbound = |down: &Down| hosts(&pbx, "+4930555", down);
    assert_eq!(outbound(&Down(&[])), [11, 12, 13]);
    assert_eq!(outbound(&Down(&["sip:192.0.2.11"])), [12, 13, 11]);
    let emergency = |down: &Down| hosts(&pbx, "112", down);
    assert_eq!(emergency(&Down(&[])), [11, 12]);
    assert_eq!(emergency(&Down(&["sip:192.0.2.11"])), [12, 11]);
}

/// FR31: calls go out over IPv6 only where it is on, and over IPv4 either way.
#[test]
fn fr31_a_target_over_ipv6_is_passed_over_where_it_is_off() {
    let hosts = |ipv6: bool| {
        let mut owner = trunk("pbx", "10.0.0.0/8");
        owner.settings.access.ipv6 = ipv6;
        owner.settings.delivery.targets = vec![spec("sip:[2001:db8::1]"), spec("sip:192.0.2.1")];
        let mut six = gateway("carrier", "sip:[2001:db8::2]", &[]);
        six.settings.access.ipv6 = ipv6;
        six.targets.push(SipTarget::parse("sip:192.0.2.2").unwrap());
        let resources = Set::new().trunk(owner).gateway(six).number(number("+31207000001", "pbx")).build();
        let all = |party: &Party, called: &str| {
            let plan = resources.plan_with(party, called, 7, &NoBindings).unwrap();
            plan.targets.iter().filter_map(|it| it.host.ip()).map(|ip| ip.to_string()).collect::<Vec<_>>()
        };
        (all(&carrier("carrier"), "+31207000001"), all(&from("pbx"), "+4930555"))
    };
    let both = |a: &str, b: &str| vec![a.to_owned(), b.to_owned()];
    assert_eq!(hosts(true), (both("2001:db8::1", "192.0.2.1"), both("2001:db8::2", "192.0.2.2")));
    assert_eq!(hosts(false), (vec!["192.0.2.1".to_owned()], vec!["192.0.2.2".to_owned()]));
}

fn at_desk(last: u8, route: &[&str]) -> Registered {
    Registered {
        uri: format!("sip:desk@192.168.1.{last}"),
        host: Host::Ip([203, 0, 113, last].into()),
        port: Some(40_000),
        transport: Transport::Udp,
        route: route.iter().map(|it| (*it).to_owned()).collect(),
    }
}

/// KW2, KW3, KW4: the first account that is registered, then the second, then the failover targets.
#[test]
fn kw2_registered_accounts_are_tried_in_order_and_others_are_passed_over() {
    let mut owner = trunk("pbx", "10.0.0.0/8");
    owner.settings.delivery.targets = vec![spec("account:1"), spec("account:2")];
    owner.settings.delivery.failover = vec![spec("sip:192.0.2.9")];
    let resources = Set::new()
        .trunk(owner)
        .gateway(gateway("carrier", "sip:192.0.2.1", &[]))
        .number(number("+31207000001", "pbx"))
        .build();
    let from = Party::Gateway { name: name("carrier") };
    let targets = |bound: &Bound| {
        let plan = resources.plan_with(&from, "+31207000001", 7, bound).unwrap();
        let uris = plan.targets.iter().map(|target| target.uri.clone()).collect::<Vec<_>>();
        (uris, plan.targets)
    };
    let first = ("pbx", 1, at_desk(1, &["<sip:edge.example;lr>"]));
    let second = ("pbx", 2, at_desk(2, &[]));
    let failover = "sip:+31207000001@192.0.2.9";
    let (uris, both) = targets(&Bound(vec![first.clone(), second.clone()], &[]));
    assert_eq!(uris, ["sip:desk@192.168.1.1", "sip:desk@192.168.1.2", failover]);
    let registered = both[0].registered.as_ref().unwrap();
    assert_eq!((registered.user.as_str(), registered.route.len()), ("+31207000001", 1));
    assert_eq!(both[0].party, Party::Trunk { name: name("pbx"), account: Some(1) });
    assert_eq!((both[0].host.ip(), both[0].port), (Some([203, 0, 113, 1].into()), Some(40_000)));
    // What is counted is the trunk's, whichever account the call goes to.
    assert_eq!(both[0].slots, both[2].slots);
    // KW27: one that does not answer OPTIONS is tried last, until it does.
    let down = &["sip:203.0.113.1:40000"];
    let (uris, _) = targets(&Bound(vec![first, second.clone()], down));
    assert_eq!(uris, ["sip:desk@192.168.1.2", failover, "sip:desk@192.168.1.1"]);
    assert_eq!(targets(&Bound(vec![second], &[])).0, ["sip:desk@192.168.1.2", failover]);
    assert_eq!(targets(&Bound(vec![], &[])).0, [failover]);
    // Somebody else's first account is not this one's.
    assert_eq!(targets(&Bound(vec![("other", 1, at_desk(3, &[]))], &[])).0, [failover]);
}

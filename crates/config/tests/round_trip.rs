//! What is printed can be applied again, and comes back the same.

use config::{
    NODE_TEMPLATE, Notation, Passwords, Source, check, diff, read_node, read_resources, resource_to_json,
    resource_to_toml, resources_to_toml, resources_to_wire_json,
};
use trunk::{Change, Kind, Resource, Resources};

const SAMPLE: &str = include_str!("../../../deploy/resources.toml");

/// Every table and nearly every key, away from its default.
const FULL: &str = r#"
[[region]]
name = "eu"
signalling = ["192.0.2.10", "2001:db8::10"]
media = ["192.0.2.10"]
[[tenant]]
name = "easycall"
account_sid = "easycall1"
domain = "easycall.example.net"
[[gateway]]
name = "carrier-a"
targets = ["sip:127.0.0.11:5080;transport=udp", "sips:carrier.example.com"]
networks = ["127.0.0.11/32"]
prefixes = ["+31", "+49"]
priority = 5
weight = 7
concurrent = 500
register = true
[[gateway.account]]
username = "acct-1"
password = "canary-gw"
[gateway.timers]
ring = "30s"
[[trunk]]
name = "easycall-ams"
tenant = "easycall"
profile = "kwebbl"
region = "eu"
tariff = "nl-2026"
caller_ids = ["+31201234567"]
default_caller_id = "+31201234567"
[[trunk.account]]
username = "easycall-1"
password = "canary-1"
[[trunk.account]]
username = "easycall-2"
password = "canary-2"
[trunk.access]
networks = ["127.0.0.0/8"]
hosts = ["sbc.example.com"]
ports = [5060]
tech_prefix = "12345678"
on_bad_prefix = "reject"
account_header = "X-Exotel-AccountSid"
from_domain = "{account_sid}.pstn.example"
[trunk.identity]
stir = { sign = "off", verify = false }
[trunk.headers]
add = { "X-Call \u0041" = "no" }
"#;

fn read(text: &str, notation: Notation) -> Result<Vec<Resource>, Vec<String>> {
    let sources = [Source { path: "f".into(), text: text.into() }];
    read_resources(&sources, notation, &Passwords::Refuse)
        .map(|set| set.resources)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

fn full() -> Vec<Resource> {
    let text = FULL.replace("\"X-Call \\u0041\" = \"no\"", "X-Call = \"id={call.id} \\\"quoted\\\"\"");
    let rest = r#"
[trunk.limits]
concurrent = 30
per_minute = 200
hairpin = 1
[trunk.delivery]
targets = ["account:1", "sip:+3120@127.0.0.1:5070;transport=tcp", "srv:example.net", "flow:reception"]
failover = ["number:+31207654321", "trunk:easycall-ams:MainQueue"]
failover_on = ["408", "5xx"]
unmatched = "480"
[trunk.redirect]
trusted = ["193.148.210.22", "195.111.134.0/24", "pbx.example.com"]
reauthorize_as = "easycall-ams"
[trunk.answers]
concurrent = 486
retry_after = true
[[number]]
e164 = "+31201234567"
trunk = "easycall-ams"
delivery = ["flow:reception"]
cnam = "EASY CALL"
cnam_lookup = true
[[flow]]
name = "reception"
fallout = "MainQueue"
fallout_via = "gateway:carrier-a"
steps = [ { answer = {} }, { gather = { digits = 1, timeout = "5s", "1" = "number:+31201111111" } } ]
[[tariff]]
name = "nl-2026"
currency = "EUR"
increments = [60, 1]
rates = [ { prefix = "+31", per_minute = "0.0120", setup = "0.05" } ]
[emergency]
numbers = ["112", "urn:service:sos"]
gateways = ["carrier-a"]
[cnam]
url = "https://cnam.example/{number}"
timeout = "500ms"
[stir]
key = "stir.pem"
certificate_url = "https://certs.example/banyan.pem"
"#;
    let text = text + rest;
    read(&text, Notation::Toml).expect("a right file")
}

#[test]
fn a_header_name_with_a_blank_is_refused() {
    let refused = read(FULL, Notation::Toml).unwrap_err();
    assert!(refused.iter().any(|line| line.ends_with("`X-Call A` can't name a header field")), "{refused:?}");
}

#[test]
fn the_sample_files_are_right() {
    let sources = [
        Source { path: "node.toml".into(), text: NODE_TEMPLATE.into() },
        Source { path: "resources.toml".into(), text: SAMPLE.into() },
    ];
    let checked = check(&sources);
    assert_eq!(checked.problems, []);
    assert_eq!(checked.node, Some(config::NodeFile::new(1)), "the template states the defaults");
}

#[test]
fn printed_toml_applies_again_and_changes_nothing() {
    let mut resources = Resources::default();
    let first = resources.apply(full()).unwrap();
    assert!(first.iter().all(|applied| applied.change == Change::Created));
    let printed: Vec<Resource> = [
        Kind::Region,
        Kind::Tenant,
        Kind::Gateway,
        Kind::Trunk,
        Kind::Number,
        Kind::Flow,
        Kind::Tariff,
        Kind::Emergency,
        Kind::Cnam,
        Kind::Stir,
    ]
    .into_iter()
    .flat_map(|kind| resources.all(kind))
    .collect();
    let text = resources_to_toml(&printed);
    assert!(!text.contains("canary"), "{text}");
    let again = resources.apply(read(&text, Notation::Toml).unwrap()).unwrap();
    assert!(again.iter().all(|applied| applied.change == Change::Unchanged), "{again:?}\n{text}");
    assert_eq!(again.len(), first.len());
    assert_eq!(resources.version, 1);
}

#[test]
fn json_with_passwords_goes_to_the_cluster_whole() {
    let set = full();
    let wire = resources_to_wire_json(&set).to_string();
    assert!(wire.contains("canary-2"));
    let mut back = read(&wire, Notation::Json).unwrap();
    let mut expected = set;
    // JSON groups by kind; order is free.
    let key = |resource: &Resource| (resource.kind(), resource.name().to_owned());
    back.sort_by_key(key);
    expected.sort_by_key(key);
    assert_eq!(back, expected);
}

#[test]
fn json_for_reading_has_every_key_and_no_password() {
    for resource in full() {
        let json = resource_to_json(&resource);
        assert!(!json.to_string().contains("canary"), "{json}");
        if let Resource::Trunk(_) = resource {
            assert_eq!(json["limits"]["concurrent"], 30);
            assert_eq!(json["limits"]["per_hour"], serde_json::Value::Null);
            assert_eq!(json["timers"]["min_se"], 1800, "from the kwebbl profile");
            assert_eq!(json["account"][0]["password_stored"], true);
        }
    }
}

#[test]
fn only_what_differs_from_the_profile_is_printed() {
    let text =
        "[[trunk]]\nname = \"x\"\nprofile = \"kwebbl\"\n[trunk.timers]\nmin_se = 1800\nring = \"30s\"\n";
    let set = read(text, Notation::Toml).unwrap();
    assert_eq!(
        resource_to_toml(&set[0]),
        "[[trunk]]\nname = \"x\"\nprofile = \"kwebbl\"\n\n[trunk.timers]\nring = \"30s\"\n"
    );
}

#[test]
fn a_difference_names_its_key_and_both_values() {
    let one = |text: &str| read(text, Notation::Toml).unwrap().remove(0);
    let old = one("[[trunk]]\nname = \"x\"\naccount = [{ username = \"u\", password = \"canary\" }]\n");
    let new = one(
        "[[trunk]]\nname = \"x\"\nlimits = { concurrent = 30 }\naccount = [{ username = \"u\", password = \"other\" }]\n\
         media = { t38 = false }\n",
    );
    let found: Vec<String> = diff(Some(&old), &new)
        .iter()
        .map(|d| format!("{}: {:?} -> {:?}", d.key, d.old.as_deref(), d.new.as_deref()))
        .collect();
    assert_eq!(
        found,
        [
            "limits.concurrent: None -> Some(\"30\")",
            "media.t38: Some(\"true\") -> Some(\"false\")",
            "account.password: Some(\"***\") -> Some(\"***\")",
        ]
    );
    assert_eq!(diff(Some(&new), &new), []);
    assert!(diff(None, &new).iter().any(|d| d.key == "name" && d.new.as_deref() == Some("\"x\"")));
}

#[test]
fn a_gateways_limits_stand_at_its_top_or_in_its_tables() {
    let top = read(
        "[[gateway]]\nname = \"g\"\ntargets = [\"sip:g\"]\nconcurrent = 5\nnetworks = [\"10.0.0.0/8\"]\n",
        Notation::Toml,
    );
    let below = "[[gateway]]\nname = \"g\"\ntargets = [\"sip:g\"]\nlimits = { concurrent = 5 }\naccess = { networks = [\"10.0.0.0/8\"] }\n";
    assert_eq!(top, read(below, Notation::Toml));
}

#[test]
fn a_node_file_fills_in_what_is_not_written() {
    let text = "[node]\nid = 7\n[cluster]\nlisten = \"127.0.0.1:7001\"\nsecret_file = \"k\"\npeers = [\"7@node-7.example:7001\"]\n[[home]]\nname = \"h\"\naddress = \"127.0.0.50/32\"\nsip = [\"udp:5070\"]\n";
    let (node, warnings) = read_node(&Source { path: "n".into(), text: text.into() }).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(node.node.name.as_str(), "node-7");
    assert_eq!(node.cluster.as_ref().map(|it| it.detect), Some(std::time::Duration::from_millis(500)));
    assert_eq!(node.homes[0].media_ports.to_string(), "10000-20000");
    assert_eq!(node.sip, config::NodeFile::new(7).sip);
}

/// Bytes of every kind, cut and changed in every place: a mistake, never a panic.
#[test]
fn no_bytes_make_the_reader_panic() {
    let whole = resources_to_toml(&full()) + SAMPLE;
    let wire = resources_to_wire_json(&full()).to_string();
    for text in [whole, wire, NODE_TEMPLATE.to_owned()] {
        let bytes = text.as_bytes();
        for at in (0..bytes.len()).step_by(61) {
            config::fuzz(&bytes[..at]);
            let mut changed = bytes.to_vec();
            changed[at] = b"\"[{=\\\0\xff9"[at % 8];
            config::fuzz(&changed);
        }
    }
}

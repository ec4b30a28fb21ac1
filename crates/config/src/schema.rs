//! Every table of the resource file, key by key.

use std::net::IpAddr;

use trunk::settings::{
    Access, Answers, Delivery, Destinations, Headers, Identity, Limits, Media, Probe, Redirect, Timers,
};
use trunk::{
    Account, Cnam, Emergency, Flow, Gateway, Money, Name, Number, Rate, Region, Resource, Secret, Settings,
    Stir, Tariff, Tenant, Trunk,
};

use crate::field::Status;
use crate::rules;
use crate::visit::{Complaint, Visit};

/// Whose tables they are: a gateway has two of its limits at its top.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Trunk,
    Gateway,
}

/// Walks any resource.
pub(crate) fn resource<V: Visit>(resource: &mut Resource, v: &mut V) {
    match resource {
        Resource::Region(it) => region(it, v),
        Resource::Tenant(it) => tenant(it, v),
        Resource::Gateway(it) => gateway(it, v),
        Resource::Trunk(it) => trunk(it, v),
        Resource::Number(it) => number(it, v),
        Resource::Flow(it) => flow(it, v),
        Resource::Tariff(it) => tariff(it, v),
        Resource::Emergency(it) => emergency(it, v),
        Resource::Cnam(it) => cnam(it, v),
        Resource::Stir(it) => stir(it, v),
    }
}

fn region<V: Visit>(it: &mut Region, v: &mut V) {
    v.needed("name", &mut it.name);
    v.field::<Vec<IpAddr>>("signalling", &mut it.signalling);
    v.field::<Vec<IpAddr>>("media", &mut it.media);
}

fn tenant<V: Visit>(it: &mut Tenant, v: &mut V) {
    v.needed("name", &mut it.name);
    v.text("account_sid", &mut it.account_sid, rules::something);
    v.text("domain", &mut it.domain, rules::domain);
}

fn gateway<V: Visit>(it: &mut Gateway, v: &mut V) {
    v.needed("name", &mut it.name);
    v.needed("targets", &mut it.targets);
    v.field("networks", &mut it.settings.access.networks);
    v.texts("prefixes", &mut it.prefixes, rules::prefix);
    v.field("priority", &mut it.priority);
    v.number("weight", &mut it.weight, 0..=65_535);
    v.field("concurrent", &mut it.settings.limits.concurrent);
    v.field("register", &mut it.register);
    accounts(&mut it.accounts, v);
    settings(&mut it.settings, Owner::Gateway, v);
    if it.register && it.accounts.is_empty() {
        v.complain("register", Complaint::new("nothing to register with", "add [[gateway.account]]"));
    }
}

fn trunk<V: Visit>(it: &mut Trunk, v: &mut V) {
    v.needed("name", &mut it.name);
    v.field("tenant", &mut it.tenant);
    v.field("profile", &mut it.profile);
    v.field("region", &mut it.region);
    v.field("tariff", &mut it.tariff);
    v.texts("caller_ids", &mut it.caller_ids, rules::user);
    v.text("default_caller_id", &mut it.default_caller_id, rules::user);
    v.texts("quirks", &mut it.quirks, rules::quirk);
    accounts(&mut it.accounts, v);
    settings(&mut it.settings, Owner::Trunk, v);
}

fn accounts<V: Visit>(accounts: &mut Vec<Account>, v: &mut V) {
    let new = || Account { username: String::new(), password: Secret::Keep };
    v.tables("account", accounts, new, |account, v| {
        v.needed("username", &mut account.username);
        v.password(&mut account.password);
    });
    if accounts.len() > 2 {
        v.complain(
            "account",
            Complaint::new("more than two accounts", "a trunk has a primary and a secondary"),
        );
    }
}

/// Walks the tables of a trunk, gateway or profile.
pub(crate) fn settings<V: Visit>(it: &mut Settings, owner: Owner, v: &mut V) {
    v.table("access", |v| access(&mut it.access, owner, v));
    v.table("identity", |v| identity(&mut it.identity, v));
    v.table("headers", |v| headers(&mut it.headers, v));
    v.table("limits", |v| limits(&mut it.limits, owner, v));
    v.table("destinations", |v| destinations(&mut it.destinations, v));
    v.table("media", |v| media(&mut it.media, v));
    v.table("timers", |v| timers(&mut it.timers, v));
    v.table("probe", |v| probe(&mut it.probe, v));
    v.table("delivery", |v| delivery(&mut it.delivery, v));
    v.table("redirect", |v| redirect(&mut it.redirect, v));
    v.table("answers", |v| answers(&mut it.answers, v));
}

fn access<V: Visit>(it: &mut Access, owner: Owner, v: &mut V) {
    match owner {
        Owner::Trunk => v.field("networks", &mut it.networks),
        Owner::Gateway => v.alias("networks", &mut it.networks),
    }
    v.texts("hosts", &mut it.hosts, rules::host);
    v.field("ports", &mut it.ports);
    v.field("transports", &mut it.transports);
    v.field("ipv6", &mut it.ipv6);
    v.field("auth", &mut it.auth);
    v.field("digest", &mut it.digest);
    v.text("tech_prefix", &mut it.tech_prefix, rules::tech_prefix);
    v.field("on_bad_prefix", &mut it.on_bad_prefix);
    v.text("account_header", &mut it.account_header, rules::policy_header);
    v.text("from_domain", &mut it.from_domain, rules::from_domain);
    v.field("register", &mut it.register);
    v.texts("methods", &mut it.methods, rules::method);
    v.field("unsupported_method", &mut it.unsupported_method);
    v.texts("extensions", &mut it.extensions, rules::token);
    v.field("strict_headers", &mut it.strict_headers);
    v.number("expires_min", &mut it.expires_min, 1..=86_400);
    v.number("expires_max", &mut it.expires_max, 1..=86_400);
    if it.ports.contains(&0) {
        v.complain("ports", Complaint::new("port 0 is none", "1 to 65535"));
    }
    if it.expires_min > it.expires_max {
        v.complain("expires_min", Complaint::new("expires_min is above expires_max", ""));
    }
}

fn identity<V: Visit>(it: &mut Identity, v: &mut V) {
    v.field("accept", &mut it.accept);
    v.field("require", &mut it.require);
    v.field("send", &mut it.send);
    v.field("on_foreign", &mut it.on_foreign);
    v.field("number_format", &mut it.number_format);
    v.field("display_name", &mut it.display_name);
    v.field("cnam_lookup", &mut it.cnam_lookup);
    v.field("charge_info", &mut it.charge_info);
    v.field("stir", &mut it.stir);
}

fn headers<V: Visit>(it: &mut Headers, v: &mut V) {
    v.texts("drop", &mut it.drop, rules::header_name);
    v.field("add", &mut it.add);
    v.text("tag", &mut it.tag, rules::policy_header);
    if let Some(name) = it.add.keys().find(|name| trunk::is_hidden(name)) {
        v.complain("add", Complaint::new(format!("`{name}` is written by the node itself"), ""));
    }
}

fn limits<V: Visit>(it: &mut Limits, owner: Owner, v: &mut V) {
    match owner {
        Owner::Trunk => v.field("concurrent", &mut it.concurrent),
        Owner::Gateway => v.alias("concurrent", &mut it.concurrent),
    }
    v.field("per_minute", &mut it.per_minute);
    v.field("per_hour", &mut it.per_hour);
    v.field("per_day", &mut it.per_day);
    v.field("per_week", &mut it.per_week);
    v.number("hairpin", &mut it.hairpin, 1..=2);
    v.field("expected_peak", &mut it.expected_peak);
}

fn destinations<V: Visit>(it: &mut Destinations, v: &mut V) {
    v.texts("allow_countries", &mut it.allow_countries, rules::country);
    v.texts("allow_prefixes", &mut it.allow_prefixes, rules::prefix);
    v.texts("deny_prefixes", &mut it.deny_prefixes, rules::prefix);
    v.field("pstn", &mut it.pstn);
    v.texts("fallout", &mut it.fallout, rules::user);
}

fn media<V: Visit>(it: &mut Media, v: &mut V) {
    v.field("mode", &mut it.mode);
    v.texts("codecs", &mut it.codecs, rules::codec);
    v.field("dtmf", &mut it.dtmf);
    v.field("dtmf_relaxed", &mut it.dtmf_relaxed);
    v.field("srtp", &mut it.srtp);
    v.field("t38", &mut it.t38);
    v.field("ports", &mut it.ports);
    v.field("nat", &mut it.nat);
    v.field("silence", &mut it.silence);
    v.field("reinvite", &mut it.reinvite);
    if it.codecs.is_empty() {
        v.complain("codecs", Complaint::new("without a codec no call can be made", ""));
    }
}

fn timers<V: Visit>(it: &mut Timers, v: &mut V) {
    v.field("session", &mut it.session);
    // RFC 4028 §4: 90 seconds is the least that may be demanded.
    v.number("session_expires", &mut it.session_expires, 90..=86_400);
    v.number("min_se", &mut it.min_se, 90..=86_400);
    v.field("ring", &mut it.ring);
    v.field("no_response", &mut it.no_response);
    if it.min_se > it.session_expires {
        v.complain("min_se", Complaint::new("min_se is above session_expires", ""));
    }
    if it.ring.is_zero() {
        v.complain("ring", Complaint::new("a target must be let ring", ""));
    }
}

fn probe<V: Visit>(it: &mut Probe, v: &mut V) {
    v.field("interval", &mut it.interval);
    v.number("down_after", &mut it.down_after, 1..=1000);
    v.number("up_after", &mut it.up_after, 1..=1000);
}

fn delivery<V: Visit>(it: &mut Delivery, v: &mut V) {
    v.field("targets", &mut it.targets);
    v.field("failover", &mut it.failover);
    v.field("failover_on", &mut it.failover_on);
    v.field("stop_on", &mut it.stop_on);
    v.field("after_progress", &mut it.after_progress);
    v.number("tries", &mut it.tries, 1..=10);
    v.field("caller_id", &mut it.caller_id);
    let mut unmatched = Status::<true>(it.unmatched);
    v.field("unmatched", &mut unmatched);
    it.unmatched = unmatched.0;
    v.field("max_duration", &mut it.max_duration);
    if it.max_duration.is_zero() {
        v.complain("max_duration", Complaint::new("a call must last", ""));
    }
}

fn redirect<V: Visit>(it: &mut Redirect, v: &mut V) {
    v.field("follow", &mut it.follow);
    v.field("trusted", &mut it.trusted);
    v.field("untrusted", &mut it.untrusted);
    v.field::<Option<Name>>("reauthorize_as", &mut it.reauthorize_as);
    v.field("deny", &mut it.deny);
    v.number("max_hops", &mut it.max_hops, 0..=20);
    v.field("embedded_headers", &mut it.embedded_headers);
    v.field("after_progress", &mut it.after_progress);
}

fn answers<V: Visit>(it: &mut Answers, v: &mut V) {
    let mut concurrent = it.concurrent.map(Status::<false>);
    v.field("concurrent", &mut concurrent);
    it.concurrent = concurrent.map(|status| status.0);
    v.field("retry_after", &mut it.retry_after);
}

fn number<V: Visit>(it: &mut Number, v: &mut V) {
    v.needed("e164", &mut it.e164);
    if let Some(complaint) = rules::e164(&it.e164) {
        v.complain("e164", complaint);
    }
    v.needed("trunk", &mut it.trunk);
    v.field("delivery", &mut it.delivery);
    v.text("cnam", &mut it.cnam, rules::something);
    v.field("cnam_lookup", &mut it.cnam_lookup);
}

fn flow<V: Visit>(it: &mut Flow, v: &mut V) {
    v.needed("name", &mut it.name);
    v.text("fallout", &mut it.fallout, rules::user);
    v.field("fallout_via", &mut it.fallout_via);
    v.steps("steps", &mut it.steps);
}

fn tariff<V: Visit>(it: &mut Tariff, v: &mut V) {
    v.needed("name", &mut it.name);
    v.checked("currency", &mut it.currency, rules::currency);
    v.field("increments", &mut it.increments);
    let new = || Rate { prefix: String::new(), per_minute: Money::default(), setup: Money::default() };
    v.tables("rates", &mut it.rates, new, |rate, v| {
        v.checked("prefix", &mut rate.prefix, rules::prefix);
        v.field("per_minute", &mut rate.per_minute);
        v.field("setup", &mut rate.setup);
    });
}

fn emergency<V: Visit>(it: &mut Emergency, v: &mut V) {
    v.texts("numbers", &mut it.numbers, rules::emergency);
    v.field::<Vec<Name>>("gateways", &mut it.gateways);
}

fn cnam<V: Visit>(it: &mut Cnam, v: &mut V) {
    v.checked("url", &mut it.url, rules::url);
    v.field("timeout", &mut it.timeout);
}

fn stir<V: Visit>(it: &mut Stir, v: &mut V) {
    v.checked("key", &mut it.key, rules::something);
    v.checked("certificate_url", &mut it.certificate_url, rules::url);
}

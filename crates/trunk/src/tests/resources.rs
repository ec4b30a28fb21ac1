//! Putting and deleting resources: all or nothing, and nothing left pointing at nothing.

use crate::fixture::{Set, gateway, name, number, spec, tenant, trunk};
use crate::resource::{Account, Kind, Resource};
use crate::resources::{ApplyError, Change, DeleteError, Mention, Resources};
use crate::secret::Secret;

fn boxed(trunk: crate::resource::Trunk) -> Resource {
    Resource::Trunk(Box::new(trunk))
}

fn account(password: Secret) -> Account {
    Account { username: "u".into(), password }
}

#[test]
fn an_apply_says_what_it_did_and_repeating_it_changes_nothing() {
    let mut resources = Resources::default();
    let changes =
        |applied: Vec<crate::resources::Applied>| applied.iter().map(|it| it.change).collect::<Vec<_>>();
    let set = || vec![Resource::Number(number("+31201234567", "a")), boxed(trunk("a", "10.0.0.0/24"))];
    assert_eq!(changes(resources.apply(set()).unwrap()), [Change::Created, Change::Created]);
    assert_eq!(changes(resources.apply(set()).unwrap()), [Change::Unchanged, Change::Unchanged]);
    assert_eq!(resources.version, 1);
    let mut wider = trunk("a", "10.0.0.0/24");
    wider.settings.limits.concurrent = Some(30);
    assert_eq!(resources.put(boxed(wider)), Ok(Change::Changed));
    assert_eq!(resources.version, 2);
}

#[test]
fn a_dangling_reference_applies_nothing() {
    let mut resources = Resources::default();
    let by = Mention { kind: Kind::Number, name: "+31201234567".into() };
    let set = vec![Resource::Tenant(tenant("t", "s")), Resource::Number(number("+31201234567", "gone"))];
    assert_eq!(
        resources.apply(set),
        Err(ApplyError::Dangling { by, kind: Kind::Trunk, name: "gone".into() })
    );
    assert_eq!(resources, Resources::default());
}

#[test]
fn a_resource_that_others_name_is_not_deleted() {
    let mut a = trunk("a", "10.0.0.0/24");
    a.tenant = Some(name("t"));
    a.settings.redirect.reauthorize_as = Some(name("a"));
    let mut b = trunk("b", "10.0.1.0/24");
    b.settings.delivery.failover = vec![spec("trunk:a:x")];
    let built =
        Set::new().tenant(tenant("t", "s")).trunk(a).trunk(b).number(number("+31201234567", "a")).build();
    let mut resources = (*built).clone();
    let by = vec![
        Mention { kind: Kind::Trunk, name: "b".into() },
        Mention { kind: Kind::Number, name: "+31201234567".into() },
    ];
    let refused = resources.delete(Kind::Trunk, "a").unwrap_err();
    assert_eq!(refused, DeleteError::Named { kind: Kind::Trunk, name: "a".into(), by });
    assert_eq!(refused.to_string(), "trunk a is named by trunk b, number +31201234567");
    resources.delete(Kind::Trunk, "b").unwrap();
    resources.delete(Kind::Number, "+31201234567").unwrap();
    // What only names itself is in nobody's way.
    resources.delete(Kind::Trunk, "a").unwrap();
    resources.delete(Kind::Tenant, "t").unwrap();
    assert_eq!(resources.version, 5, "one apply and four deletions");
    let unknown = DeleteError::Unknown { kind: Kind::Tenant, name: "t".into() };
    assert_eq!(resources.delete(Kind::Tenant, "t"), Err(unknown));
}

#[test]
fn a_stored_password_is_kept_where_the_apply_says_so() {
    let with = |password: Secret| {
        let mut one = trunk("a", "10.0.0.0/24");
        one.accounts = vec![account(password)];
        boxed(one)
    };
    let mut resources = Resources::default();
    let missing = ApplyError::NoStoredPassword { kind: Kind::Trunk, name: "a".into(), username: "u".into() };
    assert_eq!(resources.put(with(Secret::Keep)), Err(missing));
    resources.put(with(Secret::given("first"))).unwrap();
    assert_eq!(resources.put(with(Secret::Keep)), Ok(Change::Unchanged));
    assert_eq!(resources.trunks["a"].accounts[0].password.reveal(), Some("first"));
    assert_eq!(resources.put(with(Secret::given("second"))), Ok(Change::Changed));
}

#[test]
fn two_trunks_may_not_share_a_username() {
    let with = |text: &str| {
        let mut one = trunk(text, "10.0.0.0/24");
        one.accounts = vec![account(Secret::given("p"))];
        boxed(one)
    };
    let mut resources = Resources::default();
    let shared = ApplyError::SharedUsername { username: "u".into(), first: name("a"), second: name("b") };
    assert_eq!(resources.apply(vec![with("a"), with("b")]), Err(shared));
}

/// What replicated state stores comes back whole, and the look-up tables with it.
#[test]
fn a_stored_snapshot_comes_back_with_its_tables() {
    let mut full = trunk("a", "10.0.0.0/24");
    full.accounts = vec![account(Secret::given("p"))];
    full.settings.delivery.failover = vec![spec("srv:example.net"), spec("number:+31207654321")];
    let resources = Set::new()
        .tenant(tenant("t", "s"))
        .trunk(full)
        .number(number("+31201234567", "a"))
        .gateway(gateway("g", "sip:192.0.2.1", &["+31"]))
        .emergency(&["112"], &["g"])
        .build();
    let stored = serde_json::to_value(&*resources).unwrap();
    // A positional format reads the fields in the order in which they were written: this one.
    let order: Vec<&String> = stored.as_object().unwrap().keys().collect();
    let fields = "version tenants trunks gateways numbers flows tariffs regions emergency cnam stir";
    assert_eq!(order, fields.split(' ').collect::<Vec<_>>());
    let back: Resources = serde_json::from_value(stored).unwrap();
    assert_eq!(back, *resources);
    let party = crate::party::Party::Gateway { name: name("g") };
    assert_eq!(back.plan(&party, "+31201234567", 1), resources.plan(&party, "+31201234567", 1));
    assert!(back.plan(&party, "+31201234567", 1).is_ok());
}

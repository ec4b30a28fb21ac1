//! Who is calling: the contract's seven rules, each with a case where it decides and one where it does not.

use crate::access::{Asked, Identified};
use crate::fixture::{Set, gateway, name, tenant, trunk};
use crate::party::{Party, Transport};
use crate::reject::Reject;
use crate::resource::{Account, Trunk};
use crate::resources::Resources;
use crate::secret::Secret;
use crate::settings::{AuthMethod, OnBadPrefix, parse_network};

struct Call<'a> {
    source: &'a str,
    user: &'a str,
    request_host: &'a str,
    from_host: &'a str,
    username: Option<&'a str>,
    account: Option<&'a str>,
    transport: Transport,
    local_port: u16,
}

const CALL: Call<'static> = Call {
    source: "10.0.0.5:5060",
    user: "+31201234567",
    request_host: "127.0.0.1",
    from_host: "10.0.0.5",
    username: None,
    account: None,
    transport: Transport::Udp,
    local_port: 5060,
};

fn identify(resources: &Resources, call: &Call<'_>) -> Identified {
    let header = |wanted: &str| call.account.filter(|_| wanted == "X-Account");
    resources.identify(&Asked {
        source: call.source.parse().unwrap(),
        transport: call.transport,
        local_port: call.local_port,
        request_user: call.user,
        request_host: call.request_host,
        from_host: call.from_host,
        username: call.username,
        header: &header,
    })
}

/// In one word or two, who it was.
fn who(resources: &Resources, call: &Call<'_>) -> String {
    match identify(resources, call) {
        Identified::Trunk { trunk, strip } => format!("trunk {} {strip}", trunk.name),
        Identified::Gateway { gateway } => format!("gateway {}", gateway.name),
        Identified::Claimed { trunk, account, strip } => format!("claimed {} {account} {strip}", trunk.name),
        Identified::Challenge { candidates } => {
            let names: Vec<&str> = candidates.iter().map(|trunk| trunk.name.as_str()).collect();
            format!("challenge {}", names.join(" "))
        }
        Identified::Refuse(reject) => format!("refuse {}", reject.rule()),
        Identified::Unknown => "unknown".to_owned(),
    }
}

fn with_auth(mut trunk: Trunk, auth: &[AuthMethod]) -> Trunk {
    trunk.settings.access.auth = auth.to_vec();
    trunk
}

fn with_prefix(mut trunk: Trunk, prefix: &str, on_bad: OnBadPrefix) -> Trunk {
    trunk.settings.access.tech_prefix = Some(prefix.to_owned());
    trunk.settings.access.on_bad_prefix = on_bad;
    trunk
}

fn with_account(mut trunk: Trunk, username: &str) -> Trunk {
    trunk.accounts.push(Account { username: username.to_owned(), password: Secret::given("x") });
    trunk
}

const ADDRESS: &[AuthMethod] = &[AuthMethod::Address];
const DIGEST: &[AuthMethod] = &[AuthMethod::Digest];
const PREFIX: &[AuthMethod] = &[AuthMethod::Prefix];

/// EX14: the shared address is accepted on its trunk; the twin comes from another.
#[test]
fn ex14_a_shared_address_is_accepted_and_another_is_not() {
    let resources = Set::new().trunk(with_auth(trunk("a", "10.0.0.0/24"), ADDRESS)).build();
    assert_eq!(who(&resources, &CALL), "trunk a 0");
    assert_eq!(who(&resources, &Call { source: "10.0.1.5:5060", ..CALL }), "unknown");
    // The same address as an IPv4-mapped IPv6 one, as a dual-stack socket reports it.
    assert_eq!(who(&resources, &Call { source: "[::ffff:10.0.0.5]:5060", ..CALL }), "trunk a 0");
}

/// EX16: a port that differs is still matched; the twin's address differs.
#[test]
fn ex16_the_source_port_does_not_matter() {
    let resources = Set::new().trunk(with_auth(trunk("a", "10.0.0.5"), ADDRESS)).build();
    assert_eq!(who(&resources, &Call { source: "10.0.0.5:40001", ..CALL }), "trunk a 0");
    assert_eq!(who(&resources, &Call { source: "10.0.0.6:40001", ..CALL }), "unknown");
}

/// FL11, EX10, KW16: another port or transport of ours does not serve the trunk; the twin has no such rule.
#[test]
fn fl11_ports_and_transports_bound_a_trunk() {
    let mut bound = with_auth(trunk("a", "10.0.0.5"), ADDRESS);
    bound.settings.access.ports = vec![5060];
    bound.settings.access.transports = vec![Transport::Udp];
    let free = with_auth(trunk("a", "10.0.0.5"), ADDRESS);
    for (call, expected) in [
        (Call { ..CALL }, "trunk a 0"),
        (Call { local_port: 5061, ..CALL }, "unknown"),
        (Call { transport: Transport::Tcp, ..CALL }, "unknown"),
    ] {
        assert_eq!(who(&Set::new().trunk(bound.clone()).build(), &call), expected);
        assert_eq!(who(&Set::new().trunk(free.clone()).build(), &call), "trunk a 0");
    }
}

/// FR31: IPv6 is not offered where it is off; the twin has it on.
#[test]
fn fr31_ipv6_is_served_only_where_it_is_on() {
    let mut six = with_auth(trunk("a", "2001:db8::/32"), ADDRESS);
    let call = Call { source: "[2001:db8::5]:5060", ..CALL };
    assert_eq!(who(&Set::new().trunk(six.clone()).build(), &call), "trunk a 0");
    six.settings.access.ipv6 = false;
    assert_eq!(who(&Set::new().trunk(six).build(), &call), "unknown");
}

/// FR7, FR6: the prefix selects the trunk and is stripped, with `*`, `#` and `%23`.
#[test]
fn fr7_the_tech_prefix_selects_the_account_and_is_stripped() {
    let resources = Set::new()
        .trunk(with_prefix(with_auth(trunk("a", "10.0.0.0/24"), PREFIX), "12345678", OnBadPrefix::Challenge))
        .build();
    assert_eq!(who(&resources, &Call { user: "12345678*+12066418000", ..CALL }), "trunk a 9");
    assert_eq!(who(&resources, &Call { user: "12345678#+12066418000", ..CALL }), "trunk a 9");
    assert_eq!(who(&resources, &Call { user: "12345678%23+12066418000", ..CALL }), "trunk a 11");
    // The prefix alone, from elsewhere, proves nothing.
    assert_eq!(
        who(&resources, &Call { user: "12345678*+12066418000", source: "10.9.9.9:1", ..CALL }),
        "unknown"
    );
}

/// FR8: a missing, wrong or short prefix is challenged; the twin refuses it.
#[test]
fn fr8_a_bad_prefix_is_challenged_or_refused_by_profile() {
    let set = |on_bad| {
        let auth = [AuthMethod::Digest, AuthMethod::Prefix];
        Set::new().trunk(with_prefix(with_auth(trunk("a", "10.0.0.0/24"), &auth), "12345678", on_bad)).build()
    };
    let (challenge, reject) = (set(OnBadPrefix::Challenge), set(OnBadPrefix::Reject));
    for user in ["+12066418000", "87654321*+12066418000", "1234567*+12066418000", "12345678+12066418000"] {
        assert_eq!(who(&challenge, &Call { user, ..CALL }), "challenge a", "{user}");
        assert_eq!(who(&reject, &Call { user, ..CALL }), "refuse access.tech_prefix", "{user}");
    }
}

/// FR9: two trunks at one address are told apart by their prefixes; the twin without prefixes can't be.
#[test]
fn fr9_two_trunks_share_an_address_by_prefix() {
    let one = |text: &str, prefix: &str| {
        with_prefix(with_auth(trunk(text, "10.0.0.5"), PREFIX), prefix, OnBadPrefix::Reject)
    };
    let resources = Set::new().trunk(one("a", "11111111")).trunk(one("b", "22222222")).build();
    assert_eq!(who(&resources, &Call { user: "11111111*+12066418000", ..CALL }), "trunk a 9");
    assert_eq!(who(&resources, &Call { user: "22222222*+12066418000", ..CALL }), "trunk b 9");
    assert_eq!(who(&resources, &Call { user: "+12066418000", ..CALL }), "refuse access.tech_prefix");
}

/// EX2, EX3: the account header must be there and agree; the twin does not ask for it.
#[test]
fn ex2_ex3_the_account_header_must_agree() {
    let mut asks = with_auth(trunk("a", "10.0.0.0/24"), ADDRESS);
    asks.tenant = Some(name("easycall"));
    let free = asks.clone();
    asks.settings.access.account_header = Some("X-Account".into());
    let resources = Set::new().tenant(tenant("easycall", "sid-1")).trunk(asks).build();
    let twin = Set::new().tenant(tenant("easycall", "sid-1")).trunk(free).build();
    assert_eq!(who(&resources, &Call { account: Some("sid-1"), ..CALL }), "trunk a 0");
    for account in [None, Some("sid-2")] {
        assert_eq!(who(&twin, &Call { account, ..CALL }), "trunk a 0");
    }
    let header = "X-Account".to_owned();
    let missing = identify(&resources, &CALL);
    assert_eq!(missing, Identified::Refuse(Reject::AccountHeaderMissing { header: header.clone() }));
    let wrong = identify(&resources, &Call { account: Some("sid-2"), ..CALL });
    assert_eq!(wrong, Identified::Refuse(Reject::AccountHeaderMismatch { header }));
}

#[test]
fn the_account_header_tells_trunks_at_one_address_apart() {
    let one = |text: &str, tenant: &str| {
        let mut one = with_auth(trunk(text, "10.0.0.5"), ADDRESS);
        one.tenant = Some(name(tenant));
        one.settings.access.account_header = Some("X-Account".into());
        one
    };
    let resources = Set::new()
        .tenant(tenant("t1", "sid-1"))
        .tenant(tenant("t2", "sid-2"))
        .trunk(one("a", "t1"))
        .trunk(one("b", "t2"))
        .build();
    assert_eq!(who(&resources, &Call { account: Some("sid-2"), ..CALL }), "trunk b 0");
    assert_eq!(who(&resources, &Call { account: Some("sid-3"), ..CALL }), "refuse access.account_header");
}

/// Rule 3 comes before rule 5: a header that agrees decides before the longest network does, for a trunk that may prove itself
/// by its address, from an address that is its own.
#[test]
fn an_account_header_that_agrees_decides_before_the_longest_network() {
    let who_with = |mut wide: Trunk, account| {
        wide.tenant = Some(name("t1"));
        wide.settings.access.account_header = Some("X-Account".into());
        let narrow = with_auth(trunk("b", "10.0.0.5"), ADDRESS);
        let resources = Set::new().tenant(tenant("t1", "sid-1")).trunk(wide).trunk(narrow).build();
        who(&resources, &Call { account, ..CALL })
    };
    let wide = || trunk("a", "10.0.0.0/8");
    assert_eq!(who_with(with_auth(wide(), ADDRESS), Some("sid-1")), "trunk a 0");
    assert_eq!(who_with(with_auth(wide(), ADDRESS), None), "trunk b 0");
    assert_eq!(who_with(with_auth(wide(), DIGEST), Some("sid-1")), "trunk b 0");
    assert_eq!(who_with(with_auth(Trunk::new(name("a")), ADDRESS), Some("sid-1")), "trunk b 0");
}

/// EX18: the From host must be the account's; the twin has no such rule.
#[test]
fn ex18_the_from_domain_must_be_the_accounts() {
    let mut asks = with_auth(trunk("a", "10.0.0.0/24"), ADDRESS);
    asks.tenant = Some(name("easycall"));
    let free = asks.clone();
    asks.settings.access.from_domain = Some("{account_sid}.pstn.example".into());
    let resources = Set::new().tenant(tenant("easycall", "sid-1")).trunk(asks).build();
    assert_eq!(who(&resources, &Call { from_host: "SID-1.pstn.example", ..CALL }), "trunk a 0");
    assert_eq!(
        who(&resources, &Call { from_host: "sid-2.pstn.example", ..CALL }),
        "refuse access.from_domain"
    );
    let twin = Set::new().tenant(tenant("easycall", "sid-1")).trunk(free).build();
    assert_eq!(who(&twin, &Call { from_host: "sid-2.pstn.example", ..CALL }), "trunk a 0");
}

/// FL10: another customer's domain is not served; its own is.
#[test]
fn fl10_another_customers_domain_is_refused() {
    let mut mine = with_auth(trunk("a", "10.0.0.0/24"), ADDRESS);
    mine.tenant = Some(name("mine"));
    let resources =
        Set::new().tenant(tenant("mine", "sid-1")).tenant(tenant("other", "sid-2")).trunk(mine).build();
    assert_eq!(who(&resources, &Call { request_host: "mine.example.net", ..CALL }), "trunk a 0");
    assert_eq!(who(&resources, &Call { request_host: "Other.example.net", ..CALL }), "refuse tenant.domain");
}

#[test]
fn a_gateway_is_known_by_its_target_before_any_network() {
    let pbx = with_auth(trunk("a", "127.0.0.0/8"), ADDRESS);
    let resources = Set::new().trunk(pbx).gateway(gateway("g", "sip:127.0.0.11:5080", &[])).build();
    assert_eq!(who(&resources, &Call { source: "127.0.0.11:5080", ..CALL }), "gateway g");
    // From another port, its target says nothing, and the trunk's network decides.
    assert_eq!(who(&resources, &Call { source: "127.0.0.11:5081", ..CALL }), "trunk a 0");
}

#[test]
fn the_longest_network_decides() {
    let mut carrier = gateway("g", "sip:192.0.2.1", &[]);
    carrier.settings.access.networks = vec![parse_network("10.0.0.0/24").unwrap()];
    let resources = Set::new()
        .trunk(with_auth(trunk("wide", "10.0.0.0/8"), ADDRESS))
        .trunk(with_auth(trunk("one", "10.0.0.5/32"), ADDRESS))
        .gateway(carrier)
        .build();
    assert_eq!(who(&resources, &CALL), "trunk one 0");
    assert_eq!(who(&resources, &Call { source: "10.0.0.6:5060", ..CALL }), "gateway g");
    assert_eq!(who(&resources, &Call { source: "10.0.1.6:5060", ..CALL }), "trunk wide 0");
}

/// A shorter network that asks for less does not take over calls of a longer one that asks for more.
#[test]
fn a_longer_network_that_wants_digest_is_challenged() {
    let strict = with_auth(trunk("strict", "10.0.0.5/32"), DIGEST);
    let wide = with_auth(trunk("wide", "10.0.0.0/8"), ADDRESS);
    let resources = Set::new().trunk(strict).trunk(wide).build();
    assert_eq!(who(&resources, &CALL), "challenge strict");
}

#[test]
fn a_trunk_without_networks_takes_any_source_that_authenticates() {
    let mut open = with_account(Trunk::new(name("open")), "alice");
    open.settings.access.auth = DIGEST.to_vec();
    let resources = Set::new().trunk(open).build();
    assert_eq!(who(&resources, &CALL), "challenge open");
    assert_eq!(who(&resources, &Call { username: Some("alice"), ..CALL }), "claimed open 1 0");
    // Unknown usernames get the same challenge.
    assert_eq!(who(&resources, &Call { username: Some("bob"), ..CALL }), "challenge open");
}

/// An address that nothing bounds proves nothing, whatever `auth` lists.
#[test]
fn a_trunk_without_networks_is_never_known_by_address_or_prefix() {
    let open = with_prefix(Trunk::new(name("open")), "12345678", OnBadPrefix::Challenge);
    assert!(open.access.takes(AuthMethod::Address) && open.access.takes(AuthMethod::Prefix));
    let resources = Set::new().trunk(open).build();
    assert_eq!(who(&resources, &CALL), "challenge open");
    assert_eq!(who(&resources, &Call { user: "12345678*+12066418000", ..CALL }), "challenge open");
}

#[test]
fn a_tech_prefix_counts_only_where_auth_lists_it() {
    let set = |auth: &[AuthMethod]| {
        Set::new()
            .trunk(with_prefix(with_auth(trunk("a", "10.0.0.5"), auth), "12345678", OnBadPrefix::Reject))
            .build()
    };
    let call = Call { user: "12345678*+12066418000", ..CALL };
    assert_eq!(who(&set(PREFIX), &call), "trunk a 9");
    assert_eq!(who(&set(ADDRESS), &call), "trunk a 0");
    assert_eq!(who(&set(DIGEST), &call), "challenge a");
}

/// KW11: credentials from outside the networks count for nothing.
#[test]
fn kw11_credentials_from_elsewhere_are_not_even_claims() {
    let closed = with_account(with_auth(trunk("closed", "10.0.0.0/24"), DIGEST), "alice");
    let resources = Set::new().trunk(closed).build();
    assert_eq!(who(&resources, &Call { username: Some("alice"), ..CALL }), "claimed closed 1 0");
    assert_eq!(
        who(&resources, &Call { username: Some("alice"), source: "10.9.9.9:5060", ..CALL }),
        "unknown"
    );
}

#[test]
fn a_source_that_proves_nothing_is_refused() {
    let mut silent = trunk("a", "10.0.0.0/24");
    silent.settings.access.auth = Vec::new();
    assert_eq!(who(&Set::new().trunk(silent).build(), &CALL), "refuse access.auth");
}

/// FL24: a source that is added is accepted with its next request.
#[test]
fn fl24_an_added_source_is_accepted_at_once() {
    let before = Set::new().trunk(with_auth(trunk("a", "10.0.1.0/24"), ADDRESS)).build();
    assert_eq!(who(&before, &CALL), "unknown");
    let mut after = (*before).clone();
    let mut wider = with_auth(trunk("a", "10.0.1.0/24"), ADDRESS);
    wider.settings.access.networks.push(parse_network("10.0.0.5").unwrap());
    after.put(crate::resource::Resource::Trunk(Box::new(wider))).unwrap();
    assert_eq!(who(&after, &CALL), "trunk a 0");
}

/// EX14, EX15: a host name admits the addresses that DNS gives for it, and no others.
#[test]
fn ex15_a_host_name_admits_what_dns_says() {
    let mut named = with_auth(Trunk::new(name("a")), ADDRESS);
    named.settings.access.hosts = vec!["sbc.example.com".into()];
    let carrier = gateway("g", "sip:carrier.example.com", &[]);
    let resources =
        Set::new().trunk(named).gateway(carrier).gateway(gateway("h", "sip:192.0.2.9", &[])).build();
    assert_eq!(who(&resources, &CALL), "unknown");
    let names = resources.host_names().into_iter().collect::<Vec<_>>();
    assert_eq!(names, ["carrier.example.com", "sbc.example.com"], "those of gateways' targets, too");
    let seen =
        resources.with_hosts([("sbc.example.com".to_owned(), vec!["10.0.0.5".parse().unwrap()])].into());
    assert_eq!(who(&seen, &CALL), "trunk a 0");
    assert_eq!(who(&seen, &Call { source: "10.0.0.6:5060", ..CALL }), "unknown");
}

#[test]
fn a_dialog_admits_its_own_party_from_any_port() {
    let mut named = gateway("g", "sip:127.0.0.11:5080", &[]);
    named.settings.access.networks = vec![parse_network("192.0.2.0/24").unwrap()];
    let resources = Set::new().trunk(with_auth(trunk("a", "10.0.0.0/24"), DIGEST)).gateway(named).build();
    let party = Party::Trunk { name: name("a"), account: None };
    let carrier = Party::Gateway { name: name("g") };
    let admits =
        |party: &Party, source: &str| resources.admits(party, source.parse().unwrap(), Transport::Udp, 5060);
    assert!(admits(&party, "10.0.0.9:1234"));
    assert!(!admits(&party, "10.0.9.9:1234"));
    assert!(admits(&carrier, "192.0.2.7:1234"));
    assert!(admits(&carrier, "127.0.0.11:1234"), "the address that we called");
    assert!(!admits(&carrier, "10.0.0.9:1234"));
    assert!(resources.is_known("10.0.0.9:1".parse().unwrap(), Transport::Udp, 5060));
    assert!(!resources.is_known("10.9.9.9:1".parse().unwrap(), Transport::Udp, 5060));
}

/// Two gateways with one carrier: the account that is called, as we registered it, says which of them calls.
#[test]
fn of_two_gateways_at_one_address_the_one_whose_account_is_called_calls() {
    let with = |text: &str, username: &str, register| {
        let mut gateway = gateway(text, "sip:10.0.0.5:5060", &[]);
        gateway.register = register;
        gateway.accounts.push(Account { username: username.to_owned(), password: Secret::given("x") });
        gateway
    };
    let of =
        |register| Set::new().gateway(with("a", "one", true)).gateway(with("b", "two", register)).build();
    let calls = |user| Call { user, ..CALL };
    assert_eq!(who(&of(true), &calls("two")), "gateway b");
    assert_eq!(who(&of(true), &calls("one")), "gateway a");
    assert_eq!(who(&of(true), &calls("+31201234567")), "gateway a");
    // The twin registers nowhere; and a name proves nothing about where a call comes from.
    assert_eq!(who(&of(false), &calls("two")), "gateway a");
    assert_eq!(who(&of(true), &Call { source: "10.0.0.6:5060", ..calls("two") }), "unknown");
}

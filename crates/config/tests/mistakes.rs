//! What is said about wrong files. Places and hints are counted and written by hand.

use config::{Notation, Passwords, Source, check, read_node, read_resources};

fn sources(text: &str) -> Vec<Source> {
    vec![Source { path: "r.toml".into(), text: text.into() }]
}

#[track_caller]
fn says(text: &str, expected: &[&str]) {
    let found: Vec<String> = check(&sources(text)).problems.iter().map(ToString::to_string).collect();
    assert_eq!(found, expected, "\n{text}");
}

#[test]
fn a_right_file_is_met_with_silence() {
    says("[[tenant]]\nname = \"x\"\n", &[]);
    says("", &[]);
}

#[test]
fn an_unknown_key_is_named_with_its_nearest() {
    says(
        "[[trunk]]\nname = \"x\"\n[trunk.limits]\nconcurent = 30\n",
        &["r.toml:4:1: unknown key `concurent` in [trunk.limits] (did you mean `concurrent`?)"],
    );
    says(
        "[[trunk]]\nname = \"x\"\ntenat = \"y\"\n",
        &["r.toml:3:1: unknown key `tenat` in [trunk] (did you mean `tenant`?)"],
    );
    says(
        "[[trunk]]\nname = \"x\"\n[trunk.acess]\nports = [5060]\n",
        &["r.toml:3:8: unknown key `acess` in [trunk] (did you mean `access`?)"],
    );
    says(
        "[[tenant]]\nname = \"x\"\n[[trnuk]]\nname = \"y\"\n",
        &["r.toml:3:3: unknown key `trnuk` (did you mean `trunk`?)"],
    );
    says(
        "[[tariff]]\nname = \"t\"\ncurrency = \"EUR\"\nrates = [ { prefix = \"+31\", per_min = \"0.01\" } ]\n",
        &["r.toml:4:29: unknown key `per_min` in [tariff.rates] (did you mean `per_minute`?)"],
    );
    // Nothing is near: the nearest is named all the same.
    says(
        "[[tenant]]\nname = \"x\"\nzzzzzz = 1\n",
        &["r.toml:3:1: unknown key `zzzzzz` in [tenant] (the nearest known is `domain`)"],
    );
}

#[test]
fn a_value_of_the_wrong_type_says_what_is_expected() {
    says(
        "[[trunk]]\nname = \"x\"\nlimits = { concurrent = \"30\" }\n",
        &["r.toml:3:25: expected a number, found text (without quotes)"],
    );
    says(
        "[[trunk]]\nname = \"x\"\naccess = { networks = \"10.0.0.0/8\" }\n",
        &["r.toml:3:23: expected a list, found text (in square brackets)"],
    );
    says("[[tenant]]\nname = 5\n", &["r.toml:2:8: expected a name, found a number (in quotes)"]);
    says(
        "[[trunk]]\nname = \"x\"\nmedia = { t38 = \"true\" }\n",
        &["r.toml:3:17: expected true or false, found text (without quotes)"],
    );
    says(
        "[[trunk]]\nname = \"x\"\nlimits = 5\n",
        &["r.toml:3:10: expected a table, found a number ([trunk.limits])"],
    );
    says("trunk = 5\n", &["r.toml:1:9: expected tables, found a number ([[trunk]])"]);
    says(
        "[[trunk]]\nname = \"x\"\nlimits = { concurrent = 2.5 }\n",
        &["r.toml:3:25: expected a number, found a decimal number"],
    );
}

#[test]
fn one_bracket_too_few_is_recognised() {
    says(
        "[trunk]\nname = \"x\"\n",
        &["r.toml:1:2: [trunk] stands for one, and there may be many (write [[trunk]])"],
    );
    says(
        "[[trunk]]\nname = \"x\"\n[trunk.account]\nusername = \"u\"\n",
        &["r.toml:3:1: expected a list of tables, found a table ([[trunk.account]], in two brackets)"],
    );
}

#[test]
fn a_bad_value_says_what_a_good_one_looks_like() {
    let trunk = |line: &str| format!("[[trunk]]\nname = \"x\"\n{line}\n");
    says(
        &trunk("access = { networks = [\"10.0.0.0/8\", \"10.0.0.300\"] }"),
        &["r.toml:3:38: `10.0.0.300` is no network (such as 192.0.2.0/24, 192.0.2.10 or 2001:db8::/32)"],
    );
    says(
        &trunk("access = { networks = [\"10.0.0.1/8\"] }"),
        &["r.toml:3:24: `10.0.0.1/8` has bits set beyond its prefix length (the network is 10.0.0.0/8)"],
    );
    says(
        &trunk("timers = { ring = \"60\" }"),
        &["r.toml:3:19: `60` is no time span (such as 500ms, 10s, 2m or 4h)"],
    );
    says(
        &trunk("access = { transports = [\"upd\"] }"),
        &["r.toml:3:26: `upd` is not `udp`, `tcp` or `tls` (did you mean `udp`?)"],
    );
    says(
        &trunk("delivery = { targets = [\"sip:pbx:99999\"] }"),
        &["r.toml:3:25: `sip:pbx:99999` is no target (a port is a number from 1 to 65535)"],
    );
    says(
        &trunk("delivery = { targets = [\"sip:pbx;transport=sctp\"] }"),
        &["r.toml:3:25: `sip:pbx;transport=sctp` is no target \
           (a transport is udp, tcp or tls, and never udp with `sips:`)"],
    );
    says(
        &trunk("delivery = { targets = [\"acount:1\"] }"),
        &[
            "r.toml:3:25: `acount:1` is no target (a target is `account:N`, `sip:…`, `srv:DOMAIN`, `flow:NAME`, \
           `number:…` or `trunk:NAME:USER`)",
        ],
    );
    says(&trunk("limits = { hairpin = 3 }"), &["r.toml:3:22: hairpin = 3 is not from 1 to 2"]);
    says(&trunk("limits = { concurrent = -1 }"), &["r.toml:3:25: -1 is not from 0 to 4294967295"]);
    says(&trunk("access = { ports = [70000] }"), &["r.toml:3:21: 70000 is not from 0 to 65535"]);
}

#[test]
fn a_value_outside_its_list_or_bounds_says_which_it_may_be() {
    let trunk = |line: &str| format!("[[trunk]]\nname = \"x\"\n{line}\n");
    says(
        &trunk("media = { ports = \"20000-10000\" }"),
        &["r.toml:3:19: `20000-10000` is no range of ports (such as 10000-20000, the lower first)"],
    );
    says(
        &trunk("media = { codecs = [\"PCMX\"] }"),
        &["r.toml:3:21: `PCMX` is no codec that is known here (did you mean `PCMA`?)"],
    );
    says(
        &trunk("access = { tech_prefix = \"1234567\" }"),
        &["r.toml:3:26: `1234567` is no tech prefix (exactly eight digits)"],
    );
    says(
        &trunk("destinations = { allow_countries = [\"XX\"] }"),
        &["r.toml:3:37: `XX` is no country (ISO 3166, two capitals, such as NL)"],
    );
    says(
        &trunk("delivery = { failover_on = [\"5x\"] }"),
        &["r.toml:3:29: not a status or a class of them (such as \"408\" or \"5xx\")"],
    );
    says(
        &trunk("answers = { concurrent = 200 }"),
        &["r.toml:3:26: not a status that refuses a call (400 to 699)"],
    );
    says(
        &trunk("headers = { add = { \"X-Call\" = \"{call.di}\" } }"),
        &["r.toml:3:21: nothing is known as `{call.di}` (did you mean `call.id`?)"],
    );
    says(
        &trunk("access = { account_header = \"Via\" }"),
        &["r.toml:3:29: `Via` belongs to each leg and never passes (no rule is needed)"],
    );
    says(
        &trunk("profile = \"kwebl\""),
        &["r.toml:3:11: `kwebl` is not `exotel`, `flip`, `flowroute`, `generic`, `kwebbl` or `portasip` \
         (did you mean `kwebbl`?)"],
    );
    says(
        &trunk("access = { methods = [\"INVTE\"] }"),
        &["r.toml:3:23: `INVTE` is no method (did you mean `INVITE`?)"],
    );
    says(
        &trunk("timers = { min_se = 1900, session_expires = 1800 }"),
        &["r.toml:3:21: min_se is above session_expires"],
    );
}

#[test]
fn bad_names_and_numbers_are_refused() {
    says(
        "[[tenant]]\nname = \"a b\"\n",
        &[
            "r.toml:2:8: `a b` is no name (a name is a letter or digit, then letters, digits, `.`, `_` or `-`)",
        ],
    );
    says(
        "[[trunk]]\nname = \"x\"\ndelivery = { targets = [\"sip:pbx\"] }\n[[number]]\ne164 = \"0201234567\"\ntrunk = \"x\"\n",
        &["r.toml:5:8: `0201234567` is no number (+ and 3 to 15 digits, such as +31201234567)"],
    );
    says("[[gateway]]\nname = \"g\"\n", &["r.toml:1:1: [gateway] needs `targets`"]);
    says("[[gateway]]\nname = \"g\"\ntargets = []\n", &["r.toml:3:11: a gateway without a target"]);
}

#[test]
fn several_mistakes_are_told_at_once_in_order() {
    says(
        "[[trunk]]\nname = \"x\"\ntenant = \"y\"\n[trunk.access]\nipv6 = 1\nport = [5060]\n[[tenant]]\nnmae = \"z\"\n",
        &[
            "r.toml:3:10: there is no tenant `y` (add a [[tenant]] of this name)",
            "r.toml:5:8: expected true or false, found a number",
            "r.toml:6:1: unknown key `port` in [trunk.access] (did you mean `ports`?)",
            "r.toml:7:1: [tenant] needs `name`",
            "r.toml:8:1: unknown key `nmae` in [tenant] (did you mean `name`?)",
        ],
    );
}

#[test]
fn toml_itself_has_a_place_too() {
    says("[[tenant]]\nname = \"x\"\nname = \"y\"\n", &["r.toml:3:1: duplicate key"]);
    let found = check(&sources("[[tenant]\nname = \"x\"\n"));
    assert!(found.has_errors());
    assert_eq!((found.problems[0].line, found.problems[0].path.as_str()), (1, "r.toml"));
}

#[test]
fn columns_count_characters_not_bytes() {
    // `nmae` is the 32nd character of its line, and the 33rd byte.
    says(
        "tenant = [{ account_sid = \"é\", nmae = \"x\" }]\n",
        &[
            "r.toml:1:11: [tenant] needs `name`",
            "r.toml:1:32: unknown key `nmae` in [tenant] (did you mean `name`?)",
        ],
    );
}

#[test]
fn a_name_used_twice_points_at_the_first() {
    let files = [
        Source { path: "a.toml".into(), text: "[[tenant]]\nname = \"x\"\n".into() },
        Source { path: "b.toml".into(), text: "\n[[tenant]]\nname = \"x\"\n".into() },
    ];
    let found: Vec<String> = check(&files).problems.iter().map(ToString::to_string).collect();
    assert_eq!(found, ["b.toml:3:8: tenant `x` is there twice (first at a.toml:2:8)"]);
    says(
        "[emergency]\nnumbers = [\"112\"]\n[[trunk]]\nname = \"a\"\naccount = [{ username = \"u\", password = \"p\" }]\n\
         [[trunk]]\nname = \"b\"\naccount = [{ username = \"u\", password = \"q\" }]\n",
        &["r.toml:8:12: two accounts have the username `u` (first at r.toml:5:12)"],
    );
}

#[test]
fn a_reference_must_be_met_by_the_set_when_checking() {
    says(
        "[[tenant]]\nname = \"easycall\"\n[[trunk]]\nname = \"x\"\ntenant = \"easycal\"\n",
        &["r.toml:5:10: there is no tenant `easycal` (did you mean `easycall`?)"],
    );
    says(
        "[[trunk]]\nname = \"x\"\n[trunk.delivery]\ntargets = [\"sip:pbx\", \"flow:gone\"]\n",
        &["r.toml:4:23: there is no flow `gone` (add a [[flow]] of this name)"],
    );
    says(
        "[emergency]\nnumbers = [\"112\"]\ngateways = [\"carrier\"]\n",
        &["r.toml:3:13: there is no gateway `carrier` (add a [[gateway]] of this name)"],
    );
}

/// The twin of the test above: when applying, the cluster may have it.
#[test]
fn a_reference_may_be_met_by_the_cluster_when_applying() {
    let text = "[[trunk]]\nname = \"x\"\ntenant = \"easycall\"\n";
    let set = read_resources(&sources(text), Notation::Toml, &Passwords::Refuse).unwrap();
    assert!(set.unresolved(|_, name| name == "easycall").is_empty());
    let missing: Vec<String> = set.unresolved(|_, _| false).iter().map(ToString::to_string).collect();
    assert_eq!(missing, ["r.toml:3:10: there is no tenant `easycall` (add a [[tenant]] of this name)"]);
}

#[test]
fn passwords_have_one_form_each() {
    let account =
        |line: &str| format!("[[trunk]]\nname = \"x\"\n[[trunk.account]]\nusername = \"u\"\n{line}\n");
    says(
        &account(""),
        &["r.toml:3:1: the account has no password (one of password, password_env, password_file)"],
    );
    says(
        &account("password = \"a\"\npassword_env = \"B\""),
        &["r.toml:6:1: the password is given twice (one of password, password_env, password_file)"],
    );
    says(
        &account("password_stored = false"),
        &["r.toml:5:19: password_stored is only ever true (it keeps the stored one)"],
    );
    says(&account("password_env = \"UNSET_HERE\""), &[]);
    let text = account("password_env = \"UNSET_HERE\"");
    let refused = read_resources(&sources(&text), Notation::Toml, &Passwords::Refuse).unwrap_err();
    assert_eq!(
        refused[0].to_string(),
        "r.toml:5:16: password_env is read by `banyan apply`, not by the cluster (send the password itself)"
    );
    let env = |_: &str| None;
    let file = |_: &str| Err("no such file".to_owned());
    let unset = read_resources(&sources(&text), Notation::Toml, &Passwords::Read { env: &env, file: &file });
    assert_eq!(unset.unwrap_err()[0].to_string(), "r.toml:5:16: the variable UNSET_HERE is not set");
}

/// FL4: less than twice the expected peak is warned of; the twin has enough.
#[test]
fn fl4_a_limit_below_twice_the_peak_is_warned_of() {
    let trunk = |limits: &str| format!("[[trunk]]\nname = \"x\"\n[trunk.limits]\n{limits}\n");
    says(
        &trunk("concurrent = 29\nexpected_peak = 15"),
        &["r.toml:4:14: warning: concurrent = 29 is less than twice the expected peak of 15 (30 or more)"],
    );
    says(&trunk("concurrent = 30\nexpected_peak = 15"), &[]);
}

#[test]
fn numbers_without_a_target_are_warned_of() {
    let text = |delivery: &str| {
        format!("[[trunk]]\nname = \"x\"\n{delivery}\n[[number]]\ne164 = \"+31201234567\"\ntrunk = \"x\"\n")
    };
    says(
        &text(""),
        &[
            "r.toml:2:8: warning: calls to its numbers have no target (add [[trunk.account]] or delivery.targets)",
        ],
    );
    says(&text("delivery = { targets = [\"sip:pbx\"] }"), &[]);
}

#[test]
fn trunks_that_an_address_cannot_tell_apart_are_warned_of() {
    let two = |second: &str| {
        format!(
            "[[trunk]]\nname = \"a\"\naccess = {{ networks = [\"10.0.0.0/8\"] }}\n\
             [[trunk]]\nname = \"b\"\naccess = {{ networks = [\"10.0.0.0/8\"]{second} }}\n"
        )
    };
    says(
        &two(""),
        &["r.toml:6:24: warning: 10.0.0.0/8 is also trunk `a`: an address alone can't tell them apart \
           (the other is at r.toml:3:24)"],
    );
    says(&two(", auth = [\"prefix\"], tech_prefix = \"12345678\""), &[]);
}

/// A party that forbids re-INVITEs asks for a floating home; the twins have one, or allow it, or have one node.
#[test]
fn re_invites_forbidden_where_only_they_can_move_a_call_are_warned_of() {
    let cluster = "[cluster]\nsecret_file = \"k\"\npeers = [\"1@a:7000\", \"2@b:7000\", \"3@c:7000\"]\n";
    let home = "[[home]]\nname = \"h\"\naddress = \"192.0.2.10/32\"\n";
    let set = |cluster: &str, home: &str, reinvite: &str| {
        let node = format!("[node]\nid = 1\n{cluster}{home}");
        let trunk = format!("[[trunk]]\nname = \"x\"\n[trunk.media]\nreinvite = \"{reinvite}\"\n");
        let files =
            [Source { path: "n.toml".into(), text: node }, Source { path: "r.toml".into(), text: trunk }];
        check(&files).problems.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        set(cluster, "", "never"),
        ["r.toml:4:12: warning: its calls can't leave node 1 without a re-INVITE, which `never` forbids \
          (add a [[home]] that floats to the node files, or say `failover`)"]
    );
    assert_eq!(set(cluster, "", "failover"), Vec::<String>::new());
    assert_eq!(set(cluster, home, "never"), Vec::<String>::new());
    assert_eq!(set("", "", "never"), Vec::<String>::new());
}

/// EX11: keys travel under TLS alone; the twins say `optional`, or name TLS.
#[test]
fn ex11_media_that_must_be_secured_wants_tls_on_every_way() {
    let gateway = |srtp: &str, target: &str| {
        format!("[[gateway]]\nname = \"g\"\ntargets = [\"{target}\"]\n[gateway.media]\nsrtp = \"{srtp}\"\n")
    };
    let bare = "media must be secured, and this target is not reached over TLS (add ;transport=tls, or say \
        media.srtp = \"optional\")";
    says(&gateway("required", "sip:192.0.2.1"), &[&format!("r.toml:3:12: {bare}")]);
    for target in ["sip:192.0.2.1;transport=tls", "sips:192.0.2.1"] {
        says(&gateway("required", target), &[]);
    }
    says(&gateway("optional", "sip:192.0.2.1"), &[]);
    let trunk = |srtp: &str, mode: &str, transports: &str| {
        format!(
            "[[trunk]]\nname = \"t\"\n[trunk.access]\ntransports = [{transports}]\n\
             [trunk.media]\nmode = \"{mode}\"\nsrtp = \"{srtp}\"\n"
        )
    };
    says(
        &trunk("required", "direct", "\"udp\""),
        &[
            "r.toml:7:8: media that goes from end to end can't be required to be secured (say `anchored`, or `optional`)",
            "r.toml:7:8: keys travel under TLS, which access.transports does not name (add \"tls\" to it, or say `optional`)",
        ],
    );
    says(&trunk("required", "anchored", "\"udp\", \"tls\""), &[]);
    says(&trunk("optional", "direct", "\"udp\""), &[]);
}

/// FL12, EX12: a trunk's ports lie within the node's; the twin's do.
#[test]
fn fl12_ports_outside_the_nodes_are_refused() {
    let set = |ports: &str| {
        let node = "[node]\nid = 1\n[media]\nports = \"10000-20000\"\n";
        let trunk = format!("[[trunk]]\nname = \"x\"\n[trunk.media]\nports = \"{ports}\"\n");
        let files = [
            Source { path: "n.toml".into(), text: node.into() },
            Source { path: "t.toml".into(), text: trunk },
        ];
        check(&files).problems.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        set("10000-40000"),
        [
            "t.toml:4:9: ports 10000-40000 are not within the 10000-20000 of node 1 (widen [media] ports in the node file)"
        ]
    );
    assert_eq!(set("12000-13000"), Vec::<String>::new());
}

#[track_caller]
fn node_says(text: &str, expected: &[&str]) {
    let source = Source { path: "n.toml".into(), text: text.into() };
    let found = match read_node(&source) {
        Ok((_, warnings)) => warnings,
        Err(problems) => problems,
    };
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(found, expected, "\n{text}");
}

#[test]
fn node_files_are_held_to_the_same() {
    node_says("[node]\nid = 1\n", &[]);
    node_says("[node]\nname = \"a\"\n", &["n.toml:1:1: [node] needs `id`"]);
    node_says(
        "[[tenant]]\nname = \"a\"\n",
        &["n.toml:1:1: this is no node file (a node file has [node] with an id)"],
    );
    node_says(
        "[node]\nid = 1\n[sip]\nlisten = [\"udp:127.0.0.1:5060\"]\n",
        &["n.toml:4:11: `udp:127.0.0.1:5060` is no socket (such as udp://127.0.0.1:5060)"],
    );
    node_says(
        "[node]\nid = 1\n[sip]\nlisten = [\"tls://127.0.0.1:5061\"]\n",
        &["n.toml:4:11: tls without a certificate (add [sip.tls] with certificate and key)"],
    );
    node_says(
        "[node]\nid = 1\n[sip]\nlisten = [\"udp://127.0.0.1:5060\", \"udp://127.0.0.1:5060\"]\n",
        &["n.toml:4:35: udp://127.0.0.1:5060 is there twice"],
    );
    node_says(
        "[node]\nid = 1\n[http]\nlisten = \"0.0.0.0:8080\"\n",
        &["n.toml:4:10: the API may not listen beyond loopback without a token (set token_file)"],
    );
    node_says("[node]\nid = 1\n[http]\nlisten = \"0.0.0.0:8080\"\ntoken_file = \"t\"\n", &[]);
    node_says(
        "[node]\nid = 1\n[sip]\nlisten = [\"udp://0.0.0.0:5060\"]\n",
        &["n.toml:4:11: 0.0.0.0 is no address that a peer can send to (set advertise)"],
    );
    node_says(
        "[node]\nid = 4\n[cluster]\nlisten = \"127.0.0.1:7000\"\npeers = [\"1@127.0.0.1:7000\"]\nsecret_file = \"k\"\n",
        &["n.toml:5:9: node 4 is not among its own peers"],
    );
    node_says(
        "[node]\nid = 1\n[[home]]\nname = \"h\"\naddress = \"192.0.2.10/32\"\nnodes = [1]\n",
        &[
            "n.toml:3:1: warning: home `h` can be held by one node alone, and dies with it (list at least two)",
        ],
    );
    node_says(
        "[node]\nid = 1\n[[home]]\nname = \"h\"\naddress = \"192.0.2.0/24\"\n",
        &["n.toml:3:1: home `h` must be one address (such as 192.0.2.0/32)"],
    );
    node_says(
        "[node]\nid = 1\n[log]\nformat = \"jason\"\n",
        &["n.toml:4:10: `jason` is not `text` or `json` (did you mean `json`?)"],
    );
    node_says(
        "[node]\nid = 1\n[[trunk]]\nname = \"x\"\n",
        &["n.toml:3:3: `trunk` belongs into a resource file (which has no [node])"],
    );
}

#[test]
fn members_of_a_cluster_are_held_to_reason() {
    let cluster = |lines: &str| {
        format!("[node]\nid = 1\n[cluster]\nlisten = \"127.0.0.1:7000\"\nsecret_file = \"k\"\n{lines}\n")
    };
    node_says(&cluster(""), &[]);
    node_says(
        &cluster("peers = [\"1@127.0.0.1:7000\", \"2@127.0.0.1:7001\", \"3@node-3.example:7002\"]"),
        &[],
    );
    node_says(
        &cluster("peers = [\"1@127.0.0.1:7000\", \"2@127.0.0.1\", \"3@:7\"]"),
        &[
            "n.toml:6:30: `2@127.0.0.1` is no node and address (such as 1@127.0.0.1:7000)",
            "n.toml:6:45: `3@:7` is no node and address (such as 1@127.0.0.1:7000)",
        ],
    );
    node_says(
        &cluster(
            "peers = [\"1@127.0.0.1:7000\", \"1@127.0.0.1:7001\", \"3@127.0.0.1:7000\", \"0@127.0.0.1:7003\"]",
        ),
        &[
            "n.toml:6:30: node 1 is there twice",
            "n.toml:6:50: nodes 1 and 3 have one address (each process has its own)",
            "n.toml:6:70: id 0 is none (1 or more)",
        ],
    );
    node_says(
        &cluster("peers = [\"1@127.0.0.1:7000\", \"2@127.0.0.1:7001\"]"),
        &["n.toml:6:9: warning: two nodes can do nothing without each other (three survive the loss of one)"],
    );
    node_says(
        &cluster("peers = [\"1@127.0.0.1:7009\", \"2@127.0.0.1:7001\", \"3@127.0.0.1:7002\"]"),
        &["n.toml:6:10: warning: node 1 listens on 127.0.0.1:7000, and is to be dialled here \
           (the same, unless addresses are translated)"],
    );
    node_says(
        &cluster("detect = \"99ms\""),
        &["n.toml:6:10: detect is not from 100ms to 1m (500ms where the network is calm)"],
    );
    node_says(&cluster("detect = \"100ms\"\non_quorum_loss = \"keep\""), &[]);
    node_says(
        &cluster("detect = 500\non_quorum_loss = \"deaf\"\nsecret_fle = \"k\""),
        &[
            "n.toml:6:10: expected a time span, found a number (in quotes)",
            "n.toml:7:18: `deaf` is not `mute` or `keep`",
            "n.toml:8:1: unknown key `secret_fle` in [cluster] (did you mean `secret_file`?)",
        ],
    );
    node_says(
        "[node]\nid = 1\n[cluster]\nlisten = \"127.0.0.1:0\"\nsecret_file = \"k\"\n",
        &["n.toml:4:10: port 0 is none (1 to 65535)"],
    );
}

#[test]
fn nodes_prove_who_they_are_in_one_way() {
    let cluster = |lines: &str| format!("[node]\nid = 1\n[cluster]\n{lines}\n");
    let hint = "(set secret_file, or certificate, key and ca)";
    node_says(&cluster("secret_file = \"k\""), &[]);
    node_says(&cluster("certificate = \"c\"\nkey = \"k\"\nca = \"a\""), &[]);
    node_says(&cluster(""), &[&format!("n.toml:3:1: nodes must know each other {hint}")]);
    node_says(&cluster("key = \"k\""), &[&format!("n.toml:4:7: key without certificate and ca {hint}")]);
    node_says(
        &cluster("certificate = \"c\"\nkey = \"k\""),
        &[&format!("n.toml:4:15: certificate without ca {hint}")],
    );
    node_says(
        &cluster("secret_file = \"k\"\nca = \"a\""),
        &["n.toml:5:6: ca beside secret_file (one or the other)"],
    );
}

#[test]
fn homes_are_held_to_reason() {
    let home = |lines: &str| {
        format!("[node]\nid = 1\n[[home]]\nname = \"h\"\naddress = \"192.0.2.10/32\"\n{lines}\n")
    };
    node_says(
        &home("nodes = [1, 2]\nsip = [\"udp:5060\", \"tcp:5060\"]\nmedia_ports = \"10000-20000\""),
        &[],
    );
    node_says(
        &home("nodes = [1, 1]"),
        &[
            "n.toml:3:1: warning: home `h` can be held by one node alone, and dies with it (list at least two)",
        ],
    );
    node_says(&home("nodes = [1, 0]"), &["n.toml:6:13: id 0 is none (1 or more)"]);
    node_says(&home("sip = []"), &["n.toml:6:7: home `h` has no port (udp:5060)"]);
    node_says(
        &home("sip = [\"udp:5060\", \"udp\", \"udp:0\"]"),
        &[
            "n.toml:6:20: `udp` is no transport and port (such as udp:5060)",
            "n.toml:6:27: `udp:0` is no transport and port (such as udp:5060)",
        ],
    );
    node_says(
        &home("sip = [\"udp:5060\", \"udp:5060\", \"tcp:5060\", \"tls:5060\"]"),
        &[
            "n.toml:6:20: udp:5060 is there twice",
            "n.toml:6:44: tcp and tls can't share port 5060",
            "n.toml:6:44: tls without a certificate (add [sip.tls] with certificate and key)",
        ],
    );
    node_says(&home("media_ports = \"10000-10002\""), &["n.toml:6:15: a call needs four ports"]);
    node_says(
        &home("interface = \"eth0\"\nhook = \"move-it\""),
        &["n.toml:3:1: home `h` has both an interface and a hook"],
    );
    node_says(
        &home("[[home]]\nname = \"i\"\naddress = \"192.0.2.10/32\""),
        &["n.toml:6:1: home `i` and home `h` are the same"],
    );
    node_says(
        &home(
            "[cluster]\nsecret_file = \"k\"\npeers = [\"1@127.0.0.1:7000\"]\n[[home]]\nname = \"i\"\naddress = \"192.0.2.11\"\nnodes = [1, 2]",
        ),
        &["n.toml:12:13: warning: node 2 is not among the peers (fine if it joins later)"],
    );
    node_says(
        &home("[sip]\nlisten = [\"udp://192.0.2.10:5060\"]"),
        &["n.toml:3:1: warning: udp://192.0.2.10:5060 is also in [sip] listen \
           (a home has its sockets where it is held; take it out of listen)"],
    );
    node_says(
        "[node]\nid = 1\n[[home]]\nname = \"h\"\naddress = \"0.0.0.0/32\"\n",
        &["n.toml:5:11: 0.0.0.0 is no address that a peer can send to"],
    );
    node_says("[node]\nid = 1\n[[home]]\nname = \"h\"\n", &["n.toml:3:1: [home] needs `address`"]);
}

/// FL12: a trunk's ports lie within every home's too; the twin's do.
#[test]
fn fl12_ports_outside_a_homes_are_refused() {
    let set = |home: &str| {
        let node = format!(
            "[node]\nid = 1\n[media]\nports = \"10000-40000\"\n[[home]]\nname = \"h\"\naddress = \"192.0.2.10/32\"\n{home}\n"
        );
        let trunk = "[[trunk]]\nname = \"x\"\n[trunk.media]\nports = \"20000-30000\"\n";
        let files = [
            Source { path: "n.toml".into(), text: node },
            Source { path: "t.toml".into(), text: trunk.into() },
        ];
        check(&files).problems.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        set(""),
        [
            "t.toml:4:9: ports 20000-30000 are not within the 10000-20000 of home `h` (widen its media_ports in the node file)"
        ]
    );
    assert_eq!(set("media_ports = \"10000-40000\""), Vec::<String>::new());
}

#[test]
fn node_files_of_one_cluster_must_agree() {
    let file = |id: u64, detect: &str, peers: &str, home: &str| {
        format!(
            "[node]\nid = {id}\n[cluster]\nsecret_file = \"k\"\ndetect = \"{detect}\"\n\
             peers = [\"1@a.example:7000\", \"2@b.example:7000\", \"{peers}\"]\n\
             [[home]]\nname = \"h\"\naddress = \"{home}/32\"\n"
        )
    };
    let set = |second: String| {
        let first = file(1, "500ms", "3@c.example:7000", "192.0.2.10");
        let files =
            [Source { path: "a.toml".into(), text: first }, Source { path: "b.toml".into(), text: second }];
        check(&files).problems.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(set(file(2, "500ms", "3@c.example:7000", "192.0.2.10")), Vec::<String>::new());
    assert_eq!(
        set(file(1, "500ms", "3@c.example:7000", "192.0.2.10")),
        ["b.toml:2:6: node 1 is there twice (first at a.toml:2:6)"]
    );
    assert_eq!(
        set(file(2, "1s", "4@d.example:7000", "192.0.2.11")),
        [
            "b.toml:5:10: its detect is not that of node 1 (leases are safe only if all agree)",
            "b.toml:6:9: warning: its peers are not those of node 1",
            "b.toml:7:3: its homes are not those of node 1 (the same [[home]] list belongs into every node's file)",
        ]
    );
}

/// I-39: what is read of a password is not in what is printed of it.
#[test]
fn i39_no_password_is_in_what_is_printed_of_a_set() {
    let text = "[[trunk]]\nname = \"x\"\naccount = [{ username = \"u\", password = \"canary\" }]\n";
    let checked = check(&sources(text));
    assert_eq!(checked.resources.len(), 1);
    assert!(!format!("{checked:?}").contains("canary"));
}

#[test]
fn a_node_table_in_a_resource_file_is_sent_where_it_belongs() {
    says("[sip]\nlisten = []\n", &["r.toml:1:2: `sip` belongs into a node file (which has [node])"]);
    let node = "[node]\nid = 1\n";
    let refused = read_resources(&sources(node), Notation::Toml, &Passwords::Refuse).unwrap_err();
    assert_eq!(refused[0].to_string(), "r.toml:1:2: a node file can't be applied (only resources can)");
}

#[test]
fn json_is_read_with_the_same_places() {
    let read = |text: &str| {
        let files = [Source { path: "body".into(), text: text.into() }];
        let read = read_resources(&files, Notation::Json, &Passwords::Refuse);
        read.map(|set| set.resources.len())
            .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(read("{\"tenant\": [{\"name\": \"x\", \"domain\": null}]}"), Ok(1));
    assert_eq!(
        read("{\"tenant\": [\n  {\"name\": \"x\", \"domian\": \"y\"}]}"),
        Err(vec!["body:2:17: unknown key `domian` in [tenant] (did you mean `domain`?)".to_owned()])
    );
    assert_eq!(read("{\"tenant\": "), Err(vec!["body:1:12: expected a value".to_owned()]));
    assert_eq!(read("{} {}"), Err(vec!["body:1:4: nothing may follow the document".to_owned()]));
    assert_eq!(read("{\"a\": \"\\ud800\"}"), Err(vec!["body:1:8: no such character".to_owned()]));
    let deep = "[".repeat(100_000);
    assert_eq!(read(&deep), Err(vec!["body:1:34: nested too deeply".to_owned()]));
}

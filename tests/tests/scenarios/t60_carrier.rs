//! Three nodes that register with a carrier, which is Debian's Kamailio: from two of them, one binding each, and again
//! when one of the two dies and when the carrier forgets everything.

use std::time::Duration;

use peer::Mix;
use peer::load::{LoadArgs, run};
use serde_json::Value;
use tests::carrier::Carrier;
use tests::length;
use tests::trio::{Setup, Trio, items};
use tests::wait;

const NUMBERS: [&str; 2] = ["+31201110001", "+31201110002"];
const FAR_NUMBER: &str = "+493012345678";
const CARRIER: u8 = 30;
const FAR: u8 = 31;
const PSTN: u8 = 32;
const DESK: u8 = 21;
const PATIENCE: Duration = Duration::from_secs(20);

fn resources(trio: &Trio, register: bool) -> String {
    let (carrier, desk) = (trio.peer(CARRIER), trio.peer(DESK));
    let numbers = NUMBERS.map(|number| format!("[[number]]\ne164 = \"{number}\"\ntrunk = \"desk\"\n"));
    format!(
        "[[gateway]]\nname = \"carrier\"\ntargets = [\"sip:{carrier}\"]\nnetworks = [\"{}/32\"]\n\
         register = {register}\n\
         account = [{{ username = \"acct-1\", password = \"canary-7\" }}, \
         {{ username = \"acct-2\", password = \"canary-7\" }}]\n\
         [gateway.media]\nmode = \"direct\"\n\n\
         [[trunk]]\nname = \"desk\"\ncaller_ids = [\"{}\"]\ndefault_caller_id = \"{}\"\n\
         [trunk.access]\nnetworks = [\"{}/32\"]\nauth = [\"address\"]\n[trunk.media]\nmode = \"direct\"\n\
         [trunk.delivery]\ntargets = [\"sip:{desk}\"]\n\n{}",
        carrier.ip(),
        NUMBERS[0],
        NUMBERS[0],
        desk.ip(),
        numbers.concat()
    )
}

/// A second's patience on a machine that others use; the default's half under `prove`.
fn setup(homes: u8) -> Setup {
    Setup { homes, detect: length(Duration::from_secs(1), Duration::from_millis(500)), ..Setup::default() }
}

/// Our registrations with the carrier, as a running node knows them.
fn ours(trio: &Trio) -> Vec<Value> {
    let node = trio.running().next().expect("a node runs");
    items(node, "registrations").into_iter().filter(|it| it["direction"] == "out").collect()
}

/// Whether both accounts are registered, from two nodes that run.
fn are_both_there(trio: &Trio) -> bool {
    let ours = ours(trio);
    let runs = |it: &Value| trio.running().any(|node| Some(u64::from(node.id())) == it["node"].as_u64());
    ours.len() == 2
        && ours.iter().all(|it| it["state"] == "registered" && runs(it))
        && ours[0]["node"] != ours[1]["node"]
}

fn node_of(trio: &Trio, account: &str) -> u8 {
    let row = ours(trio).into_iter().find(|it| it["name"] == account).expect("the account is known");
    u8::try_from(row["node"].as_u64().expect("a node makes it")).expect("a small number")
}

/// A call to each of our numbers, each by another account, and two by way of the carrier to the world.
fn assert_calls_both_ways(trio: &Trio, carrier: &Carrier) {
    let mix = Mix { answer: Duration::from_millis(50), hold: Duration::from_millis(200), ..Mix::default() };
    let calls = |to: &str, calls, target, from, at| LoadArgs {
        callee_listen: Some(trio.peer(at)),
        to: to.to_owned(),
        calls,
        rate: 20.0,
        mix: mix.clone(),
        ..LoadArgs::new(target, trio.peer(from))
    };
    let node = trio.running().next().expect("a node runs").sip();
    let all = [
        calls(NUMBERS[0], 1, trio.peer(CARRIER), PSTN, DESK),
        calls(NUMBERS[1], 1, trio.peer(CARRIER), PSTN, DESK),
        calls(FAR_NUMBER, 2, node, DESK, FAR),
    ];
    for args in all {
        let report = run(&args).expect("the calls can be made");
        assert_eq!(report.completed, args.calls, "{}: {:?}\n{}", args.to, report.failed, carrier.tail());
    }
}

/// Waits until the carrier has taken these accounts anew since it had taken so many; gives how long it took.
fn until_bound(carrier: &Carrier, since: usize, accounts: &[&str]) -> Duration {
    let begun = wait::now();
    wait::until("the carrier has them again", PATIENCE, || {
        let bound = carrier.bound();
        let fresh = bound.get(since..).unwrap_or_default();
        accounts.iter().all(|account| fresh.iter().any(|it| it.account == *account))
    });
    begun.elapsed()
}

fn assert_one_binding_each(carrier: &Carrier) {
    let bound = carrier.bound();
    assert!(bound.iter().all(|it| it.count == 1), "{bound:?}\n{}", carrier.tail());
}

/// Two registrations from two nodes; one of the two dies; the carrier restarts.
#[test]
fn two_registrations_from_two_nodes_outlive_a_node_and_the_carriers_memory() {
    let mut trio = Trio::start(&setup(3), |trio| resources(trio, false));
    let mut carrier = Carrier::start(trio.peer(CARRIER), trio.peer(PSTN), trio.peer(FAR));
    // The twin: without `register` nobody asks.
    wait::pass(Duration::from_millis(600));
    assert_eq!((carrier.asked(), ours(&trio).len()), (0, 0));
    trio.node(1).apply(&resources(&trio, true));
    wait::until("both are there", PATIENCE, || are_both_there(&trio));
    let from: Vec<String> = carrier.bound().into_iter().map(|it| it.from).collect();
    assert!(from.len() == 2 && from[0] != from[1], "{from:?}");
    assert_calls_both_ways(&trio, &carrier);

    let dies = node_of(&trio, "acct-1");
    let (asked, since) = (carrier.asked(), carrier.bound().len());
    trio.node_mut(dies).kill();
    let took = until_bound(&carrier, since, &["acct-1"]);
    println!("node {dies} killed: its registration is there again after {took:?}");
    assert!(took < length(Duration::from_secs(5), Duration::from_secs(2)), "{took:?}");
    wait::until("both are there, from two nodes", PATIENCE, || are_both_there(&trio));
    let storm = carrier.asked() - asked;
    // Each is asked for twice, for its digest; a refresh of the other may fall into this.
    assert!(storm <= 8, "{storm} REGISTERs");
    assert_one_binding_each(&carrier);
    assert_calls_both_ways(&trio, &carrier);

    carrier.down();
    let (asked, since) = (carrier.asked(), carrier.bound().len());
    carrier.up();
    let took = until_bound(&carrier, since, &["acct-1", "acct-2"]);
    println!("the carrier restarted: both are there again after {took:?}");
    assert!(carrier.asked() - asked <= 8, "{} REGISTERs", carrier.asked() - asked);
    assert_calls_both_ways(&trio, &carrier);

    // Nobody wants them any more: both are taken away.
    trio.running().next().expect("a node runs").apply(&resources(&trio, false));
    wait::until("nothing is registered", PATIENCE, || ours(&trio).is_empty());
    trio.assert_no_panic();
}

/// Each node's own address: the Contact is another after its death, and takes the place of the former.
#[test]
fn a_registration_from_a_dead_nodes_own_address_is_replaced_and_not_joined() {
    let mut trio = Trio::start(&setup(0), |trio| resources(trio, true));
    let carrier = Carrier::start(trio.peer(CARRIER), trio.peer(PSTN), trio.peer(FAR));
    wait::until("both are there", PATIENCE, || are_both_there(&trio));
    let (dies, stays) = (node_of(&trio, "acct-2"), node_of(&trio, "acct-1"));
    let since = carrier.bound().len();
    trio.node_mut(dies).kill();
    until_bound(&carrier, since, &["acct-2"]);
    wait::until("both are there, from two nodes", PATIENCE, || are_both_there(&trio));
    // The other had no reason to move.
    assert_eq!(node_of(&trio, "acct-1"), stays);
    assert_one_binding_each(&carrier);
    assert_calls_both_ways(&trio, &carrier);
    trio.assert_no_panic();
}

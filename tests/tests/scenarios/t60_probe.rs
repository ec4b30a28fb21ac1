//! Three nodes and two carriers, both Debian's Kamailio, that are asked by OPTIONS: calls leave by the first while it
//! answers, by the second at once when it does not, and by the first again when it does; whichever node asks.

use std::time::Duration;

use peer::Mix;
use peer::load::{LoadArgs, run};
use serde_json::Value;
use tests::carrier::Carrier;
use tests::http;
use tests::trio::{Setup, Trio};
use tests::wait;

const FAR_NUMBER: &str = "+493012345678";
const FIRST: u8 = 30;
const SECOND: u8 = 31;
const FAR: u8 = 32;
const PSTN: u8 = 33;
const DESK: u8 = 21;
const PATIENCE: Duration = Duration::from_secs(10);

fn resources(trio: &Trio, interval: &str) -> String {
    let gateway = |name: &str, at: u8, priority: u8| {
        format!(
            "[[gateway]]\nname = \"{name}\"\ntargets = [\"sip:{}\"]\npriority = {priority}\n\
             account = [{{ username = \"acct-1\", password = \"canary-7\" }}]\n\
             [gateway.probe]\ninterval = \"{interval}\"\ndown_after = 3\nup_after = 2\n\
             [gateway.timers]\nno_response = \"500ms\"\n[gateway.media]\nmode = \"direct\"\n\n",
            trio.peer(at)
        )
    };
    format!(
        "{}{}[[trunk]]\nname = \"desk\"\ncaller_ids = [\"+31201110001\"]\ndefault_caller_id = \"+31201110001\"\n\
         [trunk.access]\nnetworks = [\"{}/32\"]\nauth = [\"address\"]\n[trunk.media]\nmode = \"direct\"\n",
        gateway("first", FIRST, 10),
        gateway("second", SECOND, 20),
        trio.peer(DESK).ip()
    )
}

/// A call by way of a node; gives the gateways that it tried.
fn call(trio: &Trio, by: u8) -> Vec<String> {
    let mix = Mix { answer: Duration::from_millis(20), hold: Duration::from_millis(100), ..Mix::default() };
    let args = LoadArgs {
        callee_listen: Some(trio.peer(FAR)),
        to: FAR_NUMBER.to_owned(),
        calls: 1,
        mix,
        ..LoadArgs::new(trio.node(by).sip(), trio.peer(DESK))
    };
    let made = trio.node(by).cdrs().len();
    let report = run(&args).expect("the call can be made");
    assert_eq!(report.completed, 1, "{:?}", report.failed);
    let records = trio.node(by).settle(made + 1);
    let newest = records.iter().max_by_key(|it| it.time_ms("started_at")).expect("there is one");
    let attempts = newest.0["attempts"].as_array().expect("it tried something");
    let mut tried: Vec<String> =
        attempts.iter().map(|it| it["target"].as_str().unwrap_or_default().to_owned()).collect();
    tried.dedup();
    tried
}

/// Waits until every running node knows that so many targets are down.
fn until_down(trio: &Trio, targets: u8) -> Duration {
    let begun = wait::now();
    wait::until("every node knows", PATIENCE, || {
        trio.running().all(|node| node.metric("banyan_targets_down") == Some(f64::from(targets)))
    });
    begun.elapsed()
}

/// How a gateway's only target is, as `describe` says.
fn health(trio: &Trio, gateway: &str) -> Value {
    let node = trio.running().next().expect("a node runs");
    let answer =
        http::get(node.http(), &format!("/v1/gateways/{gateway}?describe=true")).expect("it answers");
    serde_json::from_str::<Value>(&answer.body).expect("JSON")["health"][0].take()
}

/// KW27, KW3, I-24: down, up, and down again as another node finds.
#[test]
fn kw27_a_carrier_that_does_not_answer_options_gets_calls_when_it_answers_again() {
    let mut trio = Trio::start(&Setup::default(), |trio| resources(trio, "0s"));
    let mut first = Carrier::start(trio.peer(FIRST), trio.peer(PSTN), trio.peer(FAR));
    let _second = Carrier::start(trio.peer(SECOND), trio.peer(PSTN), trio.peer(FAR));
    let (a, b) = (format!("sip:{}", trio.peer(FIRST)), format!("sip:{}", trio.peer(SECOND)));
    let leads = |tried: Vec<String>, to: &[&String]| {
        let is = |(tried, to): (&String, &&String)| tried.contains(to.trim_start_matches("sip:"));
        assert!(tried.len() == to.len() && tried.iter().zip(to).all(is), "{tried:?} is not {to:?}");
    };
    // The twin: who is not asked is never down, and every call tries it first.
    first.down();
    leads(call(&trio, 1), &[&a, &b]);
    assert_eq!(health(&trio, "first")["state"], "unwatched");
    trio.node(1).apply(&resources(&trio, "400ms"));
    println!("down after {:?}", until_down(&trio, 1));
    for by in 1..=3 {
        leads(call(&trio, by), &[&b]);
    }
    let asked = health(&trio, "first");
    assert_eq!((&asked["state"], asked["status"].as_u64()), (&Value::from("down"), Some(408)));
    first.up();
    println!("up after {:?}", until_down(&trio, 0));
    leads(call(&trio, 2), &[&a]);

    // Whoever takes over neither forgets nor invents.
    let watcher =
        u8::try_from(health(&trio, "first")["node"].as_u64().expect("a node asks")).expect("its id");
    trio.node_mut(watcher).kill();
    wait::until("another node asks", PATIENCE, || {
        health(&trio, "first")["node"].as_u64().is_some_and(|node| node != u64::from(watcher))
    });
    wait::pass(Duration::from_millis(1_500));
    until_down(&trio, 0);
    let downs: usize = trio.nodes.iter().map(|node| node.log().matches("the target is down").count()).sum();
    assert_eq!(downs, 1, "only the carrier that was down");
    first.down();
    println!("down again after {:?}", until_down(&trio, 1));
    let survivor = trio.running().next().expect("a node runs").id();
    leads(call(&trio, survivor), &[&b]);
    trio.assert_no_panic();
}

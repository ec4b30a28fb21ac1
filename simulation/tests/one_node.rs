//! A caller, one whole node and a callee talk in virtual time; the same seed gives the same trace.
//!
//! One test in this file, for the seed is the process's.

use std::net::SocketAddr;
use std::time::Duration;

use call::NodeId;
use machine::Instant;
use node::{Node, NodeConfig, NodeHandle};
use peer::{
    Agent, Destination, Endpoint, Event, Flow, Local, Mix, NoMedia, Outcome, Output, Transport, Violation,
};
use simulation::{Life, MemDisk, World, interpose};
use trunk::{Gateway, Name, Resource, SipTarget, Trunk};

const NODE: &str = "10.0.0.1:5060";
const CALLER: &str = "10.0.1.1:5060";
const CALLEE: &str = "10.0.2.1:5060";
const CALLS: usize = 20;

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn config() -> NodeConfig {
    NodeConfig {
        id: NodeId(1),
        name: "a".into(),
        listen: vec![(trunk::Transport::Udp, at(NODE))],
        advertise: None,
        domain: "sim.example".into(),
        reject_unknown_sources: false,
        media: at(NODE).ip(),
        media_advertise: None,
        media_ports: 10_000..=12_000,
        media_rest: Duration::from_secs(1),
        times: transaction::Times::default(),
        pace: cluster::Pace::default(),
        streams: transport::StreamLimits::default(),
        tls: None,
        floating: Vec::new(),
        cluster: None,
        supports: cluster::APPLY_VERSION,
    }
}

fn resources() -> Vec<Resource> {
    let mut pbx = Trunk::new(Name::new("pbx").expect("a name"));
    pbx.settings.access.networks = vec!["10.0.1.0/24".parse().expect("a network")];
    let mut carrier = Gateway::new(Name::new("carrier").expect("a name"));
    carrier.targets = vec![SipTarget::parse("sip:10.0.2.1:5060").expect("a target")];
    vec![Resource::Trunk(Box::new(pbx)), Resource::Gateway(Box::new(carrier))]
}

/// What became of the calls, by the peers' own account.
#[derive(Default)]
struct Tally {
    ended: Vec<Outcome>,
    /// Messages that belong to no call.
    strays: Vec<Violation>,
}

async fn peer(
    peers: peer::World,
    address: &'static str,
    rng: machine::Rng,
    places: usize,
    until: Instant,
) -> Tally {
    let local = Local::new(Transport::Udp, at(address), 1, true);
    let mix = Mix { hold: Duration::from_secs(3), ..Mix::default() };
    let agent = Agent::new(local, mix, rng, Box::new(NoMedia(at(address))));
    let mut endpoints = [Endpoint::open(&peers, Transport::Udp, at(address), agent).expect("a free address")];
    let mut tally = Tally::default();
    let mut sink = |_: Instant, output: Output| match output {
        Output::Event { event: Event::Ended(outcome), .. } => tally.ended.push(outcome),
        Output::Stray(violation) => tally.strays.push(violation),
        _ => {}
    };
    for call in 0..places {
        let due = Instant::ZERO + Duration::from_millis(500 + 100 * call as u64);
        peer::drive(&peers, &mut endpoints, due, &mut sink).await.expect("the sockets work");
        let destination = Destination {
            flow: Flow::Datagram(at(NODE)),
            uri: "sip:+31301111111@10.0.0.1:5060".into(),
            user: "+31201234567".into(),
        };
        for endpoint in &mut endpoints {
            endpoint.agent().place(due, due, destination.clone());
        }
    }
    peer::drive(&peers, &mut endpoints, until, &mut sink).await.expect("the sockets work");
    tally
}

async fn start(world: &mut World) -> NodeHandle {
    let disk = MemDisk::default();
    let node =
        Node::start(world.node(&Life::new(1, 1), &disk, None), config()).await.expect("the node starts");
    node.cluster().put(resources()).await.expect("not fenced off").expect("good resources");
    node
}

/// One run: the trace, and what the peers and the node say of it.
fn run(seed: u64) -> (String, Tally, usize, usize) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut world = World::new(seed);
        let node = start(&mut world).await;
        let until = Instant::ZERO + Duration::from_secs(20);
        let callee = peer(world.peers(), CALLEE, world.rng(), 0, until);
        let caller = peer(world.peers(), CALLER, world.rng(), CALLS, until);
        let (mut tally, other) = tokio::join!(biased; callee, caller);
        tally.ended.extend(other.ended);
        tally.strays.extend(other.strays);
        let cdrs = node.cluster().read(|state| state.cdrs_made()) as usize;
        let left = node.calls();
        (world.trace.text(), tally, cdrs, left)
    })
}

#[test]
fn a_caller_a_node_and_a_callee_talk_in_virtual_time_twice_the_same() {
    interpose(42);
    let (first, tally, cdrs, left) = run(42);
    assert_eq!(tally.ended.len(), 2 * CALLS, "both ends of each call ended");
    assert!(tally.ended.iter().all(|outcome| *outcome == Outcome::Completed), "{:?}", tally.ended);
    assert!(tally.strays.is_empty(), "{:?}", tally.strays);
    assert_eq!((cdrs, left), (CALLS, 0));
    assert!(first.contains("INVITE sip:+31301111111@10.0.2.1:5060"), "the callee was asked");
    let (again, ..) = run(42);
    let differs = first.lines().zip(again.lines()).position(|(a, b)| a != b);
    assert_eq!(differs, None, "line of the first difference");
    assert_eq!(first.len(), again.len());
    let (other, ..) = run(43);
    assert_ne!(first, other, "another seed is another world");
}

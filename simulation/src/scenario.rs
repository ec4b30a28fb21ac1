//! A run: three nodes, floating homes, callers and callees; the holder of a home dies amid its calls and comes
//! back. Everything follows from the seed.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use call::{NodeId, Secret};
use cluster::FloatingHome;
use env::Clock as _;
use machine::{Instant, Rng};
use node::{ClusterConfig, NodeConfig, NodeHandle};
use peer::{Agent, Destination, Endpoint, Event, Flow, Local, Mix, NoMedia, Outcome, Output, Transport};
use trunk::settings::PortRange;
use trunk::{Gateway, Name, Resource, SipTarget, Trunk};

use crate::invariants::{
    EqualDigests, Invariant, Limits, OneCdrPerCall, OneSpeaker, Oracle, Sent, Violation,
};
use crate::members::Members;
use crate::time::VirtualClock;
use crate::world::{DETECT, World};

/// What a seed made happen.
#[derive(Debug)]
pub struct Run {
    /// Every message and every fault, line by line.
    pub trace: String,
    /// The digest of the trace.
    pub hash: u64,
    /// The first breach of each invariant.
    pub violations: Vec<Violation>,
    /// How it went.
    pub figures: Figures,
}

/// The outcome of a run in figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Calls placed.
    pub placed: usize,
    /// Ends of calls, at callers and callees.
    pub ended: usize,
    /// Those ends that were not as planned, in words.
    pub bad: Vec<String>,
    /// Messages to peers that belong to no call.
    pub strays: Vec<String>,
    /// The node that was killed.
    pub killed: u64,
    /// How many calls it held then.
    pub held: usize,
    /// Who held the home after it.
    pub successor: u64,
    /// CDRs made.
    pub cdrs: u64,
    /// Slots held in the end, on all nodes together.
    pub slots: usize,
    /// Live calls in the end, on all nodes together.
    pub calls: usize,
    /// The nodes that are up in the end.
    pub nodes: usize,
}

impl Figures {
    /// Whether a node that carried calls died, another took them, every call went as its ends had planned, and
    /// nothing is left of it.
    pub fn is_good(&self) -> bool {
        let bit = self.held > 0 && self.successor != 0 && self.successor != self.killed;
        let ended = self.ended == 2 * self.placed && self.bad.is_empty() && self.strays.is_empty();
        bit && ended && self.cdrs == self.placed as u64 && (self.slots, self.calls, self.nodes) == (0, 0, 3)
    }
}

const NODES: u64 = 3;
const CALLS: usize = 6;
/// When the first call is placed: by then the homes are held.
const FIRST_CALL: Duration = Duration::from_secs(4);
/// Between two calls.
const CALL_GAP: Duration = Duration::from_millis(150);
const HOLD: Duration = Duration::from_secs(5);
/// Between two looks of the invariants.
const LOOK: Duration = Duration::from_millis(5);
const END: Duration = Duration::from_secs(17);

impl Run {
    /// The run that follows from `seed`.
    pub fn of(seed: u64) -> Run {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without input and output needs nothing of the system");
        runtime.block_on(play(seed))
    }

    /// Whether nothing was wrong.
    pub fn is_good(&self) -> bool {
        self.violations.is_empty() && self.figures.is_good()
    }
}

fn ip(subnet: u8, host: u8) -> IpAddr {
    [10, 0, subnet, host].into()
}

fn sip(subnet: u8, host: u8) -> SocketAddr {
    SocketAddr::new(ip(subnet, host), 5060)
}

fn links(node: u64) -> SocketAddr {
    SocketAddr::new(ip(0, node as u8), 7000)
}

const HOMES: u8 = 9;
const CALLER: u8 = 1;
const CALLEE: u8 = 2;

fn home(number: u8) -> FloatingHome {
    FloatingHome {
        name: Name::new(&format!("h{number}")).expect("a letter and a digit"),
        address: ip(HOMES, number),
        sip: vec![(trunk::Transport::Udp, 5060)],
        media_ports: PortRange { first: 20_000, last: 20_999 },
        nodes: Vec::new(),
        region: None,
    }
}

fn config(node: u64) -> NodeConfig {
    let peers = (1..=NODES).map(|node| env::Peer { node, at: links(node) }).collect();
    let listen = vec![(trunk::Transport::Udp, sip(0, node as u8))];
    NodeConfig {
        domain: "sim.example".into(),
        media: ip(0, node as u8),
        floating: (1..=3).map(home).collect(),
        cluster: Some(ClusterConfig { peers, detect: DETECT, secret: Secret::new([7; 16]) }),
        ..NodeConfig::new(NodeId(node), &format!("n{node}"), listen)
    }
}

fn resources() -> Vec<Resource> {
    let mut pbx = Trunk::new(Name::new("pbx").expect("a name"));
    pbx.settings.access.networks = vec!["10.0.1.0/24".parse().expect("a network")];
    pbx.settings.limits.concurrent = Some(CALLS as u32);
    let mut carrier = Gateway::new(Name::new("carrier").expect("a name"));
    carrier.targets = vec![SipTarget::parse("sip:10.0.2.1:5060").expect("a target")];
    vec![Resource::Trunk(Box::new(pbx)), Resource::Gateway(Box::new(carrier))]
}

fn oracle(world: &World) -> Arc<Oracle> {
    let speakers = OneSpeaker::new((1..=3).map(|number| ip(HOMES, number)), DETECT / 2);
    let invariants: [Box<dyn Invariant>; 4] = [
        Box::new(Limits),
        Box::new(speakers),
        Box::new(OneCdrPerCall::default()),
        Box::new(EqualDigests::default()),
    ];
    let oracle = Arc::new(Oracle::new(invariants.into()));
    let watch = oracle.clone();
    world.wire.watch(Arc::new(move |at, life, from, to, _| watch.sent(&Sent { at, life, from, to })));
    oracle
}

/// The ends of calls at one address.
async fn peer(peers: peer::World, address: SocketAddr, rng: Rng, places: usize, figures: &RefCell<Figures>) {
    let local = Local::new(Transport::Udp, address, 1, true);
    let mix = Mix {
        ring: Duration::from_millis(200),
        answer: Duration::from_millis(700),
        hold: HOLD,
        ..Mix::default()
    };
    let agent = Agent::new(local, mix, rng, Box::new(NoMedia(address)));
    let mut endpoints =
        [Endpoint::open(&peers, Transport::Udp, address, agent).expect("peers have addresses of their own")];
    let mut sink = |at: Instant, output: Output| match output {
        Output::Event { event: Event::Ended(outcome), .. } => {
            let mut figures = figures.borrow_mut();
            figures.ended += 1;
            if outcome != Outcome::Completed {
                figures.bad.push(format!("{address} at {} ms: {outcome}", at.as_nanos() / 1_000_000));
            }
        }
        Output::Stray(violation) => figures.borrow_mut().strays.push(format!("{address}: {violation}")),
        _ => {}
    };
    for call in 0..places {
        let due = Instant::ZERO + FIRST_CALL + CALL_GAP * call as u32;
        peer::drive(&peers, &mut endpoints, due, &mut sink).await.expect("sockets of peers never fail");
        let destination = Destination {
            flow: Flow::Datagram(sip(HOMES, 1)),
            uri: "sip:+31301111111@10.0.9.1:5060".into(),
            user: "+31201234567".into(),
        };
        figures.borrow_mut().placed += 1;
        for endpoint in &mut endpoints {
            endpoint.agent().place(due, due, destination.clone());
        }
    }
    let end = Instant::ZERO + END;
    peer::drive(&peers, &mut endpoints, end, &mut sink).await.expect("sockets of peers never fail");
}

/// Who holds the first home, as the node that has applied most knows.
fn holder(members: &Members) -> Option<NodeId> {
    let nodes = members.alive();
    let newest = nodes.iter().max_by_key(|node| node.cluster().status().applied)?;
    newest.cluster().read(|state| state.home_named(&home(1).name)?.1.holder)
}

/// Lets time pass under the eyes of the invariants.
async fn pass(clock: &VirtualClock, nodes: &[NodeHandle], oracle: &Oracle, until: Instant) {
    while clock.now() < until {
        clock.sleep_until(until.min(clock.now() + LOOK)).await;
        oracle.look(clock.now(), nodes);
    }
}

/// Kills the holder of the first home amid its calls, and starts it again.
async fn faults(
    world: &mut World,
    members: &mut Members,
    oracle: &Oracle,
    mut rng: Rng,
    figures: &RefCell<Figures>,
) {
    let clock = world.clock.clone();
    let mut within =
        |from: Duration, spread_ms: u64| from + Duration::from_micros(rng.below(spread_ms * 1_000));
    // While calls ring, are answered, or talk.
    let dies = Instant::ZERO + within(FIRST_CALL + Duration::from_millis(200), 4_200);
    let returns = dies + within(Duration::from_millis(1_500), 3_000);
    pass(&clock, &members.alive(), oracle, dies).await;
    if let Some(NodeId(victim)) = holder(members) {
        let held = members.alive().iter().find(|it| it.cluster().node().0 == victim).map(|it| it.calls());
        members.kill(world, victim);
        (figures.borrow_mut().killed, figures.borrow_mut().held) = (victim, held.unwrap_or_default());
    }
    pass(&clock, &members.alive(), oracle, returns).await;
    figures.borrow_mut().successor = holder(members).map_or(0, |node| node.0);
    let victim = figures.borrow().killed;
    let others = members.alive();
    let restarted = tokio::select! {
        biased;
        restarted = members.restart(world, victim) => restarted.map_err(|error| error.to_string()),
        () = pass(&clock, &others, oracle, Instant::ZERO + END) => Err("it still waits".to_owned()),
    };
    if let Err(error) = restarted {
        figures.borrow_mut().bad.push(format!("node {victim} does not start again: {error}"));
    }
    pass(&clock, &members.alive(), oracle, Instant::ZERO + END).await;
}

async fn play(seed: u64) -> Run {
    let mut world = World::new(seed);
    let oracle = oracle(&world);
    let configs = (1..=NODES).map(|node| (links(node), config(node))).collect();
    let mut members = Members::found(&mut world, configs).await.expect("three nodes start on empty disks");
    let first = members.alive().into_iter().next().expect("three are up");
    first.cluster().put(resources()).await.expect("it was not fenced off").expect("good resources");
    let figures = RefCell::new(Figures::default());
    let (callee, caller) = (sip(CALLEE, 1), sip(CALLER, 1));
    let callee = peer(world.peers(), callee, world.rng(), 0, &figures);
    let caller = peer(world.peers(), caller, world.rng(), CALLS, &figures);
    let rng = world.rng();
    let faults = faults(&mut world, &mut members, &oracle, rng, &figures);
    tokio::join!(biased; callee, caller, faults);
    let nodes = members.alive();
    let violations = oracle.end(world.clock.now(), &nodes);
    let mut figures = figures.into_inner();
    figures.nodes = nodes.len();
    figures.calls = nodes.iter().map(|node| node.calls()).sum();
    figures.slots = nodes.iter().map(|node| node.cluster().read(|state| state.slots().count())).sum();
    figures.cdrs =
        nodes.iter().map(|node| node.cluster().read(cluster::State::cdrs_made)).max().unwrap_or_default();
    Run { hash: world.trace.hash(), trace: world.trace.text(), violations, figures }
}

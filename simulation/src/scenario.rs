//! A run: nodes, floating homes, callers and callees, and all that the plan lets go wrong; then calm, in which
//! everything must be well again. Everything follows from the seed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use call::{NodeId, Secret};
use cluster::{APPLY_VERSION, FloatingHome};
use env::Clock as _;
use machine::Instant;
use node::{ClusterConfig, NodeConfig};
use trunk::Name;
use trunk::settings::PortRange;

use crate::accounts::{self, Settled};
use crate::branches::Branches;
use crate::fault::{Kind, Site, perform};
use crate::healing::ails;
use crate::invariants::{Oracle, View, Violation, all, judge, number_of, of_accounts, talk};
use crate::letter::Letter;
use crate::members::Members;
use crate::peers::{Peer, Society, Wish, live};
use crate::plan::{self, Plan};
use crate::variety::Homes;
use crate::ways::Ways;
use crate::world::{DETECT, World};

/// What a plan made happen.
#[derive(Debug)]
pub struct Run {
    /// Every message and every fault, line by line; empty if nobody wanted them.
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
    /// Calls that a callee's end answered.
    pub answered: usize,
    /// Calls that lived when faults stopped.
    pub survived: usize,
    /// CDRs made.
    pub cdrs: u64,
    /// How often each kind of fault took effect.
    pub effects: Vec<(Kind, u64)>,
    /// How often each branch of the state was taken.
    pub branches: Vec<(String, u64)>,
    /// How many steps it took: messages and other events.
    pub steps: u64,
    /// How long it lasted, in the world's milliseconds.
    pub lasted_ms: u64,
    /// How long healing took, in the world's milliseconds.
    pub healed_ms: u64,
}

impl Run {
    /// The run of a plan, once per process; its trace keeps its lines, or their digest only.
    pub fn of(plan: &Plan, lines: bool) -> Run {
        let panics = hear_panics();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without input and output needs nothing of the system");
        let mut run = runtime.block_on(play(plan, lines));
        let first = panics.lock().unwrap_or_else(PoisonError::into_inner).first().cloned();
        if let Some(found) = first {
            let at = Instant::ZERO + Duration::from_millis(run.figures.lasted_ms);
            run.violations.push(Violation { at, step: run.figures.steps, clause: "nothing panics", found });
        }
        run
    }

    /// Whether nothing was wrong.
    pub fn is_good(&self) -> bool {
        self.violations.is_empty()
    }
}

/// Keeps what panics say: tasks and actors end quietly by them.
fn hear_panics() -> Arc<Mutex<Vec<String>>> {
    let (heard, before) = (Arc::new(Mutex::new(Vec::new())), std::panic::take_hook());
    let kept = heard.clone();
    std::panic::set_hook(Box::new(move |panic| {
        let said = panic.to_string();
        // openraft's own, where a task of a process that was killed asks for one that is gone.
        if !said.contains("RaftCore should have already quit") {
            kept.lock().unwrap_or_else(PoisonError::into_inner).push(said);
            before(panic);
        }
    }));
    heard
}

/// What a node of the plan is told.
pub(crate) fn config(plan: &Plan, id: u64) -> NodeConfig {
    let links = |id: u64| std::net::SocketAddr::new(plan::node(id), 7000);
    let peers = (1..=plan.nodes).map(|node| env::Peer { node, at: links(node) }).collect();
    let over: &[trunk::Transport] = match plan.variety.tcp {
        0 => &[trunk::Transport::Udp],
        _ => &[trunk::Transport::Udp, trunk::Transport::Tcp],
    };
    let listen = over.iter().map(|over| (*over, plan::sip_of(plan::node(id)))).collect();
    let home = |place: u8| FloatingHome {
        name: Name::new(&format!("h{place}")).expect("a letter and a digit"),
        address: plan::home(place),
        sip: over.iter().map(|over| (*over, 5060)).collect(),
        media_ports: PortRange { first: 20_000, last: 20_999 },
        nodes: Vec::new(),
        region: None,
    };
    NodeConfig {
        domain: plan::DOMAIN.into(),
        media: plan::node(id),
        floating: (0..plan.homes).map(home).collect(),
        cluster: Some(ClusterConfig {
            peers,
            detect: DETECT,
            keeps: false,
            secret: Secret::new(plan::SECRET),
        }),
        supports: APPLY_VERSION - u32::from(plan.old),
        ..NodeConfig::new(NodeId(id), &format!("n{id}"), listen)
    }
}

fn oracle(plan: &Plan, world: &World, settled: Option<&Settled>) -> Arc<Oracle> {
    let mut invariants = all(plan, DETECT, world);
    invariants.extend(settled.into_iter().flat_map(|settled| of_accounts(plan, settled, world)));
    let oracle = Arc::new(Oracle::new(invariants, world.trace.clone()));
    let (watch, ways) = (oracle.clone(), Mutex::new(Ways::new(world.effects.clone())));
    world.wire.watch(Arc::new(move |at, life, way, bytes| {
        watch.sent(at, life, way, bytes);
        if let Some(letter) = Letter::read(bytes) {
            ways.lock().unwrap_or_else(PoisonError::into_inner).sees(&letter, life.node() == 0);
        }
    }));
    oracle
}

fn society(plan: &Plan, world: &mut World) -> Vec<Peer> {
    let mut rng = || world.rng();
    let callers = plan.callers.iter().enumerate().map(|(place, mix)| {
        let calls = plan.calls.iter().filter(|call| call.caller == place).copied().collect();
        (plan::caller(place), plan.variety.is_caller_over_tcp(place), mix, calls)
    });
    let callees = plan.callees.iter().enumerate().map(|(place, mix)| {
        let tcp = plan.variety.is_callee_over_tcp(place) && plan.desk() != Some(place);
        (plan::callee(place), tcp, mix, Vec::new())
    });
    let peers = callers.chain(callees).map(|(at, tcp, mix, calls)| {
        let transport = if tcp { peer::Transport::Tcp } else { peer::Transport::Udp };
        Peer { at, transport, mix: mix.clone(), rng: rng(), calls }
    });
    peers.collect()
}

async fn play(plan: &Plan, lines: bool) -> Run {
    let floats: Vec<_> = (0..plan.homes).filter(|_| plan.guarded).map(plan::home).collect();
    let mut world = World::guarded(plan.seed, lines, floats);
    let settled = accounts::settle(plan, &world);
    let oracle = oracle(plan, &world, settled.as_ref());
    let drift = |id: u64| plan.faults.iter().filter(move |it| it.who == crate::fault::Who::Node(id));
    let ppm = |id: u64| drift(id).find(|it| it.kind == Kind::ClockDrift).map_or(0, |it| it.amount);
    let links = |id: u64| std::net::SocketAddr::new(plan::node(id), 7000);
    let configs = (1..=plan.nodes).map(|id| (links(id), ppm(id), config(plan, id))).collect();
    let mut members = Members::found(&mut world, configs).await.expect("nodes start on empty disks");
    let first = members.alive().into_iter().next().expect("all are up");
    first.cluster().put(plan.resources(None)).await.expect("it was not fenced off").expect("good resources");
    let society = Society::new(plan.variety.media.then(|| world.air()));
    let peers = self::society(plan, &mut world);
    let seams = world.peers();
    let lives = futures::future::join_all(peers.into_iter().map(|peer| live(&seams, peer, &society)));
    let (clock, trace, effects) = (world.clock.clone(), world.trace.clone(), world.effects.clone());
    let mut figures = Figures::default();
    let mut site = Site::new(&mut world, &mut members, &oracle, plan);
    let story = tell(&mut site, &society, &mut figures);
    tokio::join!(biased; lives, story);
    let nodes = members.alive();
    if let Some(air) = &society.air {
        talk::judge(&oracle, clock.now(), air, &effects, plan);
    }
    figures.branches = once_more(&members, &oracle, clock.now());
    let stories = society.stories.into_inner();
    judge(&oracle, clock.now(), &stories, &effects, plan);
    let up = members.up();
    let violations =
        oracle.end(&View { at: clock.now(), nodes: &nodes, moved: &nodes, up: &up, links: &world.links });
    figures.placed = stories.calls.len();
    let answered = |story: &&crate::peers::Story| story.callees.iter().any(|end| end.answered.is_some());
    figures.answered = stories.calls.values().filter(answered).count();
    let made = nodes.iter().map(|node| node.cluster().read(cluster::State::cdrs_made));
    figures.cdrs = made.max().unwrap_or_default();
    figures.effects = effects.counts().into_iter().collect();
    figures.steps = trace.steps();
    figures.lasted_ms = clock.now().as_nanos() / 1_000_000;
    Run { hash: trace.hash(), trace: trace.text(), violations, figures }
}

/// Applies the longest log once more: the log alone must make the state. Gives the branches that were taken.
fn once_more(members: &Members, oracle: &Oracle, at: Instant) -> Vec<(String, u64)> {
    let alive = members.alive();
    let Some(node) = alive.iter().max_by_key(|node| node.cluster().status().applied) else {
        return Vec::new();
    };
    let (id, applied) = (node.cluster().node(), node.cluster().status().applied);
    let Some(branches) = members.disk(id.0).and_then(|disk| Branches::of(disk, applied)) else {
        return Vec::new();
    };
    let (made, held) = (branches.state.digest(), node.cluster().read(cluster::State::digest));
    if made != held {
        let found = format!("node {id} holds {held:016x} at {applied}, and its log makes {made:016x}");
        oracle.found(at, "I-31 the log alone makes the state", found);
    }
    if let Some(twice) = branches.twice {
        oracle.found(at, "I-31 a batch is applied once", twice);
    }
    branches.taken.into_iter().collect()
}

/// Faults, then calm, healing, a probe of what survived, and the end of all calls.
async fn tell(site: &mut Site<'_>, society: &Society, figures: &mut Figures) {
    let clock = site.world.clock.clone();
    site.pass(plan::FIRST - STEP).await;
    let before = tasks(site);
    perform(site).await;
    site.calm();
    let calm = clock.now();
    let healed = heal(site, HEAL_MAX, true).await;
    figures.healed_ms = clock.now().since(calm).as_millis() as u64;
    let alive = site.members.alive();
    let live = alive.iter().map(|node| node.cluster().read(|state| state.calls().len()));
    figures.survived = live.max().unwrap_or_default();
    if let Err(ails) = healed {
        site.oracle.found(clock.now(), HEALS, ails);
    }
    if site.plan.variety.homes != Homes::Floating {
        site.pass(site.plan.calm + SETTLE).await;
    }
    if let Some(accounts) = &site.plan.variety.accounts {
        site.pass(accounts::settled(site.plan, accounts) + REGISTERED).await;
    }
    if let Some(air) = &society.air {
        site.pass(clock.now() + TALK).await;
        talk::all_hear(site.oracle, clock.now(), air, society, &site.world.effects, site.plan);
    }
    for (wish, wait) in
        [(Wish::CallersProbe, PROBE), (Wish::CalleesProbe, PROBE), (Wish::CallersHangUp, PROBE)]
    {
        if figures.survived > 0 || wish == Wish::CallersHangUp {
            society.wish.set(wish);
            site.pass(clock.now() + wait).await;
        }
    }
    society.wish.set(Wish::CalleesHangUp);
    let deadline = clock.now() + END_MAX;
    while clock.now() < deadline && !(society.stories.borrow().are_over() && is_empty(site)) {
        site.pass(clock.now() + STEP).await;
    }
    if let Err(ails) = heal(site, LINGER_MAX, false).await {
        site.oracle.found(clock.now(), HEALS, format!("when all calls had ended: {ails}"));
    }
    if !is_empty(site) {
        let left = left(site).map_or_else(|| "a call".to_owned(), |number| format!("call #{number}"));
        site.oracle.found(clock.now(), HEALS, format!("{left} lives on, and no end of it does"));
    }
    if let Some(left) = leftovers(site, &before).await {
        site.oracle.found(clock.now(), HEALS, format!("when all calls had ended: {left}"));
    }
    society.wish.set(Wish::Leave);
}

/// How many tasks each node has.
fn tasks(site: &Site<'_>) -> Vec<usize> {
    let ids = site.members.ids().into_iter();
    ids.filter_map(|id| site.members.life(id)).map(|life| life.tasks()).collect()
}

/// What nodes keep of calls though none is left, when ports had their rest and deadlines of what has ended have passed.
/// Tasks of homes, links and connections come and go with those: they are the same where nothing went wrong.
async fn leftovers(site: &mut Site<'_>, before: &[usize]) -> Option<String> {
    let deadline = site.world.clock.now() + LINGER_MAX;
    let rests = |site: &Site<'_>| site.members.alive().iter().all(|node| node.leftovers() == (0, 0));
    while !rests(site) && site.world.clock.now() < deadline {
        site.pass(site.world.clock.now() + STEP * 10).await;
    }
    let now = tasks(site);
    if site.plan.faults.is_empty() && site.plan.variety.tcp == 0 && now != before {
        return Some(format!("the nodes had {before:?} tasks, and have {now:?}"));
    }
    site.members.alive().iter().find_map(|node| {
        let (timers, pairs) = node.leftovers();
        let id = node.cluster().node();
        (timers + pairs > 0).then(|| format!("node {id} keeps {timers} deadlines and {pairs} pairs of ports"))
    })
}

/// Waits until all is well again.
async fn heal(site: &mut Site<'_>, at_most: Duration, lingering: bool) -> Result<(), String> {
    let clock = site.world.clock.clone();
    let deadline = clock.now() + at_most;
    loop {
        let Some(ails) = ails(&site.members.alive(), &site.members.ids(), lingering) else {
            return Ok(());
        };
        if clock.now() >= deadline {
            return Err(ails);
        }
        site.resume_drained();
        site.pass(clock.now() + STEP * 10).await;
    }
}

fn is_empty(site: &Site<'_>) -> bool {
    site.members.alive().iter().all(|node| node.cluster().read(|state| state.calls().len()) == 0)
}

/// A call that some node still has.
fn left(site: &Site<'_>) -> Option<u32> {
    let first =
        |node: &node::NodeHandle| node.cluster().read(|state| state.calls().find_map(|it| number_of(it)));
    site.members.alive().iter().find_map(first)
}

const HEALS: &str = "liveness: all is well 30 s after faults have stopped";
const HEAL_MAX: Duration = Duration::from_secs(30);
/// A refusal that nobody acknowledges is repeated for 64·T1, and CDRs are written after it.
const LINGER_MAX: Duration = Duration::from_secs(45);
/// How long accounts are seen to be registered.
const REGISTERED: Duration = Duration::from_secs(3);
/// How long ends speak before it is asked whether they hear each other.
const TALK: Duration = Duration::from_millis(2_500);
/// How long peers of adopted calls take to hear where they live now.
const SETTLE: Duration = Duration::from_millis(5_500);
const STEP: Duration = Duration::from_millis(100);
/// How long a question through both legs, or a BYE, may take.
const PROBE: Duration = Duration::from_secs(2);
/// A peer that nobody answers gives up after 64·T1; the node may begin as long after it.
const END_MAX: Duration = Duration::from_secs(80);

//! Ladders: whole nodes in the simulated world, and telephones that say exactly what a ladder says they do.
//!
//! A ladder reads as one in RFC 3665: who sends what, who hears what, in this order. Whatever else is heard fails it, but
//! for repetitions, which every telephone takes as RFC 3261 has it. A ladder that fails is printed with its virtual times.

mod phone;
mod text;

use std::cell::RefCell;
use std::sync::Mutex;
use std::time::Duration;

use env::Clock as _;
use simulation::{Members, Plan, World, interpose, plan};
use tokio::runtime::Runtime;
use trunk::Resource;

use phone::Phone;

/// A world with three nodes, one floating home, two PBXs and two carriers.
pub struct Ladder {
    runtime: Runtime,
    stage: RefCell<Stage>,
    /// One world at a time: the chance of libraries is the process's.
    _alone: std::sync::MutexGuard<'static, ()>,
}

struct Stage {
    world: World,
    members: Members,
    phones: Vec<Phone>,
}

/// Who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Pbx = 0,
    SecondPbx = 1,
    Carrier = 2,
    SecondCarrier = 3,
}

/// A telephone, whose turn it is.
pub struct Turn<'a> {
    ladder: &'a Ladder,
    who: Who,
    within: Duration,
}

static ALONE: Mutex<()> = Mutex::new(());

impl Ladder {
    /// Both carriers take every number; the first is asked first. As many calls as there may be, unless `first_carrier_max`
    /// says how many the first carrier takes.
    pub fn new(seed: u64, first_carrier_max: Option<u32>) -> Ladder {
        let alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        interpose(seed);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime without input and output needs nothing of the system");
        let stage = runtime.block_on(Stage::new(seed, first_carrier_max));
        Ladder { runtime, stage: RefCell::new(stage), _alone: alone }
    }

    /// The telephone system whose calls these are.
    pub fn pbx(&self) -> Turn<'_> {
        self.turn(Who::Pbx)
    }

    /// A second one on the same trunk.
    pub fn second_pbx(&self) -> Turn<'_> {
        self.turn(Who::SecondPbx)
    }

    /// The carrier that is asked first.
    pub fn carrier(&self) -> Turn<'_> {
        self.turn(Who::Carrier)
    }

    /// The one that is asked second.
    pub fn second_carrier(&self) -> Turn<'_> {
        self.turn(Who::SecondCarrier)
    }

    const fn turn(&self, who: Who) -> Turn<'_> {
        Turn { ladder: self, who, within: USUALLY }
    }

    /// The node that carries the calls is killed (`kill -9`): not a word more.
    pub fn the_node_that_carries_the_calls_dies(&self) {
        self.runtime.block_on(async {
            let Stage { world, members, .. } = &mut *self.stage.borrow_mut();
            let node = holder(members);
            assert!(members.kill(world, node), "it lives");
        });
    }

    /// The node that carries the calls and the other two do not hear each other any more.
    pub fn the_node_that_carries_the_calls_is_cut_off_from_the_others(&self) {
        self.runtime.block_on(async {
            let Stage { world, members, .. } = &*self.stage.borrow();
            world.links.isolate(&[holder(members)]);
        });
    }

    /// All nodes hear each other again.
    pub fn the_nodes_hear_each_other_again(&self) {
        self.runtime.block_on(async { self.stage.borrow().world.links.heal_all() });
    }

    /// Some time passes.
    pub fn after(&self, time: Duration) {
        self.runtime.block_on(async {
            let until = tokio::time::Instant::now() + time;
            while tokio::time::Instant::now() < until {
                self.stage.borrow_mut().live();
                tokio::time::sleep(LOOK).await;
            }
        });
    }

    /// Which node carries the calls.
    pub fn carrying_node(&self) -> u64 {
        holder(&self.stage.borrow().members)
    }

    /// No call is left, and as many were recorded as this.
    pub fn all_is_over_and_recorded(&self, cdrs: u64) {
        self.after(Duration::from_secs(1));
        let stage = self.stage.borrow();
        for node in stage.members.alive() {
            let (live, made) = node.cluster().read(|state| (state.calls().len(), state.cdrs_made()));
            assert_eq!((live, made), (0, cdrs), "live calls and CDRs of node {}", node.cluster().node());
        }
    }

    /// What happened to the `n`th call, and to the world.
    fn text(&self) -> String {
        let trace = self.stage.borrow().world.trace.text();
        let calls = (1..=2).map(|call| {
            let ladder = simulation::runner::Ladder::of_call(&trace, Some(&format!("#{call}")));
            format!("call {call}:\n{}", ladder.text())
        });
        calls.collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Ladder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.text());
        }
    }
}

impl Turn<'_> {
    /// What is heard next may take this long.
    #[must_use]
    pub const fn within(mut self, time: Duration) -> Self {
        self.within = time;
        self
    }

    /// Sends a request: INVITE, ACK, CANCEL or BYE.
    pub fn sends(&self, method: &str) -> &Self {
        self.with(|phone| phone.request(method, "sendrecv"));
        self
    }

    /// Asks to put the call on hold: a re-INVITE whose description says `sendonly` (RFC 3264 §8.4).
    pub fn sends_hold(&self) -> &Self {
        self.with(|phone| phone.request("INVITE", "sendonly"));
        self
    }

    /// Answers the request that it heard last.
    pub fn answers(&self, status: u16) -> &Self {
        self.with(|phone| phone.answer(status));
        self
    }

    /// Answers each BYE that it hears from now on, whenever that is.
    pub fn answers_every_bye(&self) -> &Self {
        self.with(|phone| phone.answers_byes = true);
        self
    }

    /// Hears this next: a method or a status. It may have been said already.
    pub fn hears(&self, what: &str) -> &Self {
        let deadline = self.within;
        let heard = self.ladder.runtime.block_on(async {
            let began = tokio::time::Instant::now();
            loop {
                if let Some(heard) = self.with(Phone::next) {
                    return Some(heard);
                }
                if began.elapsed() >= deadline {
                    return None;
                }
                tokio::time::sleep(LOOK).await;
            }
        });
        assert_eq!(heard.as_deref(), Some(what), "{:?} should hear it within {deadline:?}", self.who);
        self
    }

    /// What it heard last has this in it.
    pub fn which_says(&self, words: &str) -> &Self {
        let last = self.with(|phone| phone.last_heard());
        assert!(last.contains(words), "{:?} hears no {words:?} in\n{last}", self.who);
        self
    }

    /// Hears nothing new for a while.
    pub fn hears_nothing(&self, time: Duration) -> &Self {
        let heard = self.ladder.runtime.block_on(async {
            let began = tokio::time::Instant::now();
            while began.elapsed() < time {
                if let Some(heard) = self.with(Phone::next) {
                    return Some(heard);
                }
                tokio::time::sleep(LOOK).await;
            }
            None
        });
        assert_eq!(heard, None, "{:?} should hear nothing", self.who);
        self
    }

    fn with<R>(&self, what: impl FnOnce(&mut Phone) -> R) -> R {
        // The world's clock is the runtime's.
        let _inside = self.ladder.runtime.enter();
        let mut stage = self.ladder.stage.borrow_mut();
        stage.live();
        what(&mut stage.phones[self.who as usize])
    }
}

impl Stage {
    /// Telephones repeat themselves whether or not it is their turn.
    fn live(&mut self) {
        let now = self.world.clock.now();
        self.phones.iter_mut().for_each(|phone| phone.live(now));
    }

    async fn new(seed: u64, first_carrier_max: Option<u32>) -> Stage {
        let mut plan = Plan::steady(seed, 1, Duration::ZERO);
        (plan.homes, plan.callees) = (1, vec![plan.callees[0].clone(); 2]);
        let mut world = World::new(seed);
        let links = |id: u64| std::net::SocketAddr::new(plan::node(id), 7000);
        let configs = (1..=plan.nodes).map(|id| (links(id), 0, plan.config(id))).collect();
        let members = Members::found(&mut world, configs).await.expect("nodes start on empty disks");
        let mut resources = plan.resources(None);
        let gateways = resources.iter_mut().filter_map(|resource| match resource {
            Resource::Gateway(gateway) => Some(gateway),
            _ => None,
        });
        for (place, gateway) in gateways.enumerate() {
            gateway.priority = place as u32;
            // A ladder is what its hands say, and nothing else.
            gateway.settings.probe.interval = Duration::ZERO;
            if place == 0 {
                gateway.settings.limits.concurrent = first_carrier_max;
            }
        }
        let first = members.alive().into_iter().next().expect("all are up");
        first.cluster().put(resources).await.expect("it was not fenced off").expect("good resources");
        // The home is held, and its holder may speak.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let peers = world.peers();
        let places = [plan::caller(0), plan::caller(1), plan::callee(0), plan::callee(1)];
        let phones = (1..).zip(places).map(|(number, at)| Phone::new(&peers, at, number)).collect();
        Stage { world, members, phones }
    }
}

/// Who holds the home.
fn holder(members: &Members) -> u64 {
    let alive = members.alive();
    let newest = alive.iter().max_by_key(|node| node.cluster().status().applied).expect("some node lives");
    let held = newest.cluster().read(|state| {
        let held = state.homes().find_map(|(_, home)| home.floating().and(home.holder));
        held.map(|node| node.0)
    });
    held.expect("somebody holds it")
}

const USUALLY: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(2);

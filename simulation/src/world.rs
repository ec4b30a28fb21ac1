//! A world: one clock, one wire, one trace; nodes and peers are put into it.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use call::{Incarnation, NodeId};
use env::{Addresses, Clock as _, Frames, Lane, Peer, Spawn as _};
use machine::Rng;
use node::NodeHandle;
use tokio::sync::Notify;

use crate::disk::MemDisk;
use crate::entropy::SeededEntropy;
use crate::fault::Effects;
use crate::frames::Links;
use crate::guards::{Guards, MemoryAddresses};
use crate::life::Life;
use crate::names::{Asking, Names};
use crate::network::{Latency, MemoryNetwork, Wire};
use crate::relay::MemoryRelay;
use crate::talk::Air;
use crate::time::{NodeClock, VirtualClock, VirtualSpawn};
use crate::trace::Trace;

/// A world in virtual time. Made inside a current-thread runtime that started paused.
pub struct World {
    /// Its clock.
    pub clock: Arc<VirtualClock>,
    /// Its network.
    pub wire: Arc<Wire>,
    /// What happened.
    pub trace: Arc<Trace>,
    /// The links between its nodes.
    pub links: Arc<Links>,
    /// What faults have done.
    pub effects: Arc<Effects>,
    /// The host names of its callees.
    pub names: Arc<Names>,
    /// What keeps floating addresses on interfaces; of a world without, every machine has every address.
    pub guards: Arc<Guards>,
    peers: Arc<Life>,
    rng: Rng,
}

/// How long a message is on its way: a local network with some queueing.
const LATENCY: Latency = Latency { min: Duration::from_micros(200), max: Duration::from_millis(3) };

/// How long a guard's word is on its way, when it is said again, and how often at most.
const WORD_TAKES: Duration = Duration::from_millis(6);
const WORD_AGAIN: Duration = Duration::from_millis(250);
const WORDS_MAX: usize = 20;

/// After how much silence a node is held dead: the default of node files.
pub(crate) const DETECT: Duration = Duration::from_millis(500);

impl World {
    /// The world that follows from `seed`.
    pub fn new(seed: u64) -> World {
        World::noted(seed, true)
    }

    /// The world that follows from `seed`; its trace keeps its lines, or their digest only.
    pub fn noted(seed: u64, lines: bool) -> World {
        World::guarded(seed, lines, [])
    }

    /// The same, in which these addresses float between the interfaces of machines.
    pub fn guarded(seed: u64, lines: bool, floats: impl IntoIterator<Item = IpAddr>) -> World {
        let mut rng = Rng::from_u64(seed);
        let clock = Arc::new(VirtualClock::start());
        let trace = Arc::new(Trace::new(lines));
        let effects = Arc::new(Effects::default());
        let guards = Arc::new(Guards::new(clock.clone(), floats));
        let parts = (LATENCY, effects.clone(), guards.clone());
        let wire = Wire::new(clock.clone(), trace.clone(), parts, rng.fork());
        tokio::spawn(wire.clone().run());
        let links = Links::new(wire.clone(), clock.clone(), trace.clone(), DETECT, rng.fork());
        let names = Arc::new(Names::new(effects.clone(), rng.fork()));
        World { clock, wire, trace, links, effects, names, guards, peers: Life::of_peers(), rng }
    }

    /// The seams of a life of a node with this disk; with `at`, where others of its cluster find it.
    pub fn node(&mut self, life: &Arc<Life>, disk: &MemDisk, at: Option<SocketAddr>) -> node::World {
        let clock = NodeClock::right(self.clock.clone());
        self.node_by(Arc::new(clock), life, disk, at)
    }

    /// The same, for a node with a clock of its own.
    pub fn node_by(
        &mut self,
        clock: Arc<NodeClock>,
        life: &Arc<Life>,
        disk: &MemDisk,
        at: Option<SocketAddr>,
    ) -> node::World {
        let spawn = VirtualSpawn { clock: clock.clone(), life: life.clone() };
        let bells = [Arc::new(Notify::new()), Arc::new(Notify::new())];
        for (lane, bell) in [Lane::Log, Lane::Bulk].into_iter().zip(&bells) {
            self.turn(&spawn, disk, lane, bell.clone());
        }
        disk.on_submit(Arc::new(move |lane| match lane {
            Lane::Log => bells[0].notify_one(),
            Lane::Bulk => bells[1].notify_one(),
        }));
        let frames = at.map(|at| self.links.open(Peer { node: life.node(), at }) as Arc<dyn Frames>);
        node::World {
            clock: clock.clone(),
            entropy: Arc::new(SeededEntropy::new(self.rng.fork())),
            spawn: Arc::new(spawn),
            network: Arc::new(MemoryNetwork { wire: self.wire.clone(), life: life.clone() }),
            disk: Arc::new(disk.clone()),
            relay: Arc::new(MemoryRelay::new(self.wire.clone(), clock.clone(), life.clone())),
            resolve: Arc::new(Asking(self.names.clone())),
            frames,
            addresses: self.addresses(clock, life),
        }
    }

    /// How a node's floating addresses come to its machine, if they have to.
    fn addresses(&self, clock: Arc<NodeClock>, life: &Arc<Life>) -> Option<Arc<dyn Addresses>> {
        let guards = self.guards.clone();
        let keeper = MemoryAddresses { guards, clock, life: life.clone(), wanted: Mutex::default() };
        self.guards.are_there().then(|| Arc::new(keeper) as Arc<dyn Addresses>)
    }

    /// A node dies without a word, amid whatever it does: its tasks and handles go dead, what its disk has not
    /// yet made durable is lost or torn. Gives the disk as its next life finds it.
    pub fn kill(&mut self, life: &Life, disk: &MemDisk) -> MemDisk {
        self.trace
            .note(self.clock.now(), &format!("node {} dies in its life {}", life.node(), life.number()));
        life.end();
        self.links.kill(life.node());
        disk.crash(&mut self.rng)
    }

    /// A guard tells the others that a life of its server has ended, for as long as they can't be reached.
    pub(crate) fn tell_of(&self, node: NodeId, life: Incarnation, others: Vec<NodeHandle>) {
        for other in others {
            let (links, to) = (self.links.clone(), other.cluster().node().0);
            tokio::spawn(async move {
                tokio::time::sleep(WORD_TAKES).await;
                for _ in 0..WORDS_MAX {
                    if links.are_joined(node.0, to) {
                        return other.cluster().died(node, life);
                    }
                    tokio::time::sleep(WORD_AGAIN).await;
                }
            });
        }
    }

    /// The seams of callers and callees.
    pub fn peers(&self) -> peer::World {
        peer::World {
            clock: self.clock.clone(),
            spawn: Arc::new(VirtualSpawn {
                clock: Arc::new(NodeClock::right(self.clock.clone())),
                life: self.peers.clone(),
            }),
            network: Arc::new(MemoryNetwork { wire: self.wire.clone(), life: self.peers.clone() }),
        }
    }

    /// The air in which callers and callees speak.
    pub fn air(&self) -> Air {
        Air::new(self.wire.clone(), self.clock.clone(), self.peers.clone())
    }

    /// A generator of its own for a part of the world.
    pub fn rng(&mut self) -> Rng {
        self.rng.fork()
    }

    /// Lets a disk's lane work: each operation takes its drawn time.
    fn turn(&mut self, spawn: &VirtualSpawn, disk: &MemDisk, lane: Lane, submitted: Arc<Notify>) {
        let (disk, mut rng) = (disk.clone(), self.rng.fork());
        let work = async move {
            loop {
                let waits = submitted.notified();
                if disk.waiting(lane) == 0 {
                    waits.await;
                    continue;
                }
                tokio::time::sleep(disk.takes(&mut rng)).await;
                disk.step(lane);
            }
        };
        spawn.spawn("disk", Box::pin(work));
    }
}

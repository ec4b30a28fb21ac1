//! A world: one clock, one wire, one trace; nodes and peers are put into it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use env::{BoxFuture, Clock as _, Frames, Lane, Peer, Spawn as _};
use machine::Rng;
use node::Resolve;
use tokio::sync::Notify;

use crate::disk::MemDisk;
use crate::entropy::SeededEntropy;
use crate::fault::Effects;
use crate::frames::Links;
use crate::life::Life;
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
    peers: Arc<Life>,
    rng: Rng,
}

/// How long a message is on its way: a local network with some queueing.
const LATENCY: Latency = Latency { min: Duration::from_micros(200), max: Duration::from_millis(3) };

/// After how much silence a node is held dead: the default of node files.
pub(crate) const DETECT: Duration = Duration::from_millis(500);

impl World {
    /// The world that follows from `seed`.
    pub fn new(seed: u64) -> World {
        World::noted(seed, true)
    }

    /// The world that follows from `seed`; its trace keeps its lines, or their digest only.
    pub fn noted(seed: u64, lines: bool) -> World {
        let mut rng = Rng::from_u64(seed);
        let clock = Arc::new(VirtualClock::start());
        let trace = Arc::new(Trace::new(lines));
        let effects = Arc::new(Effects::default());
        let wire = Wire::new(clock.clone(), trace.clone(), (LATENCY, effects.clone()), rng.fork());
        tokio::spawn(wire.clone().run());
        let links = Links::new(wire.clone(), clock.clone(), trace.clone(), DETECT, rng.fork());
        World { clock, wire, trace, links, effects, peers: Life::of_peers(), rng }
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
            resolve: Arc::new(Literals),
            frames,
            // Every node of this world can bind every address.
            addresses: None,
        }
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

/// Names that are addresses; all others have none.
struct Literals;

impl Resolve for Literals {
    fn resolve(&self, host: String, port: u16) -> BoxFuture<'static, Vec<SocketAddr>> {
        let found: Option<IpAddr> = host.parse().ok();
        Box::pin(async move { found.map(|ip| SocketAddr::new(ip, port)).into_iter().collect() })
    }
}

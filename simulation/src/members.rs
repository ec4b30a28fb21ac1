//! The nodes of a cluster in one world: started together, killed, halted and started again one by one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use env::{BoxFuture, Clock as _};
use node::{Node, NodeConfig, NodeHandle, StartError};

use crate::disk::MemDisk;
use crate::life::Life;
use crate::time::NodeClock;
use crate::world::World;

/// The nodes of a cluster.
#[derive(Default)]
pub struct Members {
    seats: BTreeMap<u64, Seat>,
}

/// Where a node was, is or will be.
struct Seat {
    config: NodeConfig,
    links: SocketAddr,
    clock: Arc<NodeClock>,
    disk: MemDisk,
    life: Arc<Life>,
    /// `None` while it is down or starts.
    handle: Option<NodeHandle>,
    /// Whether an operator has its machine in hand: nobody else starts it.
    is_held: bool,
}

/// A start under way: gives the node's handle.
pub type Starting = BoxFuture<'static, Result<NodeHandle, StartError>>;

impl Members {
    /// Starts nodes that found a cluster, each with the address of its links and parts in a million that its
    /// clocks run too fast. They wait for each other.
    ///
    /// # Errors
    /// One can't start.
    pub async fn found(
        world: &mut World,
        configs: Vec<(SocketAddr, i64, NodeConfig)>,
    ) -> Result<Members, StartError> {
        let mut members = Members::default();
        let mut starts = Vec::new();
        for (links, ppm, config) in configs {
            let (disk, life) = (MemDisk::default(), Life::new(config.id.0, 1));
            let clock = Arc::new(NodeClock::right(world.clock.clone()).drifting(ppm));
            let seams = world.node_by(clock.clone(), &life, &disk, Some(links));
            starts.push(Node::start(seams, config.clone()));
            members
                .seats
                .insert(config.id.0, Seat { config, links, clock, disk, life, handle: None, is_held: false });
        }
        let started = futures::future::join_all(starts).await;
        for (seat, handle) in members.seats.values_mut().zip(started) {
            seat.handle = Some(handle?);
        }
        Ok(members)
    }

    /// The nodes that are up, by their ids; halted ones among them.
    pub fn alive(&self) -> Vec<NodeHandle> {
        self.seats.values().filter_map(|seat| seat.handle.clone()).collect()
    }

    /// The ids of the nodes that are up or starting, and not halted.
    pub fn up(&self) -> Vec<u64> {
        let up = self.seats.iter().filter(|(_, seat)| !seat.life.is_over() && !seat.life.is_halted());
        up.map(|(node, _)| *node).collect()
    }

    /// All nodes.
    pub fn ids(&self) -> Vec<u64> {
        self.seats.keys().copied().collect()
    }

    /// A node that is up.
    pub fn handle(&self, node: u64) -> Option<&NodeHandle> {
        self.seats.get(&node)?.handle.as_ref()
    }

    /// The present, last or next life of a node.
    pub fn life(&self, node: u64) -> Option<&Arc<Life>> {
        self.seats.get(&node).map(|seat| &seat.life)
    }

    /// The disk of a node, as its present life sees it.
    pub fn disk(&self, node: u64) -> Option<&MemDisk> {
        self.seats.get(&node).map(|seat| &seat.disk)
    }

    /// The clocks of a node.
    pub fn clock(&self, node: u64) -> Option<&Arc<NodeClock>> {
        self.seats.get(&node).map(|seat| &seat.clock)
    }

    /// Kills a node; gives whether it was up or starting.
    pub fn kill(&mut self, world: &mut World, node: u64) -> bool {
        let others: Vec<NodeHandle> =
            self.alive().into_iter().filter(|it| it.cluster().node().0 != node).collect();
        let Some(seat) = self.seats.get_mut(&node).filter(|seat| !seat.life.is_over()) else { return false };
        if let Some(handle) = seat.handle.as_ref().filter(|_| world.guards.guards(node)) {
            world.tell_of(handle.cluster().node(), handle.cluster().booted().incarnation, others);
        }
        seat.disk = world.kill(&seat.life, &seat.disk);
        // What libraries spawned themselves has no life to end with. It has dead hands; let it wind up.
        if let Some(handle) = seat.handle.take() {
            tokio::spawn(async move { handle.stop().await });
        }
        true
    }

    /// Starts a node that is down, with what its disk has kept. [`Members::started`] takes the outcome.
    pub fn start(&mut self, world: &mut World, node: u64) -> Option<Starting> {
        let seat = self.seats.get_mut(&node).filter(|seat| seat.life.is_over() && !seat.is_held)?;
        seat.life = Life::new(node, seat.life.number() + 1);
        world.trace.note(world.clock.now(), &format!("node {node} begins its life {}", seat.life.number()));
        let seams = world.node_by(seat.clock.clone(), &seat.life, &seat.disk, Some(seat.links));
        if seat.config.cluster.as_ref().is_some_and(|cluster| cluster.peers.is_empty()) {
            world.links.wait(node);
        }
        Some(Box::pin(Node::start(seams, seat.config.clone())))
    }

    /// A node has started, in this of its lives; gives whether that life still lasts.
    pub fn started(&mut self, node: u64, life: u64, handle: NodeHandle) -> bool {
        let seat = self.seats.get_mut(&node);
        // It may have been killed as it started.
        let Some(seat) = seat.filter(|seat| seat.life.number() == life && !seat.life.is_over()) else {
            return false;
        };
        seat.handle = Some(handle);
        true
    }
    /// An operator takes a machine in hand, or lets go of it.
    pub fn hold(&mut self, node: u64, is_held: bool) {
        if let Some(seat) = self.seats.get_mut(&node) {
            seat.is_held = is_held;
        }
    }

    /// Whether an operator has a machine in hand.
    pub fn is_held(&self, node: u64) -> bool {
        self.seats.get(&node).is_some_and(|seat| seat.is_held)
    }

    /// A machine is set up for a node that is to join: an empty disk, and nobody named in its file. What was there
    /// before is gone.
    pub fn set_up(&mut self, world: &World, links: SocketAddr, mut config: NodeConfig) {
        if let Some(cluster) = config.cluster.as_mut() {
            cluster.peers.clear();
        }
        let node = config.id.0;
        let before = self.seats.remove(&node);
        let number = before.as_ref().map_or(0, |seat| seat.life.number());
        let clock = before.map_or_else(|| Arc::new(NodeClock::right(world.clock.clone())), |seat| seat.clock);
        let life = Life::new(node, number);
        life.end();
        let disk = MemDisk::default();
        self.seats.insert(node, Seat { config, links, clock, disk, life, handle: None, is_held: false });
    }

    /// A machine is taken away, with its disk.
    pub fn take_away(&mut self, world: &mut World, node: u64) {
        self.kill(world, node);
        self.seats.remove(&node);
    }

    /// What a node is told.
    pub fn config(&self, node: u64) -> Option<&NodeConfig> {
        self.seats.get(&node).map(|seat| &seat.config)
    }

    /// The next life of a node is of a program that knows commands up to this version.
    pub fn set_program(&mut self, node: u64, supports: u32) {
        if let Some(seat) = self.seats.get_mut(&node) {
            seat.config.supports = supports;
        }
    }
}

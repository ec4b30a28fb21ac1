//! The nodes of a cluster in one world: started together, killed and started again one by one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use env::Clock as _;
use node::{Node, NodeConfig, NodeHandle, StartError};

use crate::disk::MemDisk;
use crate::life::Life;
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
    disk: MemDisk,
    life: Arc<Life>,
    /// `None` while it is down.
    handle: Option<NodeHandle>,
}

impl Members {
    /// Starts nodes that found a cluster, each with the address of its links. They wait for each other.
    ///
    /// # Errors
    /// One can't start.
    pub async fn found(
        world: &mut World,
        configs: Vec<(SocketAddr, NodeConfig)>,
    ) -> Result<Members, StartError> {
        let mut members = Members::default();
        let mut starts = Vec::new();
        for (links, config) in configs {
            let (disk, life) = (MemDisk::default(), Life::new(config.id.0, 1));
            starts.push(Node::start(world.node(&life, &disk, Some(links)), config.clone()));
            members.seats.insert(config.id.0, Seat { config, links, disk, life, handle: None });
        }
        let started = futures::future::join_all(starts).await;
        for (seat, handle) in members.seats.values_mut().zip(started) {
            seat.handle = Some(handle?);
        }
        Ok(members)
    }

    /// The nodes that are up, by their ids.
    pub fn alive(&self) -> Vec<NodeHandle> {
        self.seats.values().filter_map(|seat| seat.handle.clone()).collect()
    }

    /// Kills a node.
    pub fn kill(&mut self, world: &mut World, node: u64) {
        let Some(seat) = self.seats.get_mut(&node) else { return };
        let Some(handle) = seat.handle.take() else { return };
        seat.disk = world.kill(&seat.life, &seat.disk);
        // What libraries spawned themselves has no life to end with. It has dead hands; let it wind up.
        tokio::spawn(async move { handle.stop().await });
    }

    /// Starts a node that is down, with what its disk has kept.
    ///
    /// # Errors
    /// It can't start.
    pub async fn restart(&mut self, world: &mut World, node: u64) -> Result<(), StartError> {
        let Some(seat) = self.seats.get_mut(&node).filter(|seat| seat.handle.is_none()) else {
            return Ok(());
        };
        seat.life = Life::new(node, seat.life.number() + 1);
        world.trace.note(world.clock.now(), &format!("node {node} begins its life {}", seat.life.number()));
        let seams = world.node(&seat.life, &seat.disk, Some(seat.links));
        seat.handle = Some(Node::start(seams, seat.config.clone()).await?);
        Ok(())
    }
}

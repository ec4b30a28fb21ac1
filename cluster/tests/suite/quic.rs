//! Three nodes over real QUIC on loopback. Waiting has limits so that a failure ends; no test asserts a time.

use std::sync::Arc;
use std::time::Duration;

use call::NodeId;
use cluster::link::{ClusterKey, Identity, LinkConfig, Quic};
use cluster::{Cluster, Config};
use env::{Frames, Peer};
use machine::Rng;

use crate::support::{MemDisk, World, name, pause, trunk};

const SECRET: &[u8] = b"the secret of one cluster, long enough to be good";
/// Long enough that a busy machine is not taken for a dead node.
const DETECT: Duration = Duration::from_secs(3);

fn link(node: u64) -> Arc<Quic> {
    let identity = Identity::Key(ClusterKey::parse(SECRET).unwrap());
    let listen = "127.0.0.1:0".parse().unwrap();
    Quic::start(LinkConfig { node, listen, identity, detect: DETECT, waits: false }, Rng::from_u64(node))
        .unwrap()
}

async fn open(node: u64, frames: Arc<dyn Frames>, peers: Vec<Peer>) -> (World, Cluster) {
    let mut world = World::new(MemDisk::default(), node);
    world.seams.frames = Some(frames);
    let mut config = Config::alone(NodeId(node), name(&format!("n{node}")));
    (config.peers, config.detect) = (peers, DETECT);
    let cluster = world.open(config).await;
    (world, cluster)
}

async fn put(cluster: &Cluster, text: &str) {
    cluster.put(vec![trunk(text, |_| ())]).await.unwrap().unwrap();
}

fn has(cluster: &Cluster, text: &str) -> bool {
    cluster.read(|state| state.resources().trunks.contains_key(&name(text)))
}

#[test]
fn three_nodes_over_quic_commit_and_go_on_without_their_leader() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let course = async {
        let links: Vec<_> = (1..=3).map(|node| (node, link(node))).collect();
        let peers: Vec<_> =
            links.iter().map(|(node, link)| Peer { node: *node, at: link.local().unwrap() }).collect();
        let opening: Vec<_> =
            links.into_iter().map(|(node, link)| tokio::spawn(open(node, link, peers.clone()))).collect();
        let mut nodes = Vec::new();
        for opening in opening {
            nodes.push(opening.await.unwrap());
        }
        for (n, (_, cluster)) in nodes.iter().enumerate() {
            put(cluster, &format!("t{n}")).await;
        }
        while !nodes.iter().all(|(_, cluster)| (0..3).all(|n| has(cluster, &format!("t{n}")))) {
            pause(5).await;
        }
        while !nodes.iter().all(|(_, cluster)| cluster.may_speak()) {
            pause(5).await;
        }
        let leader = nodes.iter().position(|(_, cluster)| cluster.status().leads).unwrap();
        let (world, _) = nodes.remove(leader);
        world.crash(&mut Rng::from_u64(1));
        put(&nodes[0].1, "after").await;
        while !has(&nodes[1].1, "after") {
            pause(5).await;
        }
    };
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), course).await.unwrap() });
}

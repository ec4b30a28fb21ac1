//! Several nodes over links in memory, in virtual time.

use std::collections::BTreeMap;

use call::NodeId;
use cluster::{Cluster, Command, Config, Outcome, Urgency};
use machine::Rng;

use crate::net::{Net, peer};
use crate::support::{MemDisk, World, name, pause, trunk, virtually};

/// Nodes and their network.
pub struct Nodes {
    pub net: Net,
    seed: u64,
    founders: u64,
    up: BTreeMap<u64, (World, Cluster)>,
    disks: BTreeMap<u64, MemDisk>,
    rng: Rng,
}

impl Nodes {
    /// A cluster of so many, founded and ready.
    pub async fn found(seed: u64, founders: u64) -> Nodes {
        let net = Net::new(seed);
        let (up, disks) = (BTreeMap::new(), BTreeMap::new());
        let mut nodes = Nodes { net, seed, founders, up, disks, rng: Rng::from_u64(seed ^ 0xD15C) };
        let opening: Vec<_> = (1..=founders).map(|id| nodes.begin(id, |_| ())).collect();
        for (id, opening) in (1..).zip(opening) {
            nodes.up.insert(id, opening.await.unwrap());
        }
        nodes
    }

    fn begin(
        &mut self,
        id: u64,
        change: impl FnOnce(&mut Config),
    ) -> tokio::task::JoinHandle<(World, Cluster)> {
        let disk = self.disks.remove(&id).unwrap_or_default();
        self.seed += 1;
        let mut world = World::new(disk, self.seed);
        world.seams.frames = Some(self.net.link(id));
        let mut config = Config::alone(NodeId(id), name(&format!("n{id}")));
        (config.segment_len, config.cdr_file_len) = (128 << 10, 8 << 10);
        config.peers = (1..=self.founders).map(peer).collect();
        change(&mut config);
        tokio::spawn(async move {
            let cluster = world.open(config).await;
            (world, cluster)
        })
    }

    pub async fn start(&mut self, id: u64) {
        let begun = self.begin(id, |_| ()).await.unwrap();
        self.up.insert(id, begun);
    }

    /// A process dies at once.
    pub fn kill(&mut self, id: u64) {
        let (world, _) = self.up.remove(&id).unwrap();
        self.net.kill(id);
        self.disks.insert(id, world.crash(&mut self.rng));
    }

    pub fn node(&self, id: u64) -> &Cluster {
        &self.up[&id].1
    }

    /// Who leads, as all that are up say; waits until they agree.
    pub async fn leader(&self) -> u64 {
        for _ in 0..2000 {
            let said: Vec<_> =
                self.up.values().map(|(_, it)| (it.status().leader, it.status().term)).collect();
            let leads = self.up.iter().filter(|(_, (_, it))| it.status().leads).map(|(id, _)| *id);
            let leads: Vec<_> = leads.collect();
            if let ([(Some(leader), _), rest @ ..], [one]) = (said.as_slice(), leads.as_slice())
                && leader.0 == *one
                && rest.iter().all(|other| *other == said[0])
            {
                return leader.0;
            }
            pause(5).await;
        }
        panic!("no leader: {:?}", self.up.values().map(|(_, it)| it.status()).collect::<Vec<_>>())
    }

    /// Waits until all have applied the same, and compares what they hold.
    pub async fn agree(&self) {
        for _ in 0..2000 {
            let applied: Vec<_> = self.up.values().map(|(_, it)| it.status().applied).collect();
            if applied.iter().all(|at| *at == applied[0]) {
                let digests =
                    self.up.values().map(|(_, it)| it.read(|state| (state.digest(), state.full_digest())));
                let digests: Vec<_> = digests.collect();
                assert!(digests.iter().all(|it| *it == digests[0]), "{digests:?}");
                return;
            }
            pause(5).await;
        }
        panic!(
            "they don't come together: {:?}",
            self.up.values().map(|(_, it)| it.status()).collect::<Vec<_>>()
        )
    }
}

async fn put(cluster: &Cluster, text: &str) {
    let put = cluster.put(vec![trunk(text, |_| ())]).await.unwrap().unwrap();
    assert_eq!(put.len(), 1);
}

fn has(cluster: &Cluster, text: &str) -> bool {
    cluster.read(|state| state.resources().trunks.contains_key(&name(text)))
}

#[test]
fn three_nodes_elect_one_of_them_and_commit_what_each_proposes() {
    virtually(|| async {
        let nodes = Nodes::found(1, 3).await;
        let leader = nodes.leader().await;
        for id in 1..=3 {
            put(nodes.node(id), &format!("t{id}")).await;
        }
        nodes.agree().await;
        for id in 1..=3 {
            assert!((1..=3).all(|n| has(nodes.node(id), &format!("t{n}"))));
            assert_eq!(nodes.node(id).status().leads, id == leader);
        }
        let incarnations: Vec<_> = (1..=3).map(|id| nodes.node(id).booted().incarnation.0).collect();
        assert!((1..=3).all(|n| incarnations.contains(&n)), "{incarnations:?}");
    });
}

#[test]
fn the_same_seed_gives_the_same_course() {
    fn course(seed: u64) -> (u64, u64, u64, u64) {
        let told = std::sync::Arc::new(std::sync::Mutex::new((0, 0, 0, 0)));
        let tell = told.clone();
        virtually(|| async move {
            let began = tokio::time::Instant::now();
            let nodes = Nodes::found(seed, 3).await;
            let leader = nodes.leader().await;
            put(nodes.node(leader % 3 + 1), "t").await;
            let took = u64::try_from(began.elapsed().as_nanos()).unwrap();
            let frames = nodes.net.sent(env::Purpose::Raft);
            *tell.lock().unwrap() = (leader, nodes.node(leader).status().term, frames, took);
        });
        let told = *told.lock().unwrap();
        told
    }
    assert_eq!(course(5), course(5));
    assert_ne!(course(5), course(6));
}

#[test]
fn commands_told_to_a_follower_are_applied_in_their_order() {
    virtually(|| async {
        let nodes = Nodes::found(2, 3).await;
        let follower = nodes.node(nodes.leader().await % 3 + 1);
        for n in 1..=200u64 {
            follower.proposer().propose(
                follower.booted().homes[0].home,
                follower.booted().homes[0].epoch,
                call::CallId::new(follower.booted().incarnation, n),
                crate::support::end(200, 1),
                Urgency::Urgent,
            );
            if n % 7 == 0 {
                pause(1).await;
            }
        }
        assert!(matches!(follower.proposer().ask(Command::Tick).await, Some(Outcome::Done)));
        nodes.agree().await;
    });
}

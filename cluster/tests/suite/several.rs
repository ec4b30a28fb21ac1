//! Several nodes over links in memory, in virtual time.

use std::collections::BTreeMap;
use std::sync::Arc;

use call::{CallCommand, CallId, NodeId};
use cluster::{CdrFilter, Cluster, Command, Config, Outcome, Urgency};
use machine::Rng;

use crate::net::{Net, peer};
use crate::support::{Heard, MemDisk, World, admit, end, gateway, name, pause, trunk, virtually};

/// Nodes and their network.
pub struct Nodes {
    pub net: Net,
    pub snapshot_every: u64,
    pub floating: Vec<cluster::FloatingHome>,
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
        let (up, disks, rng) = (BTreeMap::new(), BTreeMap::new(), Rng::from_u64(seed ^ 0xD15C));
        let (snapshot_every, floating) = (128 << 20, Vec::new());
        let mut nodes = Nodes { net, snapshot_every, floating, seed, founders, up, disks, rng };
        nodes.start_all().await;
        nodes
    }

    pub async fn start_all(&mut self) {
        let opening: Vec<_> = (1..=self.founders).map(|id| self.begin(id, |_| ())).collect();
        for (id, opening) in (1..).zip(opening) {
            self.up.insert(id, opening.await.unwrap());
        }
    }

    pub fn heard(&self, id: u64) -> std::sync::MutexGuard<'_, Heard> {
        self.up[&id].0.heard.lock().unwrap()
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
        config.snapshot_every = self.snapshot_every;
        config.peers = (1..=self.founders).map(peer).collect();
        config.floating = self.floating.clone();
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

    /// The nodes that are up.
    pub fn all(&self) -> impl Iterator<Item = &Cluster> {
        self.up.values().map(|(_, cluster)| cluster)
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

    /// Lets time pass and notes who leads in which term: nobody else may.
    pub async fn watch(&self, ms: u64, leaders: &mut BTreeMap<u64, u64>) {
        for _ in 0..ms {
            for (id, (_, cluster)) in &self.up {
                let status = cluster.status();
                if status.leads {
                    assert_eq!(leaders.entry(status.term).or_insert(*id), id, "term {}", status.term);
                }
            }
            pause(1).await;
        }
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
        std::sync::Arc::into_inner(told).unwrap().into_inner().unwrap()
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

#[test]
fn when_the_leader_dies_another_goes_on_within_half_a_second_and_what_was_committed_stays() {
    virtually(|| async {
        for seed in [3, 4, 5] {
            let mut nodes = Nodes::found(seed, 3).await;
            let (first, term) = (nodes.leader().await, nodes.node(1).status().term);
            put(nodes.node(first), "before").await;
            nodes.kill(first);
            let died = tokio::time::Instant::now();
            let survivor = first % 3 + 1;
            put(nodes.node(survivor), "after").await;
            // Lease and election end after 100 to 160 ms each; then three messages and three writes.
            assert!(died.elapsed().as_millis() < 500, "{:?}", died.elapsed());
            let second = nodes.leader().await;
            assert!(second != first && nodes.node(second).status().term > term);
            nodes.start(first).await;
            nodes.agree().await;
            assert!(has(nodes.node(first), "before") && has(nodes.node(first), "after"));
            assert!(nodes.node(first).booted().incarnation.0 > 3);
        }
    });
}

#[test]
fn a_batch_under_way_when_the_leader_dies_is_applied_once() {
    virtually(|| async {
        for seed in 10..18 {
            let mut nodes = Nodes::found(seed, 3).await;
            let leader = nodes.leader().await;
            let follower = leader % 3 + 1;
            let before: BTreeMap<_, _> =
                (1..=3).map(|id| (id, nodes.node(id).read(|it| it.resources().version))).collect();
            let asked = {
                let cluster = nodes.node(follower).clone();
                tokio::spawn(async move { put(&cluster, "t").await })
            };
            // Somewhere between the first frame and the last.
            pause(seed % 4).await;
            nodes.kill(leader);
            asked.await.unwrap();
            nodes.start(leader).await;
            nodes.agree().await;
            for id in 1..=3 {
                assert_eq!(nodes.node(id).read(|it| it.resources().version), before[&id] + 1);
            }
        }
    });
}

#[test]
fn i33_a_node_without_a_quorum_commits_nothing_and_comes_back_to_what_the_others_did() {
    virtually(|| async {
        for lone in 1..=3 {
            let nodes = Nodes::found(20 + lone, 3).await;
            nodes.leader().await;
            nodes.net.isolate(lone);
            let asked = {
                let cluster = nodes.node(lone).clone();
                tokio::spawn(async move { put(&cluster, "alone").await })
            };
            put(nodes.node(lone % 3 + 1), "together").await;
            pause(3000).await;
            assert!(!asked.is_finished() && !has(nodes.node(lone), "alone"));
            assert!(!has(nodes.node(lone), "together"));
            let term = nodes.node(lone % 3 + 1).status().term;
            nodes.net.heal();
            asked.await.unwrap();
            nodes.agree().await;
            // The lone node asked before it stood: it has not driven the term up.
            assert_eq!(nodes.node(lone % 3 + 1).status().term, term);
        }
    });
}

#[test]
fn i31_i32_chaos_leaves_one_leader_per_term_and_the_same_state_on_all() {
    virtually(|| async {
        let mut nodes = Nodes::found(40, 3).await;
        let mut rng = Rng::from_u64(41);
        let mut leaders = BTreeMap::new();
        for round in 0..12 {
            let id = rng.below(3) + 1;
            let asked: Vec<_> = (1..=3)
                .map(|id| {
                    let (cluster, text) = (nodes.node(id).clone(), format!("t{round}-{id}"));
                    tokio::spawn(async move { cluster.put(vec![trunk(&text, |_| ())]).await })
                })
                .collect();
            pause(rng.below(30)).await;
            if rng.below(2) == 0 {
                nodes.kill(id);
                nodes.watch(rng.below(800), &mut leaders).await;
                nodes.start(id).await;
            } else {
                nodes.net.isolate(id);
                nodes.watch(rng.below(1500), &mut leaders).await;
                nodes.net.heal();
            }
            for (asker, asked) in (1..).zip(asked) {
                // Whoever asked in a life that is over gets no answer.
                if asker != id {
                    asked.await.unwrap().unwrap().unwrap();
                }
            }
            nodes.watch(50, &mut leaders).await;
            nodes.agree().await;
        }
        assert!(leaders.len() > 3, "{leaders:?}");
    });
}

#[test]
fn a_node_that_is_too_far_behind_gets_a_snapshot_and_then_follows() {
    virtually(|| async {
        let mut nodes = Nodes::found(50, 3).await;
        nodes.snapshot_every = 32 << 10;
        for id in 1..=3 {
            nodes.kill(id);
        }
        nodes.start_all().await;
        let leader = nodes.leader().await;
        let behind = leader % 3 + 1;
        nodes.kill(behind);
        // A thousand entries stay in the log behind a snapshot.
        let cluster = nodes.node(leader);
        put(cluster, "t").await;
        for _ in 0..1300 {
            cluster.proposer().ask(Command::Tick).await.unwrap();
        }
        pause(1000).await;
        let chunks = nodes.net.sent(env::Purpose::Snapshot);
        nodes.start(behind).await;
        assert!(nodes.net.sent(env::Purpose::Snapshot) > chunks);
        nodes.agree().await;
        assert!(has(nodes.node(behind), "t"));
        put(nodes.node(behind), "u").await;
        // It begins with that snapshot next time.
        nodes.kill(behind);
        nodes.start(behind).await;
        nodes.agree().await;
        assert!(has(nodes.node(behind), "t") && has(nodes.node(behind), "u"));
    });
}

/// A call from admission to end, at the home of a node.
async fn one_call(cluster: &Cluster, n: u64) {
    let booted = cluster.booted();
    let (call, held) = (CallId::new(booted.incarnation, n), booted.homes[0].clone());
    let steps = [CallCommand::Admit(Arc::new(admit(n, "t", &["g"]))), end(200, 1_800_000_002_000)];
    for command in steps {
        let command = Command::Call { call, home: held.home, epoch: held.epoch, command };
        cluster.proposer().ask(command).await.unwrap();
    }
}

#[test]
fn i29_cdrs_that_were_made_while_a_node_was_away_are_in_its_files_too() {
    virtually(|| async {
        let mut nodes = Nodes::found(52, 3).await;
        let leader = nodes.leader().await;
        nodes.node(leader).put(vec![trunk("t", |_| ()), gateway("g", None)]).await.unwrap().unwrap();
        one_call(nodes.node(leader), 1).await;
        pause(1000).await;
        let away = leader % 3 + 1;
        nodes.kill(away);
        for n in 2..=20 {
            one_call(nodes.node(leader), n).await;
        }
        // Two nodes have them on disk: the state lets them go.
        pause(2000).await;
        assert_eq!(nodes.node(leader).read(|state| state.cdrs().len()), 0);
        nodes.start(away).await;
        one_call(nodes.node(leader), 21).await;
        pause(1000).await;
        for cluster in nodes.all() {
            let found = cluster.cdrs(&CdrFilter::default()).unwrap();
            let seqs: Vec<u64> = found.iter().filter_map(|cdr| cdr["seq"].as_u64()).collect();
            assert_eq!(seqs, (1..=21).collect::<Vec<u64>>(), "at {:?}", cluster.node());
        }
    });
}

#[test]
fn i29_cdrs_that_a_node_never_applied_come_from_the_files_of_others() {
    virtually(|| async {
        let mut nodes = Nodes::found(53, 3).await;
        nodes.snapshot_every = 32 << 10;
        for id in 1..=3 {
            nodes.kill(id);
        }
        nodes.start_all().await;
        let leader = nodes.leader().await;
        nodes.node(leader).put(vec![trunk("t", |_| ()), gateway("g", None)]).await.unwrap().unwrap();
        one_call(nodes.node(leader), 1).await;
        pause(1000).await;
        let away = leader % 3 + 1;
        nodes.kill(away);
        const CALLS: u64 = 700;
        for n in 2..=CALLS {
            one_call(nodes.node(leader), n).await;
        }
        pause(1000).await;
        let chunks = nodes.net.sent(env::Purpose::Snapshot);
        nodes.start(away).await;
        assert!(nodes.net.sent(env::Purpose::Snapshot) > chunks, "it gets a snapshot");
        one_call(nodes.node(leader), CALLS + 1).await;
        let seqs = |cluster: &Cluster| -> Vec<u64> {
            let found = cluster.cdrs(&CdrFilter::default()).unwrap();
            found.iter().filter_map(|cdr| cdr["seq"].as_u64()).collect()
        };
        let all: Vec<u64> = (1..=CALLS + 1).collect();
        pause(200).await;
        assert!(seqs(nodes.node(away)).len() < 600, "what it never applied is not there yet");
        pause(20_000).await;
        assert_eq!(seqs(nodes.node(away)), all);
        // They are in their places after a restart too, and writing goes on behind them.
        nodes.kill(away);
        nodes.start(away).await;
        one_call(nodes.node(leader), CALLS + 2).await;
        pause(1000).await;
        assert_eq!(seqs(nodes.node(away)), (1..=CALLS + 2).collect::<Vec<u64>>());
    });
}

#[test]
fn an_outcome_that_comes_back_in_a_snapshot_is_said_to_be_unknown_and_the_next_goes_on() {
    virtually(|| async {
        let mut nodes = Nodes::found(60, 3).await;
        nodes.snapshot_every = 32 << 10;
        for id in 1..=3 {
            nodes.kill(id);
        }
        nodes.start_all().await;
        let leader = nodes.leader().await;
        let lone = leader % 3 + 1;
        let asked = {
            let cluster = nodes.node(lone).clone();
            tokio::spawn(async move { cluster.put(vec![trunk("t", |_| ())]).await })
        };
        // Its batch reaches the leader, and not the entry that it becomes.
        nodes.net.deafen(lone);
        while !has(nodes.node(leader), "t") {
            pause(1).await;
        }
        assert!(has(nodes.node(leader), "t") && !has(nodes.node(lone), "t"));
        for _ in 0..1300 {
            nodes.node(leader).proposer().ask(Command::Tick).await.unwrap();
        }
        pause(1000).await;
        nodes.net.heal();
        assert!(asked.await.unwrap().is_none());
        assert!(has(nodes.node(lone), "t"));
        put(nodes.node(lone), "u").await;
        nodes.agree().await;
        let heard = nodes.heard(lone);
        assert_eq!((heard.replaced, heard.unknown), (1, 1));
    });
}

#[test]
fn a_node_joins_learns_votes_and_goes_again() {
    virtually(|| async {
        let mut nodes = Nodes::found(70, 3).await;
        let leader = nodes.leader().await;
        put(nodes.node(leader), "t").await;
        let coming = nodes.begin(4, |config| config.joins = true);
        pause(2000).await;
        // Until somebody lets it in it is nothing.
        assert!(!coming.is_finished());
        nodes.node(leader % 3 + 1).join(NodeId(4), peer(4).at).await.unwrap();
        nodes.up.insert(4, coming.await.unwrap());
        let members = nodes.node(4).status().members;
        assert_eq!(members.len(), 4);
        assert!(members.iter().all(|it| it.is_voter && it.at == Some(peer(it.node.0).at)));
        assert_eq!(nodes.net.peers(1), [peer(2), peer(3), peer(4)]);
        assert_eq!(nodes.net.peers(4), [peer(1), peer(2), peer(3)]);
        nodes.agree().await;
        assert!(has(nodes.node(4), "t"));
        // What it proposes is committed; once in, it starts like the others.
        put(nodes.node(4), "u").await;
        nodes.kill(4);
        nodes.start(4).await;
        // Twice the same change nothing, and the leader itself may go.
        nodes.node(4).join(NodeId(4), peer(4).at).await.unwrap();
        let leader = nodes.leader().await;
        nodes.node(4).remove(NodeId(leader)).await.unwrap();
        nodes.kill(leader);
        let second = nodes.leader().await;
        put(nodes.node(second), "v").await;
        nodes.agree().await;
        let unknown = nodes.node(second).remove(NodeId(9)).await;
        assert_eq!(unknown, Err(cluster::ChangeError::Unknown(NodeId(9))));
        assert_eq!(nodes.node(second).status().members.len(), 3);
    });
}

#[test]
fn a_voter_whose_disk_is_full_holds_nobody_up_and_catches_up_when_there_is_room() {
    virtually(|| async {
        for full in 1..=3 {
            let nodes = Nodes::found(100 + full, 3).await;
            nodes.leader().await;
            let disk = &nodes.up[&full].0.disk;
            let used: u64 = env::Disk::list(disk).unwrap().iter().map(|file| file.len).sum();
            disk.limit(used);
            let other = nodes.node(full % 3 + 1);
            for n in 0..100 {
                let took = tokio::time::Instant::now();
                put(other, &format!("t{n}")).await;
                assert!(took.elapsed().as_millis() < 1000, "{n}: {:?}", took.elapsed());
            }
            assert!(disk.counts().refused > 0);
            assert!(matches!(nodes.node(full).status().health, cluster::Health::DiskFull));
            disk.limit(u64::MAX);
            nodes.agree().await;
            put(nodes.node(full), "last").await;
            assert!((1..=3).all(|id| nodes.node(id).status().commits.count > 0));
            nodes.agree().await;
        }
    });
}

#[test]
fn a_node_closes_though_its_full_disk_never_answers() {
    virtually(|| async {
        for seed in 130..133 {
            let nodes = Nodes::found(seed, 3).await;
            let leader = nodes.leader().await;
            nodes.up[&leader].0.disk.set_full(true);
            put(nodes.node(leader % 3 + 1), "t").await;
            let began = tokio::time::Instant::now();
            nodes.node(leader).close().await;
            assert!(began.elapsed().as_secs() < 15, "{:?}", began.elapsed());
        }
    });
}

#[test]
fn a_leader_that_closes_hands_the_lead_over_first() {
    virtually(|| async {
        for seed in 110..114 {
            let nodes = Nodes::found(seed, 3).await;
            let leader = nodes.leader().await;
            nodes.node(leader).close().await;
            let closed = tokio::time::Instant::now();
            put(nodes.node(leader % 3 + 1), "t").await;
            // No election had to be waited for.
            assert!(closed.elapsed().as_millis() < 60, "{:?}", closed.elapsed());
        }
    });
}

#[test]
fn a_node_whose_disk_was_lost_is_fed_again_and_takes_nobody_with_it() {
    virtually(|| async {
        for wiped in 1..=3 {
            let mut nodes = Nodes::found(120 + wiped, 3).await;
            let leader = nodes.leader().await;
            for n in 0..20 {
                put(nodes.node(leader), &format!("t{n}")).await;
            }
            nodes.kill(wiped);
            nodes.disks.remove(&wiped);
            nodes.start(wiped).await;
            nodes.agree().await;
            assert!(has(nodes.node(wiped), "t0") && has(nodes.node(wiped), "t19"));
            put(nodes.node(wiped), "u").await;
            for id in 1..=3 {
                assert!(matches!(nodes.node(id).status().health, cluster::Health::Ready));
            }
        }
    });
}

#[test]
fn frames_that_are_lost_cost_time_and_nothing_else() {
    virtually(|| async {
        let nodes = Nodes::found(130, 3).await;
        nodes.leader().await;
        nodes.net.lose(10);
        let mut leaders = BTreeMap::new();
        for n in 0..30u64 {
            let cluster = nodes.node(n % 3 + 1).clone();
            let asked = tokio::spawn(async move { put(&cluster, &format!("t{n}")).await });
            nodes.watch(40, &mut leaders).await;
            asked.await.unwrap();
        }
        nodes.net.lose(0);
        nodes.agree().await;
        assert!((0..30).all(|n| has(nodes.node(1), &format!("t{n}"))));
    });
}

//! A process that dies at random moments under load, and what the next one finds.

use std::collections::BTreeSet;
use std::sync::Arc;

use call::{CallCommand, CallId, Change};
use cluster::codec::decode_entry;
use cluster::{CdrFilter, Cluster, Command, Outcome, State, Urgency};
use machine::Rng;

use crate::support::{MemDisk, World, admit, config, confirm, end, gateway, pause, trunk, virtually};

/// Calls under way, placed and ended at random.
async fn load(cluster: &Cluster, rng: &mut Rng, next: &mut u64, steps: u64) {
    let held = cluster.booted().homes[0].clone();
    for _ in 0..steps {
        let up: Vec<CallId> = cluster.read(|state| state.calls().map(|call| call.id).collect());
        let picked = up.get(rng.below(up.len() as u64 + 1) as usize).copied();
        let (id, command) = match (rng.below(3), picked) {
            (0, Some(id)) => (id, end(200, 1_800_000_002_000)),
            (1, Some(id)) => (id, confirm(1_800_000_001_000)),
            _ => {
                *next += 1;
                let id = CallId::new(cluster.booted().incarnation, *next);
                (id, CallCommand::Admit(admit(id.0, "t", &["g"]).into()))
            }
        };
        let urgency = if command.is_urgent() { Urgency::Urgent } else { Urgency::Lazy };
        cluster.proposer().propose(held.home, held.epoch, id, command, urgency);
        pause(rng.below(6)).await;
    }
}

/// What a disk's log says, applied to an empty state.
async fn replayed(disk: &MemDisk) -> State {
    let world = World::new(disk.copy(), 1);
    let seams = &world.seams;
    let log = cluster::log::Log::open(seams.disk.clone(), seams.clock.clone(), 128 << 10, 1).await.unwrap();
    let mut state = State::default();
    for (_, payload) in log.read(0, u64::MAX).unwrap() {
        if let Some((1, batch)) = payload.split_first() {
            state.apply(&decode_entry(batch).unwrap(), &mut Vec::new());
        }
    }
    state
}

/// Calls that were admitted, and calls that were ended, as far as anybody was told.
#[derive(Default)]
struct Promised {
    admitted: BTreeSet<CallId>,
    ended: BTreeSet<CallId>,
}

impl Promised {
    fn hear(&mut self, world: &World) {
        for (command, outcome) in &world.heard.lock().unwrap().outcomes {
            let Command::Call { call, command, .. } = command else { continue };
            match (command, outcome) {
                (CallCommand::Admit(_), Outcome::Call(call::Outcome::Target(_))) => {
                    self.admitted.insert(*call);
                }
                (CallCommand::Change(Change::End(_)), Outcome::Call(call::Outcome::Done)) => {
                    self.ended.insert(*call);
                }
                _ => {}
            }
        }
    }
}

#[test]
fn every_acknowledged_command_exists_after_200_crashes_and_cdrs_are_single() {
    virtually(|| async {
        let mut rng = Rng::from_u64(0xC4A5);
        let (mut disk, mut promised, mut next) = (MemDisk::default(), Promised::default(), 0);
        let mut lives = 0;
        while lives < 200 {
            lives += 1;
            let world = World::new(disk, lives);
            let mut configuration = config();
            // Snapshots in every second stretch of lives, so that both ways of recovery are gone.
            configuration.snapshot_every = if lives % 20 < 10 { u64::MAX } else { 64 << 10 };
            let cluster = world.open(configuration).await;
            assert_eq!(u64::from(cluster.booted().incarnation.0), lives);
            if lives == 1 {
                cluster.put(vec![trunk("t", |_| ()), gateway("g", None)]).await.unwrap().unwrap();
            }
            cluster.read(|state| {
                assert!(state.is_consistent());
                let live: BTreeSet<CallId> = state.calls().map(|call| call.id).collect();
                for call in promised.admitted.difference(&promised.ended) {
                    assert!(live.contains(call) || state.cdrs_made() > 0, "{call} was admitted and is gone");
                }
                assert!(promised.ended.is_disjoint(&live), "an ended call is back");
            });
            let steps = rng.below(40);
            load(&cluster, &mut rng, &mut next, steps).await;
            if lives % 7 == 0 {
                pause(600).await;
            }
            promised.hear(&world);
            if lives % 10 == 9 {
                // Now and then, all of it: one CDR for each call that is not up, each number once.
                pause(1500).await;
                promised.hear(&world);
                check_cdrs(&cluster, &promised);
            }
            drop(cluster);
            disk = world.crash(&mut rng);
        }
        assert!(disk.counts().torn > 50, "{:?}", disk.counts());
        assert!(promised.ended.len() > 300, "{} calls ended", promised.ended.len());
    });
}

fn check_cdrs(cluster: &Cluster, promised: &Promised) {
    let cdrs = cluster.cdrs(&CdrFilter::default()).unwrap();
    let seqs: Vec<u64> = cdrs.iter().map(|cdr| cdr["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=cluster.read(State::cdrs_made)).collect::<Vec<_>>());
    let ids: Vec<&str> = cdrs.iter().map(|cdr| cdr["id"].as_str().unwrap()).collect();
    let single: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(single.len(), ids.len(), "a call has two CDRs");
    let live = cluster.read(|state| state.calls().map(|call| call.id).collect::<BTreeSet<_>>());
    for call in &promised.admitted {
        let has_cdr = single.contains(call.to_string().as_str());
        assert!(has_cdr != live.contains(call), "{call} is up and has a CDR, or neither");
    }
    for call in &promised.ended {
        assert!(single.contains(call.to_string().as_str()), "{call} ended without a CDR");
    }
}

#[test]
fn the_state_is_what_the_log_says() {
    virtually(|| async {
        let mut rng = Rng::from_u64(5);
        let (mut disk, mut next) = (MemDisk::default(), 0);
        for life in 1..=12 {
            let world = World::new(disk, life);
            let cluster = world.open(config()).await;
            if life == 1 {
                cluster.put(vec![trunk("t", |_| ()), gateway("g", None)]).await.unwrap().unwrap();
            }
            load(&cluster, &mut rng, &mut next, 25).await;
            pause(500).await;
            let of_cluster = cluster.read(|state| (state.digest(), state.full_digest()));
            let of_log = replayed(&world.disk).await;
            assert_eq!(of_cluster, (of_log.digest(), of_log.full_digest()));
            drop(cluster);
            disk = world.crash(&mut rng);
        }
    });
}

#[test]
fn a_crash_between_append_and_sync_leaves_the_batch_whole_or_not_at_all() {
    virtually(|| async {
        let (mut whole, mut absent) = (0, 0);
        for seed in 0..40 {
            let world = World::new(MemDisk::default(), seed);
            let cluster = world.open(config()).await;
            cluster.put(vec![trunk("t", |_| ()), gateway("g", None)]).await.unwrap().unwrap();
            pause(500).await;
            // From here on the disk performs nothing.
            world.disk.on_submit(Arc::new(|_| ()));
            let held = cluster.booted().homes[0].clone();
            for n in 1..=3 {
                let id = CallId::new(cluster.booted().incarnation, n);
                let command = CallCommand::Admit(admit(id.0, "t", &["g"]).into());
                cluster.proposer().propose(held.home, held.epoch, id, command, Urgency::Urgent);
            }
            pause(20).await;
            assert_eq!(world.heard.lock().unwrap().outcomes.len(), 3, "boot, resources, version");
            drop(cluster);
            let world = World::new(world.crash(&mut Rng::from_u64(seed)), seed + 1000);
            match world.open(config()).await.read(|state| state.calls().len()) {
                0 => absent += 1,
                3 => whole += 1,
                some => panic!("{some} of three calls"),
            }
        }
        assert!(whole > 0 && absent > 0, "{whole} {absent}");
    });
}

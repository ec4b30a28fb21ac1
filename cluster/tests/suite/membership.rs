//! A node's membership from end to end, in virtual time on a disk that crashes.

use call::CallCommand;
use cluster::{Command, Outcome, Urgency};
use crate::support::{MemDisk, World, admit, config, confirm, end, gateway, pause, trunk, virtually};

async fn place_call(cluster: &cluster::Cluster, n: u64) {
    let held = cluster.booted().homes[0].clone();
    let id = call::CallId::new(cluster.booted().incarnation, n);
    let propose = |command: CallCommand| {
        let urgency = if command.is_urgent() { Urgency::Urgent } else { Urgency::Lazy };
        cluster.proposer().propose(held.home, held.epoch, id, command, urgency);
    };
    propose(CallCommand::Admit(admit(id.0, "t", &["g"]).into()));
    pause(7).await;
    propose(confirm(1_800_000_001_000));
    pause(7).await;
    if n.is_multiple_of(2) {
        propose(end(200, 1_800_000_002_000));
    }
    pause(30).await;
}

#[test]
fn a_proposal_comes_back_as_an_outcome_and_survives_a_restart() {
    virtually(|| async {
        let world = World::new(MemDisk::default(), 1);
        let cluster = world.open(config()).await;
        assert_eq!(cluster.booted().incarnation.0, 1);
        let put = cluster.put(vec![trunk("t", |_| ()), gateway("g", None)]).await.unwrap().unwrap();
        assert_eq!(put.len(), 2);
        for n in 1..=10 {
            place_call(&cluster, n).await;
        }
        pause(1000).await;
        let heard = world.heard.lock().unwrap();
        let told = heard.outcomes.iter().filter(|(command, _)| matches!(command, Command::Call { .. }));
        assert!(told.clone().all(|(_, outcome)| {
            matches!(outcome, Outcome::Call(call::Outcome::Target(0) | call::Outcome::Done))
        }));
        assert_eq!(told.count(), 10 + 10 + 5);
        drop(heard);
        let (digest, full) = cluster.read(|state| (state.digest(), state.full_digest()));
        assert_eq!(cluster.read(|state| (state.calls().len(), state.cdrs_made())), (5, 5));
        cluster.close().await;
        let disk = world.crash(&mut machine::Rng::from_u64(3));

        // The same state comes out of the log; then this life's boot changes it.
        let world = World::new(disk, 2);
        let again = world.open(config()).await;
        assert_eq!(again.booted().incarnation.0, 2);
        assert_eq!(again.booted().homes[0].epoch.0, 2);
        assert_eq!(again.read(|state| (state.calls().len(), state.cdrs_made())), (5, 5));
        assert_ne!(again.read(|state| (state.digest(), state.full_digest())), (digest, full));
        assert!(again.read(cluster::State::is_consistent));
    });
}

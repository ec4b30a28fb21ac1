//! Backups: what outlives a cluster comes back into an empty one, and into no other.

use call::HomeId;
use cluster::{Command, Outcome, Place, Rebind, Refused, Register, Registered, Restore, SnapshotError};
use machine::{ClusterTime, WallTime};
use trunk::{Account, Host, Scope, Secret, Transport};

use crate::homes::{Crew, floating};
use crate::support::{flow, gateway, name, trunk};

/// A cluster with a trunk whose account is registered at the floating home, and some calls admitted today.
fn busy() -> Crew {
    let mut crew = Crew::with_homes(2, &[floating("f1", &[])]);
    put(&mut crew);
    let home = crew.home("f1").0;
    let registered = crew.say(1, Command::Register(Box::new(register(home))));
    assert!(matches!(registered, Outcome::Registered(Registered::Bound(Some(_)))), "{registered:?}");
    for _ in 0..3 {
        crew.call_on("f1");
    }
    crew
}

fn put(crew: &mut Crew) {
    let account = Account { username: "alice".to_owned(), password: Secret::given("x") };
    let line = trunk("line", |it| {
        it.settings.limits.per_day = Some(30);
        it.accounts = vec![account];
    });
    assert!(matches!(
        crew.say(1, Command::PutResources(vec![line, gateway("g", None)])),
        Outcome::Put(Ok(_))
    ));
}

fn register(home: HomeId) -> Register {
    let place = Place {
        contact: "sip:alice@192.0.2.9".to_owned(),
        path: Vec::new(),
        host: Host::Ip("192.0.2.9".parse().unwrap()),
        port: None,
        transport: Transport::Udp,
        flow: flow(),
        home,
        behind_nat: false,
        expires_s: 600,
        user_agent: None,
        at: WallTime(0),
    };
    let (username, call_id) = ("alice".to_owned(), "c1".to_owned());
    let proof = auth::Use { issued: ClusterTime(1_000_000), salt: 5, nc: 1 };
    let change = Rebind::Put(Box::new(place));
    Register { trunk: name("line"), account: 1, username, call_id, cseq: 7, proof, change }
}

#[test]
fn what_outlives_a_cluster_comes_back_into_an_empty_one() {
    let before = busy();
    let backup = Restore::read(&before.state.backup().flatten().collect::<Vec<u8>>()).unwrap();
    assert_eq!(backup.registrations(), 1);
    // Its homes are of other ids.
    let mut after = Crew::empty(3, &[floating("f0", &[]), floating("f1", &[])]);
    assert_ne!(after.home("f1").0, before.home("f1").0);
    assert_eq!(after.say(2, Command::Restore(Box::new(backup))), Outcome::Done);
    let trunk = |crew: &Crew, of: &str| crew.state.resources().trunks.get(&name(of)).cloned();
    assert!(trunk(&after, "line").is_some() && trunk(&after, "line") == trunk(&before, "line"));
    let day = |crew: &Crew| crew.state.usage(&Scope::Trunk(name("t"))).day;
    assert_eq!((day(&before), day(&after)), (3, 3));
    let binding = after.state.binding(&name("line"), 1).unwrap();
    assert_eq!((binding.place.home, &*binding.place.contact), (after.home("f1").0, "sip:alice@192.0.2.9"));
    // Calls ended with their nodes.
    assert_eq!((after.state.calls().len(), after.state.cdrs().len()), (0, 0));
    assert!(after.state.is_consistent());
}

#[test]
fn an_account_whose_home_is_unknown_or_whose_time_is_over_is_not_registered() {
    let before = busy();
    let backup = || {
        Command::Restore(Box::new(
            Restore::read(&before.state.backup().flatten().collect::<Vec<u8>>()).unwrap(),
        ))
    };
    let mut elsewhere = Crew::empty(1, &[floating("other", &[])]);
    assert_eq!(elsewhere.say(1, backup()), Outcome::Done);
    let mut late = Crew::empty(1, &[floating("f1", &[])]);
    late.pass(601_000);
    assert_eq!(late.say(1, backup()), Outcome::Done);
    assert_eq!(elsewhere.state.bindings().count() + late.state.bindings().count(), 0);
}

#[test]
fn a_cluster_that_holds_something_is_not_restored() {
    let backup = Restore::read(&busy().state.backup().flatten().collect::<Vec<u8>>()).unwrap();
    let mut crew = Crew::new(1);
    assert_eq!(crew.say(1, Command::Restore(Box::new(backup))), Outcome::Refused(Refused::NotEmpty));
    assert_ne!(crew.state.resources().trunks.len(), 0);
    assert!(!crew.state.resources().trunks.contains_key(&name("line")));
}

#[test]
fn other_bytes_are_no_backup() {
    let state = busy().state;
    let snapshot: Vec<u8> = state.clone().into_snapshot(b"raft".to_vec()).flatten().collect();
    assert_eq!(Restore::read(&snapshot), Err(SnapshotError::Magic));
    let backup = state.backup().flatten().collect::<Vec<u8>>();
    assert_eq!(Restore::read(&backup[..backup.len() - 1]), Err(SnapshotError::Short));
    let mut other = backup.clone();
    other[8] = 99;
    assert_eq!(Restore::read(&other), Err(SnapshotError::Version(99)));
    let mut damaged = backup;
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    assert!(matches!(Restore::read(&damaged), Err(SnapshotError::Damaged(_))));
}

#[test]
fn a_version_that_knows_no_backups_says_so() {
    let mut crew = Crew::new(1);
    assert!(!crew.state.restores());
    for (version, knows) in [(2, false), (3, true)] {
        assert_eq!(crew.say(1, Command::RaiseVersion(version)), Outcome::Done);
        assert_eq!(crew.state.restores(), knows);
    }
}

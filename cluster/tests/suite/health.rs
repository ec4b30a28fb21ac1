//! Targets that are down in the replicated state: who may say so, and what is kept of it.

use call::{Epoch, NodeId};
use cluster::{Command, DrainedUntil, Outcome, Refused, State, Turn, Turned, Watched};
use machine::WallTime;
use trunk::{Account, Gateway, Resource, Secret, SipTarget};

use crate::homes::Crew;
use crate::support::name;

/// Nodes with a gateway of so many targets, at a version that asks them.
fn crew(nodes: u64, targets: u8) -> Crew {
    let mut crew = Crew::new(nodes);
    put(&mut crew, targets, false);
    assert_eq!(crew.say(1, Command::RaiseVersion(3)), Outcome::Done);
    crew
}

fn target(last: u8) -> SipTarget {
    SipTarget::parse(&format!("sip:192.0.2.{last}")).unwrap()
}

fn put(crew: &mut Crew, targets: u8, register: bool) {
    let mut gateway = Gateway::new(name("carrier"));
    gateway.targets = (1..=targets).map(target).collect();
    gateway.register = register;
    gateway.accounts = vec![Account { username: "one".to_owned(), password: Secret::given("x") }];
    let by = crew.state.nodes().find(|(_, it)| it.alive).unwrap().0.0;
    let set = vec![Resource::Gateway(Box::new(gateway))];
    assert!(matches!(crew.say(by, Command::PutResources(set)), Outcome::Put(Ok(_))));
}

fn says(watched: &Watched, turn: Turn) -> Command {
    let Watched { target, home, epoch, .. } = watched.clone();
    Command::Health(Box::new(Turned { target, home, epoch, turn }))
}

fn watched(crew: &Crew, last: u8) -> Watched {
    crew.state.watched().into_iter().find(|it| it.target == target(last)).expect("it is asked")
}

/// Who asks the carrier's targets.
fn all_watched(crew: &Crew) -> Vec<Watched> {
    let ours: Vec<SipTarget> = (0..=255).map(target).collect();
    crew.state.watched().into_iter().filter(|it| ours.contains(&it.target)).collect()
}

/// The nodes that ask, by target.
fn watchers(crew: &Crew) -> Vec<u64> {
    all_watched(crew).iter().map(|it| it.node.0).collect()
}

const DOWN: Turn = Turn::Down { status: 408, at: WallTime(8) };
const STALE: Outcome = Outcome::Refused(Refused::Stale);

#[test]
fn a_target_is_down_until_its_watcher_says_otherwise() {
    let mut crew = crew(3, 2);
    let it = watched(&crew, 1);
    assert_eq!(crew.say(it.node.0, says(&it, DOWN)), Outcome::Done);
    let down = |state: &State, last| state.down(&target(last)).map(|it| (it.status, it.since, it.node));
    assert_eq!(down(&crew.state, 1), Some((408, WallTime(8), it.node)));
    assert_eq!((down(&crew.state, 2), crew.state.targets_down()), (None, 1));
    // Whoever is called there.
    assert!(crew.state.down(&SipTarget::parse("sip:desk@192.0.2.1").unwrap()).is_some());
    assert_eq!(crew.say(it.node.0, says(&it, Turn::Up)), Outcome::Done);
    assert_eq!((down(&crew.state, 1), crew.state.targets_down()), (None, 0));
}

#[test]
fn only_the_one_that_asks_says_so_and_only_in_its_epoch() {
    let mut crew = crew(3, 1);
    let it = watched(&crew, 1);
    let other = (1..=3).find(|node| *node != it.node.0).unwrap();
    let (home, _, epoch) = crew.home(&format!("n{other}"));
    let foreign = Watched { home, epoch: Epoch(epoch), ..it.clone() };
    assert_eq!(crew.say(other, says(&foreign, DOWN)), STALE);
    assert_eq!(crew.say(other, says(&it, DOWN)), STALE);
    let unknown = Watched { target: target(9), ..it.clone() };
    assert_eq!(crew.say(it.node.0, says(&unknown, DOWN)), STALE);
    crew.evict(it.node.0);
    assert_eq!(crew.say(it.node.0, says(&it, DOWN)), STALE);
    assert_eq!(crew.state.targets_down(), 0);
}

/// What is known stays known when its watcher dies; nothing else moves.
#[test]
fn a_death_moves_what_the_dead_node_asked_and_forgets_nothing() {
    let mut crew = crew(4, 40);
    let before = watchers(&crew);
    for node in 1..=4 {
        let share = before.iter().filter(|it| **it == node).count();
        assert!((3..=20).contains(&share), "node {node} asks {share} of 40");
    }
    let it = watched(&crew, 7);
    assert_eq!(crew.say(it.node.0, says(&it, DOWN)), Outcome::Done);
    crew.evict(it.node.0);
    for (was, is) in before.iter().zip(watchers(&crew)) {
        assert!(if *was == it.node.0 { is != *was } else { is == *was }, "{was} became {is}");
    }
    assert!(crew.state.down(&target(7)).is_some());
    let next = watched(&crew, 7);
    assert_eq!(crew.say(next.node.0, says(&next, Turn::Up)), Outcome::Done);
    assert!(crew.state.down(&target(7)).is_none());
}

/// A carrier sees one address of ours for REGISTER, OPTIONS and calls; the twin does not register.
#[test]
fn who_registers_with_a_gateway_asks_its_targets_too() {
    let mut crew = crew(4, 40);
    put(&mut crew, 40, true);
    let gateway = crew.state.resources().gateways[&name("carrier")].clone();
    let seat = crew.state.seats(&gateway)[0].unwrap();
    assert!(all_watched(&crew).iter().all(|it| it.home == seat));
    put(&mut crew, 40, false);
    assert!(all_watched(&crew).iter().any(|it| it.home != seat));
}

#[test]
fn a_drained_node_asks_nothing_and_an_older_cluster_neither() {
    let mut crew = Crew::new(2);
    put(&mut crew, 20, false);
    assert_eq!(crew.state.watched(), []);
    assert_eq!(crew.say(1, Command::RaiseVersion(2)), Outcome::Done);
    assert_eq!(crew.state.watched(), []);
    let version = crew.state.watch_version();
    assert_eq!(crew.say(1, Command::RaiseVersion(3)), Outcome::Done);
    assert_ne!(crew.state.watch_version(), version);
    assert!(watchers(&crew).contains(&1));
    let drain = Command::Drain { node: NodeId(1), until: DrainedUntil::Resume };
    assert_eq!(crew.say(2, drain), Outcome::Done);
    assert_eq!(watchers(&crew), [2; 20]);
}

/// The snapshot of a cluster whose targets are all up is what it was before any was asked.
#[test]
fn a_snapshot_keeps_what_is_down_until_nobody_names_it() {
    let mut crew = crew(2, 2);
    let snapshot = |state: &State| state.clone().into_snapshot(Vec::new()).flatten().collect::<Vec<u8>>();
    let empty = snapshot(&crew.state).len();
    let it = watched(&crew, 2);
    assert_eq!(crew.say(it.node.0, says(&it, DOWN)), Outcome::Done);
    let bytes = snapshot(&crew.state);
    assert!(bytes.len() > empty);
    let (_, read) = State::from_snapshot(&bytes).unwrap();
    assert!(read.is_consistent() && read.down(&target(2)).is_some());
    assert_eq!((read.digest(), read.full_digest()), (crew.state.digest(), crew.state.full_digest()));
    put(&mut crew, 1, false);
    assert_eq!(crew.state.targets_down(), 0);
}

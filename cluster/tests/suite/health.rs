//! Targets that are down in the replicated state: who may say so, and what is kept of it.

use call::{Epoch, HomeId, NodeId};
use cluster::{
    Command, DrainedUntil, Outcome, Place, Rebind, Refused, Register, Registered, State, Turn, Turned,
    Watched,
};
use machine::{ClusterTime, WallTime};
use trunk::{Account, Gateway, Host, Resource, Secret, SipTarget, Transport, Trunk};

use crate::homes::Crew;
use crate::support::{flow, name};

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

/// A PBX with one account, which probes or not.
fn put_pbx(crew: &mut Crew, seconds: u64) {
    let mut pbx = Trunk::new(name("pbx"));
    pbx.accounts = vec![Account { username: "one".to_owned(), password: Secret::given("p") }];
    pbx.settings.probe.interval = std::time::Duration::from_secs(seconds);
    assert!(matches!(
        crew.say(1, Command::PutResources(vec![Resource::Trunk(Box::new(pbx))])),
        Outcome::Put(Ok(_))
    ));
}

/// Its account registers at a home, as being there; or leaves.
fn register(crew: &mut Crew, cseq: u32, home: HomeId, at: Option<(u8, Transport, bool)>) {
    let place = |(last, transport, behind_nat): (u8, Transport, bool)| Place {
        contact: "sip:one@10.0.0.1".to_owned(),
        path: Vec::new(),
        host: Host::Ip([192, 0, 2, last].into()),
        port: None,
        transport,
        flow: flow(),
        home,
        behind_nat,
        expires_s: 60,
        user_agent: None,
        at: WallTime(8),
    };
    let register = Register {
        trunk: name("pbx"),
        account: 1,
        username: "one".to_owned(),
        call_id: "c".to_owned(),
        cseq,
        proof: auth::Use { issued: ClusterTime(1_000_000), salt: u64::from(cseq), nc: 1 },
        change: at.map_or(Rebind::Clear, |at| Rebind::Put(Box::new(place(at)))),
    };
    assert!(matches!(
        crew.say(1, Command::Register(Box::new(register))),
        Outcome::Registered(Registered::Bound(_))
    ));
}

/// KW27: an account is asked from the home at which it registered, which may be the only one that its NAT lets in.
#[test]
fn an_account_is_asked_where_it_is_registered_and_forgotten_when_it_leaves() {
    let mut crew = crew(3, 0);
    put_pbx(&mut crew, 20);
    let (home, ..) = crew.home("n2");
    register(&mut crew, 1, home, Some((50, Transport::Udp, true)));
    let it = watched(&crew, 50);
    assert_eq!((it.home, it.node, it.probe.interval.as_secs()), (home, NodeId(2), 20));
    assert_eq!(crew.say(2, says(&it, DOWN)), Outcome::Done);
    assert!(crew.state.down(&target(50)).is_some());
    // It registers again, from there: that is no answer to OPTIONS.
    register(&mut crew, 2, home, Some((50, Transport::Udp, true)));
    assert!(crew.state.down(&target(50)).is_some());
    let before = crew.state.bindings_version();
    register(&mut crew, 3, home, Some((51, Transport::Udp, true)));
    assert_ne!(crew.state.bindings_version(), before);
    assert!(crew.state.down(&target(50)).is_none() && crew.state.targets_down() == 0);
    let it = watched(&crew, 51);
    assert_eq!(crew.say(2, says(&it, DOWN)), Outcome::Done);
    register(&mut crew, 4, home, None);
    assert_eq!((all_watched(&crew), crew.state.targets_down()), (Vec::new(), 0));
}

/// Twins: who does not probe asks nobody, and a connection that only the far end can open says by itself whether it stands.
#[test]
fn accounts_that_are_not_asked() {
    let mut crew = crew(3, 0);
    put_pbx(&mut crew, 20);
    let (home, ..) = crew.home("n2");
    let mut asked = |cseq, transport, behind_nat| {
        register(&mut crew, cseq, home, Some((50, transport, behind_nat)));
        crew.state.watched().into_iter().any(|it| it.home == home)
    };
    assert!(
        asked(1, Transport::Udp, false) && asked(2, Transport::Udp, true) && asked(3, Transport::Tcp, false)
    );
    assert!(!asked(4, Transport::Tcp, true) && !asked(5, Transport::Tls, false));
    register(&mut crew, 6, home, Some((50, Transport::Udp, false)));
    put_pbx(&mut crew, 0);
    assert_eq!(all_watched(&crew), []);
}

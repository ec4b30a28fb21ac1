//! Our own registrations with carriers in the replicated state: from which homes, by whom, and what is kept of them.

use call::{Epoch, HomeId, NodeId};
use cluster::{Command, DrainedUntil, Enrol, EnrolStep, Outcome, Refused, State};
use machine::WallTime;
use trunk::{Account, Gateway, Resource, Secret};

use crate::homes::{Crew, floating};
use crate::support::name;

fn carrier(register: bool) -> Gateway {
    let account = |username: &str| Account { username: username.to_owned(), password: Secret::given("x") };
    let mut gateway = Gateway::new(name("carrier"));
    gateway.targets = vec![trunk::SipTarget::parse("sip:192.0.2.1").unwrap()];
    gateway.register = register;
    gateway.accounts = vec![account("one"), account("two")];
    gateway
}

/// Nodes with a carrier, at a version that knows registrations of ours.
fn crew(nodes: u64, homes: usize) -> Crew {
    let homes: Vec<_> = (1..=homes).map(|n| floating(&format!("f{n}"), &[])).collect();
    let mut crew = Crew::with_homes(nodes, &homes);
    put(&mut crew, true);
    assert_eq!(crew.say(1, Command::RaiseVersion(2)), Outcome::Done);
    crew
}

fn put(crew: &mut Crew, register: bool) {
    let set = vec![Resource::Gateway(Box::new(carrier(register)))];
    let by = crew.state.nodes().find(|(_, it)| it.alive).unwrap().0.0;
    assert!(matches!(crew.say(by, Command::PutResources(set)), Outcome::Put(Ok(_))));
}

/// The homes of both accounts, and their holders.
fn seats(crew: &Crew) -> Vec<(HomeId, u64)> {
    let gateway = crew.state.resources().gateways[&name("carrier")].clone();
    let seats = crew.state.seats(&gateway);
    let held = |home: HomeId| (home, crew.state.home(home).unwrap().holder.unwrap().0);
    seats.into_iter().map(|home| held(home.expect("somebody lives"))).collect()
}

fn nodes(crew: &Crew) -> Vec<u64> {
    seats(crew).into_iter().map(|(_, node)| node).collect()
}

fn enrol(crew: &Crew, account: u8, home: HomeId, step: EnrolStep) -> Command {
    let epoch = crew.state.home(home).map_or(Epoch(0), |home| home.epoch);
    Command::Enrol(Box::new(Enrol { gateway: name("carrier"), account, home, epoch, step }))
}

fn claim(account: u8, home: HomeId) -> EnrolStep {
    let username = ["one", "two"][usize::from(account) - 1].to_owned();
    EnrolStep::Claim { username, contact: format!("sip:{account}@home-{}", home.0) }
}

fn bound() -> EnrolStep {
    EnrolStep::Bound { target: "sip:192.0.2.1".to_owned(), expires_s: 60, at: WallTime(1) }
}

/// Both claimed where they should be, and bound.
fn settle(crew: &mut Crew) {
    for ((home, node), account) in seats(crew).into_iter().zip(1u8..) {
        for step in [claim(account, home), bound()] {
            let command = enrol(crew, account, home, step);
            assert_eq!(crew.say(node, command), Outcome::Done);
        }
    }
}

const STALE: Outcome = Outcome::Refused(Refused::Stale);

#[test]
fn an_older_version_knows_none_of_it() {
    let mut crew = Crew::new(2);
    put(&mut crew, true);
    let (home, node) = seats(&crew)[0];
    let command = enrol(&crew, 1, home, claim(1, home));
    assert!(!crew.state.enrols());
    assert_eq!(crew.say(node, command.clone()), STALE);
    assert_eq!(crew.say(1, Command::RaiseVersion(2)), Outcome::Done);
    assert!(crew.state.enrols());
    assert_eq!(crew.say(node, command), Outcome::Done);
}

#[test]
fn two_accounts_are_at_two_nodes_and_only_what_a_death_took_moves() {
    for homes in [0, 5] {
        let mut crew = crew(5, homes);
        settle(&mut crew);
        // One dies after the other, always one that has an account, until one is left.
        for left in (1..5).rev() {
            let before = nodes(&crew);
            assert_ne!(before[0], before[1]);
            let dies = before[left % 2];
            assert_eq!(crew.evict(dies), Outcome::Done);
            let (after, other) = (nodes(&crew), (left + 1) % 2);
            assert!(!after.contains(&dies));
            if left > 1 {
                assert_ne!(after[0], after[1], "two of {left}");
                assert_eq!(after[other], before[other], "what lives stays");
            } else {
                assert_eq!(after, [before[other]; 2], "one node has both");
            }
            settle(&mut crew);
        }
    }
}

#[test]
fn a_second_node_takes_one_of_two_and_a_drained_one_gives_its_own() {
    let mut crew = crew(1, 0);
    settle(&mut crew);
    assert_eq!(nodes(&crew), [1, 1]);
    crew.boot(2, &[]);
    let spread = nodes(&crew);
    assert_eq!(spread, [1, 2]);
    // The first stays with its claim; the second is claimed still, until its node lets go of it.
    let (home, node) = seats(&crew)[1];
    let takes = enrol(&crew, 2, home, claim(2, home));
    assert_eq!(crew.say(node, takes.clone()), STALE);
    let (old, _, _) = crew.home("n1");
    let release = enrol(&crew, 2, old, EnrolStep::Release);
    assert_eq!(crew.say(1, release), Outcome::Done);
    assert_eq!(crew.say(node, takes), Outcome::Done);

    let drain = Command::Drain { node: NodeId(1), until: DrainedUntil::Resume };
    assert_eq!(crew.say(2, drain), Outcome::Done);
    assert_eq!(nodes(&crew), [2, 2]);
    assert_eq!(crew.say(2, Command::Resume(NodeId(1))), Outcome::Done);
    assert_eq!(nodes(&crew), [1, 2]);
}

#[test]
fn a_claim_is_its_nodes_alone_and_ends_with_its_epoch() {
    let mut crew = crew(3, 0);
    settle(&mut crew);
    let (home, node) = seats(&crew)[0];
    let other = (1..=3).find(|it| !nodes(&crew).contains(it)).unwrap();
    let (elsewhere, ..) = crew.home(&format!("n{other}"));
    for step in [claim(1, elsewhere), bound(), EnrolStep::Release] {
        let command = enrol(&crew, 1, elsewhere, step);
        assert_eq!(crew.say(other, command), STALE, "it is another's");
    }
    let late = enrol(&crew, 1, home, bound());
    crew.evict(node);
    assert_eq!(crew.say(node, late), STALE, "its epoch is over");
    let (next, taker) = seats(&crew)[0];
    assert_eq!(taker, other);
    let command = enrol(&crew, 1, next, bound());
    assert_eq!(crew.say(taker, command), STALE, "it was not claimed");
    let command = enrol(&crew, 1, next, claim(1, next));
    assert_eq!(crew.say(taker, command), Outcome::Done);
    // Of the former Contact the next REGISTER must know; after it nobody has to.
    let former = |state: &State| state.enrolment(&name("carrier"), 1).unwrap().former.clone();
    assert_eq!(former(&crew.state), [format!("sip:1@home-{}", home.0)]);
    let command = enrol(&crew, 1, next, bound());
    assert_eq!(crew.say(taker, command), Outcome::Done);
    assert!(former(&crew.state).is_empty());
}

#[test]
fn a_home_that_moves_takes_its_registration_along() {
    let mut crew = crew(2, 1);
    settle(&mut crew);
    // The first node holds the floating home: whichever account is there is registered from it.
    let (home, ..) = crew.home("f1");
    let index = nodes(&crew).iter().position(|node| *node == 1).unwrap();
    let account = u8::try_from(index).unwrap() + 1;
    assert_eq!(seats(&crew)[index].0, home);
    crew.evict(1);
    assert_eq!(seats(&crew)[index], (home, 2));
    let command = enrol(&crew, account, home, claim(account, home));
    assert_eq!(crew.say(2, command), Outcome::Done);
    // What the carrier has still leads there, and nothing is to be taken away.
    let it = crew.state.enrolment(&name("carrier"), account).unwrap();
    assert!(it.is_bound(crew.state.time()) && it.former.is_empty() && it.node == NodeId(2));
}

#[test]
fn a_claim_wants_the_account_and_the_seat() {
    let mut crew = crew(3, 0);
    let (home, node) = seats(&crew)[0];
    let wrong = EnrolStep::Claim { username: "two".to_owned(), contact: "sip:x".to_owned() };
    let command = enrol(&crew, 1, home, wrong);
    assert_eq!(crew.say(node, command), STALE);
    for account in [0, 3] {
        let command = enrol(&crew, account, home, claim(1, home));
        assert_eq!(crew.say(node, command), STALE);
    }
    let other = (1..=3).find(|it| *it != node).unwrap();
    let (elsewhere, ..) = crew.home(&format!("n{other}"));
    let command = enrol(&crew, 1, elsewhere, claim(1, elsewhere));
    assert_eq!(crew.say(other, command), STALE);
}

#[test]
fn what_nobody_wants_any_more_is_forgotten() {
    let mut crew = crew(2, 0);
    settle(&mut crew);
    assert_eq!(crew.state.enrolments().len(), 2);
    put(&mut crew, false);
    assert_eq!(crew.state.enrolments().len(), 0);
}

/// The snapshot of a cluster that registers nowhere is what it was before there were registrations.
#[test]
fn a_snapshot_keeps_registrations_and_says_nothing_where_there_are_none() {
    let mut crew = crew(2, 0);
    let snapshot = |state: &State| state.clone().into_snapshot(Vec::new()).flatten().collect::<Vec<u8>>();
    let empty = snapshot(&crew.state);
    settle(&mut crew);
    let bytes = snapshot(&crew.state);
    assert!(bytes.len() > empty.len());
    let (_, read) = State::from_snapshot(&bytes).unwrap();
    assert!(read.is_consistent());
    assert_eq!((read.digest(), read.full_digest()), (crew.state.digest(), crew.state.full_digest()));
    let known = |state: &State| state.enrolments().map(|(_, n, it)| (n, it.clone())).collect::<Vec<_>>();
    assert_eq!(known(&read), known(&crew.state));
    assert_eq!(State::from_snapshot(&empty).unwrap().1.enrolments().len(), 0);
}

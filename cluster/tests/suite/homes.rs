//! Homes in the state: where they and their calls go when nodes die, leave, drain, return and are removed.

use std::collections::{BTreeMap, BTreeSet};

use call::{CallCommand, CallId, Epoch, HomeId, Incarnation, NodeId, Outcome as Call};
use cluster::{
    Batch, Boot, Booted, Command, Delta, DrainedUntil, FloatingHome, Outcome, Refused, Stamped, State,
    Verdict,
};
use machine::ClusterTime;
use proptest::prelude::*;
use trunk::settings::PortRange;
use trunk::{Scope, Transport};

use crate::support::{admit, end, gateway, name, trunk};

/// Nodes that share a state, without a log between them.
pub struct Crew {
    pub state: State,
    time: u64,
    streams: BTreeMap<u64, (Incarnation, u64)>,
    nonce: u64,
    calls: u64,
    deltas: Vec<Delta>,
}

impl Crew {
    /// Nodes without floating homes; each has a fixed one, named like itself.
    pub fn new(nodes: u64) -> Crew {
        Crew::with_homes(nodes, &[])
    }

    pub fn with_homes(nodes: u64, homes: &[FloatingHome]) -> Crew {
        let mut crew = Crew {
            state: State::default(),
            time: 1_000_000,
            streams: BTreeMap::new(),
            nonce: 0,
            calls: 0,
            deltas: Vec::new(),
        };
        (1..=nodes).for_each(|node| drop(crew.boot(node, homes)));
        let limits = vec![trunk("t", |t| t.settings.limits.concurrent = Some(1000)), gateway("g", None)];
        assert!(matches!(crew.say(1, Command::PutResources(limits)), Outcome::Put(Ok(_))));
        crew
    }

    pub fn boot(&mut self, node: u64, homes: &[FloatingHome]) -> Booted {
        self.nonce += 1;
        let fixed = name(&format!("n{node}"));
        let (nonce, floating) = (self.nonce, homes.to_vec());
        self.boot_as(node, Boot { nonce, homes: vec![fixed], floating, ..Boot::default() })
    }

    fn boot_as(&mut self, node: u64, boot: Boot) -> Booted {
        self.streams.insert(node, (Incarnation(0), 0));
        match self.put(node, 0, Command::Boot(boot)) {
            Outcome::Booted(booted) => {
                self.streams.insert(node, (booted.incarnation, 0));
                booted
            }
            outcome => panic!("{outcome:?}"),
        }
    }

    /// The next command of a node.
    pub fn say(&mut self, node: u64, command: Command) -> Outcome {
        let stream = self.streams.get_mut(&node).unwrap();
        stream.1 += 1;
        let seq = stream.1;
        self.put(node, seq, command)
    }

    fn put(&mut self, node: u64, seq: u64, command: Command) -> Outcome {
        let (incarnation, node) = (self.streams[&node].0, NodeId(node));
        let batch = Batch { node, incarnation, seq, shard: 0, commands: vec![command] };
        let stamped = Stamped { time: ClusterTime(self.time), batch };
        self.deltas.clear();
        let Verdict::Applied(outcomes) = self.state.apply(&stamped, &mut self.deltas) else {
            panic!("refused")
        };
        assert!(self.state.is_consistent());
        outcomes.into_iter().next().unwrap()
    }

    pub fn evict(&mut self, node: u64) -> Outcome {
        let incarnation = self.streams[&node].0;
        let by = self.state.nodes().find(|(id, it)| it.alive && id.0 != node).unwrap().0.0;
        self.say(by, Command::Evict { node: NodeId(node), incarnation, term: 0 })
    }

    pub fn home(&self, of: &str) -> (HomeId, Option<u64>, u64) {
        let (id, home) = self.state.home_named(&name(of)).unwrap();
        (id, home.holder.map(|node| node.0), home.epoch.0)
    }

    fn holder(&self, of: &str) -> Option<u64> {
        self.home(of).1
    }

    /// A call on a home, from whoever holds it.
    fn call_on(&mut self, home: &str) -> CallId {
        let (home, node, epoch) = self.home(home);
        let node = node.unwrap();
        self.calls += 1;
        let call = CallId::new(self.streams[&node].0, self.calls);
        let command = CallCommand::Admit(admit(self.calls, "t", &["g"]).into());
        let outcome = self.say(node, Command::Call { call, home, epoch: Epoch(epoch), command });
        assert_eq!(outcome, Outcome::Call(Call::Target(0)));
        call
    }

    fn home_of(&self, call: CallId) -> HomeId {
        self.state.call(call).unwrap().home
    }

    /// Yields whatever should be, as the holders would; gives how many moved.
    fn yields(&mut self) -> usize {
        let mut moved = 0;
        let nodes: Vec<u64> = self.state.nodes().map(|(id, _)| id.0).collect();
        for node in nodes {
            while let Some(home) = self.state.next_yield(NodeId(node), ClusterTime(self.time)) {
                let epoch = self.state.home(home).unwrap().epoch;
                assert_eq!(self.say(node, Command::Yield { home, epoch }), Outcome::Done);
                moved += 1;
                assert!(moved < 100, "homes go round in circles");
            }
        }
        moved
    }

    fn shares(&self, nodes: &[u64]) -> Vec<usize> {
        let floating = |node| {
            let all = self.state.homes().filter(|(_, home)| home.floating().is_some());
            all.filter(|(_, home)| home.holder == Some(NodeId(node))).count()
        };
        nodes.iter().map(|node| floating(*node)).collect()
    }

    fn moves(&self) -> Vec<(Option<u64>, Option<u64>)> {
        let raw = |node: Option<NodeId>| node.map(|node| node.0);
        let moved = self.deltas.iter().filter_map(|delta| match delta {
            Delta::HomeMoved { from, to, .. } => Some((raw(*from), raw(*to))),
            _ => None,
        });
        moved.collect()
    }
}

pub fn floating(text: &str, nodes: &[u64]) -> FloatingHome {
    FloatingHome {
        name: name(text),
        address: "192.0.2.10".parse().unwrap(),
        sip: vec![(Transport::Udp, 5060)],
        media_ports: PortRange { first: 10_000, last: 20_000 },
        nodes: nodes.iter().map(|node| NodeId(*node)).collect(),
        region: None,
    }
}

fn floats(count: usize) -> Vec<FloatingHome> {
    (1..=count).map(|n| floating(&format!("f{n}"), &[])).collect()
}

#[test]
fn nodes_that_boot_take_their_share_of_homes_without_calls_at_once() {
    let mut crew = Crew::with_homes(3, &floats(6));
    assert_eq!(crew.shares(&[1, 2, 3]), [6, 0, 0]);
    crew.yields();
    assert_eq!(crew.shares(&[1, 2, 3]), [2, 2, 2]);
    // And there it ends.
    assert_eq!(crew.yields(), 0);
}

#[test]
fn homes_of_an_evicted_node_are_spread_over_the_survivors_in_a_new_epoch_with_their_calls() {
    let mut crew = Crew::with_homes(3, &floats(6));
    crew.yields();
    let lost: Vec<_> = (1..=6).map(|n| format!("f{n}")).filter(|home| crew.holder(home) == Some(1)).collect();
    let calls: Vec<_> = lost.iter().map(|home| (crew.call_on(home), crew.home(home))).collect();
    assert_eq!(crew.evict(1), Outcome::Done);
    assert_eq!(crew.shares(&[1, 2, 3]), [0, 3, 3]);
    assert!(matches!(crew.deltas.first(), Some(Delta::Evicted(NodeId(1)))));
    // Two floating homes, and its fixed one, which is nobody's now.
    assert_eq!(crew.moves().len(), 3);
    for ((call, before), home) in calls.into_iter().zip(&lost) {
        let after = crew.home(home);
        assert_eq!((after.0, after.2), (before.0, before.2 + 1));
        assert_eq!(crew.home_of(call), before.0);
        // The dead node's word does not count any more, the new holder's does.
        let ended = |epoch| Command::Call { call, home: before.0, epoch: Epoch(epoch), command: end(200, 0) };
        assert_eq!(crew.say(1, ended(before.2)), Outcome::Call(Call::Stale));
        assert_eq!(crew.say(after.1.unwrap(), ended(before.2)), Outcome::Call(Call::Stale));
        assert_eq!(crew.say(after.1.unwrap(), ended(after.2)), Outcome::Call(Call::Done));
    }
}

#[test]
fn calls_of_a_dead_nodes_fixed_home_are_adopted_by_all_survivors_alike() {
    let mut crew = Crew::new(3);
    let calls: Vec<_> = (0..100).map(|_| crew.call_on("n1")).collect();
    let bystander = crew.call_on("n2");
    assert_eq!(crew.evict(1), Outcome::Done);
    assert_eq!(crew.holder("n1"), None);
    let (two, three) = (crew.home("n2"), crew.home("n3"));
    let on = |crew: &Crew, home| calls.iter().filter(|call| crew.home_of(**call) == home).count();
    let (on_two, on_three) = (on(&crew, two.0), on(&crew, three.0));
    assert_eq!(on_two + on_three, 100);
    // 100 fair draws leave this range once in a hundred thousand times; these are always the same.
    assert!((28..=72).contains(&on_two), "{on_two}");
    let adopted = crew.deltas.iter().filter(|delta| matches!(delta, Delta::Adopted { .. })).count();
    assert_eq!((adopted, crew.home_of(bystander)), (100, two.0));
    // A slot moves with its call: nothing is counted twice.
    assert_eq!(crew.state.usage(&Scope::Trunk(name("t"))).concurrent, 101);
    // Its new holder ends it in the new home; under the old home it can't be named.
    let call = *calls.iter().find(|call| crew.home_of(**call) == two.0).unwrap();
    let epoch = crew.state.call(call).unwrap().epoch;
    assert_eq!(epoch, Epoch(two.2));
    let old = crew.home("n1");
    let command = |home, epoch| Command::Call { call, home, epoch, command: end(200, 0) };
    assert_eq!(crew.say(2, command(old.0, Epoch(old.2))), Outcome::Call(Call::Stale));
    assert_eq!(crew.say(2, command(two.0, epoch)), Outcome::Call(Call::Done));
    let (_, cdr) = crew.state.cdrs().next().unwrap();
    assert_eq!((cdr.node_start, cdr.node_end), (NodeId(1), NodeId(2)));
}

#[test]
fn a_home_goes_only_where_it_may_and_its_calls_elsewhere_if_nobody_may() {
    let homes = [floating("f1", &[1, 2])];
    let mut crew = Crew::with_homes(3, &homes);
    let call = crew.call_on("f1");
    crew.evict(1);
    assert_eq!(crew.holder("f1"), Some(2));
    crew.evict(2);
    // Node 3 may not hold it: the call is re-homed there rather than lost.
    assert_eq!((crew.holder("f1"), crew.home_of(call)), (None, crew.home("n3").0));
    // Without that restriction it is taken over.
    let mut crew = Crew::with_homes(3, &[floating("f1", &[])]);
    let call = crew.call_on("f1");
    crew.evict(1);
    let second = crew.holder("f1").unwrap();
    crew.evict(second);
    assert_eq!(crew.holder("f1"), Some(5 - second));
    assert_eq!(crew.home_of(call), crew.home("f1").0);
}

#[test]
fn a_node_whose_file_does_not_name_a_home_never_gets_it() {
    let mut crew = Crew::with_homes(2, &floats(1));
    crew.boot(3, &[]);
    crew.evict(1);
    assert_eq!(crew.holder("f1"), Some(2));
    crew.evict(2);
    assert_eq!(crew.holder("f1"), None);
    // The next that names it has it.
    let booted = crew.boot(2, &floats(1));
    assert_eq!(crew.holder("f1"), Some(2));
    assert_eq!(booted.homes.iter().map(|held| held.name.as_str()).collect::<Vec<_>>(), ["f1", "n2"]);
}

#[test]
fn homes_stay_in_their_region_while_somebody_there_lives() {
    let mut home = floating("f1", &[]);
    home.region = Some(name("eu"));
    let mut crew = Crew::new(1);
    for (node, region) in [(1, "eu"), (2, "us"), (3, "eu")] {
        let (nonce, region) = (100 + node, Some(name(region)));
        let homes = vec![name(&format!("n{node}"))];
        crew.boot_as(node, Boot { nonce, homes, region, floating: vec![home.clone()], ..Boot::default() });
    }
    let call = crew.call_on("n1");
    assert_eq!(crew.holder("f1"), Some(1));
    crew.evict(1);
    assert_eq!((crew.holder("f1"), crew.home_of(call)), (Some(3), crew.home("n3").0));
    crew.evict(3);
    assert_eq!((crew.holder("f1"), crew.home_of(call)), (Some(2), crew.home("n2").0));
}

#[test]
fn an_eviction_that_was_decided_of_another_life_or_in_another_term_is_stale() {
    let mut crew = Crew::new(3);
    let before = crew.streams[&1].0;
    let evict = |incarnation, term| Command::Evict { node: NodeId(1), incarnation, term };
    crew.boot(1, &[]);
    let now = crew.streams[&1].0;
    assert_eq!(crew.say(2, evict(before, 0)), Outcome::Refused(Refused::Stale));
    crew.state.enter_term(5);
    assert_eq!(crew.say(2, evict(now, 4)), Outcome::Refused(Refused::Stale));
    assert_eq!(crew.holder("n1"), Some(1));
    assert!(crew.deltas.is_empty());
    assert_eq!(crew.say(2, evict(now, 5)), Outcome::Done);
    // Once is enough.
    assert_eq!(crew.say(3, evict(now, 5)), Outcome::Refused(Refused::Stale));
}

#[test]
fn an_evicted_node_that_lives_returns_to_its_own_address_in_a_new_epoch() {
    let mut crew = Crew::with_homes(2, &floats(1));
    let call = crew.call_on("n1");
    let (_, _, epoch) = crew.home("n1");
    crew.evict(1);
    assert!(!crew.state.is_alive(NodeId(1), crew.streams[&1].0));
    assert_eq!(crew.say(1, Command::Return), Outcome::Done);
    assert!(crew.state.is_alive(NodeId(1), crew.streams[&1].0));
    assert_eq!(crew.home("n1"), (crew.home("n1").0, Some(1), epoch + 2));
    // Calls that were adopted stay where they are, and so does a home that moved, while it carries one.
    assert_eq!((crew.home_of(call), crew.holder("f1")), (crew.home("n2").0, Some(2)));
    assert_eq!(crew.say(1, Command::Return), Outcome::Done);
    assert_eq!(crew.home("n1").2, epoch + 2);
}

#[test]
fn a_home_with_calls_comes_back_only_to_a_node_that_has_been_up_for_a_while() {
    let mut crew = Crew::with_homes(2, &floats(4));
    crew.yields();
    for n in 1..=4 {
        crew.call_on(&format!("f{n}"));
    }
    crew.evict(1);
    assert_eq!(crew.shares(&[1, 2]), [0, 4]);
    crew.time += 60_000;
    crew.boot(1, &floats(4));
    crew.time += 29_999;
    assert_eq!(crew.yields(), 0);
    crew.time += 1;
    // One at a time.
    assert_eq!((crew.yields(), crew.shares(&[1, 2])), (1, vec![1, 3]));
    crew.time += 4_999;
    assert_eq!(crew.yields(), 0);
    crew.time += 1;
    assert_eq!((crew.yields(), crew.shares(&[1, 2])), (1, vec![2, 2]));
    crew.time += 600_000;
    assert_eq!(crew.yields(), 0);
}

#[test]
fn a_drained_node_gives_its_homes_away_and_takes_none_until_resumed() {
    let mut crew = Crew::with_homes(3, &floats(3));
    crew.yields();
    assert_eq!(crew.shares(&[1, 2, 3]), [1, 1, 1]);
    let home = (1..=3).map(|n| format!("f{n}")).find(|home| crew.holder(home) == Some(1)).unwrap();
    let (floats_call, fixed_call) = (crew.call_on(&home), crew.call_on("n1"));
    let drain = Command::Drain { node: NodeId(1), until: DrainedUntil::Resume };
    assert_eq!(crew.say(2, drain), Outcome::Done);
    // Until it is silent and says so, nothing moves.
    assert_eq!(crew.holder(&home), Some(1));
    assert_eq!(crew.yields(), 2);
    assert_eq!((crew.holder("n1"), crew.shares(&[1])[0]), (None, 0));
    assert_eq!(crew.home_of(floats_call), crew.home(&home).0);
    assert_ne!(crew.home_of(fixed_call), crew.home("n1").0);
    // An operator's word outlives the process.
    crew.boot(1, &floats(3));
    crew.evict(2);
    assert_eq!(crew.shares(&[1, 3]), [0, 3]);
    assert_eq!(crew.say(3, Command::Resume(NodeId(1))), Outcome::Done);
    assert_eq!(crew.holder("n1"), Some(1));
    crew.yields();
    assert_eq!(crew.shares(&[1, 3]), [1, 2]);
    // A node that drains to end its process is as good as new after its boot.
    let drain = Command::Drain { node: NodeId(3), until: DrainedUntil::Boot };
    assert_eq!(crew.say(3, drain), Outcome::Done);
    crew.yields();
    assert_eq!(crew.shares(&[1, 3]), [3, 0]);
    crew.boot(3, &floats(3));
    crew.yields();
    assert_eq!(crew.shares(&[1, 3]), [2, 1]);
}

#[test]
fn a_drained_node_is_better_than_none_and_the_last_one_is_not_drained() {
    let mut crew = Crew::with_homes(2, &floats(1));
    let drain = |node| Command::Drain { node: NodeId(node), until: DrainedUntil::Resume };
    assert_eq!(crew.say(1, drain(2)), Outcome::Done);
    assert_eq!(crew.say(1, drain(1)), Outcome::Refused(Refused::LastNode(NodeId(1))));
    assert_eq!(crew.say(1, drain(9)), Outcome::Refused(Refused::UnknownNode(NodeId(9))));
    let call = crew.call_on("n1");
    crew.evict(1);
    assert_eq!((crew.holder("f1"), crew.home_of(call)), (Some(2), crew.home("n2").0));
}

#[test]
fn only_the_holder_yields_and_only_if_somebody_can_take_it() {
    let mut crew = Crew::with_homes(2, &[floating("f1", &[1]), floating("f2", &[])]);
    let give = |crew: &mut Crew, node, home: &str, later| {
        let (home, _, epoch) = crew.home(home);
        crew.say(node, Command::Yield { home, epoch: Epoch(epoch + later) })
    };
    let home = crew.home("f1").0;
    assert_eq!(give(&mut crew, 1, "f1", 0), Outcome::Refused(Refused::NoTaker(home)));
    assert_eq!(give(&mut crew, 2, "f2", 0), Outcome::Refused(Refused::Stale));
    assert_eq!(give(&mut crew, 1, "f2", 1), Outcome::Refused(Refused::Stale));
    assert_eq!(give(&mut crew, 1, "f2", 0), Outcome::Done);
    assert_eq!(crew.holder("f2"), Some(2));
}

#[test]
fn a_process_that_leaves_hands_everything_over_at_once() {
    let mut crew = Crew::with_homes(2, &floats(1));
    let call = crew.call_on("f1");
    assert_eq!(crew.say(1, Command::Leave), Outcome::Done);
    assert_eq!((crew.holder("f1"), crew.holder("n1")), (Some(2), None));
    assert_eq!(crew.home_of(call), crew.home("f1").0);
}

#[test]
fn a_removed_node_leaves_nothing_behind() {
    let mut crew = Crew::with_homes(3, &[floating("f1", &[])]);
    let remove = |node| Command::Remove(NodeId(node));
    assert_eq!(crew.say(2, remove(1)), Outcome::Refused(Refused::HoldsHomes(NodeId(1))));
    let call = crew.call_on("n1");
    crew.say(1, Command::CdrsDurable(0));
    crew.evict(1);
    assert_eq!(crew.say(2, remove(1)), Outcome::Done);
    assert!(crew.state.node(NodeId(1)).is_none() && crew.state.home_named(&name("n1")).is_none());
    assert!(crew.state.call(call).is_some());
    assert_eq!(crew.say(2, remove(1)), Outcome::Refused(Refused::UnknownNode(NodeId(1))));
    // Its late batches are nobody's.
    let batch = Batch {
        node: NodeId(1),
        incarnation: crew.streams[&1].0,
        seq: crew.streams[&1].1 + 1,
        shard: 0,
        commands: vec![Command::Return],
    };
    let stamped = Stamped { time: ClusterTime(crew.time), batch };
    assert_eq!(crew.state.apply(&stamped, &mut Vec::new()), Verdict::Fenced);
}

#[test]
fn a_cdr_is_kept_until_two_members_have_it_and_a_removed_one_does_not_count() {
    let mut crew = Crew::new(3);
    let call = crew.call_on("n1");
    let (home, _, epoch) = crew.home("n1");
    crew.say(1, Command::Call { call, home, epoch: Epoch(epoch), command: end(200, 0) });
    let kept = |crew: &Crew| crew.state.cdrs().len();
    crew.say(3, Command::CdrsDurable(1));
    assert_eq!(kept(&crew), 1);
    crew.evict(3);
    crew.say(1, Command::Remove(NodeId(3)));
    crew.say(2, Command::CdrsDurable(1));
    // The disk of the removed node is gone: one copy is not two.
    assert_eq!(kept(&crew), 1);
    crew.evict(2);
    crew.say(1, Command::Remove(NodeId(2)));
    assert_eq!(kept(&crew), 1);
    // Alone, one is enough.
    crew.say(1, Command::CdrsDurable(1));
    assert_eq!(kept(&crew), 0);
}

#[test]
fn a_floating_home_that_no_file_names_is_forgotten_when_its_calls_have_gone_elsewhere() {
    let mut crew = Crew::with_homes(2, &floats(1));
    let call = crew.call_on("f1");
    crew.boot(1, &[]);
    assert_eq!(crew.holder("f1"), Some(2));
    let number = crew.home("f1").0;
    crew.boot(2, &[]);
    assert!(crew.state.home_named(&name("f1")).is_none());
    let home = crew.state.home(crew.home_of(call)).unwrap();
    assert!(home.floating().is_none() && home.holder.is_some());
    // Should it come again, it is another one: old epochs can't be mistaken for its.
    crew.boot(1, &floats(1));
    assert_ne!(crew.home("f1").0, number);
}

#[test]
fn two_nodes_of_one_name_have_a_home_each() {
    let mut crew = Crew::new(1);
    let boot = Boot { nonce: 77, homes: vec![name("n1")], ..Boot::default() };
    let booted = crew.boot_as(2, boot);
    assert_eq!(booted.homes.len(), 1);
    assert_ne!(booted.homes[0].home, crew.home("n1").0);
    assert_eq!(crew.holder("n1"), Some(1));
}

#[test]
fn the_version_rises_when_every_member_supports_it_and_no_older_program_boots_then() {
    let mut crew = Crew::new(1);
    let boot = |nonce, supports| Boot { nonce, supports, homes: vec![name("x")], ..Boot::default() };
    crew.boot_as(2, boot(50, 0));
    let refused = |from, to, supported| Outcome::Refused(Refused::Version { from, to, supported });
    assert_eq!((crew.state.apply_version(), crew.state.version_to_raise()), (0, None));
    assert_eq!(crew.say(1, Command::RaiseVersion(1)), refused(0, 1, 0));
    let digest = crew.state.digest();
    crew.boot_as(2, boot(51, 1));
    assert_eq!(crew.state.version_to_raise(), Some(1));
    assert_eq!(crew.say(1, Command::RaiseVersion(1)), Outcome::Done);
    assert_eq!((crew.state.apply_version(), crew.state.version_to_raise()), (1, None));
    assert_ne!(crew.state.digest(), digest);
    assert_eq!(crew.say(1, Command::RaiseVersion(1)), refused(1, 1, 1));
    // Back goes nothing.
    crew.streams.insert(2, (Incarnation(0), 0));
    let outcome = crew.put(2, 0, Command::Boot(boot(52, 0)));
    let (node, needed, supported) = (NodeId(2), 1, 0);
    assert_eq!(outcome, Outcome::Refused(Refused::TooOld { node, needed, supported }));
    let bytes: Vec<u8> = crew.state.clone().into_snapshot(Vec::new()).flatten().collect();
    assert_eq!(State::from_snapshot(&bytes).unwrap().1.apply_version(), 1);
}

#[test]
#[should_panic(expected = "the cluster is at version 4: this node's program is too old")]
fn a_program_that_does_not_know_the_version_stops_rather_than_guess() {
    let mut crew = Crew::new(1);
    let boot = Boot { nonce: 50, supports: 4, homes: vec![name("n1")], ..Boot::default() };
    crew.boot_as(1, boot);
    crew.say(1, Command::RaiseVersion(4));
}

#[derive(Clone, Debug)]
enum Step {
    Boot(u64, u8),
    Evict(u64),
    Return(u64),
    Leave(u64),
    Drain(u64, bool),
    Resume(u64),
    Remove(u64),
    Call(u8),
    End(u8),
    Yields,
    Wait(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let node = 1..=4u64;
    prop_oneof![
        2 => (node.clone(), 0..16u8).prop_map(|(node, homes)| Step::Boot(node, homes)),
        3 => node.clone().prop_map(Step::Evict),
        2 => node.clone().prop_map(Step::Return),
        1 => node.clone().prop_map(Step::Leave),
        2 => (node.clone(), any::<bool>()).prop_map(|(node, boot)| Step::Drain(node, boot)),
        2 => node.clone().prop_map(Step::Resume),
        1 => node.prop_map(Step::Remove),
        8 => any::<u8>().prop_map(Step::Call),
        3 => any::<u8>().prop_map(Step::End),
        4 => Just(Step::Yields),
        3 => (0..40_000u32).prop_map(Step::Wait),
    ]
}

/// What must hold after every step, whatever happened.
fn check(crew: &Crew, live: &BTreeSet<CallId>) -> Result<(), TestCaseError> {
    let calls: BTreeSet<CallId> = crew.state.calls().map(|record| record.id).collect();
    prop_assert_eq!(&calls, live);
    let alive: Vec<NodeId> = crew.state.nodes().filter(|(_, it)| it.alive).map(|(id, _)| id).collect();
    let can_adopt = alive.iter().any(|node| !crew.state.held(*node).is_empty());
    for record in crew.state.calls() {
        let home = crew.state.home(record.home);
        prop_assert!(home.is_some());
        // No call is without a holder while there is anybody.
        prop_assert!(home.is_some_and(|home| home.holder.is_some()) || !can_adopt);
    }
    for (_, home) in crew.state.homes() {
        let Some(spec) = home.floating() else { continue };
        let able = |node: &&NodeId| {
            let allowed = spec.nodes.is_empty() || spec.nodes.contains(node);
            allowed && crew.state.node(**node).is_some_and(|it| it.floating.contains(&spec.name))
        };
        // A home is without a holder only if nobody could hold it.
        prop_assert!(home.holder.is_some() || !alive.iter().any(|node| able(&node)));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// No course of events loses a call, makes an epoch go back, or leaves a home that somebody could hold.
    #[test]
    fn homes_and_calls_are_never_lost(steps in proptest::collection::vec(step(), 1..60)) {
        let all = [floating("f1", &[]), floating("f2", &[1, 2]), floating("f3", &[2, 3]), floating("f4", &[])];
        let mut crew = Crew::with_homes(3, &all);
        let (mut live, mut epochs) = (BTreeSet::new(), BTreeMap::new());
        for step in steps {
            let member = |crew: &Crew, node| crew.state.node(NodeId(node)).is_some();
            match step {
                Step::Boot(node, homes) => {
                    let homes = all.iter().enumerate().filter(|(n, _)| homes >> n & 1 == 1);
                    let homes: Vec<_> = homes.map(|(_, home)| home.clone()).collect();
                    drop(crew.boot(node, &homes));
                }
                Step::Evict(node) if crew.state.nodes().any(|(id, it)| it.alive && id.0 != node) && member(&crew, node) => drop(crew.evict(node)),
                Step::Return(node) if member(&crew, node) => drop(crew.say(node, Command::Return)),
                Step::Leave(node) if member(&crew, node) => drop(crew.say(node, Command::Leave)),
                Step::Drain(node, boot) if member(&crew, node) => {
                    let until = if boot { DrainedUntil::Boot } else { DrainedUntil::Resume };
                    drop(crew.say(node, Command::Drain { node: NodeId(node), until }));
                }
                Step::Resume(node) if member(&crew, node) => drop(crew.say(node, Command::Resume(NodeId(node)))),
                Step::Remove(node) if member(&crew, node) => drop(crew.say(node, Command::Remove(NodeId(node)))),
                Step::Call(which) => {
                    let held: Vec<_> = crew.state.homes().filter(|(_, home)| home.holder.is_some())
                        .map(|(_, home)| home.name.to_string()).collect();
                    if let Some(home) = held.get(usize::from(which) % held.len().max(1)) {
                        live.insert(crew.call_on(home));
                    }
                }
                Step::End(which) => {
                    let call = live.iter().copied().nth(usize::from(which) % live.len().max(1));
                    let place = call.and_then(|call| Some((call, crew.state.call(call)?.home)));
                    if let Some((call, home)) = place
                        && let Some(state) = crew.state.home(home).cloned()
                        && let Some(holder) = state.holder
                    {
                        let command = Command::Call { call, home, epoch: state.epoch, command: end(200, 0) };
                        prop_assert_eq!(crew.say(holder.0, command), Outcome::Call(Call::Done));
                        live.remove(&call);
                    }
                }
                Step::Yields => drop(crew.yields()),
                Step::Wait(ms) => crew.time += u64::from(ms),
                _ => {}
            }
            check(&crew, &live)?;
            for (id, home) in crew.state.homes() {
                let before = epochs.insert(id, (home.epoch, home.holder));
                let Some((epoch, holder)) = before else { continue };
                prop_assert!(epoch <= home.epoch && (holder == home.holder || epoch < home.epoch));
            }
        }
        // A snapshot is all of it.
        let bytes: Vec<u8> = crew.state.clone().into_snapshot(Vec::new()).flatten().collect();
        let (_, copy) = State::from_snapshot(&bytes).unwrap();
        prop_assert!(copy.is_consistent());
        prop_assert_eq!((copy.digest(), copy.full_digest()), (crew.state.digest(), crew.state.full_digest()));
    }
}

//! Registrations and uses of nonces in the replicated state.

use auth::Use;
use call::{HomeId, NodeId};
use cluster::{Batch, Command, Outcome, Place, Rebind, Register, Registered, Stamped, State, Verdict};
use machine::{ClusterTime, WallTime};
use trunk::{Account, Host, Resource, Secret, Transport, Trunk};

use crate::support::{flow, name};

/// The cluster's time when a test begins, in milliseconds.
const T: u64 = 1_000_000;

struct Registry {
    state: State,
    seq: u64,
    salt: u64,
}

impl Registry {
    /// A booted node and a trunk with two accounts.
    fn new() -> Registry {
        let mut registry = Registry { state: State::default(), seq: 0, salt: 0 };
        let boot = Batch {
            node: NodeId(1),
            incarnation: call::Incarnation(0),
            seq: 0,
            shard: 0,
            commands: vec![Command::Boot(cluster::Boot { nonce: 1, ..cluster::Boot::default() })],
        };
        registry.state.apply(&Stamped { time: ClusterTime(T), batch: boot }, &mut Vec::new());
        registry.apply(T, Command::PutResources(vec![trunk(&["one", "two"])]));
        registry
    }

    fn apply(&mut self, at: u64, command: Command) -> Outcome {
        self.seq += 1;
        let batch = Batch {
            node: NodeId(1),
            incarnation: call::Incarnation(1),
            seq: self.seq,
            shard: 0,
            commands: vec![command],
        };
        let verdict = self.state.apply(&Stamped { time: ClusterTime(at), batch }, &mut Vec::new());
        assert!(self.state.is_consistent());
        match verdict {
            Verdict::Applied(mut outcomes) => outcomes.remove(0),
            other => panic!("{other:?}"),
        }
    }

    /// Registers with a use of its own.
    fn register(&mut self, at: u64, call_id: &str, cseq: u32, change: Rebind) -> Registered {
        self.salt += 1;
        let proof = Use { issued: ClusterTime(at), salt: self.salt, nc: 1 };
        self.register_with(at, proof, call_id, cseq, change)
    }

    fn register_with(&mut self, at: u64, proof: Use, call_id: &str, cseq: u32, change: Rebind) -> Registered {
        let register = Register {
            trunk: name("t"),
            account: 1,
            username: "one".to_owned(),
            call_id: call_id.to_owned(),
            cseq,
            proof,
            change,
        };
        match self.apply(at, Command::Register(Box::new(register))) {
            Outcome::Registered(registered) => registered,
            other => panic!("{other:?}"),
        }
    }

    fn contact(&self) -> Option<&str> {
        self.state.binding(&name("t"), 1).map(|binding| binding.place.contact.as_str())
    }
}

fn trunk(usernames: &[&str]) -> Resource {
    let mut trunk = Trunk::new(name("t"));
    trunk.accounts = usernames
        .iter()
        .map(|username| Account { username: (*username).to_owned(), password: Secret::given("p") })
        .collect();
    Resource::Trunk(Box::new(trunk))
}

fn put(contact: &str, expires_s: u32) -> Rebind {
    Rebind::Put(Box::new(Place {
        contact: contact.to_owned(),
        path: Vec::new(),
        host: Host::Ip("198.51.100.7".parse().unwrap()),
        port: Some(5060),
        transport: Transport::Udp,
        flow: flow(),
        home: HomeId(0),
        behind_nat: false,
        expires_s,
        user_agent: None,
        at: WallTime(8),
    }))
}

#[test]
fn one_binding_each_and_the_newest_replaces_the_older() {
    let mut registry = Registry::new();
    assert!(matches!(registry.register(T, "a", 1, put("sip:a", 60)), Registered::Bound(Some(_))));
    registry.register(T, "b", 1, put("sip:b", 60));
    assert_eq!(registry.contact(), Some("sip:b"));
    assert_eq!(registry.state.bindings().count(), 1);
    // Removing what is not there any more changes nothing.
    registry.register(T, "a", 2, Rebind::Remove("sip:a".to_owned()));
    assert_eq!(registry.contact(), Some("sip:b"));
    registry.register(T, "a", 3, Rebind::Remove("sip:b".to_owned()));
    assert_eq!(registry.contact(), None);
}

/// RFC 3261 §10.3, step 7.
#[test]
fn with_the_same_call_id_the_cseq_must_rise() {
    let mut registry = Registry::new();
    registry.register(T, "a", 5, put("sip:a", 60));
    assert_eq!(registry.register(T, "a", 5, put("sip:b", 60)), Registered::OutOfOrder);
    assert_eq!(registry.register(T, "a", 4, Rebind::Clear), Registered::OutOfOrder);
    assert_eq!(registry.contact(), Some("sip:a"));
    assert!(matches!(registry.register(T, "a", 4, Rebind::Query), Registered::Bound(Some(_))));
    registry.register(T, "a", 6, Rebind::Clear);
    assert_eq!(registry.contact(), None);
    // Another Call-ID begins its own order.
    registry.register(T, "b", 1, put("sip:b", 60));
    assert_eq!(registry.contact(), Some("sip:b"));
}

#[test]
fn a_binding_ends_with_its_time_by_the_leader_s_clock() {
    let mut registry = Registry::new();
    registry.register(T, "a", 1, put("sip:a", 60));
    registry.apply(T + 59_999, Command::Tick);
    assert_eq!(registry.contact(), Some("sip:a"));
    registry.apply(T + 60_000, Command::Tick);
    assert_eq!(registry.contact(), None);
    assert_eq!(registry.state.bindings().count(), 0);
}

#[test]
fn a_binding_goes_with_its_account() {
    let mut registry = Registry::new();
    registry.register(T, "a", 1, put("sip:a", 60));
    registry.apply(T, Command::PutResources(vec![trunk(&["one"])]));
    assert_eq!(registry.contact(), Some("sip:a"));
    registry.apply(T, Command::PutResources(vec![trunk(&["two", "one"])]));
    assert_eq!(registry.contact(), None, "the first account is another one now");
    assert_eq!(registry.register(T, "a", 2, put("sip:a", 60)), Registered::Unknown);
}

/// FR5, on whichever node: the log has one order.
#[test]
fn fr5_a_use_that_was_made_is_refused_and_changes_nothing() {
    let mut registry = Registry::new();
    let proof = Use { issued: ClusterTime(T), salt: 99, nc: 1 };
    assert!(registry.state.is_unused(&proof));
    registry.register_with(T, proof, "a", 1, put("sip:a", 60));
    assert!(!registry.state.is_unused(&proof));
    assert_eq!(registry.register_with(T, proof, "b", 1, put("sip:b", 60)), Registered::Replayed);
    assert_eq!(registry.contact(), Some("sip:a"));
    let next = Use { nc: 2, ..proof };
    assert!(matches!(registry.register_with(T, next, "a", 2, put("sip:b", 60)), Registered::Bound(Some(_))));
    // When its nonce is too old it is forgotten, and still refused.
    let later = T + auth::NONCE_LIFETIME.as_millis() as u64;
    registry.apply(later, Command::Tick);
    assert_eq!(registry.state.nonces(), 0);
    assert_eq!(registry.register_with(later, next, "c", 1, Rebind::Query), Registered::Replayed);
}

/// A node that died hands on what it heard: in the log, and in a snapshot.
#[test]
fn bindings_and_uses_survive_a_snapshot() {
    let mut registry = Registry::new();
    let proof = Use { issued: ClusterTime(T), salt: 99, nc: 1 };
    registry.register_with(T, proof, "a", 1, put("sip:a", 60));
    let bytes: Vec<u8> = registry.state.clone().into_snapshot(Vec::new()).flatten().collect();
    let (_, state) = State::from_snapshot(&bytes).unwrap();
    assert_eq!(state.digest(), registry.state.digest());
    assert_eq!(state.full_digest(), registry.state.full_digest());
    assert!(state.is_consistent());
    registry.state = state;
    assert_eq!(registry.contact(), Some("sip:a"));
    assert!(!registry.state.is_unused(&proof));
}

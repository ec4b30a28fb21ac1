//! A world for one node in virtual time, and the records that tests put through it.

#[path = "../../../simulation/src/disk.rs"]
#[allow(dead_code, reason = "whole nodes in one world ask for more than a log does")]
mod disk;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use call::{
    Admit, CallCommand, CallId, Change, Confirm, End, Epoch, Facts, Flow, HangupBy, HomeId, Incarnation,
    InviteKey, LegState, NodeId,
};
use cluster::{Applied, Batch, Cluster, Command, Config, Delta, Outcome, Seams, Stamped, State, Verdict};
use dialog::{DialogState, LocalCseq, Peer, Provisionals, Role};
use env::{BoxFuture, Clock, Entropy, Lane, Spawn, Task};
use machine::{ClusterTime, Instant, Rng, WallTime};
use trunk::{
    Direction, Gateway, Host, Name, Party, Plan, Resource, Scope, Side, Slot, Target, Transport, Trunk,
};

pub use disk::MemDisk;

// ---- worlds

/// Virtual time: tokio's paused clock.
pub struct VirtualClock(tokio::time::Instant);

impl Clock for VirtualClock {
    fn now(&self) -> Instant {
        Instant::ZERO + Duration::from_secs(1) + self.0.elapsed()
    }

    fn wall(&self) -> WallTime {
        WallTime(1_800_000_000_000 + i64::try_from(self.0.elapsed().as_millis()).unwrap())
    }
}

struct Seeded(Mutex<Rng>);

impl Entropy for Seeded {
    fn fill(&self, out: &mut [u8]) {
        self.0.lock().unwrap().fill(out);
    }
}

/// Tasks that die with their process.
#[derive(Clone)]
pub struct Tasks {
    clock: Arc<VirtualClock>,
    all: Arc<Mutex<Vec<tokio::task::AbortHandle>>>,
}

struct OneTask(tokio::task::AbortHandle);

impl Task for OneTask {
    fn abort(&self) {
        self.0.abort();
    }
}

impl Spawn for Tasks {
    fn spawn(&self, _: &'static str, task: BoxFuture<'static, ()>) -> Box<dyn Task> {
        let handle = tokio::spawn(task).abort_handle();
        self.all.lock().unwrap().push(handle.clone());
        Box::new(OneTask(handle))
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        let left = at.since(self.clock.now());
        Box::pin(tokio::time::sleep(left))
    }
}

/// One life of a node.
pub struct World {
    pub seams: Seams,
    pub disk: MemDisk,
    tasks: Tasks,
    pub heard: Arc<Mutex<Heard>>,
}

/// What the sink heard.
#[derive(Default)]
pub struct Heard {
    pub outcomes: Vec<(Command, Outcome)>,
    pub deltas: Vec<Delta>,
    pub fenced: bool,
    pub replaced: usize,
    pub unknown: usize,
}

struct Sink(Arc<Mutex<Heard>>);

impl Applied for Sink {
    fn outcomes(&mut self, batch: &Batch, outcomes: Vec<Outcome>) {
        assert_eq!(batch.commands.len(), outcomes.len());
        self.0.lock().unwrap().outcomes.extend(batch.commands.iter().cloned().zip(outcomes));
    }

    fn deltas(&mut self, _: u64, deltas: &[Delta]) {
        self.0.lock().unwrap().deltas.extend_from_slice(deltas);
    }

    fn replaced(&mut self, _: u64) {
        self.0.lock().unwrap().replaced += 1;
    }

    fn unknown(&mut self, _: &Batch) {
        self.0.lock().unwrap().unknown += 1;
    }

    fn fenced(&mut self) {
        self.0.lock().unwrap().fenced = true;
    }
}

impl World {
    /// A world whose disk performs each operation after a while.
    pub fn new(disk: MemDisk, seed: u64) -> World {
        let clock = Arc::new(VirtualClock(tokio::time::Instant::now()));
        let tasks = Tasks { clock: clock.clone(), all: Arc::default() };
        let rng = Arc::new(Mutex::new(Rng::from_u64(seed)));
        let (slow, handle) = (rng.clone(), disk.clone());
        let all = tasks.all.clone();
        disk.on_submit(Arc::new(move |lane: Lane| {
            let (handle, us) = (handle.clone(), 200 + slow.lock().unwrap().below(3000));
            let task = tokio::spawn(async move {
                tokio::time::sleep(Duration::from_micros(us)).await;
                handle.step(lane);
            });
            all.lock().unwrap().push(task.abort_handle());
        }));
        let entropy = Seeded(Mutex::new(Rng::from_u64(seed ^ 0xE27)));
        let seams = Seams {
            clock,
            entropy: Arc::new(entropy),
            spawn: Arc::new(tasks.clone()),
            disk: Arc::new(disk.clone()),
            frames: None,
        };
        World { seams, disk, tasks, heard: Arc::default() }
    }

    pub async fn open(&self, config: Config) -> Cluster {
        self.try_open(config).await.expect("the node opens what it wrote")
    }

    pub async fn try_open(&self, config: Config) -> Result<Cluster, cluster::OpenError> {
        Cluster::open(config, self.seams.clone(), Box::new(Sink(self.heard.clone())), Arc::new(())).await
    }

    /// The process dies at once; gives the disk that it leaves.
    pub fn crash(self, rng: &mut Rng) -> MemDisk {
        let disk = self.disk.crash(rng);
        for task in self.tasks.all.lock().unwrap().drain(..) {
            task.abort();
        }
        disk
    }
}

pub fn config() -> Config {
    let mut config = Config::alone(NodeId(1), name("a"));
    (config.segment_len, config.cdr_file_len) = (128 << 10, 8 << 10);
    config
}

pub async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// Runs a test in virtual time.
pub fn virtually<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(async { test().await });
}

// ---- records

pub fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub fn trunk(text: &str, change: impl FnOnce(&mut Trunk)) -> Resource {
    let mut trunk = Trunk::new(name(text));
    change(&mut trunk);
    Resource::Trunk(Box::new(trunk))
}

pub fn gateway(text: &str, concurrent: Option<u32>) -> Resource {
    let mut gateway = Gateway::new(name(text));
    gateway.settings.limits.concurrent = concurrent;
    Resource::Gateway(Box::new(gateway))
}

pub fn slot(scope: Scope, side: Side) -> Slot {
    Slot { scope, side }
}

pub fn target(gateway: &str) -> Target {
    Target {
        party: Party::Gateway { name: name(gateway) },
        uri: format!("sip:+31201234567@{gateway}.example.com"),
        host: Host::Name(format!("{gateway}.example.com")),
        port: None,
        transport: Transport::Udp,
        slots: vec![slot(Scope::Gateway(name(gateway)), Side::Egress)],
        is_failover: false,
        registered: None,
        redirected: None,
    }
}

pub fn flow() -> Flow {
    let at = |text: &str| text.parse::<SocketAddr>().unwrap();
    Flow {
        transport: Transport::Udp,
        local: at("192.0.2.10:5060"),
        remote: at("198.51.100.7:5060"),
        connection: 0,
    }
}

/// A call from a trunk through gateways.
pub fn admit(n: u64, from: &str, gateways: &[&str]) -> Admit {
    Admit {
        ingress: flow(),
        invite: Bytes::from_static(b"INVITE sip:+31201234567@example.net SIP/2.0\r\n\r\n"),
        key: InviteKey { dialog: u128::from(n), branch: n },
        seed: n,
        party: Party::Trunk { name: name(from), account: None },
        plan: Plan {
            called: "+31201234567".to_owned(),
            direction: Direction::Out,
            tenant: None,
            slots: vec![slot(Scope::Trunk(name(from)), Side::Ingress)],
            windows: vec![name(from)],
            targets: gateways.iter().map(|gateway| target(gateway)).collect(),
            emergency: false,
            max_duration: Duration::from_secs(4 * 3600),
        },
        caller: trunk::Caller {
            number: "+31207654321".to_owned(),
            display: None,
            asserted: String::new(),
            source: trunk::settings::IdentityHeader::From,
            private: false,
        },
        facts: Facts { call_id: format!("call-{n}@example.com"), ..Facts::default() },
        emergency: false,
        ports: None,
        started_at: WallTime(1_800_000_000_000),
        proof: None,
    }
}

pub fn dialog(role: Role, tag: &str) -> DialogState {
    DialogState {
        role,
        confirmed: true,
        secure: false,
        call_id: "egress-call-id@example.net".into(),
        local_tag: "ours".into(),
        remote_tag: tag.into(),
        local: "<sip:us@example.net>".into(),
        remote: "<sip:them@example.com>".into(),
        remote_target: "sip:them@198.51.100.7".into(),
        route_set: Box::new([]),
        cseq: LocalCseq::starting_at(1),
        remote_cseq: Some(1),
        invite_cseq: 1,
        invite_exchanged: true,
        invite_offered: true,
        provisional: Provisionals::default(),
        session: None,
        min_se_s: 90,
        peer: Peer::default(),
    }
}

pub fn leg(role: Role) -> LegState {
    LegState {
        dialog: dialog(role, "theirs"),
        flow: flow(),
        local_sdp: Bytes::from_static(b"v=0\r\nm=audio 10000 RTP/AVP 8\r\n"),
        remote_sdp: Bytes::from_static(b"v=0\r\nm=audio 20000 RTP/AVP 8\r\n"),
        latched: None,
        session_left_ms: None,
    }
}

pub fn confirm(at: i64) -> CallCommand {
    CallCommand::Change(Change::Confirm(Box::new(Confirm {
        attempt: 0,
        status: 200,
        ingress: leg(Role::Uas),
        egress: leg(Role::Uac),
        delayed_offer: false,
        answered_at: WallTime(at),
    })))
}

pub fn end(status: u16, at: i64) -> CallCommand {
    CallCommand::Change(Change::End(Box::new(End {
        status,
        reason: "normal".to_owned(),
        by: HangupBy::Caller,
        at: WallTime(at),
        ingress_quality: None,
        egress_quality: None,
        events: Vec::new(),
    })))
}

// ---- a state without a log

/// A state with one booted node, driven batch by batch.
pub struct Bench {
    pub state: State,
    pub seq: u64,
    pub time: u64,
    pub incarnation: Incarnation,
    pub home: HomeId,
    pub epoch: Epoch,
    pub deltas: Vec<Delta>,
}

impl Bench {
    pub fn new() -> Bench {
        let mut bench = Bench {
            state: State::default(),
            seq: 0,
            time: 1_000_000,
            incarnation: Incarnation(0),
            home: HomeId(0),
            epoch: Epoch(0),
            deltas: Vec::new(),
        };
        bench.boot(1);
        bench
    }

    pub fn boot(&mut self, nonce: u64) {
        let boot =
            cluster::Boot { nonce, name: "a".to_owned(), homes: vec![name("a")], ..cluster::Boot::default() };
        (self.incarnation, self.seq) = (Incarnation(0), 0);
        let stamped = self.stamped(0, vec![Command::Boot(boot)]);
        let Verdict::Applied(outcomes) = self.state.apply(&stamped, &mut self.deltas) else {
            panic!("the boot is refused")
        };
        let [Outcome::Booted(booted)] = outcomes.as_slice() else { panic!("{outcomes:?}") };
        self.incarnation = booted.incarnation;
        (self.home, self.epoch) = (booted.homes[0].home, booted.homes[0].epoch);
    }

    pub fn stamped(&self, seq: u64, commands: Vec<Command>) -> Stamped {
        let (node, incarnation) = (NodeId(1), self.incarnation);
        let batch = Batch { node, incarnation, seq, shard: 0, commands };
        Stamped { time: ClusterTime(self.time), batch }
    }

    pub fn apply(&mut self, commands: Vec<Command>) -> Vec<Outcome> {
        self.seq += 1;
        let stamped = self.stamped(self.seq, commands);
        match self.state.apply(&stamped, &mut self.deltas) {
            Verdict::Applied(outcomes) => outcomes,
            verdict => panic!("{verdict:?}"),
        }
    }

    pub fn put(&mut self, set: Vec<Resource>) {
        let outcomes = self.apply(vec![Command::PutResources(set)]);
        assert!(matches!(outcomes.as_slice(), [Outcome::Put(Ok(_))]), "{outcomes:?}");
    }

    pub fn id(&self, n: u64) -> CallId {
        CallId::new(self.incarnation, n)
    }

    pub fn call(&mut self, n: u64, command: CallCommand) -> call::Outcome {
        let command = Command::Call { call: self.id(n), home: self.home, epoch: self.epoch, command };
        match self.apply(vec![command]).as_slice() {
            [Outcome::Call(outcome)] => outcome.clone(),
            outcomes => panic!("{outcomes:?}"),
        }
    }

    pub fn admit(&mut self, admit: Admit) -> call::Outcome {
        self.call(admit.seed, CallCommand::Admit(Arc::new(admit)))
    }

    pub fn used(&self, scope: &Scope) -> u32 {
        self.state.usage(scope).concurrent
    }
}

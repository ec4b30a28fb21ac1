//! What all parts of a node share: tables, transports, the world. Every lock is held for one lookup or one
//! change, never across another lock or an await.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use ::media::PortPair;
use bytes::Bytes;
use call::{CallCommand, CallId, CallRecord, Change, Context, Event, Flow, HomeId, Incarnation, Input};
use call::{InviteKey, NodeId, Outcome, Phase, Remains, Secret};
use machine::museum::planted;
use machine::{Instant, Rng};
use ractor::{ActorCell, ActorId, ActorRef, ActorRuntime};
use sip::verdict::Rules;
use tokio::sync::Notify;
use transport::{Counters, Outbox, Streams};
use trunk::{Name, Resources, Transport};

use crate::actor::call::{Arguments, Begin, CallActor, Msg};
use crate::actor::media::{self, MediaActor, Session};
use crate::actor::supervisor::PartySupervisor;
use crate::bans::Bans;
use crate::bindings::Whereabouts;
use crate::calls::{Calls, Live, Role, Stage};
use crate::enrol::Enrolling;
use crate::errand::Errands;
use crate::gate::{Full, Gate, Load};
use crate::home::{Home, Homes};
use crate::hosts::Followed;
use crate::metrics::{Metrics, add, sub};
use crate::probe::Watching;
use crate::refused::Refused;
use crate::remains::Afterlife;
use crate::replica::Replica;
use crate::report::Desk;
use crate::solo::Solo;
use crate::unsaid::Unsaid;
use crate::wheel::Wheel;
use crate::{NodeConfig, World, lock, stateless};

/// Everything that the parts of one node share.
pub(crate) struct Shared {
    pub(crate) world: World,
    pub(crate) config: NodeConfig,
    pub(crate) metrics: Metrics,
    pub(crate) counters: Arc<Counters>,
    pub(crate) wheel: Arc<Wheel>,
    /// What the protocol demands of requests of which no trunk is known yet.
    pub(crate) rules: Rules,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) streams: Streams,
    /// What waits for a lease to go over them.
    pub(crate) unsaid: Mutex<Unsaid>,
    pub(crate) cluster: Replica,
    pub(crate) draining: AtomicBool,
    pub(crate) ready: AtomicBool,
    pub(crate) writable: AtomicBool,
    /// Whether an operator has drained this node, and its homes have moved.
    pub(crate) drained: AtomicBool,
    /// Whether it has said that it stops.
    pub(crate) departed: AtomicBool,
    /// Told when an operator has removed it.
    pub(crate) removed: Notify,
    /// What the nodes say of themselves.
    pub(crate) reports: Mutex<Desk>,
    /// Since when there is no lease, and media is silent.
    pub(crate) mute_since: Mutex<Option<Instant>>,
    pub(crate) secret: Secret,
    /// Makes and reads the nonces of challenges.
    pub(crate) nonces: auth::NonceKey,
    /// Where accounts are registered, for whoever asks what we are.
    pub(crate) whereabouts: Mutex<Whereabouts>,
    /// Sources that guess passwords.
    pub(crate) bans: Mutex<Bans>,
    /// Keeps carriers' passwords.
    pub(crate) seal: Arc<auth::Seal>,
    /// REGISTERs that wait for their commit.
    pub(crate) registering: Mutex<std::collections::BTreeSet<u64>>,
    /// Told when a home may have come or gone.
    pub(crate) homes_moved: Notify,
    /// Calls of lost homes that belong to homes of this node now.
    pub(crate) adopted: Mutex<Vec<CallId>>,
    /// The nodes by whose addresses messages came for calls of this one.
    pub(crate) ways: Mutex<BTreeMap<SocketAddr, NodeId>>,
    /// The home for which this node has fallen silent, so that another can take it.
    pub(crate) yielding: Mutex<Option<HomeId>>,
    /// INVITEs that were refused because of how this node was.
    pub(crate) refused: Mutex<Refused>,
    /// Emergency calls that no majority knows yet.
    pub(crate) solo: Mutex<Solo>,
    /// Requests of ours that belong to no call.
    pub(crate) errands: Mutex<Errands>,
    /// The registrations that this node makes with carriers.
    pub(crate) enrolling: Mutex<Enrolling>,
    /// What DNS has said.
    pub(crate) names: Mutex<trunk::Names>,
    /// Whom host names admit.
    pub(crate) followed: Mutex<Followed>,
    /// The targets that this node asks by OPTIONS.
    pub(crate) watching: Mutex<Watching>,
    /// Held while a home is being given away.
    pub(crate) sharing: tokio::sync::Mutex<()>,
    homes: Mutex<Homes>,
    pub(crate) calls: Mutex<Calls>,
    afterlife: Mutex<Afterlife>,
    gate: Mutex<Gate>,
    rng: Mutex<Rng>,
    sessions: Mutex<BTreeMap<u64, ActorRef<media::Msg>>>,
    supervisors: Mutex<BTreeMap<Name, ActorCell>>,
    root: OnceLock<ActorCell>,
    incarnation: OnceLock<Incarnation>,
    drawn: AtomicU64,
    session_numbers: AtomicU64,
}

/// What `Shared` is made of.
pub(crate) struct Parts {
    pub(crate) world: World,
    pub(crate) config: NodeConfig,
    pub(crate) secret: Secret,
    pub(crate) counters: Arc<Counters>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) streams: Streams,
    pub(crate) cluster: Replica,
    pub(crate) rng: Rng,
}

/// How many answers of calls that are gone are kept at most.
const REMAINS_MAX: usize = 200_000;

impl Shared {
    /// A node that has not started.
    pub(crate) fn new(parts: Parts) -> Shared {
        let keep = parts.config.times.give_up();
        Shared {
            world: parts.world,
            config: parts.config,
            metrics: Metrics::default(),
            counters: parts.counters,
            wheel: Arc::default(),
            rules: Rules::default(),
            outbox: parts.outbox,
            streams: parts.streams,
            cluster: parts.cluster,
            draining: AtomicBool::new(false),
            ready: AtomicBool::new(false),
            writable: AtomicBool::new(true),
            drained: AtomicBool::new(false),
            departed: AtomicBool::new(false),
            removed: Notify::new(),
            reports: Mutex::default(),
            mute_since: Mutex::default(),
            unsaid: Mutex::default(),
            secret: parts.secret,
            nonces: auth::NonceKey::new(parts.secret.bytes()),
            whereabouts: Mutex::default(),
            bans: Mutex::default(),
            seal: Arc::new(auth::Seal::new(parts.secret.bytes())),
            registering: Mutex::default(),
            homes_moved: Notify::new(),
            adopted: Mutex::default(),
            ways: Mutex::default(),
            yielding: Mutex::default(),
            refused: Mutex::default(),
            solo: Mutex::default(),
            errands: Mutex::default(),
            enrolling: Mutex::default(),
            names: Mutex::default(),
            followed: Mutex::default(),
            watching: Mutex::default(),
            sharing: tokio::sync::Mutex::default(),
            homes: Mutex::default(),
            calls: Mutex::default(),
            afterlife: Mutex::new(Afterlife::new(keep, REMAINS_MAX)),
            gate: Mutex::default(),
            rng: Mutex::new(parts.rng),
            sessions: Mutex::default(),
            supervisors: Mutex::default(),
            root: OnceLock::new(),
            incarnation: OnceLock::new(),
            drawn: AtomicU64::new(0),
            session_numbers: AtomicU64::new(0),
        }
    }

    /// Calls may begin from now on.
    pub(crate) fn begin_life(&self, root: ActorCell, incarnation: Incarnation) {
        let _ = self.root.set(root);
        let _ = self.incarnation.set(incarnation);
    }

    // Homes.

    /// Takes in a home.
    pub(crate) fn take_home(&self, home: Arc<Home>) {
        lock(&self.homes).insert(home);
    }

    /// Gives a home up.
    pub(crate) fn give_up_home(&self, id: HomeId) -> Option<Arc<Home>> {
        lock(&self.homes).remove(id)
    }

    /// A home that this node holds.
    pub(crate) fn home(&self, id: HomeId) -> Option<Arc<Home>> {
        lock(&self.homes).get(id).cloned()
    }

    /// The home of which this is an address.
    pub(crate) fn home_at(&self, local: SocketAddr) -> Option<Arc<Home>> {
        lock(&self.homes).at(local).cloned()
    }

    /// All homes that this node holds.
    pub(crate) fn homes(&self) -> Vec<Arc<Home>> {
        lock(&self.homes).iter().cloned().collect()
    }

    /// New resources, for calls that begin from now on.
    pub(crate) fn set_resources(&self, resources: &Arc<Resources>) {
        lock(&self.homes).iter().for_each(|home| home.set_resources(resources.clone()));
    }

    // Sending.

    /// Sends a message.
    pub(crate) fn send(&self, flow: Flow, bytes: Bytes) {
        match flow.transport {
            Transport::Udp => {
                if !self.outbox.push(flow.local, flow.remote, bytes.clone()) {
                    self.send_elsewhere(&flow, &bytes);
                }
            }
            Transport::Tcp | Transport::Tls if !self.may_speak_from(flow.local) => {
                lock(&self.unsaid).hold(flow, bytes);
            }
            Transport::Tcp | Transport::Tls if self.home_at(flow.local).is_none() => {
                self.send_elsewhere(&flow, &bytes);
            }
            Transport::Tcp | Transport::Tls => {
                self.say_unsaid();
                self.send_over_stream(flow, bytes);
            }
        }
    }

    /// Says over streams what may be said now, in its order.
    pub(crate) fn say_unsaid(&self) {
        let free = lock(&self.unsaid).take(|local| self.may_speak_from(local));
        free.into_iter().for_each(|(flow, bytes)| self.send(flow, bytes));
    }

    fn send_over_stream(&self, flow: Flow, bytes: Bytes) {
        let elsewhere = |bytes: &[u8]| match bytes.starts_with(b"SIP/2.0 ") {
            // Nobody listens where it came from.
            _ if flow.connection == Flow::CAME => flow.remote,
            // A response whose connection is gone goes to where the Via says that the client listens
            // (RFC 3261 §18.2.2).
            true => stateless::sent_by(bytes, flow.remote),
            false => stateless::next_hop(bytes, flow.transport, flow.remote),
        };
        self.streams.send_or(crate::switch::peer(flow), bytes, elsewhere);
    }

    /// Sends a message of a call that is carried on this node's own word, from its own address.
    pub(crate) fn say(&self, flow: Flow, bytes: Bytes) {
        match flow.transport {
            Transport::Udp => drop(self.outbox.say(flow.local, flow.remote, bytes)),
            Transport::Tcp | Transport::Tls => {
                self.streams.send(crate::switch::peer(flow), bytes);
            }
        }
    }

    /// Proposes a command of a call; its outcome comes to the call's actor.
    pub(crate) fn propose(&self, id: CallId, home: &Home, command: CallCommand) {
        match self.note_solo(id, &command) {
            Some(outcome) => drop(self.tell(id, Msg::input(Input::Applied(outcome)))),
            None => self.cluster.propose(id, home.id, home.epoch, command),
        }
    }

    /// A command of a call was applied.
    pub(crate) fn applied(self: &Arc<Shared>, id: CallId, outcome: Outcome) {
        if self.settle_solo(id, &outcome) {
            self.tell(id, Msg::input(Input::Applied(outcome)));
        }
    }

    /// Another process has this node's name, or nobody has: nothing more is said.
    pub(crate) fn fenced(&self) {
        if self.cluster.is_known() {
            tracing::error!("another process runs as this node; this one falls silent");
        } else {
            tracing::info!("this node is no part of the cluster any more");
        }
        self.ready.store(false, Ordering::Relaxed);
    }

    // Calls.

    /// The actor that carries a call.
    pub(crate) fn actor(&self, id: CallId) -> Option<ActorRef<Msg>> {
        lock(&self.calls).actor(id)
    }

    /// The call that this INVITE began.
    pub(crate) fn by_key(&self, key: &InviteKey) -> Option<(CallId, ActorRef<Msg>)> {
        lock(&self.calls).by_key(key)
    }

    /// How many calls there are.
    pub(crate) fn calls(&self) -> usize {
        lock(&self.calls).len()
    }

    /// All calls, oldest first.
    pub(crate) fn call_ids(&self) -> Vec<CallId> {
        lock(&self.calls).ids()
    }

    /// An operator ends a call; false if this node does not carry it.
    pub(crate) fn hang_up(&self, call: CallId) -> bool {
        self.tell(call, Msg::input(Input::Hangup("operator")))
    }

    /// Whether new calls are taken.
    pub(crate) fn is_ready(&self) -> bool {
        let is = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        let stops = is(&self.draining) || is(&self.drained);
        is(&self.ready) && !stops && is(&self.writable) && self.cluster.cluster().may_speak()
    }

    /// Tells a call's actor something, if there is one.
    pub(crate) fn tell(&self, id: CallId, msg: Msg) -> bool {
        self.actor(id).is_some_and(|actor| actor.send_message(msg).is_ok())
    }

    /// A generator of its own.
    pub(crate) fn chance(&self) -> Rng {
        let mut seed = [0; 32];
        lock(&self.rng).fill(&mut seed);
        Rng::seeded(seed)
    }

    /// A new call's name, and the chance that everything random in it follows from.
    pub(crate) fn draw(&self) -> Option<(CallId, u64)> {
        let incarnation = *self.incarnation.get()?;
        let counter = self.drawn.fetch_add(1, Ordering::Relaxed) + 1;
        let incarnation = if planted("one-name-for-two-calls") { Incarnation(1) } else { incarnation };
        Some((CallId::new(incarnation, counter), lock(&self.rng).next_u64()))
    }

    /// Gives a call an actor under its trunk's supervisor. False while the node stops.
    pub(crate) fn spawn_call(
        self: &Arc<Shared>,
        id: CallId,
        key: Option<InviteKey>,
        party: Name,
        home: &Arc<Home>,
        context: Arc<Context>,
        begin: Begin,
    ) -> bool {
        let Some(supervisor) = self.supervisor(&party) else { return false };
        let stage = match &begin {
            Begin::Record(record) if matches!(record.phase, Phase::Answered { .. }) => Stage::Answered,
            Begin::Record(_) | Begin::Arrival(_) => Stage::Setup,
        };
        let arguments = Arguments { id, home: home.clone(), context, begin };
        let spawned =
            ActorRuntime::spawn_linked_instant(None, CallActor::new(self.clone()), arguments, supervisor);
        let Ok((actor, _)) = spawned else { return false };
        let mut calls = lock(&self.calls);
        match calls.get_mut(id) {
            // A successor of an actor that failed.
            Some(live) => (live.actor, live.home) = (actor, home.clone()),
            None => {
                let ports = Vec::new();
                let home = home.clone();
                let live = Live { actor, media: None, key, stage, home, party, restored: false, ports };
                calls.insert(id, live);
                add(&self.metrics.calls);
            }
        }
        true
    }

    /// The call is over.
    pub(crate) fn forget(&self, id: CallId, remains: Vec<Remains>) {
        let Some(live) = lock(&self.calls).remove(id) else { return };
        sub(&self.metrics.calls);
        if let Some((_, media)) = live.media {
            let _ = media.send_message(media::Msg::Remove(live.actor.clone()));
        }
        let now = self.world.clock.now();
        live.home.release_ports(now, &live.ports);
        if !remains.is_empty() {
            lock(&self.afterlife).insert(now, remains);
        }
    }

    /// The call is another node's: its actor goes, and nothing is said or kept.
    pub(crate) fn abandon(&self, id: CallId) {
        if let Some(actor) = self.actor(id) {
            actor.stop(None);
        }
        self.forget(id, Vec::new());
    }

    /// The answer to a copy of what a call answered before it went away.
    pub(crate) fn afterlife(&self, key: u64) -> Option<(Flow, Bytes)> {
        lock(&self.afterlife).get(key).cloned()
    }

    /// Forgets answers that nobody can ask for any more.
    pub(crate) fn expire_afterlife(&self) {
        lock(&self.afterlife).expire(self.world.clock.now());
    }

    // Supervision.

    /// The supervisor of a trunk's or gateway's calls; made when it is first needed.
    fn supervisor(self: &Arc<Shared>, party: &Name) -> Option<ActorCell> {
        let mut supervisors = lock(&self.supervisors);
        if let Some(known) = supervisors.get(party) {
            return Some(known.clone());
        }
        let root = self.root.get()?.clone();
        let made =
            ActorRuntime::spawn_linked_instant(None, PartySupervisor::new(self.clone()), party.clone(), root);
        let cell = made.ok()?.0.get_cell();
        supervisors.insert(party.clone(), cell.clone());
        Some(cell)
    }

    /// A supervisor is gone, and its actors with it: their calls are restored.
    pub(crate) fn supervisor_lost(self: &Arc<Shared>, supervisor: ActorId) {
        let party = {
            let mut supervisors = lock(&self.supervisors);
            let found = supervisors.iter().find(|(_, cell)| cell.get_id() == supervisor);
            let Some(party) = found.map(|(party, _)| party.clone()) else { return };
            supervisors.remove(&party);
            party
        };
        let calls = lock(&self.calls).of_party(&party);
        for call in calls {
            self.restore(call);
        }
    }

    /// An actor failed.
    pub(crate) fn failed(self: &Arc<Shared>, actor: ActorId) {
        let role = lock(&self.calls).by_actor(actor);
        match role {
            Some(Role::Call(call)) => self.restore(call),
            Some(Role::Media(call)) => self.renew_media(call),
            // It failed after its call was forgotten.
            None => {}
        }
    }

    /// Rebuilds a call from what a quorum holds of it: once. What was proposed before is applied first, so
    /// that the record is the newest.
    fn restore(self: &Arc<Shared>, id: CallId) {
        let again = {
            let mut calls = lock(&self.calls);
            let Some(live) = calls.get_mut(id) else { return };
            std::mem::replace(&mut live.restored, true)
        };
        let shared = self.clone();
        let task = async move {
            shared.cluster.barrier().await;
            if again || !shared.revive(id) {
                shared.release(id);
            }
        };
        self.world.spawn.spawn("restore", Box::pin(task));
    }

    /// What became of a command of a call can't be known any more: it goes on from its record, as with a
    /// successor, or is gone.
    pub(crate) fn recall(self: &Arc<Shared>, id: CallId) {
        let Some(actor) = self.actor(id) else { return };
        let shared = self.clone();
        let task = async move {
            // It says nothing more: what it waited for is in the record, or never will be.
            let _ = actor.stop_and_wait(None, None).await;
            if !shared.revive(id) {
                shared.forget(id, Vec::new());
            }
        };
        self.world.spawn.spawn("recall", Box::pin(task));
    }

    /// A call's actor anew, from its record. False if there is none.
    fn revive(self: &Arc<Shared>, id: CallId) -> bool {
        let Some(record) = self.cluster.record(id) else { return false };
        let Some(home) = self.home(record.home) else { return false };
        tracing::info!(call = %id, "call restored from its record");
        self.rebuild(&home, record)
    }

    /// A call of a home, from what a quorum holds of it.
    pub(crate) fn rebuild(self: &Arc<Shared>, home: &Arc<Home>, record: Arc<CallRecord>) -> bool {
        let (id, key, party) = (record.id, record.admit.key, record.admit.party.name().clone());
        add(&self.metrics.restored);
        self.spawn_call(id, Some(key), party, home, home.context(), Begin::Record(record))
    }

    /// Gives up a call that can't be restored: its slots go, its CDR is made.
    fn release(&self, id: CallId) {
        tracing::error!(call = %id, "call released");
        let home = self.cluster.record(id).and_then(|record| self.home(record.home));
        if let Some(home) = home {
            let end = call::End {
                status: 500,
                reason: "the call failed twice".to_owned(),
                by: call::HangupBy::System,
                at: self.world.clock.wall(),
                ingress_quality: None,
                egress_quality: None,
                events: Vec::new(),
            };
            self.propose(id, &home, CallCommand::Change(Change::End(Box::new(end))));
        }
        self.forget(id, Vec::new());
    }

    // Media.

    /// The actor that controls a call's media; made when it is first needed.
    pub(crate) fn media(self: &Arc<Shared>, id: CallId) -> Option<ActorRef<media::Msg>> {
        let (party, at, known) = {
            let mut calls = lock(&self.calls);
            let live = calls.get_mut(id)?;
            (live.party.clone(), live.home.media, live.media.as_ref().map(|(_, actor)| actor.clone()))
        };
        if known.is_some() {
            return known;
        }
        let session = self.session(id);
        self.spawn_media(session, &party, at, 0)
    }

    /// A new media session's name.
    pub(crate) fn session(&self, call: CallId) -> Session {
        Session { call, number: self.session_numbers.fetch_add(1, Ordering::Relaxed) + 1 }
    }

    /// Gives a media session an actor. `at`: the address that its sockets are bound to. `installed`: the
    /// streams that the relay has already, as bits.
    pub(crate) fn spawn_media(
        self: &Arc<Shared>,
        session: Session,
        party: &Name,
        at: IpAddr,
        installed: u16,
    ) -> Option<ActorRef<media::Msg>> {
        let supervisor = self.supervisor(party)?;
        let actor = MediaActor::new(self.clone());
        let (actor, _) =
            ActorRuntime::spawn_linked_instant(None, actor, (session, at, installed), supervisor).ok()?;
        if let Some(live) = lock(&self.calls).get_mut(session.call) {
            live.media = Some((session, actor.clone()));
        }
        if lock(&self.sessions).insert(session.number, actor.clone()).is_none() {
            add(&self.metrics.media);
        }
        Some(actor)
    }

    /// A media session's actor anew; the relay's entries are still there.
    fn renew_media(self: &Arc<Shared>, id: CallId) {
        let found = {
            let mut calls = lock(&self.calls);
            calls
                .get_mut(id)
                .and_then(|live| Some((live.media.take()?.0, live.party.clone(), live.home.media)))
        };
        if let Some((session, party, at)) = found {
            let has = |index: &u8| self.world.relay.figures(session.stream(*index)).is_some();
            let installed = (0..16u8).filter(has).fold(0, |set, index| set | 1u16 << index);
            self.spawn_media(session, &party, at, installed);
        }
    }

    /// The call no longer needs its media: its ports rest, and the actor that must clean up is given.
    pub(crate) fn release_media(&self, id: CallId) -> Option<ActorRef<media::Msg>> {
        let (ports, home, media) = {
            let mut calls = lock(&self.calls);
            let live = calls.get_mut(id)?;
            (std::mem::take(&mut live.ports), live.home.clone(), live.media.take())
        };
        home.release_ports(self.world.clock.now(), &ports);
        media.map(|(_, actor)| actor)
    }

    /// A media session is over.
    pub(crate) fn media_ended(&self, session: Session) {
        if lock(&self.sessions).remove(&session.number).is_some() {
            sub(&self.metrics.media);
        }
    }

    /// Hands what the relay noticed to those whom it concerns.
    pub(crate) fn noticed(&self, event: env::RelayEvent) {
        use env::RelayEvent::{Forged, Heard, Latched, Mark, Silent};
        let (Latched { id, .. } | Silent { id, .. } | Heard { id, .. } | Forged { id, .. } | Mark { id, .. }) =
            event;
        let actor = lock(&self.sessions).get(&Session::number_of(id)).cloned();
        if let Some(actor) = actor {
            let _ = actor.send_message(media::Msg::Noticed(event));
        }
    }

    /// Whether any media is relayed.
    pub(crate) fn has_media(&self) -> bool {
        !lock(&self.sessions).is_empty()
    }

    /// Whether a call has ports of its home.
    pub(crate) fn has_ports(&self, id: CallId) -> bool {
        lock(&self.calls).get_mut(id).is_some_and(|live| !live.ports.is_empty())
    }

    /// A call has these ports until it gives them back or is gone.
    pub(crate) fn hold_ports(&self, id: CallId, ports: Vec<PortPair>) {
        if let Some(live) = lock(&self.calls).get_mut(id) {
            live.ports = ports;
        }
    }

    /// How many port pairs are free, and how many there are.
    pub(crate) fn free_ports(&self) -> (usize, usize) {
        let (homes, now) = (self.homes(), self.world.clock.now());
        let each = homes.iter().map(|home| home.free_ports(now));
        each.fold((0, 0), |(free, size), (f, s)| (free + f, size + s))
    }

    // Overload.

    /// A batch was received.
    pub(crate) fn batch(&self, full: bool) {
        lock(&self.gate).batch(self.world.clock.now(), full);
    }

    /// A task that was to run at `due` runs now.
    pub(crate) fn tick(&self, due: Instant) {
        lock(&self.gate).tick(self.world.clock.now(), due);
    }

    /// Why no call may begin now.
    pub(crate) fn full(&self) -> Option<Full> {
        let may = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        let stops = may(&self.draining) || may(&self.drained);
        if stops || !may(&self.ready) || !may(&self.writable) {
            return Some(Full::Stopping);
        }
        let now = self.world.clock.now();
        let backlog = self.cluster.cluster().proposer().backlog();
        let (calls, in_setup) = {
            let calls = lock(&self.calls);
            (calls.len(), calls.in_setup())
        };
        lock(&self.gate).full(now, Load { backlog, calls, in_setup })
    }

    /// A random number.
    pub(crate) fn draw_number(&self) -> u64 {
        lock(&self.rng).next_u64()
    }

    /// An answer that may be asked for again.
    pub(crate) fn remember(&self, remains: Remains) {
        lock(&self.afterlife).insert(self.world.clock.now(), vec![remains]);
    }

    /// When a refused caller may try again, in seconds: spread, so that they don't all come back at once.
    pub(crate) fn retry_after(&self) -> u32 {
        2 + u32::try_from(lock(&self.rng).below(9)).unwrap_or(0)
    }

    // Telling people.

    /// Logs and counts what happened to a call.
    pub(crate) fn note(&self, id: CallId, event: Event) {
        let stage = match event {
            Event::Answered => Some(Stage::Answered),
            Event::Ended(_) | Event::Refused(_) => Some(Stage::Over),
            _ => None,
        };
        if let Some(leaving) = stage.and_then(|stage| lock(&self.calls).advance(id, stage)) {
            // Its peer never acknowledged what it was told; newer calls need the room.
            if let Some(actor) = self.actor(leaving) {
                actor.stop(None);
            }
            self.forget(leaving, Vec::new());
        }
        match event {
            Event::Admitted => {
                add(&self.metrics.admitted);
                tracing::debug!(call = %id, "admitted");
            }
            Event::Ringing => tracing::debug!(call = %id, "ringing"),
            Event::Answered => {
                add(&self.metrics.answered);
                tracing::debug!(call = %id, "answered");
            }
            Event::Ended(status) => {
                add(&self.metrics.ended);
                tracing::debug!(call = %id, status, "ended");
            }
            Event::Refused(status) => {
                self.metrics.refused(status);
                tracing::debug!(call = %id, status, "refused");
            }
            Event::PeerError(what) => {
                add(&self.metrics.peer_errors);
                tracing::warn!(call = %id, what, "a peer broke the protocol");
            }
            Event::Rehomed => {
                add(&self.metrics.rehomed);
                tracing::info!(call = %id, "its peers know its new home");
            }
            Event::NotRehomed(side) => {
                add(&self.metrics.not_rehomed);
                tracing::warn!(call = %id, ?side, "a peer can't be told of the call's new home");
            }
            Event::OneWayAudio(side) => {
                add(&self.metrics.one_way_audio);
                tracing::warn!(call = %id, ?side, "one side is silent");
            }
        }
    }
}

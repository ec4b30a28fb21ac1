//! The replicated state's side of a node: opening it, proposing to it, hearing from it.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, Weak};

use call::{CallCommand, CallId, CallRecord, Change, Epoch, HomeId, Incarnation, InviteKey};
use call::{NodeId, Secret};
use cluster::{Applied, Batch, Cluster, Command, Delta, DrainedUntil, FloatingHome, FrameSink, Health, Held};
use cluster::{Outcome, Seams, State, Urgency};
use env::{Disk, DiskOp, Lane, Purpose};
use futures::channel::oneshot;
use machine::Rng;
use machine::museum::planted;
use trunk::settings::Reinvite;
use trunk::{Name, Party, Resources};

use crate::metrics::add;
use crate::shared::Shared;
use crate::{NodeConfig, StartError, World, lock};

/// This node's membership.
pub(crate) struct Replica {
    cluster: Cluster,
}

/// A home that this node is to give up.
pub(crate) struct Leaving {
    pub(crate) id: HomeId,
    pub(crate) epoch: Epoch,
    /// It is this node's own address, which no other can take.
    pub(crate) is_own: bool,
}

/// What a node knows once it is part of the cluster.
pub(crate) struct Opened {
    pub(crate) replica: Replica,
    pub(crate) ear: Ear,
    pub(crate) incarnation: Incarnation,
    pub(crate) secret: Secret,
}

/// The file that holds the key of tags and branches: a successor must derive the same ones.
const SECRET_FILE: &str = "secret.key";

impl Replica {
    /// Opens the log, becomes part of the cluster and boots.
    pub(crate) async fn open(
        world: &World,
        config: &NodeConfig,
        rng: &mut Rng,
    ) -> Result<Opened, StartError> {
        let secret = match &config.cluster {
            Some(cluster) => cluster.secret,
            None => Secret::new(secret(&*world.disk, rng).await.map_err(StartError::Secret)?),
        };
        let name = Name::new(&config.name).map_err(StartError::Name)?;
        let mut settings = cluster::Config::alone(config.id, name.clone());
        settings.pace = config.pace;
        settings.supports = config.supports;
        settings.floating.clone_from(&config.floating);
        if let Some(cluster) = &config.cluster {
            settings.peers.clone_from(&cluster.peers);
            settings.joins = cluster.peers.is_empty();
            settings.detect = cluster.detect;
        }
        let seams = Seams {
            clock: world.clock.clone(),
            entropy: world.entropy.clone(),
            spawn: world.spawn.clone(),
            disk: world.disk.clone(),
            frames: world.frames.clone(),
        };
        let ear = Ear::default();
        let heard = Arc::new(ear.clone());
        let cluster = Cluster::open(settings, seams, Box::new(ear.clone()), heard).await?;
        let booted = cluster.booted();
        let incarnation = booted.incarnation;
        Ok(Opened { replica: Replica { cluster }, ear, incarnation, secret })
    }

    /// The membership itself.
    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Proposes a command of a call; its outcome comes to the call's actor.
    pub(crate) fn propose(&self, call: CallId, home: HomeId, epoch: Epoch, command: CallCommand) {
        let urgency = match &command {
            CallCommand::Admit(_) | CallCommand::Refuse(_) => Urgency::Urgent,
            CallCommand::Change(Change::Attempt(_)) => Urgency::Urgent,
            CallCommand::Change(Change::End(_)) if self.is_crowded(call) => Urgency::Urgent,
            // A caller that rings can wait for its answer's record a moment; a write shared costs half.
            command if command.is_urgent() => Urgency::Soon,
            _ => Urgency::Lazy,
        };
        self.cluster.proposer().propose(home, epoch, call, command, urgency);
    }

    /// Whether a call holds a slot of something that is at least 90 % full: then its end can't wait.
    fn is_crowded(&self, call: CallId) -> bool {
        self.cluster.read(|state| {
            let Some(record) = state.call(call) else { return false };
            // A call has at most two slots of a scope: most ends need no closer look than this.
            let slots_max = state.calls().len() as u64 * 2;
            record.slots.iter().any(|slot| {
                let limit = state.resources().concurrent(&slot.scope).map_or(u64::MAX, u64::from);
                let nine_tenths = limit.saturating_mul(9) / 10;
                slots_max >= nine_tenths && u64::from(state.usage(&slot.scope).concurrent) >= nine_tenths
            })
        })
    }

    /// Waits until everything that was proposed before is applied. False if this process was fenced off.
    pub(crate) async fn barrier(&self) -> bool {
        self.cluster.proposer().ask(Command::Tick).await.is_some()
    }

    /// Whether media may be secured: every node knows how.
    pub(crate) fn secures(&self) -> bool {
        self.cluster.read(State::secures)
    }

    /// What a quorum holds of a call.
    pub(crate) fn record(&self, call: CallId) -> Option<Arc<CallRecord>> {
        self.cluster.read(|state| state.call(call).cloned())
    }

    /// The records of all live calls of a home.
    pub(crate) fn records(&self, home: HomeId) -> Vec<Arc<CallRecord>> {
        self.cluster.read(|state| state.calls().filter(|record| record.home == home).cloned().collect())
    }

    /// The homes that this node holds, as of the last batch.
    pub(crate) fn held(&self) -> Vec<(Held, Option<FloatingHome>)> {
        let node = self.cluster.node();
        self.cluster.read(|state| {
            let spec = |held: &Held| state.home(held.home).and_then(|home| home.floating().cloned());
            state.held(node).into_iter().map(|held| (held.clone(), spec(&held))).collect()
        })
    }

    /// The call that this INVITE, or the one that this CANCEL is for, began.
    pub(crate) fn call_of(&self, key: &InviteKey) -> Option<CallId> {
        self.cluster.read(|state| state.call_of(key))
    }

    /// The other node that holds the home of a call.
    pub(crate) fn holder_of(&self, call: CallId) -> Option<NodeId> {
        let holder = self.cluster.read(|state| state.home(state.call(call)?.home)?.holder);
        holder.filter(|holder| *holder != self.cluster.node())
    }

    /// The other node that holds the home of an address.
    pub(crate) fn holder_at(&self, local: SocketAddr) -> Option<NodeId> {
        let holder = self.cluster.read(|state| {
            let is_there = |home: &FloatingHome| {
                home.address == local.ip() && home.sip.iter().any(|(_, port)| *port == local.port())
            };
            state.homes().find(|(_, home)| home.floating().is_some_and(is_there))?.1.holder
        });
        holder.filter(|holder| *holder != self.cluster.node())
    }

    /// The home that this node should give up, and whether it is its own address: then others adopt the calls.
    pub(crate) fn to_yield(&self) -> Option<Leaving> {
        self.cluster.read(|state| {
            let id = state.next_yield(self.cluster.node(), state.time())?;
            let home = state.home(id)?;
            Some(Leaving { id, epoch: home.epoch, is_own: home.floating().is_none() })
        })
    }

    /// Whether a call of a home has a party that may not be told by re-INVITE where it goes.
    pub(crate) fn is_rooted(&self, home: HomeId) -> bool {
        let forbids = |resources: &Resources, party: &Party| {
            let settings = match party {
                Party::Trunk { name, .. } => resources.trunks.get(name).map(|trunk| &trunk.settings),
                Party::Gateway { name } => resources.gateways.get(name).map(|gateway| &gateway.settings),
            };
            settings.is_some_and(|settings| settings.media.reinvite == Reinvite::Never)
        };
        self.cluster.read(|state| {
            let mut records = state.calls().filter(|record| record.home == home);
            records.any(|record| {
                let callee = record.attempts.last().map(|tried| &tried.party);
                std::iter::once(&record.admit.party).chain(callee).any(|it| forbids(state.resources(), it))
            })
        })
    }

    /// Says that this node has fallen silent for a home. False if nobody takes it.
    pub(crate) async fn yield_home(&self, home: HomeId, epoch: Epoch) -> bool {
        let outcome = self.cluster.proposer().ask(Command::Yield { home, epoch }).await;
        matches!(outcome, Some(Outcome::Done))
    }

    /// Asks for this node's own address, if it serves and has lost that.
    pub(crate) async fn reclaim(&self) {
        let is_homeless = self.cluster.read(|state| state.is_homeless(self.cluster.node()));
        if is_homeless && !planted("resumed-without-address") {
            self.cluster.proposer().ask(Command::Return).await;
        }
    }

    /// Moves this node's homes away, if there are others to take them.
    pub(crate) async fn drain(&self) {
        let node = self.cluster.node();
        if self.cluster.read(|state| state.nodes().len() > 1) {
            let command = Command::Drain { node, until: DrainedUntil::Boot };
            // Refused or not, what can move moves.
            let _ = self.cluster.proposer().ask(command).await;
        }
    }

    /// Whether the state knows that this node gives up its homes, or there is nobody to take them.
    pub(crate) fn gives_up(&self) -> bool {
        let node = self.cluster.node();
        self.cluster
            .read(|state| state.nodes().len() <= 1 || state.node(node).is_some_and(|it| it.drained.is_some()))
    }

    /// Sends a frame to another node. What is lost is sent again by the peer that wrote it.
    pub(crate) fn forward(&self, to: NodeId, bytes: Vec<u8>) -> bool {
        self.cluster.send(to, Purpose::Forward, bytes)
    }

    /// Sends another node a question, or something to know.
    pub(crate) fn ask(&self, node: NodeId, bytes: Vec<u8>) -> bool {
        self.cluster.send(node, Purpose::Query, bytes)
    }

    /// Whether this node is one of the cluster.
    pub(crate) fn is_known(&self) -> bool {
        self.cluster.read(|state| state.node(self.cluster.node()).is_some())
    }

    /// Whether an operator has drained this node, and it has no floating home any more.
    pub(crate) fn is_drained(&self) -> bool {
        let node = self.cluster.node();
        self.cluster.read(|state| {
            let drained = state.node(node).is_some_and(|it| it.drained == Some(DrainedUntil::Resume));
            drained && !state.homes().any(|(_, home)| home.holder == Some(node) && home.floating().is_some())
        })
    }

    /// Whether a use of a nonce was not made yet, as far as this node knows.
    pub(crate) fn is_unused(&self, proof: &auth::Use) -> bool {
        self.cluster.read(|state| state.is_unused(proof))
    }

    /// The resources.
    pub(crate) fn resources(&self) -> Arc<Resources> {
        self.cluster.read(|state| state.resources().clone())
    }

    /// Whether a scope carries more calls than its limit: it was lowered.
    fn is_beyond_a_limit(&self) -> bool {
        self.cluster.read(|state| {
            state.slots().any(|(scope, ..)| {
                let limit = state.resources().concurrent(scope);
                limit.is_some_and(|limit| state.usage(scope).concurrent > limit)
            })
        })
    }

    /// Whether commands are being committed.
    pub(crate) fn is_writable(&self) -> bool {
        matches!(self.cluster.health(), Health::Ready) && !self.cluster.proposer().is_fenced()
    }
}

/// Hears what was applied, and passes it on once the node is there to hear it.
#[derive(Clone, Default)]
pub(crate) struct Ear(Arc<OnceLock<Weak<Shared>>>);

impl Ear {
    /// From now on `shared` hears everything.
    pub(crate) fn attach(&self, shared: &Arc<Shared>) {
        // Attached once; a second node would have an ear of its own.
        let _ = self.0.set(Arc::downgrade(shared));
    }

    fn shared(&self) -> Option<Arc<Shared>> {
        self.0.get()?.upgrade()
    }
}

impl Applied for Ear {
    fn outcomes(&mut self, batch: &Batch, outcomes: Vec<Outcome>) {
        let Some(shared) = self.shared() else { return };
        for (command, outcome) in batch.commands.iter().zip(outcomes) {
            if let (Command::Call { call, .. }, Outcome::Call(outcome)) = (command, outcome) {
                shared.applied(*call, outcome);
            }
        }
    }

    fn deltas(&mut self, _: u64, deltas: &[Delta]) {
        for delta in deltas {
            let Some(shared) = self.shared() else { return };
            match delta {
                Delta::Resources(_) => {
                    shared.see_resources();
                    if planted("lowered-limit-drops-calls") && shared.cluster.is_beyond_a_limit() {
                        shared.call_ids().into_iter().for_each(|call| {
                            shared.hang_up(call);
                        });
                    }
                }
                Delta::HomeMoved { from, to, .. } => {
                    if from.is_some() && *to == Some(shared.cluster.cluster().node()) {
                        add(&shared.metrics.takeovers);
                    }
                    shared.homes_moved.notify_one();
                }
                Delta::Evicted(_) => add(&shared.metrics.evictions),
                Delta::Adopted { record, .. } => shared.adopt(record),
                Delta::Removed(node) if *node == shared.cluster.cluster().node() => {
                    shared.removed.notify_one();
                }
                Delta::Removed(node) => lock(&shared.reports).forget(*node),
                _ => {}
            }
        }
    }

    fn replaced(&mut self, _: u64) {
        let Some(shared) = self.shared() else { return };
        shared.see_resources();
        shared
            .homes()
            .iter()
            .flat_map(|home| shared.cluster.records(home.id))
            .for_each(|it| shared.adopt(&it));
        shared.homes_moved.notify_one();
    }

    fn unknown(&mut self, batch: &Batch) {
        let Some(shared) = self.shared() else { return };
        for command in &batch.commands {
            if let Command::Call { call, .. } = command {
                shared.recall(*call);
            }
        }
    }

    fn fenced(&mut self) {
        if let Some(shared) = self.shared() {
            shared.fenced();
        }
    }
}

impl FrameSink for Ear {
    fn forwarded(&self, from: NodeId, bytes: Vec<u8>) {
        if let Some(shared) = self.shared() {
            shared.forwarded(from, &bytes);
        }
    }

    fn asked(&self, from: NodeId, bytes: Vec<u8>) {
        if let Some(shared) = self.shared() {
            shared.asked(from, &bytes);
        }
    }
}

/// The key of tags and branches; drawn at the first start.
async fn secret(disk: &dyn Disk, rng: &mut Rng) -> io::Result<[u8; 16]> {
    match disk.read(SECRET_FILE, 0, 64) {
        Ok(bytes) => {
            return <[u8; 16]>::try_from(bytes.as_slice())
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it must have 16 bytes"));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut key = [0; 16];
    rng.fill(&mut key);
    let (tell, told) = oneshot::channel();
    let op = DiskOp::WriteWhole { file: SECRET_FILE.into(), chunks: Box::new(std::iter::once(key.to_vec())) };
    disk.submit(
        Lane::Bulk,
        op,
        Box::new(move |result, _| {
            // The starter waits; if it is gone, nobody needs to know.
            let _ = tell.send(result);
        }),
    );
    told.await.map_err(|_| io::Error::from(io::ErrorKind::Interrupted))??;
    Ok(key)
}

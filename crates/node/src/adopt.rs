//! Homes come and go: sockets first, then the calls, ringing ones first, then the home is listened to.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ::media::PortPool;
use call::{CallId, CallRecord, Context, HomeId, Phase};
use cluster::Held;
use machine::museum::planted;

use crate::bindings::Located;
use crate::home::{Home, Sockets};
use crate::replica::Leaving;
use crate::shared::Shared;
use crate::{HomeConfig, StartError, lock};

/// How many calls are rebuilt before others get their turn.
const RESTORE_BURST: usize = 32;
/// When an address that could not be bound is tried again.
const BIND_AGAIN: Duration = Duration::from_millis(50);
/// Turns that rebuilt calls get to bind their media ports before packets for them are drawn here.
const PORT_TURNS: usize = 8;
/// Turns that calls get to speak before their home is left.
const LAST_TURNS: usize = 8;
/// How long a home waits, before it is left, for callees that were given up and may ring yet.
const OPEN_ENDS_MAX: Duration = Duration::from_secs(1);
const OPEN_ENDS_POLL: Duration = Duration::from_millis(20);
/// How often what they proposed is waited for.
const LAST_ROUNDS: usize = 2;

impl Shared {
    /// Takes the homes that the cluster gives to this node, and leaves those that it takes away. Never ends.
    pub(crate) async fn keep_homes(self: Arc<Shared>, own: HomeConfig) {
        loop {
            self.homes_moved.notified().await;
            self.take_adopted().await;
            let mut said = None;
            while let Err(error) = self.tend_homes(&own).await {
                // An address is not ours yet: its last holder's socket, or what brings it here, is slow.
                let words = error.to_string();
                if said.as_ref() != Some(&words) {
                    tracing::warn!(error = words, "a home can't be taken yet");
                    said = Some(words);
                }
                self.world.spawn.sleep_until(self.world.clock.now() + BIND_AGAIN).await;
                self.take_adopted().await;
            }
            self.tend_registrations();
            self.tend_watches();
        }
    }

    /// Gives a home to the node that should have it: silence first, then the word that it is free. Its calls
    /// notice nothing; those of this node's own address are adopted by others, and told by re-INVITE. False if it stays.
    pub(crate) async fn share_homes(self: &Arc<Shared>) -> bool {
        let _one_at_a_time = self.sharing.lock().await;
        let Some(Leaving { id, epoch, is_own }) = self.cluster.to_yield() else { return false };
        if is_own && !self.may_close(id) {
            return false;
        }
        *lock(&self.yielding) = Some(id);
        self.finish_sentences(id).await;
        self.leave(id).await;
        let moved = self.cluster.yield_home(id, epoch).await;
        *lock(&self.yielding) = None;
        if !moved {
            tracing::info!("nobody takes the home; it stays");
        }
        self.homes_moved.notify_one();
        moved
    }

    /// Whether this node's own address may be given up: no call begins there any more, none rings, and every party
    /// may be told by re-INVITE who has adopted its calls. Until then they end by themselves.
    fn may_close(&self, home: HomeId) -> bool {
        let closed = self.drained.load(Ordering::Relaxed) || self.draining.load(Ordering::Relaxed);
        closed && lock(&self.calls).in_setup() == 0 && !self.cluster.is_rooted(home)
    }

    /// Hears nothing more at a home, and says what is left to say there: what was proposed before is applied now
    /// and may be spoken. A BYE whose end is committed would else hear 481 from the next holder.
    async fn finish_sentences(self: &Arc<Shared>, id: HomeId) {
        let Some(home) = self.home(id).filter(|_| !planted("sentences-cut-short")) else { return };
        let (clock, spawn) = (&self.world.clock, &self.world.spawn);
        let patience = clock.now() + OPEN_ENDS_MAX;
        while home.has_open_ends() && clock.now() < patience {
            spawn.sleep_until(clock.now() + OPEN_ENDS_POLL).await;
        }
        home.deafen();
        // What was heard last is proposed some turns later: a call asks its media first how it was.
        for _ in 0..LAST_ROUNDS {
            for _ in 0..LAST_TURNS {
                tokio::task::yield_now().await;
            }
            self.cluster.barrier().await;
        }
        for _ in 0..LAST_TURNS {
            tokio::task::yield_now().await;
        }
        self.outbox.flush();
    }

    /// Leaves, then takes.
    ///
    /// # Errors
    /// An address could not be taken; the others were.
    async fn tend_homes(self: &Arc<Shared>, own: &HomeConfig) -> Result<(), StartError> {
        let mut held = self.cluster.held();
        held.retain(|(held, _)| *lock(&self.yielding) != Some(held.home));
        for home in self.homes() {
            let is_held = held.iter().any(|(held, _)| held.home == home.id && held.epoch == home.epoch);
            if !is_held && !planted("lost-home-kept") {
                self.leave(home.id).await;
            }
        }
        let mut result = Ok(());
        for (held, floating) in held.iter().filter(|(held, _)| self.home(held.home).is_none()) {
            let config = floating.as_ref().map_or_else(|| own.clone(), HomeConfig::from);
            let entered = match Sockets::bind(&self.world, &config, self.config.tls.is_some()) {
                Ok(sockets) => self.enter(&config, held, sockets).await,
                Err(error) => Err(error),
            };
            result = entered.and(result);
        }
        result
    }

    /// Takes a home in: its calls are rebuilt from what a quorum holds of them, its address is brought here, then
    /// it is listened to. Packets that came before all sockets were bound would be answered by the kernel, with
    /// ICMP errors.
    ///
    /// # Errors
    /// Its media ports hold no pair, or its address can't be brought here.
    pub(crate) async fn enter(
        self: &Arc<Shared>,
        config: &HomeConfig,
        held: &Held,
        sockets: Sockets,
    ) -> Result<(), StartError> {
        let mut chance = self.chance();
        let ports = PortPool::new(config.media_ports.clone(), self.config.media_rest, &mut chance)?;
        let context = Context {
            home: held.home,
            epoch: held.epoch,
            resources: self.seen_resources(),
            seal: self.seal.clone(),
            bindings: Arc::new(Located(self.cluster.cluster().clone())),
            secret: self.secret,
            domain: self.config.domain.as_str().into(),
            addresses: sockets.addresses.clone(),
            advertise: config.advertise.as_deref().map(Into::into),
            times: self.config.times,
            media: config.media_advertise.unwrap_or(config.media),
        };
        let home = Arc::new(Home::new(config, context, ports));
        sockets.datagrams.iter().for_each(|socket| self.outbox.add(socket.clone()));
        self.take_home(home.clone());
        self.rebuild_calls(&home).await;
        if let Err(error) = self.bring(config.media).await {
            self.leave(home.id).await;
            return Err(StartError::Address { at: config.media, error });
        }
        sockets.addresses.iter().for_each(|(_, at)| self.outbox.open(*at));
        self.listen(&home, sockets);
        Ok(())
    }

    /// Brings a home's address to this machine, if it floats.
    async fn bring(&self, address: IpAddr) -> io::Result<()> {
        let Some(addresses) = &self.world.addresses else { return Ok(()) };
        for _ in 0..PORT_TURNS {
            tokio::task::yield_now().await;
        }
        addresses.renew(self.cluster.cluster().speaks_until());
        addresses.add(address).await
    }

    /// Gives a home up, without a word to anybody: whoever holds it now speaks for it.
    pub(crate) async fn leave(self: &Arc<Shared>, id: HomeId) {
        let Some(home) = self.give_up_home(id) else { return };
        home.deafen();
        let addresses = home.context().addresses.clone();
        for (_, at) in &addresses {
            self.outbox.remove(*at);
            lock(&self.unsaid).forget(*at);
        }
        self.streams.close_where(|local| addresses.iter().any(|(_, at)| *at == local));
        let calls = lock(&self.calls).of_home(id);
        tracing::info!(home = %home.name, calls = calls.len(), "the home is this node's no more");
        // Nobody else knows of an emergency call that began without a majority.
        let gone = |call: &CallId| !self.is_solo(*call) && !planted("timers-of-a-former-holder");
        for call in calls.into_iter().filter(gone) {
            self.abandon(call);
        }
        if let Some(floating) = &self.world.addresses {
            floating.remove(home.media).await;
        }
    }

    /// A call of a lost home belongs to another home now: this node's, perhaps.
    pub(crate) fn adopt(&self, record: &CallRecord) {
        if self.home(record.home).is_some() {
            lock(&self.adopted).push(record.id);
            self.homes_moved.notify_one();
        }
    }

    /// Rebuilds the calls that were adopted into homes which this node holds already. Those of a home that it enters
    /// are rebuilt with it.
    async fn take_adopted(self: &Arc<Shared>) {
        let adopted = std::mem::take(&mut *lock(&self.adopted));
        let records: Vec<_> = adopted.into_iter().filter_map(|call| self.cluster.record(call)).collect();
        let count = self.rebuild_all(records).await;
        if count > 0 {
            tracing::info!(calls = count, "calls of a lost home adopted");
        }
    }

    /// Rebuilds the calls of a home.
    async fn rebuild_calls(self: &Arc<Shared>, home: &Arc<Home>) {
        let count = self.rebuild_all(self.cluster.records(home.id)).await;
        if count > 0 {
            tracing::info!(home = %home.name, calls = count, "calls taken over");
        }
    }

    /// Rebuilds calls that nobody carries yet, ringing ones first, paced. Gives how many.
    async fn rebuild_all(self: &Arc<Shared>, mut records: Vec<Arc<CallRecord>>) -> usize {
        records.sort_by_key(|record| matches!(record.phase, Phase::Answered { .. }));
        records.retain(|it| !planted("ringing-left-behind") || matches!(it.phase, Phase::Answered { .. }));
        let mut count = 0;
        for record in records {
            let home = self.home(record.home).filter(|_| self.actor(record.id).is_none());
            let Some(home) = home else { continue };
            count += usize::from(self.rebuild(&home, record));
            if count % RESTORE_BURST == RESTORE_BURST - 1 {
                tokio::task::yield_now().await;
            }
        }
        count
    }

    /// Listens to the world at a home's addresses.
    fn listen(self: &Arc<Shared>, home: &Arc<Home>, sockets: Sockets) {
        for socket in sockets.datagrams {
            let (shared, home_of) = (self.clone(), home.clone());
            let local = socket.local();
            let task = async move {
                let taker = shared.clone();
                let take = move |from: SocketAddr, bytes: &[u8]| taker.datagram(&home_of, local, from, bytes);
                let gauge = shared.clone();
                let mut junk_before = 0;
                let done = move |count: usize| {
                    // Junk is cheap to drop: a flood of it is no reason to refuse calls.
                    let junk = gauge.metrics.junk();
                    let mostly_junk = (junk - junk_before) * 2 > count as u64;
                    junk_before = junk;
                    gauge.batch(count >= transport::BATCH_FULL && !mostly_junk);
                };
                if let Err(error) = transport::receive(socket, shared.counters.clone(), take, done).await {
                    tracing::error!(%local, %error, "a socket failed; the node is not ready any more");
                    shared.ready.store(false, Ordering::Relaxed);
                }
            };
            home.listens(self.world.spawn.spawn("udp", Box::pin(task)));
        }
        for (listener, secure) in sockets.listeners {
            home.listens(self.streams.serve(listener, secure));
        }
    }
}

//! Without a majority: what a node may still say when its lease has ended, and to whom.
//!
//! Floating homes are silent: somebody else may hold them. The node's own address is nobody else's, so a caller who
//! comes there hears 503 and goes elsewhere, or makes an emergency call (`solo`); under `on_quorum_loss = "keep"` media
//! and BYE of its calls go on too.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use call::route;

use crate::caller::{Admission, Caller};
use crate::gate::Full;
use crate::lock;
use crate::metrics::{Drop, add};
use crate::shared::Shared;
use crate::switch::Incoming;

/// So many times the silence after which a node counts as dead: an election takes less, and whoever calls meanwhile
/// is better served by silence, since his next copy is admitted.
const PATIENCE: u32 = 4;

/// How often the lease is looked at within the silence after which a node counts as dead; a lease is half of that.
const HEED: u32 = 20;
const HEED_MAX: Duration = Duration::from_millis(50);
/// For how many such looks datagrams wait for the next lease: for as long as a silent node counts as alive.
const LOOKS_MAX: u32 = HEED;

impl Shared {
    /// Whether anything may be said from an address of ours now.
    pub(crate) fn may_speak_from(&self, local: SocketAddr) -> bool {
        self.cluster.cluster().may_speak() || self.config.keeps_at(local.ip())
    }

    /// Media falls silent when the lease ends, whether or not this node runs then, and speaks with the next.
    pub(crate) fn heed_lease(&self) {
        let (now, until) = (self.world.clock.now(), self.cluster.cluster().speaks_until());
        if let Some(addresses) = &self.world.addresses {
            addresses.renew(until);
        }
        if self.config.cluster.is_none() {
            return;
        }
        if until.is_some() {
            self.report_solo();
        }
        let mut since = lock(&self.mute_since);
        *since = if until.is_some() { None } else { since.or(Some(now)) };
        let except = self.config.keeps().then_some(self.config.media);
        self.world.relay.speak_until(until.unwrap_or(now), except);
    }

    /// Heeds the lease for as long as it is polled, ten times within each: what knows its end is told of the next in time.
    pub(crate) async fn heed(self: Arc<Shared>) {
        let every = self.config.cluster.as_ref().map_or(HEED_MAX, |it| (it.detect / HEED).min(HEED_MAX));
        loop {
            // Before the addresses come back with the lease: what waits leaves a look later.
            self.outbox.look(LOOKS_MAX);
            self.say_unsaid();
            lock(&self.unsaid).look(LOOKS_MAX);
            self.heed_lease();
            self.world.spawn.sleep_until(self.world.clock.now() + every).await;
        }
    }

    /// Whether there has been no majority for longer than an election takes.
    pub(crate) fn is_cut_off(&self) -> bool {
        let Some(cluster) = &self.config.cluster else { return false };
        // The lease may have come back since it was looked at.
        let since = lock(&self.mute_since).filter(|_| !self.cluster.cluster().may_speak());
        since.is_some_and(|since| self.world.clock.now().since(since) > cluster.detect * PATIENCE)
    }

    /// 503 to a new call, from our own address: it promises nothing, so it needs no lease. Elsewhere silence.
    pub(crate) fn refuse_alone(&self, incoming: &Incoming<'_>) {
        let Some(flow) = self.way_back(incoming) else { return };
        if !self.config.is_own(flow.local.ip()) || !self.ready.load(Ordering::Relaxed) {
            return self.metrics.dropped(Drop::Ignored);
        }
        self.metrics.shed(Full::NoQuorum);
        self.metrics.refused(503);
        let bytes = incoming.stateless().overloaded(&incoming.message, self.retry_after());
        self.note_refused(incoming);
        self.say(flow, bytes);
    }

    /// A copy of what is refused now must hear the same.
    pub(crate) fn note_refused(&self, incoming: &Incoming<'_>) {
        if let Some(key) = route::invite_key(&incoming.context.secret, &incoming.message) {
            lock(&self.refused).insert(self.world.clock.now(), self.config.times.give_up(), key);
        }
    }

    /// Whether this is an emergency call to our own address, which needs no majority.
    pub(crate) fn emergency(&self, incoming: &Incoming<'_>) -> Emergency {
        if !self.config.is_own(incoming.flow.local.ip()) || !self.ready.load(Ordering::Relaxed) {
            return Emergency::No;
        }
        let is_emergency =
            |strip| incoming.context.resources.is_emergency(call::called_user(&incoming.message, strip));
        match self.identify(incoming) {
            Caller::Admitted(it) if it.party.trunk().is_some() && is_emergency(it.strip) => {
                Emergency::Call(it)
            }
            Caller::Challenged(challenges) if is_emergency(0) => Emergency::Asked(challenges),
            _ => Emergency::No,
        }
    }

    /// 407 to an emergency call, from our own address: it promises nothing, so it needs no lease.
    pub(crate) fn ask_alone(&self, incoming: &Incoming<'_>, challenges: &[u8]) {
        let Some(flow) = self.way_back(incoming) else { return };
        add(&self.metrics.challenges);
        self.metrics.refused(407);
        let bytes = incoming.stateless().challenge(&incoming.message, 407, challenges);
        self.say(flow, bytes);
    }
}

/// What a call is that comes without a majority.
pub(crate) enum Emergency {
    /// None that needs no majority.
    No,
    /// An emergency call, if its caller shows who it is.
    Asked(Vec<u8>),
    /// An emergency call.
    Call(Admission),
}

//! Which calls live on this node, and who carries them.

use std::collections::BTreeMap;

use ::media::PortPair;
use call::{CallId, InviteKey};
use ractor::{ActorId, ActorRef};
use trunk::Name;

use crate::actor::call::Msg;
use crate::actor::media::{self, Session};

/// One live call.
pub(crate) struct Live {
    /// The actor that carries it.
    pub(crate) actor: ActorRef<Msg>,
    /// The actor that controls its media, where media is anchored.
    pub(crate) media: Option<(Session, ActorRef<media::Msg>)>,
    /// What finds it for a retransmitted INVITE and for CANCEL.
    pub(crate) key: Option<InviteKey>,
    /// The trunk or gateway that it came from.
    pub(crate) party: Name,
    /// Whether its actor failed before: it is restored once.
    pub(crate) restored: bool,
    /// The port pairs that it holds.
    pub(crate) ports: Vec<PortPair>,
}

/// All live calls of this node.
#[derive(Default)]
pub(crate) struct Calls {
    by_id: BTreeMap<CallId, Live>,
    by_key: BTreeMap<InviteKey, CallId>,
}

impl Calls {
    /// Takes in a call.
    pub(crate) fn insert(&mut self, id: CallId, live: Live) {
        if let Some(key) = live.key {
            self.by_key.insert(key, id);
        }
        self.by_id.insert(id, live);
    }

    /// Forgets a call.
    pub(crate) fn remove(&mut self, id: CallId) -> Option<Live> {
        let live = self.by_id.remove(&id)?;
        if let Some(key) = live.key.filter(|key| self.by_key.get(key) == Some(&id)) {
            self.by_key.remove(&key);
        }
        Some(live)
    }

    /// The actor that carries a call.
    pub(crate) fn actor(&self, id: CallId) -> Option<ActorRef<Msg>> {
        self.by_id.get(&id).map(|live| live.actor.clone())
    }

    /// The call, for changing it.
    pub(crate) fn get_mut(&mut self, id: CallId) -> Option<&mut Live> {
        self.by_id.get_mut(&id)
    }

    /// The call that this INVITE began.
    pub(crate) fn by_key(&self, key: &InviteKey) -> Option<(CallId, ActorRef<Msg>)> {
        let id = self.by_key.get(key)?;
        Some((*id, self.by_id.get(id)?.actor.clone()))
    }

    /// The call whose actor, or whose media actor, this is. Slow; for failures.
    pub(crate) fn by_actor(&self, actor: ActorId) -> Option<Role> {
        self.by_id.iter().find_map(|(id, live)| {
            if live.actor.get_id() == actor {
                Some(Role::Call(*id))
            } else if live.media.as_ref().is_some_and(|(_, media)| media.get_id() == actor) {
                Some(Role::Media(*id))
            } else {
                None
            }
        })
    }

    /// The calls that came from this trunk or gateway.
    pub(crate) fn of_party(&self, party: &Name) -> Vec<CallId> {
        self.by_id.iter().filter(|(_, live)| live.party == *party).map(|(id, _)| *id).collect()
    }

    /// All calls, oldest first.
    pub(crate) fn ids(&self) -> Vec<CallId> {
        self.by_id.keys().copied().collect()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }
}

/// What an actor did for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It carried the call.
    Call(CallId),
    /// It controlled the call's media.
    Media(CallId),
}

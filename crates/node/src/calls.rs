//! Which calls live on this node, and who carries them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use ::media::PortPair;
use call::{CallId, HomeId, InviteKey};
use ractor::{ActorId, ActorRef};
use trunk::Name;

use crate::actor::call::Msg;
use crate::actor::media::{self, Session};
use crate::home::Home;

/// How far a live call has come, as far as the node's bounds go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nobody has answered yet.
    Setup,
    /// It was answered.
    Answered,
    /// Its end is committed; only copies of its last messages may still come.
    Over,
}

/// One live call.
pub(crate) struct Live {
    /// The actor that carries it.
    pub(crate) actor: ActorRef<Msg>,
    /// The actor that controls its media, where media is anchored.
    pub(crate) media: Option<(Session, ActorRef<media::Msg>)>,
    /// What finds it for a retransmitted INVITE and for CANCEL.
    pub(crate) key: Option<InviteKey>,
    /// How far it has come.
    pub(crate) stage: Stage,
    /// The home that its peers see.
    pub(crate) home: Arc<Home>,
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
    /// Boxed: nodes of the tree are half empty where ids rise.
    by_id: BTreeMap<CallId, Box<Live>>,
    by_key: BTreeMap<InviteKey, CallId>,
    in_setup: usize,
    /// Calls that are over and wait for copies of their last messages, oldest first; some may be gone.
    lingering: VecDeque<CallId>,
}

/// How many calls that are over may wait for copies of their last messages: a peer that never acknowledges
/// must not fill the memory (RFC 3261 timer H is 32 s).
const LINGERING_MAX: usize = 16_384;

impl Calls {
    /// Takes in a call.
    pub(crate) fn insert(&mut self, id: CallId, live: Live) {
        if let Some(key) = live.key {
            self.by_key.insert(key, id);
        }
        self.in_setup += usize::from(live.stage == Stage::Setup);
        self.by_id.insert(id, Box::new(live));
    }

    /// A call has come further. Gives a call that must go, so that not too many linger.
    pub(crate) fn advance(&mut self, id: CallId, to: Stage) -> Option<CallId> {
        let live = self.by_id.get_mut(&id)?;
        let from = std::mem::replace(&mut live.stage, to);
        self.in_setup -= usize::from(from == Stage::Setup);
        self.in_setup += usize::from(to == Stage::Setup);
        if to != Stage::Over || from == Stage::Over {
            return None;
        }
        self.lingering.push_back(id);
        if self.lingering.len() <= LINGERING_MAX {
            return None;
        }
        self.lingering.pop_front().filter(|oldest| self.by_id.contains_key(oldest))
    }

    /// How many calls nobody has answered yet.
    pub(crate) fn in_setup(&self) -> usize {
        self.in_setup
    }

    /// Forgets a call.
    pub(crate) fn remove(&mut self, id: CallId) -> Option<Box<Live>> {
        let live = self.by_id.remove(&id)?;
        self.in_setup -= usize::from(live.stage == Stage::Setup);
        // Those that are gone leave the queue as they come to its front.
        while self.lingering.front().is_some_and(|front| !self.by_id.contains_key(front)) {
            self.lingering.pop_front();
        }
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
        self.by_id.get_mut(&id).map(|live| &mut **live)
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

    /// The calls of a home.
    pub(crate) fn of_home(&self, home: HomeId) -> Vec<CallId> {
        self.by_id.iter().filter(|(_, live)| live.home.id == home).map(|(id, _)| *id).collect()
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

//! The control actor of one anchored media session: installs, changes and removes relay entries, and tells
//! the call what the relay noticed. Packets never come here.

use std::net::IpAddr;
use std::sync::Arc;

use ::call::{Input, LegQuality, Mark, Side};
use env::{RelayEntry, RelayEvent, RelayId, RelaySide, SideFigures};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::actor::call;
use crate::metrics::{add, add_many};
use crate::shared::Shared;

/// What a media session's actor is told.
#[derive(Debug)]
pub(crate) enum Msg {
    /// Install or replace the entry of a stream, by the index of its `m=` line.
    Set(u8, Box<RelayEntry>),
    /// A mark is recorded that the relay asked for.
    Recorded(Mark),
    /// The relay noticed something.
    Noticed(RelayEvent),
    /// Remove everything and tell this call's actor what was measured.
    Remove(ActorRef<call::Msg>),
}

/// The actor.
pub(crate) struct MediaActor {
    shared: Arc<Shared>,
}

impl MediaActor {
    /// An actor on this node.
    pub(crate) fn new(shared: Arc<Shared>) -> MediaActor {
        MediaActor { shared }
    }
}

/// Which entries there are.
pub(crate) struct State {
    session: Session,
    local: IpAddr,
    installed: u16,
}

/// Names the streams of one call in the relay: 16 at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Session {
    /// The call.
    pub(crate) call: ::call::CallId,
    /// Its number on this node.
    pub(crate) number: u64,
}

impl Session {
    /// The relay's name for a stream.
    pub(crate) fn stream(self, index: u8) -> RelayId {
        RelayId(u64::from(index & 0xF) << 56 | self.number)
    }

    /// The stream's index in the relay's name for it.
    pub(crate) const fn index_of(id: RelayId) -> u8 {
        (id.0 >> 56) as u8 & 0xF
    }

    /// The session's number in the relay's name for a stream.
    pub(crate) const fn number_of(id: RelayId) -> u64 {
        id.0 & 0xFF_FFFF_FFFF_FFFF
    }
}

impl Actor for MediaActor {
    type Msg = Msg;
    type State = State;
    /// The session, the address that its sockets are bound to, and the streams that the relay has already,
    /// as bits.
    type Arguments = (Session, IpAddr, u16);

    async fn pre_start(
        &self,
        _: ActorRef<Msg>,
        (session, local, installed): (Session, IpAddr, u16),
    ) -> Result<State, ActorProcessingErr> {
        Ok(State { session, local, installed })
    }

    async fn handle(&self, me: ActorRef<Msg>, msg: Msg, state: &mut State) -> Result<(), ActorProcessingErr> {
        match msg {
            Msg::Set(index, entry) => self.set(state, index, *entry),
            Msg::Recorded(mark) => {
                let id = state.session.stream(mark.stream);
                self.shared.world.relay.recorded(id, mark.side.into(), mark.into());
            }
            Msg::Noticed(event) => self.noticed(state, event),
            Msg::Remove(call) => {
                self.remove(state, &call);
                me.stop(None);
            }
        }
        Ok(())
    }
}

impl MediaActor {
    fn set(&self, state: &mut State, index: u8, mut entry: RelayEntry) {
        // The call speaks of the address that peers see; the socket has the one that is bound.
        entry.ingress.local.set_ip(state.local);
        entry.egress.local.set_ip(state.local);
        entry.unleased = self.shared.is_solo(state.session.call);
        match self.shared.world.relay.update(state.session.stream(index), entry) {
            Ok(()) => state.installed |= 1 << (index & 0xF),
            Err(error) => {
                add(&self.shared.metrics.media_failed);
                tracing::error!(call = %state.session.call, %error, "cannot relay media on its ports");
            }
        }
    }

    fn noticed(&self, state: &State, event: RelayEvent) {
        let input = match event {
            RelayEvent::Latched { side, remote, .. } => Input::Latched(side_of(side), remote.rtp),
            RelayEvent::Silent { side, .. } => Input::Silent(side_of(side)),
            RelayEvent::Mark { id, side, mark } => {
                Input::Mark(Mark::of(side_of(side), Session::index_of(id), mark))
            }
            RelayEvent::Forged { packets, .. } => {
                add_many(&self.shared.metrics.srtp_forged, packets);
                Input::Forged
            }
            // Only silence is reported to the call.
            RelayEvent::Heard { .. } => return,
        };
        // A call that is gone needs no news.
        self.shared.tell(state.session.call, call::Msg::input(input));
    }

    fn remove(&self, state: &State, call: &ActorRef<call::Msg>) {
        let (mut ingress, mut egress) = (None, None);
        for index in (0..16u8).filter(|index| state.installed & 1 << index != 0) {
            if let Some(figures) = self.shared.world.relay.remove(state.session.stream(index)) {
                // The first stream is the audio: its quality is the call's.
                ingress = ingress.or_else(|| quality(&figures.ingress));
                egress = egress.or_else(|| quality(&figures.egress));
            }
        }
        self.shared.media_ended(state.session);
        let _ = call.send_message(call::Msg::input(Input::Quality { ingress, egress }));
    }
}

fn side_of(side: RelaySide) -> Side {
    match side {
        RelaySide::Ingress => Side::Ingress,
        RelaySide::Egress => Side::Egress,
    }
}

fn quality(figures: &SideFigures) -> Option<LegQuality> {
    (figures.packets > 0).then_some(LegQuality {
        packets: figures.packets,
        lost: figures.lost,
        jitter_us: figures.jitter_us,
        mos_x100: figures.mos_x100,
    })
}

//! One call's actor: a pump around `call::Call`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::call::{Arrival, Call, CallId, CallRecord, Context, Input, Output, RelayChange};
use machine::Instant;
use machine::museum::planted;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use trunk::Wanted;

use crate::actor::media;
use crate::home::{Home, OpenEnd};
use crate::ports::PortsOf;
use crate::shared::Shared;

/// What a call's actor is told.
#[derive(Debug)]
pub(crate) enum Msg {
    /// Something happened. Boxed: an idle actor has room for a message of the largest size, several times.
    Input(Box<Input>),
    /// A deadline of the call passed.
    Due,
    /// Fails the actor: the planted panic of the supervision test.
    #[cfg(test)]
    Panic,
}

impl Msg {
    /// Something happened.
    pub(crate) fn input(input: Input) -> Msg {
        Msg::Input(Box::new(input))
    }
}

/// How a call comes to this actor.
pub(crate) enum Begin {
    /// An INVITE arrived.
    Arrival(Box<Arrival>),
    /// It is rebuilt from what a quorum holds.
    Record(Arc<CallRecord>),
}

/// The actor.
pub(crate) struct CallActor {
    shared: Arc<Shared>,
}

impl CallActor {
    /// An actor on this node.
    pub(crate) fn new(shared: Arc<Shared>) -> CallActor {
        CallActor { shared }
    }
}

/// What it is given.
pub(crate) struct Arguments {
    pub(crate) id: CallId,
    pub(crate) home: Arc<Home>,
    pub(crate) context: Arc<Context>,
    pub(crate) begin: Begin,
}

/// The machine, and what is armed for it.
pub(crate) struct State {
    id: CallId,
    home: Arc<Home>,
    begin: Option<(Arc<Context>, Begin)>,
    call: Option<Box<Call>>,
    deadline: Option<Instant>,
    /// Whether a deadline passed while this node could not speak.
    unheard: bool,
    open_end: Option<OpenEnd>,
}

impl Actor for CallActor {
    type Msg = Msg;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(&self, _: ActorRef<Msg>, it: Arguments) -> Result<State, ActorProcessingErr> {
        Ok(State {
            id: it.id,
            home: it.home,
            begin: Some((it.context, it.begin)),
            call: None,
            deadline: None,
            unheard: false,
            open_end: None,
        })
    }

    // The machine is made here and not in `pre_start`: from here on the supervisor learns of a failure.
    async fn post_start(&self, me: ActorRef<Msg>, state: &mut State) -> Result<(), ActorProcessingErr> {
        let (now, wall) = (self.shared.world.clock.now(), self.shared.world.clock.wall());
        state.call = state.begin.take().map(|(context, begin)| {
            Box::new(match begin {
                Begin::Arrival(arrival) => {
                    let party = arrival.party.clone();
                    let mut ports =
                        PortsOf::new(&self.shared, &state.home, state.id, &party, &context.resources, now);
                    Call::new(now, wall, context.clone(), state.id, *arrival, &mut ports)
                }
                Begin::Record(record) => {
                    let party = &record.admit.party;
                    let resources = context.resources.clone();
                    let mut ports = PortsOf::new(&self.shared, &state.home, state.id, party, &resources, now);
                    let time = self.shared.cluster.cluster().time();
                    Call::restore(now, wall, time, context, &record, &mut ports)
                }
            })
        });
        self.pump(&me, state);
        Ok(())
    }

    async fn handle(&self, me: ActorRef<Msg>, msg: Msg, state: &mut State) -> Result<(), ActorProcessingErr> {
        let (now, wall) = (self.shared.world.clock.now(), self.shared.world.clock.wall());
        if matches!(msg, Msg::Due) {
            // Another may have been set since this one passed.
            self.shared.wheel.set(state.id, state.deadline.take(), None);
            if self.is_mute(state) {
                let again = now + MUTE;
                self.shared.wheel.set(state.id, None, Some(again));
                (state.deadline, state.unheard) = (Some(again), true);
                return Ok(());
            }
        }
        if let Some(call) = &mut state.call {
            match msg {
                Msg::Input(input) => call.handle(now, wall, *input),
                Msg::Due => {
                    if std::mem::take(&mut state.unheard) {
                        call.heard_again(now);
                    }
                    call.handle_timeout(now, wall);
                }
                #[cfg(test)]
                Msg::Panic => std::panic::panic_any("planted"),
            }
        }
        self.pump(&me, state);
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<Msg>, state: &mut State) -> Result<(), ActorProcessingErr> {
        self.shared.wheel.set(state.id, state.deadline.take(), None);
        Ok(())
    }
}

/// How often a deadline that passed waits for the right to speak.
const MUTE: Duration = Duration::from_millis(50);

impl CallActor {
    /// Whether nothing may be said from the call's home, and nothing is heard there. No deadline passes meanwhile: it
    /// would end for its silence what could not be heard.
    fn is_mute(&self, state: &State) -> bool {
        let local = SocketAddr::new(state.home.media, 0);
        !self.shared.may_speak_from(local)
            && !self.shared.is_solo(state.id)
            && !planted("deadlines-while-mute")
    }

    /// Carries out what the machine asks for, then arms its next deadline.
    fn pump(&self, me: &ActorRef<Msg>, state: &mut State) {
        let Some(call) = &mut state.call else { return };
        let mut ended = None;
        while let Some(output) = call.poll_output() {
            match output {
                Output::Send { flow, bytes } if self.shared.is_solo(state.id) => self.shared.say(flow, bytes),
                Output::Send { flow, bytes } => self.shared.send(flow, bytes),
                Output::Propose(command) => self.shared.propose(state.id, &state.home, command),
                Output::Locate { wanted, draw } => self.locate(me, &state.home, wanted, draw),
                Output::Relay(change) => self.relay(me, state.id, change),
                Output::Event(event) => self.shared.note(state.id, event),
                Output::Ended(remains) => ended = Some(remains),
            }
        }
        let next = if ended.is_some() { None } else { call.poll_timeout() };
        if next != state.deadline {
            self.shared.wheel.set(state.id, state.deadline, next);
            state.deadline = next;
        }
        let is_open = ended.is_none() && call.has_open_end();
        if is_open != state.open_end.is_some() {
            state.open_end = is_open.then(|| OpenEnd::at(&state.home));
        }
        if let Some(remains) = ended {
            state.call = None;
            self.shared.forget(state.id, remains);
            me.stop(None);
        }
    }

    fn locate(&self, me: &ActorRef<Msg>, home: &Home, wanted: Wanted, draw: u64) {
        let me = me.clone();
        let found = self.shared.clone().locate(home.context(), wanted, draw);
        self.shared.world.spawn.spawn(
            "locate",
            Box::pin(async move {
                let _ = me.send_message(Msg::input(Input::Located(found.await)));
            }),
        );
    }

    fn relay(&self, me: &ActorRef<Msg>, id: CallId, change: RelayChange) {
        match change {
            RelayChange::Set(index, entry) => {
                if let Some(media) = self.shared.media(id) {
                    let _ = media.send_message(media::Msg::Set(index, entry));
                }
            }
            RelayChange::Recorded(mark) => {
                if let Some(media) = self.shared.media(id) {
                    let _ = media.send_message(media::Msg::Recorded(mark));
                }
            }
            RelayChange::Remove => match self.shared.release_media(id) {
                Some(media) => {
                    if media.send_message(media::Msg::Remove(me.clone())).is_err() {
                        self.unmeasured(me);
                    }
                }
                // Nothing was relayed, so nothing was measured.
                None => self.unmeasured(me),
            },
        }
    }

    fn unmeasured(&self, me: &ActorRef<Msg>) {
        let _ = me.send_message(Msg::input(Input::Quality { ingress: None, egress: None }));
    }
}

//! The machine of one call: what it holds, how inputs reach its parts, and when it is over.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use dialog::RefreshBy;
use machine::museum::planted;
use machine::{Instant, Machine, Timers, WallTime};
use sip::OwnedMessage;
use transaction::{InviteServer, Output as Tx, Timer as TxTimer, Times};
use trunk::Party;

use crate::admission::{self, Screened};
use crate::cdr::HangupBy;
use crate::context::Context;
use crate::ending::Ending;
use crate::exchange::Exchange;
use crate::fading::{Fading, Left};
use crate::id::CallId;
use crate::io::{Arrival, Event, Input, Output, Remains, TakePorts};
use crate::leg::Legs;
use crate::media::MediaState;
use crate::record::{CallCommand, Change, Flow, Mark, Outcome, Refuse, Side};
use crate::rehome::Rehoming;
use crate::reject;
use crate::restore::OkAgain;
use crate::route;
use crate::setup::{Setup, Verdict};

/// One call: two dialogs, bridged.
#[derive(Debug)]
pub struct Call {
    pub(crate) id: CallId,
    pub(crate) context: Arc<Context>,
    pub(crate) seed: u64,
    /// Who called.
    pub(crate) party: Party,
    /// Who is called, from the first attempt on.
    pub(crate) callee: Option<Party>,
    pub(crate) stage: Stage,
    pub(crate) setup: Option<Box<Setup>>,
    /// Both legs, from the callee's answer on.
    pub(crate) legs: Option<Box<Legs>>,
    /// Requests inside the dialogs that are on their way.
    pub(crate) exchanges: Vec<Exchange>,
    /// INVITEs of ours that nobody waits for any more.
    pub(crate) fading: Vec<Fading>,
    /// What each proposal in flight is for, oldest first.
    pub(crate) waiting: VecDeque<Waiting>,
    pub(crate) timers: Timers<CallTimer>,
    pub(crate) media: MediaState,
    /// Happenings for the CDR.
    pub(crate) events: Vec<String>,
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) remains: Vec<Remains>,
    /// How the call ended, until that is proposed.
    pub(crate) ending: Option<Ending>,
    /// An end that waits for the answer, or for the admission, to be committed first.
    pub(crate) hangup_wanted: Option<Box<Hangup>>,
    /// The Reason header that came with a BYE, for the far leg (RFC 3326).
    pub(crate) bye_reason: Vec<u8>,
    /// Requests of ours that wait for a CSeq, or for the ACK that allows a BYE.
    pub(crate) wanted: Vec<(Side, Wanted)>,
    /// Peers that don't know yet in which home the call is.
    pub(crate) rehoming: Option<Box<Rehoming>>,
    /// Numbers the exchanges.
    pub(crate) exchanged: u32,
    /// How many attempts began.
    pub(crate) attempts: u16,
    /// Those of them that a predecessor has ended.
    pub(crate) left: Box<[Left]>,
    /// How far the call's own numbers are drawn.
    pub(crate) drawn: u64,
    /// Whether media may be secured.
    pub(crate) secures: bool,
    gone: bool,
}

/// Why a call is to end, and by whose wish.
#[derive(Clone, Debug)]
pub(crate) struct Hangup {
    pub reason: Cow<'static, str>,
    pub by: HangupBy,
    /// The side that said BYE, or is gone: it gets none.
    pub from: Option<Side>,
}

impl Hangup {
    /// A rule of ours, or an operator, ends the call.
    pub fn ours(reason: &'static str) -> Hangup {
        Hangup { reason: reason.into(), by: HangupBy::System, from: None }
    }

    /// A side ends it, by a BYE or by being gone.
    pub fn of(side: Side, reason: &'static str) -> Hangup {
        let by = match side {
            Side::Ingress => HangupBy::Caller,
            Side::Egress => HangupBy::Callee,
        };
        Hangup { reason: reason.into(), by, from: Some(side) }
    }
}

/// A request of ours that can't be sent yet.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// BYE, with its reason.
    Bye(Cow<'static, str>),
    /// A session refresh.
    Refresh(RefreshBy),
    /// The request of an exchange, by its number, for this side.
    SendOn(u32),
    /// The re-INVITE that names another home.
    Rehome,
    /// OPTIONS, to hear whether the peer is still there.
    Presence,
}

/// How far the call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// `Admit` or `Refuse` is proposed; the caller has heard nothing.
    Asking,
    /// Callees are being tried.
    Trying,
    /// `Confirm` is proposed.
    Confirming,
    /// Answered.
    Answered,
    /// `End` is proposed.
    Ending,
    /// `End` is committed; transactions finish.
    Over,
}

/// What a proposal in flight is for.
#[derive(Debug)]
pub(crate) enum Waiting {
    Admit,
    Refuse,
    Attempt,
    /// Nobody waits for it.
    Lazy,
    /// A reliable 18x of an attempt is acknowledged and relayed.
    Progress(Box<(u16, usize, OwnedMessage, Flow)>),
    /// The caller's CANCEL gets its 200.
    Cancel,
    Confirm,
    /// The ACK to the callee, with the answer to its offer.
    DelayedAck(Bytes),
    /// An exchange, by its number, goes on.
    Exchange(u32),
    /// CSeqs of a side.
    Advance(Side, u32),
    /// What the peers are told from another home; the caller's 200 is repeated.
    Described(Box<OkAgain>),
    /// How far secured packets may come.
    Mark(Mark),
    End,
}

/// The call's own timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallTimer {
    /// The target said nothing at all (`timers.no_response`).
    NoResponse,
    /// It has rung long enough (`timers.ring`).
    Ring,
    /// The callee never answered its CANCEL; the caller has waited long enough.
    Cancelled,
    /// The longest that a call may last (`delivery.max_duration`).
    MaxDuration,
    /// The relay never reported its figures.
    Unmeasured,
    /// What the caller waits for was never committed.
    Uncommitted,
    /// A peer may be told again that the call is in another home.
    Rehome(Side),
}

impl Call {
    /// A call begins.
    pub fn new(
        now: Instant,
        wall: WallTime,
        context: Arc<Context>,
        id: CallId,
        arrival: Arrival,
        ports: &mut dyn TakePorts,
    ) -> Call {
        let screened = admission::screen(&context, wall, &arrival, ports);
        let Arrival { invite, flow, party, seed, proof, secures, .. } = arrival;
        let mut call = Call::empty(context, id, seed, party);
        call.secures = secures;
        let server = InviteServer::new(call.context.times, flow.transport != trunk::Transport::Udp);
        let mut setup = Box::new(Setup::new(invite, flow, server));
        let used = proof.as_ref().map(|proof| proof.used);
        setup.again = proof.map(|proof| proof.again).unwrap_or_default();
        match screened {
            Screened::Admit(admit) => {
                call.media.ports = admit.ports.clone();
                setup.admit = Some(admit.clone());
                call.setup = Some(setup);
                call.propose(CallCommand::Admit(admit), Waiting::Admit);
                if planted("trying-before-admission") {
                    call.respond(now, 100, None, &[]);
                }
            }
            Screened::Refuse(refused) => {
                let refuse = Refuse {
                    key: refused.key,
                    party: call.party.clone(),
                    tenant: refused.tenant,
                    facts: refused.facts,
                    status: refused.answer.status,
                    reason: refused.answer.text.clone(),
                    started_at: wall,
                    proof: used,
                };
                setup.verdict = Some(Verdict::Ours(refused.answer));
                call.setup = Some(setup);
                call.propose(CallCommand::Refuse(Box::new(refuse)), Waiting::Refuse);
            }
        }
        call.await_commit(now);
        call
    }

    pub(crate) fn empty(context: Arc<Context>, id: CallId, seed: u64, party: Party) -> Call {
        Call {
            id,
            context,
            seed,
            party,
            callee: None,
            stage: Stage::Asking,
            setup: None,
            legs: None,
            exchanges: Vec::new(),
            fading: Vec::new(),
            waiting: VecDeque::new(),
            timers: Timers::default(),
            media: MediaState::default(),
            events: Vec::new(),
            outputs: VecDeque::new(),
            remains: Vec::new(),
            ending: None,
            hangup_wanted: None,
            bye_reason: Vec::new(),
            wanted: Vec::new(),
            rehoming: None,
            exchanged: 0,
            attempts: 0,
            left: Box::default(),
            drawn: 0,
            secures: true,
            gone: false,
        }
    }

    /// Its name.
    pub fn id(&self) -> CallId {
        self.id
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Instant, wall: WallTime, input: Input) {
        if self.gone {
            return;
        }
        match input {
            Input::Received { message, flow } => self.receive(now, wall, message, flow),
            Input::Applied(outcome) => self.applied(now, wall, outcome),
            Input::Unreachable(flow) => self.unreachable(now, wall, flow),
            Input::Located(hops) => self.hosts_found(now, wall, hops),
            Input::Hangup(reason) => self.hang_up(now, wall, Hangup::ours(reason)),
            Input::Latched(side, address) => self.latched(side, address),
            Input::Silent(side) => {
                self.events.push("one-way-audio".to_owned());
                self.outputs.push_back(Output::Event(Event::OneWayAudio(side)));
            }
            Input::Mark(mark) => self.record_mark(mark),
            Input::Forged => self.forged(),
            Input::Quality { ingress, egress } => self.measured(ingress, egress),
        }
        self.settle();
    }

    /// For a while nothing that was said to this node was heard, and nothing that it said. A callee that has answered
    /// meanwhile says so again within T2 (RFC 3261 §13.3.1.4): for so long nobody else is called in its place.
    pub fn heard_again(&mut self, now: Instant) {
        let heard = now + self.times().t2 + self.times().t1;
        for timer in [CallTimer::NoResponse, CallTimer::Ring] {
            if let Some(at) = self.timers.get(timer) {
                self.timers.set(timer, at.max(heard));
            }
        }
    }

    /// Fires every timer that is due.
    pub fn handle_timeout(&mut self, now: Instant, wall: WallTime) {
        if self.gone {
            return;
        }
        while let Some(timer) = self.timers.expired(now) {
            match timer {
                CallTimer::NoResponse | CallTimer::Ring => self.attempt_failed(now, wall, 408, None),
                CallTimer::Cancelled => {
                    self.conclude(now, wall, Verdict::Ours(reject::cancelled()), HangupBy::Caller);
                }
                CallTimer::MaxDuration => self.hang_up(now, wall, Hangup::ours("delivery.max_duration")),
                CallTimer::Unmeasured => self.propose_end(),
                CallTimer::Uncommitted => self.commit_overdue(now, wall),
                CallTimer::Rehome(side) => self.rehome_due(now, side),
            }
        }
        self.setup_timeout(now, wall);
        self.exchange_timeouts(now, wall);
        self.leg_timeouts(now, wall);
        self.fade_timeouts(now);
        self.settle();
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        let next = self.outputs.pop_front();
        if next.is_none() && self.is_idle() {
            // Most of a call's life nothing happens; its queues need no memory meanwhile.
            self.outputs = VecDeque::new();
        }
        next
    }

    /// Answered, and nothing is on its way.
    fn is_idle(&self) -> bool {
        self.stage == Stage::Answered
            && self.setup.is_none()
            && self.exchanges.is_empty()
            && self.waiting.is_empty()
            && self.outputs.capacity() > 0
    }

    /// When `handle_timeout` wants to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.gone {
            return None;
        }
        let mut next = self.timers.next();
        let mut sooner = |at: Option<Instant>| {
            if let Some(at) = at {
                next = Some(next.map_or(at, |n: Instant| n.min(at)));
            }
        };
        if let Some(setup) = &self.setup {
            sooner(setup.server.poll_timeout());
            sooner(setup.answer.as_ref().and_then(Machine::poll_timeout));
            if let Some(attempt) = &setup.attempt {
                sooner(attempt.client.as_ref().and_then(Machine::poll_timeout));
                sooner(attempt.cancel.as_ref().and_then(Machine::poll_timeout));
                attempt.early.iter().for_each(|early| sooner(early.poll_timeout()));
            }
        }
        if let Some(legs) = &self.legs {
            sooner(legs.ingress.dialog.poll_timeout());
            sooner(legs.egress.dialog.poll_timeout());
        }
        self.exchanges.iter().for_each(|exchange| sooner(exchange.poll_timeout()));
        self.fading.iter().for_each(|fading| sooner(fading.poll_timeout()));
        next
    }

    fn applied(&mut self, now: Instant, wall: WallTime, outcome: Outcome) {
        let Some(waiting) = self.waiting.pop_front() else { return };
        if outcome == Outcome::Stale && self.stage != Stage::Over {
            // The home or the call is another's: from here on every word would be one speaker too many (I-7).
            return self.vanish();
        }
        match waiting {
            Waiting::Admit => self.admitted(now, wall, outcome),
            Waiting::Refuse => self.refused(now),
            Waiting::Attempt => self.attempt_granted(now, wall, outcome),
            Waiting::Lazy => {}
            Waiting::Progress(progress) => {
                let (attempt, index, message, flow) = *progress;
                self.progress_recorded(now, attempt, index, &message, flow);
            }
            Waiting::Cancel => self.cancel_recorded(now),
            Waiting::Confirm => self.confirmed(now, wall),
            Waiting::DelayedAck(sdp) => self.answer_recorded(&sdp),
            Waiting::Exchange(number) => self.exchange_recorded(now, wall, number),
            Waiting::Advance(side, reserved_to) => self.advanced(now, wall, side, reserved_to),
            Waiting::Mark(mark) => self.mark_recorded(mark),
            Waiting::Described(again) => self.repeat_ok(now, wall, *again),
            Waiting::End => self.ended(now),
        }
    }

    /// Carries out what the caller's transactions want.
    pub(crate) fn pump_setup(&mut self) {
        let Some(setup) = self.setup.as_mut() else { return };
        let flow = setup.flow;
        // A refusal that was said before its commit may be acknowledged by now.
        let mut done = setup.server.is_terminated();
        while let Some(output) = setup.server.poll_output() {
            match output {
                Tx::Send(bytes) => self.outputs.push_back(Output::Send { flow, bytes }),
                // Timer H: the caller never acknowledged its refusal; nothing else is owed to it.
                Tx::TimedOut(_) | Tx::Acknowledged | Tx::Terminated => done = true,
                Tx::Deliver { .. } | Tx::SendCancel | Tx::TransportFailed => {}
            }
        }
        if done && self.stage == Stage::Over && setup.answer.is_none() {
            self.setup = None;
        }
    }

    /// Carries out what repeats the 200 to the caller. Gives whether the ACK was given up.
    pub(crate) fn pump_answer(&mut self) -> bool {
        let Some(setup) = self.setup.as_mut() else { return false };
        let flow = setup.flow;
        let mut given_up = false;
        if let Some(answer) = setup.answer.as_mut() {
            while let Some(output) = answer.poll_output() {
                match output {
                    Tx::Send(bytes) => self.outputs.push_back(Output::Send { flow, bytes }),
                    Tx::TimedOut(TxTimer::Unacknowledged) => given_up = true,
                    _ => {} // The ACK was taken where it came.
                }
            }
        }
        given_up
    }

    /// Commits a command; what it is for is remembered.
    pub(crate) fn propose(&mut self, command: CallCommand, waiting: Waiting) {
        self.waiting.push_back(waiting);
        self.outputs.push_back(Output::Propose(command));
    }

    /// Commits a change that nobody waits for.
    pub(crate) fn lazy(&mut self, change: Change) {
        self.propose(CallCommand::Change(change), Waiting::Lazy);
    }

    /// Sends bytes along a flow.
    pub(crate) fn send(&mut self, flow: Flow, bytes: Bytes) {
        self.outputs.push_back(Output::Send { flow, bytes });
    }

    /// Keeps an answer for copies of `message` that come when the call is gone.
    pub(crate) fn remain(&mut self, message: &sip::Message<'_>, flow: Flow, bytes: Bytes) {
        if let Some(key) = route::transaction_key(&self.context.secret, message) {
            self.remains.push(Remains { key, flow, bytes });
        }
    }

    /// Ends without a word: the call is somebody else's.
    pub(crate) fn vanish(&mut self) {
        self.release_media();
        self.stage = Stage::Over;
        self.setup = None;
        self.legs = None;
        self.exchanges.clear();
        self.fading.clear();
        self.waiting.clear();
        self.wanted.clear();
        self.timers.clear_all();
    }

    /// Notices that nothing is left to do.
    fn settle(&mut self) {
        self.exchanges.retain(|exchange| !exchange.is_over());
        self.fading.retain(|fading| !fading.is_over());
        let busy = self.setup.is_some()
            || !self.waiting.is_empty()
            || !self.wanted.is_empty()
            || self.exchanges.iter().any(Exchange::is_busy)
            || self.fading.iter().any(Fading::is_busy);
        if self.stage != Stage::Over || busy || self.gone {
            return;
        }
        self.gone = true;
        for exchange in std::mem::take(&mut self.exchanges) {
            exchange.leave(&mut self.remains);
        }
        self.timers.clear_all();
        self.outputs.push_back(Output::Ended(std::mem::take(&mut self.remains)));
    }

    /// The next number that follows from the call's seed: for waits, not for secrets.
    pub(crate) fn draw(&mut self) -> u64 {
        self.drawn = self.drawn.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.drawn ^ self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Standard timer lengths.
    pub(crate) fn times(&self) -> Times {
        self.context.times
    }
}

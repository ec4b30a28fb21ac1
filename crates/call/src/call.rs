//! The machine of one call: what it holds, how inputs reach its parts, and when it is over.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use machine::{Instant, Machine, Timers, WallTime};
use sip::{Method, OwnedMessage};
use transaction::{ClientInput, InviteServer, Output as Tx, ServerInput, Timer as TxTimer, Times};
use trunk::Party;

use crate::admission::{self, Screened};
use crate::cdr::HangupBy;
use crate::context::Context;
use crate::ending::Ending;
use crate::exchange::Exchange;
use crate::fading::Fading;
use crate::id::CallId;
use crate::io::{Arrival, Event, Input, Output, Remains, TakePorts};
use crate::leg::Leg;
use crate::media::MediaState;
use crate::record::{CallCommand, Change, Flow, Outcome, Refuse, Side};
use crate::reject;
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
    /// An end that waits for the answer to be committed first.
    pub(crate) hangup_wanted: Option<(String, HangupBy)>,
    /// The Reason header that came with a BYE, for the far leg (RFC 3326).
    pub(crate) bye_reason: Option<Vec<u8>>,
    /// BYEs that wait for a CSeq.
    pub(crate) byes_wanted: Vec<(Side, String)>,
    /// Numbers the exchanges.
    pub(crate) exchanged: u32,
    /// How far the call's own numbers are drawn.
    pub(crate) drawn: u64,
    gone: bool,
}

/// The two legs of an answered call.
#[derive(Debug)]
pub(crate) struct Legs {
    pub ingress: Leg,
    pub egress: Leg,
}

impl Legs {
    /// The leg of a side, then the other one.
    pub fn pair(&mut self, side: Side) -> (&mut Leg, &mut Leg) {
        match side {
            Side::Ingress => (&mut self.ingress, &mut self.egress),
            Side::Egress => (&mut self.egress, &mut self.ingress),
        }
    }

    /// The leg of a side.
    pub fn leg(&self, side: Side) -> &Leg {
        match side {
            Side::Ingress => &self.ingress,
            Side::Egress => &self.egress,
        }
    }
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
    /// A reliable 18x is acknowledged and relayed.
    Progress(usize, OwnedMessage, Flow),
    /// The caller's CANCEL gets its 200.
    Cancel,
    Confirm,
    /// The ACK to the callee, with the answer to its offer.
    DelayedAck(Bytes),
    /// An exchange, by its number, goes on.
    Exchange(u32),
    /// CSeqs of a side.
    Advance(Side, u32),
    End,
}

/// The call's own timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallTimer {
    /// The target said nothing at all (`timers.no_response`).
    NoResponse,
    /// It has rung long enough (`timers.ring`).
    Ring,
    /// The longest that a call may last (`delivery.max_duration`).
    MaxDuration,
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
        let mut call = Call::empty(context, id, arrival.seed, arrival.party.clone());
        let reliable = arrival.flow.transport != trunk::Transport::Udp;
        let mut setup = Setup {
            server: InviteServer::new(call.context.times, reliable),
            flow: arrival.flow,
            admit: None,
            attempt: None,
            attempts: 0,
            cancelled: false,
            progressed: false,
            answer: None,
            ok: None,
            verdict: None,
            session_expires: None,
            invite: arrival.invite.clone(),
        };
        match admission::screen(&call.context, wall, &arrival, ports) {
            Screened::Admit(admit) => {
                call.media.ports = admit.ports.clone();
                setup.admit = Some(admit.clone());
                call.setup = Some(Box::new(setup));
                call.propose(CallCommand::Admit(admit), Waiting::Admit);
            }
            Screened::Refuse(facts, tenant, key, answer) => {
                let refuse = Refuse {
                    key,
                    party: arrival.party,
                    tenant,
                    facts,
                    status: answer.status,
                    reason: answer.text.clone(),
                    started_at: wall,
                };
                setup.verdict = Some(Verdict::Ours(answer));
                call.setup = Some(Box::new(setup));
                call.propose(CallCommand::Refuse(Box::new(refuse)), Waiting::Refuse);
            }
        }
        let _ = now;
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
            bye_reason: None,
            byes_wanted: Vec::new(),
            exchanged: 0,
            drawn: 0,
            gone: false,
        }
    }

    /// Its name.
    pub fn id(&self) -> CallId {
        self.id
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Instant, wall: WallTime, input: Input) {
        match input {
            Input::Received { message, flow } => self.receive(now, wall, message, flow),
            Input::Applied(outcome) => self.applied(now, wall, outcome),
            Input::Unreachable(flow) => self.unreachable(now, wall, flow),
            Input::Resolved(addresses) => self.resolved(now, wall, addresses),
            Input::Hangup(reason) => self.hang_up(now, wall, reason, HangupBy::System, None),
            Input::Latched(side, address) => self.latched(side, address),
            Input::Silent(side) => {
                self.events.push("one-way-audio".to_owned());
                self.outputs.push_back(Output::Event(Event::OneWayAudio(side)));
            }
            Input::Quality { ingress, egress } => self.measured(wall, ingress, egress),
        }
        self.settle();
    }

    /// Fires every timer that is due.
    pub fn handle_timeout(&mut self, now: Instant, wall: WallTime) {
        while let Some(timer) = self.timers.expired(now) {
            match timer {
                CallTimer::NoResponse => self.attempt_failed(now, wall, 408, None),
                CallTimer::Ring => self.attempt_failed(now, wall, 408, None),
                CallTimer::MaxDuration => {
                    self.hang_up(now, wall, "delivery.max_duration", HangupBy::System, None);
                }
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
        self.outputs.pop_front()
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
        match waiting {
            Waiting::Admit => self.admitted(now, wall, outcome),
            Waiting::Refuse => self.refused(now),
            Waiting::Attempt => self.attempt_granted(now, wall, outcome),
            Waiting::Lazy => {}
            Waiting::Progress(index, message, flow) => self.progress_recorded(now, index, &message, flow),
            Waiting::Cancel => self.cancel_recorded(now),
            Waiting::Confirm => self.confirmed(now, wall),
            Waiting::DelayedAck(sdp) => self.acknowledge_callee(now, Some(sdp)),
            Waiting::Exchange(number) => self.exchange_recorded(now, wall, number),
            Waiting::Advance(side, reserved_to) => self.advanced(now, wall, side, reserved_to),
            Waiting::End => self.ended(now, wall),
        }
    }

    fn receive(&mut self, now: Instant, wall: WallTime, message: OwnedMessage, flow: Flow) {
        let view = message.view();
        let Some(method) = view.method() else { return self.receive_response(now, wall, message, flow) };
        let in_dialog = view.to().ok().and_then(|to| to.tag()).is_some();
        match method {
            Method::Invite if !in_dialog => self.invite_again(now),
            Method::Cancel => self.receive_cancel(now, wall, message, flow),
            Method::Ack => self.receive_ack(now, wall, message),
            _ => self.receive_request(now, wall, message, flow),
        }
    }

    /// The caller's INVITE came again: its last answer goes out again, if there was one.
    fn invite_again(&mut self, now: Instant) {
        if let Some(setup) = self.setup.as_mut() {
            setup.server.handle(now, ServerInput::Retransmission);
            self.pump_setup(now);
        }
    }

    fn receive_response(&mut self, now: Instant, wall: WallTime, message: OwnedMessage, flow: Flow) {
        let view = message.view();
        let (Ok(via), Some(status)) = (view.top_via(), view.status()) else { return };
        let branch = via.branch.unwrap_or_default();
        let is_invite = matches!(view.cseq(), Ok((_, Method::Invite)));
        let attempt = self.setup.as_mut().and_then(|setup| setup.attempt.as_mut());
        if let Some(attempt) = attempt.filter(|attempt| is_invite && attempt.branch == branch) {
            let Some(client) = attempt.client.as_mut() else { return };
            client.handle(now, ClientInput::Response { status });
            self.pump_attempt(now, wall, Some((message, flow)));
            return;
        }
        let cancelling = self.setup.as_mut().and_then(|setup| setup.attempt.as_mut());
        if let Some(attempt) = cancelling.filter(|attempt| attempt.branch == branch) {
            if let Some(cancel) = attempt.cancel.as_mut() {
                cancel.handle(now, ClientInput::Response { status });
            }
            return;
        }
        if self.receive_exchange_response(now, wall, &message, flow) {
            return;
        }
        let repeated = is_invite
            && (200..300).contains(&status)
            && !self.fading.iter().any(|fading| fading.branch == branch)
            && self.legs.as_ref().is_some_and(|legs| legs.egress.dialog.owns(&view));
        if repeated {
            // The predecessor's ACK was lost with it: a successor acknowledges from the response (RFC 3261 §13.2.2.4).
            return self.acknowledge_callee(now, None);
        }
        self.receive_faded(now, &message, flow);
    }

    /// Carries out what the caller's transactions want.
    pub(crate) fn pump_setup(&mut self, now: Instant) {
        let _ = now;
        let Some(setup) = self.setup.as_mut() else { return };
        let flow = setup.flow;
        let mut done = false;
        while let Some(output) = setup.server.poll_output() {
            match output {
                Tx::Send(bytes) => self.outputs.push_back(Output::Send { flow, bytes }),
                // Timer H: the caller never acknowledged its refusal; nothing else is owed to it.
                Tx::TimedOut(_) | Tx::Acknowledged | Tx::Terminated => done = true,
                Tx::Deliver { .. } | Tx::SendCancel | Tx::TransportFailed => {}
            }
        }
        if done && self.stage == Stage::Over {
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
                    _ => {}
                }
            }
        }
        given_up
    }

    fn setup_timeout(&mut self, now: Instant, wall: WallTime) {
        let Some(setup) = self.setup.as_mut() else { return };
        setup.server.handle_timeout(now);
        if let Some(answer) = setup.answer.as_mut() {
            answer.handle_timeout(now);
        }
        if let Some(attempt) = setup.attempt.as_mut() {
            if let Some(client) = attempt.client.as_mut() {
                client.handle_timeout(now);
            }
            if let (Some(cancel), Some(flow)) = (attempt.cancel.as_mut(), attempt.flow) {
                cancel.handle_timeout(now);
                crate::fading::pump(cancel, flow, &mut self.outputs);
            }
        }
        self.pump_setup(now);
        if self.pump_answer() {
            // RFC 3261 §13.3.1.4: a caller that never acknowledges is sent BYE.
            self.setup = None;
            self.hang_up(now, wall, "no ACK", HangupBy::System, None);
        }
        for early in self.setup.iter_mut().flat_map(|s| s.attempt.iter_mut()).flat_map(|a| a.early.iter_mut()) {
            early.handle_timeout(now);
        }
        if self.pump_early(now) {
            let answer = reject::Answer::new(504, "no PRACK");
            self.give_up(now, wall);
            self.conclude(now, wall, Verdict::Ours(answer), HangupBy::System);
        }
        self.pump_attempt(now, wall, None);
    }

    fn unreachable(&mut self, now: Instant, wall: WallTime, flow: Flow) {
        let attempt = self.setup.as_mut().and_then(|setup| setup.attempt.as_mut());
        let same = |theirs: &Flow| theirs.remote == flow.remote && theirs.transport == flow.transport;
        if let Some(attempt) = attempt.filter(|attempt| attempt.flow.as_ref().is_some_and(same)) {
            if let Some(client) = attempt.client.as_mut() {
                client.handle(now, ClientInput::TransportError);
            }
            self.pump_attempt(now, wall, None);
        }
        self.exchanges_unreachable(now, wall, flow);
    }

    /// Commits a command; what it is for is remembered.
    pub(crate) fn propose(&mut self, command: CallCommand, waiting: Waiting) {
        self.waiting.push_back(waiting);
        self.outputs.push_back(Output::Propose(command));
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

    /// `End` is committed: whatever waited for it is said now.
    fn ended(&mut self, now: Instant, wall: WallTime) {
        self.stage = Stage::Over;
        let verdict = self.setup.as_mut().and_then(|setup| setup.verdict.take());
        self.outputs.push_back(Output::Event(Event::Ended(verdict.as_ref().map_or(200, Verdict::status))));
        self.leave_attempt(now);
        match verdict {
            Some(verdict) => self.finish_ingress(now, verdict),
            None => self.setup = None,
        }
        self.answer_byes(now, wall);
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
        self.timers.clear_all();
    }

    /// Notices that nothing is left to do.
    fn settle(&mut self) {
        self.exchanges.retain(|exchange| !exchange.is_over());
        self.fading.retain(|fading| !fading.is_over());
        let busy = self.setup.is_some()
            || !self.waiting.is_empty()
            || !self.byes_wanted.is_empty()
            || self.exchanges.iter().any(Exchange::is_busy)
            || self.fading.iter().any(Fading::is_busy);
        if self.stage != Stage::Over || busy || self.gone {
            return;
        }
        self.gone = true;
        for exchange in std::mem::take(&mut self.exchanges) {
            exchange.leave(&self.context.secret, &mut self.remains);
        }
        self.timers.clear_all();
        self.outputs.push_back(Output::Ended(std::mem::take(&mut self.remains)));
    }

    /// An answer of ours to a request that the call can't serve.
    pub(crate) fn refuse_request(&mut self, message: &OwnedMessage, flow: Flow, answer: &reject::Answer) {
        let bytes = self.plain_response(&message.view(), flow, answer);
        self.send(flow, bytes);
    }

    pub(crate) fn lazy(&mut self, change: Change) {
        self.propose(CallCommand::Change(change), Waiting::Lazy);
    }

    /// Standard timer lengths.
    pub(crate) fn times(&self) -> Times {
        self.context.times
    }
}

//! Many callers and callees behind one address: gives each message to its call (RFC 3261 §17.1.3, §17.2.3,
//! §12.2), answers what belongs to none, and keeps one timer queue.
//!
//! Our tags and branches name the call, so only a first INVITE, its retransmissions and its CANCEL are looked up.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use machine::{Instant, Machine, Rng};

use crate::callee::Callee;
use crate::caller::{Caller, Destination, Input};
use crate::local::{CallRef, Flow, Local, Output, Side};
use crate::message::{Message, Method, Start};
use crate::plan::Mix;
use crate::sdp::Audio;
use crate::violation::Violation;
use crate::writer::respond;

/// Where calls hear their media. The shell binds sockets, the simulation names addresses.
pub trait MediaPorts: Send {
    /// The address at which this call hears; the same port is not given twice while it is in use.
    fn open(&mut self, call: CallRef) -> SocketAddr;
}

/// One address for all calls: for runs without media.
#[derive(Clone, Copy, Debug)]
pub struct NoMedia(pub SocketAddr);

impl MediaPorts for NoMedia {
    fn open(&mut self, _: CallRef) -> SocketAddr {
        self.0
    }
}

/// A user agent with many calls: a machine of machines.
pub struct Agent {
    local: Arc<Local>,
    mix: Mix,
    rng: Rng,
    ports: Box<dyn MediaPorts>,
    callers: Vec<Option<Slot<Caller>>>,
    callees: Vec<Option<Slot<Callee>>>,
    /// Callees by their INVITE's Call-ID and branch.
    invites: BTreeMap<(String, String), u32>,
    timers: BinaryHeap<Reverse<(Instant, CallRef)>>,
    outputs: VecDeque<Output>,
}

struct Slot<M> {
    machine: Box<M>,
    /// The deadline that the timer queue holds for this call.
    armed: Option<Instant>,
}

impl Agent {
    /// An agent without calls.
    pub fn new(local: Local, mix: Mix, rng: Rng, ports: Box<dyn MediaPorts>) -> Agent {
        Agent {
            local: Arc::new(local),
            mix,
            rng,
            ports,
            callers: Vec::new(),
            callees: Vec::new(),
            invites: BTreeMap::new(),
            timers: BinaryHeap::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Places a call that was due at `scheduled`; delays are measured from then, so that a late generator
    /// does not flatter the node.
    pub fn place(&mut self, now: Instant, scheduled: Instant, destination: Destination) -> CallRef {
        let plan = self.mix.caller(&mut self.rng);
        let call = CallRef::caller(u32::try_from(self.callers.len()).unwrap_or(u32::MAX));
        let audio = Audio::ours(self.ports.open(call));
        let caller = Caller::new(self.local.clone(), call, destination, plan, audio, scheduled);
        self.callers.push(Some(Slot { machine: Box::new(caller), armed: None }));
        self.give(now, call, Input::Start);
        call
    }

    /// Takes what came over `flow`: one whole message.
    pub fn receive(&mut self, now: Instant, flow: Flow, bytes: &[u8]) {
        // RFC 5626 §3.5.1: a keep-alive.
        if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
            return;
        }
        let message = match Message::read(bytes) {
            Ok(message) => Box::new(message),
            Err(violation) => return self.outputs.push_back(Output::Stray(violation)),
        };
        let call = match &message.start {
            Start::Response(_) => match self.local.call_of_branch(&message.branch) {
                Some(call) => call,
                None => return self.outputs.push_back(Output::Stray(Violation::ForeignVia)),
            },
            Start::Request(method, _) if message.to_tag.is_empty() => {
                let method = *method;
                match self.outside_dialog(now, method, &message, flow) {
                    Some(call) => call,
                    None => return,
                }
            }
            Start::Request(..) => match self.local.call_of_tag(&message.to_tag) {
                Some(call) => call,
                None => return self.stray(&message, flow),
            },
        };
        if self.is_alive(call) {
            self.give(now, call, Input::Received { message, flow });
        } else if message.status().is_none() && message.cseq.1 != Method::Ack {
            // The call is over and forgotten (RFC 3261 §12.2.2).
            self.outputs.push_back(Output::Send { flow, bytes: respond(&message, 481, "gone", None, None) });
        }
    }

    /// Handles every timer that is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(Reverse((at, call))) = self.timers.peek().copied() {
            if at > now {
                break;
            }
            self.timers.pop();
            let due = match call.side {
                Side::Caller => disarm(self.callers.get_mut(call.number as usize), at),
                Side::Callee => disarm(self.callees.get_mut(call.number as usize), at),
            };
            if due {
                self.tick(now, call);
            }
        }
    }

    /// A call that talks offers again what it has, by a re-INVITE: whoever can't answer has lost it.
    pub fn probe(&mut self, now: Instant, call: CallRef) {
        self.give(now, call, Input::Probe);
    }

    /// Every call ends in order: by BYE where it is answered, by CANCEL where it rings for a caller.
    pub fn hang_up(&mut self, now: Instant) {
        self.give_all(now, || Input::HangUp);
    }

    /// Ends every call at once, as timed out.
    pub fn abandon(&mut self, now: Instant) {
        self.give_all(now, || Input::Abandon);
    }

    /// The calls that are answered and not about to end, as this end sees it.
    pub fn talking(&self) -> Vec<CallRef> {
        let callers = self.callers.iter().zip(0..).filter(|(slot, _)| talks(slot, Caller::talks));
        let callees = self.callees.iter().zip(0..).filter(|(slot, _)| talks(slot, Callee::talks));
        callers
            .map(|(_, number)| CallRef::caller(number))
            .chain(callees.map(|(_, number)| CallRef::callee(number)))
            .collect()
    }

    /// The number, or name, that the caller of this callee called, for as long as the callee is remembered.
    pub fn called(&self, callee: CallRef) -> Option<&str> {
        let slot = self.callees.get(callee.number as usize).filter(|_| callee.side == Side::Callee)?;
        Some(slot.as_ref()?.machine.called())
    }

    /// What To says to this callee, for as long as it is remembered: the number, where it is called by its Contact.
    pub fn to(&self, callee: CallRef) -> Option<&str> {
        let slot = self.callees.get(callee.number as usize).filter(|_| callee.side == Side::Callee)?;
        Some(slot.as_ref()?.machine.to())
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When `handle_timeout` wants to be called; may be early.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// How many callees there have been.
    pub fn callees(&self) -> usize {
        self.callees.len()
    }

    /// A request without a To tag: a new call, or one that came before.
    fn outside_dialog(
        &mut self,
        now: Instant,
        method: Method,
        message: &Message,
        flow: Flow,
    ) -> Option<CallRef> {
        let key = (message.call_id.clone(), message.branch.clone());
        if let Some(number) = self.invites.get(&key) {
            return Some(CallRef::callee(*number));
        }
        match method {
            Method::Invite => {
                let plan = self.mix.callee(&mut self.rng);
                let number = u32::try_from(self.callees.len()).unwrap_or(u32::MAX);
                let call = CallRef::callee(number);
                let audio = Audio::ours(self.ports.open(call));
                let invite = Box::new(message.clone());
                let callee = Callee::new(self.local.clone(), call, plan, audio, invite, flow);
                self.callees.push(Some(Slot { machine: Box::new(callee), armed: None }));
                self.invites.insert(key, number);
                self.give(now, call, Input::Start);
            }
            Method::Options => {
                let contact = self.local.contact("peer");
                let bytes = respond(message, 200, "options", Some(&contact), None);
                self.outputs.push_back(Output::Send { flow, bytes });
            }
            _ => self.stray(message, flow),
        }
        None
    }

    /// A request that belongs to no call of ours.
    fn stray(&mut self, message: &Message, flow: Flow) {
        let method = message.cseq.1;
        if method != Method::Ack {
            self.outputs.push_back(Output::Send { flow, bytes: respond(message, 481, "none", None, None) });
        }
        self.outputs.push_back(Output::Stray(Violation::UnexpectedRequest { method: method.as_str() }));
    }

    fn is_alive(&self, call: CallRef) -> bool {
        let number = call.number as usize;
        match call.side {
            Side::Caller => self.callers.get(number).is_some_and(Option::is_some),
            Side::Callee => self.callees.get(number).is_some_and(Option::is_some),
        }
    }

    fn give_all(&mut self, now: Instant, input: impl Fn() -> Input) {
        let calls = |count: usize| 0..u32::try_from(count).unwrap_or(u32::MAX);
        let callers = calls(self.callers.len()).map(CallRef::caller);
        for call in callers.chain(calls(self.callees.len()).map(CallRef::callee)) {
            self.give(now, call, input());
        }
    }

    fn give(&mut self, now: Instant, call: CallRef, input: Input) {
        let number = call.number as usize;
        match call.side {
            Side::Caller => {
                if let Some(Some(slot)) = self.callers.get_mut(number) {
                    slot.machine.handle(now, input);
                }
            }
            Side::Callee => {
                if let Some(Some(slot)) = self.callees.get_mut(number) {
                    slot.machine.handle(now, input);
                }
            }
        }
        self.pump(call);
    }

    fn tick(&mut self, now: Instant, call: CallRef) {
        let number = call.number as usize;
        match call.side {
            Side::Caller => {
                if let Some(Some(slot)) = self.callers.get_mut(number) {
                    slot.machine.handle_timeout(now);
                }
                if let Some(entry) = self.callers.get_mut(number) {
                    // Gone: its outputs were taken when its outcome was told.
                    drop(entry.take_if(|slot| slot.machine.is_gone()));
                }
            }
            Side::Callee => {
                if let Some(Some(slot)) = self.callees.get_mut(number) {
                    slot.machine.handle_timeout(now);
                }
                if let Some(entry) = self.callees.get_mut(number)
                    && let Some(slot) = entry.take_if(|slot| slot.machine.is_gone())
                {
                    let (branch, call_id) = slot.machine.key();
                    self.invites.remove(&(call_id.to_owned(), branch.to_owned()));
                }
            }
        }
        self.pump(call);
    }

    /// Takes the call's outputs and arms its next deadline.
    fn pump(&mut self, call: CallRef) {
        let number = call.number as usize;
        let armed = match call.side {
            Side::Caller => match self.callers.get_mut(number) {
                Some(Some(slot)) => drain(slot, &mut self.outputs),
                _ => None,
            },
            Side::Callee => match self.callees.get_mut(number) {
                Some(Some(slot)) => drain(slot, &mut self.outputs),
                _ => None,
            },
        };
        if let Some(at) = armed {
            self.timers.push(Reverse((at, call)));
        }
    }
}

/// Moves a call's outputs; gives a deadline that the queue does not cover yet.
fn drain<M: Machine<Output = Output>>(slot: &mut Slot<M>, outputs: &mut VecDeque<Output>) -> Option<Instant> {
    while let Some(output) = slot.machine.poll_output() {
        outputs.push_back(output);
    }
    let next = slot.machine.poll_timeout()?;
    if slot.armed.is_some_and(|armed| armed <= next) {
        return None;
    }
    slot.armed = Some(next);
    slot.armed
}

fn talks<M>(slot: &Option<Slot<M>>, talks: impl Fn(&M) -> bool) -> bool {
    slot.as_ref().is_some_and(|slot| talks(&slot.machine))
}

/// Whether the queue's entry is the one that the call waits for; an older one is stale.
fn disarm<M>(slot: Option<&mut Option<Slot<M>>>, at: Instant) -> bool {
    match slot {
        Some(Some(slot)) if slot.armed == Some(at) => {
            slot.armed = None;
            true
        }
        _ => false,
    }
}

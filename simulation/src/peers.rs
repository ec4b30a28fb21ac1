//! The callers and callees of a run, and what became of each call by their own account.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use machine::{Instant, Rng};
use peer::{
    Agent, CallRef, Destination, Endpoint, Event, Flow, Local, MediaPorts, Mix, NoMedia, Outcome, Output,
    Side, Transport,
};

use crate::letter::{PREFIX, number_in};
use crate::plan::{Placed, sip_of};
use crate::talk::{Air, Mouths};

/// One end of a call.
#[derive(Clone, Debug)]
pub struct End {
    /// Whose.
    pub peer: SocketAddr,
    call: CallRef,
    /// When it began.
    pub began: Instant,
    /// When it was answered.
    pub answered: Option<Instant>,
    /// When it refused.
    pub refused: Option<Instant>,
    /// When and how it ended.
    pub ended: Option<(Instant, Outcome)>,
}

/// A call, by the account of its ends.
#[derive(Clone, Debug, Default)]
pub struct Story {
    /// The caller's end.
    pub caller: Option<End>,
    /// The callees' ends: one per attempt.
    pub callees: Vec<End>,
}

impl Story {
    /// All its ends.
    pub fn ends(&self) -> impl Iterator<Item = &End> {
        self.caller.iter().chain(&self.callees)
    }

    /// Whether all its ends are over.
    pub fn is_over(&self) -> bool {
        self.ends().all(|end| end.ended.is_some())
    }
}

/// All calls, by their numbers.
#[derive(Debug, Default)]
pub struct Stories {
    /// The calls.
    pub calls: BTreeMap<u32, Story>,
    /// Messages to peers that belong to no call, in words.
    pub strays: Vec<String>,
    /// Ends that began with a number that nobody called.
    pub unknown: usize,
}

impl Stories {
    /// Whether every end of every call is over.
    pub fn are_over(&self) -> bool {
        self.calls.values().all(Story::is_over)
    }

    fn note(&mut self, peer: SocketAddr, number: Option<u32>, at: Instant, call: CallRef, event: Event) {
        let Some(story) = number.and_then(|number| self.calls.get_mut(&number)) else {
            self.unknown += usize::from(event == Event::Offered);
            return;
        };
        if event == Event::Offered {
            story.callees.push(End { peer, call, began: at, answered: None, refused: None, ended: None });
        }
        let end = match call.side {
            Side::Caller => story.caller.as_mut(),
            Side::Callee => story.callees.iter_mut().find(|end| (end.peer, end.call) == (peer, call)),
        };
        match (end, event) {
            (Some(end), Event::Answered) => end.answered = Some(at),
            (Some(end), Event::Refused) => end.refused = Some(at),
            (Some(end), Event::Ended(outcome)) => end.ended = Some((at, outcome)),
            _ => {}
        }
    }
}

/// What all peers are asked to do, beyond their plans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wish {
    /// Nothing.
    #[default]
    Nothing,
    /// Each caller that talks offers again what it has.
    CallersProbe,
    /// Each callee that talks does.
    CalleesProbe,
    /// Each caller hangs up, or gives up.
    CallersHangUp,
    /// Each callee hangs up.
    CalleesHangUp,
    /// It is over.
    Leave,
}

/// What peers share: their account, and what is asked of them.
#[derive(Default)]
pub struct Society {
    /// The calls.
    pub stories: RefCell<Stories>,
    /// What is asked.
    pub wish: Cell<Wish>,
    /// The calls that talk, by the account of each peer.
    talking: RefCell<BTreeMap<SocketAddr, BTreeSet<u32>>>,
    /// Where they speak, if they do.
    pub air: Option<Air>,
}

impl Society {
    /// Peers of which nobody has called yet, and where they speak.
    pub fn new(air: Option<Air>) -> Society {
        Society { air, ..Society::default() }
    }

    /// The calls both ends of which talk, by their own account.
    pub fn both_talk(&self) -> BTreeSet<u32> {
        let talking = self.talking.borrow();
        let mut ends: BTreeMap<u32, usize> = BTreeMap::new();
        talking.values().flatten().for_each(|number| *ends.entry(*number).or_default() += 1);
        ends.into_iter().filter(|(_, ends)| *ends > 1).map(|(number, _)| number).collect()
    }
}

/// A peer's address and its ways.
pub struct Peer {
    /// Where it is.
    pub at: SocketAddr,
    /// What it speaks SIP over.
    pub transport: Transport,
    /// How it behaves.
    pub mix: Mix,
    /// Its chance.
    pub rng: Rng,
    /// What it places.
    pub calls: Vec<Placed>,
}

/// Lives the life of a peer, until it is asked to leave.
pub async fn live(world: &peer::World, peer: Peer, society: &Society) {
    let Peer { at: address, transport, mix, rng, calls } = peer;
    let mut local = Local::new(transport, address, 1, true);
    let over = if transport == Transport::Tcp { ";transport=tcp" } else { "" };
    // Callers stand behind two proxies, which share their address: the order of a route set shows only so.
    local.record_routes = [2, 1].map(|hop| format!("<sip:{address}{over};lr;hop={hop}>")).into();
    let (mut mouths, ports) = society.air.clone().map(|air| Mouths::new(air, address.ip())).unzip();
    let ports: Box<dyn MediaPorts> = match ports {
        Some(ports) => Box::new(ports),
        None => Box::new(NoMedia(address)),
    };
    let agent = Agent::new(local, mix, rng, ports);
    let mut endpoints =
        [Endpoint::open(world, transport, address, agent).expect("peers have addresses of their own")];
    let mut numbers = Vec::new();
    let mut todo = calls.into_iter().peekable();
    let mut granted = Wish::Nothing;
    while society.wish.get() != Wish::Leave {
        let now = world.clock.now();
        let next = todo.peek().map_or(now + SLICE, |call| call.at.min(now + SLICE));
        let next = mouths.as_ref().and_then(Mouths::next).map_or(next, |speaks| speaks.min(next));
        let mut heard = Vec::new();
        let mut sink = |at: Instant, output: Output| heard.push((at, output));
        peer::drive(world, &mut endpoints, next, &mut sink).await.expect("sockets of peers never fail");
        let (now, [endpoint]) = (world.clock.now(), &mut endpoints);
        for (at, output) in heard {
            if let Some(mouths) = &mut mouths {
                speak(mouths, endpoint.agent(), &numbers, &output);
            }
            note(society, address, endpoint.agent(), &numbers, at, output);
        }
        if let Some(mouths) = &mut mouths {
            mouths.speak(now);
        }
        while let Some(call) = todo.next_if(|call| call.at <= now) {
            let made = endpoint.agent().place(now, call.at, destination(&call, transport));
            let caller =
                End { peer: address, call: made, began: now, answered: None, refused: None, ended: None };
            let story = Story { caller: Some(caller), callees: Vec::new() };
            society.stories.borrow_mut().calls.insert(call.number, story);
            numbers.push(call.number);
        }
        if society.wish.get() != granted {
            granted = society.wish.get();
            grant(granted, endpoint.agent(), society, (address, &numbers), now);
        }
        let talking = endpoint.agent().talking();
        let talking = talking.into_iter().filter_map(|call| number_of(endpoint.agent(), call, &numbers));
        let talking: BTreeSet<u32> = talking.collect();
        society.talking.borrow_mut().insert(address, talking);
    }
}

/// An end begins to speak, or ends.
fn speak(mouths: &mut Mouths, agent: &Agent, numbers: &[u32], output: &Output) {
    match *output {
        Output::StartMedia { call, remote, payload } => {
            if let Some(number) = number_of(agent, call, numbers) {
                mouths.start(call, number, remote, payload);
            }
        }
        Output::StopMedia { call, ended } => mouths.stop(call, ended),
        _ => {}
    }
}

fn note(society: &Society, address: SocketAddr, agent: &Agent, numbers: &[u32], at: Instant, output: Output) {
    let mut stories = society.stories.borrow_mut();
    match output {
        Output::Event { call, event } => {
            let number = number_of(agent, call, numbers);
            stories.note(address, number, at, call, event);
        }
        Output::Stray(violation) => {
            stories.strays.push(format!("{address} at {} ms: {violation}", at.as_nanos() / 1_000_000));
        }
        _ => {}
    }
}

/// The number of a call of an agent that has placed these.
fn number_of(agent: &Agent, call: CallRef, placed: &[u32]) -> Option<u32> {
    match call.side {
        Side::Caller => placed.get(call.number as usize).copied(),
        // Who is called where it is registered is told the number by To.
        Side::Callee => {
            [agent.called(call), agent.to(call)].into_iter().flatten().find_map(|it| number_in(it.as_bytes()))
        }
    }
}

fn grant(wish: Wish, agent: &mut Agent, society: &Society, (me, placed): (SocketAddr, &[u32]), now: Instant) {
    match (wish, !placed.is_empty()) {
        (Wish::CallersProbe, true) | (Wish::CalleesProbe, false) => {
            // Who has hung up and not been heard yet owes nobody an answer: both ends must talk.
            let talking = society.talking.borrow();
            let others = talking.iter().filter(|(peer, _)| **peer != me).flat_map(|(_, numbers)| numbers);
            let both: BTreeSet<u32> = others.copied().collect();
            for call in agent.talking() {
                if number_of(agent, call, placed).is_some_and(|number| both.contains(&number)) {
                    agent.probe(now, call);
                }
            }
        }
        (Wish::CallersHangUp, true) | (Wish::CalleesHangUp, false) => agent.hang_up(now),
        _ => {}
    }
}

fn destination(call: &Placed, transport: Transport) -> Destination {
    let (to, number) = (sip_of(call.to), call.number);
    let (flow, over) = match transport {
        Transport::Udp => (Flow::Datagram(to), ""),
        Transport::Tcp => (Flow::Dialled(to), ";transport=tcp"),
        Transport::Tls => (Flow::Dialled(to), ";transport=tls"),
    };
    Destination { flow, uri: format!("sip:{PREFIX}{number:07}@{to}{over}"), user: "+31201234567".into() }
}

/// How long a peer goes without looking at what is asked of it.
const SLICE: Duration = Duration::from_millis(100);

//! A whole call as a script that can be played again without the test's own cost: every message and every outcome
//! is made beforehand.

#![allow(dead_code)] // Tests and benches each play a part of it.

use std::sync::Arc;

use call::{
    Arrival, Call, CallId, Context, Flow, Incarnation, Input, Outcome, Output, Ports, RelayChange, TakePorts,
};
use machine::{Instant, WallTime};
use sip::{Framing, OwnedMessage};
use trunk::settings::MediaMode;

use crate::ladder::{self, CALLEE, CALLER, CONTACT, World, from_caller, response};

/// What happens next.
enum Step {
    Received(Box<OwnedMessage>, Flow),
    Applied(Outcome),
}

/// A call from its INVITE to its end.
pub struct Course {
    context: Arc<Context>,
    invite: OwnedMessage,
    steps: Vec<Step>,
    /// After this many steps it is answered and acknowledged.
    up: usize,
}

struct TwoPorts;

impl TakePorts for TwoPorts {
    fn take(&mut self, streams: usize) -> Option<Ports> {
        let from = |first: u16| (0..streams as u16).map(|i| first + 2 * i).collect();
        Some(Ports { ingress: from(10_000), egress: from(20_000) })
    }

    fn keep(&mut self, _: &Ports) -> bool {
        true
    }
}

impl Course {
    /// INVITE, 100, 180, 200, ACK, BYE, 200 on both legs; media on our ports or not.
    pub fn new(mode: MediaMode) -> Course {
        let text = ladder::invite(ladder::OFFER, "Supported: timer\r\n");
        let mut w = World::with(&text, |trunk, gateway| {
            trunk.settings.media.mode = mode;
            gateway.settings.media.mode = mode;
        });
        let parse = |text: &str| {
            let bytes = bytes::Bytes::copy_from_slice(text.as_bytes());
            OwnedMessage::parse(bytes, Framing::Datagram).expect("the test writes good SIP")
        };
        let mut steps = vec![Step::Applied(Outcome::Target(0))];
        let mut hear = |w: &mut World, from: &str, text: String| {
            steps.push(Step::Received(Box::new(parse(&text)), ladder::flow(from)));
            w.receive(from, &text);
            w.proposed.iter().for_each(|_| steps.push(Step::Applied(Outcome::Done)));
            w.commit_all();
            steps.len()
        };
        let invite = ladder::invited(&mut w);
        hear(&mut w, CALLEE, response(&invite, "100 Trying", "", "", ""));
        hear(&mut w, CALLEE, response(&invite, "180 Ringing", "b1", CONTACT, ""));
        hear(&mut w, CALLEE, response(&invite, "200 OK", "b1", CONTACT, ladder::ANSWER));
        let ok = w.take("SIP/2.0 200").pop().expect("the caller's 200");
        let up = hear(&mut w, CALLER, from_caller(&ok, "ACK", 1, ""));
        hear(&mut w, CALLER, from_caller(&ok, "BYE", 2, ""));
        let bye = w.take("BYE").pop().expect("the callee's BYE");
        hear(&mut w, CALLEE, response(&bye, "200 OK", "", "", ""));
        assert!(w.ended, "the course is whole");
        Course { context: w.context.clone(), invite: parse(&text), steps, up }
    }

    /// Plays it to its end. Gives how many messages were sent.
    pub fn play(&self) -> usize {
        let (mut call, mut sent) = self.begin();
        for step in &self.steps {
            sent += self.step(&mut call, step);
        }
        sent
    }

    /// Plays it up to the caller's ACK.
    pub fn hold(&self) -> Call {
        let (mut call, _) = self.begin();
        for step in self.steps.iter().take(self.up) {
            self.step(&mut call, step);
        }
        call
    }

    fn begin(&self) -> (Call, usize) {
        let arrival = Arrival {
            invite: self.invite.clone(),
            flow: ladder::flow(CALLER),
            party: ladder::party(),
            strip: 0,
            seed: 42,
            proof: None,
            secures: true,
        };
        let id = CallId::new(Incarnation(1), 1);
        let mut call =
            Call::new(Instant::ZERO, WallTime(1_000_000), self.context.clone(), id, arrival, &mut TwoPorts);
        let sent = drain(&mut call);
        (call, sent)
    }

    fn step(&self, call: &mut Call, step: &Step) -> usize {
        let input = match step {
            Step::Received(message, flow) => Input::Received { message: (**message).clone(), flow: *flow },
            Step::Applied(outcome) => Input::Applied(outcome.clone()),
        };
        call.handle(Instant::ZERO, WallTime(1_000_000), input);
        drain(call)
    }
}

fn drain(call: &mut Call) -> usize {
    let (mut sent, mut removed) = (0, false);
    while let Some(output) = call.poll_output() {
        match output {
            Output::Send { .. } => sent += 1,
            Output::Relay(RelayChange::Remove) => removed = true,
            _ => {}
        }
    }
    std::hint::black_box(call.poll_timeout());
    if removed {
        call.handle(Instant::ZERO, WallTime(1_000_000), Input::Quality { ingress: None, egress: None });
        sent += drain(call);
    }
    sent
}

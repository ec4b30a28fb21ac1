//! Requests inside the two dialogs, on their way from one leg to the other (RFC 3261 §12.2, §14, §15; RFC 3311;
//! RFC 4028): each is a server transaction on the side that asked and a client transaction on the far side.

use bytes::Bytes;
use machine::{Instant, Machine, WallTime};
use sip::{Method, OwnedMessage};
use transaction::{
    Answer2xx, ClientInput, InviteClient, InviteServer, NonInviteClient, NonInviteServer, Output as Tx,
    ServerInput,
};

use crate::call::{Call, Hangup, Stage};
use crate::io::{Output, Remains};
use crate::record::{Flow, Side};

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Re-INVITE.
    Invite,
    /// UPDATE.
    Update,
    /// BYE.
    Bye,
    /// CANCEL of an INVITE.
    Cancel,
    /// PRACK.
    Prack,
    /// Anything else.
    Other(Box<[u8]>),
}

impl Kind {
    /// The kind of a method.
    pub fn of(method: Method<'_>) -> Kind {
        match method {
            Method::Invite => Kind::Invite,
            Method::Update => Kind::Update,
            Method::Bye => Kind::Bye,
            Method::Cancel => Kind::Cancel,
            Method::Prack => Kind::Prack,
            other => Kind::Other(other.as_bytes().into()),
        }
    }

    /// The method.
    pub fn method(&self) -> Method<'_> {
        match self {
            Kind::Invite => Method::Invite,
            Kind::Update => Method::Update,
            Kind::Bye => Method::Bye,
            Kind::Cancel => Method::Cancel,
            Kind::Prack => Method::Prack,
            Kind::Other(name) => Method::from_bytes(name),
        }
    }
}

/// A request inside the dialogs.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// Its number among the call's.
    pub number: u32,
    /// What is asked.
    pub kind: Kind,
    /// Who asked: the request and its transaction; absent for requests of our own.
    pub asked: Option<Box<Asked>>,
    /// The request that we sent on.
    pub sent: Option<Sent>,
    /// What is being committed.
    pub step: Step,
    /// The description that the asker gets with the 2xx.
    pub answer: Bytes,
}

/// What of an exchange is on its way to a quorum.
#[derive(Debug)]
pub(crate) enum Step {
    /// Nothing.
    Open,
    /// A refresh that is answered here.
    Refreshed,
    /// The far side's 2xx.
    Accepted(Box<OwnedMessage>),
    /// The asker's answer to the far side's offer.
    Answering(Bytes),
}

/// The asker's half.
#[derive(Debug)]
pub(crate) struct Asked {
    /// From which side.
    pub side: Side,
    /// The request.
    pub request: OwnedMessage,
    /// `route::transaction_key` of it.
    pub key: u64,
    /// Where its answers go.
    pub flow: Flow,
    /// Its transaction.
    pub server: Server,
    /// Repeats a 2xx to re-INVITE until its ACK.
    pub ok: Option<Answer2xx>,
    /// Whether the dialog knows the answer already: what it changes is recorded before it is sent.
    pub decided: bool,
    /// The final answer.
    pub last: Option<(u16, Bytes)>,
}

/// The far half.
#[derive(Debug)]
pub(crate) struct Sent {
    /// To which side.
    pub side: Side,
    /// Where it went.
    pub flow: Flow,
    /// Its branch.
    pub branch: crate::route::Branch,
    /// Its CSeq.
    pub cseq: u32,
    /// The request.
    pub bytes: Bytes,
    /// Its transaction.
    pub client: Client,
    /// The body that it carried.
    pub body: Bytes,
    /// The ACK of the 2xx to a re-INVITE, for its repetitions.
    pub ack: Option<Bytes>,
    /// A 2xx to a re-INVITE came.
    pub succeeded: bool,
}

/// A server transaction of either kind.
#[derive(Debug)]
pub(crate) enum Server {
    Invite(InviteServer),
    Other(NonInviteServer),
}

/// A client transaction of either kind.
#[derive(Debug)]
pub(crate) enum Client {
    Invite(InviteClient),
    Other(NonInviteClient),
}

/// Calls a method of whichever machine it is.
macro_rules! either {
    ($which:ident, $this:expr, $machine:ident => $do:expr) => {
        match $this {
            $which::Invite($machine) => $do,
            $which::Other($machine) => $do,
        }
    };
}

impl Server {
    pub fn handle(&mut self, now: Instant, input: ServerInput) {
        either!(Server, self, m => m.handle(now, input));
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        either!(Server, self, m => m.handle_timeout(now));
    }

    pub fn poll_output(&mut self) -> Option<Tx> {
        either!(Server, self, m => m.poll_output())
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        either!(Server, self, m => m.poll_timeout())
    }

    pub fn is_terminated(&self) -> bool {
        either!(Server, self, m => m.is_terminated())
    }
}

impl Client {
    pub fn handle(&mut self, now: Instant, input: ClientInput) {
        either!(Client, self, m => m.handle(now, input));
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        either!(Client, self, m => m.handle_timeout(now));
    }

    pub fn poll_output(&mut self) -> Option<Tx> {
        either!(Client, self, m => m.poll_output())
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        either!(Client, self, m => m.poll_timeout())
    }

    pub fn is_final(&self) -> bool {
        either!(Client, self, m => m.is_final())
    }

    pub fn is_terminated(&self) -> bool {
        either!(Client, self, m => m.is_terminated())
    }
}

impl Exchange {
    /// Whether nothing of it is left.
    pub fn is_over(&self) -> bool {
        let asked = self.asked.as_ref().is_none_or(|asked| {
            asked.server.is_terminated() && asked.ok.as_ref().is_none_or(Answer2xx::is_terminated)
        });
        asked && self.sent.as_ref().is_none_or(|sent| sent.client.is_terminated())
    }

    /// Whether the call must live on for it: somebody waits for an answer.
    pub fn is_busy(&self) -> bool {
        self.asked.as_ref().is_some_and(|asked| asked.last.is_none())
            || self.sent.as_ref().is_some_and(|sent| !sent.client.is_final())
    }

    /// When it wants to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let asked = self.asked.as_ref();
        let server = asked.and_then(|asked| asked.server.poll_timeout());
        let ok = asked.and_then(|asked| asked.ok.as_ref()?.poll_timeout());
        let client = self.sent.as_ref().and_then(|sent| sent.client.poll_timeout());
        server.into_iter().chain(ok).chain(client).min()
    }

    /// Leaves the final answer behind for copies of the request that come when the call is gone.
    pub fn leave(self, remains: &mut Vec<Remains>) {
        if let Some(asked) = self.asked
            && let Asked { key, flow, last: Some((_, bytes)), .. } = *asked
        {
            remains.push(Remains { key, flow, bytes });
        }
    }

    /// Whether the asker still waits for its final answer.
    pub fn is_unanswered(&self) -> bool {
        self.asked.as_ref().is_some_and(|asked| asked.last.is_none())
    }
}

/// What fired while the transactions were served.
#[derive(Debug, Default)]
struct Fired {
    /// Exchanges, by number, whose request got no answer.
    silent: Vec<u32>,
    /// A 2xx to a re-INVITE got no ACK.
    unacknowledged: bool,
}

impl Call {
    /// Fires the timers of the requests inside the dialogs.
    pub(crate) fn exchange_timeouts(&mut self, now: Instant, wall: WallTime) {
        for exchange in &mut self.exchanges {
            if let Some(asked) = exchange.asked.as_mut() {
                asked.server.handle_timeout(now);
                if let Some(ok) = asked.ok.as_mut() {
                    ok.handle_timeout(now);
                }
            }
            if let Some(sent) = exchange.sent.as_mut() {
                sent.client.handle_timeout(now);
            }
        }
        self.pump_failing(now, wall);
    }

    /// What was sent along a flow could not be sent.
    pub(crate) fn exchanges_unreachable(&mut self, now: Instant, wall: WallTime, flow: Flow) {
        for exchange in &mut self.exchanges {
            // By whichever port: without its connection, a peer is dialled where it listens.
            if let Some(sent) = exchange.sent.as_mut()
                && sent.flow.remote.ip() == flow.remote.ip()
                && sent.flow.transport == flow.transport
            {
                sent.client.handle(now, ClientInput::TransportError);
            }
        }
        self.pump_failing(now, wall);
    }

    fn pump_failing(&mut self, now: Instant, wall: WallTime) {
        let fired = self.pump_noting();
        for number in fired.silent {
            self.exchange_failed(now, wall, number);
        }
        if fired.unacknowledged {
            self.hang_up(now, wall, Hangup::ours("no ACK"));
        }
    }

    /// A request of ours got no answer: 408 to whoever asked, and the call ends (RFC 3261 §12.2.1.2).
    fn exchange_failed(&mut self, now: Instant, wall: WallTime, number: u32) {
        let Some(index) = self.exchanges.iter().position(|e| e.number == number) else { return };
        let Some(exchange) = self.exchanges.get(index) else { return };
        let Some(side) = exchange.sent.as_ref().map(|sent| sent.side) else { return };
        let (kind, unanswered) = (exchange.kind.clone(), exchange.is_unanswered());
        if let Some(legs) = self.legs.as_mut() {
            legs.leg_mut(side).dialog.request_failed(now, kind.method(), 408);
        }
        if unanswered {
            self.answer_exchange(now, index, 408);
        }
        if matches!(kind, Kind::Invite | Kind::Update) {
            let hangup = Hangup { from: None, ..Hangup::of(side, "no answer to a request") };
            self.hang_up(now, wall, hangup);
        }
    }

    /// Carries out what the transactions want; time-outs are seen where timers fire.
    pub(crate) fn pump_exchanges(&mut self) {
        let _seen_by_timers = self.pump_noting();
    }

    fn pump_noting(&mut self) -> Fired {
        let mut fired = Fired::default();
        let is_over = matches!(self.stage, Stage::Ending | Stage::Over);
        for exchange in &mut self.exchanges {
            if let Some(asked) = exchange.asked.as_mut() {
                let flow = asked.flow;
                while let Some(output) = asked.server.poll_output() {
                    if let Tx::Send(bytes) = output {
                        self.outputs.push_back(Output::Send { flow, bytes });
                    }
                }
                while let Some(output) = asked.ok.as_mut().and_then(Machine::poll_output) {
                    match output {
                        Tx::Send(bytes) => self.outputs.push_back(Output::Send { flow, bytes }),
                        Tx::TimedOut(_) => fired.unacknowledged = true,
                        _ => {} // The ACK was taken where it came.
                    }
                }
            }
            let Some(sent) = exchange.sent.as_mut() else { continue };
            let flow = sent.flow;
            while let Some(output) = sent.client.poll_output() {
                match output {
                    // Who has heard BYE answers a copy of what came before it by 481, at best.
                    Tx::Send(bytes) if is_over && exchange.kind == Kind::Invite && bytes == sent.bytes => {}
                    Tx::Send(bytes) => self.outputs.push_back(Output::Send { flow, bytes }),
                    Tx::TimedOut(_) | Tx::TransportFailed => fired.silent.push(exchange.number),
                    _ => {} // Responses are delivered where they come.
                }
            }
        }
        fired
    }
}

//! Requests inside the two dialogs, on their way from one leg to the other (RFC 3261 §12.2, §14, §15; RFC 3311;
//! RFC 4028): each is a server transaction on the side that asked and a client transaction on the far side.

use bytes::Bytes;
use machine::{Instant, Machine};
use sip::{Method, OwnedMessage};
use transaction::{
    Answer2xx, ClientInput, InviteClient, InviteServer, NonInviteClient, NonInviteServer, Output as Tx,
    ServerInput,
};

use crate::context::Secret;
use crate::io::Remains;
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
    pub asked: Option<Asked>,
    /// The request that we sent on.
    pub sent: Option<Sent>,
    /// The far side's 2xx, until it is committed.
    pub accepted: Option<OwnedMessage>,
    /// The description that the asker gets with the 2xx.
    pub answer: Bytes,
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
    pub branch: Vec<u8>,
    /// Its CSeq.
    pub cseq: u32,
    /// The request.
    pub bytes: Bytes,
    /// Its transaction.
    pub client: Client,
    /// The description that it carried.
    pub sdp: Bytes,
    /// The ACK of the 2xx to a re-INVITE, for its repetitions.
    pub ack: Option<Bytes>,
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
    pub fn leave(self, secret: &Secret, remains: &mut Vec<Remains>) {
        let _ = secret;
        if let Some(Asked { key, flow, last: Some((_, bytes)), .. }) = self.asked {
            remains.push(Remains { key, flow, bytes });
        }
    }
}

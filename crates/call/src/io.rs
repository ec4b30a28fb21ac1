//! What goes into a call and what comes out of it.

use std::net::SocketAddr;

use bytes::Bytes;
use env::RelayEntry;
use sip::OwnedMessage;
use trunk::{Hop, Party, Wanted};

use crate::cdr::LegQuality;
use crate::record::{CallCommand, Flow, Mark, Outcome, Ports, Side};

/// An INVITE from an identified party, on which a call begins.
#[derive(Debug)]
pub struct Arrival {
    /// The INVITE, already checked by `sip::verdict`.
    pub invite: OwnedMessage,
    /// Where it came from.
    pub flow: Flow,
    /// Who is calling.
    pub party: Party,
    /// How many bytes of the Request-URI's user are the tech prefix.
    pub strip: usize,
    /// Drawn by the node: everything random in the call follows from it.
    pub seed: u64,
    /// How it proved by digest who it is.
    pub proof: Option<Proof>,
    /// Whether media may be secured: every node knows how.
    pub secures: bool,
}

/// A digest that was right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The use of a nonce that it was.
    pub used: auth::Use,
    /// The header lines of a new challenge, each with its CRLF: what the caller hears if that use was made before.
    pub again: Vec<u8>,
}

/// Where a call takes its RTP ports from, as it begins or is restored.
pub trait TakePorts {
    /// An even port for each of `streams` streams and each side; `None` where too few are free.
    fn take(&mut self, streams: usize) -> Option<Ports>;

    /// These very ports, which a restored call has by its record; false where they are not to be had here.
    fn keep(&mut self, ports: &Ports) -> bool;
}

/// What happened.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "most inputs are messages; a box would cost each an allocation"
)]
pub enum Input {
    /// A message of this call arrived.
    Received {
        /// The message.
        message: OwnedMessage,
        /// Where it came from.
        flow: Flow,
    },
    /// The oldest proposal without an outcome was applied.
    Applied(Outcome),
    /// What was sent to this address could not be sent: connection refused or closed.
    Unreachable(Flow),
    /// The answer to `Output::Locate`; empty if the name leads nowhere.
    Located(Vec<Hop>),
    /// An operator, or a node that drains, ends the call.
    Hangup(&'static str),
    /// The relay latched onto the address that a peer really sends from.
    Latched(Side, SocketAddr),
    /// One direction has been silent: nothing came from this side.
    Silent(Side),
    /// The relay asks that this be recorded.
    Mark(Mark),
    /// Packets that claimed to be a peer's had a wrong tag.
    Forged,
    /// What the relay measured, asked for by `RelayChange::Remove`.
    Quality {
        /// Packets that the caller sent.
        ingress: Option<LegQuality>,
        /// Packets that the callee sent.
        egress: Option<LegQuality>,
    },
}

/// What to do, in order.
#[derive(Debug)]
pub enum Output {
    /// Send these bytes along this flow.
    Send {
        /// The way.
        flow: Flow,
        /// The whole message.
        bytes: Bytes,
    },
    /// Commit this; the outcome comes back as `Input::Applied`, in order.
    Propose(CallCommand),
    /// Find the hosts of a name; the answer comes back as `Input::Located`.
    Locate {
        /// The name.
        wanted: Wanted,
        /// Decides among weights: a successor finds the same order.
        draw: u64,
    },
    /// Change the media relay.
    Relay(RelayChange),
    /// Tell people.
    Event(Event),
    /// The call is over: forget it. Copies of messages that it had answered are answered from these.
    Ended(Vec<Remains>),
}

/// A final answer, or the ACK to one, that may be asked for again after the call is gone (timers D, J, K).
#[derive(Clone, Debug)]
pub struct Remains {
    /// `route::transaction_key` of the message that asks.
    pub key: u64,
    /// Where the answer goes.
    pub flow: Flow,
    /// The answer.
    pub bytes: Bytes,
}

/// What the relay shall do for this call.
#[derive(Debug)]
pub enum RelayChange {
    /// Install or replace the entry of one stream, by the index of its `m=` line.
    Set(u8, Box<RelayEntry>),
    /// A mark that the relay asked for is recorded.
    Recorded(Mark),
    /// Remove all entries, free the ports, and report the quality as `Input::Quality`, at once.
    Remove,
}

/// What people may want to know; the shell logs and counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A call was let in.
    Admitted,
    /// 18x was relayed.
    Ringing,
    /// It was answered.
    Answered,
    /// It ended with this status.
    Ended(u16),
    /// It was refused with this status.
    Refused(u16),
    /// A peer broke the protocol.
    PeerError(&'static str),
    /// Media flowed one way only for longer than the trunk's `silence`.
    OneWayAudio(Side),
    /// Both peers know that the call is in another home now.
    Rehomed,
    /// A peer can't or may not be told that the call is in another home.
    NotRehomed(Side),
}

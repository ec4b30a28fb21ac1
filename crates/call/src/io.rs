//! What goes into a call and what comes out of it.

use std::net::SocketAddr;

use bytes::Bytes;
use env::RelayEntry;
use machine::WallTime;
use sip::OwnedMessage;
use trunk::Party;

use crate::cdr::LegQuality;
use crate::record::{CallCommand, Flow, Outcome, Ports, Side};

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
    /// RTP ports taken on the home; absent where none are free.
    pub ports: Option<Ports>,
    /// Drawn by the node: everything random in the call follows from it.
    pub seed: u64,
    /// Civil time.
    pub wall: WallTime,
}

/// What happened.
#[derive(Debug)]
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
    /// The answer to `Output::Resolve`; empty if the name has no address.
    Resolved(Vec<SocketAddr>),
    /// An operator, or a node that drains, ends the call.
    Hangup(&'static str),
    /// The relay latched onto the address that a peer really sends from.
    Latched(Side, SocketAddr),
    /// One direction has been silent: nothing came from this side.
    Silent(Side),
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
    /// Find addresses for a name; the answer comes back as `Input::Resolved`.
    Resolve {
        /// The host name.
        host: String,
        /// Its port.
        port: u16,
    },
    /// Change the media relay.
    Relay(RelayChange),
    /// Tell people.
    Event(Event),
    /// The call is over and nothing more will come of it: forget it.
    Ended,
}

/// What the relay shall do for this call.
#[derive(Debug)]
pub enum RelayChange {
    /// Install or replace the entry.
    Set(Box<RelayEntry>),
    /// Remove it, free its ports, and report its quality as `Input::Quality`.
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
}

//! What the calls of one agent share: its address, its names for calls, and what calls tell their agent.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use crate::message::COOKIE;
use crate::outcome::Outcome;
use crate::violation::Violation;

/// What SIP runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Transport {
    /// Datagrams: requests and finals are retransmitted (RFC 3261 §17).
    #[default]
    Udp,
    /// Streams.
    Tcp,
    /// Streams under TLS, as far as addresses say it: the network makes it so.
    Tls,
}

impl Transport {
    /// Whether messages arrive as they were sent, or not at all.
    pub const fn is_stream(self) -> bool {
        !matches!(self, Transport::Udp)
    }
}

/// Where a message goes, or came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// A datagram to or from this address.
    Datagram(SocketAddr),
    /// The stream that we opened, or will open, to this address.
    Dialled(SocketAddr),
    /// A stream that the far side opened; the number is the driver's.
    Accepted(u64),
}

/// Which end of a call we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// We placed it.
    Caller,
    /// We answered it.
    Callee,
}

/// One end of one call; the numbers of the two ends of a call are unrelated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallRef {
    /// Which end.
    pub side: Side,
    /// Its number, counted from 0 by the agent.
    pub number: u32,
}

impl CallRef {
    /// The caller's end with this number.
    pub const fn caller(number: u32) -> CallRef {
        CallRef { side: Side::Caller, number }
    }

    /// The callee's end with this number.
    pub const fn callee(number: u32) -> CallRef {
        CallRef { side: Side::Callee, number }
    }
}

/// What an agent or a call tells the shell, in the order in which it must be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send these bytes.
    Send {
        /// Where to.
        flow: Flow,
        /// The message.
        bytes: Bytes,
    },
    /// Something happened that a report counts.
    Event {
        /// In which call.
        call: CallRef,
        /// What.
        event: Event,
    },
    /// Media of the call begins, or moves to another address.
    StartMedia {
        /// Which call.
        call: CallRef,
        /// Where the far side wants to hear.
        remote: SocketAddr,
        /// The payload type to send.
        payload: u8,
    },
    /// Media of the call pauses (hold) or ends.
    StopMedia {
        /// Which call.
        call: CallRef,
        /// Whether it ends for good, and its port may be closed.
        ended: bool,
    },
    /// A message that belongs to no call of ours, or is unreadable.
    Stray(Violation),
}

/// What happens in a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A call came to us (callee).
    Offered,
    /// The first 18x or 2xx came (caller), this long after the INVITE was due.
    Progress(Duration),
    /// The call was answered: 2xx came (caller) or was acknowledged (callee).
    Answered,
    /// We refused it, or sent it elsewhere (callee); that may still want its ACK.
    Refused,
    /// A message was sent again.
    Retransmitted,
    /// The call is over. Exactly once per call.
    Ended(Outcome),
}

/// What all calls of one agent share.
#[derive(Clone, Debug)]
pub struct Local {
    /// What SIP runs over.
    pub transport: Transport,
    /// The address that our Via and Contact show.
    pub address: SocketAddr,
    /// Tells this run's names from those of others.
    pub run: u32,
    /// Whether lost messages are sent again. Without, a lost message is a failed call.
    pub retransmit: bool,
    /// What proxies before us record of our INVITEs (RFC 3261 §16.6), the last of them first: the far side's route
    /// set. They stand at our own address.
    pub record_routes: Vec<String>,
    /// Via up to the branch's value.
    pub(crate) via: String,
}

impl Local {
    /// An agent's own names.
    pub fn new(transport: Transport, address: SocketAddr, run: u32, retransmit: bool) -> Local {
        let via = match transport {
            Transport::Udp => format!("SIP/2.0/UDP {address};rport;branch="),
            Transport::Tcp => format!("SIP/2.0/TCP {address};rport;branch="),
            Transport::Tls => format!("SIP/2.0/TLS {address};rport;branch="),
        };
        Local { transport, address, run, retransmit, record_routes: Vec::new(), via }
    }

    /// The tag of a call's end; also the stem of its branches.
    pub fn tag(&self, call: CallRef) -> String {
        let side = match call.side {
            Side::Caller => 'c',
            Side::Callee => 's',
        };
        format!("{side}{:08x}-{}", self.run, call.number)
    }

    /// The `n`th branch of the call with this tag.
    pub(crate) fn branch(tag: &str, n: u32) -> String {
        let mut branch = String::with_capacity(COOKIE.len() + tag.len() + 4);
        branch.push_str(COOKIE);
        branch.push_str(tag);
        // Writing into a String cannot fail.
        let _ = write!(branch, "-{n}");
        branch
    }

    /// The call that one of our tags names.
    pub fn call_of_tag(&self, tag: &str) -> Option<CallRef> {
        let (stem, number) = tag.split_once('-')?;
        let side = match stem.get(..1)? {
            "c" => Side::Caller,
            "s" => Side::Callee,
            _ => return None,
        };
        if u32::from_str_radix(stem.get(1..)?, 16).ok()? != self.run {
            return None;
        }
        Some(CallRef { side, number: number.parse().ok()? })
    }

    /// The call that one of our branches names.
    pub fn call_of_branch(&self, branch: &str) -> Option<CallRef> {
        self.call_of_tag(branch.strip_prefix(COOKIE)?.rsplit_once('-')?.0)
    }

    /// Our Contact URI for this user.
    pub fn contact(&self, user: &str) -> String {
        match self.transport {
            Transport::Udp => format!("sip:{user}@{}", self.address),
            Transport::Tcp => format!("sip:{user}@{};transport=tcp", self.address),
            Transport::Tls => format!("sip:{user}@{};transport=tls", self.address),
        }
    }
}

/// The host and port that a SIP URI names, where the host is an address (RFC 3261 §19.1.1).
pub(crate) fn address_of(uri: &str) -> Option<SocketAddr> {
    let rest = uri.strip_prefix("sip:")?;
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let host = host.split([';', '?', '>']).next()?;
    host.parse().ok().or_else(|| Some(SocketAddr::new(host.parse().ok()?, 5060)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_names_lead_back_to_the_call_and_foreign_ones_do_not() {
        let local = Local::new(Transport::Udp, "127.0.0.1:5070".parse().expect("literal"), 0xbeef, true);
        let tag = local.tag(CallRef::callee(17));
        assert_eq!(tag, "s0000beef-17");
        assert_eq!(local.call_of_tag(&tag), Some(CallRef::callee(17)));
        let branch = Local::branch(&local.tag(CallRef::caller(3)), 2);
        assert_eq!(local.call_of_branch(&branch), Some(CallRef::caller(3)));
        for foreign in ["s0000beee-17", "x0000beef-17", "s0000beef", "", "é-1"] {
            assert_eq!(local.call_of_tag(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn addresses_come_out_of_uris() {
        let check = |uri: &str, expected: Option<&str>| {
            assert_eq!(address_of(uri), expected.map(|text| text.parse().expect("literal")), "{uri}");
        };
        check("sip:a@192.0.2.1:5080;transport=udp", Some("192.0.2.1:5080"));
        check("sip:192.0.2.1", Some("192.0.2.1:5060"));
        check("sip:a@example.com", None);
        check("tel:+31", None);
    }
}

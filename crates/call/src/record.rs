//! What a call proposes to a quorum, and what becomes of it (architecture, Records).
//!
//! Positional encoding: a field is added at the end of a new variant, never in the middle of an old one.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use dialog::DialogState;
use machine::WallTime;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use trunk::{Caller, Name, Party, Plan, Target, Transport};

use crate::cdr::{Facts, HangupBy, LegQuality};
use crate::id::CallId;

/// Where messages of a leg come from and go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Flow {
    /// UDP, TCP or TLS.
    pub transport: Transport,
    /// Our address.
    pub local: SocketAddr,
    /// The peer's address.
    pub remote: SocketAddr,
    /// Which connection of the node's, 0 over UDP. Means nothing to a successor.
    pub connection: u64,
}

impl Flow {
    /// As a connection's number: whichever the peer has opened to us from its address.
    pub const CAME: u64 = u64::MAX;
}

/// The caller's leg or the callee's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Side {
    /// Towards the caller.
    Ingress,
    /// Towards the callee.
    Egress,
}

impl Side {
    /// The far side.
    pub const fn other(self) -> Side {
        match self {
            Side::Ingress => Side::Egress,
            Side::Egress => Side::Ingress,
        }
    }
}

/// What makes an INVITE the same INVITE (RFC 3261 §8.2.2.2, §17.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InviteKey {
    /// Digest of Call-ID, From tag and CSeq.
    pub dialog: u128,
    /// Digest of the topmost Via's branch and sent-by.
    pub branch: u64,
}

/// RTP ports on the home, one per media stream and side, in the order of the `m=` lines (RTCP is one above).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// The ports that the caller sends to.
    pub ingress: SmallVec<[u16; 2]>,
    /// The ports that the callee sends to.
    pub egress: SmallVec<[u16; 2]>,
}

/// A call asks to be let in. Committed before the caller hears 100.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Admit {
    /// Where the INVITE came from.
    pub ingress: Flow,
    /// The INVITE as received, at most 8 KiB: Vias, From, To, Call-ID, CSeq, Record-Route, Contact, offer.
    pub invite: Bytes,
    /// What makes a second copy of it a retransmission or a merged request.
    pub key: InviteKey,
    /// Drawn once: Call-IDs, tags and branches of both legs follow from it.
    pub seed: u64,
    /// Who is calling.
    pub party: Party,
    /// Where it may go, and what it takes.
    pub plan: Plan,
    /// Whose number the callee is shown.
    pub caller: Caller,
    /// What the CDR says of the parties.
    pub facts: Facts,
    /// Emergency calls bypass limits.
    pub emergency: bool,
    /// RTP ports, where media is anchored.
    pub ports: Option<Ports>,
    /// When the INVITE arrived, by the home's clock.
    pub started_at: WallTime,
    /// The use of a nonce by which the caller proved who it is: it counts once (RFC 7616 §3.4).
    pub proof: Option<auth::Use>,
}

/// A call of an identified trunk that policy refuses: a CDR and nothing else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refuse {
    /// What makes a second copy of it the same call.
    pub key: InviteKey,
    /// Who is calling.
    pub party: Party,
    /// The tenant of the trunk.
    pub tenant: Option<Name>,
    /// What the CDR says of the parties.
    pub facts: Facts,
    /// The final answer.
    pub status: u16,
    /// Why, in words: the rule's name first.
    pub reason: String,
    /// When the INVITE arrived.
    pub started_at: WallTime,
    /// As in `Admit`.
    pub proof: Option<auth::Use>,
}

/// One egress INVITE is about to be sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its number: the branch is f(call, number).
    pub number: u16,
    /// The first target of the plan that may be tried; `apply` takes the first with free slots.
    pub from_target: u16,
    /// How the attempt before it ended.
    pub ended: AttemptEnd,
    /// A Session-Expires that the target demanded by 422 (RFC 4028 §7.3).
    pub session_expires: Option<u32>,
    /// The target's challenge, which this INVITE answers (RFC 3261 §22.3).
    pub challenge: Option<Box<Challenged>>,
    /// Where a 3xx sends the call on: these come into the plan from `from_target` on.
    pub onward: Vec<Target>,
}

impl Attempt {
    /// How the call was let in, with the targets to which it is sent on.
    pub fn admit(&self, admit: &Arc<Admit>) -> Arc<Admit> {
        if self.onward.is_empty() {
            return admit.clone();
        }
        let mut admit = Admit::clone(admit);
        let at = usize::from(self.from_target).min(admit.plan.targets.len());
        admit.plan.targets.splice(at..at, self.onward.iter().cloned());
        Arc::new(admit)
    }
}

/// A gateway's challenge to an INVITE of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenged {
    /// Whether it was a 407, and not a 401.
    pub by_proxy: bool,
    /// `realm=`.
    pub realm: String,
    /// `nonce=`.
    pub nonce: String,
    /// `algorithm=`.
    pub algorithm: Option<String>,
    /// `opaque=`.
    pub opaque: Option<String>,
    /// Whether it offers `qop=auth`.
    pub counts: bool,
    /// How many INVITEs to this target have answered one, this included.
    pub answers: u8,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptEnd {
    /// Its final status; 408 for silence, 503 for an unreachable address (RFC 3261 §8.1.3.1).
    pub status: u16,
    /// When.
    pub at: WallTime,
}

/// An early dialog of an attempt (RFC 3261 §12.1). Committed first if the response was reliable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The attempt that it belongs to.
    pub attempt: u16,
    /// The egress dialog.
    pub dialog: DialogState,
    /// The provisional status that was relayed.
    pub status: u16,
    /// The last RSeq seen, acknowledged or about to be (RFC 3262).
    pub rseq: Option<u32>,
    /// The session description that it carried, if any.
    pub sdp: Option<Bytes>,
    /// When.
    pub at: WallTime,
}

/// What survives of one answered leg.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LegState {
    /// The dialog.
    pub dialog: DialogState,
    /// Where its messages go.
    pub flow: Flow,
    /// The session description that we last gave to this peer.
    pub local_sdp: Bytes,
    /// The session description that this peer last gave.
    pub remote_sdp: Bytes,
    /// Where its RTP was found to come from, if latched.
    pub latched: Option<SocketAddr>,
    /// How much of its session is left unless it is refreshed (RFC 4028), in milliseconds from its commit on.
    pub session_left_ms: Option<u32>,
}

/// The callee answered. Committed before the callee's ACK and the caller's 200.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Confirm {
    /// The attempt that won.
    pub attempt: u16,
    /// The status of the answer (a 2xx).
    pub status: u16,
    /// The caller's leg.
    pub ingress: LegState,
    /// The callee's leg.
    pub egress: LegState,
    /// Whether the offer comes in the caller's ACK (RFC 3261 §13.2.1).
    pub delayed_offer: bool,
    /// When.
    pub answered_at: WallTime,
}

/// A leg changed: a re-INVITE, UPDATE or refresh, before we send it or before we acknowledge it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Update {
    /// Which leg.
    pub side: Side,
    /// As it is now.
    pub leg: LegState,
    /// The far leg, where the exchange changed both.
    pub far: Option<LegState>,
}

/// What is another's in another home. Committed before a peer hears of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rehome {
    /// Our address towards the caller.
    pub local: SocketAddr,
    /// RTP ports, where media is anchored.
    pub ports: Option<Ports>,
}

/// How far packets of a secured stream may have come: recorded before a sequence number wraps (RFC 3711 §3.3.1), so
/// that a successor knows how often it did. Since version 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// On which leg.
    pub side: Side,
    /// The index of its `m=` line.
    pub stream: u8,
    /// Of what.
    pub count: Count,
    /// So far.
    pub value: u32,
}

/// What a mark counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Count {
    /// Half-rounds of the sequence number of this source, towards the peer.
    Sent(u32),
    /// The same, from the peer.
    Heard(u32),
    /// Blocks of 2¹⁶ SRTCP indices, towards the peer.
    Control,
}

impl Mark {
    /// Notes it among others of its call.
    pub fn note(self, marks: &mut Vec<Mark>) {
        let same = |it: &Mark| (it.side, it.stream, it.count) == (self.side, self.stream, self.count);
        let before = marks.iter().position(same).map(|at| marks.remove(at).value);
        if marks.len() == MARKS_MAX {
            marks.remove(0);
        }
        let value = before.map_or(self.value, |before| before.max(self.value));
        marks.push(Mark { value, ..self });
    }
}

/// A peer that changes its source more often has the oldest forgotten.
const MARKS_MAX: usize = 64;

/// The call is over. Slots go, the CDR is made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// The final status of the INVITE (200 for an answered call).
    pub status: u16,
    /// Why, in words.
    pub reason: String,
    /// Who hung up.
    pub by: HangupBy,
    /// When.
    pub at: WallTime,
    /// What the relay measured of the ingress leg.
    pub ingress_quality: Option<LegQuality>,
    /// What the relay measured of the egress leg.
    pub egress_quality: Option<LegQuality>,
    /// What happened on the way (`one-way-audio`, `private-address`), for the CDR.
    pub events: Vec<String>,
}

/// A change to an admitted call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Change {
    /// A further egress INVITE.
    Attempt(Attempt),
    /// An early dialog.
    Progress(Box<Progress>),
    /// The caller gave up; also before any 1xx came.
    Cancel(WallTime),
    /// The answer.
    Confirm(Box<Confirm>),
    /// The caller's ACK came; with the session description of a delayed offer's answer.
    Acked(Option<Bytes>),
    /// A leg changed.
    Update(Box<Update>),
    /// CSeqs up to this one may be used on a leg.
    Advance(Side, u32),
    /// The end.
    End(Box<End>),
    /// It goes on in another home.
    Rehome(Box<Rehome>),
    /// Secured packets may come so far.
    Mark(Mark),
}

/// What a call proposes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum CallCommand {
    /// Let it in.
    Admit(Arc<Admit>),
    /// Record that it was refused.
    Refuse(Box<Refuse>),
    /// It changed.
    Change(Change),
}

impl CallCommand {
    /// Whether somebody waits for the commit; lazy ones ride along, at most 20 ms later.
    pub fn is_urgent(&self) -> bool {
        match self {
            CallCommand::Admit(_) | CallCommand::Refuse(_) => true,
            CallCommand::Change(change) => match change {
                Change::Attempt(_) | Change::Cancel(_) | Change::Confirm(_) => true,
                Change::Advance(..) | Change::Rehome(_) => true,
                Change::Progress(progress) => progress.rseq.is_some(),
                Change::Acked(sdp) => sdp.is_some(),
                Change::Update(_) | Change::End(_) | Change::Mark(_) => false,
            },
        }
    }
}

/// What `apply` made of a command.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Admitted, or the attempt granted: its slots are held.
    Target(u16),
    /// A limit said no. The CDR of a refused Admit is made; a refused Attempt leaves the call as it was.
    Limited(Limited),
    /// The same INVITE was admitted before, as this call.
    Duplicate(CallId),
    /// The same INVITE was refused before, with this status; its caller may not have heard it.
    Refused(u16),
    /// The same request came by another way: 482 (RFC 3261 §8.2.2.2).
    Merged,
    /// The caller's digest was used before: it is challenged again.
    Replayed,
    /// Applied.
    Done,
    /// The home's epoch or the call is gone; nothing was applied.
    Stale,
}

/// The limit that said no.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limited {
    /// Which kind.
    pub kind: LimitedBy,
    /// Whose limit: a trunk's or a gateway's name.
    pub scope: Name,
    /// Its value.
    pub limit: u32,
    /// Whether the full scope is the called side's.
    pub egress: bool,
    /// When the window allows again, in seconds (1–60), for the minute's rate.
    pub retry_after_s: u32,
}

/// Kinds of limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LimitedBy {
    /// Concurrent calls.
    Concurrent,
    /// Calls in a sliding minute.
    Minute,
    /// Calls in an hour.
    Hour,
    /// Calls in a day.
    Day,
    /// Calls in a week.
    Week,
}

//! Call detail records: what they hold and how one is made from a record and an end.

use machine::WallTime;
use machine::museum::planted;
use serde::{Deserialize, Serialize};
use trunk::{Direction, Name, Party, Resources};

use crate::id::{CallId, NodeId};
use crate::live::{CallRecord, Phase};
use crate::record::{Admit, End, Limited, Refuse};
use crate::reject;

/// What is known of the parties when the INVITE arrives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Call-ID of the caller's leg.
    pub call_id: String,
    /// The number in From, as received.
    pub from: String,
    /// The number called, as received, without prefix.
    pub to: String,
    /// P-Asserted-Identity or Remote-Party-ID, as received.
    pub asserted: Option<String>,
    /// The caller ID that the callee sees.
    pub presented: Option<String>,
    /// Diversions in order, as `number;reason`.
    pub diversion: Vec<String>,
    /// P-Charge-Info's number.
    pub charge_number: Option<String>,
    /// The caller's tag header.
    pub tag: Option<String>,
    /// Remarks that do not stop the call.
    pub warnings: Vec<String>,
}

/// Who ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HangupBy {
    /// The caller.
    Caller,
    /// The callee.
    Callee,
    /// A rule of ours: a limit, a timer, an operator.
    System,
}

/// What the relay measured of the packets that one peer sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegQuality {
    /// Packets received.
    pub packets: u64,
    /// Packets missing by sequence number (RFC 3550 §A.3).
    pub lost: u64,
    /// Interarrival jitter in microseconds (RFC 3550 §A.8).
    pub jitter_us: u32,
    /// Estimated mean opinion score × 100; 0 when nothing was received.
    pub mos_x100: u16,
}

/// One attempt of a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CdrAttempt {
    /// The Request-URI.
    pub target: String,
    /// The final status; absent for the one that never ended.
    pub status: Option<u16>,
    /// When the INVITE went out.
    pub started_at: WallTime,
    /// When the final response came.
    pub ended_at: Option<WallTime>,
}

/// A redirect that was followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CdrRedirect {
    /// The Request-URI that was answered by a 3xx.
    pub server: String,
    /// The Contact that was called.
    pub to: String,
    /// The entry of `trusted` that allowed it.
    pub rule: String,
}

/// A call detail record: exactly one per admitted call, and one per refused call of an identified trunk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cdr {
    /// The call.
    pub id: CallId,
    /// Call-ID of the caller's leg.
    pub call_id_a: String,
    /// Call-ID of the callee's leg, if one was tried.
    pub call_id_b: Option<String>,
    /// The trunk's tenant.
    pub tenant: Option<Name>,
    /// The trunk it is billed on.
    pub trunk: Option<Name>,
    /// Which account of that trunk.
    pub account: Option<u8>,
    /// Which way.
    pub direction: Direction,
    /// The parties.
    pub facts: Facts,
    /// The node that admitted it.
    pub node_start: NodeId,
    /// The node that ended it.
    pub node_end: NodeId,
    /// When the INVITE arrived.
    pub started_at: WallTime,
    /// When 18x was relayed.
    pub ringing_at: Option<WallTime>,
    /// When it was answered.
    pub answered_at: Option<WallTime>,
    /// When it ended.
    pub ended_at: WallTime,
    /// The final status of the INVITE.
    pub sip_status: u16,
    /// Why it ended.
    pub reason: String,
    /// Who ended it.
    pub hangup_by: HangupBy,
    /// The gateway it left through or came from.
    pub gateway: Option<Name>,
    /// Every attempt.
    pub attempts: Vec<CdrAttempt>,
    /// The last redirect that was followed.
    pub redirect: Option<Box<CdrRedirect>>,
    /// Codec of the caller's leg.
    pub codec_a: Option<String>,
    /// Codec of the callee's leg.
    pub codec_b: Option<String>,
    /// What the caller's packets were like.
    pub ingress_quality: Option<LegQuality>,
    /// What the callee's packets were like.
    pub egress_quality: Option<LegQuality>,
    /// What happened on the way.
    pub events: Vec<String>,
}

impl Cdr {
    /// Milliseconds from answer to end; 0 if never answered. Never negative (I-30).
    pub fn duration_ms(&self) -> u64 {
        self.answered_at.map_or(0, |answered| u64::try_from(self.ended_at.0 - answered.0).unwrap_or(0))
    }

    /// The record of a call that ended. `nodes` are those that admitted and ended it; `call_id_b` counts only where
    /// the call's own record names no Call-ID of the callee's leg.
    pub fn ended(record: &CallRecord, end: &End, call_id_b: Option<String>, nodes: (NodeId, NodeId)) -> Cdr {
        let mut cdr = Cdr::begin(record.id, &record.admit, nodes);
        let answered = match &record.phase {
            // An answer that was recorded after its caller had been refused is none.
            Phase::Answered { confirm, .. } if end.status < 300 => Some(confirm),
            Phase::Answered { .. } | Phase::Ringing { .. } => None,
        };
        cdr.call_id_b = record.egress_call_id().map(str::to_owned).or(call_id_b);
        cdr.ringing_at = record.ringing_at.map(|at| at.max(cdr.started_at));
        cdr.answered_at =
            answered.map(|confirm| confirm.answered_at.max(cdr.ringing_at.unwrap_or(cdr.started_at)));
        cdr.ended_at = end.at.max(cdr.answered_at.or(cdr.ringing_at).unwrap_or(cdr.started_at));
        if planted("bill-negative") {
            cdr.ended_at = end.at;
        }
        cdr.sip_status = end.status;
        cdr.reason = end.reason.clone();
        cdr.hangup_by = end.by;
        cdr.attempts = record
            .attempts
            .iter()
            .enumerate()
            .map(|(i, tried)| CdrAttempt {
                target: tried.uri.clone(),
                status: tried
                    .ended
                    .map(|e| e.status)
                    .or((i + 1 == record.attempts.len()).then_some(end.status)),
                started_at: tried.started_at,
                ended_at: Some(tried.ended.map_or(cdr.ended_at, |e| e.at)),
            })
            .collect();
        cdr.redirect = record.attempts.iter().rev().find_map(|tried| {
            let by = tried.redirected.as_ref()?;
            let (server, rule) = (by.server.clone(), by.rule.clone());
            Some(Box::new(CdrRedirect { server, to: tried.uri.clone(), rule }))
        });
        let last = record.attempts.last().map(|tried| &tried.party);
        if let (None, Some(Party::Trunk { name, account })) = (&cdr.trunk, last) {
            (cdr.trunk, cdr.account) = (Some(name.clone()), *account);
        }
        if let (None, Some(Party::Gateway { name })) = (&cdr.gateway, last) {
            cdr.gateway = Some(name.clone());
        }
        if let Some(confirm) = answered {
            cdr.codec_a = sdp::first_codec(&confirm.ingress.local_sdp);
            cdr.codec_b = sdp::first_codec(&confirm.egress.remote_sdp);
        }
        cdr.ingress_quality = end.ingress_quality;
        cdr.egress_quality = end.egress_quality;
        cdr.events = end.events.clone();
        cdr
    }

    /// The record of a call that a limit refused as it asked to be let in.
    pub fn limited(id: CallId, admit: &Admit, limited: &Limited, resources: &Resources, node: NodeId) -> Cdr {
        let answer = reject::limited(limited, resources, &admit.plan);
        let mut cdr = Cdr::begin(id, admit, (node, node));
        cdr.sip_status = answer.status;
        cdr.reason = answer.text;
        cdr
    }

    /// The record of a call that policy refused.
    pub fn refused(id: CallId, refuse: &Refuse, node: NodeId) -> Cdr {
        let mut cdr = Cdr::empty(id, &refuse.party, refuse.facts.clone(), refuse.started_at, (node, node));
        cdr.tenant = refuse.tenant.clone();
        cdr.sip_status = refuse.status;
        cdr.reason = refuse.reason.clone();
        cdr
    }

    fn begin(id: CallId, admit: &Admit, nodes: (NodeId, NodeId)) -> Cdr {
        let mut cdr = Cdr::empty(id, &admit.party, admit.facts.clone(), admit.started_at, nodes);
        cdr.tenant = admit.plan.tenant.clone();
        cdr.direction = admit.plan.direction;
        if let Some(Party::Trunk { name, account }) = admit.plan.targets.first().map(|t| &t.party)
            && cdr.trunk.is_none()
        {
            (cdr.trunk, cdr.account) = (Some(name.clone()), *account);
        }
        cdr
    }

    fn empty(id: CallId, party: &Party, facts: Facts, at: WallTime, nodes: (NodeId, NodeId)) -> Cdr {
        let (trunk, account, gateway) = match party {
            Party::Trunk { name, account } => (Some(name.clone()), *account, None),
            Party::Gateway { name } => (None, None, Some(name.clone())),
        };
        Cdr {
            id,
            call_id_a: facts.call_id.clone(),
            call_id_b: None,
            tenant: None,
            direction: if trunk.is_some() { Direction::Out } else { Direction::In },
            trunk,
            account,
            facts,
            node_start: nodes.0,
            node_end: nodes.1,
            started_at: at,
            ringing_at: None,
            answered_at: None,
            ended_at: at,
            sip_status: 500,
            reason: String::new(),
            hangup_by: HangupBy::System,
            gateway,
            attempts: Vec::new(),
            redirect: None,
            codec_a: None,
            codec_b: None,
            ingress_quality: None,
            egress_quality: None,
            events: Vec::new(),
        }
    }
}

//! A ringing call in another home. What the callee says goes to an address where nobody listens, so it is tried
//! anew: the old INVITE is cancelled under its own Via and branch (RFC 3261 §9.1), and the next target rings, or the
//! caller hears 503. The caller's own INVITE is answered from here: a response needs its Via alone (§18.2.2).

use bytes::Bytes;
use machine::{Instant, WallTime};
use sip::{Framing, Message};
use transaction::NonInviteClient;
use trunk::Transport;

use crate::admission::target_address;
use crate::call::{Call, Stage, Waiting};
use crate::cdr::HangupBy;
use crate::exchange::{Client, Kind, Sent};
use crate::live::CallRecord;
use crate::message::{INVITE_CSEQ, Outgoing};
use crate::record::{Attempt, AttemptEnd, CallCommand, Change, Flow, Side};
use crate::reject::{self, Answer};
use crate::setup::Verdict;

impl Call {
    /// Whether the caller's INVITE came to another home.
    pub(crate) fn is_stranded(&self, record: &CallRecord) -> bool {
        let Flow { transport, local, .. } = record.admit.ingress;
        !self.context.addresses.contains(&(transport, local))
    }

    /// A ringing call goes on from this home, with another target, or ends.
    pub(crate) fn restore_stranded(
        &mut self,
        now: Instant,
        wall: WallTime,
        record: &CallRecord,
        cancelled: bool,
    ) {
        self.stage = Stage::Trying;
        self.attempts = record.attempt + 1;
        let Some(setup) = self.setup.as_mut() else { return };
        (setup.session_expires, setup.challenge) = (None, None);
        let local = setup.flow.local;
        // Where it can't be cancelled it rings until its own patience ends.
        let _ = self.cancel_stray(now, record);
        if cancelled {
            return self.conclude(now, wall, Verdict::Ours(reject::cancelled()), HangupBy::Caller);
        }
        let next = record.attempts.last().and_then(|tried| self.next_target(tried.target, 503));
        let Some(from_target) = next else {
            let answer = Answer::new(503, "the node of this call is lost");
            return self.conclude(now, wall, Verdict::Ours(answer), HangupBy::System);
        };
        // With the attempt alone, and in one batch: until then a successor has the same to do.
        self.propose_rehome(local);
        let ended = AttemptEnd { status: 503, at: wall };
        let next = Attempt {
            number: self.attempts,
            from_target,
            ended,
            session_expires: None,
            challenge: None,
            onward: Vec::new(),
        };
        self.propose(CallCommand::Change(Change::Attempt(next)), Waiting::Attempt);
        self.await_commit(now);
    }

    /// CANCEL of the INVITE that a predecessor sent from another home.
    fn cancel_stray(&mut self, now: Instant, record: &CallRecord) -> Option<()> {
        let setup = self.setup.as_ref()?;
        let target = record.target()?;
        let (transport, remote) = (target.transport, target_address(target)?);
        // Only its address towards the caller is on record; for the same transport it is that towards the callee.
        let old = record.admit.ingress;
        let is_known = old.local.port() > 0 && old.local.is_ipv4() == remote.is_ipv4();
        if old.transport != transport || !is_known {
            return None;
        }
        let local = self.context.address(transport, remote)?;
        let flow = Flow { transport, local: old.local, remote, connection: 0 };
        let branch = self.attempt_branch(record.attempt);
        let leg = Outgoing {
            number: record.attempt,
            target,
            flow,
            branch: &branch,
            session_expires: None,
            challenge: None,
        };
        let invite = self.write_invite(&record.admit, &setup.invite.view(), &leg, &[]);
        let invite = Message::parse(&invite, Framing::Datagram).ok()?;
        let mut bytes = Vec::with_capacity(320);
        dialog::write_cancel(&mut bytes, &invite, b"");
        let bytes = Bytes::from(bytes);
        let reliable = transport != Transport::Udp;
        let client = NonInviteClient::start(now, self.times(), reliable, bytes.clone());
        let sent = Sent {
            side: Side::Egress,
            flow: Flow { local, ..flow },
            branch,
            cseq: INVITE_CSEQ,
            bytes,
            client: Client::Other(client),
            body: Bytes::new(),
            ack: None,
            succeeded: false,
        };
        self.open_own(Kind::Cancel, sent);
        Some(())
    }
}

//! What the peer asks in the dialog, and what we answered (RFC 3261 §12.2.2, §14.2, §15.1.2; RFC 3311 §5.2).

use machine::Instant;
use sip::{Message, Method, Name, RAck};

use crate::dialog::Timer;
use crate::facts;
use crate::offer::{Carrier, Invite};
use crate::{Dialog, PeerError, Reject, SessionHeaders};

/// A request of the peer that is in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// Re-INVITE. `repeated`: its CSeq was seen before (at a successor, a request that the predecessor had not answered).
    Invite {
        /// Whether its CSeq was seen before.
        repeated: bool,
    },
    /// UPDATE.
    Update {
        /// Whether its CSeq was seen before.
        repeated: bool,
    },
    /// PRACK; our provisional response needs no repetition any more.
    Prack,
    /// ACK. `awaited`: the first one for our 2xx.
    Ack {
        /// Whether it is the first for our 2xx.
        awaited: bool,
    },
    /// BYE: the dialog is over. Requests without a final answer get 487 (RFC 3261 §15.1.2).
    Bye,
    /// CANCEL of the INVITE in progress.
    Cancel,
    /// Any other method: INFO, OPTIONS, REFER…
    Other,
}

impl Dialog {
    /// Whether a message belongs to this dialog: Call-ID and both tags (RFC 3261 §12.2.2).
    pub fn owns(&self, message: &Message<'_>) -> bool {
        let (local, remote) =
            if message.is_request() { (Name::To, Name::From) } else { (Name::From, Name::To) };
        message.get(Name::CallId).is_some_and(|id| id == self.state.call_id.as_bytes())
            && facts::tag(message, local) == self.state.local_tag.as_bytes()
            && facts::tag(message, remote) == self.state.remote_tag.as_bytes()
    }

    /// Takes a request of the peer. `has_sdp`: it carries a session description; `chance` draws a Retry-After.
    /// Not for retransmissions: those belong to the transaction.
    pub fn receive_request(
        &mut self,
        request: &Message<'_>,
        has_sdp: bool,
        chance: u64,
    ) -> Result<Received, Reject> {
        if !self.owns(request) {
            return Err(Reject::NoSuchDialog);
        }
        let (cseq, method) = request.cseq().map_err(PeerError::from)?;
        match method {
            // ACK and CANCEL carry the number of their INVITE and stand outside the order (§12.2.1.1).
            Method::Ack => return Ok(self.receive_ack(cseq, has_sdp)),
            Method::Cancel if self.theirs.is_some_and(|i| i.cseq == cseq) => return Ok(Received::Cancel),
            Method::Cancel => return Err(Reject::NoSuchDialog),
            // BYE may cross BYE; both are answered 200.
            _ if self.ended && method != Method::Bye => return Err(Reject::NoSuchDialog),
            _ => {}
        }
        let retry_after_s = (chance % 11) as u8;
        let last = self.state.remote_cseq;
        if last.is_some_and(|last| cseq < last) {
            return Err(Reject::OutOfOrder { retry_after_s });
        }
        let repeated = last == Some(cseq);
        self.state.remote_cseq = Some(cseq);
        match method {
            Method::Invite => {
                self.receive_invite(request, cseq, has_sdp, retry_after_s)?;
                Ok(Received::Invite { repeated })
            }
            Method::Update => {
                self.receive_update(request, cseq, has_sdp, retry_after_s)?;
                Ok(Received::Update { repeated })
            }
            Method::Prack => self.receive_prack(request, has_sdp, retry_after_s),
            Method::Bye => {
                self.end();
                Ok(Received::Bye)
            }
            _ => Ok(Received::Other),
        }
    }

    fn receive_ack(&mut self, cseq: u32, has_sdp: bool) -> Received {
        let awaited = self.ack_awaited == Some(cseq);
        if awaited {
            self.ack_awaited = None;
            if has_sdp {
                self.offer.in_acknowledgement(false, Carrier::Invite);
            } else if self.offer.ours() {
                // An offer of our 2xx left unanswered can't be answered any more.
                self.offer.settled(Carrier::Invite);
            }
        }
        Received::Ack { awaited }
    }

    fn receive_invite(
        &mut self,
        request: &Message<'_>,
        cseq: u32,
        has_sdp: bool,
        retry_after_s: u8,
    ) -> Result<(), Reject> {
        if self.theirs.is_some() {
            return Err(Reject::InvitePending { retry_after_s });
        }
        if self.ours.is_some() || self.offer.ours() {
            return Err(Reject::Glare);
        }
        if self.offer.theirs() {
            return Err(Reject::OfferPending { retry_after_s });
        }
        self.refresh_from(request)?;
        self.theirs = Some(Invite { cseq, offered: has_sdp, exchanged: false });
        if has_sdp {
            self.offer.made(false, Carrier::Invite);
        }
        Ok(())
    }

    fn receive_update(
        &mut self,
        request: &Message<'_>,
        cseq: u32,
        has_sdp: bool,
        retry_after_s: u8,
    ) -> Result<(), Reject> {
        if self.update_theirs.is_some() {
            return Err(Reject::OfferPending { retry_after_s });
        }
        if has_sdp && self.offer.ours() {
            return Err(Reject::Glare);
        }
        if has_sdp && self.offer.theirs() {
            return Err(Reject::OfferPending { retry_after_s });
        }
        self.refresh_from(request)?;
        self.update_theirs = Some(cseq);
        if has_sdp {
            self.offer.made(false, Carrier::Update);
        }
        Ok(())
    }

    /// What a target and session refresh request asks for; it comes true with our 2xx (RFC 6141 §4.3).
    fn refresh_from(&mut self, request: &Message<'_>) -> Result<(), Reject> {
        let headers = SessionHeaders::of(request)?;
        let target = facts::contact(request)?;
        // Session timers are of the session; before the 2xx there is none.
        let session =
            if self.state.confirmed { self.settings.session.answer(&headers)? } else { self.session_offered };
        facts::abilities(&mut self.state.peer, request);
        self.state.min_se_s = self.state.min_se_s.max(headers.min_se_s.unwrap_or(0));
        self.session_offered = session;
        self.target_offered = target;
        Ok(())
    }

    fn receive_prack(
        &mut self,
        request: &Message<'_>,
        has_sdp: bool,
        retry_after_s: u8,
    ) -> Result<Received, Reject> {
        let provisional = self.state.provisional;
        let expected = RAck { rseq: provisional.sent, cseq: self.reliable_cseq, method: Method::Invite };
        if provisional.sent == 0 || request.rack().map_err(PeerError::from)? != Some(expected) {
            return Err(Reject::NoSuchProvisional);
        }
        if !provisional.acknowledged {
            if has_sdp && self.offer.theirs() {
                return Err(Reject::OfferPending { retry_after_s });
            }
            self.state.provisional.acknowledged = true;
            self.stop_provisional();
            if has_sdp {
                self.offer.in_acknowledgement(false, Carrier::Prack);
            }
        }
        Ok(Received::Prack)
    }

    /// Our answer to the peer's request is decided: the state is what must be recorded before it is sent.
    /// `has_sdp`: it carries a session description. Reliable provisional responses go through
    /// [`send_provisional`](Dialog::send_provisional) instead.
    pub fn responded(&mut self, now: Instant, method: Method<'_>, status: u16, has_sdp: bool) {
        match (method, status) {
            // A provisional promises nothing: its description is a preview of the answer (§13.2.1).
            (_, ..200) => {}
            (Method::Invite, 200..300) => {
                if let Some(mut invite) = self.theirs.take() {
                    if has_sdp {
                        self.offer.in_invite_response(&mut invite, true);
                    }
                    self.ack_awaited = Some(invite.cseq);
                }
                self.state.confirmed = true;
                // RFC 3262 §3: after the final response provisionals are not repeated, their PRACK is still taken.
                self.stop_provisional();
                self.accept_refresh(now);
            }
            (Method::Invite, _) => {
                self.theirs = None;
                self.offer.settled(Carrier::Invite);
                self.stop_provisional();
                self.refuse_refresh();
                if !self.state.confirmed {
                    self.end(); // RFC 3261 §12.3.
                }
            }
            (Method::Update, 200..300) => {
                self.update_theirs = None;
                self.offer.settled(Carrier::Update);
                self.accept_refresh(now);
            }
            (Method::Update, _) => {
                self.update_theirs = None;
                self.offer.settled(Carrier::Update);
                self.refuse_refresh();
            }
            (Method::Prack, _) => self.offer.settled(Carrier::Prack),
            _ => {} // Other methods leave the dialog as it is.
        }
    }

    fn accept_refresh(&mut self, now: Instant) {
        if let Some(target) = self.target_offered.take() {
            self.state.remote_target = target;
        }
        if self.state.confirmed {
            let session = self.session_offered.take();
            self.start_session(now, session);
        }
    }

    fn refuse_refresh(&mut self) {
        self.target_offered = None;
        if self.state.confirmed {
            self.session_offered = None;
        }
    }

    /// At a successor: our 2xx to the first INVITE goes out again, and its ACK is awaited.
    pub fn await_ack(&mut self) {
        self.ack_awaited = Some(self.state.invite_cseq);
        if !self.state.invite_offered {
            self.offer.made(true, Carrier::Invite);
        }
    }

    /// The ACK for our 2xx never came: BYE may be sent now (RFC 3261 §13.3.1.4).
    pub fn ack_timed_out(&mut self) {
        self.ack_awaited = None;
        self.offer.settled(Carrier::Invite);
        self.timers.clear(Timer::Refresh);
    }
}

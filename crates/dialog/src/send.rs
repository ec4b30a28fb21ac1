//! What we ask in the dialog, and what the peer answered (RFC 3261 §12.2.1, §14.1; RFC 3311 §5.1; RFC 4028 §7).

use std::time::Duration;

use machine::Instant;
use sip::{Message, Method};

use crate::dialog::Timer;
use crate::facts;
use crate::offer::{Carrier, Invite};
use crate::{Dialog, NotNow, PeerError, ReliableOrder, Role, SessionHeaders};

/// What a response of the peer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// 1xx. Where it is reliable, its place in the order decides about PRACK.
    Provisional {
        /// Its place, if it is reliable.
        reliable: Option<ReliableOrder>,
    },
    /// 2xx. To an INVITE: send ACK with this response's CSeq.
    Success,
    /// A 2xx to INVITE that was taken before: send the same ACK again (RFC 3261 §13.2.2.4).
    Repeated,
    /// 491: `Output::Retry` comes when the wait is over.
    Glare {
        /// The wait.
        retry_after: Duration,
    },
    /// 422: the owner sends the same again at once, with this Min-SE; given once (RFC 4028 §7.3).
    IntervalTooSmall {
        /// The Min-SE, already in what [`Dialog::write_session_request`] writes.
        min_se_s: u32,
    },
    /// 481 or 408: the peer has no such dialog any more; end it (RFC 3261 §12.2.1.2).
    Gone,
    /// Any other refusal; the dialog goes on as it was (RFC 3261 §14.1).
    Refused,
}

impl Dialog {
    /// Whether a request may be sent now. `has_sdp`: it carries an offer (PRACK and ACK: or an answer).
    pub fn may_send(&self, method: Method<'_>, has_sdp: bool) -> Result<(), NotNow> {
        if self.ended && method != Method::Ack {
            return Err(NotNow::Ended);
        }
        match method {
            Method::Invite if self.ours.is_some() || self.theirs.is_some() || self.ack_awaited.is_some() => {
                Err(NotNow::InvitePending)
            }
            Method::Invite if self.offer.is_pending() => Err(NotNow::OfferPending),
            Method::Update if self.update_ours.is_some() || (has_sdp && self.offer.is_pending()) => {
                Err(NotNow::OfferPending)
            }
            Method::Prack if has_sdp && self.offer.ours() => Err(NotNow::OfferPending),
            Method::Bye if self.state.role == Role::Uas && !self.state.confirmed => Err(NotNow::Early),
            Method::Bye if self.state.role == Role::Uas && self.ack_awaited == Some(self.state.invite_cseq) => {
                Err(NotNow::AckAwaited)
            }
            _ => Ok(()),
        }
    }

    /// We sent a request in the dialog. `has_sdp`: it carries a session description.
    pub fn sent_request(&mut self, method: Method<'_>, cseq: u32, has_sdp: bool) {
        match method {
            Method::Invite => {
                self.ours = Some(Invite { cseq, offered: has_sdp, exchanged: false });
                self.state.provisional.received = 0; // Each INVITE has an RSeq space of its own (RFC 3262 §3).
                self.session_asked = self.session_request();
                if has_sdp {
                    self.offer.made(true, Carrier::Invite);
                }
            }
            Method::Update => {
                self.update_ours = Some(cseq);
                self.session_asked = self.session_request();
                if has_sdp {
                    self.offer.made(true, Carrier::Update);
                }
            }
            Method::Prack if has_sdp => self.offer.in_acknowledgement(true, Carrier::Prack),
            Method::Ack if has_sdp => self.offer.in_acknowledgement(true, Carrier::Invite),
            // An offer of the peer's 2xx that the ACK leaves unanswered can't be answered any more.
            Method::Ack if self.offer.theirs() => self.offer.settled(Carrier::Invite),
            Method::Bye => self.end(),
            _ => {} // Other methods leave the dialog as it is.
        }
    }

    /// Takes a response of the peer to a request of ours. `has_sdp`: it carries a session description; `chance`
    /// draws the wait after a 491.
    pub fn receive_response(
        &mut self,
        now: Instant,
        response: &Message<'_>,
        has_sdp: bool,
        chance: u64,
    ) -> Result<Answered, PeerError> {
        if !self.owns(response) {
            return Err(PeerError::Unexpected);
        }
        let status = response.status().ok_or(PeerError::Unexpected)?;
        let (cseq, method) = response.cseq()?;
        if status < 300 {
            facts::abilities(&mut self.state.peer, response);
        }
        match (method, status) {
            (Method::Invite, ..200) => Ok(self.provisional(response, cseq, has_sdp)),
            (Method::Invite, 200..300) => self.invite_accepted(now, response, cseq, has_sdp),
            (Method::Update, 200..300) if self.update_ours == Some(cseq) => {
                self.update_ours = None;
                self.offer.settled(Carrier::Update);
                self.refreshed(now, response)?;
                Ok(Answered::Success)
            }
            (_, ..200) => Ok(Answered::Provisional { reliable: None }),
            (Method::Prack, 200..300) => {
                self.offer.settled(Carrier::Prack);
                Ok(Answered::Success)
            }
            (_, 200..300) => Ok(Answered::Success),
            (Method::Invite, _) if self.ours.is_some_and(|i| i.cseq == cseq) => {
                self.ours = None;
                self.offer.settled(Carrier::Invite);
                if !self.state.confirmed {
                    self.end(); // RFC 3261 §12.3: a refused INVITE ends its early dialogs.
                    return Ok(Answered::Refused);
                }
                self.refused(now, response, status, chance)
            }
            (Method::Update, _) if self.update_ours == Some(cseq) => {
                self.update_ours = None;
                self.offer.settled(Carrier::Update);
                // 405, 501: it never could, whatever its Allow said; refresh by INVITE from now on.
                self.state.peer.update &= !matches!(status, 405 | 501);
                self.refused(now, response, status, chance)
            }
            (Method::Prack, _) => {
                self.offer.settled(Carrier::Prack);
                Ok(verdict(status))
            }
            _ => Ok(verdict(status)),
        }
    }

    /// A request of ours got no response (`status` 408), or the transport failed (503; RFC 3261 §8.1.3.1).
    pub fn request_failed(&mut self, now: Instant, method: Method<'_>, status: u16) -> Answered {
        match method {
            Method::Invite => {
                self.ours = None;
                self.offer.settled(Carrier::Invite);
            }
            Method::Update => {
                self.update_ours = None;
                self.offer.settled(Carrier::Update);
            }
            Method::Prack => self.offer.settled(Carrier::Prack),
            _ => {} // Nothing of the dialog waits for other methods.
        }
        self.refresh_again(now);
        verdict(status)
    }

    fn provisional(&mut self, response: &Message<'_>, cseq: u32, has_sdp: bool) -> Answered {
        if !self.ours.is_some_and(|i| i.cseq == cseq) {
            return Answered::Provisional { reliable: None }; // Late, after the final response.
        }
        let reliable = self.order_of(response);
        if has_sdp
            && matches!(reliable, Some(ReliableOrder::Next { .. }))
            && let Some(invite) = &mut self.ours
        {
            self.offer.in_invite_response(invite, false);
            self.note_exchange();
        }
        Answered::Provisional { reliable }
    }

    fn invite_accepted(
        &mut self,
        now: Instant,
        response: &Message<'_>,
        cseq: u32,
        has_sdp: bool,
    ) -> Result<Answered, PeerError> {
        let Some(mut invite) = self.ours.filter(|i| i.cseq == cseq) else {
            return Ok(Answered::Repeated);
        };
        if !self.state.confirmed {
            // RFC 3261 §13.2.2.4: the 2xx decides the route set, whatever the provisional said.
            self.state.route_set = facts::record_route(response)?.into_iter().rev().collect();
        }
        self.ours = None;
        if has_sdp {
            self.offer.in_invite_response(&mut invite, false);
        } else if !self.offer.theirs() {
            self.offer.settled(Carrier::Invite); // An answer that never came can't come any more.
        }
        self.state.confirmed = true;
        self.refreshed(now, response)?;
        Ok(Answered::Success)
    }

    /// A 2xx to a target and session refresh request of ours.
    fn refreshed(&mut self, now: Instant, response: &Message<'_>) -> Result<(), PeerError> {
        // A Contact that can't be read leaves the target as it was: the call is answered all the same.
        if let Ok(Some(target)) = facts::contact(response) {
            self.state.remote_target = target;
        }
        if self.state.confirmed {
            let asked = self.session_asked.take();
            let headers = SessionHeaders::of(response).unwrap_or_default();
            let session = self.settings.session.adopt(asked, &headers);
            self.start_session(now, session);
        }
        Ok(())
    }

    fn refused(
        &mut self,
        now: Instant,
        response: &Message<'_>,
        status: u16,
        chance: u64,
    ) -> Result<Answered, PeerError> {
        self.session_asked = None;
        match status {
            491 => {
                let retry_after = glare_wait(self.state.role, chance);
                self.timers.set(Timer::Glare, now + retry_after);
                return Ok(Answered::Glare { retry_after });
            }
            422 if !self.min_se_followed => {
                let asked = SessionHeaders::of(response).unwrap_or_default().min_se_s;
                if let Some(min_se_s) = asked.filter(|m| *m > self.state.min_se_s) {
                    self.min_se_followed = true;
                    self.state.min_se_s = min_se_s;
                    return Ok(Answered::IntervalTooSmall { min_se_s });
                }
            }
            _ => {}
        }
        self.refresh_again(now);
        Ok(verdict(status))
    }

    /// A refresh failed and the session still runs: try again halfway to its end (RFC 4028 §10 ends it there).
    fn refresh_again(&mut self, now: Instant) {
        let ours = self.state.session.is_some_and(|s| s.refresher == crate::Refresher::Us);
        if let Some(expiry) = self.timers.get(Timer::Expiry)
            && ours
            && self.timers.get(Timer::Refresh).is_none()
        {
            let wait = expiry.since(now) / 2;
            if wait >= REFRESH_AGAIN_MIN {
                self.timers.set(Timer::Refresh, now + wait);
            }
        }
    }
}

/// RFC 3261 §12.2.1.2.
fn verdict(status: u16) -> Answered {
    if matches!(status, 408 | 481) { Answered::Gone } else { Answered::Refused }
}

/// RFC 3261 §14.1, in units of 10 ms: the owner of the Call-ID 2.1–4 s, the other side 0–2 s.
fn glare_wait(role: Role, chance: u64) -> Duration {
    match role {
        Role::Uac => Duration::from_millis(2100 + 10 * (chance % 191)),
        Role::Uas => Duration::from_millis(10 * (chance % 201)),
    }
}

const REFRESH_AGAIN_MIN: Duration = Duration::from_secs(2);

//! What we ask in the dialog, and what the peer answered (RFC 3261 §12.2.1, §14.1; RFC 3311 §5.1; RFC 4028 §7).

use std::time::Duration;

use machine::Instant;
use sip::{Message, Method};

use crate::dialog::Timer;
use crate::facts;
use crate::offer::{Carrier, Invite};
use crate::{Dialog, NotNow, PeerError, Refresher, ReliableOrder, Role, SessionHeaders};

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
    /// 491: `Output::Retry` comes when the wait is over, and before it `Output::Refresh` if that is what was refused.
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
            Method::Bye
                if self.state.role == Role::Uas && self.ack_awaited == Some(self.state.invite_cseq) =>
            {
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
        if self.ours.is_none_or(|i| i.cseq != cseq) {
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
        match status {
            491 => {
                let retry_after = glare_wait(self.state.role, chance);
                if !self.ended {
                    if self.refresh_is_due() {
                        self.timers.set(Timer::Refresh, now + retry_after);
                    }
                    self.timers.set(Timer::Glare, now + retry_after);
                }
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
        if let Some(expiry) = self.timers.get(Timer::Expiry)
            && self.refresh_is_due()
        {
            let wait = expiry.since(now) / 2;
            if wait >= REFRESH_AGAIN_MIN {
                self.timers.set(Timer::Refresh, now + wait);
            }
        }
    }

    /// Whether a refresh of ours was asked for and has not succeeded.
    fn refresh_is_due(&self) -> bool {
        self.state.session.is_some_and(|s| s.refresher == Refresher::Us)
            && self.timers.get(Timer::Expiry).is_some()
            && self.timers.get(Timer::Refresh).is_none()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::*;
    use crate::{Output, Received, RefreshBy, Settings};

    const TIMED: &str = "Session-Expires: 1800;refresher=uac\r\n";

    #[test]
    fn no_invite_while_one_is_in_progress_in_either_direction() {
        // RFC 3261 §14.1.
        let mut dialog = uac("");
        assert_eq!(dialog.may_send(Method::Invite, true), Ok(()));
        dialog.sent_request(Method::Invite, 11, true);
        assert_eq!(dialog.may_send(Method::Invite, true), Err(NotNow::InvitePending));
        assert_eq!(answer(&mut dialog, at(1), 200, "INVITE", 11, ""), Ok(Answered::Success));
        ask(&mut dialog, "INVITE", 1, "", true).expect("in order");
        assert_eq!(dialog.may_send(Method::Invite, true), Err(NotNow::InvitePending));
        dialog.responded(at(2), Method::Invite, 200, true);
        assert_eq!(dialog.may_send(Method::Invite, true), Err(NotNow::InvitePending), "until its ACK");
        assert_eq!(ask(&mut dialog, "ACK", 1, "", false), Ok(Received::Ack { awaited: true }));
        assert_eq!(dialog.may_send(Method::Invite, true), Ok(()));
    }

    #[test]
    fn no_offer_while_one_is_pending() {
        // RFC 3264 §4, RFC 3311 §5.1.
        let mut early = uac_by(180, "", false, Settings::default());
        assert_eq!(early.may_send(Method::Update, true), Err(NotNow::OfferPending));
        assert_eq!(early.may_send(Method::Update, false), Ok(()));
        assert_eq!(answer(&mut early, at(1), 200, "INVITE", 10, ""), Ok(Answered::Success));
        assert_eq!(early.may_send(Method::Update, true), Ok(()));
        early.sent_request(Method::Update, 11, true);
        assert_eq!(early.may_send(Method::Update, false), Err(NotNow::OfferPending), "one UPDATE at a time");
        assert_eq!(early.may_send(Method::Invite, true), Err(NotNow::OfferPending));
    }

    #[test]
    fn a_caller_may_end_an_early_dialog_and_a_callee_may_not() {
        // RFC 3261 §15.
        let early = uac_by(180, "", false, Settings::default());
        assert_eq!(early.may_send(Method::Bye, false), Ok(()));
        let early = uas_early("", Settings::default());
        assert_eq!(early.may_send(Method::Bye, false), Err(NotNow::Early));
    }

    #[test]
    fn after_bye_nothing_is_sent_but_acks() {
        let mut dialog = uac("");
        dialog.sent_request(Method::Bye, 11, false);
        assert_eq!(dialog.may_send(Method::Info, false), Err(NotNow::Ended));
        assert_eq!(dialog.may_send(Method::Ack, false), Ok(()));
        assert_eq!(answer(&mut dialog, at(1), 200, "BYE", 11, ""), Ok(Answered::Success));
    }

    #[test]
    fn a_repeated_2xx_asks_for_the_ack_again() {
        // RFC 3261 §13.2.2.4.
        let mut dialog = uac("");
        assert_eq!(answer(&mut dialog, at(1), 200, "INVITE", 10, ""), Ok(Answered::Repeated));
        dialog.sent_request(Method::Invite, 11, true);
        assert_eq!(
            answer(&mut dialog, at(2), 200, "INVITE", 10, ""),
            Ok(Answered::Repeated),
            "of the old one"
        );
        assert_eq!(answer(&mut dialog, at(2), 200, "INVITE", 11, ""), Ok(Answered::Success));
    }

    #[test]
    fn the_owner_of_the_call_id_waits_2_to_4_s_after_a_491_and_the_other_side_0_to_2() {
        // RFC 3261 §14.1, in steps of 10 ms.
        let waits = |role| {
            let all: Vec<u128> = (0..4000).map(|chance| glare_wait(role, chance).as_millis()).collect();
            assert!(all.iter().all(|ms| ms % 10 == 0));
            (all.iter().copied().min(), all.iter().copied().max())
        };
        assert_eq!(waits(Role::Uac), (Some(2100), Some(4000)));
        assert_eq!(waits(Role::Uas), (Some(0), Some(2000)));
    }

    #[test]
    fn after_a_491_the_wait_passes_and_then_it_is_tried_again() {
        // I-16. The fixture's chance 14: 2.1 s + 140 ms.
        let mut dialog = uac("");
        dialog.sent_request(Method::Invite, 11, true);
        let glare = Answered::Glare { retry_after: Duration::from_millis(2240) };
        assert_eq!(answer(&mut dialog, at(10), 491, "INVITE", 11, ""), Ok(glare));
        assert_eq!(dialog.may_send(Method::Invite, true), Ok(()));
        assert_eq!(run(&mut dialog, at(60)), [(12_240, Output::Retry)]);
    }

    #[test]
    fn a_refresh_refused_by_491_comes_again_after_the_wait() {
        let mut dialog = uac(TIMED);
        run(&mut dialog, at(900));
        dialog.sent_request(Method::Invite, 11, true);
        assert!(answer(&mut dialog, at(900), 491, "INVITE", 11, "").is_ok());
        let again = [(902_240, Output::Refresh(RefreshBy::Invite)), (902_240, Output::Retry)];
        assert_eq!(run(&mut dialog, at(1000)), again);
        // Refused before a refresh is due, it is only the owner's to try again.
        let mut dialog = uac(TIMED);
        dialog.sent_request(Method::Invite, 11, true);
        assert!(answer(&mut dialog, at(1), 491, "INVITE", 11, "").is_ok());
        assert_eq!(run(&mut dialog, at(100)), [(3240, Output::Retry)]);
    }

    #[test]
    fn a_481_or_408_says_that_the_dialog_is_gone_and_other_refusals_do_not() {
        // RFC 3261 §12.2.1.2; sems-server/sems#68.
        for (status, expected) in [
            (481, Answered::Gone),
            (408, Answered::Gone),
            (488, Answered::Refused),
            (500, Answered::Refused),
            (603, Answered::Refused),
        ] {
            for (method, code) in
                [(Method::Invite, "INVITE"), (Method::Update, "UPDATE"), (Method::Info, "INFO")]
            {
                let mut dialog = uac("");
                dialog.sent_request(method, 11, method != Method::Info);
                assert_eq!(answer(&mut dialog, at(1), status, code, 11, ""), Ok(expected), "{code} {status}");
                assert!(!dialog.is_ended(), "to end it is the owner's to do");
                assert_eq!(dialog.may_send(Method::Invite, true), Ok(()));
            }
        }
        let mut dialog = uac("");
        dialog.sent_request(Method::Update, 11, true);
        assert_eq!(dialog.request_failed(at(32), Method::Update, 408), Answered::Gone);
        dialog.sent_request(Method::Invite, 12, true);
        assert_eq!(dialog.request_failed(at(33), Method::Invite, 503), Answered::Refused);
        assert_eq!(dialog.may_send(Method::Update, true), Ok(()));
    }

    #[test]
    fn a_refused_re_invite_leaves_session_target_and_offer_as_they_were() {
        // RFC 3261 §14.1.
        let mut dialog = uac(TIMED);
        let before = dialog.state().clone();
        dialog.sent_request(Method::Invite, 11, true);
        let extra = "Contact: <sip:elsewhere@x>\r\n";
        assert_eq!(answer(&mut dialog, at(1), 488, "INVITE", 11, extra), Ok(Answered::Refused));
        assert_eq!(dialog.state(), &before);
        assert_eq!(dialog.session_ends(), Some(at(1800)));
    }

    #[test]
    fn a_422_to_a_refresh_raises_the_interval_once() {
        // RFC 4028 §7.3.
        let mut dialog = uac(TIMED);
        dialog.sent_request(Method::Invite, 11, true);
        let small = answer(&mut dialog, at(900), 422, "INVITE", 11, "Min-SE: 3600\r\n");
        assert_eq!(small, Ok(Answered::IntervalTooSmall { min_se_s: 3600 }));
        let mut out = Vec::new();
        dialog.write_session_request(&mut out);
        assert_eq!(out, b"Session-Expires: 3600;refresher=uac\r\nMin-SE: 3600\r\n");
        dialog.sent_request(Method::Invite, 12, true);
        let again = answer(&mut dialog, at(901), 422, "INVITE", 12, "Min-SE: 7200\r\n");
        assert_eq!(again, Ok(Answered::Refused));
    }

    #[test]
    fn a_failed_refresh_is_tried_again_before_the_session_ends() {
        // RFC 4028 §10; drachtio/drachtio-server#375: a refresher without an answer kept its call for ever.
        let mut dialog = uac(&format!("{TIMED}Allow: UPDATE\r\n"));
        assert_eq!(run(&mut dialog, at(900)), [(900_000, Output::Refresh(RefreshBy::Update))]);
        dialog.sent_request(Method::Update, 11, false);
        assert_eq!(answer(&mut dialog, at(900), 500, "UPDATE", 11, ""), Ok(Answered::Refused));
        // Halfway from 900 to 1768.
        assert_eq!(run(&mut dialog, at(1400)), [(1_334_000, Output::Refresh(RefreshBy::Update))]);
        dialog.sent_request(Method::Update, 12, false);
        assert_eq!(run(&mut dialog, at(9000)), [(1_768_000, Output::SessionExpired)]);
    }

    #[test]
    fn a_peer_that_refuses_update_is_refreshed_by_invite() {
        let mut dialog = uac(&format!("{TIMED}Allow: UPDATE\r\n"));
        dialog.sent_request(Method::Update, 11, false);
        assert_eq!(answer(&mut dialog, at(900), 501, "UPDATE", 11, ""), Ok(Answered::Refused));
        assert_eq!(dialog.refresh_by(), RefreshBy::Invite);
    }

    #[test]
    fn a_2xx_without_session_expires_ends_the_session_timer() {
        // RFC 4028 §7.2.
        let mut dialog = uac(TIMED);
        dialog.sent_request(Method::Invite, 11, true);
        assert_eq!(answer(&mut dialog, at(5), 200, "INVITE", 11, ""), Ok(Answered::Success));
        assert_eq!((dialog.state().session, dialog.poll_timeout()), (None, None));
    }

    #[test]
    fn a_delayed_offer_of_the_peer_is_answered_by_our_ack() {
        // RFC 3261 §13.2.2.4.
        let mut dialog = uac("");
        dialog.sent_request(Method::Invite, 11, false);
        assert_eq!(answer(&mut dialog, at(1), 200, "INVITE", 11, ""), Ok(Answered::Success));
        assert_eq!(dialog.may_send(Method::Update, true), Err(NotNow::OfferPending));
        dialog.sent_request(Method::Ack, 11, true);
        assert_eq!(dialog.may_send(Method::Update, true), Ok(()));
    }

    #[test]
    fn a_2xx_or_491_that_crosses_a_bye_starts_no_timer() {
        // Found by `course`: the peer's BYE came while our re-INVITE was on the way.
        for (status, extra) in [(200, TIMED), (491, "")] {
            let mut dialog = uac("");
            dialog.sent_request(Method::Invite, 11, true);
            assert_eq!(ask(&mut dialog, "BYE", 1, "", false), Ok(Received::Bye));
            assert!(answer(&mut dialog, at(1), status, "INVITE", 11, extra).is_ok());
            assert_eq!((dialog.poll_timeout(), dialog.session_ends()), (None, None));
        }
    }

    #[test]
    fn a_response_to_nothing_of_ours_is_unexpected() {
        let mut dialog = uac("");
        let other = response(200, "zz", "INVITE", 10, "");
        assert_eq!(dialog.receive_response(at(1), &parse(&other), true, 0), Err(PeerError::Unexpected));
        // A late provisional changes nothing.
        let late = answer(&mut dialog, at(1), 180, "INVITE", 10, "Require: 100rel\r\nRSeq: 5\r\n");
        assert_eq!(late, Ok(Answered::Provisional { reliable: None }));
        assert_eq!(dialog.state().provisional.received, 0);
    }
}

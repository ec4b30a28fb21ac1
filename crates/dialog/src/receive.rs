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
            self.start_session(now, self.session_offered);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;
    use crate::fixture::*;

    const SLOW: u8 = 3; // What the fixture's chance draws.

    #[test]
    fn a_lower_cseq_gets_500_with_retry_after() {
        // RFC 3261 §12.2.2.
        let mut dialog = uas("");
        assert_eq!(ask(&mut dialog, "INFO", 9, "", false), Ok(Received::Other));
        let refused = ask(&mut dialog, "INFO", 8, "", false);
        assert_eq!(refused, Err(Reject::OutOfOrder { retry_after_s: SLOW }));
        let reject = refused.expect_err("out of order");
        assert_eq!((reject.status(), reject.retry_after_s()), (500, Some(3)));
        // It may be higher by more than one.
        assert_eq!(ask(&mut dialog, "INFO", 900, "", false), Ok(Received::Other));
        assert_eq!(dialog.state().remote_cseq, Some(900));
    }

    #[test]
    fn retry_after_is_between_0_and_10() {
        let mut seen = std::collections::BTreeSet::new();
        for chance in 0..50 {
            let mut dialog = uas("");
            let text = "INFO sip:us SIP/2.0\r\nVia: SIP/2.0/UDP p;branch=z9hG4bK1\r\nFrom: <sip:a@a>;tag=a1\r\n\
                 To: <sip:b@b>;tag=b1\r\nCall-ID: c1@a\r\nCSeq: 1 INFO\r\n\r\n";
            let refused = dialog.receive_request(&parse(text), false, chance);
            seen.extend(refused.expect_err("1 is below 7").retry_after_s());
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), (0..=10).collect::<Vec<u8>>());
    }

    #[test]
    fn an_equal_cseq_is_reported_as_repeated() {
        // At a successor: the predecessor took the request and died before its answer (I-13).
        let mut dialog = uas("");
        assert_eq!(ask(&mut dialog, "UPDATE", 8, "", false), Ok(Received::Update { repeated: false }));
        dialog.responded(at(1), Method::Update, 200, false);
        let mut successor = Dialog::restore(at(2), dialog.state().clone(), Settings::default(), None);
        assert_eq!(ask(&mut successor, "UPDATE", 8, "", false), Ok(Received::Update { repeated: true }));
    }

    #[test]
    fn a_stranger_s_tag_or_call_id_gets_481() {
        // RFC 3261 §12.2.2. A spoofed BYE must know both tags and the Call-ID.
        for (from, to) in [("<sip:bob@us.example>;tag=b1", "x"), ("tag=a1", "tag=zz"), ("c1@a", "c9@a")] {
            let text = "BYE sip:us SIP/2.0\r\nVia: SIP/2.0/UDP p;branch=z9hG4bK1\r\n\
                From: <sip:alice@a.example>;tag=a1\r\nTo: <sip:bob@us.example>;tag=b1\r\nCall-ID: c1@a\r\n\
                CSeq: 9 BYE\r\n\r\n";
            let mut dialog = uas("");
            let refused = dialog.receive_request(&parse(&text.replace(from, to)), false, 0);
            assert_eq!(refused, Err(Reject::NoSuchDialog), "{from}");
            assert!(!dialog.is_ended());
            assert_eq!(dialog.receive_request(&parse(text), false, 0), Ok(Received::Bye));
        }
    }

    #[test]
    fn a_second_invite_before_the_final_answer_gets_500() {
        // RFC 3261 §14.2.
        let mut dialog = uas("");
        assert_eq!(ask(&mut dialog, "INVITE", 8, "", true), Ok(Received::Invite { repeated: false }));
        let refused = ask(&mut dialog, "INVITE", 9, "", true);
        assert_eq!(refused, Err(Reject::InvitePending { retry_after_s: SLOW }));
        assert_eq!(refused.map_err(|r| r.status()), Err(500));
        dialog.responded(at(1), Method::Invite, 200, true);
        assert_eq!(ask(&mut dialog, "ACK", 8, "", false), Ok(Received::Ack { awaited: true }));
        assert_eq!(ask(&mut dialog, "INVITE", 10, "", true), Ok(Received::Invite { repeated: false }));
    }

    #[test]
    fn an_invite_that_meets_ours_gets_491() {
        // RFC 3261 §14.2.
        for offered in [true, false] {
            let mut dialog = uas("");
            dialog.sent_request(Method::Invite, 1, offered);
            let refused = ask(&mut dialog, "INVITE", 8, "", true);
            assert_eq!(refused, Err(Reject::Glare));
            assert_eq!(refused.map_err(|r| r.status()), Err(491));
            assert_eq!(dialog.state().remote_cseq, Some(8), "refused in order, so the order goes on");
        }
    }

    #[test]
    fn an_offer_in_update_meets_491_or_500_and_without_one_passes() {
        // RFC 3311 §5.2.
        let mut ours = uas("");
        ours.sent_request(Method::Update, 1, true);
        assert_eq!(ask(&mut ours, "UPDATE", 8, "", true), Err(Reject::Glare));
        assert_eq!(ask(&mut ours, "UPDATE", 9, "", false), Ok(Received::Update { repeated: false }));
        // The first INVITE's offer is not answered yet.
        let mut theirs = uas_early("", Settings::default());
        let refused = ask(&mut theirs, "UPDATE", 8, "", true);
        assert_eq!(refused, Err(Reject::OfferPending { retry_after_s: SLOW }));
        assert_eq!(refused.map_err(|r| r.status()), Err(500));
        // Two UPDATEs at once: the second waits whatever it carries.
        let mut twice = uas("");
        assert_eq!(ask(&mut twice, "UPDATE", 8, "", true), Ok(Received::Update { repeated: false }));
        assert_eq!(
            ask(&mut twice, "UPDATE", 9, "", false),
            Err(Reject::OfferPending { retry_after_s: SLOW })
        );
        twice.responded(at(1), Method::Update, 200, true);
        assert_eq!(ask(&mut twice, "UPDATE", 10, "", true), Ok(Received::Update { repeated: false }));
    }

    #[test]
    fn an_invite_during_an_update_of_either_side_waits() {
        // RFC 6337 §4.2, §4.3: no new offer while one is pending.
        let mut ours = uas("");
        ours.sent_request(Method::Update, 1, true);
        assert_eq!(ask(&mut ours, "INVITE", 8, "", true), Err(Reject::Glare));
        let mut theirs = uas("");
        assert_eq!(ask(&mut theirs, "UPDATE", 8, "", true), Ok(Received::Update { repeated: false }));
        assert_eq!(
            ask(&mut theirs, "INVITE", 9, "", true),
            Err(Reject::OfferPending { retry_after_s: SLOW })
        );
    }

    #[test]
    fn a_refused_offer_leaves_the_way_free() {
        // RFC 3261 §14.1: as if it had not been made.
        let mut dialog = uas("");
        assert_eq!(ask(&mut dialog, "UPDATE", 8, "", true), Ok(Received::Update { repeated: false }));
        dialog.responded(at(1), Method::Update, 488, false);
        assert_eq!(dialog.may_send(Method::Invite, true), Ok(()));
        assert_eq!(ask(&mut dialog, "INVITE", 9, "", true), Ok(Received::Invite { repeated: false }));
        dialog.responded(at(2), Method::Invite, 488, false);
        assert!(!dialog.is_ended(), "a refused re-INVITE ends nothing");
        assert_eq!(dialog.may_send(Method::Update, true), Ok(()));
    }

    #[test]
    fn a_target_changes_with_our_2xx_and_not_with_our_refusal() {
        // RFC 3261 §12.2.2, RFC 6141 §4.3.
        let moved = "Contact: <sip:alice@198.51.100.7>\r\n";
        for (method, code) in [(Method::Invite, "INVITE"), (Method::Update, "UPDATE")] {
            let mut dialog = uas("");
            ask(&mut dialog, code, 8, moved, true).expect("in order");
            dialog.responded(at(1), method, 100, false);
            assert_eq!(&*dialog.state().remote_target, "sip:alice@192.0.2.1:5070");
            dialog.responded(at(1), method, 488, false);
            assert_eq!(&*dialog.state().remote_target, "sip:alice@192.0.2.1:5070");
            ask(&mut dialog, code, 9, moved, true).expect("in order");
            dialog.responded(at(1), method, 200, true);
            assert_eq!(&*dialog.state().remote_target, "sip:alice@198.51.100.7");
        }
        // INFO is no target refresh request.
        let mut dialog = uas("");
        assert_eq!(ask(&mut dialog, "INFO", 8, moved, false), Ok(Received::Other));
        dialog.responded(at(1), Method::Info, 200, false);
        assert_eq!(&*dialog.state().remote_target, "sip:alice@192.0.2.1:5070");
    }

    #[test]
    fn a_bye_ends_the_dialog_and_a_crossing_bye_is_still_answered() {
        // RFC 3261 §15.1.2; I-16.
        let mut dialog = uas("Supported: timer\r\nSession-Expires: 90\r\n");
        dialog.sent_request(Method::Bye, 1, false);
        assert_eq!(ask(&mut dialog, "BYE", 8, "", false), Ok(Received::Bye));
        assert_eq!(ask(&mut dialog, "INVITE", 9, "", true), Err(Reject::NoSuchDialog));
        assert_eq!(ask(&mut dialog, "INFO", 10, "", false), Err(Reject::NoSuchDialog));
        assert!(dialog.is_ended() && dialog.poll_timeout().is_none());
    }

    #[test]
    fn an_ack_is_awaited_once_and_stands_outside_the_order() {
        // RFC 3261 §12.2.1.1: ACK carries its INVITE's number; I-14.
        let mut dialog = uas("");
        assert_eq!(ask(&mut dialog, "INFO", 8, "", false), Ok(Received::Other));
        assert_eq!(ask(&mut dialog, "ACK", 7, "", false), Ok(Received::Ack { awaited: false }));
        let mut successor = Dialog::restore(at(1), dialog.state().clone(), Settings::default(), None);
        successor.await_ack();
        assert_eq!(successor.may_send(Method::Bye, false), Err(crate::NotNow::AckAwaited));
        assert_eq!(ask(&mut successor, "ACK", 7, "", false), Ok(Received::Ack { awaited: true }));
        assert_eq!(ask(&mut successor, "ACK", 7, "", false), Ok(Received::Ack { awaited: false }));
    }

    #[test]
    fn a_cancel_matches_the_invite_in_progress() {
        // RFC 3261 §9.2.
        let mut dialog = uas("");
        assert_eq!(ask(&mut dialog, "CANCEL", 7, "", false), Err(Reject::NoSuchDialog));
        ask(&mut dialog, "INVITE", 8, "", true).expect("in order");
        assert_eq!(ask(&mut dialog, "CANCEL", 8, "", false), Ok(Received::Cancel));
    }

    #[test]
    fn a_delayed_offer_is_made_by_our_2xx_and_answered_by_the_ack() {
        // RFC 3261 §13.2.1.
        let mut dialog = uas("");
        ask(&mut dialog, "INVITE", 8, "", false).expect("in order");
        dialog.responded(at(1), Method::Invite, 200, true);
        assert_eq!(dialog.may_send(Method::Update, true), Err(crate::NotNow::OfferPending));
        assert_eq!(ask(&mut dialog, "UPDATE", 9, "", true), Err(Reject::Glare));
        assert_eq!(ask(&mut dialog, "ACK", 8, "", true), Ok(Received::Ack { awaited: true }));
        assert_eq!(dialog.may_send(Method::Update, true), Ok(()));
    }

    #[test]
    fn without_an_ack_the_dialog_may_be_ended_once_that_is_given_up() {
        // RFC 3261 §13.3.1.4 and §15.
        let mut dialog = uas_early("", Settings::default());
        assert_eq!(dialog.may_send(Method::Bye, false), Err(crate::NotNow::Early));
        dialog.responded(at(0), Method::Invite, 200, true);
        assert_eq!(dialog.may_send(Method::Bye, false), Err(crate::NotNow::AckAwaited));
        dialog.ack_timed_out();
        assert_eq!(dialog.may_send(Method::Bye, false), Ok(()));
    }

    #[test]
    fn an_update_of_an_early_dialog_says_nothing_of_the_session() {
        let mut dialog =
            uas_early("Supported: timer, 100rel\r\nSession-Expires: 600\r\n", Settings::default());
        ask(&mut dialog, "UPDATE", 8, "", false).expect("in order");
        let mut out = Vec::new();
        dialog.write_session_answer(&mut out);
        assert_eq!(out, b"");
        dialog.responded(at(0), Method::Update, 200, false);
        assert_eq!((dialog.state().session, dialog.poll_timeout()), (None, None));
        dialog.responded(at(1), Method::Invite, 200, true);
        dialog.write_session_answer(&mut out);
        assert_eq!(out, b"Session-Expires: 600;refresher=uac\r\nRequire: timer\r\n");
    }

    #[test]
    fn a_refresh_with_too_small_an_interval_gets_422_and_changes_nothing() {
        // RFC 4028 §9.
        let mut dialog = uas("Supported: timer\r\nSession-Expires: 600;refresher=uac\r\n");
        let before = dialog.state().session;
        let small = "Supported: timer\r\nSession-Expires: 50\r\nContact: <sip:x@y>\r\n";
        assert_eq!(
            ask(&mut dialog, "INVITE", 8, small, true),
            Err(Reject::IntervalTooSmall { min_se_s: 90 })
        );
        assert_eq!(dialog.state().session, before);
        assert_eq!(&*dialog.state().remote_target, "sip:alice@192.0.2.1:5070");
        assert_eq!(ask(&mut dialog, "INVITE", 9, "", true), Ok(Received::Invite { repeated: false }));
    }
}
